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
# # A capacity plan for a chat service
#
# **Which GPUs, and how many, serve a chat of Llama 3.1 70B to its users' liking for the least money, how far does that
# hold, and what if demand grows?**
#
# Requests arrive as in Azure's conversation trace of 2023, at 20 a second: a fitted generator that comes with archcast.
# Where the trace itself is at hand (`ARCHCAST_DATA`, or `../shared/data` beside the repository), it has its say, too.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import archcast as ac

plt.style.use("archcast.mplstyle")

question = {
    "kind": "plan", "model": "llama-3.1-70b", "traffic": {"name": "azure-2023-conv", "rate_hz": 20},
    "slo": {"ttft_s": 2.0, "tpot_s": 0.1, "percentile": 99},
    "devices": ["h100-sxm", "h200-sxm", "b200"], "formats": ["fp8"], "instance_devices": [1, 2],
    "policies": [{"most_tokens": 2048}], "replications": 4, "confirm": 4,
}  # fmt: skip
plan = ac.plan(question).to_json()
print(plan["summary"])
print("\n".join(plan["notes"]))
demand = plan["demand"]
print(f"{demand['prompt_tokens']['mean']:,.0f} tokens in, {demand['generate_tokens']['mean']:,.0f} out on average")

# %% [markdown]
# ## The fleets that keep the promise
#
# The promise: 99 of 100 requests have their first token in 2 s and each further one in 100 ms. The closed form of
# steady batches rules most candidates out; the others are run request by request, and each gets as many instances as it
# needs. Lines are intervals: of the money that of the price, of the time that of chance.

# %%
fleets = plan["fleets"]
names = [
    f"{fleet['devices']} x {fleet['device']}"
    + "".join(f", {way}={fleet[way]}" for way in ("pp", "tp") if fleet[way] > 1)
    for fleet in fleets
]
places = np.arange(len(fleets))
shown = {
    "usd_per_hour": ("price of the fleet, $/h", 1, None),
    "tpot_s": ("p99 time per output token, ms", 1e3, 100),
    "power_w": ("power of the boards, kW", 1e-3, None),
}

figure, panels = plt.subplots(1, 3, figsize=(9.4, 3.3), sharey=True)
for axes, (key, (label, scale, limit)) in zip(panels, shown.items(), strict=True):
    value, low, high = (np.array([fleet[key][end] for fleet in fleets]) * scale for end in ("value", "lo", "hi"))
    axes.barh(places, value, height=0.6, color=["C0"] + ["#9DB4C8"] * (len(fleets) - 1))
    axes.hlines(places, low, high, color="black", linewidth=1.2)
    if limit:
        axes.axvline(limit, color="C5", linestyle="--")
        axes.text(limit, -0.5, "promise ", color="C5", ha="right", va="center")
    axes.set(xlabel=label, xlim=(0, None))
    axes.grid(axis="y", visible=False)
panels[0].set_yticks(places, names)
panels[0].invert_yaxis()
other = next(place for place in places if fleets[place]["device"] != fleets[0]["device"])
second = fleets[other]["usd_per_hour"]["value"] / fleets[0]["usd_per_hour"]["value"] - 1
figure.suptitle(
    f"{names[0]} keep the promise for the least money, {fleets[0]['usd_per_hour']['value']:.0f} $/h; without "
    f"them it takes {names[other]} and {second:.0%} more", x=0.01, ha="left", fontsize=10, fontweight="bold",
)  # fmt: skip
plt.show()

# %% [markdown]
# ## What would more money buy?
#
# Every fleet that was run is a point: money against the time to the first token that one request in a hundred waits
# for. A hollow point may keep this promise and miss the other, on the time per output token.

# %%
marks = {"h100-sxm": "o", "h200-sxm": "s", "b200": "^"}
figure, axes = plt.subplots(figsize=(7.6, 4.0))
for colour, (device, mark) in enumerate(marks.items()):
    points = [point for point in plan["front"] if point["device"] == device]
    for meets in (True, False):
        those = [point for point in points if point["meets"] is meets]
        axes.scatter(
            [point["usd_per_hour"] for point in those], [point["ttft_s"]["value"] for point in those], marker=mark,
            s=52, color=f"C{colour}" if meets else "none", edgecolors=f"C{colour}", label=device if meets else None,
        )  # fmt: skip
