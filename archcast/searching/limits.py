"""Limits of a search: the least or most that a value, a knob, or a product or sum of knobs may be."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Literal

import numpy as np

from foundation.errors import BadValueError, UnknownNameError
from workloads.table import Array

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Limit:
    """`names` joined by `join` ("*" or "+") must not be above (`most`) or below `bound`."""

    names: tuple[str, ...]
    join: Literal["*", "+"]
    bound: float
    most: bool

    @property
    def left(self) -> str:
        return f" {self.join} ".join(self.names)

    @property
    def text(self) -> str:
        """Return the reason of those that break it, e.g. `area_mm2 above 20`."""
        return f"{self.left} {'above' if self.most else 'below'} {self.bound:.12g}"

    def known(self, columns: Mapping[str, Array]) -> bool:
        return all(name in columns for name in self.names)

    def excess(self, columns: Mapping[str, Array]) -> Array:
        """Return by what share of the bound designs are beyond it, 0 where they keep it."""
        join = np.multiply if self.join == "*" else np.add
        found = reduce(join, [np.asarray(columns[name], dtype=float) for name in self.names])
        off = (found - self.bound if self.most else self.bound - found) / (abs(self.bound) or 1.0)
        return np.asarray(np.maximum(off, 0.0))

    def broken(self, columns: Mapping[str, Array]) -> Array:
        """Return which designs break the limit."""
        join = np.multiply if self.join == "*" else np.add
        found = reduce(join, [np.asarray(columns[name], dtype=float) for name in self.names])
        return np.asarray(found > self.bound if self.most else found < self.bound)


def read_limit(text: str, bound: float, most: bool, names: Iterable[str]) -> Limit:
    """Return the limit of text such as `area_mm2`, `rows * cols` or `input_buffer_bytes + weight_buffer_bytes`.

    Raises:
        BadValueError: it is no product or sum of names.
        UnknownNameError: a name that is neither a knob nor a value.
    """
    known = tuple(names)
    if "*" in text and "+" in text:
        raise BadValueError(f"'{text}' mixes * and +; a limit is on a product or on a sum.")
    join: Literal["*", "+"] = "+" if "+" in text else "*"
    parts = tuple(part.strip() for part in text.split(join))
    for part in parts:
        if not NAME.fullmatch(part):
            raise BadValueError(f"'{text}' is no name, product (rows * cols) or sum of names.")
        if part not in known:
            raise UnknownNameError("knob or value", part, known, f"Known: {', '.join(known)}.")
    return Limit(parts, join, bound, most)
