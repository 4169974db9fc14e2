"""The oracle: what budget allocators ask for, as arrays with intervals.

`cost_table` (items x options), `curve`, `marginal`, `max_within`, `iso`, `break_even`, `cost_of_pass`, `scenarios`
(jointly sampled costs), `sensitivities` and `reasoning_cost`. Accuracy and success always come from the caller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

_WHERE = {
    "CostTable": "table", "cost_table": "table", "Curve": "curves", "curve": "curves", "Marginal": "marginals",
    "marginal": "marginals", "Within": "within", "max_within": "within", "Iso": "equal", "iso": "equal",
    "BreakEven": "money", "break_even": "money", "CostOfPass": "money", "cost_of_pass": "money",
    "Scenarios": "sampling", "scenarios": "sampling", "Sensitivities": "sensitivity", "sensitivities": "sensitivity",
    "ReasoningCost": "reasoning", "reasoning_cost": "reasoning", "Verifier": "reasoning",
}  # fmt: skip
"""Public name -> module of this package."""

__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'archcast.oracle' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(f"archcast.oracle.{_WHERE[name]}"), name)


if TYPE_CHECKING:
    from archcast.oracle.curves import Curve as Curve
    from archcast.oracle.curves import curve as curve
    from archcast.oracle.equal import Iso as Iso
    from archcast.oracle.equal import iso as iso
    from archcast.oracle.marginals import Marginal as Marginal
    from archcast.oracle.marginals import marginal as marginal
    from archcast.oracle.money import BreakEven as BreakEven
    from archcast.oracle.money import CostOfPass as CostOfPass
    from archcast.oracle.money import break_even as break_even
    from archcast.oracle.money import cost_of_pass as cost_of_pass
    from archcast.oracle.reasoning import ReasoningCost as ReasoningCost
    from archcast.oracle.reasoning import reasoning_cost as reasoning_cost
    from archcast.oracle.sampling import Scenarios as Scenarios
    from archcast.oracle.sampling import scenarios as scenarios
    from archcast.oracle.sensitivity import Sensitivities as Sensitivities
    from archcast.oracle.sensitivity import sensitivities as sensitivities
    from archcast.oracle.table import CostTable as CostTable
    from archcast.oracle.table import cost_table as cost_table
    from archcast.oracle.within import Within as Within
    from archcast.oracle.within import max_within as max_within
