# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # First steps
#
# What a workload costs on hardware that you do not have. This notebook uses the public functions of `archcast` only,
# needs no network, and runs in a few seconds. Open it with `jupytext --to notebook first_steps.py`, or as a plain
# script. With `pip install 'archcast[plot]'` the last cells draw; without it they print.

# %%
import numpy as np

import archcast as ac

answer = ac.predict("llama-3.1-8b", on="h100-sxm", batch=8, prompt=1024, generate=256)
for name in ("latency_s", "ttft_s", "tpot_s", "energy_j", "memory_bytes", "cost_usd"):
    quantity = getattr(answer, name)
    print(f"{name:13} {quantity.value:10.4g}   [{quantity.lo:.4g} .. {quantity.hi:.4g}]")

# %% [markdown]
# Every quantity has an interval, and the answer says what bounds the time and what it rests on.

# %%
print("bound: ", {name: f"{share:.1%}" for name, share in answer.bound.items()})
print("source:", {name: f"{share:.1%}" for name, share in answer.source.items()})

# %% [markdown]
# ## Where does the time go?
#
# The waterfall starts from the time at the peak rate and adds what each cause costs; the parts add up to the answer.

# %%
explanation = answer.explain()
for step in explanation.steps:
    print(f"{step.name:16} {step.added_s * 1e3:9.2f} ms   {step.meaning}")

# %%
for operator in explanation.operators[:5]:
    print(f"{operator.name:12} {operator.phase:8} {operator.share:6.1%}")

# %% [markdown]
# ## Does it fit?
#
# What does not fit is an answer, not an exception; what is impossible is an exception with a sentence.

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
# `predict_batch` takes columns and gives columns; a row that cannot be answered has a reason.

# %%
batches = 2 ** np.arange(9)
devices = ("h100-sxm", "l40s", "mi300x")
sweep = {
    device: ac.predict_batch(workload="llama-3.1-8b", on=device, batch=batches, prompt=1024, generate=256)
    for device in devices
}
for device, columns in sweep.items():
    rate = batches * 256 / columns["latency_s"]
    print(f"{device:10}", " ".join("    -" if np.isnan(r) else f"{r:5.0f}" for r in rate), "tokens/s")

# %% [markdown]
# ## A network that nobody has trained
#
# Every knob of a model can be changed. Fewer key-value heads shrink the cache:

# %%
model = ac.load_model("llama-3.1-8b")
for heads in (32, 8, 4, 1):
    changed = ac.predict(model.with_knobs({"kv_heads": heads}), on="h100-sxm", batch=32, prompt=8192, generate=256)
    memory = changed.memory_parts_bytes["state"] / 2**30
    time = "does not fit" if changed.tpot_s is None else f"{changed.tpot_s.value * 1e3:.2f} ms a token"
    print(f"{heads:2} key-value heads: cache {memory:6.1f} GiB, {time}")

# %% [markdown]
# ## A picture

# %%
try:
    import matplotlib.pyplot as plt
except ImportError:
    plt = None

if plt is not None:
    figure, axes = plt.subplots(figsize=(7, 4))
    for device, columns in sweep.items():
        low, middle, high = (batches * 256 / columns[name] for name in ("latency_hi_s", "latency_s", "latency_lo_s"))
        axes.fill_between(batches, low, high, alpha=0.15)
        axes.plot(batches, middle, marker="o", label=device)
    axes.set(xscale="log", yscale="log", xlabel="batch", ylabel="tokens/s", title="llama-3.1-8b, 1024 in, 256 out")
    axes.legend()
    plt.show()
