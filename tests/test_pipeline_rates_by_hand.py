"""Mean rates against numbers worked out by hand: links into builders, credits, duty cycles, and bounds of ranges."""

from __future__ import annotations

import math
import time

import pytest
from test_pipeline_rates import one, pipeline

from foundation.errors import BadValueError
from hardware_specs.pipelines import load_pipeline
from simulator.pipelines.rates import mean_rates
from simulator.pipelines.rates_rules import refused_share

# ---- links


def test_a_link_into_a_builder_carries_a_fragment_on_each_of_its_lanes() -> None:
    link = {"bandwidth_bytes_per_s": "100 kB/s", "lanes": 10, "latency_s": "2 ms"}
    carried = pipeline({"name": "A", "link": link}, {"name": "B", "fragments": 5}, rate_hz=500).links[-1]
    # 1000 bytes / 5 fragments at 100 kB/s x 10 / 5 lanes: 1 ms; M/D/1 at 0.5 waits half a service
    assert carried.latency_s.value == pytest.approx(2e-3 + 1e-3)
    assert carried.wait_s is not None
    assert carried.wait_s.value == pytest.approx(0.5e-3)


def test_packets_take_their_events_together_and_wait_until_they_are_full() -> None:
    link = {"bandwidth_bytes_per_s": "1 MB/s", "lanes": 10, "latency_s": "2 ms"}
    found = pipeline({"name": "A", "link": link}, {"name": "B", "fragments": 10, "events_per_packet": 20})
    # 20 events of 100 bytes a lane at 1 MB/s; the mean event waits for 9.5 of 1 ms
    assert found.links[-1].latency_s.value == pytest.approx(2e-3 + 2e-3)
    assert found.stage("B").latency_s.value == pytest.approx(9.5e-3)
    # packets come at even gaps (squared cv 1/20), every 20 ms: nearly none waits for another
    assert found.links[-1].wait_s is not None
    assert found.links[-1].wait_s.value < 1e-4


def test_the_readout_of_cms_at_pile_up_200_sends_an_event_over_all_its_lanes() -> None:
    spec = load_pipeline("cms-run5-pu200")
    found = mean_rates(spec)
    link = spec.stage("Readout").link
    assert link is not None
    assert link.bandwidth_bytes_per_s is not None
    assert link.latency_s is not None
    packed = spec.stage("Builder").events_per_packet
    size_bytes = found.stage("Readout").size_out_bytes.value
    by_hand = link.latency_s.value + packed * size_bytes / link.lanes / link.bandwidth_bytes_per_s.value
    carried = found.stage("Readout").link
    assert carried is not None
    assert carried.latency_s.value == pytest.approx(by_hand)
    assert by_hand < 120e-6  # the whole event over one lane would be 694 us


def test_credits_are_those_of_all_lanes_together() -> None:
    link = {"bandwidth_bytes_per_s": "100 MB/s", "latency_s": "1 ms", "frame_bytes": "10 kB", "credits": 4, "lanes": 3}
    carried = pipeline({"name": "A", "link": link}).links[-1]
    assert carried.capacity_bytes_per_s is not None
    assert carried.capacity_bytes_per_s.value == pytest.approx(4 * 10_000 / (2e-3 + 1e-4))
    many = pipeline({"name": "A", "link": {**link, "credits": 400}}).links[-1].capacity_bytes_per_s
    assert many is not None
    assert many.value == pytest.approx(3 * 100e6)


def test_what_leaves_an_overloaded_link_is_what_it_carries() -> None:
    found = pipeline({"name": "A", "link": {"bandwidth_bytes_per_s": "500 kB/s", "energy_per_bit_j": "1 nJ/bit"}},
                     {"name": "B"})  # fmt: skip
    link = found.links[-1]
    assert link.utilisation is not None
    assert link.utilisation.value == pytest.approx(2)
    assert found.unstable == ("A link",)
    assert found.stage("A").rate_out_hz.value == found.rate_out_hz.value == pytest.approx(500)
    assert found.stage("A").backlog_hz == pytest.approx(500)
    assert link.power_w.value == pytest.approx(500e3 * 8e-9)
    assert found.latency_s is None


