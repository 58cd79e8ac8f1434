"""The shop's API: each module has one endpoint, with one fault planted in it."""

import customers
import lookup
import prices
import recommendations
import resources
import shipping
import stock
from fastapi import FastAPI

app = FastAPI(title="Shop")
for module in (customers, lookup, stock, prices, shipping, recommendations):
    app.include_router(module.router)


@app.on_event("startup")
async def startup():
    await resources.connect()


@app.on_event("shutdown")
async def shutdown():
    await resources.close()


@app.get("/health")
async def health():
    return {"ok": True}
