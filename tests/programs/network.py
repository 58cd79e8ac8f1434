"""Sends and receives known amounts: through each kind of socket, through some
that are there before it is told to begin, and where connections fail.

Says "ready", waits for a line, then says as JSON what went through each socket
by the number of its inode, as its own calls returned it, and keeps what is open
until its input ends.
"""

import json
import os
import socket
import struct
import sys
import tempfile
import threading
import time

BEFORE = 1000
SHORT_LIVED = 50
REFUSED = 5
SLICE = 8000
SLICES = 800

counts = {}


def number(one):
    return str(os.fstat(one.fileno()).st_ino)


def entry(one):
    return counts.setdefault(number(one), {"sent": [0, 0], "received": [0, 0]})


def count(one, way, size):
    of = entry(one)[way]
    of[0] += size
    of[1] += 1


def send(one, data):
    while data:
        done = one.send(data)
        count(one, "sent", done)
        data = data[done:]


def receive(one, size):
    while size > 0:
        got = len(one.recv(size))
        if got == 0:
            return
        count(one, "received", got)
        size -= got


def pair(family, address, kind=socket.SOCK_STREAM):
    listener = socket.socket(family, kind)
    listener.bind(address)
    listener.listen(16)
    client = socket.socket(family, kind)
    client.connect(listener.getsockname())
    server, _ = listener.accept()
    return listener, client, server


def exchange(client, server, there, back):
    """Both ways, a little at a time so that nothing waits for room."""
    for start in range(0, there, SLICE):
        size = min(SLICE, there - start)
        send(client, b"x" * size)
        receive(server, size)
    for start in range(0, back, SLICE):
        size = min(SLICE, back - start)
        send(server, b"y" * size)
        receive(client, size)


def send_a_quarter(client, size):
    send(client, b"q" * size)


def send_three_quarters(client, size):
    send(client, b"t" * size)