def test_a_link_waits_in_its_own_places_and_only_once() -> None:
    # M/D/1 with 5 places at 0.8 in ms: a chain at the ends of services gives a wait that events confirm, 1.13 ms
    found = pipeline(
        {"name": "A", "places": 5, "link": {"bandwidth_bytes_per_s": "1.25 MB/s", "latency_s": "1 ms"}}, {"name": "B"}
    )  # fmt: skip
    queue = one(service={"time_s": "0.8 ms"}, servers=1, places=5)
    link = found.links[-1]
    assert queue.wait_s is not None
    assert link.wait_s is not None
    assert link.wait_s.value == pytest.approx(queue.wait_s.value)
    assert found.stage("A").losses["full"].value == pytest.approx(queue.losses["full"].value)
    assert found.latency_s is not None
    assert found.latency_s.value == pytest.approx(1.8e-3 + queue.wait_s.value)
    assert found.latency_s.value == pytest.approx(2.93e-3, rel=5e-3)


def test_a_link_that_blocks_loses_nothing() -> None:
    link = {"bandwidth_bytes_per_s": "1.25 MB/s"}
    stage = pipeline({"name": "A", "places": 2, "when_full": "block", "link": link}, {"name": "B"}).stage("A")
    assert stage.losses["full"].value == 0
    assert stage.rate_out_hz.value == 1000


# ---- duty cycles


def test_events_that_find_the_buffer_full_during_a_stop_do_not_count_in_the_wait() -> None:
    stage = one(service={"time_s": "0.2 ms"}, servers=1, places=400, duty={"on_s": 0.5, "period_s": 1})
    # up to 400 in 0.4 s: 80; full for 0.1 s: 40; down at 4 kHz in 0.1 s: 20 event seconds; 900 of 1000 are kept
    assert stage.losses["full"].value == pytest.approx(0.1)
    assert stage.wait_s is not None
    assert stage.wait_s.value == pytest.approx(140 / 900, rel=2e-3)


# ---- rules


def test_rules_too_large_to_compute_are_refused_in_one_sentence() -> None:
    for rules, mask in (([(10_000, 20_000)], [True, False]), ([(1, 3), (10, 10**9)], [True])):
        before = time.perf_counter()
        with pytest.raises(BadValueError, match=r"trigger rule of .* cannot be computed"):
            refused_share(0.1, 1.0, rules, mask)
        assert time.perf_counter() - before < 0.5
    assert math.isfinite(refused_share(0.01, 1.0, [(1, 3), (64, 5000)], [True, False]))


# ---- bounds


@pytest.mark.parametrize("name", ["cms-run5-pu200", "atlas-phase2"])
def test_no_more_relevant_events_are_kept_than_come(name: str) -> None:
    found = mean_rates(load_pipeline(name))
    physics = found.physics
    assert physics is not None
    kept = 1.0
    for stage in found.stages:
        kept *= 1.0 if stage.selection is None else stage.selection.relevant_pass
    assert 0 < physics.recall.lo <= physics.recall.value <= physics.recall.hi < 1
    if name == "cms-run5-pu200":  # its reductions and classifiers are exact, so that losses alone make the range
        assert physics.recall.hi <= kept


def test_a_farm_never_takes_more_than_all_of_its_servers_busy() -> None:
    idle = {"value": "1 kW", "range": ["0.2 kW", "2 kW"], "estimated": True}
    busy = {"value": "3 kW", "range": ["2.9 kW", "3.5 kW"], "estimated": True}
    found = pipeline({"name": "A", "service": {"time_s": "8 ms"}, "servers": 10, "idle_power_w": idle,
                      "busy_power_w": busy})  # fmt: skip
    # idle + (busy - idle) x 0.8 at each end
    assert (found.power_w.value, found.power_w.lo, found.power_w.hi) == pytest.approx((26e3, 23.6e3, 32e3))
    for part in found.stage("A").power_w.values():
        assert part.lo <= part.value <= part.hi
    o2 = mean_rates(load_pipeline("alice-o2"))
    assert o2.power_w.hi < 250 * 3.5e3


def test_power_and_price_without_any_figure_are_not_known() -> None:
    unknown = pipeline({"name": "A", "service": {"time_s": "0.1 ms"}})
    answer = unknown.to_json()
    assert answer["power_w"] is answer["unscaled_power_w"] is answer["price_usd"] is None
    assert not unknown.power_known
    assert not unknown.price_known
    free = pipeline({"name": "A", "service": {"time_s": "0.1 ms"}, "energy_per_event_j": "0 J", "price_usd": "0 USD"})
    assert free.to_json()["power_w"] == free.to_json()["price_usd"] == {"value": 0, "lo": 0, "hi": 0}
