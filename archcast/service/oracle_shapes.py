"""The shapes of the oracle's requests: the arguments of its functions, as far as JSON has them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from archcast.service.shapes import Document, ModelName, Name

Asked = Annotated[Document, Meta(description="A question: workload, on (or device), batch, prompt, generate, ...")]
Several = Asked | Annotated[list[Document], Meta(min_length=1, max_length=100_000)]
Number = Annotated[float, Meta(ge=-1e300, le=1e300)]
Numbers = Number | Annotated[list[Number], Meta(max_length=200_000)]
Quantities = Annotated[list[Name], Meta(min_length=1, max_length=20)]
COSTS = ("latency_s", "energy_j", "memory_bytes", "cost_usd")


class CostTable(msgspec.Struct, forbid_unknown_fields=True):
    """What every item costs by every option."""

    items: Several
    options: Several
    quantities: Quantities | None = None
    model: ModelName = ""


class Curve(msgspec.Struct, forbid_unknown_fields=True):
    """What a question costs at each value of a knob."""

    question: Asked
    knob: Name
    values: Annotated[list[Number], Meta(min_length=1, max_length=200_000)]
    quantities: Quantities | None = None
    model: ModelName = ""


class Marginal(msgspec.Struct, forbid_unknown_fields=True):
    """What one more of a knob costs."""

    question: Several
    knob: Name = "generate"
    at: Numbers | None = None
    step: Annotated[int, Meta(ge=1, le=10**9)] | None = None
    quantities: Quantities | None = None
    model: ModelName = ""


class MaxWithin(msgspec.Struct, forbid_unknown_fields=True):
    """The largest value of a knob within budgets."""

    question: Several
    knob: Name
    budget: Annotated[dict[Name, Numbers], Meta(min_length=1, max_length=20)]
    side: Literal["value", "lo", "hi"] = "value"
    model: ModelName = ""


class Scenarios(msgspec.Struct, forbid_unknown_fields=True):
    """Costs drawn together: of questions, or of items by options."""

    question: Several | None = None
    items: Several | None = None
    options: Several | None = None
    n: Annotated[int, Meta(ge=1, le=100_000)] = 1000
    seed: Annotated[int, Meta(ge=0, le=2**53)] = 0
    quantities: Quantities | Name | None = None
    common: Annotated[float, Meta(ge=0, le=1)] = 0.0
    model: ModelName = ""


Amount = Annotated[float, Meta(ge=0, le=1e300)] | Annotated[
    list[Annotated[float, Meta(ge=0, le=1e300)]], Meta(min_length=3, max_length=3, description="[value, lo, hi]")
]  # fmt: skip
Amounts = Annotated[list[Amount], Meta(min_length=1, max_length=10_000)]


class Iso(msgspec.Struct, forbid_unknown_fields=True):
    """With which value of its knob y costs the same as x."""

    x: Asked
    y: Asked
    by: Quantities | Name = "latency_s"
    knob: Name = "generate"
    model: ModelName = ""


class BreakEven(msgspec.Struct, forbid_unknown_fields=True):
    """After how many uses a fixed cost is paid back."""

    fixed: Amount
    per_use: Amount
    other_per_use: Amount


class CostOfPass(msgspec.Struct, forbid_unknown_fields=True):
    """What one success costs on average, of each candidate, and their frontier."""

    cost: Amounts
    success: Amounts
    candidates: Annotated[list[Name], Meta(max_length=10_000)] = []


class Sensitivities(msgspec.Struct, forbid_unknown_fields=True):
    """What a change of each figure of the device would change."""

    question: Several
    knobs: Annotated[list[Name], Meta(min_length=1, max_length=100)] | None = None
    model: Annotated[str, Meta(max_length=100, description="'physics' or '': the closed form is what is varied")] = ""


class ReasoningCost(msgspec.Struct, forbid_unknown_fields=True):
    """What answers of so many thinking tokens and samples cost."""

    question: Asked
    tokens: Numbers
    samples: Numbers = 1.0
    parallel: bool = True
    verifier: Asked | None = None
    passes: Annotated[int, Meta(ge=1, le=10**6)] = 1
    truncate: Annotated[int, Meta(ge=1, le=10**9)] | None = None
    quantities: Quantities | None = None
    model: ModelName = ""


SHAPES: dict[str, type[Any]] = {
    "cost_table": CostTable, "curve": Curve, "marginal": Marginal, "max_within": MaxWithin, "scenarios": Scenarios,
    "iso": Iso, "break_even": BreakEven, "cost_of_pass": CostOfPass, "reasoning_cost": ReasoningCost,
    "sensitivities": Sensitivities,
}  # fmt: skip
"""Verb -> the struct that its body is decoded into; its fields are the arguments of `archcast.oracle`'s function."""
