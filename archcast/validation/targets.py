"""What must be reached, row by row, and what a run measured of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np

from archcast.validation.devices import shots_label
from archcast.validation.evaluated import MEAN
from archcast.validation.run import Validation
from archcast.validation.scoring import ALL, Line
from archcast.validation.seeds import mean

Lines = Mapping[str, Sequence[Line]]
"""The lines of each case that was scored, of one seed."""
Value = Callable[[Lines], float]
"""What a row compares with its bound; NaN where it was not measured."""

NEVER, FEW = shots_label(0), shots_label(20)
SPREAD = "{} shots, spread out"
KNOWN = ("wheel-gemm", "wheel-attention", "wheel-moe", "wheel-collectives-sizes", "wheel-collectives-links")
LEFT_OUT = ("unseen-gemm", "unseen-attention", "unseen-moe")
ERROR, INSIDE = "mape_share", "coverage_share"


@dataclass(frozen=True)
class Target:
    """One row. `bound` must not be passed: from above, or from below where `more`. `line` says which line tells n,
    coverage and width. `plain` values are no shares; `speed` rows name where they are measured in `elsewhere`."""

    row: str
    baseline: str
    bound: float
    value: Value
    line: tuple[str, str, str] = ("", "", "")
    more: bool = False
    plain: bool = False
    elsewhere: str = ""


@dataclass(frozen=True)
class Reached:
    """What was measured of a row: mean and worst over seeds, and its line's n, answered share, coverage and width.

    `met` is None where nothing was measured; a row whose line has too few answered rows is not met.
    """

    target: Target
    value: float
    worst: float
    met: bool | None
    line: Line | None


def stat(line: Line, name: str) -> float:
    """Return a number of a line: its MAPE, or a field by name, a dot before what is a part of it."""
    found: float = attrgetter(f"errors.{ERROR}" if name == ERROR else name)(line)
    return found


def find(lines: Lines, case: str, device: str, label: str) -> Line | None:
    """Return a line by names, the only line of a case standing in for that of all its devices; None without."""
    mine = lines.get(case, ())
    found = next((line for line in mine if (line.device, line.label) == (device, label)), None)
    return mine[0] if found is None and len(mine) == 1 and device == ALL else found


def at(case: str, device: str = ALL, label: str = "", name: str = ERROR) -> Value:
    """Return a number of one line."""

    def value(lines: Lines) -> float:
        found = find(lines, case, device, label)
        return stat(found, name) if found is not None else float("nan")

    return value


def over(case: str, label: str, how: Callable[[list[float]], float], but: tuple[str, ...] = ()) -> Value:
    """Return a summary (a median, the largest) of the MAPE of the devices of a case."""

    def value(lines: Lines) -> float:
        found = [line for line in lines.get(case, ()) if line.device not in (ALL, MEAN)]
        found = [line for line in found if line.label == label and not line.device.startswith(but or ("\0",))]
        return float(how([stat(line, ERROR) for line in found])) if found else float("nan")

    return value


def of_none(case: str, label: str) -> Value:
    """Return the error with a few rows over that with none, the median over devices."""

    def value(lines: Lines) -> float:
        none = {line.device: stat(line, ERROR) for line in lines.get(case, ()) if line.label == NEVER}
        few = {line.device: stat(line, ERROR) for line in lines.get(case, ()) if line.label == label}
        ratios = [few[device] / none[device] for device in few if device != ALL and device in none]
        return float(np.median(ratios)) if ratios else float("nan")

    return value


def to_baseline(case: str, device: str, label: str) -> Value:
    """Return the MAPE over that of the case's first baseline on the same rows."""

    def value(lines: Lines) -> float:
        found = find(lines, case, device, label)
        base = next(iter(found.baselines.values()), None) if found is not None else None
        return stat(found, ERROR) / base.mape_share if found is not None and base is not None else float("nan")

    return value


def among(cases: Sequence[str], values: Sequence[Value], how: Callable[[list[float]], float]) -> Value:
    """Return a summary of several values; NaN unless all the cases were scored."""

    def value(lines: Lines) -> float:
        known = [one for one in (each(lines) for each in values) if np.isfinite(one)]
        return float(how(known)) if known and all(lines.get(case) for case in cases) else float("nan")

    return value


def reached(found: Validation, targets: Sequence[Target]) -> list[Reached]:
    """Return what a run measured of each row."""
    runs = [{o.case.name: o.runs[min(i, len(o.runs) - 1)] for o in found.scored} for i in range(found.seeds)]
    means = {outcome.case.name: outcome.lines for outcome in found.scored}
    return [_reached(target, runs, means) for target in targets]


def _reached(target: Target, runs: Sequence[Lines], means: Lines) -> Reached:
    values = [value for value in (target.value(lines) for lines in runs) if np.isfinite(value)]
    line = find(means, *target.line)
    if not values:
        return Reached(target, np.nan, np.nan, None, line)
    middle, worst = mean(values), min(values) if target.more else max(values)
    good = middle >= target.bound if target.more else middle <= target.bound
    return Reached(target, middle, worst, good and (line is None or line.counts), line)
