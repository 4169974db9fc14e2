"""Context parallelism: `cp` ranks divide the tokens of a prompt and the cache, and each holds all of its weights.

Prefill (Megatron-LM context parallelism; Ring Attention, Liu et al. 2023, arXiv 2310.01889): a rank has ceil(q / cp)
tokens of each prompt, one piece from its front and one from its back (zig-zag), so that all ranks have equal causal
work. Keys and values of a layer are gathered from all ranks before attention; of latent attention the latents, which
each rank expands whole. The gather is not overlapped with attention: estimated, a ring hides up to all of it.

Decode (Helix Parallelism, arXiv 2507.07120; vLLM decode context parallelism): the cache is divided, a rank attends to
ceil(kv / cp) keys, and an all-reduce merges the partial outputs by their log-sum-exp. Everything else runs on each
rank alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from foundation.errors import MappingError
from workloads.exchanges import collective, element_bytes
from workloads.graph import Block, Operator, Pass, Size
from workloads.mapping import Mapping

PASSES = ("prefill", "decode")
ATTENTION = ("attention", "mla")
CACHES = (*ATTENTION, "copy")
"""Operators whose state is a cache, of which each rank can hold a part."""
LOG_SUM_BYTES = 4.0
"""The log-sum-exp of a token and head, kept in fp32."""

Shard = Callable[[Operator], list[Operator]]


@dataclass(frozen=True)
class Context:
    """One pass over prompts of `q_len` tokens in `batch` sequences, divided over `ranks`, `apart` devices each."""

    ranks: int
    apart: int
    prefill: bool
    batch: Size
    q_len: Size

    def divided(self, block: Block, shard: Shard) -> tuple[Operator, ...]:
        """Return what one rank runs of a block; `shard` divides an operator over the other ranks."""
        readers = _expansions(block) if self.prefill else {}
        return tuple(part for o in block.operators for part in self._parts(o, shard, readers))

    def share(self, elements: Size) -> Size:
        """Return the part of what grows with a pass's tokens that one rank has."""
        return elements * self._own / np.asarray(self.q_len, float) if self.prefill else elements

    @property
    def _own(self) -> Any:
        return np.ceil(np.asarray(self.q_len, float) / self.ranks)

    def _parts(self, o: Operator, shard: Shard, readers: dict[str, Operator]) -> Iterator[Operator]:
        if o.name in readers:  # latents are gathered, and all of them are expanded on each rank
            reader = readers[o.name]
            gather = self._gather(reader, reader, o.inputs)
            yield gather
            yield from shard(replace(o, inputs=(gather.name,)))
            return
        if o.op not in ATTENTION:
            yield from shard(replace(o, shape=self._own_tokens(o)) if self.prefill else o)
            return
        (part,) = shard(replace(o, shape=self._own_prompt(o) if self.prefill else self._own_cache(o)))
        if not self.prefill:
            part = replace(part, name=f"{o.name}.context")
            yield part
            yield self._merge(o, part)
        elif any(source in readers for source in o.inputs):
            yield part
        else:
            gather = self._gather(o, part, o.inputs)
            yield gather
            yield replace(part, inputs=(*o.inputs, gather.name))

    def _own_tokens(self, o: Operator) -> dict[str, Any]:
        """Return sizes with a rank's share of the tokens. One row a sequence (the head) is one rank's, undivided."""
        shape = dict(o.shape)
        for key in ("m", "rows", "tokens"):
            if key in shape:
                rows = np.asarray(shape[key], float)
                shape[key] = np.where(rows <= self.batch, rows, np.ceil(rows * self._own / self.q_len))
        return shape

    def _own_prompt(self, o: Operator) -> dict[str, Any]:
        """Return attention's sizes on the rank with the two middle pieces, which are neighbours.

        It has the pairs of every other rank, and under a window more than any. Its last query stands half of all
        other queries before the end: kv - (q - own) / 2.
        """
        q_len = np.asarray(o.shape["q_len"], float)
        own = np.ceil(q_len / self.ranks)
        return {**o.shape, "q_len": own, "kv_len": _keys(o) - (q_len - own) / 2}

    def _own_cache(self, o: Operator) -> dict[str, Any]:
        """Return attention's sizes on a rank that holds its part of the cache, and of a window."""
        shape = {**o.shape, "kv_len": np.ceil(_keys(o) / self.ranks)}
        if np.any(o.shape.get("window", 0)):
            shape["window"] = np.ceil(np.asarray(o.shape["window"], float) / self.ranks)
        return shape

    def _gather(self, o: Operator, part: Operator, inputs: tuple[str, ...]) -> Operator:
        """Return the all-gather of the keys and values that attention `o` reads; `part` has this rank's heads."""
        keys = _keys(o)
        window = np.asarray(o.shape.get("window", 0), float)
        seen = np.where(window > 0, np.minimum(keys, window + np.asarray(o.shape["q_len"], float) - 1), keys)
        size = o.shape["batch"] * seen * _cached_features(part) * element_bytes(o)
        gather = collective(o, "all_gather", self.ranks, size, "", self.apart)
        return replace(gather, name=f"{o.name}.gather", inputs=inputs)

    def _merge(self, o: Operator, part: Operator) -> Operator:
        """Return the all-reduce of partial outputs, and of one log-sum-exp a token and head."""
        one_head = _output_features(part) * element_bytes(o) + LOG_SUM_BYTES
        size = o.shape["batch"] * np.asarray(o.shape["q_len"], float) * part.shape["heads"] * one_head
        return collective(o, "all_reduce", self.ranks, size, part.name, self.apart)


