"""What text, page and trace of a pipeline say of each stage: load, loss, power, and words for numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from archcast.render.human import digits, percent, text, unit_of
from simulator.intervals import Uncertain
from simulator.pipelines.events import DONE
from simulator.queues.elements import Gate, Station

if TYPE_CHECKING:
    from archcast.pipeline import Pipeline
    from hardware_specs.pipeline_schema import DetectorSpec, PipelineSpec
    from simulator.pipelines.rates_results import StageRates
    from simulator.pipelines.window_run import StageEvents, WindowRun

CAUSE_WORDS = {
    "full": "no place left", "failure": "a server failed", "rule": "trigger rules", "dead_time": "dead time",
    "part": "a part of it was lost", "blocked": "the source cannot wait",
}  # fmt: skip
RULES_OF_WINDOWS = "trigger rules and dead time"
"""Events count both as one cause."""
PART_WORDS = {
    "link": "links", "operations": "operations", "services": "services", "servers_idle": "servers, idle",
    "servers_busy": "servers, more while busy", "detectors": "detectors",
}  # fmt: skip


OVERLOAD = "overload:"
"""With this begin the warnings of mean rates that are said as a verdict, not as a note."""

LEAST_LOSS = 1e-12
"""A smaller share is no loss that anyone could see: less than one event of a year at 30 kHz."""


class Spanned(Protocol):
    """A number with bounds: a range of the figures, or an interval over events."""

    @property
    def value(self) -> float: ...
    @property
    def lo(self) -> float: ...
    @property
    def hi(self) -> float: ...


@dataclass(frozen=True)
class StageRow:
    """A stage in the mean. Power is after technology scaling and has that of the stage's link. Load is that of its
    servers, else of the links that bring its fragments; `link_load` is of the link that leaves it (NaN: has none)."""

    rates: StageRates
    load: float
    link_load: float
    loss_share: float
    power_w: float

    @property
    def name(self) -> str:
        return self.rates.name

    @property
    def overloaded(self) -> bool:
        return self.load >= 1

    @property
    def link_overloaded(self) -> bool:
        return self.link_load >= 1


def stage_rows(answer: Pipeline) -> list[StageRow]:
    """Return the stages such that each comes after its inputs."""
    return [_row(stage, answer.rates.scaling.value) for stage in answer.rates.stages]


def _row(stage: StageRates, factor: float) -> StageRow:
    own, link = stage.utilisation, None if stage.link is None else stage.link.utilisation
    if own is None and stage.fragments is not None:
        own = stage.fragments.utilisation
    load, link_load = (math.nan if each is None else each.value for each in (own, link))
    parts = [part.value for part in stage.power_w.values()]
    power = sum(parts) + (0.0 if stage.link is None else stage.link.power_w.value)
    return StageRow(stage, load, link_load, lost_share(stage), power / factor)


def lost_share(stage: StageRates) -> float:
    """Return the share of the wanted events that a stage loses: of what comes before its decision, of what it accepts
    after; a backlog is not lost."""
    before = stage.losses["failure"].value + (stage.losses["full"].value if stage.servers is not None else 0.0)
    after = stage.losses["rule"].value + stage.losses["dead_time"].value
    after += stage.losses["full"].value if stage.servers is None else 0.0
    chosen_hz = stage.rate_out_hz.value + after * stage.rate_in_hz.value
    kept = stage.rate_out_hz.value / chosen_hz if chosen_hz > 0 else 1.0
    lost = 1 - (1 - before) * kept
    return lost if lost > LEAST_LOSS else 0.0


def chain_loss_share(rows: list[StageRow]) -> float:
    """Return the share of the wanted events that the whole chain loses."""
    return -math.expm1(sum(math.log1p(-min(row.loss_share, 1 - 1e-16)) for row in rows))


def detector_bytes_per_s(spec: PipelineSpec, detector: DetectorSpec) -> float:
    """Return what all units of a detector send, without framing."""
    kept = 1.0 if detector.compression is None else 1 - detector.compression.value
    return spec.rate_of(detector) * detector.size_bytes.value * kept * detector.count


def detectors_power_w(answer: Pipeline) -> float:
    """Return the power of the detectors and their links, after technology scaling."""
    own = {f"{detector.name} link" for detector in answer.spec.detectors}
    stages = {stage.link.name for stage in answer.rates.stages if stage.link is not None}
    links = sum(link.power_w.value for link in answer.rates.links if link.name in own - stages)
    return (links + answer.rates.detector_power_w.value) / answer.rates.scaling.value


def servers_and_room(window: WindowRun, stage: str) -> tuple[int, float]:
    """Return how many servers the shown line of a stage has (0: none), and how many events may wait (inf: no limit)."""
    line = window.stages[stage].line
    element = next((each for each in window.network.network.elements if each.name == line), None)
    if isinstance(element, Station):
        rooms = [math.inf if element.places is None else float(element.places)]
        if element.places_bytes is not None:
            # an item of the network keeps the size at which it entered
            rooms.append(math.floor(element.places_bytes / window.network.entry_bytes))
        return element.servers, min(rooms)
    if isinstance(element, Gate):
        return 0, math.inf if element.places is None else float(element.places)
    return 0, math.inf


def busy_of_up(row: StageEvents) -> Uncertain:
    """Return the busy time of a stage's servers over the time that they are up."""
    up = 1 - row.down_share.value if math.isfinite(row.down_share.value) else 1.0
    busy = row.utilisation
    return Uncertain(busy.value / up, busy.lo / up, busy.hi / up) if up > 0 else Uncertain(math.nan)


