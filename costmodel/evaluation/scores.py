"""One row of a score table: predicted against measured, beside a baseline on the same rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from workloads.table import Array

CLOSE = 0.1


@dataclass(frozen=True)
class Score:
    """What one model scored on one device or split with one seed. Shares, not percent; NaN where there is none.

    `answered` is the share of the rows that a prediction was made for; `inside` the share of rows within the interval,
    `width` the median ratio of its ends; `close` the share within 10 %; `rho` Spearman's.
    """

    data: str
    device: str
    split: str
    method: str
    seed: int
    n: int
    answered: float
    mape: float
    median: float
    p90: float
    close: float
    rho: float
    inside: float
    width: float
    baseline: str
    baseline_mape: float
    baseline_rho: float = float("nan")


def score(
    labels: tuple[str, str, str, str, int], measured: Array, predicted: Array, *,
    ends: tuple[Array, Array] | None = None, baseline: tuple[str, Array] = ("", np.array([])), answered: float = 1.0,
) -> Score:  # fmt: skip
    """Return the score of predictions; `labels` are data, device, split, method, seed."""
    data, device, split, method, seed = labels
    error = np.abs(predicted / measured - 1)
    inside = width = float("nan")
    if ends is not None and np.isfinite(ends[0]).any():
        inside = float(np.mean((measured >= ends[0]) & (measured <= ends[1])))
        width = float(np.median(ends[1] / ends[0]))
    name, other = baseline
    there = np.isfinite(other) if len(other) else np.zeros(0, bool)
    base = float(np.mean(np.abs(other[there] / measured[there] - 1))) if there.any() else float("nan")
    return Score(
        data, device, split, method, seed, len(measured), answered, float(error.mean()), float(np.median(error)),
        float(np.quantile(error, 0.9)), float(np.mean(error <= CLOSE)), spearman(predicted, measured), inside, width,
        name, base, spearman(other[there], measured[there]) if there.any() else float("nan"),
    )  # fmt: skip


def spearman(left: Array, right: Array) -> float:
    """Return the correlation of ranks, ties at their mean rank; NaN where all values of a side are one."""
    if len(left) < 3 or np.ptp(left) == 0 or np.ptp(right) == 0:
        return float("nan")
    return float(np.corrcoef(_ranks(left), _ranks(right))[0, 1])


def _ranks(values: Array) -> Array:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse], float)


def table_lines(scores: Sequence[Score]) -> list[str]:
    """Return a Markdown table: a line a device, split and method, means over seeds and the worst MAPE; then means."""
    lines = [
        "| data | device | split | method | n | answered | MAPE (worst) | median | p90 | <10 % | rho (worst) | "
        "inside 90 % | width | baseline |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    splits = dict.fromkeys((s.data, s.split, s.method) for s in scores)
    for key in splits:
        mine = [s for s in scores if (s.data, s.split, s.method) == key]
        devices = list(dict.fromkeys(s.device for s in mine))
        lines += [_line(device, [s for s in mine if s.device == device]) for device in devices]
        if len(devices) > 1:
            lines.append(_line("**mean of devices**", mine, by_seed=True))
    return lines


def _line(device: str, scores: Iterable[Score], by_seed: bool = False) -> str:
    found = list(scores)
    seeds = sorted({s.seed for s in found})

    def values(name: str) -> Array:
        if not by_seed:
            return np.array([getattr(s, name) for s in found])
        return np.array([np.nanmean([getattr(s, name) for s in found if s.seed == seed]) for seed in seeds])

    def mean(name: str) -> float:
        every = values(name)
        return float(np.nanmean(every)) if np.isfinite(every).any() else float("nan")

    first = found[0]
    base = f"{first.baseline} {mean('baseline_mape'):.1%}, rho {mean('baseline_rho'):.3f}" if first.baseline else "-"
    return (
        f"| {first.data} | {device} | {first.split} | {first.method} | {mean('n'):,.0f} | {mean('answered'):.0%} | "
        f"{mean('mape'):.1%} ({values('mape').max():.1%}) | {mean('median'):.1%} | {mean('p90'):.1%} | "
        f"{mean('close'):.0%} | {mean('rho'):.3f} ({values('rho').min():.3f}) | {mean('inside'):.0%} | "
        f"x{mean('width'):.2f} | {base} |"
    )


def folds(groups: Array, parts: int, seed: int) -> Array:
    """Return the fold of each row: whole groups, dealt by size so that folds are alike, in an order the seed draws."""
    names, inverse, counts = np.unique(groups.astype(str), return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-counts[order], kind="stable")]
    held, of_group = np.zeros(parts), np.zeros(len(names), int)
    for name in order:
        part = int(np.argmin(held))
        of_group[name] = part
        held[part] += counts[name]
    return np.asarray(of_group[inverse])
