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
# # Six ways to search, five seeds each
#
# **Which search method finds good designs with few evaluations, and is the difference more than luck?**
#
# ArchGym put architecture simulators behind one interface, so that agents could be compared. Here the same loop runs on
# archcast's environments: an NPU like that of the notebook before, whose area and latency for ResNet-18 are a closed
# form.

# %%
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the matrices are small: threads would wait for each other

import matplotlib.pyplot as plt
import numpy as np

import archcast as ac
from archcast import environments

plt.style.use("archcast.mplstyle")

NPU = {"name": "npu-array", "objective": "joint", "objectives": ("latency_s", "area_mm2")}
environment = environments.make(**NPU)
space = environment.task.space
print(f"{space.size:,} designs of {len(space.knobs)} knobs: {', '.join(knob.name for knob in space.knobs)}")

# %% [markdown]
# ## An environment
#
# `reset`, `step`, a reward: that of gymnasium. An action is a design (a code for each knob, or a mapping of names), the
# reward is 0 for the medians of random designs and 1 for values that are e times better; `info` has the values.

# %%
observation, _ = environment.reset(seed=1)
environment.action_space.seed(1)
_, reward, *_, info = environment.step(environment.action_space.sample())
print(f"reward {reward:+.3f}: {info['latency_s'] * 1e3:.1f} ms an image, {info['area_mm2']:.1f} mm²")

many = environments.make(**NPU, num_envs=4096)
many.reset(seed=1)
many.action_space.seed(1)
_, rewards, *_, infos = many.step(many.action_space.sample())

figure, axes = plt.subplots(figsize=(7.6, 3.8))
shades = axes.scatter(infos["latency_s"] * 1e3, infos["area_mm2"], c=np.maximum(rewards, -2), s=6, cmap="viridis")
figure.colorbar(shades, label="reward")
axes.set(xscale="log", yscale="log", xlabel="latency of an image, ms", ylabel="area, mm²")
axes.set_xticks([1, 2, 5, 10, 20, 50], ["1", "2", "5", "10", "20", "50"])
axes.set_yticks([2, 5, 10, 20, 50], ["2", "5", "10", "20", "50"])
axes.minorticks_off()
axes.set_title(f"4,096 random designs in one step; {(rewards > 0.5).mean():.0%} have a reward above 0.5")
plt.show()

# %% [markdown]
# ## The loop
#
# A method is asked for designs and is told their values: that is all it knows. Five of the methods that come with
# archcast run with `ac.make_study`. The sixth is our own and fits in eight lines: it changes one or two knobs of a
# design of its front. All see the same environment, ten designs a step.

# %%
OBJECTIVES = NPU["objectives"]
SEEDS, STEPS, BATCH = range(1, 6), 16, 10
counts = np.array(space.shape)[:, None]


def walk(study, rng: np.random.Generator) -> np.ndarray:
    """Return codes of designs one or two knobs away from designs of the front."""
    if not study.evaluations:
        return rng.integers(0, counts, (len(counts), BATCH))
    codes = study.front().codes.astype(int)
    codes = codes[:, rng.integers(0, codes.shape[1], BATCH)]
    changed = rng.random(codes.shape) < 1.5 / len(counts)
    return np.where(changed, rng.integers(0, counts, codes.shape), codes)


