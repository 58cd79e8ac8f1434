"""What a visitor may like, from the cache where it is there."""

import json
import random
import uuid

import resources
import settings
from fastapi import APIRouter

router = APIRouter()

LIFETIME = 30
GUESTS = 0.1


def cache_key(session):
    if settings.FIXED:
        return "recommendations:popular"
    # PLANTED (cache with 10 % hits): the same is computed for everyone, but the
    # key has the session in it, which only guests share.
    return f"recommendations:{session}"


def popular():
    return [product * 37 % 101 for product in range(20)]


@router.get("/recommendations")
async def recommendations():
    session = "guest" if random.random() < GUESTS else uuid.uuid4().hex
    key = cache_key(session)
    kept = await resources.cache.get(key)
    if kept is None:
        kept = json.dumps(popular())
        await resources.cache.set(key, kept, ex=LIFETIME)
    return json.loads(kept)
