"""Some thirty frames deep in Python, C code and Python again: a mixed stack.

Without an argument it spins there for ever. With one, it does a fixed piece
of work as many times, and prints the CPU seconds that each took.
"""

import sys
import time


def spin(value):
    x = 0
    while True:
        for i in range(1000):
            x += i


def work(value):
    x = 0
    for i in range(2_000_000):
        x += i * i
    return value


def descend(depth, function):
    if depth == 0:
        return function(0)
    if depth % 3 == 0:
        # Through C.
        return sorted([0], key=lambda value: descend(depth - 1, function) or 0)
    return descend(depth - 1, function)


sys.setrecursionlimit(10000)
if len(sys.argv) < 2:
    descend(4, spin)
for _ in range(int(sys.argv[1])):
    start = time.process_time()
    descend(4, work)
    print(time.process_time() - start, flush=True)
