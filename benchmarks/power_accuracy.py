"""How far predicted board power and energy are from measurements: known devices, and each from the other by 20 rows.

Rows: aiconfigurator's operator tables with power (H200, B200), read as `archcast calibrate --import` reads them. Split
by shape groups: a fifth of them is scored, the others train. Constants of the model (tail weights, spreads of the
priors, bins) were set on half of the groups (an even CRC-32 of the group); only the other half is ever scored.
Few-shot: the model knows one device alone and gets 20 rows of the other, chosen by `choose_shots` among its training
groups without looking at power; the scored groups are unseen on both.

Run: `python benchmarks/power_accuracy.py [--seeds 5] [--first-seed 10] [--no-latency]` beside the reference data
(`ARCHCAST_DATA`, or `../shared/data`). Predicted latency is that of a model calibrated on the latencies of both
devices' training groups.
"""

from __future__ import annotations

import argparse
import sys
import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from real_ops import data_folder

from costmodel.calibration import fitted
from costmodel.calibration.rows import gather, group_hash
from costmodel.measured.aiconfigurator import load_aiconfigurator
from costmodel.measured.base import ImportRequest
from costmodel.power import Ends, PowerModel, PowerSample
from costmodel.power_fit import SURE_S, choose_shots, fit_power
from costmodel.power_physics import FAMILIES, activity
from costmodel.rates import compile_rates
from costmodel.residual import LearnedModel
from hardware_specs import load_device
from workloads.measurements import MeasurementTable
from workloads.table import OPS, Array, OpTable

DEVICES = ("h200-sxm", "b200")
SHOTS = 20
LATENCY_ROUNDS = 150
SPANS = {"all rows": 0.0, ">= 1 ms": SURE_S}


@dataclass(frozen=True)
class Rows:
    """All rows of one device with the stack of each, and which groups may be scored."""

    sample: PowerSample
    software: Array
    scorable: Array

    def take(self, mask: Array) -> Rows:
        where = np.flatnonzero(mask)
        return Rows(self.sample.take(where), self.software[where], self.scorable[where])


def tables(folder: Path) -> list[MeasurementTable]:
    """Return the operator tables that carry power."""
    found = load_aiconfigurator(ImportRequest(path=folder / "aiconfigurator", devices=DEVICES))
    return [table.take(np.flatnonzero(np.isfinite(t))) for table in found if (t := table.value("power_w")).size
            and np.isfinite(t).any()]  # fmt: skip


def rows_of(device: str, found: list[MeasurementTable]) -> Rows:
    """Return the rows of one device out of all tables."""
    mine = [table.take(np.flatnonzero(table.device == device)) for table in found]
    mine = [table for table in mine if table.rows]
    names = sorted({name for table in mine for name in table.table.columns if name != "label"})
    columns = {
        name: np.concatenate([_column(table.table, name) for table in mine]) for name in names
    }  # fmt: skip
    table = OpTable(sum(t.rows for t in mine), columns)
    group = np.concatenate([group_hash(t.table) for t in mine])
    latency, power = (np.concatenate([t.value(name) for t in mine]) for name in ("latency_s", "power_w"))
    parity = {int(g): zlib.crc32(int(g).to_bytes(8, "little")) % 2 == 1 for g in np.unique(group)}
    scorable = np.array([parity[int(g)] for g in group])
    software = np.concatenate([t.software.astype(str) for t in mine])
    sample = PowerSample(table, compile_rates(load_device(device)), latency, power, group, software)
    return Rows(sample, software, scorable)


def _column(table: OpTable, name: str) -> Array:
    return table.full("dtype" if name == "kv_dtype" and name not in table.columns else name)


def scored_groups(rows: dict[str, Rows], seed: int) -> set[int]:
    """Return the groups that are scored: 40 % of those that may be, a fifth of all."""
    groups = np.unique(np.concatenate([r.sample.group[r.scorable] for r in rows.values()]))
    chosen = np.random.default_rng(seed).permutation(len(groups))[: round(0.4 * len(groups))]
    return {int(groups[i]) for i in chosen}


Line = dict[tuple[str, str, str], list[tuple[float, ...]]]


def score(lines: Line, name: str, rows: Rows, measured: Array, predicted: Ends, baseline: Array) -> None:
    """Add (n, MAPE, median, p90, coverage, width, baseline's MAPE) of each family and span to `lines`."""
    value, lo, hi = predicted
    sample = rows.sample
    family = activity(sample.table, sample.rates, sample.latency_s).family
    error, inside = np.abs(value / measured - 1), (measured >= lo) & (measured <= hi)
    base = np.abs(baseline / measured - 1)
    for label, least_s in SPANS.items():
        for code, title in [(-1, "all"), *enumerate(FAMILIES)]:
            m = (sample.latency_s >= least_s) & ((family == code) | (code < 0))
            if m.sum() >= 20:
                figures = (m.sum(), error[m].mean(), np.median(error[m]), np.quantile(error[m], 0.9), inside[m].mean(),
                           np.median(hi[m] / lo[m]), base[m].mean())  # fmt: skip
                lines[name, label, title].append(tuple(float(x) for x in figures))


