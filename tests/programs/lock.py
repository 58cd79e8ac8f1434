"""One thread holds the GIL for known times, another one wants it always.

The holder sleeps in C without giving the lock up (`ctypes.PyDLL`), then in
`time.sleep`, which gives it up. So the other thread waits for as long as the
holder sleeps in C. Prints both in seconds.
"""

import ctypes
import json
import sys
import threading
import time

HELD = 0.030
FREE = 0.030
libc = ctypes.PyDLL(None)
end = time.monotonic() + float(sys.argv[1])
held = 0.0


def hold():
    global held
    while time.monotonic() < end:
        start = time.monotonic()
        libc.usleep(int(HELD * 1e6))
        held += time.monotonic() - start
        time.sleep(FREE)


def want():
    x = 0
    while time.monotonic() < end:
        for i in range(500):
            x += i
    return x


start = time.monotonic()
threads = [threading.Thread(target=hold), threading.Thread(target=want)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps({"held": held, "wall": time.monotonic() - start}))
