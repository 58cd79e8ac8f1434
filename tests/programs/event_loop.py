"""An event loop with handlers that wait: `event_loop.py HOW`.

`sleep`, `poll`, `lock`, `child`: in the loop's own thread, where nothing else runs
then. `uvloop`: the same sleep under uvloop. `asyncio`, `executor`: as one should.

Says that it begins, and on SIGTERM for which part of the time since SIGHUP handlers
held the loop and used no CPU, and the lines where they did.
"""

import asyncio
import inspect
import os
import select
import signal
import sys
import threading
import time

HELD = 0.04
FREE = 0.06
began = time.monotonic()
held = 0.0
ends = False
# For ever taken, so that waiting for it ends when its time is over.
lock = threading.Lock()
lock.acquire()
readable, _ = os.pipe()
poller = select.poll()
poller.register(readable, select.POLLIN)


def send_receipt(how):
    global held
    from_ = time.monotonic() - time.thread_time()
    if how == "poll":
        poller.poll(HELD * 1000)
    elif how == "lock":
        lock.acquire(timeout=HELD)
    elif how == "child":
        child = os.fork()
        if child == 0:
            time.sleep(HELD)
            os._exit(0)
        os.waitpid(child, 0)
    else:
        time.sleep(HELD)
    held += time.monotonic() - time.thread_time() - from_


async def handler(how):
    loop = asyncio.get_running_loop()
    if how == "asyncio":
        await asyncio.sleep(HELD)
    elif how == "executor":
        await loop.run_in_executor(None, time.sleep, HELD)
    else:
        send_receipt(how)


async def main(how):
    print("ready", flush=True)
    while not ends:
        await handler(how)
        await asyncio.sleep(FREE)
    share = 100 * held / (time.monotonic() - began)
    lines, first = inspect.getsourcelines(send_receipt)
    print(share, first, first + len(lines) - 1, flush=True)


def begin(*_):
    global began, held
    began, held = time.monotonic(), 0.0


def end(*_):
    global ends
    ends = True


signal.signal(signal.SIGHUP, begin)
signal.signal(signal.SIGTERM, end)
how = sys.argv[1]
if how == "uvloop":
    import uvloop

    uvloop.install()
asyncio.new_event_loop().run_until_complete(main(how))
