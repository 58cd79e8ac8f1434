"""Two hosts that are far from each other: a client and a server in network
namespaces of their own, and between them a wire that takes its time and loses
packets, made of two TUN devices.

Says the ids of both processes, waits for a line, then says as JSON what the
client measured, and keeps its connections until its input ends.
"""

import ctypes
import fcntl
import heapq
import json
import os
import select
import socket
import struct
import subprocess
import sys
import time

# One way, seconds.
DELAY = 0.02
# Every so many packets with data are lost on the way to the server.
LOSS = 40
SENT = 600_000
SLOW_PORT = 81
PORT = 80
CLIENT = "10.99.0.1"
SERVER = "10.99.0.2"

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TUN = 1
IFF_NO_PI = 0x1000


def host(own, other, to_parent):
    """A namespace with one end of the wire."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22s", b"wire", IFF_TUN | IFF_NO_PI, b""))
    ip = lambda *words: subprocess.run(["ip", *words], check=True)
    ip("link", "set", "lo", "up")
    ip("addr", "add", own, "peer", other, "dev", "wire")
    ip("link", "set", "wire", "up", "txqueuelen", "1000")
    socket.send_fds(to_parent, [b"t"], [tun])
    os.close(tun)


def serve(to_parent):
    host(SERVER, CLIENT, to_parent)
    listeners = []
    for port in (PORT, SLOW_PORT):
        listener = socket.socket()
        listener.bind((SERVER, port))
        listener.listen(5)
        listeners.append(listener)
    to_parent.send(b"r")
    connections = []
    for listener in listeners:
        connection, _ = listener.accept()
        connections.append(connection)
    left = SENT
    while left > 0:
        left -= len(connections[0].recv(left))
    connections[0].sendall(b"done")
    to_parent.recv(1)


def connect(port):
    client = socket.socket()
    started = time.monotonic()
    client.connect((SERVER, port))
    return client, time.monotonic() - started


def ask(to_parent):
    host(CLIENT, SERVER, to_parent)
    to_parent.recv(1)
    client, took = connect(PORT)
    slow, slow_took = connect(SLOW_PORT)
    client.sendall(b"x" * SENT)
    assert client.recv(4) == b"done"
    told = {
        "connect_s": took,
        "slow_connect_s": slow_took,
        "sent": SENT,
        "client": os.fstat(client.fileno()).st_ino,
        "slow": os.fstat(slow.fileno()).st_ino,
    }
    to_parent.send(json.dumps(told).encode())
    to_parent.recv(1)


def child(work):
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        # Not to outlive the parent, whose death nobody else tells.
        ctypes.CDLL(None).prctl(1, 9)
        ours.close()
        work(theirs)
        os._exit(0)
    theirs.close()
    _, tuns, _, _ = socket.recv_fds(ours, 1, 1)
    return pid, ours, tuns[0]


class Wire:
    def __init__(self, left, right):
        self.other = {left: right, right: left}
        self.client = left
        self.waiting = []
        self.order = 0
        self.with_data = 0
        self.lost_syn = False

    def loses(self, tun, packet):
        if tun != self.client or packet[9] != socket.IPPROTO_TCP:
            return False
        tcp = packet[(packet[0] & 15) * 4 :]
        port, flags = struct.unpack("!H", tcp[2:4])[0], tcp[13]
        if port == SLOW_PORT and flags & 2 and not self.lost_syn:
            self.lost_syn = True
            return True
        if len(packet) < 500:
            return False
        self.with_data += 1
        return self.with_data % LOSS == 0

    def take(self, tun):
        packet = os.read(tun, 4096)
        if packet[0] >> 4 == 4 and not self.loses(tun, packet):
            self.order += 1
            due = time.monotonic() + DELAY
            heapq.heappush(self.waiting, (due, self.order, self.other[tun], packet))

    def deliver(self):
        while self.waiting and self.waiting[0][0] <= time.monotonic():
            _, _, tun, packet = heapq.heappop(self.waiting)
            os.write(tun, packet)

    def patience(self):
        if not self.waiting:
            return 0.5
        return max(0, self.waiting[0][0] - time.monotonic())


def main():
    server, to_server, right = child(serve)
    client, to_client, left = child(ask)
    assert to_server.recv(1) == b"r"
    print(json.dumps({"server": server, "client": client}), flush=True)
    wire = Wire(left, right)
    stdin = sys.stdin.fileno()
    while True:
        ready, _, _ = select.select([left, right, stdin, to_client], [], [], wire.patience())
        wire.deliver()
        for one in ready:
            if one in wire.other:
                wire.take(one)
            elif one == stdin:
                if not os.read(stdin, 100):
                    return
                to_client.send(b"g")
            elif one == to_client:
                print(to_client.recv(4096).decode(), flush=True)
        wire.deliver()


main()
