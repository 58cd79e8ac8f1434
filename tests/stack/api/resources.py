"""Connections that live as long as the service."""

import asyncpg
import redis.asyncio
import settings

CONNECTIONS = 16

orders: asyncpg.Pool
cache: redis.asyncio.Redis


async def connect():
    global orders, cache
    orders = await asyncpg.create_pool(
        settings.POSTGRES,
        min_size=CONNECTIONS,
        max_size=CONNECTIONS,
        server_settings={"application_name": "shop-orders"},
    )
    cache = redis.asyncio.from_url(settings.REDIS, decode_responses=True)


async def close():
    await orders.close()
    await cache.close()
