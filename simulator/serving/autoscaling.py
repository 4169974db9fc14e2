"""How many instances a pool runs: a target per instance, held by starting and draining instances."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from foundation.checks import finite_number, whole_number
from foundation.errors import BadValueError, UnknownNameError
from simulator.serving.failures import seconds, ticks

SIGNALS = ("load", "queue")


@dataclass(frozen=True)
class Autoscaling:
    """Every `period_s` the pool wants ceil(signal of the pool / target) instances, as Kubernetes' autoscaler has it.

    signal: "load" = requests that wait or run, "queue" = requests that wait; target: of one instance. A new instance
    takes `cold_start_s` to serve and is paid from its start. One too many takes no more requests and stops when its
    last is done; only what was wanted at no time in the last `hold_s` seconds is stopped. With least=0, a request that
    finds no instance starts one at once.
    """

    target: float
    most: int
    least: int = 1
    signal: str = "load"
    period_s: float = 15.0
    cold_start_s: float = 60.0
    hold_s: float = 0.0

    def __post_init__(self) -> None:
        finite_number("The autoscaling target", self.target, strict=True)
        whole_number("The least instances of autoscaling", self.least, low=0)
        whole_number("The most instances of autoscaling", self.most, low=1)
        seconds("period_s of autoscaling", self.period_s, strict=True)
        seconds("cold_start_s", self.cold_start_s)
        seconds("hold_s", self.hold_s)
        if self.least > self.most:
            raise BadValueError(f"Autoscaling between {self.least} and {self.most} instances is not possible.")
        if self.signal not in SIGNALS:
            raise UnknownNameError("autoscaling signal", self.signal, SIGNALS)


class Scaler:
    """Decides in time; remembers what was wanted while it holds."""

    def __init__(self, rule: Autoscaling) -> None:
        self.rule = rule
        self.period, self.cold_start, self.hold = ticks(rule.period_s), ticks(rule.cold_start_s), ticks(rule.hold_s)
        self.wanted: deque[tuple[int, int]] = deque()

    def want(self, at: int, signal: int, current: int) -> int:
        """Return how many instances the pool should have at a time, given the sum of its signal."""
        rule = self.rule
        now = min(max(math.ceil(signal / rule.target), rule.least), rule.most)
        self.wanted.append((at, now))
        while self.wanted[0][0] < at - self.hold:
            self.wanted.popleft()
        return now if now >= current else min(current, max(count for _, count in self.wanted))
