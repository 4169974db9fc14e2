"""A search for a terminal: how many designs, a few that stand for the front, what limits them, what was refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from archcast.render.human import percent
from archcast.render.search_words import interval, plain, shown, step_words

if TYPE_CHECKING:
    from archcast.searching.answer import SearchAnswer

REASONS = 5


def search_text(answer: SearchAnswer) -> str:
    """Return the answer as lines."""
    parts = [summary(answer)]
    if answer.front:
        parts += ["", *_table(answer), "", *_marks(answer), *course_lines(answer)]
    if refused := refused_lines(answer):
        parts += ["", "Refused:", *(f"  {line}" for line in refused)]
    return "\n".join([*parts, "", *(f"note: {note}" for note in answer.notes)])


def summary(answer: SearchAnswer) -> str:
    """Return the sentence that answers."""
    tally, study = answer.tally, answer.study
    part = "" if answer.shard.of == 1 else f" (shard {answer.shard.number}/{answer.shard.of})"
    asked = f"{study.name}, batch {study.batch}, {study.dtype}" if study.request else study.name
    what = f"{asked}, on {study.design}" if study.workload else study.design
    at = "" if study.cheap is None else f" at {study.fidelity}"
    how = at if answer.run is None else f" by {study.method}{at}"
    count = f"{tally.designs:,} designs{part}{how} in {answer.wall_s:.1f} s, {tally.feasible:,} feasible"
    if not answer.front:
        return f"{what}: none of {tally.designs:,} designs{part} is feasible."
    return f"{what}: {count}, {len(answer.front):,} on the front of {_and(answer)}."


def _and(answer: SearchAnswer) -> str:
    from archcast.render.human import listed

    return listed([plain(name) for name in answer.objectives])


def course_lines(answer: SearchAnswer) -> list[str]:
    """Return what the search had found when: the volume at a tenth, a third and all of its evaluations."""
    found = answer.convergence
    if found is None or found.volume is None:
        return []
    last = int(found.evaluations[-1])
    places = [int(np.searchsorted(found.evaluations, last * share)) for share in (0.1, 1 / 3, 1.0)]
    words = ", ".join(f"{percent(found.volume[p])} after {int(found.evaluations[p]):,}" for p in dict.fromkeys(places))
    return [f"Volume by evaluations: {words}."]


def refused_lines(answer: SearchAnswer) -> list[str]:
    """Return the reasons that rejected designs, with how many and how many bytes were missing."""
    lines = []
    for one in answer.refused()[:REASONS]:
        lacking = one.get("shortfall_bytes")
        short = (
            f" (short by {shown('_bytes', lacking['least'])} to {shown('_bytes', lacking['most'])})" if lacking else ""
        )
        lines.append(f"{one['designs']:,} designs: {one['reason']}{short}")
    return lines


def _table(answer: SearchAnswer) -> list[str]:
    """Return designs that stand for the front, by the first objective."""
    knobs = answer.chosen
    places = answer.listed()
    heads = ["", *(plain(name) for name in answer.objectives), *(plain(name) for name in knobs)]
    rows = []
    for place in places:
        design = answer.front[place]
        values = [shown(name, design[name]["value"]) for name in answer.objectives]
        rows.append([mark(answer, place), *values, *(shown(name, design["knobs"][name]) for name in knobs)])
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
    lines = []
    for row in [heads, *rows]:
        lines.append("  ".join(word.rjust(width) if i else word.ljust(width)
                               for i, (word, width) in enumerate(zip(row, widths, strict=True))).rstrip())  # fmt: skip
    return [*lines, f"{len(places)} of {len(answer.front):,} that stand for the front; --json has all."]


def mark(answer: SearchAnswer, place: int) -> str:
    """Return what a design is best at: `least latency`, `knee`, or ""."""
    found = [f"least {plain(name)}" for name, best in answer.best.items() if best == place]
    return ", ".join([*found, *(["knee"] if place == answer.knee else [])])


def _marks(answer: SearchAnswer) -> list[str]:
    """Return intervals of the knee and what would lower each objective most, from it and from the best."""
    lines = []
    knee = answer.knee
    assert knee is not None
    design = answer.front[knee]
    ends = ", ".join(f"{plain(name)} {interval(name, design[name])}" for name in answer.objectives)
    lines.append(f"Knee (nearest to the best of everything): {ends}.")
    steps = [f"{plain(name)}: {step_words(binds)}" for name, binds in answer.binds[knee].items()]
    if steps or answer.study.cheap is None:
        lines.append(
            f"  one step that lowers {'; '.join(steps)}." if steps else "  no single step lowers an objective."
        )
    for name, place in answer.best.items():
        if ends_of := answer.at_ends(place):
            words = ", ".join(plain(knob) for knob in ends_of)
            lines.append(f"Least {plain(name)}: {words} at the end of the range.")
    volume = answer.hypervolume
    if volume is not None:
        lines.append(f"Hypervolume: {percent(volume)} of the box from the best values to 1.1 times the front's worst.")
    return lines
