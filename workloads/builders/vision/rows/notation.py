"""The notation of a row: `name=body@sources`, where the body is one module or branches of steps.

    p3=c2f:256r6            a module with 256 channels, repeat 6; later rows read its map as `p3`
    n4=c2f:512r3n@x.p4      reads the map so far (`x`) joined with `p4`
    64x7s2-m3s2             steps one after the other: 64 channels, window 7, stride 2; maximum of 3, stride 2
    64x1|48x1-64x5|a3p1-32x1    branches that read one map; their results are joined
    384x1-384x1x3&384x3x1   the last step of a branch may fork

Steps: `CxK` or `CxHxW` a convolution (`tC` transposed, window 2, stride 2), `dK` a depthwise one, `mK` and `aK` maximum
and average, `gap` the average of the map, `fitN` the map averaged to N x N, `flat`, `fcN` dense, `upN` enlargement.
Behind them: `s2` stride, `p0` padding, `g4` groups, `c` sides rounded up, `n` no activation, `b` a bias in place of the
normalisation, `v` (of `fc`) a normalisation and activation, `a` (of `fc`) an activation alone. Numbers have at most six
digits.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

STEP = (
    r"(?P<step>\d{1,6}x\d{1,6}(x\d{1,6})?|t\d{1,6}|d\d{1,6}|[ma]\d{1,6}|gap|flat|fit\d{1,6}|fc\d{0,6}|up\d{1,6})"
    r"(s(?P<s>\d{1,6}))?(p(?P<p>\d{1,6}))?(g(?P<g>\d{1,6}))?(?P<flags>[cnbva]*)"
)
_STEP = re.sub(r"\?P<\w+>", "", STEP)
_CHAIN = rf"{_STEP}([-&]{_STEP})*"
_NAME = r"[a-z][a-z0-9]*"
_MODULE = r"[a-z][a-z0-9]*:(\d{1,6}(\.\d{1,6})*)?(r\d{1,6})?(s\d{1,6})?(e\d{1,6}(\.\d{1,6})?)?[nk]*"
ROW = rf"({_NAME}=)?({_CHAIN}(\|{_CHAIN})*|{_MODULE})(@{_NAME}(\.{_NAME})*)?"
EXAMPLE = "p3=64x3s2-64x1@x.p2"


class Step(NamedTuple):
    """One layer: what it is, its numbers (channels and windows), and what stands behind them (padding -1: same)."""

    kind: str
    numbers: tuple[int, ...]
    stride: int
    padding: int
    groups: int
    flags: str


class Module(NamedTuple):
    """A named module: its numbers (the first mostly channels), repeats, stride, expansion and letters."""

    kind: str
    numbers: tuple[int, ...]
    repeat: int
    stride: int
    expansion: float
    flags: str


class Row(NamedTuple):
    """One row: the name of its result, what it reads (nothing: the map so far), its branches or its module."""

    name: str
    sources: tuple[str, ...]
    branches: tuple[tuple[tuple[Step, ...], ...], ...]
    module: Module | None


@lru_cache(maxsize=4096)
def parsed(text: str) -> Row:
    """Return a row (which matches `ROW`); a branch is a list of forks, mostly of one step each."""
    body, _, sources = text.partition("@")
    name, _, body = body.rpartition("=")
    read = tuple(sources.split(".")) if sources else ()
    if ":" in body:
        return Row(name, read, (), _module(body))
    branches = (tuple(tuple(map(_step, fork.split("&"))) for fork in part.split("-")) for part in body.split("|"))
    return Row(name, read, tuple(branches), None)


def _step(text: str) -> Step:
    found = re.fullmatch(STEP, text)
    assert found, text
    step, stride = found["step"], int(found["s"] or 1)
    padding = -1 if found["p"] is None else int(found["p"])
    kind = "conv" if step[0].isdigit() else step.rstrip("0123456789")
    numbers = tuple(int(number) for number in re.findall(r"\d+", step))
    return Step(kind, numbers, stride, padding, int(found["g"] or 1), found["flags"])


def _module(text: str) -> Module:
    kind, _, rest = text.partition(":")
    found = re.fullmatch(r"(?P<n>[\d.]*)(r(?P<r>\d+))?(s(?P<s>\d+))?(e(?P<e>[\d.]+))?(?P<flags>[nk]*)", rest)
    assert found, text
    numbers = tuple(int(number) for number in found["n"].split(".") if number)
    return Module(kind, numbers, int(found["r"] or 1), int(found["s"] or 1), float(found["e"] or 0), found["flags"])
