"""Sentences of a growth plan: what to buy, what comes later, what binds."""

from __future__ import annotations

import numpy as np

from archcast.growing.capacity import Capacity
from archcast.growing.course import Course
from archcast.growing.dates import month_text
from archcast.growing.options import Options
from archcast.growing.solve import Solved
from archcast.growing.study import GrowthStudy
from archcast.render.human import listed, percent
from workloads.table import Array

CLOSE = 0.999
"""Of a limit, from which on it binds."""


def usd(value: float) -> str:
    """Return money as people write it: `$1.25 M`, `$840 k`, `$12`."""
    if not np.isfinite(value):
        return "-"
    value = value if abs(value) >= 0.005 else 0.0
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size * 0.9995:
            return f"{'-' if value < 0 else ''}${abs(value) / size:.3g}{unit}"
    return f"{'-' if value < 0 else ''}${abs(value):.3g}"


def order_words(study: GrowthStudy, options: Options, orders: Array, short: bool = False) -> str:
    """Return e.g. `3 boxes of 8 b200 in fr-paris`, for units by (way, option); "" for nothing.

    short: without numbers of devices a unit.
    """
    several = len(study.regions) > 1
    bought, leased = [], []
    for o in np.flatnonzero(orders[0] > 1e-6).tolist():
        units, each = round(float(orders[0, o])), int(options.unit_devices[o])
        what = "box" if study.sold_in == "boxes" and each > 1 else "instance" if each > 1 else ""
        count = f"{units} {what}{'es' if what == 'box' and units > 1 else 's' if what and units > 1 else ''} of {each}"
        bought.append(f"{units * each if short or not what else count} {options.name(o, several)}")
    for o in np.flatnonzero(orders[1] > 1e-6).tolist():
        leased.append(f"{round(float(orders[1, o]) * float(options.devices[o]))} {options.name(o, several)}")
    parts = [f"{verb} {listed(names)}" for verb, names in (("buy", bought), ("lease", leased)) if names]
    return ", ".join(parts)


def summary_of(study: GrowthStudy, capacity: Capacity, options: Options, solved: Solved, course: Course,
               ends: tuple[float, float]) -> str:  # fmt: skip
    """Return the first paragraph: what to do now, its expected cost, and what serves."""
    tree = solved.program.tree
    now = order_words(study, options, course.ordered[:, 0, 0])
    spent = float(course.cost_usd[0, 0, 0])
    rented = course.rented[:, 0].mean(axis=0) * options.devices
    extra = [f"rent {_count(x)} {options.name(o, len(study.regions) > 1)} in the mean"
             for o, x in enumerate(rented) if x > 0.05]  # fmt: skip
    paid = f" ({usd(spent)} for what is bought)" if spent > 0 else ""
    first = listed([word for word in (now + paid, *extra) if word]) or "buy nothing"
    years = study.periods * study.months / 12
    cost = f"expected cost over {years:.3g} years {usd(solved.expected)} [{usd(ends[0])} .. {usd(ends[1])}], discounted"
    if study.shortage_usd_per_million is None and solved.short:
        return (
            f"No plan serves every request of {capacity.model} within the limits: the nearest leaves {_lost(solved)}. "
            f"In {month_text(study.start)} it would {first}; expected cost {usd(solved.served_usd)}, discounted."
        )
    least, most = float(solved.costs.min()), float(solved.costs.max())
    spread = "" if tree.scenarios == 1 else (
        f" ({usd(least)} if {tree.names[int(solved.costs.argmin())]}, {usd(most)} if "
        f"{tree.names[int(solved.costs.argmax())]})"
    )  # fmt: skip
    return f"In {month_text(study.start)}, {first}; {cost}{spread}."


def _lost(solved: Solved) -> str:
    """Return where most is not served, e.g. `12.0 % of the demand of 2028-07 in high`."""
    shorts, tree = solved.shorts, solved.program.tree
    s, t = np.unravel_index(int(shorts.argmax()), shorts.shape)
    date = month_text(solved.program.study.years[int(t)])
    return f"{percent(float(shorts[s, t]))} of the demand of {date}{f' in {tree.names[s]}' if t else ''}"


def _count(x: float) -> str:
    return f"{x:.0f}" if x >= 9.5 else f"{x:.2g}"


def binds_of(study: GrowthStudy, options: Options, solved: Solved, course: Course) -> list[str]:
    """Return what keeps the plan from costing less, one sentence each."""
    found = []
    for region, watts in study.bounds.power_w.items():
        used = course.hall_w[study.regions.index(region)].max()
        here = [o for o in range(len(options)) if options.region[o] == region]
        taken = {options.device[o] for o in range(len(options)) if course.held[:, :, o].max() > 0}
        unit = float(min(options.peak_w[o] for o in here if options.device[o] in taken or not taken))
        if used + unit > watts:
            found.append(f"the hall in {region}: {used / 1e3:.3g} of {watts / 1e3:.3g} kW are taken, "
                         f"and a further unit needs {unit / 1e3:.3g} kW")  # fmt: skip
    spent = course.cost_usd[0]
    bounds = study.bounds
    worth = np.where((options.first == 0) & np.isfinite(options.buy_usd[:, 0]),
                     options.unit * options.hz[:, 0] / options.buy_usd[:, 0], 0.0)  # fmt: skip
    best = int(np.argmax(worth))
    unit_usd = float(options.buy_usd[best, 0])
    for limit, used, name in (
        (bounds.capital_usd, float(spent.sum(axis=0).max()), "capital in all"),
        (bounds.capital_usd_per_period, float(spent.max()), "capital of a period"),
    ):
        if np.isfinite(limit) and np.isfinite(unit_usd) and used + unit_usd > limit:
            found.append(f"{name}: {usd(used)} of {usd(limit)}; a unit of {options.device[best]} costs {usd(unit_usd)}")
    if np.isfinite(bounds.carbon_kg) and (most := float(course.total_kg.sum(axis=1).max())) > CLOSE * bounds.carbon_kg:
        found.append(f"carbon: {most / 1e3:.3g} of {bounds.carbon_kg / 1e3:.3g} t")
    if study.buy_lead and course.capacity_hz[2, :, : study.buy_lead].max() > 1e-6:
        found.append(f"the lead time: until {month_text(study.years[min(study.buy_lead, study.periods - 1)])} only "
                     "leased or rented devices serve beside those that are there")  # fmt: skip
    elif study.buy_lead and solved.shorts[:, : study.buy_lead].max() > 0:
        found.append(f"the lead time: nothing that is bought now serves before "
                     f"{month_text(study.years[min(study.buy_lead, study.periods - 1)])}")  # fmt: skip
    if not found:
        found.append("no limit binds: cost and what is not known decide")
    return found
