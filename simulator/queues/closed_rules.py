"""Trigger rules: at most k accepts in any n crossings, for triggers that come in each crossing with one probability.

A rule (k, n) vetoes a trigger less than n crossings after the k-th accept before it. Own derivations, each held to a
simulation or to the chain of whole windows in the tests; the rules of CMS are from memory (see `CMS_RULES`).

One rule alone is exact in closed form. The n - 1 crossings before now hold a set of at most k accepts; with theta = p /
(1 - p), a set of j < k accepts has the weight theta^j and one of k the weight p theta^(k - 1), which balances every
transition (a shift by one crossing). The dead share is the weight of the full sets: Erlang's loss formula in slots.

Several rules together: the gap to the next accept is h + a geometric number of crossings, where h is the longest veto
left by the last accepts, h = max(n_k - age of the accept k - 1 before the last). `rules_live_share` follows the last
three gaps as a Markov chain (exact up to four accepts a rule); `rules_live_share_estimate` takes gaps as independent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from foundation.errors import UnsupportedError
from simulator.queues.closed_means import Array, count, share

CMS_RULES: tuple[tuple[int, int], ...] = ((1, 3), (2, 25), (3, 100), (4, 240))
"""At most 1 accept in 3 crossings, 2 in 25, 3 in 100, 4 in 240 (from memory of CMS; not checked against a document)."""

_MOST_TOGETHER = 2_000
"""Longest rule that is taken together with others: the estimate has n^3 multiplications a step."""
_LAZY_ABOVE = 0.2
"""Above this probability gaps repeat nearly in turn: half of the old state is kept, so that the chain still settles."""
_MOST_CROSSINGS = 400
"""Longest rule of four accepts that the exact chain takes: its state has n^3 entries."""


def rule_live_share(probability: float, accepts: int, crossings: int) -> float:
    """Return the share of triggers kept by one rule, exactly. The rest is the dead share.

    Raises:
        BadValueError: a probability outside [0, 1], or a rule without accepts or crossings.
    """
    p, k, n = share("probability", probability), count("accepts", accepts), count("crossings", crossings)
    if k >= n or p == 0.0:
        return 1.0
    if p == 1.0:
        return k / n
    log_odds, log_choose = math.log(p) - math.log1p(-p), 0.0
    logs = []
    for j in range(k):
        logs.append(log_choose + j * log_odds)
        log_choose += math.log((n - 1 - j) / (j + 1))
    full = log_choose + (k - 1) * log_odds + math.log(p)
    top = max(full, max(logs))
    live = math.fsum(math.exp(x - top) for x in logs)
    return live / (live + math.exp(full - top))


def rules_live_share(probability: float, rules: Sequence[tuple[int, int]]) -> float:
    """Return the share of triggers kept by several rules (accepts, crossings) together, exactly.

    One rule by its closed form; rules of up to three accepts in milliseconds, of four in seconds (answers are kept).

    Raises:
        BadValueError: as `rule_live_share`. UnsupportedError: a rule of five accepts or more that is not alone, or one
            of four over more than 400 crossings.
    """
    p, veto = share("probability", probability), _vetoes(rules)
    if p == 0.0 or not veto:
        return 1.0
    if len(rules) == 1:
        return rule_live_share(p, *rules[0])
    if len(veto) > 4 or (len(veto) == 4 and veto[-1] > _MOST_CROSSINGS):
        raise UnsupportedError(
            f"rules together are solved exactly up to 4 accepts in {_MOST_CROSSINGS} crossings, not {tuple(rules)}: "
            "take rules_live_share_estimate."
        )
    _check_length(veto, rules)
    return _exact(p, tuple(veto))


def rules_live_share_estimate(probability: float, rules: Sequence[tuple[int, int]]) -> float:
    """Return the share of triggers kept by several rules, with the gaps between accepts taken as independent.

    An approximation; exact for rules of one and two accepts. It states too much: of the dead share of the CMS rules by
    10 % of itself at 0.25 % a crossing (100 kHz) and 14 % at 1.9 % (750 kHz); the tests hold it to 0 to 15 % too much.
    A tenth of a second for the CMS rules (kept); `rules_live_share_bounds` takes microseconds.

    Raises:
        BadValueError: as `rule_live_share`. UnsupportedError: a rule over more than 2,000 crossings that is not alone.
    """
    p, veto = share("probability", probability), _vetoes(rules)
    if p == 0.0 or not veto:
        return 1.0
    if len(rules) == 1:
        return rule_live_share(p, *rules[0])
    _check_length(veto, rules)
    return _exact(p, tuple(veto)) if len(veto) <= 2 else _estimate(p, tuple(veto))


def rules_live_share_bounds(probability: float, rules: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """Return a lower and an upper bound of the share of triggers kept by several rules, in microseconds.

    Above: the strictest rule alone. Below: the sum of the odds (dead to live) of each rule alone, as each would have if
    the others left the triggers as they are. Not proven; the tests hold both against the exact chain over random rules.
    Raises as `rule_live_share`.
    """
    lives = [rule_live_share(probability, accepts, crossings) for accepts, crossings in rules]
    if not lives:
        return 1.0, 1.0
    return 1.0 / (1.0 + math.fsum(1.0 / live - 1.0 for live in lives)), min(lives)


def _check_length(veto: list[int], rules: Sequence[tuple[int, int]]) -> None:
    if max(veto) > _MOST_TOGETHER:
        raise UnsupportedError(
            f"rules together are solved up to {_MOST_TOGETHER} crossings, not {tuple(rules)}: "
            "take rules_live_share_bounds."
        )


@lru_cache(maxsize=256)
def _estimate(p: float, veto: tuple[int, ...]) -> float:
    """Return the live share with independent gaps, by a damped iteration of their law."""
    size = max(veto) + 1
    law = np.eye(1, size, veto[0])[0]
    mean, new = 0.0, float(veto[0])
    for _ in range(200):
        if abs(new - mean) <= 1e-7 * new:
            break
        mean = new
        # Half of the old law is kept: a long veto thins what makes the next one, so that the plain iteration swings.
        after = _veto_law(_gap_law(p, law), veto, size)
        law = (law + after) / 2.0
        law /= law.sum()
        new = float(law @ np.arange(size))
    return 1.0 / (p * new + 1.0 - p)


def _vetoes(rules: Sequence[tuple[int, int]]) -> list[int]:
    """Return n_k of k = 1, 2, ..: the crossings that must lie between an accept and the k-th before it."""
    shortest: dict[int, int] = {}
    for accepts, crossings in rules:
        k, n = count("accepts of a rule", accepts), count("crossings of a rule", crossings)
        if n > k:  # k accepts fill k crossings: a rule no longer than that forbids nothing
            shortest[k] = max(n, shortest.get(k, 0))
    if not shortest:
        return []
    veto = [max(k, shortest.get(k, 0)) for k in range(1, max(shortest) + 1)]
    # A rule that a stricter one implies (more accepts over fewer crossings) may be left out at the end.
    while len(veto) > 1 and veto[-1] <= max(veto[0] * len(veto), *veto[:-1]):
        veto.pop()
    return veto


def _gap_law(p: float, veto: Array) -> Array:
    """Return the law of a gap: the veto h and a geometric number of crossings; the last entry is all that is longer."""
    gap = np.empty_like(veto)
    held = 0.0
    for g, weight in enumerate(veto.tolist()):
        held += weight
        gap[g] = p * held
        held *= 1.0 - p
    gap[-1] += held
    return gap


def _veto_law(gap: Array, veto: tuple[int, ...], size: int) -> Array:
    """Return the law of h = max(n_1, n_2 - s_1, ..), s_j the sum of j independent gaps."""
    # ages[x, s]: weight of s_j = s (the last: or more) with s_i >= n_{i+1} - x for all i so far, for each bound x of h.
    bounds = np.arange(size)
    ages = np.zeros((size, size))
    ages[:, 0] = 1.0
    shift = np.zeros((size, size))
    for s in range(size):
        shift[s, s:] = gap[: size - s]
        shift[s, -1] += gap[size - s :].sum()
    for n in veto[1:]:
        ages = ages @ shift
        ages[np.arange(size)[None, :] < (n - bounds)[:, None]] = 0.0
    at_most = ages.sum(axis=1)
    at_most[bounds < veto[0]] = 0.0
    return np.diff(at_most, prepend=0.0)


@lru_cache(maxsize=256)
def _exact(p: float, veto: tuple[int, ...]) -> float:
    """Return the live share by the chain of the last gaps at accepts; `veto` has n_1 .. n_4 at most."""
    n1, n2, n3, n4 = (*veto, 0, 0, 0)[:4]
    top = max(veto)
    kernel = _kernel(p, top)
    # pairs[a, g]: the last gap is g, the accept before it a crossings older; the last entry: or more.
    pairs = np.zeros((top + 1, top + 1))
    pairs[top, top] = 1.0
    # triples[a, g, b], where all ages are below `top`: and the accept before that b crossings older (two buffers).
    depth = top if n4 else 0
    triples, spare = np.zeros((depth, depth, depth)), np.zeros((depth, depth, depth))
    mean, quiet = 0.0, 0
    for _ in range(2000):
        following = np.zeros_like(pairs)
        new = 0.0
        for g in range(min(n1, top), top + 1):
            kept = top - g  # an accept `kept` crossings older than the one before the last binds no more
            law = _vetoes_after(pairs[:, g], triples[:kept, g, :kept] if n4 and kept else triples, g, (n1, n2, n3, n4))
            total = law.sum(axis=0)
            new += float(total @ np.arange(len(total)))
            following[g] = total @ kernel[: len(total)]
            if n4 and kept:
                spare[g, :kept, g:top] = (law[:kept] @ kernel[: len(total), :kept]).T
        following /= following.sum()
        if p > _LAZY_ABOVE:
            following, spare = (following + pairs) / 2.0, (spare + triples) / 2.0
        pairs, triples, spare = following, spare, np.zeros_like(triples) if p > _LAZY_ABOVE else triples
        # The first rounds only fill the memory; then each round forgets a share of the start.
        quiet = quiet + 1 if abs(new - mean) <= 1e-9 * new else 0
        mean = new
        if quiet > len(veto):
            break
    return 1.0 / (p * mean + 1.0 - p)


def _kernel(p: float, top: int) -> Array:
    """Return P(gap = g | h) as a matrix over h and g = 0..top; the last column is all that is longer."""
    lag = np.arange(top + 1)[None, :] - np.arange(top + 1)[:, None]
    kernel = np.where(lag >= 0, p * (1.0 - p) ** np.maximum(lag, 0), 0.0)
    kernel[:, -1] = (1.0 - p) ** lag[:, -1]
    return kernel


def _vetoes_after(pairs: Array, triples: Array, g: int, veto: tuple[int, int, int, int]) -> Array:
    """Return the weights of each h after a last gap g, a row for each age a that can bind; the last has the older ones.

    An accept b crossings older binds with h = n_4 - g - b where that is more than n_1 to n_3 ask for.
    """
    n1, n2, n3, n4 = veto
    kept = len(pairs) - 1 - g
    least = np.full(kept + 1, max(n1, n2 - g))
    least[:kept] = np.maximum(least[:kept], n3 - g - np.arange(kept))
    law = np.zeros((kept + 1, max(int(least.max()), n4 - g) + 1))
    rest = np.append(pairs[:kept], pairs[kept:].sum())
    if n4 > g and kept:
        h = n4 - g - np.arange(min(kept, n4 - g))
        bound = np.where(h[None, :] > least[:kept, None], triples[:, : len(h)], 0.0)
        law[:kept, h] = bound
        rest[:kept] -= bound.sum(axis=1)
    law[np.arange(kept + 1), least] += np.maximum(rest, 0.0)
    return law
