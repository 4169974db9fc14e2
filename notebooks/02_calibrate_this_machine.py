# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Calibrate this machine, and check it
#
# **How wrong is the closed form about the processor that this notebook runs on, and how much better does half a minute
# of measuring make it?**
#
# `archcast measure` runs operators on this machine, through ONNX Runtime where that is installed (`archcast[measure]`),
# through numpy in any case. A third of them is held back: the model never sees them, and is judged by them.

# %%
import csv
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import archcast as ac

plt.style.use("archcast.mplstyle")
kept = tempfile.TemporaryDirectory()  # gone with the kernel
folder = Path(kept.name)

host = ac.load_device("host-cpu")
print(host.name)

# %% [markdown]
# ## Measure
#
# A sweep stops when its budget does, and goes on where it stopped. On a machine that is busy otherwise fewer operators
# come out, and their times are too long: the summary says so.

# %%
ENOUGH, ROUNDS, ROUND_S = 90, 3, 9.0
sweep = ac.measure(folder / "m.csv", budget_s=ROUND_S)
for _ in range(ROUNDS - 1):
    if sweep.rows + sweep.earlier_rows < ENOUGH:
        sweep = ac.measure(folder / "m.csv", budget_s=ROUND_S, resume=True)
print(sweep.text().replace(str(folder), "..."))

table = folder / "m.csv"
if sweep.rows + sweep.earlier_rows < 60:
    table = Path("../benchmarks/data/host_cpu_avx512_2cores.csv")
    print(f"Too busy to measure here: {table.name}, measured on another machine, stands in.")
with table.open() as file:
    rows = list(csv.DictReader(file))[:700]
measured_s = np.array([float(row["latency_s"]) for row in rows])
kinds = np.array([row["op"] for row in rows])

# %% [markdown]
# ## Hold back, then calibrate
#
# Rows of one shape may differ by format only, so whole shapes are held back, not rows.

