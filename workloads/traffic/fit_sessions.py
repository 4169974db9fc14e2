"""Fit the model of conversations to a trace with prefix ids."""

from __future__ import annotations

import numpy as np

from foundation.errors import BadValueError
from workloads.table import Array
from workloads.traffic.sessions import PromptClass, Sessions
from workloads.traffic.statistics import blocks_seen
from workloads.traffic.stream import Traffic

CLASSES = 6
QUANTILES = 21
SYSTEM_SHARE = 0.9
"""A leading block that this share of all requests has is part of a system prompt."""


def fit_sessions(traffic: Traffic) -> Sessions:
    """Return who continues whom, from the second half of the trace: by then most old requests are in it.

    Raises:
        BadValueError: the trace has no prefix ids, or nothing in it is shared.
    """
    if not len(traffic.prefix_ids):
        raise BadValueError("The trace has no prefix ids, so no conversations can be fitted to it.")
    seen = blocks_seen(traffic)
    system_blocks = _system_blocks(traffic)
    parent = _last_with(traffic, seen)
    late = traffic.arrival_s >= traffic.arrival_s[0] + traffic.span_s / 2
    continues = seen > system_blocks
    if (continues & late).sum() < CLASSES * QUANTILES:
        raise BadValueError("Too few requests of the trace share a prefix; no conversations can be fitted to it.")
    blocks = np.diff(traffic.prefix_start)
    edges = np.unique(np.quantile(traffic.prompt[late], np.linspace(0, 1, CLASSES + 1)[1:]))
    place = np.searchsorted(edges, traffic.prompt)
    grid = np.linspace(0, 1, QUANTILES)
    classes = []
    for number, edge in enumerate(edges.tolist()):
        here = late & (place == number)
        share = (seen / np.maximum(blocks, 1))[here & continues]
        table = np.quantile(share, grid) if len(share) else np.zeros(QUANTILES)
        classes.append(PromptClass(edge, float(continues[here].mean()), tuple(np.round(table, 4).tolist())))
    now = np.flatnonzero(continues & late)
    age_s = np.quantile(traffic.arrival_s[now] - traffic.arrival_s[parent[now]], grid)
    return Sessions(tuple(classes), tuple(np.round(age_s, 1).tolist()), system_blocks, traffic.prefix_tokens)


def _system_blocks(traffic: Traffic) -> int:
    """Return how many leading blocks nearly all prompts have in common."""
    start, blocks = traffic.prefix_start[:-1], np.diff(traffic.prefix_start)
    number = 0
    while True:
        ids = traffic.prefix_ids[(start + number)[blocks > number]]
        if not len(ids) or np.unique(ids, return_counts=True)[1].max() < SYSTEM_SHARE * len(traffic):
            return number
        number += 1


def _last_with(traffic: Traffic, seen: Array) -> Array:
    """Return the last earlier request that had the last block which each request shares; -1 where it shares none."""
    last: dict[int, int] = {}
    start, ids = traffic.prefix_start.tolist(), traffic.prefix_ids.tolist()
    found = np.full(len(traffic), -1, dtype=np.int64)
    for i, count in enumerate(seen.tolist()):
        if count:
            found[i] = last[ids[start[i] + count - 1]]
        last.update(dict.fromkeys(ids[start[i] : start[i + 1]], i))
    return found
