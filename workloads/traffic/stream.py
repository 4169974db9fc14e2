"""Traffic: requests in the order of their arrival, as traces hold them and generators draw them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from foundation.checks import finite_number, whole_number
from foundation.errors import BadValueError
from workloads.table import Array

MAX_TOKENS = 2**31 - 1
"""Of one prompt or one answer."""
NO_SESSION = -1


@dataclass(frozen=True)
class Traffic:
    """Requests in the order of arrival; arrays of shape (requests,), seconds and tokens.

    `session` (-1 = none) marks requests of one conversation, `priority` 0 is usual and smaller goes first. Request i's
    prompt begins with blocks of `prefix_tokens` tokens whose ids are `prefix_ids[prefix_start[i]:prefix_start[i+1]]`;
    equal ids at equal places are equal tokens. The last block may be cut short by the end of the prompt.
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

    @property
    def span_s(self) -> float:
        """Time from the first to the last arrival (0 where there are fewer than two)."""
        return float(self.arrival_s[-1] - self.arrival_s[0]) if len(self) else 0.0

    @property
    def rate_hz(self) -> float:
        """Mean rate: (requests - 1) / span; infinite where all arrive at once."""
        if len(self) < 2:
            return 0.0
        return (len(self) - 1) / self.span_s if self.span_s > 0 else float("inf")

    @staticmethod
    def of(
        arrival_s: Any, prompt: Any, generate: Any, *, session: Any = None, priority: Any = None,
        prefix: Sequence[Sequence[int]] | None = None, prefix_tokens: int = 512, name: str = "", source: str = "",
    ) -> Traffic:  # fmt: skip
        """Return checked traffic, sorted by arrival (equal times keep their order).

        Raises:
            BadValueError: a time or a length that a request cannot have; the request (from 1) and value are named.
        """
        times = _numbers("arrival_s", arrival_s)
        count = len(times)
        bad = ~(np.isfinite(times) & (times >= 0))
        if bad.any():
            at = int(np.argmax(bad))
            raise BadValueError(
                f"Request {at + 1}: it cannot arrive at {times[at]} s; times are finite and at least 0."
            )
        sizes = {key: _tokens(key, values, count) for key, values in (("prompt", prompt), ("generate", generate))}
        tokens = whole_number("prefix_tokens", prefix_tokens, high=MAX_TOKENS)
        start, ids = _prefixes(prefix, sizes["prompt"], tokens)
        whole = Traffic(
            times, sizes["prompt"], sizes["generate"], _whole("session", session, NO_SESSION, count),
            _whole("priority", priority, 0, count), start, ids, tokens, name, source,
        )  # fmt: skip
        order = np.argsort(times, kind="stable")
        return whole if np.array_equal(order, np.arange(count)) else whole.take(order)

    def take(self, index: Array) -> Traffic:
        """Return some requests, in the order of `index` (which must be that of their arrival)."""
        index = np.asarray(index)
        if index.dtype == bool:
            index = np.flatnonzero(index)
        length = np.diff(self.prefix_start)[index]
        start = np.concatenate([[0], np.cumsum(length)]).astype(np.int64)
        # Place j of the new ids is place (j - new start + old start) of the old ones, request by request.
        places = np.arange(start[-1]) + np.repeat(self.prefix_start[:-1][index] - start[:-1], length)
        return replace(
            self, arrival_s=self.arrival_s[index], prompt=self.prompt[index], generate=self.generate[index],
            session=self.session[index], priority=self.priority[index],
            prefix_start=start, prefix_ids=self.prefix_ids[places],
        )  # fmt: skip

    def within(self, start_s: float = 0.0, end_s: float = math.inf) -> Traffic:
        """Return the requests that arrive in [start_s, end_s), with times counted from `start_s`.

        Raises:
            BadValueError: the end is not after the start, or nothing arrives between them.
        """
        start_s = finite_number("start_s", start_s)
        if end_s != math.inf:
            end_s = finite_number("end_s", end_s, low=start_s, strict=True)
        low, high = np.searchsorted(self.arrival_s, [start_s, end_s])
        if low == high:
            raise BadValueError(f"No request arrives from {start_s:g} to {end_s:g} s. Name another part of the trace.")
        part = self.take(np.arange(low, high))
        return replace(part, arrival_s=part.arrival_s - start_s)

    def at_rate(self, rate_hz: float) -> Traffic:
        """Return the same requests with their times stretched so that the mean rate is `rate_hz`.

        Raises:
            BadValueError: the rate is not above 0, or the requests have none (fewer than two, or all at once).
        """
        rate_hz = finite_number("rate_hz", rate_hz, strict=True)
        if not 0 < self.rate_hz < float("inf"):
            raise BadValueError("These requests have no rate to change: they arrive at once, or there is only one.")
        times = (self.arrival_s - self.arrival_s[0]) * (self.rate_hz / rate_hz)
        return replace(self, arrival_s=times)

    def summary(self) -> dict[str, float | int | str]:
        """Return what describes the traffic in one line each: counts, rate, burstiness, lengths, shared prefixes."""
        from workloads.traffic.statistics import summary

        return summary(self)


def _numbers(name: str, values: Any) -> Array:
    try:
        found = np.atleast_1d(np.asarray(values, dtype=float))
    except (TypeError, ValueError):
        raise BadValueError(f"{name} must be numbers, one a request.") from None
    if found.ndim != 1:
        raise BadValueError(f"{name} must be one list of numbers, not a table.")
    return found


def _tokens(name: str, values: Any, count: int) -> Array:
    found = _counted(name, values, count)
    bad = ~((found >= 1) & (found == np.floor(found)) & (found <= MAX_TOKENS))
    if bad.any():
        at = int(np.argmax(bad))
        raise BadValueError(
            f"Request {at + 1}: {name} must be a whole number of tokens, at least 1, not {found[at]:g}."
        )
    return found.astype(np.int64)


def _whole(name: str, values: Any, default: int, count: int) -> Array:
    if values is None:
        return np.full(count, default, dtype=np.int64)
    found = _counted(name, values, count)
    bad = ~((found == np.floor(found)) & (np.abs(found) < 2**53))
    if bad.any():
        at = int(np.argmax(bad))
        raise BadValueError(f"Request {at + 1}: {name} must be a whole number, not {found[at]:g}.")
    return found.astype(np.int64)


def _counted(name: str, values: Any, count: int) -> Array:
    found = _numbers(name, values)
    if len(found) != count:
        raise BadValueError(f"{name} must have one value a request: {len(found)} for {count} requests.")
    return found


def _prefixes(prefix: Sequence[Sequence[int]] | None, prompt: Array, tokens: int) -> tuple[Array, Array]:
    """Return (start, ids) of the lists of block ids."""
    count = len(prompt)
    if prefix is None:
        return np.zeros(count + 1, dtype=np.int64), np.zeros(0, dtype=np.int64)
    if len(prefix) != count:
        raise BadValueError(f"prefix must have one list a request: {len(prefix)} lists for {count} requests.")
    ids = [np.asarray(one, dtype=np.int64) for one in prefix]
    length = np.array([len(one) for one in ids], dtype=np.int64)
    long = length > -(-prompt // tokens)
    if long.any():
        at = int(np.argmax(long))
        raise BadValueError(
            f"Request {at + 1}: {length[at]} prefix ids of {tokens} tokens are more than a prompt of {prompt[at]} "
            "tokens has."
        )
    start = np.concatenate([[0], np.cumsum(length)]).astype(np.int64)
    return start, np.concatenate(ids) if ids else np.zeros(0, dtype=np.int64)