def slowly(client, server):
    """As many bytes in each function as its name says, for two seconds."""
    for _ in range(SLICES):
        send_a_quarter(client, SLICE // 4)
        send_three_quarters(client, 3 * SLICE // 4)
        receive(server, SLICE)
        time.sleep(0.002)


def datagrams(family, address, other):
    left = socket.socket(family, socket.SOCK_DGRAM)
    right = socket.socket(family, socket.SOCK_DGRAM)
    left.bind(address)
    right.bind(other)
    for size in (1, 100, 1400, 0):
        left.sendto(b"d" * size, right.getsockname())
        count(left, "sent", size)
        data, _ = right.recvfrom(2000)
        count(right, "received", len(data))
    return left, right


def short_lived(listener):
    def serve():
        for _ in range(SHORT_LIVED):
            server, _ = listener.accept()
            receive(server, 100)
            send(server, b"s" * 10)
            server.close()

    thread = threading.Thread(target=serve, name="serves")
    thread.start()
    for _ in range(SHORT_LIVED):
        client = socket.create_connection(listener.getsockname())
        send(client, b"c" * 100)
        receive(client, 10)
        # Its end is read, so that it is not reset.
        assert client.recv(1) == b""
        client.close()
    thread.join()


def refused():
    for _ in range(REFUSED):
        try:
            socket.create_connection(("127.0.0.1", 1))
        except ConnectionRefusedError:
            continue
        raise SystemExit("somebody listens at port 1")


def reset():
    _, client, server = pair(socket.AF_INET, ("127.0.0.1", 0))
    exchange(client, server, 7, 0)
    told = {"by": number(server), "of": number(client)}
    server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    server.close()
    try:
        client.recv(1)
        raise SystemExit("it was not reset")
    except ConnectionResetError:
        client.close()
    return told


def overflow():
    """More connections than the queue of a socket that accepts none holds."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(1)
    clients = []
    for _ in range(6):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(listener.getsockname())
        clients.append(client)
    return listener, clients


def peek(client, server):
    send(client, b"p" * 50)
    assert len(server.recv(50, socket.MSG_PEEK)) == 50
    receive(server, 50)


def send_file(client, server):
    """Bytes alone are compared: the kernel makes several messages of it."""
    with tempfile.TemporaryFile() as file:
        file.write(b"f" * 100_000)
        file.flush()
        sent = os.sendfile(client.fileno(), file.fileno(), 0, 100_000)
    count(client, "sent", sent)
    receive(server, sent)


def splice(client, server):
    """What leaves a socket through splice(2) is not seen; what enters it is."""
    outlet, inlet = os.pipe()
    send(client, b"s" * 30_000)
    left = 30_000
    while left > 0:
        got = os.splice(server.fileno(), inlet, left)
        left -= len(os.read(outlet, got))
    os.write(inlet, b"i" * 5_000)
    count(server, "sent", os.splice(outlet, server.fileno(), 5_000))
    receive(client, 5_000)


def main():
    directory = tempfile.mkdtemp()
    path = lambda name: os.path.join(directory, name)
    before = pair(socket.AF_INET, ("127.0.0.1", 0))
    before[1].sendall(b"b" * BEFORE)
    received = 0
    while received < BEFORE:
        received += len(before[2].recv(BEFORE))
    print("ready", flush=True)
    sys.stdin.readline()

    exchange(before[1], before[2], 123_456, 65_432)
    four = pair(socket.AF_INET, ("127.0.0.1", 0))
    exchange(four[1], four[2], 1_000_000, 200_000)
    six = pair(socket.AF_INET6, ("::1", 0))
    exchange(six[1], six[2], 300_000, 400_000)
    unix = pair(socket.AF_UNIX, path("stream"))
    exchange(unix[1], unix[2], 50_000, 60_000)
    abstract = pair(socket.AF_UNIX, b"\0profiler-test")
    exchange(abstract[1], abstract[2], 1_111, 2_222)
    two = socket.socketpair()
    exchange(two[0], two[1], 12_345, 54_321)
    udp = datagrams(socket.AF_INET, ("127.0.0.1", 0), ("127.0.0.1", 0))
    udp_six = datagrams(socket.AF_INET6, ("::1", 0), ("::1", 0))
    unix_datagrams = datagrams(socket.AF_UNIX, path("one"), path("other"))
    short_lived(four[0])
    refused()
    resets = reset()
    overflows = overflow()
    peek(four[1], four[2])
    files = pair(socket.AF_INET, ("127.0.0.1", 0))
    send_file(files[1], files[2])
    spliced = pair(socket.AF_INET, ("127.0.0.1", 0))
    splice(spliced[1], spliced[2])
    slow = pair(socket.AF_INET, ("127.0.0.1", 0))
    slowly(slow[1], slow[2])

    told = {
        "sockets": counts,
        "before": [number(one) for one in before[1:]],
        "open": [number(one) for one in before[1:] + four[1:] + six[1:]],
        "files": [number(files[1]), number(spliced[2])],
        "spliced": number(spliced[2]),
        "paths": {
            number(unix[1]): ["", path("stream")],
            number(unix[2]): [path("stream"), ""],
            number(abstract[1]): ["", "@profiler-test"],
            number(abstract[2]): ["@profiler-test", ""],
        },
        "ends": {
            number(one): [
                "%s:%d" % (bracketed(one.getsockname())),
                "%s:%d" % (bracketed(one.getpeername())),
            ]
            for one in four[1:] + six[1:] + before[1:]
        },
        "resets": resets,
        "refused": REFUSED,
        "short_lived": SHORT_LIVED,
        "listener": four[0].getsockname()[1],
        "kept": len([udp, udp_six, unix_datagrams, overflows]),
    }
    print(json.dumps(told), flush=True)
    sys.stdin.read()


def bracketed(address):
    host, port = address[:2]
    return (f"[{host}]" if ":" in host else host), port


main()
