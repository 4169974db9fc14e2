"""The host while it is measured: this process kept on its cores, and the energy counter of the package (RAPL)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import nan
from pathlib import Path

from hardware_specs.host import usable_cores, usable_threads

POWERCAP = Path("/sys/class/powercap")
LEAST_ENERGY_TIME_S = 0.05
"""The counter moves once a millisecond (Intel 64 SDM volume 3B, section 16.10); below 50 of them it is too coarse."""


@contextmanager
def pinned() -> Iterator[tuple[int, ...]]:
    """Keep this process on as many of its cores as it may use at once; yields them, and undoes it at the end."""
    before = usable_cores()
    cores = before[: usable_threads()]
    able = hasattr(os, "sched_setaffinity")
    if able:
        with suppress(OSError):
            os.sched_setaffinity(0, cores)
    try:
        yield cores
    finally:
        if able:
            with suppress(OSError):
                os.sched_setaffinity(0, before)


def busy_share(seconds: float, stat: Path = Path("/proc/stat")) -> float:
    """Return the share of all cores' time that is used while this process sleeps; NaN where the system has no count.

    Under steady load repeats agree with each other, and are all too slow: only this shows it.
    """
    before = _core_time(stat)
    time.sleep(seconds)
    after = _core_time(stat)
    if before is None or after is None or after[1] <= before[1]:
        return nan
    return 1.0 - (after[0] - before[0]) / (after[1] - before[1])


def _core_time(stat: Path) -> tuple[int, int] | None:
    """Return (idle, all) ticks of all cores: fields 4 and 5 of proc(5) are idle and waiting for a disk."""
    try:
        ticks = [int(word) for word in stat.read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return None
    return (ticks[3] + ticks[4], sum(ticks)) if len(ticks) > 4 else None


class EnergyCounter:
    """Joules of all processor packages, where the kernel lets this user read them (`available`)."""

    def __init__(self, root: Path = POWERCAP) -> None:
        self._zones = [(zone / "energy_uj", self._range(zone)) for zone in sorted(root.glob("intel-rapl:[0-9]*"))
                       if zone.name.count(":") == 1]  # fmt: skip
        self._start: list[int] | None = None
        self._since = 0.0
        self.available = bool(self._zones) and self._read() is not None

    def start(self) -> None:
        """Begin a period."""
        self._start, self._since = self._read() if self.available else None, time.perf_counter()

    def power_w(self) -> float:
        """Return the mean power since `start`; NaN without a counter, or where the period is too short."""
        passed = time.perf_counter() - self._since
        now = self._read() if self._start is not None else None
        if self._start is None or now is None or passed < LEAST_ENERGY_TIME_S:
            return nan
        spans = [(end - begin) % wrap for begin, end, (_, wrap) in zip(self._start, now, self._zones, strict=True)]
        return sum(spans) * 1e-6 / passed

    def _read(self) -> list[int] | None:
        try:
            return [int(path.read_text()) for path, _ in self._zones]
        except (OSError, ValueError):
            return None

    @staticmethod
    def _range(zone: Path) -> int:
        """Return the microjoules after which the counter starts again at 0."""
        try:
            return int((zone / "max_energy_range_uj").read_text()) + 1
        except (OSError, ValueError):
            return 2**32
