"""Routes of the catalogue."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Query
from fastapi.responses import Response

from archcast.service.catalogue_answers import entry, listed
from archcast.service.service import Service, json_answer
from archcast.service.versions import versions

Word = Annotated[str, Query(max_length=100)]


def catalogue_routes(app: FastAPI, service: Service) -> None:
    """Add /v1/devices and /v1/workloads, lists and entries."""

    @app.get("/v1/devices", tags=["catalogue"], summary="Devices of the catalogue")
    async def devices(kind: Word = "", vendor: Word = "", has: Word = "") -> Response:
        return _answer(listed("devices", kind=kind, vendor=vendor, has=has))

    @app.get("/v1/devices/{name:path}", tags=["catalogue"], summary="One device with its figures and sources")
    async def device(name: str) -> Response:
        return _answer(entry("devices", name))

    @app.get("/v1/workloads", tags=["catalogue"], summary="Networks of the catalogue")
    async def workloads(kind: Word = "", has: Word = "") -> Response:
        return _answer(listed("workloads", kind=kind, has=has))

    @app.get("/v1/workloads/{name:path}", tags=["catalogue"], summary="One network: parameters, MACs, knobs")
    async def workload(name: str) -> Response:
        return _answer(entry("workloads", name))


def _answer(document: dict[str, Any]) -> Response:
    return json_answer({**document, "versions": versions()})
