"""What the shop's management asks for: sales of the last hours."""

import os

import asyncpg
from fastapi import FastAPI

POSTGRES = os.environ.get("POSTGRES", "postgres://postgres@127.0.0.1:25432/shop")
FIXED = os.environ.get("FIXED") == "1"

# PLANTED (pool too small): eight clients ask at the same time, and six of them
# wait for a connection.
CONNECTIONS = 10 if FIXED else 2

# pg_sleep is what this would take on a disk.
SALES = """
    SELECT sum(quantity * cents) FROM orders JOIN order_lines ON order_id = orders.id,
      pg_sleep(0.1)
    WHERE ordered_at > now() - interval '2 hours'
"""

app = FastAPI(title="Reports")


@app.on_event("startup")
async def startup():
    app.state.pool = await asyncpg.create_pool(
        POSTGRES,
        min_size=CONNECTIONS,
        max_size=CONNECTIONS,
        server_settings={"application_name": "shop-reports"},
    )


@app.on_event("shutdown")
async def shutdown():
    await app.state.pool.close()


@app.get("/reports/sales")
async def sales():
    return {"cents": await app.state.pool.fetchval(SALES)}
