"""What there is: devices and workloads, as `archcast devices --json` and `archcast workloads --json` list them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from archcast import listing
from archcast.service.faults import RefusedError
from archcast.service.names import device_name, looks_like_path, workload_name
from foundation.errors import UnknownNameError
from hardware_specs.catalogue import plain_name


@lru_cache(maxsize=64)
def listed(what: str, *, kind: str = "", vendor: str = "", has: str = "") -> dict[str, Any]:
    """Return the list of devices (or pipelines) or workloads that pass some filters. Raises UnknownNameError."""
    if what == "workloads":
        return {"workloads": listing.workload_rows(kind=kind, has=has)}
    if kind == listing.PIPELINE:
        return {"pipelines": listing.pipeline_rows()}
    return {"devices": listing.device_rows(kind=kind, vendor=vendor, has=has)}


def entry(what: str, name: str) -> dict[str, Any]:
    """Return one device, pipeline or workload. Raises UnknownNameError with status 404."""
    from hardware_specs.pipelines import pipeline_ids

    if looks_like_path(name) or len(name) > 200:
        raise RefusedError(404, "The catalogue has no such entry.")
    if what == "workloads":
        return listing.workload(_or_404(workload_name, name))
    known = name if plain_name(name) in pipeline_ids() else _or_404(device_name, name)
    return listing.device(known).model_dump(mode="json")


def _or_404(find: Callable[[str], str], name: str) -> str:
    try:
        return find(name)
    except UnknownNameError as error:
        error.status = 404  # type: ignore[attr-defined]
        raise
