"""A customer's orders, with their lines."""

import resources
import settings
from fastapi import APIRouter, Query

router = APIRouter()

ORDERS = "SELECT id, reference FROM orders WHERE customer_id = $1 ORDER BY id"
LINES = "SELECT product_id, quantity, cents FROM order_lines WHERE order_id = $1"
LINES_OF_ALL = (
    "SELECT order_id, product_id, quantity, cents FROM order_lines WHERE order_id = ANY($1)"
)


async def lines_one_by_one(connection, orders):
    # PLANTED (N+1): one query for the orders, then one for each of them.
    return {order["id"]: await connection.fetch(LINES, order["id"]) for order in orders}


async def lines_at_once(connection, orders):
    lines = {order["id"]: [] for order in orders}
    for line in await connection.fetch(LINES_OF_ALL, list(lines)):
        lines[line["order_id"]].append(line)
    return lines


@router.get("/customers/orders")
async def customer_orders(customer: int = Query(1, ge=1, le=10000)):
    load_lines = lines_at_once if settings.FIXED else lines_one_by_one
    async with resources.orders.acquire() as connection:
        orders = await connection.fetch(ORDERS, customer)
        lines = await load_lines(connection, orders)
    return [
        {
            "reference": order["reference"],
            "cents": sum(line["quantity"] * line["cents"] for line in lines[order["id"]]),
        }
        for order in orders
    ]
