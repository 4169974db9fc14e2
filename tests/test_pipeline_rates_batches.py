"""Batches in the mean against events of the same description, and against numbers worked out by hand."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
from test_pipeline_rates import one

from hardware_specs.pipelines import read_pipeline
from simulator.pipelines.flows import flows_of
from simulator.pipelines.rates import mean_rates
from simulator.pipelines.rates_batches import BatchLine
from simulator.pipelines.services import ServiceTimes
from simulator.pipelines.window_run import run_window
from simulator.queues.closed_batches import bulk_service

_TIMES = tuple(1e-3 + i * 1e-4 for i in range(16))
MODEL = ServiceTimes(_TIMES, _TIMES, _TIMES)
"""1 ms for one event, 0.1 ms more for each other."""


def both(stage: dict[str, Any], rate_hz: float, horizon_s: float) -> tuple[float, float, float, float]:
    """Return (wait, latency) of mean rates and (wait, latency) of events, in seconds."""
    data = {
        "id": "x", "name": "x", "kind": "pipeline",
        "detectors": [{"name": "D", "to": "A", "size_bytes": "1 kB", "rate_hz": f"{rate_hz} Hz"}],
        "stages": [{"name": "A", "kind": "farm", **stage}, {"name": "Z", "kind": "storage", "inputs": ["A"]}],
        "events": [{"name": "w", "stages": ["A"], "horizon_s": horizon_s, "warm_up_s": horizon_s / 10}],
    }  # fmt: skip
    spec = read_pipeline(data)
    services = {"A": MODEL} if "workload" in stage["service"] else {}
    found = mean_rates(spec, services)
    run = run_window(spec, spec.events[0], flows_of(found), services, seed=1, replications=2)
    wait_s, latency_s = found.stage("A").wait_s, found.latency_s
    assert wait_s is not None
    assert latency_s is not None
    return wait_s.value, latency_s.value, run.stages["A"].mean_wait_s.value, run.latency_s["mean"].value


LINEAR = {"service": {"time_s": "0.5 ms"}}
BUSY = {"service": {"time_s": "0.9 ms"}}
FIXED = {"service": {"workload": "m.onnx", "on": "gpu"}}


@pytest.mark.parametrize(
    ("stage", "rate_hz", "horizon_s"),
    [
        ({**LINEAR, "batch": {"size": 10, "max_wait_s": 0}}, 1e3, 20),
        ({"service": {"time_s": "0.95 ms"}, "batch": {"size": 10, "max_wait_s": 0}}, 1e3, 40),
        ({**LINEAR, "batch": {"size": 10}}, 1e3, 20),
        ({**BUSY, "batch": {"size": 10}}, 1e3, 40),
        ({**LINEAR, "batch": {"size": 10, "max_wait_s": "2 ms"}}, 1e3, 20),
        ({**BUSY, "batch": {"size": 10, "max_wait_s": "2 ms"}}, 1e3, 40),
        ({**FIXED, "batch": {"size": 16, "max_wait_s": 0}}, 5e3, 4),
        ({**FIXED, "batch": {"size": 16, "max_wait_s": "1 ms"}}, 5e3, 4),
        ({**FIXED, "servers": 2, "batch": {"size": 16, "max_wait_s": 0}}, 9e3, 4),
        ({"service": {"time_s": "0.8 ms", "law": "exponential"}, "servers": 1, "batch": {"size": 8}}, 1e3, 40),
        ({"service": {"time_s": "3.2 ms"}, "servers": 4, "batch": {"size": 8, "max_wait_s": "3 ms"}}, 1e3, 20),
        ({"service": {"time_s": "3.2 ms"}, "servers": 1, "parts": 4, "batch": {"size": 8}}, 1e3, 40),
    ],
)  # fmt: skip
def test_waits_and_latencies_of_batches_are_those_of_events(
    stage: dict[str, Any], rate_hz: float, horizon_s: float
) -> None:
    wait_s, latency_s, events_wait_s, events_latency_s = both(stage, rate_hz, horizon_s)
    assert wait_s == pytest.approx(events_wait_s, rel=0.25)
    assert latency_s == pytest.approx(events_latency_s, rel=0.2)


def test_a_batch_that_must_be_full_waits_for_its_events() -> None:
    # so fast that no batch waits for another: (10 - 1) / 2 gaps of 1 ms
    stage = one(service={"time_s": "1 us"}, batch={"size": 10})
    assert stage.wait_s is not None
    assert stage.wait_s.value == pytest.approx(4.5e-3, rel=1e-6)
    assert stage.servers is not None
    assert stage.servers.batch == 10


def test_a_free_server_that_does_not_wait_takes_one_event_at_light_load() -> None:
    stage = one(service={"time_s": "1 us"}, batch={"size": 10, "max_wait_s": 0})
    assert stage.wait_s is not None
    # M/D/1 at 0.001
    assert stage.wait_s.value == pytest.approx(0.5e-6 * 0.001, rel=2e-3)
    assert stage.servers is not None
    assert stage.servers.batch == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("load", [0.3, 0.7, 0.9, 0.95])
@pytest.mark.parametrize("fixed_s", [0.0, 0.5e-3, 0.9e-3])
def test_without_a_wait_the_means_are_nearly_those_of_bulk_service(load: float, fixed_s: float) -> None:
    times = [fixed_s + (1e-3 - fixed_s) * n for n in range(1, 9)]
    rate_hz = load * 8 / times[-1]
    found = BatchLine(1, 8, 0.0, lambda n: times[n - 1]).means(rate_hz)
    exact = bulk_service(rate_hz, times, 8, 1, "constant")
    assert found.wait_s == pytest.approx(exact.wait_s, rel=0.15)
    assert found.wait_s + found.service_s == pytest.approx(exact.response_s, rel=0.2)
    assert found.batch == pytest.approx(exact.batch, rel=0.16)


def test_batches_never_wait_without_end_below_saturation() -> None:
    for load in (0.5, 0.9, 0.99, 0.999):
        for wait_s in (None, 0.0, 1e-3):
            for servers in (1, 4):
                line = BatchLine(servers, 64, wait_s, lambda n: 1e-3 + 1e-5 * n)
                found = line.means(load * 64 * servers / 1.64e-3)
                assert math.isfinite(found.wait_s)
                assert 1 <= found.batch <= 64
    assert math.isinf(BatchLine(1, 64, 0.0, lambda n: 1e-3).means(64e3).wait_s)


def test_an_overloaded_batch_server_with_places_loses_the_excess() -> None:
    line = BatchLine(1, 10, 0.0, lambda n: 1.2e-3 * n, places=50)
    assert line.means(1000.0).loss == pytest.approx(1 - 1 / 1.2, rel=1e-3)


def test_a_stage_with_batches_takes_milliseconds() -> None:
    took = []
    for time_s in ("0.88 ms", "0.89 ms", "0.9 ms"):
        before = time.perf_counter()
        one(service={"time_s": time_s}, batch={"size": 16, "max_wait_s": 0})
        took.append(time.perf_counter() - before)
    assert min(took) < 0.05
