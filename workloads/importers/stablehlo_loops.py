"""How often a StableHLO `while` runs, where its text says so: a counter that goes from constant to constant."""

from __future__ import annotations

import re
from collections.abc import Callable

from workloads.importers.mlir_text import Op, Region, assigned

Number = Callable[[str], int | None]

MAX_TRIPS = 10**9
_NUMBER = re.compile(r"dense<(-?[0-9]{1,18})>")


def fixed_trips(loop: Op, number: Number) -> int | None:
    """Return the runs of a loop's body, None where they depend on data.

    The condition compares a carried counter with a constant; the body adds a constant to it. `number` returns the
    whole number that a value around the loop is a constant of.
    """
    condition, body = loop.regions
    known = numbers_in(condition)
    returned = condition.operators[-1] if condition.operators else None
    test = _made(condition, returned.operands[0]) if returned and returned.operands else None
    if test is None or not test.name.endswith(".compare") or len(test.operands) != 2:
        return None
    counter, limit = test.operands
    if counter not in condition.arguments or not body.operators:
        return None
    place = condition.arguments.index(counter)
    start = number(loop.operands[place]) if place < len(loop.operands) else None
    if limit in condition.arguments:
        end = _invariant(loop, body, condition.arguments.index(limit), number)
    else:
        end = known[limit] if limit in known else number(limit)
    step = _step(body, place, number)
    if start is None or end is None or not step:
        return None
    return _runs(_direction(test), start, end, step)


def _invariant(loop: Op, body: Region, place: int, number: Number) -> int | None:
    last = body.operators[-1].operands
    if place >= len(last) or place >= len(body.arguments) or last[place] != body.arguments[place]:
        return None
    return number(loop.operands[place]) if place < len(loop.operands) else None


def _step(body: Region, place: int, number: Number) -> int | None:
    """Return what a body adds to its counter at each run."""
    last = body.operators[-1].operands
    made = _made(body, last[place]) if place < len(last) else None
    if made is None or len(made.operands) != 2 or place >= len(body.arguments):
        return None
    sign = {"add": 1, "subtract": -1}.get(made.name.rpartition(".")[2], 0)
    inside = numbers_in(body)
    first, second = made.operands
    if second == body.arguments[place] and sign == 1:
        first, second = second, first
    if first != body.arguments[place]:
        return None
    step = inside[second] if second in inside else number(second)
    return sign * step if step is not None else None


def _runs(direction: str, start: int, end: int, step: int) -> int | None:
    if direction in ("GT", "GE"):
        start, end, step, direction = -start, -end, -step, {"GT": "LT", "GE": "LE"}[direction]
    if direction == "NE":
        runs, rest = divmod(end - start, step)
        return runs if rest == 0 and 0 <= runs <= MAX_TRIPS else None
    if direction not in ("LT", "LE") or step <= 0:
        return None
    runs = max(0, -(-(end + (direction == "LE") - start) // step))
    return runs if runs <= MAX_TRIPS else MAX_TRIPS + 1


def _direction(test: Op) -> str:
    words = [str(token) for token in test.tokens if isinstance(token, str)]
    plain = next((word for word in words if word in ("LT", "LE", "GT", "GE", "NE", "EQ")), "")
    if plain:
        return plain
    for rest in assigned(test.tokens, "comparison_direction"):
        for token in rest:
            inside = [token] if isinstance(token, str) else [] if isinstance(token, int) else token.items
            for item in inside:
                if item in ("LT", "LE", "GT", "GE", "NE", "EQ"):
                    return str(item)
    return ""


def _made(region: Region, name: str) -> Op | None:
    """Return the operator of a body that makes a value."""
    return next((op for op in region.operators if name in op.results), None)


def numbers_in(region: Region) -> dict[str, int]:
    """Return the whole numbers among the constants of a body."""
    return {op.results[0]: number for op in region.operators if (number := number_of(op)) is not None}


def number_of(op: Op) -> int | None:
    """Return the whole number that an operator is a constant of."""
    if not op.name.endswith(".constant") or not op.results:
        return None
    words = [token for token in op.tokens if isinstance(token, str)]
    words += [str(token) for rest in assigned(op.tokens, "value") for token in rest]
    found = next((match for word in words if (match := _NUMBER.match(word))), None)
    return int(found.group(1)) if found else None
