"""A process that sends to three hosts, and a name server that knows one of them.

Waits for a line, then sends a datagram to each host and says so; keeps its sockets
until its input ends. The hosts are behind the loopback of a network namespace of its
own, where nobody has their addresses; the name server is in the one that it was
started in.
"""

import ctypes
import socket
import struct
import subprocess
import sys
import threading

# As tests/names.rs has them.
NAMED, UNKNOWN, SILENT = "198.51.100.7", "198.51.100.8", "198.51.100.9"
NAME = "db.example.test"
NAME_SERVER = "127.77.0.1"
OWN, HOSTS, PORT = "203.0.113.1", "198.51.100.0/24", 5432
CLONE_NEWNET = 0x40000000
NXDOMAIN = 3


def encoded(name):
    labels = (bytes([len(label)]) + label.encode() for label in name.split("."))
    return b"".join(labels) + b"\0"


def reverse(address):
    return encoded(".".join(reversed(address.split("."))) + ".in-addr.arpa")


def answer_questions(server):
    """RFC 1035, 4.1: what is asked begins behind twelve bytes of header."""
    while True:
        question, sender = server.recvfrom(512)
        end = question.index(b"\0", 12) + 1
        name, asked = question[12:end].lower(), question[12 : end + 4]
        if name == reverse(SILENT):
            continue
        known = name == reverse(NAMED) and question[end : end + 2] == b"\0\x0c"
        flags = 0x8180 | (0 if known else NXDOMAIN)
        reply = question[:2] + struct.pack(">5H", flags, 1, int(known), 0, 0) + asked
        if known:
            data = encoded(NAME)
            reply += b"\xc0\x0c" + struct.pack(">HHIH", 12, 1, 60, len(data)) + data
        server.sendto(reply, sender)


name_server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
name_server.bind((NAME_SERVER, 53))
threading.Thread(target=answer_questions, args=(name_server,), daemon=True).start()

# The name server stays in the namespace that it was made in.
if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
    raise OSError(ctypes.get_errno(), "unshare")
ip = lambda *words: subprocess.run(["ip", *words], check=True, env={"PATH": "/usr/sbin:/usr/bin"})
ip("link", "set", "lo", "up")
ip("addr", "add", OWN + "/32", "dev", "lo")
ip("route", "add", HOSTS, "dev", "lo")
sockets = []
for host in (NAMED, UNKNOWN, SILENT):
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.connect((host, PORT))
    sockets.append(one)
sys.stdin.readline()
for one in sockets:
    one.send(b"hello")
print("done", flush=True)
sys.stdin.read()
