"""The farm that is sought: what a plan knows of each alternative, and the loss of a farm of which a part is down."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from archcast.pipeline_services import resolve_services
from archcast.planning.pipeline_choices import Alternative, Buffers, Span
from archcast.planning.pipeline_file import FarmStudy
from archcast.planning.pipeline_loss import Part
from foundation.errors import BadValueError, UnknownNameError, nearest_names
from foundation.yaml_file import YamlDocument
from hardware_specs.pipeline_schema import PipelineSpec, StageSpec
from hardware_specs.pipelines import load_pipeline, read_pipeline
from simulator.pipelines.flows import flows_of
from simulator.pipelines.rates import mean_rates
from simulator.pipelines.services import ServiceTimes

CV2 = {"constant": 0.0, "exponential": 1.0}
SIGMAS, POINTS = 8.0, 33
"""Numbers of units that are down at random: this far from the mean, and at most so many of them are looked at."""


@dataclass(frozen=True)
class Site:
    """One alternative with all that its farms share. Times are of one batch on one server: (value, lo, hi), s."""

    name: str
    spec: PipelineSpec
    stage: StageSpec
    services: Mapping[str, ServiceTimes]
    rate_hz: float
    size_bytes: float
    service_s: tuple[float, float, float]
    cv: tuple[float, float, float]
    batch: int
    parts: Span
    servers: Span
    buffers: Buffers

    @property
    def times(self) -> ServiceTimes | None:
        """Return the cost model's times of the stage, where its service is a workload on a device."""
        return self.services.get(self.stage.name)

    @property
    def seeks_parts(self) -> bool:
        """Tell whether the number of parts is sought (else that of the servers of one)."""
        return len(self.parts) > 1

    @property
    def sought(self) -> Span:
        return self.parts if self.seeks_parts else self.servers

    @property
    def law(self) -> str:
        assert self.stage.service is not None
        return str(self.stage.service.law)


@dataclass(frozen=True)
class Stressed:
    """What is other than the file says: factors of rate and service time, cv, and the share that fails."""

    rate: float = 1.0
    service_s: float | None = None
    cv: float | None = None
    failing: float | None = None


AS_GIVEN = Stressed()


