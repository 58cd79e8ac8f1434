"""Workers that fork without exec, one after the other, each for a moment."""

import os
import sys
import time


def work(seconds):
    end = time.process_time() + seconds
    x = 0
    while time.process_time() < end:
        for i in range(100):
            x += i
    return x


def worker():
    work(0.05)
    os._exit(0)


end = time.monotonic() + float(sys.argv[1])
work(0.5)
while time.monotonic() < end:
    child = os.fork()
    if child == 0:
        worker()
    os.waitpid(child, 0)