def context_of(run: Pass, mapping: Mapping) -> Context | None:
    """Return how `mapping.cp` ranks divide a pass; None where there is one rank.

    Raises:
        MappingError: the pass is no prefill or decode of a causal language model.
    """
    if mapping.cp == 1:
        return None
    if run.name not in PASSES:
        raise MappingError(
            f"cp={mapping.cp} divides the prompts and caches of causal language models in inference; '{run.graph.name}'"
            f" is asked for a pass '{run.name}'; use cp=1."
        )
    operators = [o for block in run.graph.blocks for o in block.operators]
    for o in operators:
        reason = _refusal(o)
        if reason:
            raise MappingError(f"cp={mapping.cp} cannot divide '{run.graph.name}': '{o.name}' {reason}; use cp=1.")
    first = next((o for o in operators if o.op in ATTENTION), None)
    if first is None:
        raise MappingError(f"cp={mapping.cp} cannot divide '{run.graph.name}': it has no attention; use cp=1.")
    batch, q_len = first.shape["batch"], first.shape["q_len"]
    return Context(mapping.cp, mapping.tp, run.name == "prefill", batch, q_len)


def _refusal(o: Operator) -> str:
    """Say why the tokens that an operator sees cannot be divided ("" = they can)."""
    if o.op in ATTENTION and not np.all(o.shape.get("causal", 1)):
        return "is attention that is not causal"
    if o.op in ("scan", "conv2d") or (np.any(o.state_elements) and o.op not in CACHES and o.op != "gemm"):
        return "hands a state from token to neighbouring token"
    if o.op == "gemm" and not o.shard and not o.parameters:  # no weights: its other operand is the cache
        return "scores all cached keys to choose some"
    return ""


def _expansions(block: Block) -> dict[str, Operator]:
    """Return the projections from latents to keys and values by name, with the attention that reads them."""
    divided = {o.name for o in block.operators if o.op == "gemm" and o.shard == "column"}
    return {source: o for o in block.operators if o.op == "mla" for source in o.inputs if source in divided}


def _keys(o: Operator) -> Any:
    keys = np.asarray(o.shape.get("kv_len", 0), float)
    return np.where(keys > 0, keys, np.asarray(o.shape["q_len"], float))


def _cached_features(o: Operator) -> Any:
    """Return what the cache holds for one token, in elements."""
    if o.op == "mla":
        return o.shape["kv_rank"] + o.shape.get("rope_dim", 0)
    heads = o.shape.get("kv_heads", 0) or o.shape["heads"]
    return heads * (o.shape["head_dim"] + (o.shape.get("v_dim", 0) or o.shape["head_dim"]))


def _output_features(o: Operator) -> Any:
    """Return the elements that one head of attention writes for a token of a decode step."""
    return o.shape["kv_rank"] if o.op == "mla" else o.shape.get("v_dim", 0) or o.shape["head_dim"]
