"""Checks without chance: constant times, equal in whole ticks, and laws that hold in every run."""

from __future__ import annotations

from functools import partial

from simulator.queues import closed_forms as forms
from simulator.queues.arrivals import Periodic, Recorded
from simulator.queues.elements import (
    Batch,
    Delay,
    Element,
    Exit,
    Gate,
    Network,
    Outages,
    Service,
    Source,
    Station,
    to,
)  # fmt: skip
from simulator.queues.laws import Law
from simulator.queues.replications import Metric
from simulator.queues.statistics import NetworkRun
from simulator.queues.verification import TICKS_PER_SECOND, Check, Measure, exact, single

STAGES_S = (2.0, 3.5, 1.25)
ITEMS = 60
HORIZON_S = 1000.0


def _last(run: NetworkRun) -> float:
    """Return the tick of the end of the last item, of those that all come at 0."""
    return float(run.record.sojourns["exit"][-1])


def _first(run: NetworkRun) -> float:
    return float(run.record.sojourns["exit"][0])


def _busy(name: str, run: NetworkRun) -> float:
    return float(run.record.end.sums["busy_ticks"][run.at(name)])


def _ticks(what: str, metric: Metric, seconds: float) -> Measure:
    return Measure(f"{what} / ticks", metric, exact(float(round(seconds * TICKS_PER_SECOND))), 0.0)


def _check(name: str, form: str, items: int, elements: tuple[Element, ...], *measures: Measure) -> Check:
    """Return a check whose items all come at 0."""
    source = Source("source", Recorded((0.0,) * items), to(elements[0].name), size_bytes=Law("constant", 1000.0))
    network = partial(Network, (source, *elements, Exit("exit")), TICKS_PER_SECOND)
    return Check("Constant times", name, form, network, measures, items, items / HORIZON_S, 2, 0.0)


def _stages(servers: tuple[int, ...] = (1, 1, 1), room: int | None = None) -> tuple[Station, ...]:
    found = []
    for k, (time_s, lanes) in enumerate(zip(STAGES_S, servers, strict=True)):
        target = to(f"stage {k + 1}" if k + 1 < len(STAGES_S) else "exit")
        limits = room if k else None
        found.append(Station(f"stage {k}", Service((time_s,)), target, lanes, places=limits, when_full="block"))
    return tuple(found)


def pipelines() -> list[Check]:
    """Stages in a row: time to the end of all items, of the first one, and the work of each stage."""
    form = "latency + (n - 1) x slowest; latency = sum"
    found = []
    cases = (((1, 1, 1), None, "room between"), ((1, 1, 1), 0, "no room between (blocking)"),
             ((2, 3, 1), None, "2, 3 and 1 servers"))  # fmt: skip
    for servers, room, name in cases:
        times = forms.constant_pipeline(STAGES_S, servers, ITEMS)
        measures = [
            _ticks("end of the last item", _last, times.makespan_s),
            _ticks("end of the first item", _first, times.latency_s),
        ]
        measures += [
            _ticks(f"work of stage {k}", partial(_busy, f"stage {k}"), ITEMS * time_s)
            for k, time_s in enumerate(STAGES_S)
        ]
        text = form if max(servers) == 1 else "item by item"
        found.append(_check(f"3 stages, {name}", text, ITEMS, _stages(servers, room), *measures))
    return found


def links() -> list[Check]:
    """Bytes over a bandwidth, then a latency: items follow each other on the wire and overlap in the latency."""
    link = Station("link", Service((0.5e-3, 1.0e-6)), to("latency"))  # 0.5 ms a frame, 1 MB/s
    latency = Delay("latency", Service((0.25,)), to("exit"))
    last = _ticks("end of the last item", _last, ITEMS * 1.5e-3 + 0.25)
    return [_check("link: frames of 1,000 bytes, then 0.25 s", "n x (overhead + bytes / bandwidth) + latency", ITEMS,
                   (link, latency), last)]  # fmt: skip


def batches_and_credits() -> list[Check]:
    """Full batches; two credits for three stages, which allow two thirds of the rate."""
    batch = Station("batch", Service((1.0,)), to("exit"), batch=Batch(4, (1.0, 1.5, 2.0, 2.5)))
    # A batch station takes what waits at once: the first item goes alone.
    last_s = 1.0 + ((ITEMS - 1) // 4) * 2.5 + 2.0
    full = _check("batches of 4, 60 at once", "1 alone, 14 full ones, one of 3", ITEMS, (batch,),
                  _ticks("end of the last item", _last, last_s))  # fmt: skip
    gate = Gate("gate", 2, to("a"))
    a, b = (Station(name, Service((1.0,)), to(after)) for name, after in (("a", "b"), ("b", "c")))
    c = Station("c", Service((1.0,)), to("exit"), returns="gate")
    pair = _check("2 credits for 3 stages of 1 s", "n / 2 x 3 + 1", ITEMS, (gate, a, b, c),
                  _ticks("end of the last item", _last, ITEMS / 2 * 3 + 1.0))  # fmt: skip
    return [full, pair]


def duty_cycles() -> list[Check]:
    """A station that is on for 6 s of 10, fed at the rate that it can just serve."""
    outages = Outages(Law("constant", 6.0), Law("constant", 4.0), "finish", together=True)
    queue = Station("queue", Service((1.0,)), to("exit"), outages=outages)
    source = Source("source", Periodic(0.5, 0.25), to("queue"))
    measures = (
        Measure("share of time down", "queue.down_share", exact(0.4), 0.0),
        Measure("served / Hz", "queue.left_hz", exact(0.5), 0.0),
    )
    network = partial(Network, (source, queue, Exit("exit")), TICKS_PER_SECOND)
    return [Check("Constant times", "duty cycle, 6 s of 10 s", "5 items a cycle", network, measures, 500, 0.5, 2)]


def laws() -> list[Check]:
    """Little's law over a finite run, in ticks: the area under the number present is the sum of all stays."""

    def ratio(run: NetworkRun) -> float:
        at = run.at("queue")
        stays = int(run.record.sojourns["exit"].sum()) + int(run.record.present_since[at])
        return int(run.record.end.sums["area_present"][at]) / stays

    little = Measure("area / stays", ratio, exact(1.0), 0.0)
    found = []
    for name, network in (
        ("M/M/1, load 0.95", partial(single, 0.95)),
        ("M/M/4/6", partial(single, 4.0, servers=4, places=2)),
    ):
        found.append(Check("Laws of every run", f"Little's law, {name}", "integral of the number = sum of the stays",
                           network, (little,), 4_000, 0.95 if "/1" in name else 4.0, 10))  # fmt: skip
    return found


def exact_checks() -> list[Check]:
    """Return all checks of this file."""
    return [*pipelines(), *links(), *batches_and_credits(), *duty_cycles(), *laws()]
