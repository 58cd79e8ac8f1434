"""A thread that sleeps in a known chain of calls."""
import sys
import threading
import time


def innermost():
    time.sleep(0.05)


class Work:
    def middle(self):
        return innermost()


def outer():
    work = Work()
    end = time.monotonic() + float(sys.argv[1])
    while time.monotonic() < end:
        list(map(lambda _: work.middle(), range(2)))


thread = threading.Thread(target=outer, name="sleeper")
thread.start()
thread.join()