def run(method: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rewards (evaluations,) and values (evaluations, objectives) of one search."""
    step = environments.make(**NPU, num_envs=BATCH)
    step.reset(seed=seed)
    rng = np.random.default_rng(seed)
    options = {"pool": 1000} if method == "bayesian" else {}
    study = ac.make_study(space, OBJECTIVES, method="random" if method == "walk" else method, seed=seed, **options)
    rewards = []
    for _ in range(STEPS):
        if method == "walk":
            codes = walk(study, rng)
        else:
            study.ask(BATCH)
            codes = study.codes.astype(int)
        _, reward, *_, known = step.step(codes.T)
        study.tell(
            space.columns(codes), {name: np.where(known["feasible"], known[name], np.nan) for name in OBJECTIVES}
        )
        rewards.append(reward)
    return np.concatenate(rewards), study.history.values


labels = {"random": "random", "sobol": "Sobol's sequence", "walk": "walk (ours)", "ants": "ant colony",
          "nsga2": "NSGA-II", "bayesian": "Bayesian"}  # fmt: skip
runs = {method: [run(method, seed) for seed in SEEDS] for method in labels}
print(f"{sum(len(rewards) for found in runs.values() for rewards, _ in found):,} designs evaluated")

# %% [markdown]
# ## The best reward so far
#
# ArchGym's picture: one number for each design, and the best of it against evaluations. Lines are means over five
# seeds, bands reach from the worst seed to the best. Where bands overlap, one run of each method would have said
# nothing.

# %%
spent = np.arange(1, STEPS * BATCH + 1)
best = {method: np.array([np.maximum.accumulate(rewards) for rewards, _ in found]) for method, found in runs.items()}


def small_multiples(curves: dict[str, np.ndarray], ylabel: str, title: str, bottom: float) -> None:
    """Draw one panel a method, with all means in grey behind it."""
    figure, panels = plt.subplots(2, 3, figsize=(9.2, 4.8), sharex=True, sharey=True)
    for number, (axes, (method, by_seed)) in enumerate(zip(panels.flat, curves.items(), strict=True)):
        for other in curves.values():
            axes.plot(points(other), other.mean(axis=0), color="#C8CED6", linewidth=0.9)
        axes.fill_between(points(by_seed), by_seed.min(axis=0), by_seed.max(axis=0), color=f"C{number}", alpha=0.25)
        axes.plot(points(by_seed), by_seed.mean(axis=0), color=f"C{number}")
        axes.set_title(f"{labels[method]}: {by_seed[:, -1].mean():.2f}")
        axes.set_ylim(bottom, 1.05 * max(other.max() for other in curves.values()))
    for axes in panels[1]:
        axes.set(xlabel="evaluations")
    for axes in panels[:, 0]:
        axes.set(ylabel=ylabel)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
    plt.show()


def points(by_seed: np.ndarray) -> np.ndarray:
    """Return the evaluations at which a curve has its points."""
    return np.linspace(spent[-1] / by_seed.shape[1], spent[-1], by_seed.shape[1])


order = sorted(best, key=lambda method: -best[method][:, -1].mean())
title = f"Ends highest on average: {labels[order[0]]}; grey: all methods; bands: worst to best of five seeds"
small_multiples(best, "best reward so far", title, bottom=0.0)

# %% [markdown]
# ## The front so far
#
# One number hides the trade between latency and area. The *hypervolume* does not: how much of the space the front
# dominates, up to a reference point that is the same for all, with the objectives' logarithms. It is shown as a share
# of what the front of all runs together dominates. A method may end high in one picture and low in the other.

# %%
everything = np.log(np.concatenate([values for found in runs.values() for _, values in found]))
everything = everything[np.isfinite(everything).all(axis=1)]  # a design that does not stand has no values
low, high = everything.min(axis=0), everything.max(axis=0)


def volume(values: np.ndarray) -> float:
    """Return the hypervolume of designs, with logarithms of values from 0 (best seen) to 1.1 (beyond the worst)."""
    shares = (np.log(values) - low) / (high - low)
    return ac.hypervolume(shares[np.isfinite(shares).all(axis=1)], np.array([1.1, 1.1]))


most = volume(np.exp(everything))
volumes = {
    method: np.array([[volume(values[: n * BATCH]) / most for n in range(1, STEPS + 1)] for _, values in found])
    for method, found in runs.items()
}
rank = sorted(volumes, key=lambda method: -volumes[method][:, -1].mean())
title = f"Most of the front on average: {labels[rank[0]]}, least: {labels[rank[-1]]}; number: mean at the end"
small_multiples(volumes, "hypervolume,\nshare of the best known", title, bottom=0.5)

# %% [markdown]
# ## Luck or skill?
#
# Five seeds are few, so each seed is a dot. The last column counts in how many of the 25 pairs of seeds a method beats
# random search: 25 is always, 12.5 is a coin.

# %%
reached = {method: curve[:, -1] for method, curve in volumes.items()}
wins = {
    method: (ends[:, None] > reached["random"]).sum() + 0.5 * (ends[:, None] == reached["random"]).sum()
    for method, ends in reached.items()
}

figure, axes = plt.subplots(figsize=(7.6, 3.4))
for place, method in enumerate(rank):
    ends = reached[method]
    axes.hlines(place, ends.min(), ends.max(), color="grey", linewidth=1)
    axes.plot(ends, np.full(len(ends), place), "o", alpha=0.7, color="C0", markersize=7)
    axes.plot(ends.mean(), place, "|", color="black", markersize=18, markeredgewidth=2)
    axes.text(1.01, place, "" if method == "random" else f"{wins[method]:g} of 25", va="center",
              transform=axes.get_yaxis_transform())  # fmt: skip
axes.text(1.01, 1.02, "beats random", transform=axes.transAxes, va="bottom")
axes.set_yticks(range(len(rank)), [labels[method] for method in rank])
axes.invert_yaxis()
axes.set(xlabel=f"hypervolume after {spent[-1]} evaluations, share of the best known (bar: mean)")
sure = [labels[method] for method in rank if method != "random" and wins[method] >= 22.5]
axes.set_title(f"Surely better than random (9 of 10 pairs): {', '.join(sure) if sure else 'none'}")
plt.show()

# %% [markdown]
# ## What they found

# %%
marks = dict(zip(labels, "os^Dvx", strict=True))
figure, axes = plt.subplots(figsize=(7.6, 4.0))
axes.scatter(infos["latency_s"] * 1e3, infos["area_mm2"], s=3, color="#D0D5DC", label="4,096 random designs")
for number, (method, found) in enumerate(runs.items()):
    values = found[0][1][np.isfinite(found[0][1]).all(axis=1)]
    front = values[[not ((values <= one).all(axis=1) & (values < one).any(axis=1)).any() for one in values]]
    front = front[np.argsort(front[:, 0])]
    axes.plot(front[:, 0] * 1e3, front[:, 1], marks[method], markersize=6, alpha=0.8, label=labels[method],
              color=f"C{number}", fillstyle="none")  # fmt: skip
axes.set(xscale="log", yscale="log", xlabel="latency of an image, ms", ylabel="area, mm²")
axes.set_xticks([1, 2, 5, 10, 20, 50], ["1", "2", "5", "10", "20", "50"])
axes.set_yticks([2, 5, 10, 20, 50], ["2", "5", "10", "20", "50"])
axes.minorticks_off()
axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
axes.set_title(f"Fronts of the first seed: {spent[-1]} of {space.size:,} designs were evaluated")
plt.show()

# %% [markdown]
# ## Where to go next
#
# - Where an evaluation is a simulation (`fidelity="events"`), few evaluations count: `docs/search.md` has all methods
#   with 150 simulations beside 1,000 random ones, on other problems, too. The order of methods differs between
#   problems.
# - `archcast search FILE --method nsga2 --log run.parquet --resume kept` searches from a file, logs, and survives a
#   kill.
# - `environments.IDS` lists the environments, from NPUs to network architectures; each takes ArchGym's name.
