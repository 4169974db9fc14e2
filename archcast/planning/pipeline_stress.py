"""How far a farm holds: the rate 10 % up and down, service times at their ends, fewer and more servers failing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from archcast.planning.pipeline_choices import MOST_UNITS, Span
from archcast.planning.pipeline_farm import AS_GIVEN, Farm, Stressed
from archcast.planning.pipeline_search import Judged, Searcher

RATES = (0.9, 1.1)
FAILING = (0.0, 0.05, 0.2)


@dataclass(frozen=True)
class Stress:
    """One change: what the chosen farm then does, and the least farm of its kind and buffer that would hold."""

    name: str
    change: Stressed
    judged: Judged
    holds: bool
    needed: Farm | None

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        needed = self.needed
        return {
            "change": self.name, "holds": self.holds, "loss_share": self.judged.loss,
            "utilisation": self.judged.load,
            "needed": None if needed is None else {
                "parts": needed.parts, "servers_per_part": needed.servers, "servers": needed.total,
                "more_servers": needed.total - self.judged.farm.total,
            },
        }  # fmt: skip


def stresses(farm: Farm, searcher: Searcher) -> tuple[Stress, ...]:
    """Return what each change does to a farm; the correction by events is that of the farm as it is."""
    return tuple(_stress(name, change, farm, searcher) for name, change in _changes(farm, searcher.study.failing))


def _changes(farm: Farm, failing: float) -> Iterator[tuple[str, Stressed]]:
    for factor in RATES:
        yield f"rate {100 * (factor - 1):+.0f} %", Stressed(rate=factor)
    value, low, high = farm.site.service_s
    for end, name in ((low, "shortest"), (high, "longest")):
        if end != value:
            yield f"service time at its {name} ({_change(end / value)})", Stressed(service_s=end)
    cv, *cvs = farm.site.cv
    for other in cvs:
        if other != cv and farm.site.law not in ("constant", "exponential", "erlang"):
            yield f"cv of the service {other:g}", Stressed(cv=other)
    for share in FAILING:
        if abs(share - failing) > 1e-9:
            yield f"{100 * share:g} % failing", Stressed(failing=share)


def _change(factor: float) -> str:
    return f"{factor - 1:+.0%}" if factor < 2 else f"{factor:.3g} times"


def _stress(name: str, change: Stressed, farm: Farm, searcher: Searcher) -> Stress:
    judged = searcher.judge(farm, change)
    holds = searcher.holds(farm, change)
    span = Span(1, MOST_UNITS // (farm.servers if farm.site.seeks_parts else 1))
    return Stress(name, change, judged, holds, searcher.least(farm, span, change))


__all__ = ["AS_GIVEN", "Stress", "stresses"]
