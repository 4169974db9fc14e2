"""`grow`: from a plan file with the key `growth` to the answer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from archcast.cost_models import find_serving_model
from archcast.growing.answer import Growth
from archcast.growing.break_even import break_evens
from archcast.growing.capacity import Capacity, capacity_of
from archcast.growing.course import course_of
from archcast.growing.ends import Ends
from archcast.growing.growth_file import read_growth
from archcast.growing.intervals import intervals_of
from archcast.growing.options import Books, kinds_of, load_books, options_of
from archcast.growing.program import build
from archcast.growing.solve import Solved, solve
from archcast.growing.study import GrowthStudy
from archcast.growing.tree import Tree, demand_tree
from archcast.growing.values import World, values_of
from archcast.growing.words import binds_of, summary_of
from archcast.growing.worst import separable, solve_worst
from foundation.checks import whole_number
from foundation.errors import BadFileError, InputError
from foundation.yaml_file import YamlDocument, load_yaml
from simulator.streams import DEFAULT_SEED, MAX_SEED


def grow(
    file: str | Path | Mapping[str, Any], *, settings: Mapping[str, Any] | None = None, seed: int = DEFAULT_SEED
) -> Growth:
    """Return what to buy, lease and rent over time for a demand whose growth is not known.

    Args:
        file: a YAML file of kind `plan` with the key `growth` (docs/growth.md), or a mapping with its keys.
        settings: values by dotted path that take the place of the file's, such as {"growth.periods": 4}.
        seed: of the lengths of the requests.

    Raises:
        BadFileError: file, line and key of what cannot be.
    """
    whole_number("seed", seed, low=0, high=MAX_SEED)
    name = "growth" if isinstance(file, Mapping) else str(file)
    document = YamlDocument(Path("growth"), dict(file)) if isinstance(file, Mapping) else load_yaml(file)
    return grow_document(document, name, settings, seed)


def grow_document(document: YamlDocument, name: str, settings: Mapping[str, Any] | None, seed: int) -> Growth:
    """Return the answer for a document. Raises BadFileError."""
    study = read_growth(document, settings)
    try:
        return _grow(study, name, seed)
    except BadFileError:
        raise
    except InputError as error:
        raise BadFileError(study.settings.document.path, str(error)) from None


def _grow(study: GrowthStudy, file: str, seed: int) -> Growth:
    begun = time.perf_counter()
    books = load_books(study)
    capacity = capacity_of(study, seed)
    study = _by_id(study, capacity)
    kinds = kinds_of(study, capacity, books)
    options = options_of(study, kinds, books, Ends())
    tree = demand_tree(study)
    rate = capacity.demand.rate_hz
    world = World(study, kinds, books, tree, rate)
    solved = solved_of(world)
    course = course_of(solved, rate)
    ends = intervals_of(world, solved)
    return Growth(
        file=file, study=study, capacity=capacity, options=options, books=books, solved=solved, course=course,
        intervals=ends, values=values_of(world), break_evens=tuple(break_evens(study, options)),
        binds=tuple(binds_of(study, options, solved, course)),
        summary=summary_of(study, capacity, options, solved, course, ends.expected_usd),
        notes=tuple(_notes(study, capacity, solved, tree)), seed=seed, wall_s=time.perf_counter() - begun,
        versions=_versions(study, capacity, books),
    )  # fmt: skip


def _by_id(study: GrowthStudy, capacity: Capacity) -> GrowthStudy:
    """Return the study with devices by their ids, where the file names them by an alias or a path."""
    ids = {name: site.id for site in capacity.sites for name in site.names}
    owned = tuple(replace(one, device=ids[one.device]) for one in study.owned)
    available = {ids.get(name, name): steps for name, steps in study.bounds.available.items()}
    return replace(study, owned=owned, bounds=replace(study.bounds, available=available))


def solved_of(world: World) -> Solved:
    """Return the plan: the extensive form, or for the worst case scenarios added one by one where that is possible."""
    if world.study.objective == "worst" and separable(world.study, world.tree):
        return solve_worst(world.study, world.options(), world.tree, world.rate_hz)
    return solve(build(world.study, world.options(), world.tree, world.rate_hz))


def _notes(study: GrowthStudy, capacity: Capacity, solved: Solved, tree: Tree) -> list[str]:
    share = study.use_share
    found = [
        f"Instances are loaded to {share:.0%} of the closed form's rate; confirm the first period's fleet with "
        "`archcast plan` on the file without `growth`.",
        "Rental prices are the catalogue's for every region.",
    ]
    if solved.gap > 2e-4:
        found.append(f"The solver stopped at a gap of {solved.gap:.2%}: a better plan may save so much.")
    if study.future:
        found.append("Devices not yet sold follow the trends of performance per dollar and per watt.")
    if tree.scenarios == 1:
        found.append("One scenario: nothing is unknown, so information is worth nothing.")
    return found + [f"{device} is left out: {words}." for device, words in capacity.cannot]


def _versions(study: GrowthStudy, capacity: Capacity, books: Books) -> dict[str, str]:
    from archcast import __version__

    cost_model = find_serving_model(study.base.cost_model)
    import scipy

    found = {"archcast": __version__, "cost_model": f"{cost_model.name} {cost_model.version}"}
    found |= {f"device {site.id}": site.target.rates.digest() for site in capacity.sites}
    found |= {"book purchase-prices": books.purchases.digest(), "book regions": books.regions.digest(),
              "book trends": books.trends.digest()}  # fmt: skip
    return found | {"numpy": np.__version__, "scipy": scipy.__version__}
