"""A service in front of a database, as people write them."""

import hashlib

import psycopg2
from fastapi import FastAPI

app = FastAPI()
connections = {}


def connection():
    if "orders" not in connections:
        connections["orders"] = psycopg2.connect(
            host="127.0.0.1", port=15432, user="postgres", dbname="postgres"
        )
        connections["orders"].autocommit = True
    return connections["orders"]


def load_orders(low):
    with connection().cursor() as cursor:
        cursor.execute(
            "SELECT aid, abalance FROM pgbench_accounts WHERE aid BETWEEN %s AND %s",
            (low, low + 300),
        )
        return cursor.fetchall()


def total(orders):
    return sum(balance * (number % 7) for number, balance in orders)


@app.get("/")
async def root():
    return {"ok": True}


@app.get("/orders")
async def orders():
    rows = load_orders(1000)
    digest = hashlib.sha256(repr(rows).encode()).hexdigest()
    return {"total": total(rows), "digest": digest, "count": len(rows)}
