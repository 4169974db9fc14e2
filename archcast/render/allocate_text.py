"""An allocation for a terminal: who gets what, the budgets, what more would buy, what is next best."""

from __future__ import annotations

from typing import TYPE_CHECKING

from archcast.allocating.words import LEAST_SHOWN, amount, plain, whole
from archcast.render.human import digits, percent

if TYPE_CHECKING:
    from archcast.allocating.answer import Allocation

LISTED = 40


def allocate_text(answer: Allocation) -> str:
    """Return the answer as lines."""
    parts = [answer.summary]
    if answer.chosen:
        parts += ["", *aligned(item_rows(answer)), *cut(answer), "", *aligned(budget_rows(answer)), "", *_more(answer)]
    if answer.refused:
        parts += ["", "Options left out:", *(f"  {n:,} pairs: {why}" for why, n in answer.refused.items())]
    return "\n".join([*parts, "", *(f"note: {note}" for note in answer.notes)])


def cut(answer: Allocation) -> list[str]:
    """Return the line that says how many items a table leaves out, if any."""
    many = len(answer.chosen)
    return [f"{LISTED} of {many:,}; --json has all."] if many > LISTED else []


def shown_costs(answer: Allocation) -> list[str]:
    """Return the quantities that a table of items shows: those with a budget, then money and energy."""
    names = [b.name for b in answer.study.budgets] + ["latency_s", "energy_j", "cost_usd"]
    have = answer.chosen[0].costs
    return [name for name in dict.fromkeys(names) if name in have]


def item_rows(answer: Allocation) -> list[list[str]]:
    """Return a head and a row for each item: what it gets and what one request costs."""
    names, rates = shown_costs(answer), any(one.success is not None for one in answer.chosen)
    rows = [["item", "option", "requests", *(["success"] if rates else []), "value", *(plain(n) for n in names)]]
    for one in answer.chosen[:LISTED]:
        costs = [
            f"{amount(n, one.costs[n].value)} [{amount(n, one.costs[n].lo)} .. {amount(n, one.costs[n].hi)}]"
            if n in one.costs else "" for n in names
        ]  # fmt: skip
        rate = [] if not rates else ["" if one.success is None else percent(one.success)]
        rows.append([one.item, one.option, whole(one.count * one.share), *rate, digits(one.value), *costs])
    return rows


def budget_rows(answer: Allocation) -> list[list[str]]:
    """Return a head and a row for each shared budget."""
    chance = any(one.coverage is not None for one in answer.used)
    solved = all(one.one_more is not None for one in answer.used)
    rows = [["budget", "allowed", "held", "share", "10 % more buys", "one more buys" if solved else "price (relaxed)",
             *(["kept in", "at least (95 %)"] if chance else [])]]  # fmt: skip
    for one in answer.used:
        kept = [] if one.coverage is None or one.assured is None else [percent(one.coverage), percent(one.assured)]
        at_margin = one.one_more if solved and one.one_more is not None else one.price
        share = percent(one.share) if one.budget else "-"
        rows.append([plain(one.name), amount(one.name, one.budget), amount(one.name, one.level), share,
                     digits(one.more), digits(at_margin), *kept])  # fmt: skip
    return rows


def aligned(rows: list[list[str]]) -> list[str]:
    """Return rows as lines with columns that line up, the first two to the left."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            w.ljust(n) if i < 2 else w.rjust(n) for i, (w, n) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _more(answer: Allocation) -> list[str]:
    lines = [_proof(answer)]
    if answer.study.risk.kind != "nominal":
        lines.append(
            f"At most likely costs alone: worth {digits(answer.nominal_worth)}; safety gives up "
            f"{percent(answer.price_of_risk)}." if answer.price_of_risk >= LEAST_SHOWN
            else "At most likely costs alone no choice is worth more: safety gives up nothing."
        )  # fmt: skip
        lines += [
            f"  that choice would keep {plain(one.name)} in {percent(one.nominal_coverage)} of scenarios only."
            for one in answer.used if one.nominal_coverage is not None and one.nominal_coverage < (one.coverage or 0)
        ]  # fmt: skip
    names = sorted({name for one in answer.chosen for name in one.kept})
    if answer.study.risk.kind == "chance":
        lines += [
            f"Each keeps its limit of {plain(n)} in {percent(min(c.kept[n] for c in answer.chosen if n in c.kept))} of "
            "scenarios or more."
            for n in names
        ]
    totals = [
        f"{plain(n)} {amount(n, q.value)} [{amount(n, q.lo)} .. {amount(n, q.hi)}]" for n, q in answer.totals.items()
    ]
    lines.append(f"In all, most likely [90 % of joint draws]: {', '.join(totals)}.")
    held = {
        "upper": "Held against budgets is the sum of single upper ends: 95 % of joint draws end below it, or near it "
        "where errors go together.",
        "robust": f"Held against budgets are {answer.basis}; in joint draws more items or fewer err together.",
    }
    lines += [held[answer.study.risk.kind]] if answer.study.risk.kind in held else []
    lines += [f"Next best: '{c.item}' from {c.before} to {c.after}, worth {c.worth:+.4g}." for c in answer.nearest]
    return lines


def _proof(answer: Allocation) -> str:
    """Return the sentence that says how good the choice is and what proves it."""
    by = {"prices": "prices of the budgets", "solver": "the solver"}.get(answer.bound_by, answer.bound_by)
    if answer.bound_by == "enumeration":
        return f"Worth {digits(answer.worth)}, proved best: every choice was tried."
    if answer.gap <= 1e-12:
        return f"Worth {digits(answer.worth)}, proved best by {by}."
    stopped = "; the time was up" if answer.status == "time limit" else ""
    return (
        f"Worth {digits(answer.worth)}, at most {digits(answer.bound)} (gap {100 * answer.gap:.2g} %, proved by {by}; "
        f"found by {answer.method}{stopped})."
    )
