"""How an engine forms its batches."""

from __future__ import annotations

import math
from dataclasses import dataclass

from foundation.checks import finite_number, whole_number
from foundation.errors import BadValueError, UnknownNameError
from simulator.serving.speculation import Speculation

PREEMPTIONS: tuple[str, ...] = ("recompute", "swap")
ORDERS: tuple[str, ...] = ("fcfs", "priority")


@dataclass(frozen=True)
class Policy:
    """How an engine forms its batches.

    most_tokens: token budget of a step; most_requests: requests computed at a time; block_tokens: tokens a KV block
    holds; blocks: KV blocks of the lane; watermark: share of them that stays free when a request is admitted;
    whole_prompt: a request is admitted only when its whole prompt has room (else room for its first chunk will do).

    Beside decodes, prompts are computed with what they leave of the budget, but for
    prompts_first: prompts are computed alone, before decoding goes on (vLLM before 0.8);
    decodes_first: a batch is decoded to its end before prompts are computed again (static batching). Both admit as with
    whole_prompt, for decodes that stand still give no blocks back. longest_chunk: most tokens of one prompt in a step
    (0: the budget).

    order: 'fcfs', or 'priority' (smaller goes first; then by arrival). Where blocks run out, the least urgent request
    gives way, the last admitted of those; preemption: 'recompute', or 'swap' to the host's memory and back, over
    swap_bytes_per_s, with kv_bytes_per_token (of one rank). prefix_cache: prompts share blocks by their ids.

    Raises:
        BadValueError, UnknownNameError: a value that no engine can have.
    """

    most_tokens: int = 2048
    most_requests: int = 256
    block_tokens: int = 16
    blocks: int = 10_000
    watermark: float = 0.0
    whole_prompt: bool = False
    prompts_first: bool = False
    decodes_first: bool = False
    longest_chunk: int = 0
    order: str = "fcfs"
    preemption: str = "recompute"
    swap_bytes_per_s: float = 0.0
    kv_bytes_per_token: float = 0.0
    prefix_cache: bool = False
    speculation: Speculation | None = None

    def __post_init__(self) -> None:
        for name in ("most_tokens", "most_requests", "block_tokens", "blocks"):
            whole_number(name, getattr(self, name))
        whole_number("longest_chunk", self.longest_chunk, low=0)
        if finite_number("watermark", self.watermark) >= 1:
            raise BadValueError(f"watermark must be a share below 1, not {self.watermark:g}.")
        each = self.speculation.verified if self.speculation else 1
        if self.most_tokens < self.most_requests * each:
            raise BadValueError(
                f"most_tokens={self.most_tokens} is less than most_requests={self.most_requests} x {each}: a step "
                "could not hold the tokens of each decode; raise the one or lower the other."
            )
        if self.prompts_first and self.decodes_first:
            raise BadValueError("prompts_first and decodes_first exclude each other; choose one, or neither (mixed).")
        if self.order not in ORDERS:
            raise UnknownNameError("order", self.order, ORDERS)
        if self.preemption not in PREEMPTIONS:
            raise UnknownNameError("preemption", self.preemption, PREEMPTIONS)
        if self.preemption == "swap":
            for name in ("swap_bytes_per_s", "kv_bytes_per_token"):
                finite_number(f"preemption by swap: {name}", getattr(self, name), strict=True)

    @property
    def swap_s_per_block(self) -> float:
        """Return the seconds that one block takes to the host's memory or back; 0 where nothing is swapped."""
        if self.preemption != "swap":
            return 0.0
        return self.block_tokens * self.kv_bytes_per_token / self.swap_bytes_per_s

    @property
    def whole(self) -> bool:
        """Return whether a request needs room for its whole prompt to be admitted."""
        return self.whole_prompt or self.prompts_first or self.decodes_first

    @property
    def reserve(self) -> int:
        """Return the blocks that stay free when a request is admitted beside others."""
        return math.floor(self.watermark * self.blocks)
