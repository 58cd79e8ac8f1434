"""Reserves what is ordered, once it is paid."""

import asyncio

import resources
import settings
from fastapi import APIRouter, Query

router = APIRouter()

RESERVE = "UPDATE stock SET available = available - 1 WHERE product_id = $1 RETURNING available"


async def pay():
    """The payment provider takes its time."""
    await asyncio.sleep(0.15)


async def reserve_and_pay(product):
    async with resources.orders.acquire() as connection, connection.transaction():
        available = await connection.fetchval(RESERVE, product)
        # PLANTED (lock pile-up): the product's row stays locked while somebody
        # else's service is waited for, and all who want the product queue.
        await pay()
    return available


async def pay_and_reserve(product):
    await pay()
    return await resources.orders.fetchval(RESERVE, product)


@router.post("/stock/reserve")
async def reserve(product: int = Query(1, ge=1, le=100)):
    order = pay_and_reserve if settings.FIXED else reserve_and_pay
    return {"available": await order(product)}
