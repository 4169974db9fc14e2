"""A growth plan for a terminal: what to buy now and later, what it costs, what else could be done."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from archcast.growing.values import ROUGH_GAP
from archcast.growing.words import order_words, usd
from archcast.render.human import digits, percent

if TYPE_CHECKING:
    from archcast.growing.answer import Growth
    from archcast.growing.values import Other

MOST_SCENARIOS = 8


def growth_text(answer: Growth) -> str:
    """Return the answer as lines."""
    parts = [answer.summary, "", f"What binds: {'; '.join(answer.binds)}.", "", *later_lines(answer), ""]
    if answer.verdict == "feasible":
        parts += [*cost_lines(answer), "", *value_lines(answer), ""]
        parts += ["Other plans:", *other_lines(answer), ""]
        parts += ["If figures are at an end of their range (the plan made for it):", *sensitivity_lines(answer), ""]
    parts += [*break_even_lines(answer), ""]
    solved = answer.solved
    parts.append(
        f"{len(solved.x):,} variables, {len(solved.program.rows):,} rows; certified within {100 * solved.gap:.2g} % of "
        f"the best. Demand: {answer.capacity.demand.name}, {digits(answer.capacity.demand.rate_hz)} requests/s at the "
        f"start. Prices: {price_words(answer)}. Seed {answer.seed}."
    )
    return "\n".join([*parts, *(f"note: {words}" for words in answer.notes)])


def price_words(answer: Growth) -> str:
    """Return where prices are from, in short."""
    rents = ", ".join(f"{site.id} {digits(site.usd_per_hour.value)} $/h ({site.price_date})"
                      for site in answer.capacity.sites if math.isfinite(site.usd_per_hour.value))  # fmt: skip
    return f"rentals {rents}; books purchase-prices, regions, trends"


def table(rows: list[list[str]], left: int = 1) -> list[str]:
    """Return rows as aligned lines; the first `left` columns are words."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [x.ljust(w) if i < left else x.rjust(w) for i, (x, w) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(cells).rstrip())
    return lines


def later_rows(answer: Growth) -> list[list[str]]:
    """Return (scenario, date, orders) of all periods after the first."""
    tree, rows = answer.solved.program.tree, []
    for s, name in enumerate(tree.names):
        for t in range(1, tree.periods):
            words = order_words(answer.study, answer.options, answer.course.ordered[:, s, t], short=True)
            if words:
                rows.append([name, answer.dates[t], words])
    return rows


def later_lines(answer: Growth) -> list[str]:
    rows = later_rows(answer)
    names = list(answer.solved.program.tree.names)[:MOST_SCENARIOS]
    shown = [row for row in rows if row[0] in names]
    if not shown:
        return ["Later: nothing more is bought or leased."]
    more = len({row[0] for row in rows}) - len({row[0] for row in shown})
    rest = " (rented devices fill the rest)" if "rent" in answer.study.acquire else ""
    lines = [f"Later, once it is seen how demand grows{rest}:", *table(shown, left=3)]
    return [*lines, f"({more} more scenarios: --json, --html)"] if more > 0 else lines


def cost_lines(answer: Growth) -> list[str]:
    """Return cost, carbon and capacity by scenario."""
    tree, course, ends = answer.solved.program.tree, answer.course, answer.intervals
    rows = [["scenario", "probability", "peak at the end", "cost", "of it bought", "rented", "carbon", "regret"]]
    for s, name in enumerate(tree.names[:MOST_SCENARIOS]):
        lo, hi = (usd(float(x[s])) for x in ends.by_scenario_usd)
        rows.append([
            name, percent(float(tree.probability[s])), f"{digits(float(course.demand_hz[s, -1]))}/s",
            f"{usd(float(answer.solved.costs[s]))} [{lo} .. {hi}]", usd(float(course.cost_usd[0, :, s].sum())),
            usd(float(course.cost_usd[6, :, s].sum())), f"{digits(float(course.total_kg[s].sum()) / 1e3)} t",
            usd(float(answer.values.own_regret_usd[s])),
        ])  # fmt: skip
    return table(rows)


def value_lines(answer: Growth) -> list[str]:
    """Return what planning for all scenarios is worth, and what certainty would be."""
    values = answer.values
    if len(values.bought) == 1:
        return ["One scenario: knowing the future is worth nothing."]
    lines = [
        f"Planning for all scenarios instead of their mean saves {more(values.vss_usd, values.cost_usd)}; knowing the "
        f"scenario today would save {more(values.evpi_usd, values.cost_usd)}."
    ]
    if answer.study.objective in ("worst", "cvar"):
        added = max(answer.solved.expected - values.cost_usd, 0.0)
        lines.append(f"In expectation this plan costs {more(added, values.cost_usd)} more than the cheapest one.")
    for one in values.bought[:MOST_SCENARIOS]:
        lines.append(f"  buying now as if {one.name} were sure: {beside(one, values.cost_usd)}")
    return lines


def more(amount: float, whole: float) -> str:
    return f"{usd(amount)} ({percent(amount / whole) if whole > 0 else '-'})"


def beside(one: Other, cost: float) -> str:
    """Return what another plan costs beside the chosen one."""
    if not math.isfinite(one.cost_usd):
        return "impossible within the limits"
    if one.short:
        return "leaves requests unserved"
    added = one.cost_usd - cost
    if abs(added) < ROUGH_GAP * abs(cost):
        return "costs the same"
    return f"costs {usd(abs(added))} {'more' if added > 0 else 'less'} ({percent(abs(added) / cost)})"


def other_lines(answer: Growth) -> list[str]:
    cost = answer.values.cost_usd
    return [f"  {one.name}: {beside(one, cost)}" for one in answer.values.alternatives]


def sensitivity_rows(answer: Growth) -> list[tuple[str, Other, Other]]:
    """Return (name, cheap end, dear end), the widest first."""
    pairs: dict[str, dict[int, Other]] = {}
    for one in answer.values.sensitivity:
        pairs.setdefault(one.name, {})[one.end] = one
    found = [(name, ends[-1], ends[1]) for name, ends in pairs.items()]

    def width(row: tuple[str, Other, Other]) -> float:
        spread = abs(row[2].cost_usd - row[1].cost_usd)
        return -spread if math.isfinite(spread) else -math.inf

    return sorted(found, key=width)


def sensitivity_lines(answer: Growth) -> list[str]:
    rows = [["", "cheap end", "dear end", "now, cheap end", "now, dear end"]]
    for name, low, high in sensitivity_rows(answer):
        rows.append([name, usd(low.cost_usd), usd(high.cost_usd), now_words(answer, low), now_words(answer, high)])
    return [f"  {line}" for line in table(rows)]


def now_words(answer: Growth, one: Other) -> str:
    """Return what would be bought and leased now in another world, short."""
    if not one.root.size:
        return "-"
    return order_words(answer.study, answer.options, one.root, short=True) or "nothing"


def break_even_lines(answer: Growth) -> list[str]:
    """Return from how much use on buying pays."""
    parts = []
    for one in sorted(answer.break_evens, key=lambda one: one.share)[:6]:
        where = f" in {one.region}" if len(answer.study.regions) > 1 else ""
        pays = f"busy more than {percent(one.share)} of the time" if one.share <= 1 else "at no use within the plan"
        parts.append(f"  {one.device}{where}: {pays}; {one.against_lease:.2f} times what leasing it all the time costs")
    return ["A device bought now beats one rented by the hour when", *parts] if parts else []
