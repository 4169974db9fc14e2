"""What the plan is worth beside others: knowing the future, buying for one scenario, later, elsewhere, other prices.

All are compared among themselves in the relaxed program (later leases and sales may be parts of an instance).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from archcast.growing.ends import GROUPS, Ends
from archcast.growing.options import Books, Kind, Options, options_of
from archcast.growing.program import build
from archcast.growing.solve import LOST, Solved, solve
from archcast.growing.study import GrowthStudy
from archcast.growing.tree import Tree
from foundation.errors import UnsupportedError
from workloads.table import Array

SIDE_GAP, ROUGH_GAP = 1e-4, 1e-3
"""Relative gaps at which comparisons of plans, and other worlds, stop."""
SIDE_LIMIT_S = 5.0
MOST_BOUGHT = 8
"""Scenarios up to which buying for each is held against the plan; of more, three."""
GROWTH_ENDS = (0.75, 1.25)
"""Of the logarithm of growth, for its sensitivity (chosen)."""
POWER_ENDS = (0.5, 2.0)
"""Times a hall's limit."""


@dataclass(frozen=True)
class Other:
    """Another plan or world: its discounted cost (nan: none is possible), and what would be bought now in it."""

    name: str
    cost_usd: float
    root: Array
    carbon_kg: float = float("nan")
    group: str = ""
    end: int = 0
    short: bool = False

    def beside(self, cost_usd: float) -> float:
        """Return its cost less another."""
        return self.cost_usd - cost_usd


@dataclass(frozen=True)
class Values:
    """cost_usd is the expected cost of the plan in the relaxed program, which all others are held against.

    vss: what planning for the mean would cost more (value of the stochastic solution); evpi: what knowing the scenario
    beforehand would save; bought: plans that buy now as if one scenario were sure, and correct later; regret: (of
    these, scenario that comes) what they cost more than the best for it; own_regret: likewise of the plan itself.
    """

    cost_usd: float
    vss_usd: float
    evpi_usd: float
    mean: Other
    bought: tuple[Other, ...]
    regret_usd: Array
    own_regret_usd: Array
    sensitivity: tuple[Other, ...]
    alternatives: tuple[Other, ...]


@dataclass(frozen=True)
class World:
    """What a program is built of; `solved` builds and solves it, relaxed."""

    study: GrowthStudy
    kinds: list[Kind]
    books: Books
    tree: Tree
    rate_hz: float

    def options(self, ends: Ends | None = None, study: GrowthStudy | None = None) -> Options:
        """Return the columns, with figures at other ends or for another study."""
        return options_of(study or self.study, self.kinds, self.books, ends or Ends())

    def solved(
        self, *, tree: Tree | None = None, study: GrowthStudy | None = None, options: Options | None = None,
        root: Array | None = None, ends: Ends | None = None, gap: float = ROUGH_GAP,
    ) -> Solved:  # fmt: skip
        """Return the relaxed solution with some parts exchanged. Raises UnsupportedError: there is none."""
        of = study or self.study
        chosen = options or self.options(ends, of)
        program = build(of, chosen, tree or self.tree, self.rate_hz, relaxed=True)
        return solve(
            program,
            root=root,
            gap=gap,
            time_limit_s=SIDE_LIMIT_S,
            objective="carbon" if of.objective == "carbon" else "expected",
        )


def values_of(world: World) -> Values:
    """Return what the plan is worth beside others."""
    tree = world.tree
    options = world.options()
    whole = world.solved(options=options, gap=SIDE_GAP)
    cost = whole.expected
    alone = [world.solved(tree=tree.only([s]), options=options, gap=SIDE_GAP) for s in range(tree.scenarios)]
    sure = np.array([one.expected for one in alone])
    mean = _try(
        "the mean growth",
        lambda: _fixed(world, options, world.solved(tree=tree.mean(), options=options, gap=SIDE_GAP).root),
    )
    bought, regret = [], []
    for s in _some(tree):
        found = _try(tree.names[s], lambda root=alone[s].root: _fixed(world, options, root))  # type: ignore[misc]
        bought.append(found[0])
        regret.append(np.full(tree.scenarios, np.nan) if found[1] is None else found[1].costs - sure)
    return Values(
        cost, max(mean[0].cost_usd - cost, 0.0), max(cost - float(tree.probability @ sure), 0.0), mean[0],
        tuple(bought), np.array(regret), whole.costs - sure, tuple(_sensitivity(world)),
        tuple(_alternatives(world, options)),
    )  # fmt: skip