chosen = fleets[0]
axes.scatter(
    chosen["usd_per_hour"]["value"], chosen["ttft_s"]["value"], s=210, facecolors="none", edgecolors="C5", linewidth=2
)
axes.annotate(names[0], (chosen["usd_per_hour"]["value"], chosen["ttft_s"]["value"]), (13, -3), color="C5",
              textcoords="offset points", va="center")  # fmt: skip
axes.axhline(2.0, color="C5", linestyle="--", linewidth=1.2)
axes.text(0.995, 2.15, "promise: 2 s", color="C5", ha="right", transform=axes.get_yaxis_transform())
axes.set(yscale="log", xlabel="price of the fleet, $/h", ylabel="p99 time to first token, s")
axes.set_yticks([0.5, 1, 2, 5, 10, 20], ["0.5", "1", "2", "5", "10", "20"])
axes.minorticks_off()
axes.legend(title="hollow: misses a promise")
richer = min((p for p in plan["front"] if p["meets"] and p["usd_per_hour"] > chosen["usd_per_hour"]["value"]),
             key=lambda point: (point["usd_per_hour"], point["ttft_s"]["value"]))  # fmt: skip
axes.set_title(
    f"From {chosen['usd_per_hour']['value']:.0f} to {richer['usd_per_hour']:.0f} dollars an hour the wait falls "
    f"from {chosen['ttft_s']['value']:.1f} to {richer['ttft_s']['value']:.1f} s"
)
plt.show()

# %% [markdown]
# ## How far does it hold?
#
# The same requests, arriving faster; an instance down; steps as slow as the cost model thinks possible. Where the fleet
# misses the promise, the plan says how many instances would keep it.

# %%
for stress in plan["robustness"]:
    fate = "holds" if stress["holds"] else "cannot keep up" if stress["unstable"] else "misses the promise"
    needed = stress["instances_needed"]
    cure = (
        ""
        if stress["holds"] or needed is None
        else f"; {needed} instances hold, {stress['usd_per_hour_needed']:.0f} $/h"
    )
    print(f"{stress['change']:22} {fate}{cure}")

# %% [markdown]
# ## How does the fleet grow with demand?
#
# One plan a rate. Fleets come in whole devices: the price of a request falls until a fleet is large enough that the
# last device does not matter.

# %%
rates = [5, 10, 20, 40]
grown = [
    ac.plan(question | {"devices": ["b200"], "instance_devices": [1], "confirm": 1},
            settings={"traffic.rate_hz": rate}).to_json() for rate in rates
]  # fmt: skip
hourly = np.array([[p["chosen"]["usd_per_hour"][end] for end in ("value", "lo", "hi")] for p in grown])
per_million = np.array([[p["chosen"]["usd_per_million_tokens"][end] for end in ("value", "lo", "hi")] for p in grown])

figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 3.4))
devices = [p["chosen"]["devices"] for p in grown]
left.plot(rates, devices, "o-", label="b200 needed")
left.plot(rates, devices[-1] * np.array(rates) / rates[-1], ":", color="grey", label="in proportion")
left.set(xlabel="requests a second", ylabel="devices")
left.set_title(f"{devices[0]} device for {rates[0]} requests/s, {devices[-1]} for {rates[-1]}")
left.legend()
right.fill_between(rates, per_million[:, 1], per_million[:, 2], alpha=0.18, label="interval of the price")
right.plot(rates, per_million[:, 0], "o-")
right.set(xscale="log", xlabel="requests a second", ylabel="$ for a million tokens generated", ylim=(0, None))
right.set_xticks(rates, [str(rate) for rate in rates])
right.minorticks_off()
right.legend()
right.set_title(f"At {rates[-1]}/s a token costs {1 - per_million[-1, 0] / per_million[0, 0]:.0%} less")
plt.show()

# %% [markdown]
# ## On the trace itself
#
# A generator is a model of users. The trace is one hour of real ones; its busiest stretch is run at its own rate, and
# the generator at the same mean rate beside it.

# %%
folders = [os.environ.get("ARCHCAST_DATA"), "../../shared/data", "../shared/data"]
found = [Path(folder) / "traces" / "azure_llm_2023_conv.csv.gz" for folder in folders if folder]
trace = next((file for file in found if file.is_file()), None)
if trace is None:
    print(
        "The trace is not at hand; everything above is the fitted generator's. docs/traffic.md says where it is from."
    )
