"""The program over all scenarios at once (extensive form), solved by HiGHS with a certified gap.

For each option o (a device in a region), and each group k of scenarios that cannot be told apart in period t:

    buy[o,t,k], lease[o,t,k]     whole units ordered, whole instances reserved for a year
    held[o,v,t,k]                units ordered in v that are still there in t (the others were sold)
    rent[o,b,t,k]                instances rented in the hours of block b (peak, rest), not whole
    use[o,b,t,k], lent[o,b,t,k]  bought and leased instances that are busy in the mean of block b
    short[b,t,k]                 requests a second that are not served

    sum over o of hz[o,t] (use + lent + rent) + short >= demand[b,t]         use <= unit x held, lent <= leased

A decision has one variable for each group, so that nothing is decided by what is not known yet. Busy instances take
full power, the others idle power: requests go to as few instances as can serve them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from archcast.growing.options import Options
from archcast.growing.study import GrowthStudy
from archcast.growing.tree import Tree
from foundation.errors import UnsupportedError
from workloads.table import Array

PARTS = ("bought", "sold", "hall", "maintenance", "energy", "leased", "rented", "carbon", "short")
"""What money goes to; `sold` is negative."""
CARBON = ("electricity", "manufacture")
Key = tuple[Any, ...]
MOST_COLUMNS = 60_000
BIG = 100.0
"""A request that is not served costs so many times what the dearest option takes for it, where the file says nothing:
enough that it is only left out where nothing can serve it."""


@dataclass
class Program:
    """Columns, rows and what each column costs and emits, by scenario, part and period."""

    study: GrowthStudy
    options: Options
    tree: Tree
    relaxed: bool = False
    columns: dict[Key, int] = field(default_factory=dict)
    high: list[float] = field(default_factory=list)
    whole: list[bool] = field(default_factory=list)
    rows: list[tuple[list[int], list[float], float, float]] = field(default_factory=list)
    money: list[tuple[int, int, int, int, float]] = field(default_factory=list)
    carbon: list[tuple[int, int, int, int, float]] = field(default_factory=list)
    demand: dict[Key, float] = field(default_factory=dict)
    """Requests a second by (block, period, group)."""

    def column(self, *key: object, high: float = np.inf, whole: bool = False) -> int:
        """Return the place of a variable, made where there is none yet."""
        if key not in self.columns:
            self.columns[key] = len(self.high)
            self.high.append(high)
            self.whole.append(whole)
        return self.columns[key]

    def row(self, terms: Sequence[tuple[int, float]], low: float = -np.inf, high: float = np.inf) -> None:
        self.rows.append(([i for i, _ in terms], [a for _, a in terms], low, high))

    def pays(self, part: str, t: int, scenarios: Array, column: int, usd: float) -> None:
        """Note what a column costs in a period, in each of its scenarios."""
        if usd:
            self.money += [(PARTS.index(part), t, int(s), column, usd) for s in scenarios]

    def emits(self, part: str, t: int, scenarios: Array, column: int, kg: float) -> None:
        """Note what a column emits, and what that costs."""
        if kg:
            self.carbon += [(CARBON.index(part), t, int(s), column, kg) for s in scenarios]
            self.pays("carbon", t, scenarios, column, kg / 1000 * self.study.carbon_usd_per_tonne)

    @property
    def discount(self) -> Array:
        """Return what a dollar of each period is worth at the start; it is paid in the middle."""
        years = (np.arange(self.tree.periods) + 0.5) * self.study.months / 12
        return np.asarray((1 + self.study.discount_per_year) ** -years)

    def parts(self, x: Array, which: str = "money") -> Array:
        """Return what a solution costs (undiscounted) or emits, shape (parts, periods, scenarios)."""
        names, listed = (PARTS, self.money) if which == "money" else (CARBON, self.carbon)
        found = np.zeros((len(names), self.tree.periods, self.tree.scenarios))
        if listed:
            part, t, s, column, amount = (np.array(list(column)) for column in zip(*listed, strict=True))
            np.add.at(found, (part.astype(int), t.astype(int), s.astype(int)), amount * x[column.astype(int)])
        return found

    def costs(self, x: Array) -> Array:
        """Return the discounted cost of a solution by scenario, (scenarios,)."""
        return np.asarray(np.einsum("pts,t->s", self.parts(x), self.discount))

    def by_scenario(self, which: str = "money") -> Array:
        """Return the discounted cost, or the carbon, of each column by scenario, (scenarios, columns)."""
        found = np.zeros((self.tree.scenarios, len(self.high)))
        listed = self.money if which == "money" else self.carbon
        if listed:
            _, t, s, column, amount = (np.array(list(one)) for one in zip(*listed, strict=True))
            weight = self.discount[t.astype(int)] if which == "money" else 1.0
            np.add.at(found, (s.astype(int), column.astype(int)), amount * weight)
        return found

    def value(self, x: Array, *key: object) -> float:
        place = self.columns.get(key)
        return 0.0 if place is None else float(x[place])


def blocks(study: GrowthStudy) -> list[tuple[float, float]]:
    """Return (share of the hours, multiple of the mean rate) of the peak and the rest."""
    peak = study.peak
    if peak.share >= 1 or peak.ratio == 1:
        return [(1.0, 1.0)]
    return [(peak.share, peak.ratio), (1 - peak.share, (1 - peak.share * peak.ratio) / (1 - peak.share))]


def build(
    study: GrowthStudy, options: Options, tree: Tree, rate_hz: float, *, relaxed: bool = False
) -> Program:  # fmt: skip
    """Return the program of a study: its options, a tree of demand and the mean rate of the first period.

    relaxed: later leases and sales may be parts of an instance or a unit, which solves some ten times as fast.
    """
    groups = int((tree.known.max(axis=1) + 1).sum())
    if (size := groups * len(options) * (min(study.life, tree.periods) + 6)) > MOST_COLUMNS:
        raise UnsupportedError(
            f"a plan of about {size:,} variables is more than {MOST_COLUMNS:,}; ask for fewer periods, scenarios, "
            "devices or regions."
        )
    program = Program(study, options, tree, relaxed)
    for t in range(tree.periods):
        for k in range(int(tree.known[t].max()) + 1):
            _decide(program, t, k)
        for k in range(int(tree.seen[t].max()) + 1):
            _serve(program, t, k, rate_hz)
    _limits(program)
    return program


def _first(ids: Array, k: int) -> int:
    return int(np.flatnonzero(ids == k)[0])


def _vintages(program: Program, t: int) -> list[int]:
    """Return the periods whose orders can stand in the hall in period t; -1, -2, ... are those there at the start."""
    study = program.study
    ordered = [v for v in range(max(0, t - study.buy_lead - study.life + 1), t - study.buy_lead + 1)]
    there = [-1 - i for i, one in enumerate(study.owned) if _age(study, -1 - i, t) < study.life and one.devices]
    return ordered + there


def _age(study: GrowthStudy, v: int, t: int) -> int:
    """Return the periods since units of a vintage came into the hall, at the start of period t."""
    if v >= 0:
        return t - v - study.buy_lead
    return t + round((study.start - study.owned[-1 - v].year) * 12 / study.months)


def _paid(program: Program, o: int, v: int) -> float:
    """Return what a unit of a vintage cost."""
    price = float(program.options.buy_usd[o, max(v, 0)])
    return price if np.isfinite(price) else 0.0


def _decide(program: Program, t: int, k: int) -> None:
    """Add what a group of scenarios decides in period t: orders, leases, and what is kept or sold."""
    study, options, tree = program.study, program.options, program.tree
    members = np.flatnonzero(tree.known[t] == k)
    for o in range(len(options)):
        there = t >= options.first[o]
        arrives = there and t + study.buy_lead < tree.periods
        if "buy" in study.acquire and arrives and np.isfinite(options.buy_usd[o, t]):
            column = program.column("buy", o, t, k, whole=True)
            program.pays("bought", t, members, column, float(options.buy_usd[o, t]))
            program.emits("manufacture", t, members, column, float(options.embodied_kg[o]))
        if "lease" in study.acquire and there and np.isfinite(options.lease_usd[o, t]):
            column = program.column("lease", o, t, k, whole=t == 0 or not program.relaxed)
            for later in range(t, min(t + options.lease_periods, tree.periods)):
                program.pays("leased", later, members, column, float(options.lease_usd[o, t]))
        for v in _vintages(program, t):
            _keep(program, o, v, t, k, members)


def _keep(program: Program, o: int, v: int, t: int, k: int, members: Array) -> None:
    """Add the units of one vintage that stand in period t: no more than before, the others are sold."""
    study, options, tree = program.study, program.options, program.tree
    before = _before(program, o, v, t, members)
    if before is None:
        return
    column = program.column("held", o, v, t, k, high=before if isinstance(before, float) else np.inf,
                            whole=study.retire and not program.relaxed and v >= 0)  # fmt: skip
    paid, age = _paid(program, o, v), _age(study, v, t)
    if isinstance(before, float):
        program.row([(column, 1.0)], low=before)
    if isinstance(before, int):
        free = study.retire and age > 0
        program.row([(before, 1.0), (column, -1.0)], 0.0, np.inf if free else 0.0)
        if age > 0:
            program.pays("sold", t, members, before, -paid * float(options.resale[age]))
            program.pays("sold", t, members, column, paid * float(options.resale[age]))
    program.pays("hall", t, members, column, float(options.hall_usd[o]))
    program.pays("energy", t, members, column, float(options.keep_usd[o, t]))
    program.pays("maintenance", t, members, column, paid * options.care_share)
    program.emits("electricity", t, members, column, float(options.idle_kg[o, t] * options.unit[o]))
    if t == tree.periods - 1 and age + 1 < len(options.resale):  # what stands at the end is worth its resale
        program.pays("sold", t, members, column, -paid * float(options.resale[age + 1]))


def _before(program: Program, o: int, v: int, t: int, members: Array) -> int | float | None:
    """Return the column that bounds what is held in t: the order, or what was held before; None: there is none.

    Units that stand there at the start are a number, not a column.
    """
    study, tree, options = program.study, program.tree, program.options
    who = int(members[0])
    if v < 0:
        one = study.owned[-1 - v]
        if (options.device[o], options.region[o]) != (one.device, one.region):
            return None
        if t == 0:
            return one.devices / float(options.unit_devices[o])
    elif t == v + study.buy_lead:
        return program.columns.get(("buy", o, v, int(tree.known[v][who])))
    return program.columns.get(("held", o, v, t - 1, int(tree.known[t - 1][who])))


def _serve(program: Program, t: int, k: int, rate_hz: float) -> None:
    """Add how a group of scenarios with the same demand serves it in period t."""
    study, options, tree = program.study, program.options, program.tree
    members = np.flatnonzero(tree.seen[t] == k)
    who = int(members[0])
    rate = rate_hz * float(tree.factor[who, t])
    dearest = _dearest(options, t)
    for b, (share, multiple) in enumerate(blocks(study)):
        terms = []
        for o in range(len(options)):
            hz = float(options.hz[o, t])
            held = [program.columns[key] for v in _vintages(program, t)
                    if (key := ("held", o, v, t, int(tree.known[t][who]))) in program.columns]  # fmt: skip
            if held:
                use = program.column("use", o, b, t, k)
                program.row([(use, 1.0), *((i, -float(options.unit[o])) for i in held)], high=0.0)
                program.pays("energy", t, members, use, float(options.run_usd[o, t]) * share)
                program.emits("electricity", t, members, use, float(options.run_kg[o, t]) * share)
                terms.append((use, hz))
            leased = _leases(program, o, t, who)
            if leased:
                lent = program.column("lent", o, b, t, k)
                program.row([(lent, 1.0), *((i, -1.0) for i in leased)], high=0.0)
                program.emits("electricity", t, members, lent,
                              float(options.run_kg[o, t] + options.idle_kg[o, t]) * share)  # fmt: skip
                terms.append((lent, hz))
            if "rent" in study.acquire and t >= options.first[o] and np.isfinite(options.rent_usd[o, t]):
                rent = program.column("rent", o, b, t, k)
                program.pays("rented", t, members, rent, float(options.rent_usd[o, t]) * share)
                kg = float(options.run_kg[o, t] + options.idle_kg[o, t]) * share
                program.emits("electricity", t, members, rent, kg)
                terms.append((rent, hz))
        short = program.column("short", b, t, k)
        price = study.shortage_usd_per_million
        lost = BIG * dearest if price is None else price / 1e6 * study.hours * 3600
        program.pays("short", t, members, short, lost * share)
        program.demand[b, t, k] = rate * multiple
        program.row([*terms, (short, 1.0)], low=rate * multiple)


def _dearest(options: Options, t: int) -> float:
    """Return what the dearest option takes for one request a second over a period."""
    prices = np.concatenate([options.rent_usd[:, t], options.buy_usd[:, t] / options.unit])
    rates = np.concatenate([options.hz[:, t], options.hz[:, t]])
    known = np.isfinite(prices)
    return float((prices[known] / rates[known]).max()) if known.any() else 1e6


def _leases(program: Program, o: int, t: int, who: int) -> list[int]:
    tree = program.tree
    since = range(max(0, t - program.options.lease_periods + 1), t + 1)
    keys = [("lease", o, v, int(tree.known[v][who])) for v in since]
    return [program.columns[key] for key in keys if key in program.columns]


def _limits(program: Program) -> None:
    """Add limits of the halls, of money, of devices and of carbon: in every scenario."""
    study, options, tree = program.study, program.options, program.tree
    places = {key: i for key, i in program.columns.items() if key[0] in ("buy", "held")}
    for region, watts in study.bounds.power_w.items():
        for t in range(tree.periods):
            for k in range(int(tree.known[t].max()) + 1):
                terms = [(i, float(options.peak_w[key[1]]) / 1e3) for key, i in places.items()
                         if key[0] == "held" and key[3:] == (t, k) and options.region[key[1]] == region]  # fmt: skip
                if terms:
                    program.row(terms, high=watts / 1e3)
    for s in range(tree.scenarios):
        own = {key: i for key, i in places.items() if key[0] == "buy" and tree.known[key[2]][s] == key[3]}
        _money(program, own)
        for device, steps in study.bounds.available.items():
            for t in range(tree.periods):
                most = [n for year, n in steps if year <= study.years[t] + 1e-9]
                terms = [(i, float(options.unit_devices[key[1]])) for key, i in own.items()
                         if options.device[key[1]] == device and key[2] <= t]  # fmt: skip
                if terms:
                    program.row(terms, high=float(most[-1] if most else 0))
    if np.isfinite(study.bounds.carbon_kg):
        for kg in program.by_scenario("carbon"):
            program.row([(int(i), float(kg[i])) for i in np.flatnonzero(kg)], high=study.bounds.carbon_kg)


def _money(program: Program, own: dict[Key, int]) -> None:
    bounds, prices = program.study.bounds, program.options.buy_usd
    if np.isfinite(bounds.capital_usd) and own:
        terms = [(i, float(prices[key[1], key[2]]) / 1e3) for key, i in own.items()]
        program.row(terms, high=bounds.capital_usd / 1e3)
    if np.isfinite(bounds.capital_usd_per_period):
        for t in range(program.tree.periods):
            terms = [(i, float(prices[key[1], t]) / 1e3) for key, i in own.items() if key[2] == t]
            if terms:
                program.row(terms, high=bounds.capital_usd_per_period / 1e3)
