"""Whether the service lives, whether it is ready, and its counts."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse, Response

from archcast.service.faults import RefusedError
from archcast.service.service import Service, json_answer
from archcast.service.versions import versions


def health_routes(app: FastAPI, service: Service) -> None:
    """Add /healthz, /readyz and /metrics."""

    @app.get("/healthz", tags=["service"], summary="The process answers")
    async def healthz() -> Response:
        return json_answer({"status": "ok"})

    @app.get("/readyz", tags=["service"], summary="The cost model is loaded")
    async def readyz() -> Response:
        if not service.ready:
            raise RefusedError(503, "The cost model is being loaded; ask again in a second.", retry_s=1)
        return json_answer({"status": "ready"})

    @app.get("/metrics", tags=["service"], summary="Counts for Prometheus", response_class=PlainTextResponse)
    async def metrics() -> Response:
        states = service.jobs.counts() if service.jobs is not None else {}
        text = service.metrics.exposition(states, versions(), service.cache.bytes)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")
