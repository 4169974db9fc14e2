"""What every problem of a file of kind `search` is given: a space, objectives, limits, and what all designs share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from archcast.searching.limits import Limit
from archcast.searching.space import DesignSpace


@dataclass(frozen=True)
class Posed:
    """The head of a `Problem`; `fixed` are the values of keys that are no knobs."""

    space: DesignSpace
    objectives: tuple[str, ...]
    limits: tuple[Limit, ...]
    fixed: Mapping[str, Any]
