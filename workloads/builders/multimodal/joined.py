"""Models made of models: a field of one (`vision`, `text`) is named like any knob, and its knobs are `vision.KNOB`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self, cast

from foundation.errors import BadValueError, UnknownNameError
from workloads.builders.chain import Chain, Step, wide
from workloads.builders.knobs import KnobModel, known_knobs
from workloads.graph import Block, Size
from workloads.model import Model

TOWER = {"tower": True}
"""Metadata of a field that is a model of its own."""


def named(tower: str) -> Model:
    """Return the default of such a field: a name, of a family (`vit`) or an architecture, built with the whole."""
    return cast(Model, tower)


@dataclass(frozen=True)
class JoinedModel(KnobModel):
    """A model with towers. Naming another tower drops the knobs of the one before it."""

    def __post_init__(self) -> None:
        for name in self.towers():
            given = getattr(self, name)
            object.__setattr__(self, name, given if isinstance(given, Model) else _built(given, {}))
        super().__post_init__()

    @classmethod
    def towers(cls) -> tuple[str, ...]:
        """Return the fields that are models."""
        return tuple(f.name for f in fields(cls) if f.metadata.get("tower"))

    def knobs(self) -> Mapping[str, Any]:
        found: dict[str, Any] = dict(super().knobs())
        for name in self.towers():
            model: Model = getattr(self, name)
            found[name] = model.name
            found |= {f"{name}.{knob}": value for knob, value in model.knobs().items()}
        return found

    def with_knobs(self, changes: Mapping[str, Any]) -> Self:
        return replace(self, **self._split({name: getattr(self, name) for name in self.towers()}, changes))

    @classmethod
    def from_knobs(cls, name: str, knobs: Mapping[str, Any], notes: Sequence[str] = ()) -> Self:
        defaults = {f.name: f.default for f in fields(cls) if f.metadata.get("tower")}
        return cls(name=name, notes=tuple(notes), **cls._split(defaults, knobs))

    @classmethod
    def _split(cls, towers: Mapping[str, Model | Any], changes: Mapping[str, Any]) -> dict[str, Any]:
        """Return fields from knobs: those of the whole, and its towers with theirs. Raises UnknownNameError."""
        own = {knob: value for knob, value in changes.items() if "." not in knob and knob not in towers}
        inner: dict[str, dict[str, Any]] = {name: {} for name in towers}
        for knob, value in changes.items():
            name, dot, rest = knob.partition(".")
            if dot and name not in towers:
                raise UnknownNameError("knob", knob, [f"{name}.KNOB" for name in towers])
            if dot:
                inner[name][rest] = value
        built = {name: _built(changes.get(name, given), inner[name]) for name, given in towers.items()}
        return {**known_knobs(cls, own), **built}


def _built(given: Model | str, knobs: Mapping[str, Any]) -> Model:
    """Return a tower from a model, a family's name or an architecture's. Raises UnknownNameError, BadValueError."""
    from workloads.catalogue import load_model
    from workloads.families import FAMILIES, build

    if isinstance(given, Model):
        return given.with_knobs(knobs) if knobs else given
    if given in FAMILIES:
        return build(given, given, knobs)
    return load_model(given, knobs)


def titled(blocks: Sequence[Block], prefix: str) -> tuple[Block, ...]:
    """Return blocks under names that do not meet those of another tower."""
    return tuple(replace(block, name=f"{prefix}.{block.name}") for block in blocks)


def tower_width(model: Model, asker: str) -> int:
    """Return the features of a tower's tokens. Raises BadValueError where it is no tower of tokens."""
    width = getattr(model, "hidden", None)
    if not isinstance(width, int):
        raise BadValueError(f"'{model.name}' yields no tokens that '{asker}' could read; name a vision transformer.")
    return width


def one_step(batch: Size, tokens: Size, dtype: str) -> Step:
    """Return the sizes of a pass over `tokens` a sequence that keeps nothing."""
    act = wide(dtype)
    return Step(batch, tokens, tokens, 0.0, "prefill", dtype, act, act, act)


def projection(name: str, batch: Size, n: int, k: int, dtype: str, *, bias: bool = False) -> Block:
    """Return a block that maps one token a sequence into another space."""
    chain = Chain(one_step(batch, 1, dtype))
    chain.gemm("project", n, k, bias=bias)
    return Block(name, tuple(chain.operators))
