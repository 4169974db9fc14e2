"""The allocator's verbs over HTTP: a JSON object with the arguments of a function of `archcast.oracle`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import msgspec

from archcast.cost_models import PHYSICS
from archcast.service.answers import Encoded, Query, encoded, no_query, too_much_memory
from archcast.service.faults import ShapeError
from archcast.service.names import cost_model_name, device_of, looks_like_path, workload_of
from archcast.service.oracle_shapes import SHAPES
from archcast.service.reading import check_document, read
from archcast.service.settings import Limits
from archcast.service.versions import versions

MOST_CELLS = 200_000
"""Cells of one cost table or questions of one call."""
FREE = frozenset({"name"})


def oracle_routes(limits: Limits) -> dict[str, Callable[[bytes, Query], Encoded]]:
    """Return route -> what answers it, for every verb."""
    return {f"/v1/oracle/{verb}": _route(verb, shape, limits) for verb, shape in SHAPES.items()}


def _route(verb: str, shape: type[msgspec.Struct], limits: Limits) -> Callable[[bytes, Query], Encoded]:
    decoder = msgspec.json.Decoder(shape)

    def answer(body: bytes, query: Query) -> Encoded:
        no_query(query)
        asked = read(decoder, body)
        given = {name: getattr(asked, name) for name in asked.__struct_fields__}
        check_document("The body", given, depth=limits.depth, values=max(limits.values, 4 * MOST_CELLS))
        _check_cells(given)
        _check_questions(given)
        if verb == "sensitivities":
            _closed_form(given.pop("model"))
        arguments = {name: _looked_up(name, value, limits) for name, value in given.items() if value is not None}
        function = getattr(import_module("archcast.oracle"), verb)
        try:
            if verb == "scenarios":
                arguments["what"] = _priced(arguments)
            found = function(**arguments)
        except MemoryError:
            raise too_much_memory() from None
        document = found.to_json()
        document["versions"] = {**versions(), **document.get("versions", {})}
        return encoded(document, _rows(given))

    return answer


def _priced(arguments: dict[str, Any]) -> Any:
    """Return what scenarios are drawn of: questions, or the table of items and options."""
    items, options = arguments.pop("items", None), arguments.pop("options", None)
    what = arguments.pop("question", None)
    if (what is None) == (items is None) or (items is None) != (options is None):
        raise ShapeError("scenarios needs 'question', or 'items' and 'options'.", "question")
    if items is None:
        return what
    from archcast.oracle import cost_table

    return cost_table(items, options, model=arguments.pop("model", None))


def _closed_form(model: str) -> None:
    """Refuse a model where figures of the device are varied in the closed form. Raises ShapeError."""
    if model not in ("", PHYSICS):
        raise ShapeError("sensitivities are of the closed form: model is 'physics', or left out.", "model")


def _check_questions(given: Mapping[str, Any]) -> None:
    """Refuse a question that does not say what runs, and on what. Raises ShapeError."""
    for name in ("question", "x", "y", "verifier"):
        asked = given.get(name)
        for one in asked if isinstance(asked, list) else [asked] if asked is not None else []:
            if one.get("workload") is None:
                raise ShapeError(f"{name} needs 'workload'.", f"{name}.workload")
            if one.get("on") is None and one.get("device") is None:
                raise ShapeError(f"{name} needs 'on', the device.", f"{name}.on")
            if "model" in one:
                raise ShapeError(f"model stands beside {name}, not in it: one model answers a call.", f"{name}.model")


def _check_cells(given: Mapping[str, Any]) -> None:
    cells = _rows(given)
    if cells > MOST_CELLS:
        raise ShapeError(f"{cells:,} cells are asked for at once; at most {MOST_CELLS:,} are answered over HTTP.")


def _rows(given: Mapping[str, Any]) -> int:
    """Return how many answers a call has, about."""
    rows = 1
    for name in ("items", "options", "question", "values", "tokens", "samples"):
        value = given.get(name)
        rows *= max(1, len(value)) if isinstance(value, list) else 1
    return rows


def _looked_up(key: str, value: Any, limits: Limits) -> Any:
    """Return arguments with every name looked up in its catalogue, and inline documents read."""
    if key in ("workload", "on", "device", "with_device") and isinstance(value, (str, dict)):
        return workload_of(value, limits) if key == "workload" else device_of(value, limits)
    if key == "model":
        if not isinstance(value, str):
            raise ShapeError("model must be the name of a cost model.", "model")
        return cost_model_name(value)
    if isinstance(value, dict):
        return {name: _looked_up(name, inner, limits) for name, inner in value.items()}
    if isinstance(value, list):
        return [_looked_up(key, inner, limits) for inner in value]
    if isinstance(value, str) and key not in FREE and looks_like_path(value):
        raise ShapeError(f"{key}: '{value[:100]}' looks like a path; a service is sent names and documents.", key)
    return value
