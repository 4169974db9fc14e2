"""What there is: devices and workloads, as `archcast devices --json` and `archcast workloads --json` list them."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any

from fastapi import FastAPI, Query
from fastapi.responses import Response

from archcast import listing
from archcast.service.faults import RefusedError
from archcast.service.names import device_name, looks_like_path, workload_name
from archcast.service.service import Service, json_answer
from archcast.service.versions import versions
from foundation.errors import UnknownNameError

Word = Annotated[str, Query(max_length=100)]


def catalogue_routes(app: FastAPI, service: Service) -> None:
    """Add /v1/devices and /v1/workloads, lists and entries."""

    @app.get("/v1/devices", tags=["catalogue"], summary="Devices of the catalogue")
    async def devices(kind: Word = "", vendor: Word = "", has: Word = "") -> Response:
        if kind == listing.PIPELINE:
            return _json({"pipelines": listing.pipeline_rows()})
        return _json({"devices": _devices(kind, vendor, has)})

    @app.get("/v1/devices/{name}", tags=["catalogue"], summary="One device with its figures and sources")
    async def device(name: str) -> Response:
        from hardware_specs.pipelines import pipeline_ids

        known = _known(name)
        if listing.plain_name(name) not in pipeline_ids():
            known = _or_404(device_name, name)
        return _json(listing.device(known).model_dump(mode="json"))

    @app.get("/v1/workloads", tags=["catalogue"], summary="Networks of the catalogue")
    async def workloads(kind: Word = "", has: Word = "") -> Response:
        return _json({"workloads": _workloads(kind, has)})

    @app.get("/v1/workloads/{name}", tags=["catalogue"], summary="One network: parameters, MACs, knobs")
    async def workload(name: str) -> Response:
        return _json(listing.workload(_or_404(workload_name, _known(name))))


@lru_cache(maxsize=64)
def _devices(kind: str, vendor: str, has: str) -> list[dict[str, Any]]:
    return listing.device_rows(kind=kind, vendor=vendor, has=has)


@lru_cache(maxsize=64)
def _workloads(kind: str, has: str) -> list[dict[str, Any]]:
    return listing.workload_rows(kind=kind, has=has)


def _known(name: str) -> str:
    """Return a name that cannot be a path. Raises RefusedError (404)."""
    if looks_like_path(name) or len(name) > 200:
        raise RefusedError(404, "The catalogue has no such entry.")
    return name


def _or_404(find: Any, name: str) -> str:
    try:
        found: str = find(name)
        return found
    except UnknownNameError as error:
        error.status = 404  # type: ignore[attr-defined]
        raise


def _json(document: dict[str, Any]) -> Response:
    return json_answer({**document, "versions": versions()})
