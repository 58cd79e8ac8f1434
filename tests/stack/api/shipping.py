"""What the carrier asks for a parcel."""

import asyncio
import json
import urllib.request

import settings
from fastapi import APIRouter

router = APIRouter()


def carrier_rate(grams):
    with urllib.request.urlopen(f"{settings.CARRIER}/rates?grams={grams}") as answer:
        return json.load(answer)


@router.get("/shipping/quote")
async def quote(grams: int = 500):
    if settings.FIXED:
        return await asyncio.to_thread(carrier_rate, grams)
    # PLANTED (blocking call in the event loop): until the carrier answers, no
    # other request of this process is served.
    return carrier_rate(grams)
