"""The kernel's tables of a network, before its first event."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from simulator.queues import kernel_layout as layout
from simulator.queues.compiled import DISCIPLINES, Compiled, Kind
from simulator.queues.feeds import Ints
from simulator.queues.record import HISTOGRAM_BINS, N_CAUSES

ROWS_AT_FIRST = 256
"""Rows of tables that grow as they are used up."""
LOG_ROWS = 32_768
"""Recorded times that wait for Python to take them."""


def build(network: Compiled, horizon: int, sample: int, observe: Iterable[int]) -> dict[str, Any]:
    """Return the tables by name, and the run record as `run`; `observe`: whose waits are recorded."""
    n = len(network.names)
    elements = _elements(network)
    elements["log_waits"][list(observe)] = 1
    run = np.zeros(1, layout.RUN)
    run["ticks_per_second"], run["horizon"], run["sample"] = network.ticks_per_second, horizon, sample
    run["free_item"] = -1
    run["elements_n"], run["classes"], run["targets_n"] = n, network.n_classes, network.targets.shape[1]
    servers, by_rank, free = _servers(network, elements)
    batch_s = np.array([time for times in network.batch_time_s for time in times] or [0.0])
    elements["batch_at"] = _starts(network.batch_time_s)
    rules = _rules(network, elements)
    run["log_full"] = LOG_ROWS
    log_rows = LOG_ROWS + int(network.batch_size.max(initial=0)) + 1  # a step records one batch at most
    tables = {
        "heap": np.zeros(1, layout.EVENT),
        "stack": np.zeros(ROWS_AT_FIRST, layout.STEP),
        "elements": elements,
        "servers": servers,
        "items": np.zeros(ROWS_AT_FIRST, layout.ITEM),
        "services": _services(network),
        "fixed": network.fixed,
        "targets": network.targets,
        "cumulative": network.cumulative,
        "feeds": np.zeros(max(1, len(network.feeds)), layout.FEEDS),
        "whole": np.zeros(1, np.int64),
        "lines": np.full(int(elements["lines"].sum()) + 1, -1, np.int64).repeat(2).view(layout.LINE),
        "free": free,
        "by_rank": by_rank,
        "batch_s": batch_s,
        "histogram": np.zeros((n, HISTOGRAM_BINS), np.int64),
        "lost": np.zeros((n, N_CAUSES), np.int64),
        "log": np.zeros(log_rows, layout.LOGGED),
        "samples": np.zeros((ROWS_AT_FIRST if sample else 1, n, 2), np.int64),
        "shares": np.zeros((max(1, int(elements["share"].sum())), ROWS_AT_FIRST), layout.SHARED),
        "rules": rules,
        "ring": np.full(1 + int(rules["accepts"].sum()), -1, np.int64),
        "branch_bytes": network.branch_bytes,
        "gates": np.flatnonzero(network.gate_bit >= 0),
    }
    return {"run": run, **{name: np.ascontiguousarray(tables[name]) for name in layout.TABLES.split()}}


def _starts(rows: Iterable[Any]) -> Ints:
    """Return where each row begins, all rows behind one another."""
    lengths = [len(row) for row in rows]
    return np.cumsum([0, *lengths[:-1]]).astype(np.int64)


def _elements(network: Compiled) -> Any:
    found = np.zeros(len(network.names), layout.ELEMENT)
    for name in (
        "kind", "how", "n_targets", "route_feed", "servers", "places", "places_bytes", "blocks", "returns", "credits",
        "together", "extendable", "arrivals_feed", "class_feed", "only_class", "size_feed", "only_size",
    ):  # fmt: skip
        found[name] = getattr(network, name)
    station = network.kind == Kind.STATION
    shared = station & (network.discipline == DISCIPLINES["share"])
    found["share"] = shared
    found["share_at"] = np.cumsum(shared) - shared
    found["lines"] = np.where(station & (network.discipline == DISCIPLINES["priority"]), network.n_classes, 1)
    found["line_at"] = np.cumsum(found["lines"]) - found["lines"]
    found["server_at"] = np.cumsum(network.servers) - network.servers
    found["speeds"] = [bool(speeds) for speeds in network.speeds]
    found["batch"], found["max_wait"] = network.batch_size, network.batch_wait_ticks
    found["bit"] = np.where(network.gate_bit >= 0, 1 << np.maximum(network.gate_bit, 0), 0)
    found["work"], found["dead"] = network.outage_work, network.dead_ticks
    found["join"], found["pack"] = network.join_of, network.pack_count
    for name in ("timer", "held_head", "held_tail", "leaving"):
        found[name] = -1
    return found


def _services(network: Compiled) -> Any:
    found = np.zeros(network.service_feed.shape, layout.SERVICE)
    found["ticks"], found["feed"] = network.service_ticks, network.service_feed
    found["ready"] = network.service_ready
    for power in range(4):
        found[f"a{power}"] = network.polynomial_s[:, :, power]
    return found


def _servers(network: Compiled, elements: Any) -> tuple[Any, Ints, Ints]:
    """Return the servers, those of each station from the fastest and lowest number on, and the ranks of free ones."""
    total = max(1, int(network.servers.sum()))
    found, by_rank, free = np.zeros(total, layout.SERVER), np.zeros(total, np.int64), np.zeros(total, np.int64)
    found["first"], found["ends"], found["up"], found["speed"] = -1, -1, 1, 1.0
    found["switch_feed"] = -1
    for e in np.flatnonzero(network.servers):
        first, count = int(elements["server_at"][e]), int(network.servers[e])
        speeds = np.array(network.speeds[e] or [1.0] * count)
        order = np.argsort(-speeds, kind="stable")
        by_rank[first : first + count] = first + order
        found["speed"][first : first + count] = speeds
        found["rank"][first + order] = free[first : first + count] = np.arange(count)
        elements["idle"][e] = elements["free_n"][e] = count
        found["in_free"][first : first + count] = 1
        if not network.together[e]:
            found["switch_feed"][first : first + len(network.outage_feeds[e])] = network.outage_feeds[e]
        else:
            found["switch_feed"][first] = network.outage_feeds[e][0]
    return found, by_rank, free


def _rules(network: Compiled, elements: Any) -> Any:
    """Return all rules behind one another; each has a ring of the ticks of its last accepted items."""
    found = np.zeros(1 + sum(map(len, network.rules)), layout.RULE_ROW)
    elements["rules_at"] = _starts(network.rules)
    elements["rules_n"] = [len(rules) for rules in network.rules]
    for at, (accepts, window) in enumerate(rule for rules in network.rules for rule in rules):
        found["accepts"][at], found["window"][at] = accepts, window
    found["ring_at"] = _starts([range(accepts) for accepts in found["accepts"].tolist()])
    return found
