"""Sends many small messages from one end of a connection to the other. Says
"ready", waits for a line, and then says how many calls sent or received."""

import socket
import sys

MESSAGES = 100_000

listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
server, _ = listener.accept()
print("ready", flush=True)
sys.stdin.readline()
for _ in range(MESSAGES):
    client.send(b"m" * 100)
    left = 100
    while left > 0:
        got = len(server.recv(left))
        assert got == 100, "a loopback message is not cut"
        left -= got
print(2 * MESSAGES, flush=True)
sys.stdin.read()