# %%
SIZES = ("m", "n", "k", "q_len", "kv_len", "c_in", "h", "w", "c_out", "kh", "rows", "hidden")
shapes = ["/".join([row["op"], *(row[size] for size in SIZES)]) for row in rows]
shuffled = np.random.default_rng(1).permutation(sorted(set(shapes)))
unseen = np.isin(shapes, shuffled[: len(shuffled) // 3])

with (folder / "train.csv").open("w", newline="") as file:
    writer = csv.DictWriter(file, rows[0].keys())
    writer.writeheader()
    writer.writerows(row for row, hidden in zip(rows, unseen, strict=True) if not hidden)
calibration = ac.calibrate(folder / "train.csv", out=folder / "host")
print(f"calibrated on {(~unseen).sum()} operators, {unseen.sum()} are held back")

# %% [markdown]
# ## Before and after
#
# The same question twice: by the closed form alone, and with what was learned. `predict_ops` takes columns; each kind
# of operator has sizes of its own, so it is asked kind by kind.

# %%
TEXT = ("device", "op", "dtype", "phase", "padding")
ASIDE = ("software", "source", "latency_s", "energy_j", "power_w", "memory_bytes", "n_repeat", "latency_std_s")


def predicted(model: str) -> np.ndarray:
    """Return the predicted seconds of all rows, and the ends of their intervals, shape (3, rows)."""
    found = np.full((3, len(rows)), np.nan)
    for kind in np.unique(kinds):
        for has in {tuple(name for name in row if row[name]) for row in rows if row["op"] == kind}:
            places = [i for i, row in enumerate(rows) if row["op"] == kind and tuple(n for n in row if row[n]) == has]
            columns = {
                name: [rows[i][name] if name in TEXT else float(rows[i][name]) for i in places]
                for name in has if name not in ASIDE
            }  # fmt: skip
            costs = ac.predict_ops(columns, model=model)
            found[:, places] = costs.latency_s, costs.latency_lo_s, costs.latency_hi_s
    return found


before, after = predicted("physics"), predicted(str(folder / "host"))
errors = {word: np.abs(found[0] / measured_s - 1)[unseen] for word, found in (("before", before), ("after", after))}
medians = {word: float(np.median(error)) for word, error in errors.items()}
inside = ((after[1] <= measured_s) & (measured_s <= after[2]))[unseen].mean()

figure, panels = plt.subplots(1, 2, figsize=(9.2, 4.3), sharex=True, sharey=True)
ends = np.array([measured_s.min() / 2, measured_s.max() * 2]) * 1e3
for axes, found in zip(panels, (before, after), strict=True):
    for number, kind in enumerate(np.unique(kinds)):
        those = unseen & (kinds == kind)
        middle, low, high = found[:, those] * 1e3
        axes.errorbar(measured_s[those] * 1e3, middle, yerr=[middle - low, high - middle], fmt="o", markersize=3.5,
                      linewidth=0.7, alpha=0.75, color=f"C{number}", label=kind)  # fmt: skip
    axes.plot(ends, ends, color="black", linewidth=0.8)
    axes.fill_between(ends, ends / 1.25, ends * 1.25, color="grey", alpha=0.15, linewidth=0)
    axes.set(xscale="log", yscale="log", xlabel="measured, ms", xlim=ends)
panels[0].set_title(f"Closed form: median error {medians['before']:.0%}")
panels[1].set_title(f"Calibrated: {medians['after']:.0%}; {inside:.0%} within their interval")
panels[0].set_ylabel("predicted, ms (line: interval)")
panels[0].legend(loc="upper left", ncols=2, fontsize=8)
figure.suptitle(f"{unseen.sum()} operators that the model never saw (grey: 25 % off)", x=0.01, ha="left", fontsize=10)
plt.show()

# %% [markdown]
# ## How many are how wrong?
#
# A median hides the tail. This is all of it: the share of held-back operators whose error is below the one on the axis.

# %%
figure, axes = plt.subplots(figsize=(7.6, 3.4))
share = np.arange(1, unseen.sum() + 1) / unseen.sum()
for form, (word, error) in zip(("--", "-"), errors.items(), strict=True):
    axes.step(np.sort(np.maximum(error, 1e-3)), share, form, where="post", label=f"{word} calibration")
axes.set(xscale="log", xlabel="error of the latency", ylabel="share of operators below", ylim=(0, 1))
axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}" if value >= 0.01 else f"{value:.1%}")
axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
axes.legend(loc="upper left")
within = {word: float((error < 0.25).mean()) for word, error in errors.items()}
axes.set_title(f"Within 25 % of the measured time: {within['before']:.0%} before, {within['after']:.0%} after")
plt.show()

# %% [markdown]
# ## What the calibration says of itself
#
# Calibration holds shapes back on its own, too, and writes what it found into the artefact's card: nobody has to
# repeat this notebook to know how good a model is. It is given for every kind of operator with enough rows.

# %%
print(calibration.text().replace(str(folder), "..."))

# %% [markdown]
# ## A network on this machine
#
# The calibrated model answers like any other, with the same intervals. Operators that were not measured, such as
# convolutions where ONNX Runtime is absent, are the closed form's, and `source` says how much of the time that is.

# %%
for model in ("physics", str(folder / "host")):
    answer = ac.predict("resnet-18", on="host-cpu", model=model)
    time = answer.latency_s
    source = ", ".join(f"{name} {share:.0%}" for name, share in answer.source.items() if share > 0.005)
    word = "closed form" if model == "physics" else "calibrated"
    print(f"{word:12} {time.value * 1e3:6.1f} ms [{time.lo * 1e3:.1f} .. {time.hi * 1e3:.1f}]  ({source})")

# %% [markdown]
# ## Where to go next
#
# - `archcast measure --budget 10min --out m.csv`, then `archcast calibrate m.csv --out host`: more time, more
#   operators, and, with `archcast[measure]`, convolutions, attention and whole networks to check against
#   (`docs/measure.md`).
# - A device that somebody else measured: `docs/measurements.md` has the columns, `docs/datasets.md` what can be
#   imported.
# - The next notebook leaves measured machines for ones that do not exist.