def _some(tree: Tree) -> list[int]:
    """Return scenarios for which one may buy: all, or of many the lowest, a middle and the highest."""
    if tree.scenarios <= MOST_BOUGHT:
        return list(range(tree.scenarios))
    order = np.argsort(tree.factor[:, -1], kind="stable")
    return [int(order[i]) for i in (0, len(order) // 2, -1)]


def _fixed(world: World, options: Options, root: Array) -> Solved:
    return world.solved(options=options, root=root, gap=SIDE_GAP)


def _try(name: str, run: Callable[[], Solved], **more: Any) -> tuple[Other, Solved | None]:
    """Return a solution as another plan; limits that contradict each other make it impossible, not an error."""
    try:
        found = run()
    except UnsupportedError:
        return Other(name, float("nan"), np.zeros((2, 0)), **more), None
    kilos = float(found.program.tree.probability @ (found.program.by_scenario("carbon") @ found.x))
    short = world_short(found)
    return Other(name, found.expected, found.root, kilos, short=short, **more), found


def world_short(found: Solved) -> bool:
    """Return whether a plan leaves requests unserved although each should be."""
    return found.program.study.shortage_usd_per_million is None and found.short > LOST


def _sensitivity(world: World) -> list[Other]:
    """Return the plan in other worlds: figures at the ends of their ranges, other growth, another hall."""
    found = []
    kinds = {"technology": any(kind.years for kind in world.kinds), "grid": world.study.carbon_usd_per_tonne > 0}
    for group, name in GROUPS.items():
        if not kinds.get(group, True):
            continue
        for end in (-1, 1):
            ends = Ends({group: end})
            found.append(_try(name, lambda ends=ends: world.solved(ends=ends), group=group, end=end)[0])  # type: ignore[misc]
    for end, power in zip((-1, 1), GROWTH_ENDS, strict=True):
        tree = world.tree.faster(power)
        name = "growth (its logarithm by a quarter)"
        found.append(_try(name, lambda tree=tree: world.solved(tree=tree), group="growth", end=end)[0])  # type: ignore[misc]
    bounds = world.study.bounds
    if bounds.power_w:
        for end, times in zip((1, -1), POWER_ENDS, strict=True):
            study = replace(
                world.study, bounds=replace(bounds, power_w={r: times * w for r, w in bounds.power_w.items()})
            )
            name = "power of the halls (double, half)"
            found.append(_try(name, lambda study=study: world.solved(study=study), group="power", end=end)[0])  # type: ignore[misc]
    return found


def _alternatives(world: World, options: Options) -> list[Other]:
    """Return plans that may not do something: buy now, buy, lease or rent at all, use a region or a device."""
    study = world.study
    plans: list[tuple[str, Callable[[], Solved]]] = [
        ("buy and lease nothing now", lambda: _fixed(world, options, np.zeros((2, len(options)))))
    ]
    for way, words in (("buy", "buy nothing, ever"), ("lease", "lease nothing"), ("rent", "rent nothing")):
        if way in study.acquire and len(study.acquire) > 1:
            less = replace(study, acquire=study.acquire - {way})
            plans.append((words, lambda less=less: world.solved(study=less)))  # type: ignore[misc]
    if len(study.regions) > 1:
        for region in study.regions:
            if any(one.region != region for one in study.owned):
                continue
            only = replace(study, regions=(region,))
            plans.append((f"all in {region}", lambda only=only: world.solved(study=only)))  # type: ignore[misc]
    names = list(dict.fromkeys(kind.name for kind in world.kinds))
    if len(names) > 1:
        for name in names:
            less_kinds = replace(world, kinds=[kind for kind in world.kinds if kind.name != name])
            plans.append((f"without {name}", lambda one=less_kinds: one.solved()))  # type: ignore[misc]
    return [_try(name, run)[0] for name, run in plans]
