"""Traffic: requests in the order of their arrival, as traces hold them and generators draw them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from foundation.errors import BadValueError
from workloads.table import Array


@dataclass(frozen=True)
class Traffic:
    """Requests in the order of arrival; arrays of shape (requests,), seconds and tokens.

    `session` (-1 = none) marks requests of one conversation, `priority` 0 is usual and smaller goes first. Request i's
    prompt begins with blocks of `prefix_tokens` tokens whose ids are `prefix_ids[prefix_start[i]:prefix_start[i+1]]`;
    equal ids at equal places are equal tokens.
    """

    arrival_s: Array
    prompt: Array
    generate: Array
    session: Array
    priority: Array
    prefix_start: Array
    prefix_ids: Array
    prefix_tokens: int = 512
    name: str = ""
    source: str = ""

    def __len__(self) -> int:
        return len(self.arrival_s)

    @staticmethod
    def of(
        arrival_s: Any, prompt: Any, generate: Any, *, session: Any = None, priority: Any = None,
        prefix: Sequence[Sequence[int]] | None = None, prefix_tokens: int = 512, name: str = "", source: str = "",
    ) -> Traffic:  # fmt: skip
        """Return checked traffic, sorted by arrival (equal times keep their order).

        Raises:
            BadValueError: a time or a length that a request cannot have; the request (from 1) and value are named.
        """
        times = np.atleast_1d(np.asarray(arrival_s, dtype=float))
        count = len(times)
        bad = ~(np.isfinite(times) & (times >= 0))
        if bad.any():
            at = int(np.argmax(bad))
            raise BadValueError(
                f"Request {at + 1}: it cannot arrive at {times[at]} s; times are finite and at least 0."
            )
        sizes = {"prompt": prompt, "generate": generate}
        found = {key: _tokens(key, values, count) for key, values in sizes.items()}
        ids = [np.asarray(one, dtype=np.int64) for one in prefix] if prefix is not None else []
        if prefix is not None and len(ids) != count:
            raise BadValueError(f"prefix must have one list a request: {len(ids)} lists for {count} requests.")
        start = np.concatenate([[0], np.cumsum([len(one) for one in ids])]) if ids else np.zeros(count + 1)
        whole = Traffic(
            times, found["prompt"], found["generate"], _whole("session", session, -1, count),
            _whole("priority", priority, 0, count), start.astype(np.int64),
            np.concatenate(ids) if ids else np.zeros(0, dtype=np.int64), prefix_tokens, name, source,
        )  # fmt: skip
        order = np.argsort(times, kind="stable")
        return whole if np.array_equal(order, np.arange(count)) else whole.take(order)

    def take(self, index: Array) -> Traffic:
        """Return some requests, in the order of `index` (which must be that of their arrival)."""
        index = np.asarray(index)
        length = np.diff(self.prefix_start)[index]
        ids = [self.prefix_ids[self.prefix_start[i] : self.prefix_start[i + 1]] for i in index.tolist()]
        return replace(
            self, arrival_s=self.arrival_s[index], prompt=self.prompt[index], generate=self.generate[index],
            session=self.session[index], priority=self.priority[index],
            prefix_start=np.concatenate([[0], np.cumsum(length)]).astype(np.int64),
            prefix_ids=np.concatenate(ids) if len(ids) else self.prefix_ids[:0],
        )  # fmt: skip


def _tokens(name: str, values: Any, count: int) -> Array:
    found = np.atleast_1d(np.asarray(values, dtype=float))
    if len(found) != count:
        raise BadValueError(f"{name} must have one value a request: {len(found)} for {count} requests.")
    bad = ~((found >= 1) & (found == np.floor(found)) & (found < 2**31))
    if bad.any():
        at = int(np.argmax(bad))
        raise BadValueError(
            f"Request {at + 1}: {name} must be a whole number of tokens, at least 1, not {found[at]:g}."
        )
    return found.astype(np.int64)


def _whole(name: str, values: Any, default: int, count: int) -> Array:
    if values is None:
        return np.full(count, default, dtype=np.int64)
    found = np.atleast_1d(np.asarray(values))
    if len(found) != count:
        raise BadValueError(f"{name} must have one value a request: {len(found)} for {count} requests.")
    return found.astype(np.int64)
