"""How an engine forms its batches."""

from __future__ import annotations

import math
from dataclasses import dataclass

from foundation.checks import finite_number, whole_number
from foundation.errors import BadValueError

PREEMPTIONS: tuple[str, ...] = ("recompute", "swap")
ORDERS: tuple[str, ...] = ("fcfs", "priority")


@dataclass(frozen=True)
class Policy:
    """How an engine forms its batches.

    most_tokens: token budget of a step; most_requests: requests computed at a time; block_tokens: tokens a KV block
    holds; blocks: KV blocks of the lane; watermark: share of them that stays free when a request is admitted;
    whole_prompt: a request is admitted only when its whole prompt has room (else room for its first chunk will do);
    prompts_first: prompts are computed alone, before decoding goes on (vLLM before 0.8); they are admitted
    as with whole_prompt, for decodes that stand still give no blocks back.

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

    def __post_init__(self) -> None:
        for name in ("most_tokens", "most_requests", "block_tokens", "blocks"):
            whole_number(name, getattr(self, name))
        if finite_number("watermark", self.watermark) >= 1:
            raise BadValueError(
                f"watermark must be a share below 1, not {self.watermark:g}: nothing could be admitted."
            )
        if self.most_tokens < self.most_requests:
            raise BadValueError(
                f"most_tokens={self.most_tokens} is less than most_requests={self.most_requests}: a step could not "
                "hold one token of each; raise the one or lower the other."
            )

    @property
    def whole(self) -> bool:
        """Return whether a request needs room for its whole prompt to be admitted."""
        return self.whole_prompt or self.prompts_first

    @property
    def reserve(self) -> int:
        """Return the blocks that stay free when a request is admitted beside others."""
        return math.floor(self.watermark * self.blocks)
