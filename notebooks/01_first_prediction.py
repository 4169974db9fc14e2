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
# # First prediction
#
# **What does a language model cost on a GPU that you do not have, how sure is the answer, and what sets it?**
#
# Everything here is the public `archcast` package; there is no network and no GPU. Run notebooks from the folder
# `notebooks/`.

# %%
import matplotlib.pyplot as plt
import numpy as np

import archcast as ac

plt.style.use("archcast.mplstyle")

answer = ac.predict("llama-3.1-8b", on="h100-sxm", batch=8, prompt=1024, generate=256)
for name in ("latency_s", "ttft_s", "tpot_s", "energy_j", "memory_bytes", "cost_usd"):
    quantity = getattr(answer, name)
    print(f"{name:13} {quantity.value:10.4g}   [{quantity.lo:.4g} .. {quantity.hi:.4g}]")

# %% [markdown]
# Every quantity has an interval. The answer also says what bounds the time, and what its numbers rest on: operators of
# this GPU were measured (`learned`), what lies beyond the measured sizes is marked `extrapolated`, and the rest is the
# closed form (`physics`).

# %%
print("bound: ", {name: f"{share:.1%}" for name, share in answer.bound.items()})
print("source:", {name: f"{share:.1%}" for name, share in answer.source.items()})

# %% [markdown]
# ## Where does the time go?
#
# The waterfall starts from the time at the peak rate of the GPU and adds what each cause costs. The parts add up to the
# answer, so nothing hides in a factor.

# %%
steps = [step for step in answer.explain().steps if abs(step.added_s) > 1e-6]
ends = np.cumsum([step.added_s for step in steps]) * 1e3
starts = np.append(0, ends[:-1])

figure, axes = plt.subplots(figsize=(7.6, 3.4))
axes.barh([step.name for step in steps], ends - starts, left=starts, height=0.62)
for place, (start, end) in enumerate(zip(starts, ends, strict=True)):
    axes.annotate(f"{end - start:+,.0f} ms", (max(start, end), place), (4, 0), textcoords="offset points", va="center")
axes.invert_yaxis()
axes.grid(axis="y", visible=False)
axes.set(xlabel="time of the whole batch, ms", xlim=(0, 1.14 * ends.max()))
axes.set_title(f"{ends[0]:,.0f} of {ends[-1]:,.0f} ms are arithmetic at the peak; memory sets the pace")
plt.show()

# %%
for operator in answer.explain().operators[:6]:
    print(f"{operator.name:12} {operator.phase:8} {operator.share:6.1%} of the time")

# %% [markdown]
# ## Does it fit?
#
# What does not fit is an answer, with the bytes that are missing. What is impossible is an error of one sentence.

# %%
too_large = ac.predict("deepseek-v3", on="rtx-4090")
print(too_large.verdict, f"{too_large.shortfall_bytes / 1e9:.0f} GB missing")

divided = ac.predict("deepseek-v3", on="h200-sxm", count=8)
print(divided.verdict, divided.mapping, f"{divided.tpot_s.value * 1e3:.1f} ms a token")

try:
    ac.predict("llama-3.1-8b", on="h100-sxm", tp=7)
except ac.ArchcastError as error:
    print(error)

# %% [markdown]
# ## Many questions at once
#
# `predict_batch` takes columns and gives columns, thousands of answers a second. A row that cannot be answered has a
# reason instead of a number.

# %%
batches = 2 ** np.arange(9)
devices = ("h100-sxm", "mi300x", "l40s")
sweep = {
    device: ac.predict_batch(workload="llama-3.1-8b", on=device, batch=batches, prompt=1024, generate=256)
    for device in devices
}

figure, axes = plt.subplots()
for device, columns in sweep.items():
    low, middle, high = (batches * 256 / columns[name] for name in ("latency_hi_s", "latency_s", "latency_lo_s"))
    axes.fill_between(batches, low, high, alpha=0.18)
    axes.plot(batches, middle, marker="o", markersize=4, label=device)
axes.set(xscale="log", yscale="log", xlabel="requests in a batch", ylabel="tokens generated a second")
axes.set_xticks(batches, [str(batch) for batch in batches], minor=False)
axes.minorticks_off()
axes.legend(title="band: interval of the answer")
axes.set_title("llama-3.1-8b, 1,024 tokens in, 256 out: where a line ends, memory ends")
plt.show()

# %% [markdown]
# ## A network that nobody has trained
#
# Every knob of a model can be changed. Fewer key-value heads shrink the cache and, with long contexts, the time:

# %%
model = ac.load_model("llama-3.1-8b")
for heads in (32, 8, 4, 1):
    changed = ac.predict(model.with_knobs({"kv_heads": heads}), on="h100-sxm", batch=32, prompt=8192, generate=256)
    memory = changed.memory_parts_bytes["state"] / 2**30
    time = "does not fit" if changed.tpot_s is None else f"{changed.tpot_s.value * 1e3:.2f} ms a token"
    print(f"{heads:2} key-value heads: cache {memory:6.1f} GiB, {time}")

# %% [markdown]
# ## Where to go next
#
# - `archcast predict llama-3.1-8b --on h100-sxm --html report.html` writes all of this as one page.
# - Your own device is a YAML file (docs/hardware.md), your own network a `config.json` or an ONNX file.
# - The next notebook measures the machine that it runs on and holds the predictions against it.