else:
    narrow = question | {"devices": ["b200"], "instance_devices": [1], "confirm": 1}
    real = {key: value for key, value in narrow.items() if key not in ("traffic", "replications")}
    observed = ac.plan(real | {"trace": {"file": str(trace.resolve()), "requests": 2500}}).to_json()
    rate = observed["demand"]["rate_hz"]
    fitted = ac.plan(narrow, settings={"traffic.rate_hz": rate}).to_json()
    for name, one in (("trace", observed), ("generator", fitted)):
        best = one["chosen"]
        waits = f"p99 TTFT {best['ttft_s']['value']:.2f} s, TPOT {best['tpot_s']['value'] * 1e3:.0f} ms"
        price = best["usd_per_hour"]["value"]
        print(f"{name:10} {rate:.1f} requests/s: {best['devices']} x {best['device']}, {price:.1f} $/h, {waits}")

# %% [markdown]
# ## What to buy now, what later?
#
# Nobody knows how a service grows. `ac.grow` takes scenarios with probabilities and books of prices, electricity and
# carbon by region, and decides what is bought now and what is corrected later, when more is known.

# %%
growth = {
    "kind": "plan", "model": "llama-3.1-70b", "traffic": {"name": "azure-2023-conv", "rate_hz": 150},
    "slo": question["slo"], "devices": ["h200-sxm", "b200"], "formats": ["fp8"], "instance_devices": [1],
    "policies": {"most_tokens": 2048},
    "growth": {
        "start": "2027-01", "periods": 6, "length": "half-year", "discount_per_year": 0.08,
        "scenarios": [
            {"name": "low", "probability": 0.3, "per_year": 0.2},
            {"name": "base", "probability": 0.5, "per_year": 0.9},
            {"name": "high", "probability": 0.2, "per_year": 2.0},
        ],
        "peak": {"ratio": 1.6, "share": 0.3}, "regions": ["us-virginia", "se-stockholm"],
        "acquire": ["buy", "rent"], "lead_months": 6, "sold_in": "boxes", "life_years": 5,
        "limits": {"power_w": {"us-virginia": 150e3, "se-stockholm": 60e3}}, "carbon": {"usd_per_tonne": 100},
    },
}  # fmt: skip
later = ac.grow(growth).to_json()
print(later["summary"])

# %%
figure, panels = plt.subplots(1, 3, figsize=(9.4, 3.4), sharey=True)
dates = [period["from"] for period in later["periods"]]
for axes, scenario in zip(panels, later["scenarios"], strict=True):
    bought, rented, peak = (
        np.array([period[key] for period in scenario["periods"]])
        for key in ("bought_hz", "rented_hz", "demand_peak_hz")
    )
    axes.bar(dates, bought, width=0.8, color="C0", label="bought")
    axes.bar(dates, rented, width=0.8, bottom=bought, color="C4", label="rented")
    axes.plot(dates, peak, "o-", color="black", markersize=4, label="peak demand")
    cost = scenario["cost_usd"]
    axes.set_title(f"{scenario['name']} ({scenario['probability']:.0%}): {cost['value'] / 1e6:.1f} M$\n"
                   f"[{cost['lo'] / 1e6:.1f} .. {cost['hi'] / 1e6:.1f}]")  # fmt: skip
    axes.tick_params(axis="x", rotation=60)
    axes.set(xlabel="period from")
panels[0].set(ylabel="requests a second")
panels[0].legend(loc="upper left")
figure.suptitle(
    "One order now; what follows depends on how demand grows", x=0.01, ha="left", fontsize=10, fontweight="bold"
)
plt.show()

# %% [markdown]
# ## Where to go next
#
# - `archcast plan examples/plan_chat_azure.yaml --html plan.html` has more devices, formats and policies, as a page;
#   `docs/plan.md` says how an answer is found. `software: vllm` adds what a serving stack does (`docs/stack.md`).
# - `archcast plan examples/growth.yaml --html growth.html` leases, too, waits for devices not yet sold, and shows what
#   each price does to the plan.
# - Not a chat but a detector: the next notebook plans the farm of a trigger.
