"""`Figure`: a number with its range and where it came from; `Spec`: the base of every description of hardware."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from hardware_specs.units import Quantity

Place = tuple[str | int, ...]


def fault(problem: str, at: Place = ()) -> PydanticCustomError:
    """Return a validation error whose place, below the model that raises it, is `at`."""
    return PydanticCustomError("archcast", "{problem}", {"problem": problem, "at": at})


class Figure(BaseModel):
    """One number in the unit that its field's name ends in, its range, and its origin.

    Either `source` names an entry of the file's `sources` table, or `estimated` is true and [lo, hi] is given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    value: float
    lo: float
    hi: float
    source: str = ""
    estimated: bool = False

    @property
    def interval(self) -> tuple[float, float, float]:
        """(value, lo, hi)."""
        return self.value, self.lo, self.hi

    @model_validator(mode="before")
    @classmethod
    def _default_range(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        if data.get("estimated") and not ("lo" in data and "hi" in data):
            raise fault("an estimated figure needs a range, e.g. range: [low, high].")
        value = data.get("value")
        return {"lo": value, "hi": value, **data}

    @model_validator(mode="after")
    def _check(self) -> Figure:
        if not self.lo <= self.value <= self.hi:
            raise fault(f"the value {self.value:g} lies outside its range [{self.lo:g}, {self.hi:g}].")
        if not self.source and not self.estimated:
            raise fault("a figure needs a source, or estimated: true with a range.")
        return self


class Spec(BaseModel):
    """A frozen description. Fields annotated with a `Quantity` are held against its possible range."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    quantities: ClassVar[dict[str, Quantity]] = {}
    wholes: ClassVar[frozenset[str]] = frozenset()
    """Fields with a whole number that a file may give as a figure, see `pipeline_parts.Counted`."""
    polynomials: ClassVar[frozenset[str]] = frozenset()
    """Fields with a `pipeline_parts.Polynomial`, for which files have a short form."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Note the quantity of each field once, when the class is made."""
        cls.quantities = {
            name: item
            for name, field in cls.model_fields.items()
            for item in field.metadata
            if isinstance(item, Quantity)
        }

    @model_validator(mode="after")
    def _in_range(self) -> Spec:
        for name, quantity in self.quantities.items():
            value = getattr(self, name)
            items = value.items() if isinstance(value, dict) else (("", value),)
            for key, figure in items:
                if figure is not None:
                    check_range(figure, quantity, (name, key) if key else (name,))
        return self

    def figures(self) -> Iterator[tuple[Place, Figure]]:
        """Yield every figure of the description with its place."""
        for name in type(self).model_fields:
            yield from _figures_of(getattr(self, name), (name,))

    def digest(self) -> str:
        """Return a hash of the content: equal descriptions have equal digests."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]


class Sourced(Spec):
    """A description that stands in a file of its own, with the table of its sources."""

    id: str
    name: str
    notes: str = ""
    sources: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _sources_exist(self) -> Sourced:
        for place, figure in self.figures():
            if figure.source and figure.source not in self.sources:
                known = ", ".join(sorted(self.sources)) or "none"
                raise fault(f"the source '{figure.source}' is not in the table of sources (known: {known}).", place)
        return self


def check_range(figure: Figure, quantity: Quantity, at: Place) -> None:
    """Hold a figure and its range against what is possible.

    Raises:
        PydanticCustomError: it lies outside; the message names both.
    """
    for part, number in (("value", figure.value), ("range", figure.lo), ("range", figure.hi)):
        if not quantity.low <= number <= quantity.high:
            unit = f" {quantity.unit}" if quantity.unit else ""
            limits = f"{quantity.low:g} to {quantity.high:g}{unit}"
            raise fault(f"the {part} {number:g}{unit} is outside what is possible here ({limits}).", at)


def _figures_of(value: Any, at: Place) -> Iterator[tuple[Place, Figure]]:
    if isinstance(value, Figure):
        yield at, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _figures_of(item, (*at, key))
    elif isinstance(value, (tuple, list)):
        for index, item in enumerate(value):
            yield from _figures_of(item, (*at, index))
    elif isinstance(value, Spec):
        for place, figure in value.figures():
            yield (*at, *place), figure
