"""Customers: so many at each page of the shop, for so many seconds.

Says `under way` when each of them had an answer.
"""

import http.client
import os
import random
import sys
import threading
import time
from collections import namedtuple

API = ("127.0.0.1", 28080)
REPORTS = ("127.0.0.1", 28082)
PAGES = ("127.0.0.1", 28081)
PATIENCE = 60

# Who asks whom for what, how many of them do so at a time, and for how many
# seconds each of them looks at an answer.
Clients = namedtuple("Clients", "server method path count pause")
CLIENTS = (
    Clients(API, "GET", "/customers/orders?customer={number}", 2, 0.3),
    Clients(API, "GET", "/orders/by-reference?reference=R-{number}", 2, 0.2),
    Clients(API, "POST", "/stock/reserve?product=1", 6, 0),
    Clients(REPORTS, "GET", "/reports/sales", 8, 0),
    Clients(API, "GET", "/prices", 1, 0.15),
    Clients(API, "GET", "/shipping/quote", 1, 0.4),
    Clients(API, "GET", "/recommendations", 2, 0.03),
    Clients(PAGES, "GET", "/", 1, 0.2),
    Clients(PAGES, "GET", "/invoice", 1, 0.5),
    Clients(PAGES, "GET", "/similar?product={number}", 1, 0.2),
)


def ask(connection, client):
    path = client.path.format(number=random.randint(1, 10000))
    connection.request(client.method, path)
    answer = connection.getresponse()
    answer.read()
    if answer.status != 200:
        raise http.client.HTTPException(f"{client.path}: {answer.status}")


def first(client, end):
    """A connection that had an answer."""
    while True:
        connection = http.client.HTTPConnection(*client.server, timeout=PATIENCE)
        try:
            ask(connection, client)
            return connection
        except (OSError, http.client.HTTPException) as error:
            if time.monotonic() > end:
                sys.exit(f"{client.path}: {error}")
            time.sleep(0.2)


def work(client, started, end):
    connection = first(client, end)
    started.release()
    while time.monotonic() < end:
        time.sleep(client.pause)
        try:
            ask(connection, client)
        except (OSError, http.client.HTTPException) as error:
            print(error, file=sys.stderr)
            connection = first(client, end)


def main():
    end = time.monotonic() + float(os.environ["LOAD"])
    started = threading.Semaphore(0)
    everyone = [client for client in CLIENTS for _ in range(client.count)]
    for client in everyone:
        threading.Thread(target=work, args=(client, started, end)).start()
    for _ in everyone:
        started.acquire()
    print("under way", flush=True)


main()
