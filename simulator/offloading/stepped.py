"""A server as the published environment advances it: in steps, sub-step by sub-step, in floating point.

Study: gracefulning/mec_morl_multipolicy, env/MEC_env.py. Each task sends at its user's full rate; a sub-step lasts to
the next end of a sending or of a task; a task that has been sent joins the others only when that sub-step is over.
What is left of at most `ZERO_BITS` counts as nothing. All bits depend on the order of operations, so it is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from workloads.table import Array

ZERO_BITS = 1e-6


def _none() -> Array:
    return np.zeros(0)


def _nobody() -> Array:
    return np.zeros(0, dtype=np.int64)


@dataclass
class SteppedServer:
    """One server: columns of the tasks that are sent to it and of those that it works on."""

    frequency_hz: float
    cycles_per_bit: float
    sending: Array = field(default_factory=_nobody)
    sending_bits: Array = field(default_factory=_none)
    sending_rate: Array = field(default_factory=_none)
    sending_size: Array = field(default_factory=_none)
    running: Array = field(default_factory=_nobody)
    running_bits: Array = field(default_factory=_none)

    def add(self, task: int, size_bits: float, rate_bits_per_s: float) -> None:
        """Begin to send a task."""
        self.sending = np.append(self.sending, task)
        self.sending_bits = np.append(self.sending_bits, size_bits)
        self.sending_size = np.append(self.sending_size, size_bits)
        self.sending_rate = np.append(self.sending_rate, rate_bits_per_s)

    def advance(self, start_s: float, step_s: float) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
        """Advance by one step; return (task, time in s) of those that were sent, and of those that ended."""
        sent: list[tuple[int, float]] = []
        ended: list[tuple[int, float]] = []
        used = 0.0
        while used < step_s:
            runs = self._sub_step(step_s - used, step_s)
            used += runs
            at = start_s + used
            arrived, done = self.sending_bits <= ZERO_BITS, self.running_bits <= ZERO_BITS
            ended += [(int(task), at) for task in self.running[done]]
            sent += [(int(task), at) for task in self.sending[arrived]]
            self.running = np.concatenate([self.running[~done], self.sending[arrived]])
            self.running_bits = np.concatenate([self.running_bits[~done], self.sending_size[arrived]])
            for name in ("sending", "sending_bits", "sending_rate", "sending_size"):
                setattr(self, name, getattr(self, name)[~arrived])
        return sent, ended

    def _sub_step(self, left_s: float, step_s: float) -> float:
        """Work off one sub-step; return its length in s."""
        count = len(self.running)
        until = step_s
        if len(self.sending):
            until = float((self.sending_bits / self.sending_rate).min())
        if count:
            ends = float((self.running_bits / (self.frequency_hz / (self.cycles_per_bit * count))).min())
            until = min(until, ends) if len(self.sending) else ends
        runs = min(left_s, until)
        self.sending_bits = self.sending_bits - self.sending_rate * runs
        if count:
            self.running_bits = self.running_bits - self.frequency_hz * runs / (self.cycles_per_bit * count)
        return runs

    @property
    def speed_bits_per_s(self) -> float:
        return self.frequency_hz / self.cycles_per_bit

    def remaining_s(self) -> list[float]:
        """Return the work that is left of each running task, in seconds of the whole server."""
        found: list[float] = (self.running_bits / self.speed_bits_per_s).tolist()
        return found

    def joins_s(self) -> list[tuple[float, float]]:
        """Return (seconds from now, work in s) of the tasks that are being sent."""
        waits = (self.sending_bits / self.sending_rate).tolist()
        return list(zip(waits, (self.sending_size / self.speed_bits_per_s).tolist(), strict=True))


def published_increase_s(running_bits: Array, speed_bits_per_s: float, wait_s: float, size_bits: float) -> float:
    """Return the published estimate by how much the summed delay grows through a task that joins in `wait_s`.

    Kept as published, with what it leaves out: of the work that the tasks get while the new one is sent only that of
    the first to end is taken off (none, where all end before), and the sending itself does not count.
    """
    left = np.sort(running_bits)
    before = _drain_s(left, speed_bits_per_s, 0.0)
    counts = np.arange(len(left), 0, -1)
    speeds = speed_bits_per_s / counts
    steps = np.diff(left, prepend=0.0)
    passed, during = 0.0, 0.0
    for i, (step, speed, count) in enumerate(zip(steps.tolist(), speeds.tolist(), counts.tolist(), strict=True)):
        lasts = step / speed
        if passed + lasts >= wait_s:
            cut = wait_s - passed
            during += count * cut
            left[i] -= cut * speed
            left[i] = 0.0 if left[i] < ZERO_BITS else left[i]
            left = left[i:]
            break
        during += count * step / speed
        passed += lasts
    return _drain_s(np.sort(np.append(left, size_bits)), speed_bits_per_s, during) - before


def _drain_s(left_bits: Array, speed_bits_per_s: float, start_s: float) -> float:
    """Return `start_s` plus the summed times to the end of tasks in rising order, added up one after the other."""
    counts = np.arange(len(left_bits), 0, -1)
    terms = counts * np.diff(left_bits, prepend=0.0) / (speed_bits_per_s / counts)
    return float(np.cumsum(np.concatenate([[start_s], terms]))[-1])
