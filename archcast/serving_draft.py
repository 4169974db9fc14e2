"""The key `speculation:` of a serving file: what drafts, how much, and how much of it is accepted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from archcast.question import find_model
from foundation.errors import BadValueError, UnknownNameError
from simulator.serving.pricing import Engine
from simulator.serving.speculation import Speculation
from workloads.mapping import Mapping

KEYS = (*Speculation.__dataclass_fields__, "draft")
USUAL_BATCH = 16
"""Requests in flight for which the steps of a draft model are priced (estimated, 1 to 64: they hardly depend on it)."""


def speculation_of(spec: Any, engine: Engine, context: int) -> Speculation:
    """Return the speculation of a mapping; with `draft`, the time and energy of its steps are those of that model.

    The draft model runs on one rank of the engine, once for each drafted token, at `context` cached tokens.

    Raises:
        BadValueError, UnknownNameError: a key or a value that there is not.
    """
    if not isinstance(spec, dict):
        raise BadValueError(f"speculation must be a mapping with tokens and acceptance, not {spec!r}.")
    found = dict(spec)
    for key in found:
        if key not in KEYS:
            raise UnknownNameError("key of speculation", str(key), KEYS)
    for key in ("tokens", "acceptance"):
        if found.get(key) is None:
            raise BadValueError(f"speculation needs the key '{key}'.")
    for key in ("acceptance", "widths"):
        if isinstance(found.get(key), list):
            found[key] = tuple(found[key])
    draft = found.pop("draft", None)
    if draft is None:
        return Speculation(**found)
    if "draft_s" in found or "draft_j" in found:
        raise BadValueError("speculation: give a draft model, or draft_s and draft_j, not both.")
    seconds, joules = _step(draft, engine, context)
    drafted = Speculation(**found)
    return replace(drafted, draft_s=drafted.tokens * seconds, draft_j=drafted.tokens * joules)


def _step(draft: Any, engine: Engine, context: int) -> tuple[float, float]:
    """Return (seconds, joules) of one step of a draft model on one rank of an engine."""
    model = find_model(str(draft))
    alone = replace(engine, model=model, mapping=Mapping(software=engine.mapping.software), dtype="", kv_dtype="")
    run = alone.run("decode", USUAL_BATCH, np.array([max(context, 1)]))
    parts = [alone.costs(run, 1, attention) for attention in (False, True)]
    return float(sum(seconds[0] for seconds, _ in parts)), float(sum(joules[0] for _, joules in parts))
