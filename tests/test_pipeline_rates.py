"""Mean rates of pipelines: chains computed by hand, losses against their laws, and sums that hold everywhere."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.errors import BadValueError
from hardware_specs.pipelines import load_pipeline, pipeline_ids, read_pipeline
from simulator.pipelines.rates import mean_rates
from simulator.pipelines.rates_queues import Line, overload_share, servers_for_load
from simulator.pipelines.rates_ranges import Range
from simulator.pipelines.rates_results import PipelineRates, StageRates
from simulator.pipelines.rates_rules import refused_share
from simulator.pipelines.services import ServiceTimes
from simulator.pipelines.technology import technology_scaling

Stage = dict[str, Any]


def pipeline(
    *stages: Stage, services: Mapping[str, ServiceTimes] | None = None, rate_hz: float = 1000.0, **more: Any
) -> PipelineRates:
    """The mean rates of a chain: each stage feeds the next, one detector of 1000 bytes feeds the first."""
    chain = [
        {"kind": "buffer", **({"inputs": [stages[i - 1]["name"]]} if i else {}), **stage}
        for i, stage in enumerate(stages)
    ]
    detector = {"name": "detector", "to": stages[0]["name"], "size_bytes": "1000 B", "rate_hz": f"{rate_hz} Hz"}
    data = {"id": "test", "name": "test", "kind": "pipeline", "detectors": [detector], "stages": chain, **more}
    return mean_rates(read_pipeline(data), services)


def one(**fields: Any) -> StageRates:
    rate_hz = fields.pop("rate_hz", 1000.0)
    return pipeline({"name": "A", **fields}, rate_hz=rate_hz).stage("A")


# ---- chains by hand


def test_a_chain_of_two_stages_is_the_sum_by_hand() -> None:
    data = {
        "id": "two",
        "name": "two",
        "kind": "pipeline",
        "detectors": [
            {"name": "x", "to": "merge", "size_bytes": "600 B", "rate_hz": "1 kHz", "count": 2,
             "compression": 0.5, "link": {"energy_per_bit_j": "10 pJ/bit"}},
            {"name": "y", "to": "merge", "size_bytes": "400 B", "rate_hz": "1 kHz",
             "energy_per_operation_j": "2 mJ/OP"},
        ],
        "stages": [
            {"name": "merge", "kind": "merge", "own_bytes": "100 B", "link": {"energy_per_bit_j": "20 pJ/bit"}},
            {"name": "trigger", "kind": "trigger", "inputs": ["merge"], "reduction": 10, "compression": 0.2,
             "operations": {"coefficients": [3, 0.01]}, "operations_factor": 0.5, "energy_per_operation_j": "1 J/OP",
             "link": {"energy_per_bit_j": "40 pJ/bit"}},
        ],
    }  # fmt: skip
    found = mean_rates(read_pipeline(data))
    trigger = found.stage("trigger")
    # 2 x 600 x 0.5 + 400 + 100 = 1100 bytes; 1000 Hz in, 100 Hz out, 880 bytes out
    assert trigger.size_in_bytes.value == pytest.approx(1100)
    assert (trigger.rate_in_hz.value, trigger.rate_out_hz.value) == (1000, 100)
    assert trigger.size_out_bytes.value == pytest.approx(880)
    assert found.throughput_bytes_per_s.value == pytest.approx(88_000)
    parts = found.power_by_part_w
    assert parts["operations"].value == pytest.approx(0.5 * (3 + 11) * 1000)
    assert parts["detectors"].value == pytest.approx(2)
    links = 8 * (600 * 1000 * 10e-12 + 1100 * 1000 * 20e-12 + 880 * 100 * 40e-12)
    assert parts["link"].value == pytest.approx(links)
    assert found.unscaled_power_w.value == found.power_w.value == pytest.approx(7000 + 2 + links)


def test_latency_adds_up_along_the_longest_way() -> None:
    data = {
        "id": "ways",
        "name": "ways",
        "kind": "pipeline",
        "detectors": [
            {"name": "x", "to": "slow", "size_bytes": "1 kB", "rate_hz": "10 Hz"},
            {"name": "y", "to": "fast", "size_bytes": "1 kB", "rate_hz": "10 Hz"},
        ],
        "stages": [
            {"name": "slow", "kind": "delay", "latency_s": "3 s"},
            {"name": "fast", "kind": "delay", "latency_s": "1 s"},
            {"name": "end", "kind": "storage", "inputs": ["slow", "fast"], "latency_s": "0.5 s",
             "service": {"time_s": "1 ms", "law": "exponential"}, "servers": 1},
        ],
    }  # fmt: skip
    found = mean_rates(read_pipeline(data))
    assert found.latency_s is not None
    # M/M/1 at 0.01: response = service / (1 - rho)
    assert found.latency_s.value == pytest.approx(3.5 + 1e-3 / 0.99)
    assert found.stage("end").size_in_bytes.value == 2000


def test_servers_take_idle_and_busy_power_and_cost_their_price() -> None:
    stage = one(service={"time_s": "2 ms"}, servers=4, parts=2, idle_power_w="100 W", busy_power_w="300 W",
                price_usd="50 USD", energy_per_event_j="10 mJ")  # fmt: skip
    # 500 Hz a part x 2 ms / 4 = 0.25 busy
    assert stage.utilisation is not None
    assert stage.utilisation.value == pytest.approx(0.25)
    assert stage.power_w["servers_idle"].value == pytest.approx(8 * 100)
    assert stage.power_w["servers_busy"].value == pytest.approx(8 * 0.25 * 200)
    assert stage.power_w["services"].value == pytest.approx(10)
    assert stage.price_usd.value == 400


def test_ranges_of_figures_reach_the_power() -> None:
    energy = {"value": "1 mJ/OP", "range": ["0.5 mJ/OP", "2 mJ/OP"], "estimated": True}
    size = {"coefficients": [0, 1]}
    found = pipeline({"name": "A", "operations": size, "energy_per_operation_j": energy})
    assert (found.power_w.value, found.power_w.lo, found.power_w.hi) == pytest.approx((1000, 500, 2000))


# ---- loads, waits, losses


def mmck_by_chain(load: float, servers: int, waiting: int) -> float:
    """Loss of M/M/c/K from the balance of its states."""
    weights = [1.0]
    for n in range(1, servers + waiting + 1):
        weights.append(weights[-1] * load / min(n, servers))
    return weights[-1] / math.fsum(weights)


@given(st.integers(1, 12), st.integers(0, 20), st.floats(0.05, 3.0))
@settings(deadline=None)
def test_exponential_servers_lose_what_the_chain_of_states_says(servers: int, places: int, load: float) -> None:
    stage = one(service={"time_s": f"{load * servers} ms", "law": "exponential"}, servers=servers, places=places)
    assert stage.losses["full"].value == pytest.approx(mmck_by_chain(load * servers, servers, places), rel=1e-9)


def test_a_farm_without_places_loses_by_erlang_whatever_its_law() -> None:
    for law in ({"law": "constant"}, {"law": "lognormal", "cv": 2}):
        stage = one(service={"time_s": "8 ms", **law}, servers=10, places=0)
        assert stage.losses["full"].value == pytest.approx(mmck_by_chain(8.0, 10, 0))


def test_derandomizers_lose_the_reference_values() -> None:
    # daq.md B: continuous M/D/1/8 at 0.9 = 2.726 %, M/D/1/16 = 0.434 %; places are those to wait in
    for places, expected in ((7, 0.02726), (15, 0.00434)):
        stage = one(service={"time_s": "0.9 ms"}, servers=1, places=places)
        assert stage.losses["full"].value == pytest.approx(expected, rel=2e-3)


def test_bytes_limit_the_places_as_well() -> None:
    by_bytes = one(service={"time_s": "0.9 ms"}, servers=1, buffer_bytes="7999 B")
    by_places = one(service={"time_s": "0.9 ms"}, servers=1, places=7)
    assert by_bytes.losses["full"].value == by_places.losses["full"].value > 0


def test_a_stage_at_or_over_its_capacity_is_flagged_and_has_no_mean_wait() -> None:
    for time_s in ("1 ms", "1.25 ms"):
        found = pipeline({"name": "A", "service": {"time_s": time_s}, "servers": 1}, {"name": "B"})
        stage = found.stage("A")
        assert stage.unstable
        assert found.unstable == ("A",)
        assert stage.wait_s is None
        assert found.latency_s is None
        assert any(warning.startswith("overload") for warning in found.warnings)
        as_json = stage.to_json()
        assert as_json["wait_s"] is as_json["latency_s"] is None
    assert stage.rate_out_hz.value == pytest.approx(800)
    assert stage.backlog_hz == pytest.approx(200)
    assert found.stage("B").rate_in_hz.value == pytest.approx(800)


def test_servers_needed_are_the_fewest_with_a_load_below_one() -> None:
    assert [servers_for_load(1000, s) for s in (0.5e-3, 1e-3, 1.5e-3, 7.9992e-3)] == [1, 2, 2, 8]
    stage = one(service={"time_s": "7 ms"}, servers=20)
    assert stage.servers is not None
    assert stage.servers.needed == 8


def test_a_share_of_the_farm_that_is_down_raises_the_load_of_the_rest() -> None:
    stage = one(service={"time_s": "9 ms", "law": "exponential"}, servers=20, share_down=0.1, places=50)
    assert stage.utilisation is not None
    assert stage.utilisation.value == pytest.approx(9 / 18)
    assert stage.losses["full"].value == pytest.approx(mmck_by_chain(9.0, 18, 50), rel=1e-9)


def test_failures_take_capacity_and_end_services() -> None:
    failures = {"mtbf_s": "9 s", "mttr_s": "1 s", "lost": "lose"}
    stage = one(service={"time_s": "1 ms"}, servers=2, failures=failures)
    assert stage.utilisation is not None
    assert stage.utilisation.value == pytest.approx(0.5 / 0.9)
    assert stage.losses["failure"].value == pytest.approx(1 - math.exp(-1e-3 / 9))
    assert stage.rate_out_hz.value == pytest.approx(1000 * math.exp(-1e-3 / 9))
    assert stage.servers is not None
    # 1 erlang of load takes two servers: overloaded unless both are up
    assert stage.servers.overload_share == pytest.approx(1 - 0.9**2)


def test_services_that_begin_anew_take_longer() -> None:
    failures = {"mtbf_s": "10 ms", "mttr_s": "0 s", "lost": "restart"}
    constant = one(service={"time_s": "2 ms"}, servers=10, failures=failures)
    spread = one(service={"time_s": "2 ms", "law": "exponential"}, servers=10, failures=failures)
    assert constant.utilisation is not None
    assert spread.utilisation is not None
    assert constant.utilisation.value == pytest.approx(1000 * 10e-3 * math.expm1(0.2) / 10)
    assert spread.utilisation.value == pytest.approx(1000 * 2e-3 / 0.8 / 10)


def test_servers_of_different_speed_serve_by_the_sum_of_speeds() -> None:
    stage = one(service={"time_s": "2 ms"}, speeds=[1, 2, 5])
    assert stage.utilisation is not None
    assert stage.utilisation.value == pytest.approx(2 / 8)


@given(st.integers(1, 60), st.floats(0.5, 0.999), st.integers(0, 61))
def test_the_share_of_time_with_too_few_servers_is_binomial(servers: int, available: float, needed: int) -> None:
    direct = math.fsum(
        math.comb(servers, up) * available**up * (1 - available) ** (servers - up)
        for up in range(min(needed, servers + 1))
    )
    assert overload_share(servers, available, needed) == pytest.approx(direct, rel=1e-6, abs=1e-13)


def test_a_farm_that_stops_needs_a_buffer_for_what_comes_meanwhile() -> None:
    duty = {"on_s": "21 h", "period_s": "24 h"}
    stage = one(service={"time_s": "0.8 ms"}, servers=1, duty=duty)
    assert stage.buffer_needed_bytes.value == pytest.approx(1000 * 1000 * 3 * 3600)
    assert stage.utilisation is not None
    assert stage.utilisation.value == pytest.approx(0.8 / (21 / 24))
    # the fluid: 3 h of arrivals drain at 250 Hz in 12 h; the mean over the day is the area of that triangle
    area = 0.5 * (1000 * 3 * 3600) * (3 + 12) * 3600
    assert stage.wait_s is not None
    assert stage.wait_s.value == pytest.approx(area / (1000 * 24 * 3600), rel=1e-3)
    small = one(service={"time_s": "0.8 ms"}, servers=1, duty=duty, places=1000 * 2 * 3600)
    assert small.losses["full"].value == pytest.approx(1 / 24)
    assert one(service={"time_s": "0.9 ms"}, servers=1, duty=duty).unstable


def test_the_storage_handler_of_atlas_needs_its_seventy_petabytes() -> None:
    # 6 TB/s into a farm that stops for 3 h: ATL-DAQ-PROC-2018-001 states about 70 PB
    stage = mean_rates(load_pipeline("atlas-phase2", {"improved_by": ["storage_handler"]})).stage("Event Filter")
    assert stage.buffer_needed_bytes.value == pytest.approx(70e15, rel=0.1)
    assert stage.losses["full"].value == 0


def test_dead_time_loses_by_its_law() -> None:
    # 1000 Hz x 0.5 ms: one in 1.5 lives, or exp(-0.5)
    stage = one(dead_time_s="0.5 ms")
    assert stage.losses["dead_time"].value == pytest.approx(1 / 3)
    assert stage.dead_time_share.value == pytest.approx(1 / 3)
    assert one(dead_time_s="0.5 ms", extendable=True).rate_out_hz.value == pytest.approx(1000 * math.exp(-0.5))


def test_dead_time_follows_the_triggers_that_are_accepted() -> None:
    stage = one(reduction=10, dead_time_s="1 ms")
    assert stage.rate_out_hz.value == pytest.approx(100 / 1.1)
    assert stage.dead_time_share.value == pytest.approx(0.1 / 1.1)
    assert stage.losses["dead_time"].value == pytest.approx(100 * (1 - 1 / 1.1) / 1000)


RULES = [(1, 3), (2, 25), (3, 100), (4, 240)]


@pytest.mark.parametrize(
    ("rate_hz", "trains", "reference"),
    [(100e3, False, 0.00900), (100e3, True, 0.01072), (750e3, False, 0.359), (750e3, True, 0.364)],
)
def test_trigger_rules_refuse_about_the_simulated_share(rate_hz: float, trains: bool, reference: float) -> None:
    # daq.md B, simulated; the estimate leaves out that accepted triggers keep apart, stated as up to 14 %
    beam = {"crossing_rate_hz": "40.0789 MHz", **({"filled_slots": 2808} if trains else {})}
    rules = [{"accepts": k, "crossings": n} for k, n in RULES]
    found = pipeline({"name": "A", "rules": rules}, rate_hz=rate_hz, beam=beam)
    assert found.stage("A").losses["rule"].value == pytest.approx(reference, rel=0.14)
    assert found.stage("A").rate_out_hz.value == pytest.approx(rate_hz * (1 - reference), rel=0.012)


def test_one_rule_of_one_accept_is_exact() -> None:
    # a renewal: n - 1 closed crossings and a geometric gap
    for p, n in ((0.01, 5), (0.3, 3)):
        assert refused_share(p, 1.0, [(1, n)], [True]) == pytest.approx(1 - 1 / (1 + p * (n - 1)))
    # half of the crossings, every other one, are filled: of the two closed ones one could have had a trigger
    alternating = refused_share(0.001, 1.0, [(1, 3)], [True, False])
    assert alternating == pytest.approx(0.002 / 1.002, rel=1e-3)


def test_more_triggers_than_filled_crossings_are_refused() -> None:
    with pytest.raises(BadValueError, match="do not fit"):
        refused_share(3.0, 4.0, RULES, [True, False])


def test_links_carry_frames_and_lose_what_their_lanes_cannot_hold() -> None:
    link = {"bandwidth_bytes_per_s": "1 MB/s", "lanes": 2, "frame_bytes": "100 B", "overhead_bytes": "20 B",
            "energy_per_bit_j": "1 nJ/bit", "latency_s": "1 ms"}  # fmt: skip
    found = pipeline({"name": "A", "link": link}, {"name": "B"})
    carried = found.links[-1]
    assert carried.throughput_bytes_per_s.value == pytest.approx(1200 * 1000)
    assert carried.utilisation is not None
    assert carried.utilisation.value == pytest.approx(0.6)
    assert carried.power_w.value == pytest.approx(1200 * 1000 * 8e-9)
    assert carried.latency_s.value == pytest.approx(1e-3 + 1.2e-3)
    overloaded = pipeline({"name": "A", "link": {"bandwidth_bytes_per_s": "0.8 MB/s"}}, {"name": "B"})
    assert overloaded.unstable == ("A link",)
    none = pipeline({"name": "A", "places": 0, "link": {"bandwidth_bytes_per_s": "1 MB/s"}}, {"name": "B"})
    # one lane without places at 1 erlang loses half
    assert none.stage("A").losses["full"].value == pytest.approx(0.5)
    assert none.stage("B").rate_in_hz.value == pytest.approx(500)


def test_credits_limit_a_link_to_a_window_in_a_round_trip() -> None:
    link = {"bandwidth_bytes_per_s": "100 MB/s", "latency_s": "1 ms", "frame_bytes": "10 kB", "credits": 4}
    carried = pipeline({"name": "A", "link": link}).links[-1]
    assert carried.capacity_bytes_per_s is not None
    assert carried.capacity_bytes_per_s.value == pytest.approx(4 * 10_000 / (2e-3 + 1e-4))


def test_event_building_spreads_the_event_over_its_links() -> None:
    link = {"bandwidth_bytes_per_s": "100 kB/s", "lanes": 10, "latency_s": "2 ms"}
    found = pipeline({"name": "A", "link": link}, {"name": "B", "fragments": 10, "events_per_packet": 5, "credits": 3})
    built = found.stage("B").fragments
    assert built is not None
    assert built.size_bytes.value == 100
    assert built.packet_rate_hz.value == pytest.approx(200)
    assert built.throughput_bytes_per_s.value == pytest.approx(100_000)
    assert built.utilisation is not None
    assert built.utilisation.value == pytest.approx(1.0)
    assert built.credit_limit_hz is not None
    assert built.credit_limit_hz.value == pytest.approx(15 / (2e-3 + 5e-3))
    assert any(fault.startswith("fragments") for fault in found.stage("B").faults)


def test_a_front_end_pipeline_must_cover_the_latency_of_its_trigger() -> None:
    def of(crossings: int) -> PipelineRates:
        return pipeline(
            {"name": "front", "pipeline_crossings": crossings, "link": {"latency_s": "1 us"}},
            {"name": "L1", "kind": "trigger", "reduction": 10, "latency_s": "4 us"},
            beam={"crossing_rate_hz": "40 MHz"},
        )

    assert of(200).warnings == ()
    short = of(199)
    assert short.stage("front").faults[0].startswith("pipeline_depth")
    assert "'L1' decides" in short.warnings[0]
    assert short.stage("front").memory_bytes.value == 199 * 1000


# ---- services of the cost model, batches


def test_times_of_the_cost_model_are_taken_by_batch_size() -> None:
    workload = {"workload": "model.onnx", "on": "gpu"}
    stage: Stage = {"name": "A", "service": workload, "servers": 1, "batch": {"size": 4, "max_wait_s": "10 ms"}}
    times = ServiceTimes((1e-3, 1.2e-3, 1.4e-3, 1.6e-3), (0.9e-3,) * 4, (2e-3,) * 4, energy_j=0.1, source="model")
    found = pipeline(stage, services={"A": times}).stage("A")
    assert found.utilisation is not None
    assert found.utilisation.value == pytest.approx(1000 * 1.6e-3 / 4)
    assert (found.utilisation.lo, found.utilisation.hi) == pytest.approx((0.225, 0.5))
    assert found.power_w["services"].value == pytest.approx(100)
    assert found.servers is not None
    assert found.servers.batch == 4
    with pytest.raises(BadValueError, match=r"'A': no times of model\.onnx on gpu"):
        pipeline(stage)


@pytest.mark.parametrize("times", [((), (), ()), ((1.0,), (2.0,), (3.0,)), ((1.0,), (1.0, 1.0), (1.0,)), ((0.0,),) * 3])
def test_bad_service_times_are_refused(times: tuple[Any, Any, Any]) -> None:
    with pytest.raises(BadValueError, match="ervice time"):
        ServiceTimes(*times)


# ---- physics


def test_precision_and_recall_of_two_fixed_classifiers_by_hand() -> None:
    first = {"kind": "rates", "true_pass": 0.9, "false_pass": 0.1}
    second = {"kind": "rates", "true_pass": 0.5, "false_pass": 0.2}
    found = pipeline(
        {"name": "A", "classifier": first}, {"name": "B", "classifier": second, "energy_per_event_j": "1 J"},
        relevant_fraction=0.2,
    )  # fmt: skip
    relevant, other = 200 * 0.9 * 0.5, 800 * 0.1 * 0.2
    assert found.rate_out_hz.value == pytest.approx(relevant + other)
    physics = found.physics
    assert physics is not None
    precision, recall = relevant / (relevant + other), 0.45
    assert physics.precision.value == pytest.approx(precision)
    assert physics.recall.value == pytest.approx(recall)
    assert physics.relevant_rate_hz.value == pytest.approx(relevant)
    f1 = 2 * precision * recall / (precision + recall)
    assert physics.f1.value == pytest.approx(f1)
    assert physics.relevant_per_joule.value == pytest.approx(f1 * (relevant + other) / (200 * 0.9 + 800 * 0.1))


def test_losses_take_from_recall_and_not_from_precision() -> None:
    classifier = {"kind": "rates", "true_pass": 0.9, "false_pass": 0.1}
    whole = pipeline({"name": "A", "classifier": classifier}, relevant_fraction=0.2).physics
    dead = pipeline({"name": "A", "classifier": classifier, "dead_time_s": "1 ms"}, relevant_fraction=0.2).physics
    assert whole is not None
    assert dead is not None
    assert dead.precision == whole.precision
    assert dead.recall.value == pytest.approx(whole.recall.value / 1.26)  # 260 Hz pass: one in 1.26 lives


def test_a_pipeline_without_classifiers_has_no_physics() -> None:
    assert pipeline({"name": "A", "reduction": 10}).physics is None


def test_the_range_of_a_skill_reaches_f1() -> None:
    skill = {"value": 3, "range": [2, 4], "estimated": True}
    found = pipeline({"name": "A", "reduction": 100, "classifier": {"kind": "gaussian", "skill": skill}}).physics
    assert found is not None
    assert found.f1.lo < found.f1.value < found.f1.hi


def test_a_classifier_that_passes_nothing_gives_zeros() -> None:
    rates = {"kind": "rates", "true_pass": 0.0, "false_pass": 0.0}
    found = pipeline(
        {"name": "A", "classifier": rates}, {"name": "B", "service": {"time_s": "1 ms"}}, relevant_fraction=0.2
    )  # fmt: skip
    assert found.rate_out_hz.value == 0
    assert found.physics is not None
    assert found.physics.f1.value == found.physics.recall.value == 0
    json.dumps(found.to_json(), allow_nan=False)


# ---- technology


def test_power_falls_with_the_density_of_transistors() -> None:
    stage = {"name": "A", "energy_per_event_j": "1 J"}
    growth = {"reference_year": 2022, "growth_per_year": 0.18717361}
    found = pipeline(stage, year=2032, technology=growth)
    assert found.unscaled_power_w.value == pytest.approx(1000)
    assert found.power_w.value == pytest.approx(1000 / 6.4996, rel=1e-4)
    assert found.power_w.lo < found.power_w.value < found.power_w.hi
    assert found.warnings == ()


@pytest.mark.parametrize("year", [2015, 2040])
def test_a_year_outside_the_fit_is_warned_of(year: int) -> None:
    spec = load_pipeline("cms-run5-pu200", {"year": year})
    scaling = technology_scaling(spec.technology, year)
    assert scaling.factor.value == pytest.approx(math.exp(0.18717361 * (year - 2022)))
    assert scaling.factor.lo < scaling.factor.value < scaling.factor.hi
    assert "extrapolation" in scaling.warnings[0]
    assert technology_scaling(spec.technology, None).factor.value == 1


# ---- what holds everywhere


@settings(max_examples=60, deadline=None)
@given(
    reductions=st.lists(st.floats(1, 50), min_size=1, max_size=4),
    service_s=st.floats(1e-5, 3e-3),
    places=st.none() | st.integers(0, 30),
    dead_s=st.floats(0, 1e-3),
)
def test_what_comes_in_goes_out_is_rejected_lost_or_piles_up(
    reductions: list[float], service_s: float, places: int | None, dead_s: float
) -> None:
    stages: list[Stage] = [
        {"name": f"S{i}", "reduction": r, "dead_time_s": f"{dead_s} s", "servers": 1,
         "service": {"time_s": f"{service_s} s", "law": "exponential"},
         **({} if places is None else {"places": places})}
        for i, r in enumerate(reductions)
    ]  # fmt: skip
    found = pipeline(*stages)
    for stage in found.stages:
        lost = sum(share.value for share in stage.losses.values()) * stage.rate_in_hz.value
        left = stage.rate_out_hz.value + stage.rejected_hz.value + lost + stage.backlog_hz
        assert left == pytest.approx(stage.rate_in_hz.value, rel=1e-9)
    for before, after in zip(found.stages, found.stages[1:], strict=False):
        assert before.rate_out_hz.value == after.rate_in_hz.value


@pytest.mark.parametrize("name", pipeline_ids())
def test_every_pipeline_of_the_catalogue_has_mean_rates_as_json(name: str) -> None:
    found = mean_rates(load_pipeline(name))
    answer = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert not found.power_known or set(answer["power_w"]) == {"value", "lo", "hi"}
    assert found.unstable == ()
    assert not found.warnings
    for stage in found.stages:
        for share in stage.losses.values():
            assert 0 <= share.lo <= share.value <= share.hi <= 1
        assert stage.rate_out_hz.lo <= stage.rate_out_hz.value <= stage.rate_out_hz.hi


@given(st.floats(0.05, 0.95), st.sampled_from([1, 3, 20]), st.sampled_from([0, 2, 50]))
@settings(deadline=None)
def test_more_places_never_lose_more(load: float, servers: int, places: int) -> None:
    for law, cv2 in (("constant", 0.0), ("exponential", 1.0), ("lognormal", 2.25)):
        fewer, more = (Line(servers, load * servers, law, cv2, n).loss(1.0) for n in (places, places + 5))
        assert more <= fewer * (1 + 1e-9)


def test_a_range_keeps_its_order_through_arithmetic() -> None:
    x, y = Range(2, 1, 4), Range(10, 5, 20)
    assert x * y == Range(20, 5, 80)
    assert x / y == Range(0.2, 0.05, 0.8)
    assert x + y == Range(12, 6, 24)
    assert Range(0.2, 0.1, 0.4).rest() == Range(0.8, 0.6, 0.9)
