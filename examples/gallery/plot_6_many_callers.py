"""
Many callers, few requests
==========================

A web service calls ``predict`` for one row at a time, from many coroutines at once. Calls that wait
at the same time go together in one request, without an added delay.
"""

# %%
# A model for a service
# ---------------------
# ``coalesce_rows`` is a field of the endpoint, so it is saved with the model.
import asyncio
import time

from digits_pair import pair, rows

from hybridmodel import HybridOnnxModel
from hybridmodel.serving import serve

small, big = pair()
_, X, _, y = rows()
server = serve({"digits": big})


def service_model(coalesce_rows):
    """Return a model as a service loads it once."""
    endpoint = server.endpoint("digits", coalesce_rows=coalesce_rows)
    return HybridOnnxModel(small, endpoint=endpoint, feature_names=list(X), output="label")


# %%
# 64 coroutines
# -------------
# Each asks for one row after the other, as the handlers of a service do. No thread waits for them.
async def handler(model, mine):
    """Ask for rows, one at a time."""
    return [int((await model.apredict(row, use_azure=True))[0]) for row in mine]


async def load(model, data):
    """Let 64 handlers share some rows."""
    shares = [[data[at : at + 1] for at in range(first, len(data), 64)] for first in range(64)]
    return await asyncio.gather(*(handler(model, mine) for mine in shares))


def measure(coalesce_rows):
    """Return calls each second, and how many requests they took."""
    with service_model(coalesce_rows) as model:
        model.predict(X.head(1), use_azure=True)
        started = time.perf_counter()
        asyncio.run(load(model, X.to_numpy()))
        per_second = len(X) / (time.perf_counter() - started)
        return per_second, model.stats()["azure.requests"]


for coalesce_rows in (0, 256):
    per_second, requests = measure(coalesce_rows)
    print(f"coalesce_rows={coalesce_rows:3}: {per_second:6,.0f} calls/s in {requests} requests")

# %%
# A whole service of FastAPI, with its errors as statuses, stands in ``examples/service.py``.
server.stop()
