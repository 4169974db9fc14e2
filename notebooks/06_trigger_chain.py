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
# # A trigger chain
#
# **Does the data acquisition of a detector keep up, where does it lose events, what does it draw, and how large must
# its farm be?**
#
# The chain is CMS in Run 5 of the LHC at a pile-up of 200, from the catalogue (`archcast devices --kind pipeline`),
# each figure of it with its source. It runs twice in every answer: in mean rates, and event by event.

# %%
import matplotlib.pyplot as plt
import numpy as np

import archcast as ac

plt.style.use("archcast.mplstyle")

chain = ac.simulate("cms-run5-pu200").to_json()
print(f"{chain['name']}: {chain['verdict']}, loses {chain['loss_share']:.3%} of the wanted events")
power = chain["power_w"]
print(f"power {power['value'] / 1e6:.1f} MW [{power['lo'] / 1e6:.1f} .. {power['hi'] / 1e6:.1f}]")

# %% [markdown]
# ## From forty million crossings a second to the disk
#
# Two stages reject. Everything behind the first trigger sees a thousandth of the rate, but full events.

# %%
stages = [stage for stage in chain["stages"] if stage["name"] in ("L1T", "Readout", "Builder", "HLT", "Disk")]
names = [stage["name"] for stage in stages]
rates = np.array([[stage[key]["value"] for stage in stages] for key in ("rate_in_hz", "rate_out_hz")])
bandwidth = np.array([stage["throughput_bytes_per_s"]["value"] for stage in stages])

figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.6))
left.plot(names, rates[0], marker="o", label="in")
left.plot(names, rates[1], marker="s", linestyle="--", label="out")
left.set(yscale="log", ylabel="events a second")
left.set_title(f"{rates[0, 0] / rates[1, -1]:,.0f} crossings for one event on disk")
left.legend()
right.bar(names, bandwidth / 1e9, width=0.6, color="C1")
right.set(yscale="log", ylabel="data out, GB/s")
right.set_title(f"{bandwidth[0] / 1e12:,.0f} TB/s to the farm, {bandwidth[-1] / 1e9:,.0f} GB/s to the disk")
plt.show()

# %% [markdown]
# ## What would better parts bring?
#
# The authors of the study behind these figures ask for a GPU farm, smart pixels and tracks in the first trigger. Each
# is an alternative of the file; `improved_by` takes any of them.

# %%
asked = {"today's plan": [], "GPU farm": ["gpu"], "smart pixels": ["smart_pixels"],
         "all three": ["gpu", "smart_pixels", "l1_tracks"]}  # fmt: skip
found = {
    name: ac.simulate("cms-run5-pu200", settings={"improved_by": parts}).to_json() for name, parts in asked.items()
}
watts = {name: np.array([one["power_w"][end] for end in ("value", "lo", "hi")]) / 1e6 for name, one in found.items()}

figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.6), sharey=True)
for place, (value, low, high) in enumerate(watts.values()):
    left.barh(place, value, height=0.55, color="C0")
    left.plot([low, high], [place, place], color="black", linewidth=1.2)
left.set_yticks(range(len(watts)), list(watts))
left.invert_yaxis()
left.set(xlabel="power scaled to 2032, MW (line: interval)")
saved = 1 - watts["all three"][0] / watts["today's plan"][0]
left.set_title(f"All three save {saved:.0%} of the power")
f1 = [one["f1"]["value"] for one in found.values()]
right.barh(range(len(f1)), f1, height=0.55, color="C2")
right.set(xlabel="F1 of the trigger's decisions", xlim=(0, 1))
right.set_title(f"and lift F1 from {f1[0]:.2f} to {f1[-1]:.2f}")
for axes in (left, right):
    axes.grid(axis="y", visible=False)
plt.show()

# %% [markdown]
# ## How much farm, how much buffer?
#
# A plan asks for the smallest farm that loses less than one event in a million with a tenth of its nodes down. Larger
# buffers let the nodes be busier. The closed form narrows the choices, events confirm them.

# %%
plan = ac.plan(
    {
        "kind": "plan", "pipeline": "cms-run5-pu200", "stage": "HLT", "rate_hz": 750e3, "failing": 0.1,
        "choices": {"parts": {"from": 15500, "to": 24000, "step": 50}, "servers": 256,
                    "buffer_bytes": [125e6, 250e6, 500e6, 1e9, 2e9, 4e9]},
        "limits": {"loss": 1e-6},
    }
).to_json()  # fmt: skip
print(plan["summary"])

front = sorted(plan["front"], key=lambda farm: farm["buffer_bytes_per_part"])
buffers = np.array([farm["buffer_bytes_per_part"] for farm in front]) / 1e9
servers = np.array([farm["servers"] for farm in front]) / 1e6

figure, axes = plt.subplots(figsize=(7.6, 3.6))
axes.plot(buffers, servers, marker="o")
axes.scatter(buffers[servers.argmin()], servers.min(), s=140, facecolors="none", edgecolors="C5", linewidth=2, zorder=3)
axes.set(xscale="log", xlabel="buffer of a node, GB", ylabel="cores of the farm, million")
axes.set_xticks(buffers, [f"{size:g}" for size in buffers])
axes.minorticks_off()
saved = servers.max() - servers.min()
axes.set_title(f"{buffers[-1]:g} GB in place of {buffers[0]:g} GB a node save {saved:.1f} million cores")
plt.show()

# %% [markdown]
# ## How far does it hold?

# %%
for change in plan["robustness"]:
    print(f"{change['change']:24} {'holds' if change['holds'] else 'fails'}, busy {change['utilisation']:.1%}")

# %% [markdown]
# ## Where to go next
#
# - `archcast simulate cms-run5-pu200 --html chain.html` draws buffers over time, `docs/pipelines.md` lists the keys of
#   a file of your own, and a stage can be a network on a device that the cost model times.
# - `docs/experiments.md` has ten more experiments, from LHCb to telescopes.
