"""The cards of one answer as HTML fragments for the page: those of `archcast predict --html`, without its numbers.

The page draws the numbers itself, so that they follow every change at once; what takes a drawing comes from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from costmodel.estimate import Estimate

if TYPE_CHECKING:
    from hardware_specs import DeviceSpec


def sections(estimate: Estimate, device: DeviceSpec | None = None) -> dict[str, str]:
    """Return name -> HTML of a card, in the order in which they read; all text from files is escaped in it.

    `header` has the question, the sentence and the verdict with what would help. An estimate that does not fit has
    no times, and therefore only `header`, `memory` and `sources`.

    Args:
        device: the device's description, for its sources; None takes the catalogue's of that name.
    """
    from archcast.render.header import header
    from archcast.render.sections import memory_section
    from archcast.render.sources import provenance_section

    found = {"header": header(estimate)}
    if estimate.detail is not None and estimate.latency_s is not None:
        found |= _drawn(estimate)
    found["memory"] = memory_section(estimate)
    if operators := found.pop("operators", ""):
        found["operators"] = operators
    found["sources"] = provenance_section(estimate, device)
    return {name: html for name, html in found.items() if html}


def _drawn(estimate: Estimate) -> dict[str, str]:
    """Return the cards of an answer that has times."""
    from archcast.render.paths import paths_section
    from archcast.render.sections import (
        energy_section,
        limits_section,
        operators_section,
        roofline_section,
        time_section,
        waterfall_section,
    )
    from archcast.render.waterline import waterline_section

    detail = estimate.detail
    assert detail is not None
    explanation = estimate.explain()
    return {
        "paths": paths_section(estimate),
        "limits": limits_section(estimate),
        "roofline": roofline_section(detail, explanation.operators),
        "waterfall": waterfall_section(explanation.steps),
        "layers": waterline_section(detail),
        "time": time_section(detail, explanation.operators),
        "energy": energy_section(estimate),
        "operators": operators_section(explanation.operators),
    }
