"""Dynamic networks: each input takes one of several paths, which set knobs of a composite and have stated shares.

Early exits, a big network behind a little one, pruned tokens, skipped layers and adaptive depth are all of this form:
what differs from input to input is how often a part runs, or with which knobs. Parts that two paths run alike are one
*variant*, so that inputs of both paths pass it in one batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from foundation.errors import BadValueError
from workloads.expressions import evaluate
from workloads.graph import Size

if TYPE_CHECKING:
    from workloads.composite import Part

REST = "rest"
"""The share of the path that takes what the others leave."""
SLACK = 1e-9


@dataclass(frozen=True)
class InputPath:
    """What happens to `share` of the inputs (a number, an expression of the knobs, or `rest`): the knobs it sets.

    `knobs` are names of the whole's knobs (a number or an expression), or `part.knob` of a part's network.
    """

    name: str
    share: Size | str
    knobs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Variant:
    """Part `of` as some paths run it: with knobs set, `values` of the whole's knobs, and the paths' indices."""

    of: str
    part: Part
    values: Mapping[str, float]
    paths: tuple[int, ...]


def shares_of(paths: Sequence[InputPath], names: Mapping[str, Size]) -> tuple[float, ...]:
    """Return the share of each path; they sum to 1.

    Raises:
        BadValueError: a share outside 0 to 1, two paths that take the rest, or a sum that is not 1.
    """
    given = {path.name: _share(path, names) for path in paths if path.share != REST}
    takers = [path.name for path in paths if path.share == REST]
    if len(takers) > 1:
        raise BadValueError(f"path '{takers[1]}' takes the rest, which path '{takers[0]}' takes already.")
    total = sum(given.values())
    if total > 1 + SLACK or (not takers and total < 1 - SLACK):
        what = "more than 1" if total > 1 else "less than 1; give one path `share: rest`"
        raise BadValueError(f"the shares of path '{next(iter(given))}' and the others sum to {total:g}, {what}.")
    found = tuple(given.get(path.name, max(1.0 - total, 0.0)) for path in paths)
    return tuple(share / sum(found) for share in found)


def _share(path: InputPath, names: Mapping[str, Size]) -> float:
    value = np.unique(np.asarray(evaluate(path.share, names)))
    if value.size != 1 or not 0 <= value[0] <= 1:
        given = f"{path.share}" + (f" = {value[0]:g}" if isinstance(path.share, str) and value.size == 1 else "")
        raise BadValueError(f"path '{path.name}' has a share of {given}, which must be one number from 0 to 1.")
    return float(value[0])


def variants(parts: Sequence[Part], paths: Sequence[InputPath], names: Mapping[str, Size]) -> list[Variant]:
    """Return every part as often as paths run it differently, in the order of the parts, then of the paths."""
    changes = [_changes(path, names) for path in paths]
    found: list[Variant] = []
    for part in parts:
        kinds: dict[tuple[Any, ...], list[int]] = {}
        for index, (values, inner) in enumerate(changes):
            mine = tuple(sorted(inner.get(part.name, {}).items()))
            read = tuple(sorted((name, value) for name, value in values.items() if name in part.reads))
            kinds.setdefault((read, mine), []).append(index)
        for (read, mine), members in kinds.items():
            known = replace(part, knobs={**part.knobs, **dict(mine)}) if mine else part
            if len(kinds) > 1:
                label = "+".join(paths[i].name for i in members)
                known = replace(known, name=f"{part.name} ({label})", weights=part.label)
            found.append(Variant(part.name, known, dict(read), tuple(members)))
    return found


def variants_of(
    parts: Sequence[Part], paths: Sequence[InputPath], names: Mapping[str, Size]
) -> Iterator[tuple[Variant, float]]:
    """Yield all that runs, and the share of the inputs for which it does; without paths, every part for all inputs."""
    if not paths:
        yield from ((Variant(part.name, part, {}, ()), 1.0) for part in parts)
        return
    shares = shares_of(paths, names)
    for variant in variants(parts, paths, names):
        yield variant, sum(shares[i] for i in variant.paths)


def _changes(path: InputPath, names: Mapping[str, Size]) -> tuple[dict[str, float], dict[str, dict[str, Any]]]:
    """Return (values of the whole's knobs, knobs of each part's network) that a path sets."""
    values: dict[str, float] = {}
    inner: dict[str, dict[str, Any]] = {}
    for knob, value in path.knobs.items():
        part, dot, name = knob.partition(".")
        if dot:
            inner.setdefault(part, {})[name] = value
        else:
            values[knob] = float(np.ravel(evaluate(value, names))[0])
    return values, inner


def refuse_set_by_paths(knob: str, paths: Sequence[InputPath]) -> None:
    """Refuse to change a knob that every path sets: it would change nothing. Raises BadValueError."""
    if paths and all(knob in path.knobs for path in paths):
        raise BadValueError(f"'{knob}' is set by every path of this network; change the shares of the paths instead.")
