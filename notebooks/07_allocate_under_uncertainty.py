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
# # An allocator under uncertainty
#
# **A thousand questions, a few dollars: which model thinks how long about which, if the costs are only known within an
# interval and the budget must hold?**
#
# archcast prices what an answer costs. How often it is right always comes from you: the success rates here are made up,
# to have the shape that such curves have.

# %%
import matplotlib.pyplot as plt
import numpy as np

import archcast as ac

plt.style.use("archcast.mplstyle")

models = {
    "8B": {"workload": "llama-3.1-8b", "on": "l40s", "dtype": "fp8"},
    "30B": {"workload": "qwen3-30b-a3b", "on": "h100-sxm", "dtype": "fp8"},
    "70B": {"workload": "llama-3.1-70b", "on": "h200-sxm", "dtype": "fp8"},
}
tokens, samples = [256, 1024, 4096], [1, 4]
options = [
    {"name": f"{name} {t} tokens x {n}", **model, "tokens": t, "samples": n}
    for name, model in models.items() for t in tokens for n in samples
]  # fmt: skip
skill, hardness = {"8B": 0.0, "30B": 1.0, "70B": 1.3}, {"look up": -2.2, "steps": 0.4, "hard": 2.4}


def success(item: str, model: str, t: int, n: int) -> float:
    """Return a made-up rate: more tokens and samples help, most of all with what is neither easy nor hopeless."""
    effort = 0.35 * np.log2(t / 256) + 0.2 * np.log2(n)
    return round(float(1 / (1 + np.exp(hardness[item] - skill[model] - effort))), 3)


items = [{"name": "look up", "count": 600, "prompt": 1500, "worth": 1},
         {"name": "steps", "count": 300, "prompt": 600, "worth": 2},
         {"name": "hard", "count": 100, "prompt": 800, "worth": 5}]  # fmt: skip

# %% [markdown]
# ## What every choice costs
#
# A cost table has arrays of items by options, each with the ends of its interval, and what cannot be done masked.

# %%
asked = [{"name": item["name"], "prompt": item["prompt"]} for item in items]
table = ac.cost_table(asked, options, quantities=["latency_s", "cost_usd"])
cost, low, high = (table.of("cost_usd", side)[2] * 1e3 for side in ("value", "lo", "hi"))
hard = np.array([success("hard", name, t, n) for name in models for t in tokens for n in samples])

figure, axes = plt.subplots(figsize=(7.6, 4.0))
for number, name in enumerate(models):
    those = [place for place, option in enumerate(options) if option["name"].startswith(name)]
    axes.hlines(hard[those], low[those], high[those], color=f"C{number}", alpha=0.6)
    axes.plot(cost[those], hard[those], "os^"[number], color=f"C{number}", label=f"{name} on {models[name]['on']}")
shown = ac.cost_of_pass(table.of("cost_usd")[2], hard, table.options)
best = shown.best
axes.plot(cost[list(shown.front)], hard[list(shown.front)], color="grey", linewidth=1, zorder=0, label="frontier")
axes.annotate(
    f"cheapest success: {shown.candidates[best]},\n{shown.value[best] * 1e3:.1f} m$ a right answer",
    (cost[best], hard[best]), (0.02, 0.9), textcoords="axes fraction", va="center", color="C5",
    arrowprops={"arrowstyle": "-", "color": "C5"},
)  # fmt: skip
axes.set(xscale="log", xlabel="cost of an answer, thousandths of a dollar (line: 90 % interval)",
         ylabel="share of right answers (made up)", ylim=(0, None))  # fmt: skip
axes.set_xticks([0.5, 1, 2, 5, 10, 20, 50, 100], ["0.5", "1", "2", "5", "10", "20", "50", "100"])
axes.minorticks_off()
axes.legend(loc="lower right")
axes.set_title("Hard questions: on the frontier no choice is cheaper and as often right")
plt.show()

# %% [markdown]
# ## Errors that go together
#
# The interval of a cost is wide, mostly for the price of an hour of the device. Sums of independent errors would nearly
# cancel; these do not, since choices on one device share the price and most of the model's error. `ac.scenarios` draws
# all cells together.

# %%
draws = ac.scenarios(table, n=4000, seed=11)
dollars = draws.of("cost_usd")  # (draws, items, options)
names = list(table.options)
pairs = [("8B 1024 tokens x 1", "8B 4096 tokens x 1"), ("8B 1024 tokens x 1", "30B 1024 tokens x 1")]

