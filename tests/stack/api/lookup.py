"""An order by the reference that its customer was given."""

import resources
from fastapi import APIRouter

router = APIRouter()

# PLANTED (missing index): the table has no index on `reference` (schema.sql), so
# each request reads it whole.
ORDER = "SELECT id, customer_id, ordered_at FROM orders WHERE reference = $1"


@router.get("/orders/by-reference")
async def order_by_reference(reference: str = "R-03e6c61603f6c550ab49ab6a2d83f793"):
    order = await resources.orders.fetchrow(ORDER, reference)
    return dict(order) if order else {}
