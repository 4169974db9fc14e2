"""Where the mean rates of a pipeline and the events of its windows say different things, and which stages block.

A difference counts where it is beyond chance (the interval over replications, else four standard errors of as many
independent events) and beyond what closed forms leave open: a factor of 2 of a loss, 5 points of a utilisation, 3 % of
a rate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from archcast.render.human import text
from archcast.render.pipeline_rows import busy_of_up, lost_share, share_words

if TYPE_CHECKING:
    from hardware_specs.pipeline_schema import PipelineSpec
    from simulator.intervals import Uncertain
    from simulator.pipelines.rates_results import PipelineRates, StageRates
    from simulator.pipelines.window_run import StageEvents, WindowRun

LOSS_FACTOR = 2.0
BUSY_POINTS = 0.05
RATE_SHARE = 0.03
ERRORS = 4.0
"""Standard errors that are chance."""


@dataclass(frozen=True)
class Disagreement:
    """One number that the mean rates and the events of a window have differently; a rate in Hz, the others shares."""

    window: str
    stage: str
    quantity: str
    mean_rates: float
    events: Uncertain

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "window": self.window, "stage": self.stage, "quantity": self.quantity, "mean_rates": self.mean_rates,
            "events": self.events.to_json(), "text": self.text(),
        }  # fmt: skip

    def text(self) -> str:
        """Return it as a sentence."""
        mean, seen = (self._words(x) for x in (self.mean_rates, self.events.value))
        what = {
            "loss_share": f"'{self.stage}' loses {mean} in mean rates and {seen} in events",
            "utilisation": f"servers of '{self.stage}' that are up are busy {mean} in mean rates and {seen} in events",
            "rate_out_hz": f"{mean} leave '{self.stage}' in mean rates and {seen} in events",
        }[self.quantity]
        return f"Mean rates and events disagree in window '{self.window}': {what}."

    def _words(self, value: float) -> str:
        return text(value, "hz") if self.quantity == "rate_out_hz" else share_words(value)


def disagreements(
    spec: PipelineSpec, rates: PipelineRates, windows: tuple[WindowRun, ...]
) -> tuple[Disagreement, ...]:  # fmt: skip
    """Return what differs, window by window, stage by stage."""
    stages = {stage.name: stage for stage in rates.stages}
    found: list[Disagreement] = []
    for window in windows:
        for name, row in window.stages.items():
            found += _of_stage(window, row, stages[name])
        fed = {name for stage in spec.stages if stage.name in window.stages for name in stage.inputs}
        ends = [name for name in window.stages if name not in fed]
        if len(ends) == 1:
            found += _of_rate(window, ends[0], stages[ends[0]].rate_out_hz.value)
    return tuple(found)


def blocking_stages(spec: PipelineSpec) -> tuple[str, ...]:
    """Return the stages that hold back what sends to them: full ones that block, and credits."""
    found = []
    for stage in spec.stages:
        room = stage.places is not None or stage.buffer_bytes is not None
        link = stage.link is not None and stage.link.credits is not None
        if (stage.when_full == "block" and room) or stage.credits is not None or link:
            found.append(stage.name)
    return tuple(found)


def blocking_notes(spec: PipelineSpec, windows: tuple[WindowRun, ...]) -> list[str]:
    """Return, for each stage that blocks, that mean rates have no blocking and which window has it."""
    found = []
    for name in blocking_stages(spec):
        where = [f"'{window.name}'" for window in windows if name in window.stages]
        seen = f"the events of window {' and '.join(where)} have it" if where else "no window was simulated with it"
        found.append(f"'{name}' holds back what sends to it when it is full. Mean rates have no blocking; {seen}.")
    return found


def _of_stage(window: WindowRun, row: StageEvents, stage: StageRates) -> Iterator[Disagreement]:
    first = next(iter(window.stages)) == row.stage
    lost = lost_share(stage) if window.network.begins_accepted and first else _all_lost(stage)
    count = _counted(window, row.rate_in_hz.value / window.network.scales[row.stage])
    if _loss_differs(lost, row.loss_share, count):
        yield Disagreement(window.name, row.stage, "loss_share", lost, row.loss_share)
    load = _load_of_line(row, stage)
    if load is None or not math.isfinite(row.utilisation.value):
        return
    full = stage.losses["full"].value + stage.losses["failure"].value if stage.servers is not None else 0.0
    mean, seen = min(1.0, load * (1 - full)), busy_of_up(row)
    chance = ERRORS * seen.value * math.sqrt(2 / count) if count > 0 else math.inf
    if abs(seen.value - mean) > BUSY_POINTS and _beyond(mean, seen, chance):
        yield Disagreement(window.name, row.stage, "utilisation", mean, seen)


def _of_rate(window: WindowRun, stage: str, mean_hz: float) -> Iterator[Disagreement]:
    seen = window.rate_out_hz
    scale = max(window.network.scales.values(), default=1.0)
    count = _counted(window, max(mean_hz, seen.value) / scale)
    chance = ERRORS * max(mean_hz, seen.value) / math.sqrt(count) if count > 0 else math.inf
    if abs(seen.value - mean_hz) > RATE_SHARE * mean_hz and _beyond(mean_hz, seen, chance):
        yield Disagreement(window.name, stage, "rate_out_hz", mean_hz, seen)


def _all_lost(stage: StageRates) -> float:
    lost = sum(share.value for share in stage.losses.values())
    return lost if lost > 1e-12 else 0.0


def _load_of_line(row: StageEvents, stage: StageRates) -> float | None:
    """Return the load that mean rates have for the element whose line is shown."""
    if row.line == stage.name:
        return None if stage.utilisation is None else stage.utilisation.value
    if row.line == f"{stage.name} link" and stage.link is not None:
        return None if stage.link.utilisation is None else stage.link.utilisation.value
    if " fragment " in row.line and stage.fragments is not None:
        return None if stage.fragments.utilisation is None else stage.fragments.utilisation.value
    return None


def _counted(window: WindowRun, rate_hz: float) -> float:
    """Return how many events of that rate the replications count together."""
    return rate_hz * sum(run.horizon_s - run.warm_up_s for run in window.runs)


def _loss_differs(mean: float, seen: Uncertain, count: float) -> bool:
    if not math.isfinite(seen.value) or max(mean, seen.value) <= LOSS_FACTOR * min(mean, seen.value):
        return False
    # as many losses as the larger of the two expects, counted one by one; a loss of one event is no proof
    chance = ERRORS * math.sqrt(max(mean, seen.value) * count + 1) / count if count > 0 else math.inf
    return _beyond(mean, seen, chance)


def _beyond(mean: float, seen: Uncertain, chance: float) -> bool:
    outside = not seen.lo <= mean <= seen.hi if seen.known else True
    return outside and abs(seen.value - mean) > chance