figure, panels = plt.subplots(1, 2, figsize=(8.4, 3.6))
for axes, (first, second) in zip(panels, pairs, strict=True):
    x, y = (dollars[:, 1, names.index(name)] * 1e3 for name in (first, second))
    axes.plot(x[:1500], y[:1500], ".", markersize=2.5, alpha=0.5)
    axes.set(xscale="log", yscale="log", xlabel=f"{first}, m$ an answer", ylabel=f"{second}, m$ an answer")
    axes.set_xticks([2, 5, 10], ["2", "5", "10"])
    axes.set_yticks([2, 5, 10, 20, 50], ["2", "5", "10", "20", "50"])
    axes.set(xlim=np.quantile(x, [0.0005, 0.9995]), ylim=np.quantile(y, [0.0005, 0.9995]))
    axes.minorticks_off()
    related = np.corrcoef(np.log(x), np.log(y))[0, 1]
    axes.set_title(f"{'one device' if first[:2] == second[:2] else 'two devices'}: correlation {related:.2f}")
plt.show()

# %% [markdown]
# ## The allocation, with and without safety
#
# First with the most likely costs, then so that the budget holds with a probability of 95 %. Each item gets one option;
# the answer comes with a bound on what any choice is worth.

# %%
question = {
    "kind": "allocate", "name": "thinking under a budget", "budgets": {"cost_usd": 6.0, "latency_s": 40},
    "options": [{"name": name, **model, "tokens": tokens, "samples": samples} for name, model in models.items()],
    "items": [
        item | {"success": {
            name: {t: {n: success(item["name"], name, t, n) for n in samples} for t in tokens} for name in models
        }}
        for item in items
    ],
    "risk": "nominal",
}  # fmt: skip
safe_risk = {"kind": "chance", "probability": 0.95}
nominal, safe = ac.allocate(question), ac.allocate(question | {"risk": safe_risk})
for word, answer in (("nominal", nominal), ("safe", safe)):
    print(f"{word:8} worth {answer.worth:,.0f} (at most {answer.bound:,.0f} by {answer.bound_by})")
    for one in answer.chosen:
        print(f"    {one.item:8} {one.option}: {one.success:.0%} right, {one.costs['cost_usd'].value * 1e3:.2f} m$")
print(f"safety gives up {safe.price_of_risk:.1%} of the worth")

# %% [markdown]
# ## Does the budget hold?
#
# The answer states a coverage. Here it is checked with draws of our own, with a seed that the allocator never saw: the
# bill of both choices in each of 4,000 scenarios.

# %%
counts = np.array([item["count"] for item in items])


def bill(answer) -> np.ndarray:
    """Return the dollars that a choice costs in every scenario."""
    places = [names.index(one.option) for one in answer.chosen]
    return (dollars[:, np.arange(len(items)), places] * counts).sum(axis=1)


budget = question["budgets"]["cost_usd"]
bills = {"most likely costs": bill(nominal), "safe at 95 %": bill(safe)}
kept = {word: float((sums <= budget).mean()) for word, sums in bills.items()}

figure, axes = plt.subplots(figsize=(7.6, 3.6))
edges = np.geomspace(min(map(np.min, bills.values())), max(map(np.max, bills.values())), 70)
for word, sums in bills.items():
    axes.hist(sums, bins=edges, alpha=0.55, label=f"{word}: kept in {kept[word]:.1%}")
axes.axvline(budget, color="C5", linestyle="--")
axes.text(budget, axes.get_ylim()[1] * 0.97, " budget", color="C5", va="top")
axes.set(xscale="log", xlabel="bill of all questions, $", ylabel="scenarios of 4,000")
axes.set_xticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
axes.minorticks_off()
axes.legend()
axes.set_title(f"Planned with most likely costs, {1 - kept['most likely costs']:.0%} of the scenarios pass the budget")
plt.show()
print(f"the allocator's own coverage: {safe.used[0].coverage:.1%}, at least {safe.used[0].assured:.1%}")

# %% [markdown]
# ## What does safety cost, and is it what was asked for?
#
# One allocation a probability. Left: what is given up. Right: the share of fresh scenarios in which the budget held,
# beside what was asked. Few options make coarse steps: the nearest choice that is safe enough is often safer.