def kept_events(window: WindowRun) -> int:
    """Return how many kept events the quantiles of a window's latency rest on, in all replications."""
    return sum(len(run.sojourn_s(DONE)) for run in window.runs)


def shares_where_lost(window: WindowRun, stage: str) -> dict[str, float]:
    """Return, by cause, the share that a stage loses of the events that reach the place where they are lost."""
    found: dict[str, float] = {}
    for step in window.network.steps[stage]:
        if " fragment " in step:
            continue
        rows = [run.element(step) for run in window.runs]
        for cause in window.stages[stage].lost_by_cause:
            shares = [row.loss_shares[cause] for row in rows]
            mean = sum(share for share in shares if math.isfinite(share)) / len(shares)
            found[cause] = 1 - (1 - found.get(cause, 0.0)) * (1 - mean)
    return found


def mean_shares_where_lost(stage: StageRates) -> dict[str, float]:
    """Return the same in mean rates: rules and dead time see accepted events, a buffer without servers what they
    leave."""
    came = stage.rate_in_hz.value
    lost = {cause: share.value * came for cause, share in stage.losses.items()}
    after = stage.rate_out_hz.value
    reach = {"failure": came, "full": came}
    if stage.servers is None:
        after += lost["full"]
        reach["full"] = after
    reach |= dict.fromkeys(("rule", "dead_time"), after + lost["rule"] + lost["dead_time"])
    return {cause: rate / reach[cause] if reach[cause] > 0 else 0.0 for cause, rate in lost.items()}


def share_words(share: float) -> str:
    """Return a share that may be tiny: `0`, `1.8e-06`, `0.018 %`, `3.2 %`."""
    if not math.isfinite(share):
        return "-"
    if share == 0:
        return "0"
    if share < 1e-5:
        return f"{share:.1e}"
    return f"{float(f'{100 * share:.2g}'):g} %" if share < 0.001 else percent(share)


def words(value: float | None, kind: str) -> str:
    """Return a number with its unit, `-` where none is known."""
    return text(value, kind) if value is not None and math.isfinite(value) else "-"


def span_words(number: Spanned, kind: str) -> str:
    """Return `lo to hi unit`, nothing where there is no width."""
    if not (math.isfinite(number.lo) and math.isfinite(number.hi)) or number.lo == number.hi:
        return ""
    factor, unit = unit_of(number.value or number.hi, kind)
    if number.hi > 1e4 * factor:
        factor, unit = unit_of(number.hi, kind)
    if 0 < number.lo < 0.005 * factor:
        return f"{text(number.lo, kind)} to {text(number.hi, kind)}"  # too far apart for one unit
    low, high = digits(number.lo / factor), digits(number.hi / factor)
    return "" if low == high else f"{low} to {high} {unit}".strip()


def unstable_words(answer: Pipeline) -> list[str]:
    """Return a sentence for each stage or link that cannot keep up, and one for each run that stood still."""
    rates = answer.rates
    faults = [fault for stage in rates.stages if stage.unstable for fault in stage.faults if fault.startswith(OVERLOAD)]
    found = [fault.removeprefix(OVERLOAD).strip() for fault in faults]
    found += [
        f"the link '{link.name}' is offered {digits(link.utilisation.value)} times its bandwidth."
        for link in rates.links
        if link.unstable and link.utilisation is not None
    ]
    found, said = [tidied(f"{fault[0].upper()}{fault[1:]}") for fault in found], " ".join(found)
    for window in answer.windows:
        for name in window.unstable:
            if f"'{name}'" not in said:
                found.append(f"In window '{window.name}' the line of '{name}' grows as long as the run lasts.")
        held = sorted({name for run in window.runs for name in run.deadlock})
        if held:
            found.append(f"In window '{window.name}' nothing moves any more: {', '.join(held)} block each other.")
    return found


def tidied(sentence: str) -> str:
    """Return a sentence whose numbers read well: `1,550` for `1.55e+03`, `396,845` for `396845`; names stay."""
    parts = sentence.split("'")
    for i in range(0, len(parts), 2):
        spelt = re.sub(r"(?<![\w.])\d(?:\.\d+)?e\+0?\d\b", lambda found: digits(float(found.group())), parts[i])
        parts[i] = re.sub(r"(?<![\w.,])\d{5,}(?![\w.]*\w)", lambda found: f"{int(found.group()):,}", spelt)
    return "'".join(parts)


def notes_of(answer: Pipeline) -> list[str]:
    """Return the notes without those that the verdict says."""
    return [tidied(note) for note in answer.notes if not note.startswith(OVERLOAD)]


def relevant_per_kilojoule(answer: Pipeline) -> float:
    """Return F1 x output rate a kilowatt, as the published study counts it; NaN without classifiers or power."""
    physics = answer.rates.physics
    return math.nan if physics is None else 1e3 * physics.relevant_per_joule.value


def place_words(answer: Pipeline, place: Sequence[str | int]) -> str:
    """Return where a figure stands, with names in place of numbers: `stages.HLT.servers`."""
    found: list[str] = []
    for index, part in enumerate(place):
        if part == "counts":
            continue
        before = place[index - 1] if index else ""
        if isinstance(part, int) and index == 1 and before in ("stages", "detectors", "events"):
            found.append(str(getattr(answer.spec, str(before))[part].name))
        else:
            found.append(str(part))
    return ".".join(found)
