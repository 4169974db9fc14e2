"""Trigger rules: what share of the triggers they refuse, estimated for Bernoulli triggers on a fill pattern.

A rule (k, n) refuses a trigger that has k accepted ones in the n - 1 crossings before it. The estimate takes accepted
triggers as independent from crossing to crossing, each with the probability that comes out (a fixed point). It knows
the fill pattern and that one past satisfies several rules, but not that accepted triggers keep apart. Of rules like
those of CMS it states 8 to 14 % (of itself) too much at 100 kHz, and 1 to 2 % too little at 750 kHz.
One rule alone where every crossing is filled is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from foundation.errors import BadValueError
from simulator.pipelines.turn_on import Array
from simulator.queues.closed_rules import rule_live_share

Rule = tuple[int, int]

_MOST_ACCEPTS, _MOST_CROSSINGS = 64, 1_000_000
"""Largest rule that is taken together with others or with a fill pattern."""
_MOST_ACCEPTS_ALONE = 1_000_000
"""Largest single rule where every crossing is filled: its cost grows with the accepts."""


def refused_share(trigger_hz: float, crossing_rate_hz: float, rules: Sequence[Rule], pattern: Sequence[bool]) -> float:
    """Return the share of triggers that the rules refuse.

    Args:
        trigger_hz: triggers before the rules; they fall on the filled crossings of `pattern`, one orbit.
        rules: (accepts, crossings) each: at most `accepts` in any `crossings` crossings.
    Raises:
        BadValueError: more triggers than filled crossings, or rules too large to compute.
    """
    mask = tuple(pattern)
    probability = trigger_hz / (crossing_rate_hz * sum(mask) / len(mask))
    if not 0 <= probability <= 1 + 1e-12:
        raise BadValueError(f"{trigger_hz:g} triggers a second do not fit into the filled crossings.")
    if not rules or probability == 0:
        return 0.0
    alone = len(rules) == 1 and all(mask)
    _check_sizes(rules, alone)
    if alone:
        return 1.0 - rule_live_share(min(probability, 1.0), *rules[0])
    ordered = tuple(sorted(((int(k), int(n)) for k, n in rules), key=lambda rule: rule[1]))
    choices, numbers, weights = _past(mask, tuple(n for _, n in ordered), max(k for k, _ in ordered))

    def excess(accepted: float) -> float:
        return float(weights @ _free(choices, numbers, ordered, min(probability, 1.0) * accepted)) - accepted

    return 1.0 - _root_of_falling(excess)


def _check_sizes(rules: Sequence[Rule], alone: bool) -> None:
    """Raise BadValueError for a rule that would take too long, or whose ways to choose crossings overflow."""
    most = _MOST_ACCEPTS_ALONE if alone else _MOST_ACCEPTS
    for accepts, crossings in rules:
        if accepts > most or (not alone and crossings > _MOST_CROSSINGS) or crossings > 1e15:
            limit = f"{most:,} accepts" + ("" if alone else f" in {_MOST_CROSSINGS:,} crossings")
            raise BadValueError(
                f"A trigger rule of {accepts:,} accepts in {crossings:,} crossings cannot be computed; the largest has "
                f"{limit}. Leave the rule out or make it smaller."
            )


def _root_of_falling(function: Callable[[float], float]) -> float:
    """Return where a function falls through 0 in [0, 1]: false position, Illinois variant, to 1e-9."""
    low, high = 0.0, 1.0
    above, below = function(low), function(high)
    middle = high
    for _ in range(60):
        if above == below:
            break
        before, middle = middle, (low * below - high * above) / (below - above)
        value = function(middle)
        if value == 0 or abs(middle - before) < 1e-9:
            break
        if value > 0:
            below, low, above = (below / 2 if before == low else below), middle, value
        else:
            above, high, below = (above / 2 if before == high else above), middle, value
    return middle


@lru_cache(maxsize=64)
def _past(mask: tuple[bool, ...], windows: tuple[int, ...], most: int) -> tuple[Array, Array, Array]:
    """Return the kinds of places in the orbit: (kind, ring, n) ways to choose n crossings, and the shares of the kinds.

    The second array has how many filled crossings each ring of the past holds, the ring of a rule being what its window
    adds to those of the shorter ones.
    """
    filled = np.array(mask, bool)
    slots, reach = len(mask), max(windows)
    laps = -(-reach // slots)
    total = np.concatenate([[0], np.cumsum(np.tile(filled, laps + 1))])
    here = np.nonzero(filled)[0] + laps * slots
    within = np.stack([total[here] - total[here - (n - 1)] for n in windows], axis=1)
    rings = np.diff(within, axis=1, prepend=0)
    kinds, counts = np.unique(rings, axis=0, return_counts=True)
    numbers = kinds.astype(float)
    choices = np.ones((*numbers.shape, most))
    for chosen in range(1, most):
        choices[..., chosen] = choices[..., chosen - 1] * np.maximum(numbers - chosen + 1, 0) / chosen
    return choices, numbers, counts / counts.sum()


def _free(choices: Array, numbers: Array, rules: tuple[Rule, ...], accepted: float) -> Array:
    """Return, for each kind of place, the probability that no rule refuses a trigger there."""
    most = choices.shape[2]
    odds = (accepted / (1 - accepted)) ** np.arange(most) if accepted < 1 else np.zeros(most)
    added = choices * ((1.0 - accepted) ** numbers)[..., None] * odds
    state = np.zeros((len(numbers), most))
    state[:, 0] = 1.0
    for ring, (accepts, _) in enumerate(rules):
        step = np.zeros_like(state)
        for before in range(most):
            step[:, before:] += state[:, before, None] * added[:, ring, : most - before]
        step[:, accepts:] = 0.0
        state = step
    free: Array = state.sum(axis=1)
    return free
