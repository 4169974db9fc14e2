"""Conversations: which requests continue an earlier one, and how much of their prompts was seen before.

A request that continues takes the prompt of an earlier request that nobody continued yet as the beginning of its own;
all prompts begin with the same system blocks. The arrival times and lengths are given, and the model says for each
request whether it continues, how old the request is that it continues, and which share of its prompt is shared. Of the
requests near that age the one is taken whose prompt fits that share best. Both stay as they were drawn: prefixes are
added to traffic without changing it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foundation.checks import finite_number, whole_number
from foundation.errors import BadValueError
from workloads.table import Array
from workloads.traffic.lengths import normal_cdf
from workloads.traffic.stream import MAX_TOKENS

REACH = 32
"""Requests on either side of the wanted age among which the best fit is looked for."""
MAX_IDS = 50_000_000


@dataclass(frozen=True)
class PromptClass:
    """What holds for prompts of up to `prompt_up_to` tokens.

    `continues` is the share of them that continue a conversation, `shared` the share of a continuing prompt's blocks
    that the earlier prompt had, as evenly spaced quantiles from 0 to 1.
    """

    prompt_up_to: float
    continues: float
    shared: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompt_up_to", finite_number("prompt_up_to", self.prompt_up_to, low=1))
        object.__setattr__(self, "continues", finite_number("continues", self.continues, high=1))
        _quantiles("shared", self.shared, high=1.0)


@dataclass(frozen=True)
class Sessions:
    """`classes` by rising prompt length; `age_s` quantiles of the time since the request that is continued arrived."""

    classes: tuple[PromptClass, ...]
    age_s: tuple[float, ...]
    system_blocks: int = 0
    block_tokens: int = 512

    def __post_init__(self) -> None:
        _quantiles("age_s", self.age_s, high=1e9)
        object.__setattr__(self, "system_blocks", whole_number("system_blocks", self.system_blocks, low=0, high=10**6))
        object.__setattr__(self, "block_tokens", whole_number("block_tokens", self.block_tokens, high=MAX_TOKENS))
        edges = [one.prompt_up_to for one in self.classes]
        if not edges or sorted(set(edges)) != edges or len(edges) > 1000:
            raise BadValueError("classes must be a list of 1 to 1000 with rising prompt_up_to.")

    def prefixes(self, arrival_s: Array, prompt: Array, normal: Array) -> tuple[Array, Array, Array]:
        """Return (session, prefix_start, prefix_ids) for requests and normal numbers of shape (requests, 3).

        Raises:
            BadValueError: the prompts have more than fifty million blocks.
        """
        blocks = -(-prompt // self.block_tokens)
        if blocks.sum() > MAX_IDS:
            raise BadValueError(
                f"These prompts have {blocks.sum():,} blocks, more than the {MAX_IDS:,} that are held; "
                "draw fewer requests or take larger blocks (block_tokens)."
            )
        wanted, at = self._wanted(arrival_s, prompt, blocks, normal)
        parent, shared = _parents(wanted, at, blocks, self.system_blocks)
        return _ids(parent, shared, blocks, self.system_blocks)

    def _wanted(self, arrival_s: Array, prompt: Array, blocks: Array, normal: Array) -> tuple[Array, Array]:
        """Return the blocks that each request would share (0: it continues nothing) and the place of its wanted age."""
        chance = normal_cdf(normal)
        place = np.minimum(np.searchsorted([one.prompt_up_to for one in self.classes], prompt), len(self.classes) - 1)
        shared = np.empty(len(prompt))
        for number, one in enumerate(self.classes):
            here = place == number
            shared[here] = _at(one.shared, chance[here, 1])
        then_s = arrival_s - _at(self.age_s, chance[:, 2])
        continues = (chance[:, 0] < np.array([one.continues for one in self.classes])[place]) & (then_s >= 0)
        wanted = np.clip(np.round(shared * blocks), 1, blocks).astype(np.int64)
        return np.where(continues, wanted, 0), np.searchsorted(arrival_s, then_s)


def _parents(wanted: Array, at: Array, blocks: Array, system_blocks: int) -> tuple[Array, Array]:
    """Return which request each continues (-1: none) and how many blocks they share."""
    parent = np.full(len(wanted), -1, dtype=np.int64)
    shared = np.zeros(len(wanted), dtype=np.int64)
    # A request's last block is rarely full, so what follows it can share only the blocks before.
    offered = (blocks - 1).astype(float)
    offered[offered <= system_blocks] = np.inf
    for i in np.flatnonzero(wanted > system_blocks).tolist():
        low, high = max(0, at[i] - REACH), min(i, at[i] + REACH)
        if low >= high:
            continue
        j = low + int(np.abs(offered[low:high] - wanted[i]).argmin())
        if offered[j] < np.inf:
            parent[i], shared[i] = j, min(wanted[i], int(offered[j]))
            offered[j] = np.inf
    return parent, shared


def _ids(parent: Array, shared: Array, blocks: Array, system_blocks: int) -> tuple[Array, Array, Array]:
    start = np.concatenate([[0], np.cumsum(blocks)]).astype(np.int64)
    ids = system_blocks + np.arange(start[-1], dtype=np.int64)
    session = np.arange(len(parent), dtype=np.int64)
    first = np.minimum(blocks, system_blocks)
    for i, (j, count, own) in enumerate(zip(parent.tolist(), shared.tolist(), first.tolist(), strict=True)):
        if j >= 0:
            session[i] = session[j]
            ids[start[i] : start[i] + count] = ids[start[j] : start[j] + count]
        else:
            ids[start[i] : start[i] + own] = np.arange(own)
    return session, start, ids


def _at(quantiles: tuple[float, ...], share: Array) -> Array:
    found: Array = np.interp(share, np.linspace(0, 1, len(quantiles)), quantiles)
    return found


def _quantiles(name: str, values: tuple[float, ...], high: float) -> None:
    found = np.asarray(values, dtype=float)
    if found.ndim != 1 or not 2 <= len(found) <= 10_000:
        raise BadValueError(f"{name} must be a list of 2 to 10,000 quantiles, evenly spaced from 0 to 1.")
    if not (np.isfinite(found).all() and found[0] >= 0 and found[-1] <= high and (np.diff(found) >= 0).all()):
        raise BadValueError(f"{name} must not fall, from at least 0 to at most {high:g}.")
