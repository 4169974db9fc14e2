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
# # The design space of an NPU
#
# **Which array, buffers, dataflow and memory bandwidth suit ResNet-50, and which of these choices matter?**
#
# The space is that of `examples/npu_resnet50.yaml` with fewer steps, so that every design is evaluated in about a
# second: a closed form of the array, of its memory traffic, of energy and of area at 16 nm.

# %%
import matplotlib.pyplot as plt
import numpy as np

import archcast as ac

plt.style.use("archcast.mplstyle")
KIB, MIB = 1024, 1024**2

study = {
    "kind": "search", "workload": "resnet-50", "batch": 1, "dtype": "int8",
    "space": {
        "rows": [8, 16, 32, 64, 128],
        "cols": [8, 16, 32, 64, 128],
        "input_buffer_bytes": [32 * KIB, 128 * KIB, 512 * KIB, 2 * MIB],
        "weight_buffer_bytes": [32 * KIB, 128 * KIB, 512 * KIB, 2 * MIB],
        "output_buffer_bytes": [32 * KIB, 128 * KIB, 512 * KIB, 2 * MIB],
        "dataflow": ["ws", "os", "is"],
        "dram_bandwidth_bytes_per_s": [6.4e9, 12.8e9, 25.6e9, 51.2e9],
    },
    "fixed": {"clock_hz": 1e9, "node_nm": 16, "dram": "lpddr4"},
    "objectives": ["latency_s", "energy_j", "area_mm2"],
    "constraints": {"max": {"area_mm2": 40}},
}  # fmt: skip
answer = ac.search(study)
front = answer.front
print(f"{answer.tally.designs:,} designs, {answer.tally.feasible:,} feasible, {len(front)} that no other beats")

# %% [markdown]
# ## The front
#
# No design is best in all of latency, energy and area. The ones that no other beats in all three are the *front*. Its
# *knee* is a compromise to look at first: the design nearest to the best of everything, on logarithmic scales.

# %%
latency, energy, area = (np.array([design[name]["value"] for design in front]) for name in study["objectives"])
knee = front[answer.knee]
size = f"{knee['knobs']['rows']} x {knee['knobs']['cols']}"

figure, axes = plt.subplots(figsize=(7.6, 4.6))
shades = axes.scatter(latency * 1e3, energy * 1e3, c=area, cmap="viridis", norm="log", s=26, zorder=2)
axes.scatter(
    knee["latency_s"]["value"] * 1e3, knee["energy_j"]["value"] * 1e3, s=190, facecolors="none", edgecolors="C5",
    linewidth=2.2, zorder=3,
)  # fmt: skip
axes.annotate(
    f"knee: {size} elements, {knee['knobs']['dataflow']}, {knee['area_mm2']['value']:.1f} mm²\n"
    f"{knee['latency_s']['value'] * 1e3:.1f} ms, {knee['energy_j']['value'] * 1e3:.1f} mJ an image",
    (knee["latency_s"]["value"] * 1e3, knee["energy_j"]["value"] * 1e3 * 1.02), (0.33, 0.9), textcoords="axes fraction",
    arrowprops={"arrowstyle": "-", "color": "C5"}, va="center", ha="center",
)  # fmt: skip
colours = figure.colorbar(shades, label="area, mm²", ticks=[2, 5, 10, 20])
colours.ax.set_yticklabels(["2", "5", "10", "20"])
colours.ax.minorticks_off()
axes.set(xscale="log", yscale="log", xlabel="latency of an image, ms", ylabel="energy of an image, mJ")
axes.set_xticks([2, 5, 10, 20, 50], ["2", "5", "10", "20", "50"])
axes.set_yticks([5, 6, 8, 10, 12], ["5", "6", "8", "10", "12"])
axes.minorticks_off()
axes.set_title(
    f"Area buys {latency.max() / latency.min():.0f} times the speed, "
    f"and {energy.max() / energy.min():.1f} times less energy"
)
plt.show()

# %% [markdown]
# ## What sets the compromise?
#
# Every design says where its time, energy and area go. At the knee the answer to all three is the memory beside the
# chip: its traffic takes the time and the energy, and its pins take the area.

