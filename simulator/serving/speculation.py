"""Speculative decoding: a draft proposes tokens, one step verifies them all (Leviathan et al. 2023, section 3).

With k tokens drafted, each accepted with chance a if those before it were, a step gives (1 - a^(k+1)) / (1 - a) tokens
in the mean: the accepted ones and one of the model itself. In a tree with w branches at a depth the chance that one of
them is accepted is 1 - (1 - a)^w (independent branches: an upper bound for a real draft).
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from operator import mul

import numpy as np

from foundation.checks import finite_number, whole_number
from foundation.errors import BadValueError
from simulator.clock import to_ticks

MOST_TOKENS = 64
"""Of one draft: no engine drafts as many."""
ONE = 2**20
"""Fixed point of the expected progress."""


@dataclass(frozen=True)
class Speculation:
    """How tokens are drafted and accepted.

    tokens: depth of the draft; acceptance: chance that a drafted token is accepted if those before it were, one for all
    or one by position, in [0, 1); widths: branches at each depth of a tree (none: a chain); draft_s, draft_j: seconds
    and joules (of one rank) that drafting adds to a step; drawn: acceptance is drawn by request and step, else every
    decode makes the expected tokens (in whole tokens, their mean over steps is exact to 1e-6).

    Raises:
        BadValueError: a value that no draft can have.
    """

    tokens: int
    acceptance: float | tuple[float, ...]
    widths: tuple[int, ...] = ()
    draft_s: float = 0.0
    draft_j: float = 0.0
    drawn: bool = False

    def __post_init__(self) -> None:
        whole_number("speculation: tokens", self.tokens, high=MOST_TOKENS)
        for name, given in (("acceptance", self.acceptance), ("widths", self.widths)):
            if isinstance(given, tuple) and (given or name == "acceptance") and len(given) != self.tokens:
                raise BadValueError(
                    f"speculation: {name} has {len(given)} values for {self.tokens} tokens that are drafted."
                )
        for chance in self._by_position:
            if finite_number("speculation: acceptance", chance) >= 1:
                raise BadValueError(f"speculation: acceptance must be at least 0 and below 1, not {chance:g}.")
        for width in self.widths:
            whole_number("speculation: a width", width)
        for name in ("draft_s", "draft_j"):
            finite_number(f"speculation: {name}", getattr(self, name))

    @property
    def _by_position(self) -> tuple[float, ...]:
        return self.acceptance if isinstance(self.acceptance, tuple) else (self.acceptance,) * self.tokens

    @cached_property
    def reach(self) -> list[float]:
        """Chances that at least 1, 2, ... drafted tokens are accepted."""
        widths = self.widths or (1,) * self.tokens
        return list(accumulate((1 - (1 - a) ** w for a, w in zip(self._by_position, widths, strict=True)), mul))

    @property
    def expected(self) -> float:
        """Tokens that a decode makes in a step, in the mean."""
        return 1.0 + sum(self.reach)

    @cached_property
    def verified(self) -> int:
        """Tokens that a step computes for a decode: its last one and every node of the draft."""
        widths: list[int] = list(self.widths) or [1] * self.tokens
        return 1 + sum(accumulate(widths, lambda a, b: a * b))

    @cached_property
    def draft_ticks(self) -> int:
        return int(to_ticks(self.draft_s, what="the time of drafting"))

    @cached_property
    def _fixed(self) -> int:
        return round(self.expected * ONE)

    def gain(self, step: int) -> int:
        """Return the tokens that each decode makes in a lane's step of this number (from 0), as expected."""
        return (step + 1) * self._fixed // ONE - step * self._fixed // ONE

    def draw(self, random: np.random.Generator, decodes: int) -> list[int]:
        """Return the tokens that each of so many decodes makes in a step."""
        falling = [-x for x in self.reach]
        return [1 + bisect_left(falling, -u) for u in random.random(decodes).tolist()]