def one_seed(lines: Line, rows: dict[str, Rows], found: list[MeasurementTable], seed: int, latency: bool) -> None:
    """Fit on the training groups and score the others, for both devices and both directions."""
    groups = scored_groups(rows, seed)
    out = {d: np.isin(r.sample.group, list(groups)) for d, r in rows.items()}
    train = {d: r.take(~out[d]) for d, r in rows.items()}
    test = {d: r.take(out[d]) for d, r in rows.items()}
    times = None
    if latency:
        kept = [t.take(np.flatnonzero(~np.isin(group_hash(t.table), list(groups)))) for t in found]
        timed = fitted(gather([t for t in kept if t.rows], seed), seed, LATENCY_ROUNDS)[0]
        times = {d: predicted_latency(timed, r) for d, r in test.items()}
    for known, other in (DEVICES, DEVICES[::-1]):
        model = fit_power([train[known].sample], seed=seed)
        answered(lines, f"{known}, known", model, test[known], float(train[known].sample.power_w.mean()), times)
        shots = train[other].sample.take(choose_shots(train[other].sample, SHOTS, model))
        adapted = model.adapt(shots)
        answered(lines, f"{other} from {known}, {SHOTS} rows", adapted, test[other], float(shots.power_w.mean()), times)


def answered(
    lines: Line, name: str, model: PowerModel, rows: Rows, constant_w: float, times: dict[str, Ends] | None
) -> None:  # fmt: skip
    """Score power with measured latency, and energy with predicted latency; the baseline is a constant power."""
    s = rows.sample
    power = model.predict(s.table, s.rates, s.latency_s, s.software)
    score(lines, f"power, {name}", rows, s.power_w, power, np.full(len(s.power_w), constant_w))
    if times is not None:
        predicted = times[s.rates.device]
        energy = model.energy(s.table, s.rates, predicted, s.software)
        score(lines, f"energy, {name}", rows, s.power_w * s.latency_s, energy, constant_w * predicted[0])


def predicted_latency(model: LearnedModel, rows: Rows) -> Ends:
    """Return (value, lo, hi) of the learned latency in seconds."""
    value, lo, hi = np.empty((3, len(rows.software)))
    for stack in np.unique(rows.software):
        where = np.flatnonzero(rows.software == stack)
        costs = model.predict(rows.sample.table.take(where), rows.sample.rates, software=str(stack))
        value[where], lo[where], hi[where] = costs.latency_s, costs.latency_lo_s, costs.latency_hi_s
    return value, lo, hi


def twins(found: list[MeasurementTable]) -> Iterator[str]:
    """Yield how far two readings of nearly the same operator are apart: what no model can answer better than.

    Twins are GEMMs of one device, stack, format, n and k whose m differ by at most 2 % and latencies by at most 3 %.
    """
    table = next(t for t in found if OPS[int(t.table.full("op")[0])] == "gemm" and t.rows > 10_000)
    columns = {name: table.table.full(name) for name in ("dtype", "n", "k", "m")}
    names = np.array([f"{d} {s}" for d, s in zip(table.device, table.software, strict=True)])
    order = np.lexsort((columns["m"], columns["k"], columns["n"], columns["dtype"], names))
    latency, power = table.value("latency_s")[order], table.value("power_w")[order]
    key = np.stack([columns[name][order] for name in ("dtype", "n", "k")], axis=1)
    m, names = columns["m"][order], names[order]
    twin = (key[1:] == key[:-1]).all(axis=1) & (names[1:] == names[:-1]) & (m[1:] <= 1.02 * m[:-1])
    twin &= np.abs(np.log(latency[1:] / latency[:-1])) <= 0.03
    apart = np.abs(np.log(power[1:] / power[:-1]))
    for stack in np.unique(names):
        for label, least, most in (("< 0.1 ms", 0.0, 1e-4), ("0.1 to 1 ms", 1e-4, 1e-3), (">= 1 ms", 1e-3, 1e9)):
            s = twin & (names[1:] == stack) & (latency[1:] >= least) & (latency[1:] < most)
            count, a = int(s.sum()), apart[s]
            if count >= 20:
                yield (
                    f"| {stack} | {label} | {count:,} | {np.median(a):.1%} | {a.mean():.1%} | {(a > 0.3).mean():.0%} |"
                )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=10)
    parser.add_argument("--no-latency", action="store_true", help="leave out energy with predicted latency")
    options = parser.parse_args()
    folder = data_folder()
    if folder is None:
        print("No reference data: set ARCHCAST_DATA.", file=sys.stderr)
        return 2
    found = tables(folder)
    rows = {device: rows_of(device, found) for device in DEVICES}
    lines: Line = defaultdict(list)
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        print(f"seed {seed}", file=sys.stderr, flush=True)
        one_seed(lines, rows, found, seed, not options.no_latency)
    seeds = f"{options.seeds} seeds from {options.first_seed} on"
    print(f"Means over {seeds} (worst seed in brackets); shares of rows by shape groups never seen.\n")
    print("| what | rows | family | n | MAPE | median | p90 | inside 90 % interval | width hi/lo | constant power |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    order = ["all", *FAMILIES]
    for (name, span, family), figures in sorted(lines.items(), key=lambda i: (*i[0][:2][::-1], order.index(i[0][2]))):
        n, mape, median, p90, inside, width, base = np.mean(figures, axis=0)
        worst = max(f[1] for f in figures)
        print(f"| {name} | {span} | {family} | {n:,.0f} | {mape:.1%} ({worst:.1%}) | {median:.1%} | {p90:.1%} | "
              f"{inside:.0%} | {width:.2f} | {base:.1%} |")  # fmt: skip
    print("\n| twins: GEMM, m within 2 %, latency within 3 % | latency | pairs | median apart | mean | above 30 % |")
    print("|---|---|---|---|---|---|")
    for line in twins(found):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