# %%
asked_for = [0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99]
safer = [ac.allocate(question | {"risk": {"kind": "chance", "probability": p}}) for p in asked_for]
worths = np.array([answer.worth for answer in safer])
held = np.array([(bill(answer) <= budget).mean() for answer in safer])
error = 1.96 * np.sqrt(held * (1 - held) / len(dollars))

figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.5))
left.step(asked_for, worths, "o-", where="mid")
left.axhline(nominal.worth, color="grey", linestyle=":")
left.text(0.99, nominal.worth, "at most likely costs", va="bottom", ha="right", color="grey")
left.set(xlabel="asked probability", ylabel="worth of the allocation", ylim=(0, 1.12 * nominal.worth))
left.set_title(f"99 % gives up {1 - worths[-1] / nominal.worth:.0%} of the worth")
right.plot([0.5, 1], [0.5, 1], ":", color="grey", label="as asked")
right.errorbar(asked_for, held, yerr=error, fmt="o", label="fresh scenarios, 95 %")
right.set(xlabel="asked probability", ylabel="share of scenarios in budget")
right.set_title(
    "Kept as often as asked, or more" if (held + error >= asked_for).all() else "Not kept as often as asked"
)
right.legend(loc="upper left")
for axes in (left, right):
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
right.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
plt.show()

# %% [markdown]
# ## What would more money buy?
#
# One allocation a budget. Where the line of the safe choices begins, the smallest budget that can be kept is reached:
# below it the answer is `infeasible`, with what is missing.

# %%
budgets = np.array([1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24])
curves = {
    word: [ac.allocate(question | {"risk": risk}, settings={"budgets.cost_usd": float(money)}) for money in budgets]
    for word, risk in (("most likely costs", "nominal"), ("safe at 95 %", safe_risk))
}
figure, axes = plt.subplots(figsize=(7.6, 3.5))
for form, (word, answers) in zip(("o-", "s--"), curves.items(), strict=True):
    axes.plot(budgets, [a.worth if a.chosen else np.nan for a in answers], form, label=word)
axes.set(xscale="log", xlabel="budget, $", ylabel="worth (a look-up answered right = 1)")
axes.set_xticks(budgets[[0, 2, 4, 5, 6, 7, 9]], [f"{money:g}" for money in budgets[[0, 2, 4, 5, 6, 7, 9]]])
axes.minorticks_off()
axes.legend()
level = curves["most likely costs"][5].worth
reached = next((m for m, a in zip(budgets, curves["safe at 95 %"], strict=True) if a.worth >= level), budgets[-1])
axes.set_title(f"What {budgets[5]:g} dollars are worth at most likely costs takes {reached:g} to be safe")
plt.show()

# %% [markdown]
# ## When does a fixed cost pay?
#
# Suppose that 200 $ of fine-tuning let the small model answer the middle class as well as the 70B does. After how many
# questions is that paid back? The interval takes the best and the worst ends of both costs.

# %%
ends = [table.of("cost_usd", side)[1] for side in ("value", "lo", "hi")]
small, large = (
    [float(end[names.index(name)]) for end in ends] for name in ("8B 1024 tokens x 1", "70B 1024 tokens x 1")
)
paid = ac.break_even(200.0, small, large)
print(paid.text())

uses = np.geomspace(1e3, 1e6, 200)
figure, axes = plt.subplots(figsize=(7.6, 3.2))
axes.plot(uses, paid.ratio_at(uses))
axes.axhline(1, color="grey", linewidth=0.8)
axes.axvspan(paid.uses.lo, min(paid.uses.hi, uses[-1]), color="C1", alpha=0.18, label="interval of the break-even")
axes.plot(paid.uses.value, 1, "o", color="C5")
axes.set(xscale="log", xlabel="questions", ylabel="cost of the 70B over\nfine-tuning and the 8B", ylim=(0, None))
axes.xaxis.set_major_formatter(lambda count, _: f"{count:,.0f}")
axes.legend(loc="upper left")
axes.set_title(f"Fine-tuning pays after {paid.uses.value:,.0f} questions")
plt.show()

# %% [markdown]
# ## Where to go next
#
# - `archcast allocate examples/test_time_budget.yaml --html page.html` adds a verifier and writes a page.
# - `docs/allocate.md` has robust and two-stage forms, items that arrive one by one, routes and cascades;
#   `docs/oracle.md` the other verbs: curves, marginal costs, equal costs, sensitivities.
# - Put in success rates of your own: everything else on this page follows from them.