@dataclass(frozen=True)
class Farm:
    """One candidate. The buffer is that of one part: `places` waiting events, of `buffer_bytes` (None: places)."""

    site: Site
    parts: int
    servers: int
    places: int
    buffer_bytes: float

    @property
    def total(self) -> int:
        """Servers in all."""
        return self.parts * self.servers

    @property
    def buffer_total_bytes(self) -> float:
        return self.parts * self.buffer_bytes

    @property
    def label(self) -> str:
        """Return e.g. `17,800 parts of 256 servers`."""
        head = f"{self.site.name}: " if self.site.name else ""
        each = f"{self.servers:,} {'server' if self.servers == 1 else 'servers'}"
        return f"{head}{self.parts:,} parts of {each}" if self.parts > 1 else head + each

    def with_sought(self, count: int) -> Farm:
        return replace(self, parts=count) if self.site.seeks_parts else replace(self, servers=count)

    @property
    def sought(self) -> int:
        return self.parts if self.site.seeks_parts else self.servers

    @property
    def room(self) -> int:
        """Return how many services may wait: events, or batches beside the one that is being collected."""
        batch = self.site.batch
        return self.places if batch == 1 else max(0, self.places // batch - 1)

    def units_down(self, failing: float) -> int:
        """Return how many parts (of several) or servers (of one part) are down: a share, rounded up."""
        units = self.parts if self.parts > 1 else self.servers
        return math.ceil(failing * units - 1e-9)

    def part(self, down: int, stress: Stressed = AS_GIVEN) -> Part:
        """Return a part that is left when `down` units are not there."""
        site, several = self.site, self.parts > 1
        parts, servers = (self.parts - down, self.servers) if several else (1, self.servers - down)
        if parts < 1 or servers < 1:
            return Part(1, self.room, math.inf, site.service_s[0])
        cv = site.cv[0] if stress.cv is None else stress.cv
        hz = site.rate_hz * stress.rate / parts / site.batch
        return Part(
            servers, self.room, hz, stress.service_s or site.service_s[0], site.law,
            CV2.get(site.law, cv**2), 1 / (parts * site.batch),
        )  # fmt: skip


Adjust = Callable[[float], float]
"""From the loss in closed form to the one that events ask for."""


def as_it_is(loss: float) -> float:
    return loss


def loss_of(farm: Farm, study: FarmStudy, stress: Stressed = AS_GIVEN, adjust: Adjust = as_it_is) -> float:
    """Return the share of events lost with the failing share down, over the numbers that are down at random.

    Repairs are taken to last longer than a buffer remembers, so that each number down has its own steady state.
    """
    failing = study.failing if stress.failing is None else stress.failing
    down = farm.units_down(failing)
    units = (farm.parts if farm.parts > 1 else farm.servers) - down
    if study.failures is None:
        return _loss(farm, down, stress, adjust)
    total = 0.0
    for more, weight in _down_at_random(max(0, units), study.failures.down_share):
        total += weight * _loss(farm, down + more, stress, adjust)
    return min(1.0, total)


def _loss(farm: Farm, down: int, stress: Stressed, adjust: Adjust) -> float:
    part = farm.part(down, stress)
    return 1.0 if math.isinf(part.arrival_hz) else min(1.0, adjust(part.loss()))


@lru_cache(maxsize=4096)
def _down_at_random(units: int, share: float) -> tuple[tuple[int, float], ...]:
    """Return (units down, probability) of independent units, grouped where there are many."""
    spread = SIGMAS * math.sqrt(units * share * (1 - share)) + SIGMAS
    first, last = max(0, math.floor(units * share - spread)), min(units, math.ceil(units * share + spread))
    each = max(1, -(-(last - first + 1) // POINTS))
    middles = [min(low + each // 2, last) for low in range(first, last + 1, each)]
    weights = [math.exp(_log_binomial(units, share, k)) for k in middles]  # of a group: that of its middle
    total = math.fsum(weights)
    return tuple((k, weight / total) for k, weight in zip(middles, weights, strict=True))


def _log_binomial(n: int, p: float, k: int) -> float:
    if p <= 0 or p >= 1:
        return 0.0 if k == round(n * p) else -math.inf
    choose = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return choose + k * math.log(p) + (n - k) * math.log1p(-p)


def sites_of(study: FarmStudy, model: Any = None) -> tuple[Site, ...]:
    """Return the alternatives of a study. Raises BadFileError: a stage or name that is not there, a rate too high."""
    return tuple(_site(study, alternative, model) for alternative in study.choices.alternatives)


def _site(study: FarmStudy, alternative: Alternative, model: Any) -> Site:
    spec, folder = _spec(study, alternative)
    stage = _stage(study, spec)
    times = {name: one.times for name, one in resolve_services(spec, folder, model or study.cost_model).items()}
    rates = mean_rates(spec, times)
    flow = flows_of(rates)[stage.name]
    rate_hz = flow.rate_in_hz if study.rate_hz is None else study.rate_hz
    most = spec.beam.crossing_rate_hz.value if spec.beam is not None else rates.rate_in_hz.value
    if rate_hz > most * (1 + 1e-9):
        raise study.settings.fault(
            ("rate_hz",), f"{rate_hz:g} events a second are more than the machine's {most:g} crossings.",
            "Give the rate at the stage, in hertz or as text such as 750 kHz.",
        )  # fmt: skip
    service = stage.service
    assert service is not None
    size = 1 if stage.batch is None else stage.batch.size
    own = times.get(stage.name)
    cv = (0.0, 0.0, 0.0) if service.cv is None else (service.cv.value, service.cv.lo, service.cv.hi)
    parts = study.choices.parts or Span(stage.parts, stage.parts, values=(stage.parts,))
    servers = alternative.servers or study.choices.servers
    if servers is None:
        servers = Span(stage.servers or 1, stage.servers or 1, values=(stage.servers or 1,))
    if len(parts) > 1 and len(servers) > 64:
        raise study.settings.fault(
            ("choices", "servers"), f"{len(servers):,} numbers of servers besides a span of parts.",
            "Where parts are sought, list at most 64 numbers of servers.",
        )  # fmt: skip
    service_s = _service_s(stage, own, flow.size_in_bytes, size)
    buffers = study.choices.buffers or _buffers(study, stage)
    least = size * (flow.size_in_bytes if buffers.in_bytes else 1.0)
    if size > 1 and buffers.values[0] < least:
        what = f"{least:g} bytes" if buffers.in_bytes else f"{size} places"
        raise study.settings.fault(
            ("choices", "buffer_bytes" if buffers.in_bytes else "places"),
            f"a batch of the stage '{stage.name}' has {size} events, which wait together: at least {what}.",
        )  # fmt: skip
    return Site(
        alternative.name, spec, stage, times, rate_hz, flow.size_in_bytes, service_s,
        cv, size, parts, servers, buffers,
    )  # fmt: skip


def _spec(study: FarmStudy, alternative: Alternative) -> tuple[PipelineSpec, Path]:
    improved = alternative.improved_by if alternative.improved_by is not None else study.improved_by
    changes = {**study.changes, **alternative.settings}
    if improved is not None:
        changes["improved_by"] = list(improved)
    given = study.pipeline
    if isinstance(given, YamlDocument):
        return study.settings.at(("pipeline",), lambda: read_pipeline(given, changes)), study.folder
    name = given
    folder = Path(name).parent if Path(name).suffix else study.folder
    return study.settings.at(("pipeline",), lambda: load_pipeline(name, changes)), folder


def _stage(study: FarmStudy, spec: PipelineSpec) -> StageSpec:
    names = [stage.name for stage in spec.stages]
    at = ("stage",)
    if study.stage not in names:
        near = nearest_names(study.stage, names) or names
        hint = f"Stages of '{spec.id}': {', '.join(names)}."
        raise study.settings.fault(at, str(UnknownNameError("stage", study.stage, near)), hint)
    stage = spec.stage(study.stage)
    lacks = ""
    if stage.service is None:
        served = [one.name for one in spec.stages if one.service is not None]
        lacks = f"has no service, so no servers to seek. With one: {', '.join(served) or 'none'}."
    elif stage.speeds:
        lacks = "has servers of different speeds; a plan seeks equal ones. Leave `speeds` out."
    elif stage.duty is not None:
        lacks = "has a duty cycle; its buffer follows from `simulate` (buffer needed). Leave `duty` out."
    if lacks:
        raise study.settings.fault(at, f"the stage '{stage.name}' {lacks}")
    return stage


def _service_s(
    stage: StageSpec, times: ServiceTimes | None, size_bytes: float, batch: int
) -> tuple[float, float, float]:  # fmt: skip
    service = stage.service
    assert service is not None
    if service.workload is not None:
        if times is None:
            raise BadValueError(f"Stage '{stage.name}': no times of {service.workload} on {service.on} were given.")
        return times.of_batch(batch)
    if service.polynomial is not None:
        value, lo, hi = service.polynomial.at(size_bytes)
        return value * batch, lo * batch, hi * batch
    assert service.time_s is not None
    figure = service.time_s
    return figure.value * batch, figure.lo * batch, figure.hi * batch


def _buffers(study: FarmStudy, stage: StageSpec) -> Buffers:
    """Return the stage's own buffer where none is to be chosen."""
    if stage.buffer_bytes is not None:
        return Buffers(True, (stage.buffer_bytes.value,))
    if stage.places is not None:
        return Buffers(False, (float(stage.places),))
    raise study.settings.fault(
        ("choices",), f"the stage '{stage.name}' has no limit of its buffer and none is to be chosen.",
        "Give choices: {places: [0, 10, 100]}, or buffer_bytes.",
    )  # fmt: skip


def farm_of(site: Site, parts: int, servers: int, buffer: float) -> Farm:
    """Return the farm of a choice; `buffer` is in the unit of the site's buffers."""
    size = max(1.0, site.size_bytes)
    if site.buffers.in_bytes:
        return Farm(site, parts, servers, int(buffer / size), buffer)
    return Farm(site, parts, servers, int(buffer), buffer * size)