# %%
parts = {
    "time": ("stages_s", knee["latency_s"]["value"]),
    "energy": ("energy_parts_j", knee["energy_j"]["value"]),
    "area": ("area_parts_mm2", knee["area_mm2"]["value"]),
}
called = {
    "ideal": "array at its peak", "shape": "layers that do not fit the array", "dram": "device memory",
    "others": "operators without matrix work", "mac": "arithmetic", "registers": "registers", "static": "idle power",
    "noc": "wires", "phy": "memory's pins", "array": "array", "buffers": "buffers", "overhead": "overhead",
}  # fmt: skip

figure, axes = plt.subplots(figsize=(7.6, 3.0))
for place, (key, whole) in enumerate(parts.values()):
    left = 0.0
    shares = sorted(((value / whole, name) for name, value in knee[key].items()), reverse=True)
    for number, (share, name) in enumerate(shares):
        shade = "C0" if name in ("dram", "phy") else plt.get_cmap("Greys")(0.55 - 0.09 * min(number, 5))
        axes.barh(place, share, left=left, height=0.62, color=shade, edgecolor="white", linewidth=0.8)
        if share > 0.1:
            words = called.get(name, name).replace(" that ", "\nthat ").replace(" without ", "\nwithout ")
            light = "white" if name in ("dram", "phy") else "black"
            axes.text(
                left + share / 2, place, f"{words}\n{share:.0%}", ha="center", va="center", fontsize=8, color=light
            )
        left += share
axes.set_yticks(range(3), list(parts))
axes.invert_yaxis()
axes.grid(visible=False)
axes.set(xlabel="share of the design at the knee", xlim=(0, 1))
axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
axes.set_title("Device memory (blue) is the largest part of time, energy and area")
plt.show()

# %% [markdown]
# ## What can each knob reach?
#
# For every value of a knob: the best of each objective over *all other* knobs, beside the best of the whole space. A
# flat line is a knob that the others make up for; a steep one must be chosen well.

# %%
reach = answer.sensitivity()
units = {"rows": 1, "cols": 1, "input_buffer_bytes": KIB, "weight_buffer_bytes": KIB, "output_buffer_bytes": KIB,
         "dram_bandwidth_bytes_per_s": 1e9, "dataflow": None}  # fmt: skip
labels = {"rows": "rows", "cols": "columns", "input_buffer_bytes": "input buffer, KiB",
          "weight_buffer_bytes": "weight buffer, KiB", "output_buffer_bytes": "output buffer, KiB",
          "dram_bandwidth_bytes_per_s": "memory bandwidth, GB/s", "dataflow": "dataflow"}  # fmt: skip
objectives = {"latency_s": ("latency", "o-"), "energy_j": ("energy", "s--"), "area_mm2": ("area", "^:")}

figure, panels = plt.subplots(2, 4, figsize=(9.2, 4.6), sharey=True)
for axes, knob in zip(panels.flat, units, strict=False):
    values = reach[knob]
    names = [str(row["value"]) if units[knob] is None else f"{row['value'] / units[knob]:g}" for row in values]
    for name, (word, form) in objectives.items():
        best = min(row[name] for row in values)
        axes.plot(names, [row[name] / best for row in values], form, markersize=4, label=word)
    axes.set(xlabel=labels[knob], yscale="log", ylim=(0.9, 10))
    axes.set_yticks([1, 2, 4, 8], ["1", "2", "4", "8"])
    axes.minorticks_off()
handles, words = panels[0, 0].get_legend_handles_labels()
panels[1, 3].axis("off")
panels[1, 3].legend(handles, words, loc="center", title="best over the other knobs,\nbest of the space = 1")
for row in panels:
    row[0].set_ylabel("times the best")
worst = {knob: max(r["latency_s"] for r in reach[knob]) / min(r["latency_s"] for r in reach[knob]) for knob in units}
dearest = sorted(worst, key=worst.get, reverse=True)
figure.suptitle(
    f"Memory bandwidth can cost {worst[dearest[0]]:.1f} times the latency, columns {worst['cols']:.1f}, "
    f"rows {worst['rows']:.1f}; buffers and dataflow at most {worst[dearest[3]]:.2f}",
    x=0.01, ha="left", fontsize=10, fontweight="bold",
)  # fmt: skip
plt.show()

# %% [markdown]
# ## One step away from the knee
#
# The same question locally: all knobs but one stay. A space of one value a knob is one design.

