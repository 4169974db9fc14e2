"""What a serving file asks for that can be simulated but may not be what its author meant: one sentence each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from archcast.serving_file import EngineKeys, ServingKeys
from costmodel.stack import unknown_stack
from simulator.serving.pricing import Engine
from workloads.traffic import Traffic


def asked_notes(
    keys: ServingKeys, engines: Sequence[tuple[EngineKeys, Engine, tuple[str, ...]]], drawn: Sequence[Traffic]
) -> tuple[str, ...]:  # fmt: skip
    """Return notes on stacks that are not known, requests beyond a model's context, and users who never ask."""
    found = [
        note
        for _, engine, _ in engines
        for note in (unknown_stack(engine.mapping.software, engine.cost_model), *_context(engine, drawn[0]))
        if note
    ]
    users = (keys.closed_loop or {}).get("users", 0)
    if users > len(drawn[0]):
        found.append(
            f"{users:,} users share {len(drawn[0]):,} requests: {users - len(drawn[0]):,} of them never ask, so the "
            "load is that of fewer users; raise traffic.requests to several times the users."
        )
    return tuple(dict.fromkeys(found))


def _context(engine: Engine, traffic: Traffic) -> list[str]:
    """Say how many requests have more tokens than the model was made for."""
    longest = int(engine.model.knobs().get("max_context") or 0)
    if longest <= 0:
        return []
    tokens = traffic.prompt + traffic.generate
    beyond = int(np.count_nonzero(tokens > longest))
    if not beyond:
        return []
    what = "request has" if beyond == 1 else "requests have"
    return [
        f"{beyond:,} {what} more tokens, prompt and answer together (up to {int(tokens.max()):,}), than the "
        f"{longest:,} that '{engine.model.name}' was made for."
    ]
