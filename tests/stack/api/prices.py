"""What a basket costs, with the best of all combinations of discounts."""

from functools import lru_cache

import settings
from fastapi import APIRouter

router = APIRouter()

DISCOUNTS = (3, 5, 7, 9, 11, 13, 17, 19, 21, 23, 25, 27)
BASKET = (1999, 499, 12999, 250, 4999)
MOST = 60


def price_with_discounts(cents, most):
    # PLANTED (CPU hot spot): tries every combination, in every request anew.
    best = cents
    for chosen in range(1 << len(DISCOUNTS)):
        price, percent = cents, 0
        for index, discount in enumerate(DISCOUNTS):
            if chosen >> index & 1:
                percent += discount
                price = price * (100 - discount) // 100
        if percent <= most and price < best:
            best = price
    return best


remembered_price = lru_cache(price_with_discounts)


@router.get("/prices")
async def prices():
    price = remembered_price if settings.FIXED else price_with_discounts
    return {"cents": sum(price(cents, MOST) for cents in BASKET)}