# %%


def one_design(knobs: dict) -> dict | None:
    """Return a design of the space by its knobs, None where it breaks a limit."""
    found = ac.search(study | {"space": {name: knobs[name] for name in study["space"]}}).front
    return found[0] if found else None


steps = []
for name, values in study["space"].items():
    at = values.index(knee["knobs"][name])
    others = [v for v in values if v != values[at]] if name == "dataflow" else values[max(at - 1, 0) : at + 2]
    for value in others:
        if value != values[at] and (design := one_design(knee["knobs"] | {name: value})):
            shown = value if units[name] is None else f"{value / units[name]:g}"
            change = [design[key]["value"] / knee[key]["value"] - 1 for key in objectives]
            word, _, unit = labels[name].partition(", ")
            steps.append((f"{word} to {shown} {unit}", change))
steps.sort(key=lambda step: -max(map(abs, step[1])))

figure, panels = plt.subplots(1, 3, figsize=(9.2, 3.6), sharey=True)
for k, (axes, (word, _)) in enumerate(zip(panels, objectives.values(), strict=True)):
    changes = np.array([step[1][k] for step in steps])
    axes.barh(range(len(steps)), changes, height=0.65, color=np.where(changes > 0, "C5", "C2"))
    axes.axvline(0, color="black", linewidth=0.8)
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:+.0%}")
    axes.set(xlabel=f"change of {word}")
    axes.grid(axis="y", visible=False)
panels[0].set_yticks(range(len(steps)), [step[0] for step in steps])
panels[0].invert_yaxis()
figure.suptitle(
    f"From the knee, {steps[0][0].split(' to ')[0]} moves most: one step down, {steps[0][1][0]:+.0%} latency", x=0.01,
    ha="left", fontsize=10, fontweight="bold",
)  # fmt: skip
plt.show()

# %% [markdown]
# ## What does a square millimetre buy?
#
# Where one objective has a budget, the front answers directly: the least latency within an area. The band is the
# interval of the design that is best; its upper end is the most that RTL of such arrays took over the closed form. All
# designs share that model, so their *order* is better known than their values.

# %%
order = np.argsort(area)
fastest = np.minimum.accumulate(latency[order])
best = [order[np.flatnonzero(latency[order] == value)[0]] for value in fastest]
low, high = (np.array([front[place]["latency_s"][end] for place in best]) * 1e3 for end in ("lo", "hi"))

figure, axes = plt.subplots(figsize=(7.6, 3.6))
axes.fill_between(area[order], low, high, step="post", alpha=0.15, label="interval")
axes.step(area[order], fastest * 1e3, where="post", label="least latency")
for budget in (2, 6, 20):
    design = best[np.flatnonzero(area[order] <= budget)[-1]]
    knobs = front[design]["knobs"]
    axes.plot(budget, latency[design] * 1e3, "o", color="C5", markersize=5)
    axes.annotate(
        f"{budget} mm²: {knobs['rows']} x {knobs['cols']} {knobs['dataflow']}, "
        f"{knobs['dram_bandwidth_bytes_per_s'] / 1e9:g} GB/s\n{latency[design] * 1e3:.1f} ms",
        (budget, latency[design] * 1e3), (-6, -36), textcoords="offset points", ha="right" if budget > 3 else "center",
        fontsize=8,
    )  # fmt: skip
axes.set(xscale="log", yscale="log", ylim=(0.6, None), xlabel="budget of area, mm²", ylabel="latency of an image, ms")
axes.set_xticks([2, 5, 10, 20], ["2", "5", "10", "20"])
axes.set_yticks([1, 2, 5, 10, 20, 50, 100], ["1", "2", "5", "10", "20", "50", "100"])
axes.minorticks_off()
axes.legend(loc="upper right")
axes.set_title("The first square millimetres buy the most speed")
plt.show()

# %% [markdown]
# ## Where to go next
#
# - `archcast search examples/npu_resnet50.yaml --html front.html` evaluates all 1,080,000 designs and writes a page.
# - `docs/search.md` has the knobs, limits and intervals; `docs/npu.md` and `docs/npu-energy.md` the model and how far
#   it was held against RTL and measured chips.
# - Where a design takes seconds to evaluate, a grid is out of reach: the next notebook compares methods that choose.
