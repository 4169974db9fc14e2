"""The least that a columnar route over HTTP can cost: Starlette, msgspec in, a numpy roofline, orjson out.

uvicorn benchmarks.http_floor:app --no-access-log
"""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np
import orjson
from msgspec import Meta
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

PEAK_FLOP_PER_S, BANDWIDTH_BYTES_PER_S, POWER_W = 989e12, 3.35e12, 700.0
Size = Annotated[float, Meta(ge=1, le=1e12)]
Sizes = Annotated[list[Size], Meta(max_length=100_000)]


class Rows(msgspec.Struct, forbid_unknown_fields=True):
    """Products of matrices as columns."""

    op: str
    device: str
    dtype: str
    m: Sizes
    n: Sizes
    k: Sizes
    batch: Sizes


DECODER = msgspec.json.Decoder(Rows)


async def predict(request: Request) -> Response:
    """Answer time and energy of each row."""
    rows = DECODER.decode(await request.body())
    m, n, k, batch = (np.array(column) for column in (rows.m, rows.n, rows.k, rows.batch))
    flop = 2 * batch * m * n * k
    traffic_bytes = 2 * batch * (m * k + k * n + m * n)
    latency_s = np.maximum(flop / PEAK_FLOP_PER_S, traffic_bytes / BANDWIDTH_BYTES_PER_S)
    columns = {"latency_s": latency_s, "energy_j": latency_s * POWER_W}
    return Response(orjson.dumps(columns, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")


app = Starlette(routes=[Route("/v1/predict_ops", predict, methods=["POST"])])
