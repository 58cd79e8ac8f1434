"""One thread holds the GIL for known times, another one wants it always.

The holder sleeps in C without giving the lock up (`ctypes.PyDLL`), then in
`time.sleep`, which gives it up. So the other thread waits for as long as the
holder sleeps in C. On SIGTERM it ends and prints, in seconds, for how long it
was held, and how long all took.
"""

import ctypes
import json
import signal
import threading
import time

HELD = 0.030
FREE = 0.030
libc = ctypes.PyDLL(None)
ends = False
held = 0.0


def end(*_):
    global ends
    ends = True


def hold():
    global held
    while not ends:
        start = time.monotonic()
        libc.usleep(int(HELD * 1e6))
        held += time.monotonic() - start
        time.sleep(FREE)


def want():
    x = 0
    while not ends:
        for i in range(500):
            x += i
    return x


signal.signal(signal.SIGTERM, end)
start = time.monotonic()
threads = [threading.Thread(target=hold), threading.Thread(target=want)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps({"held": held, "wall": time.monotonic() - start}))
