"""Burns CPU time in known places and says how much each of them got.

Every place burns until this thread's own CPU clock has moved on by its part
of a round, so the parts hold whatever the interpreter and the machine. With
a number as argument it stops after as many seconds; it prints what was burned
by "function:line" of the place that asked for it.
"""

import asyncio
import ctypes
import functools
import json
import sys
import threading
import time

spent = {}


def burn(seconds):
    """Charges the line that called."""
    caller = sys._getframe(1)
    place = "%s:%d" % (caller.f_code.co_name, caller.f_lineno)
    start = time.thread_time()
    end = start + seconds
    x = 0
    while time.thread_time() < end:
        for i in range(50):
            x += i * i
    spent[place] = spent.get(place, 0.0) + time.thread_time() - start
    return x


def two_lines():
    burn(0.006)
    burn(0.002)


def recursion(depth):
    if depth == 0:
        burn(0.008)
        return 0
    return 1 + recursion(depth - 1)


def generator():
    for i in range(2):
        burn(0.003)
        yield i


def consume():
    total = 0
    for i in generator():
        total += i
    burn(0.002)
    return total


async def innermost():
    burn(0.004)
    await asyncio.sleep(0)


async def middle():
    await innermost()


async def outer():
    await middle()
    burn(0.002)


def run_coroutines():
    loop.run_until_complete(outer())


def key(value):
    burn(0.002)
    return -value


def call_back_from_sort():
    return sorted([1, 2, 3], key=key)


def compare(left, right):
    burn(0.002)
    return left[0] - right[0]


POINTER = ctypes.POINTER(ctypes.c_int)
COMPARE = ctypes.CFUNCTYPE(ctypes.c_int, POINTER, POINTER)
c_compare = COMPARE(compare)
libc = ctypes.CDLL(None)


def call_back_from_c():
    values = (ctypes.c_int * 2)(2, 1)
    libc.qsort(values, 2, ctypes.sizeof(ctypes.c_int), c_compare)


def raises():
    try:
        burn(0.002)
        raise ValueError
    except ValueError:
        burn(0.002)


class Thing:
    def method(self):
        burn(0.004)

    @functools.lru_cache(maxsize=None)
    def unused(self):
        return None


def big_integers():
    """All in C, below one line."""
    start = time.thread_time()
    while time.thread_time() < start + 0.006:
        pow(7, 1 << 60, (1 << 4001) + 1)
    spent["big_integers:C"] = spent.get("big_integers:C", 0.0) + time.thread_time() - start


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else float("inf")
    end = time.monotonic() + seconds
    thing = Thing()
    while time.monotonic() < end:
        two_lines()
        recursion(30)
        consume()
        run_coroutines()
        call_back_from_sort()
        call_back_from_c()
        raises()
        thing.method()
        big_integers()
    total = time.process_time()
    print(json.dumps({"total": total, "spent": spent}), flush=True)


def sleep_forever():
    time.sleep(3600)


loop = asyncio.new_event_loop()
threading.Thread(target=sleep_forever, name="sleeper", daemon=True).start()
main()
