"""Requests and answers of known number and duration, by clients with so many
connections each.

`pools.py exchanges`: says its process id, waits for a line, does all at once, says
as JSON what it did by its own clock, and keeps its connections until its input
ends. `pools.py services`: says the process ids of its services, which work until
its input ends.
"""

import json
import os
import queue
import signal
import socket
import sys
import tempfile
import threading
import time

SERVES = 0.06
THINKS = 0.04
REQUESTS = 30
BACKEND = 0.05
FRONT = 10


def receive(one, size):
    while size > 0:
        got = len(one.recv(size))
        if got == 0:
            return False
        size -= got
    return True


def listener(family, address):
    one = socket.socket(family)
    one.bind(address)
    one.listen(64)
    return one


def serve(one, answer):
    """A thread for each connection: requests of 64 bytes."""

    def connection(one):
        while receive(one, 64):
            answer(one)
        one.close()

    while True:
        client, _ = one.accept()
        threading.Thread(target=connection, args=(client,), daemon=True).start()


def slowly(duration, sizes=(100,)):
    def answer(one):
        time.sleep(duration)
        for size in sizes:
            one.sendall(b"a" * size)

    return answer


def in_process(main, *arguments):
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        main(*arguments)
        os._exit(0)
    return pid


def connect(family, address):
    one = socket.socket(family)
    one.connect(address)
    return one


class Client(threading.Thread):
    """Asks through one connection, with a pause after each answer."""

    def __init__(self, one, parts=(64,), answer=100, requests=REQUESTS):
        super().__init__(daemon=True)
        self.one, self.parts, self.answer, self.requests = one, parts, answer, requests
        self.count = 0
        self.waited = 0.0
        self.ends = False

    def run(self):
        while self.count < self.requests and not self.ends:
            for part in self.parts:
                begin = time.monotonic() if part is self.parts[0] else begin
                self.one.sendall(b"q" * part)
            first = len(self.one.recv(self.answer))
            self.waited += time.monotonic() - begin
            self.count += 1
            receive(self.one, self.answer - first)
            time.sleep(THINKS)


def exchanges():
    directory = tempfile.mkdtemp()
    path = os.path.join(directory, "service")
    four = listener(socket.AF_INET, ("127.0.0.1", 0))
    six = listener(socket.AF_INET6, ("::1", 0))
    unix = listener(socket.AF_UNIX, path)
    parts = listener(socket.AF_INET, ("127.0.0.1", 0))
    each = listener(socket.AF_INET, ("127.0.0.1", 0))
    log = listener(socket.AF_INET, ("127.0.0.1", 0))
    old = listener(socket.AF_INET, ("127.0.0.1", 0))
    for one, answer in (
        (four, slowly(SERVES)),
        (six, slowly(SERVES)),
        (unix, slowly(SERVES)),
        (parts, slowly(SERVES, (40, 30_000, 60_000))),
        (each, slowly(0.01)),
        (log, lambda one: None),
        (old, slowly(1.5)),
    ):
        threading.Thread(target=serve, args=(one, answer), daemon=True).start()

    def pool(one, count, **more):
        sockets = [connect(one.family, one.getsockname()) for _ in range(count)]
        return [Client(each, **more) for each in sockets]

    before = {
        "four": pool(four, 3),
        "unix": pool(unix, 2),
        # Two messages ask, and the answer comes in pieces.
        "parts": pool(parts, 2, parts=(10, 54), answer=90_040),
    }
    unused = [connect(four.family, four.getsockname()) for _ in range(2)]
    asked = connect(old.family, old.getsockname())
    # What is accepted is accepted by now.
    time.sleep(0.2)
    asked.sendall(b"q" * 64)
    print(os.getpid(), flush=True)
    sys.stdin.readline()

    receive(asked, 100)
    asked.sendall(b"q" * 64)
    receive(asked, 100)
    answered_at = time.monotonic()
    pools = {**before, "six": pool(six, 2)}
    for clients in pools.values():
        for client in clients:
            client.start()
    for _ in range(20):
        short = connect(each.family, each.getsockname())
        short.sendall(b"q" * 64)
        receive(short, 100)
        short.close()
    logged = connect(log.family, log.getsockname())
    for _ in range(100):
        logged.sendall(b"l" * 64)
        time.sleep(0.001)
    for clients in pools.values():
        for client in clients:
            client.join()
    # Not answered when the recording ends.
    asked.sendall(b"q" * 64)
    last_at = time.monotonic()
    services = {
        "four": four,
        "six": six,
        "parts": parts,
        "each": each,
        "log": log,
        "old": old,
    }
    told = {
        "pools": {
            name: {
                "connections": len(clients),
                "requests": sum(client.count for client in clients),
                "waited": sum(client.waited for client in clients),
            }
            for name, clients in pools.items()
        },
        "services": {
            name: (("[%s]:%d" if ":" in one.getsockname()[0] else "%s:%d") % one.getsockname()[:2])
            for name, one in services.items()
        },
        "unused": len(unused),
        "answered_at": answered_at,
        "last_at": last_at,
    }
    told["services"]["unix"] = path
    print(json.dumps(told), flush=True)
    sys.stdin.read()


def api(one, backend, connections):
    """Answers what it is asked when the backend has answered it."""
    pool = queue.Queue()
    for _ in range(connections):
        pool.put(connect(backend.family, backend.getsockname()))

    def answer(client):
        connection = pool.get()
        connection.sendall(b"q" * 64)
        receive(connection, 100)
        pool.put(connection)
        client.sendall(b"a" * 100)

    serve(one, answer)


def front(ones):
    def ask(one):
        while True:
            one.sendall(b"q" * 64)
            receive(one, 100)

    for one in ones:
        for _ in range(FRONT):
            client = connect(one.family, one.getsockname())
            threading.Thread(target=ask, args=(client,), daemon=True).start()
    time.sleep(1e6)


def steady(one):
    clients = [Client(connect(one.family, one.getsockname()), requests=1e9) for _ in range(3)]
    for client in clients:
        client.start()
    time.sleep(1e6)


def services():
    local = (socket.AF_INET, ("127.0.0.1", 0))
    backend, small, large, slow = (listener(*local) for _ in range(4))
    pids = {
        "backend": in_process(serve, backend, slowly(BACKEND)),
        "slow": in_process(serve, slow, slowly(SERVES)),
        "small": in_process(api, small, backend, 2),
        "large": in_process(api, large, backend, FRONT),
        "steady": in_process(steady, slow),
    }
    # Each has its connections.
    time.sleep(0.5)
    pids["front"] = in_process(front, (small, large))
    time.sleep(0.5)
    print(json.dumps(pids), flush=True)
    sys.stdin.read()
    for pid in pids.values():
        os.kill(pid, signal.SIGKILL)


{"exchanges": exchanges, "services": services}[sys.argv[1]]()
