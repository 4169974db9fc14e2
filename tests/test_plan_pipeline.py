"""Plans of a pipeline's farm: the least farm of all choices, limits, failures, alternatives, what is infeasible."""

import math

import pytest
from cli_runner import ROOT
from pipeline_plan_samples import answer, small

from archcast.planning.pipeline_answer import PipelinePlan
from archcast.planning.run import plan
from foundation.errors import BadFileError
from simulator.queues.closed_finite import mmck, places_for_loss

SERVICE_S, RATE_HZ = 0.01, 1000.0


def _loss(servers: int, places: int, failing: float = 0.1) -> float:
    up = servers - math.ceil(failing * servers - 1e-9)
    return mmck(RATE_HZ, SERVICE_S, up, up + places).loss


def test_the_least_farm_is_that_of_trying_every_choice() -> None:
    found = answer()
    every = [
        (servers, places)
        for servers in range(1, 81)
        for places in (0, 2, 5, 10, 20, 40)
        if servers - math.ceil(0.1 * servers) > 0 and _loss(servers, places) <= 1e-3
    ]
    assert found.chosen is not None
    assert (found.chosen.farm.servers, found.chosen.farm.places) == min(every)
    least = {p: min(s for s, q in every if q == p) for p in (0, 2, 5, 10, 20, 40)}
    assert {row.farm.places: row.farm.servers for row in found.rows} == least


def test_the_front_has_no_farm_that_another_beats() -> None:
    front = answer().front
    for one in front:
        assert not any(
            other is not one and other.farm.total <= one.farm.total and other.farm.places <= one.farm.places
            for other in front
        )


def test_one_smaller_fails_in_servers_and_in_buffer() -> None:
    found = answer()
    assert {one.what for one in found.smaller} == {"servers", "buffer"}
    for one in found.smaller:
        assert one.judged.loss > 1e-3
        assert one.judged.loss == pytest.approx(_loss(one.judged.farm.servers, one.judged.farm.places), rel=1e-9)
    assert "One smaller fails" in found.why


def test_any_buffer_of_a_span_is_cut_to_the_last_place() -> None:
    found = answer(choices={"servers": 14, "places": {"from": 0, "to": 1000}}, failing=0.0)
    assert found.chosen is not None
    assert found.chosen.farm.places == places_for_loss(RATE_HZ, SERVICE_S, 14, 1e-3) - 14
    assert [one.judged.farm.places for one in found.smaller] == [found.chosen.farm.places - 1]


def test_a_buffer_in_bytes_holds_whole_events() -> None:
    found = answer(choices={"servers": 16, "buffer_bytes": ["2.5 kB", "400 kB"]}, limits={"loss": 0.05}, failing=0)
    assert found.chosen is not None
    assert found.chosen.farm.places == 2
    assert found.chosen.farm.buffer_bytes == 2500


def test_units_that_break_at_random_are_averaged_over_how_many_are_down() -> None:
    found = answer(failing=0.0, failures={"mtbf_s": 90, "mttr_s": 10}, choices={"servers": 20, "places": 5},
                   limits={"loss": 0.5})  # fmt: skip
    by_hand = math.fsum(
        math.comb(20, k) * 0.1**k * 0.9 ** (20 - k)
        * (mmck(RATE_HZ, SERVICE_S, 20 - k, 25 - k).loss if k < 20 else 1.0) for k in range(21)
    )  # fmt: skip
    assert found.chosen is not None
    assert found.chosen.loss == pytest.approx(by_hand, rel=1e-6)


def test_parts_fail_whole_and_the_others_share_the_events() -> None:
    found = answer(choices={"parts": {"from": 2, "to": 40}, "servers": 4, "places": 8})
    assert found.chosen is not None
    farm = found.chosen.farm
    down = math.ceil(0.1 * farm.parts - 1e-9)
    part = farm.part(down)
    assert part.servers == 4
    assert part.arrival_hz == pytest.approx(RATE_HZ / (farm.parts - down))
    assert part.arrival_cv2 == pytest.approx(1 / (farm.parts - down))


def test_price_and_power_choose_and_bound() -> None:
    choices = {
        "servers": {"from": 1, "to": 80}, "places": [0, 2, 5, 10, 20, 40],
        "alternatives": {
            "slow": {"settings": {"stages.Farm.price_usd": "10 USD"}},
            "fast": {"settings": {"stages.Farm.price_usd": "35 USD", "stages.Farm.service.time_s": "2.5 ms"}},
        },
    }  # fmt: skip
    found = answer(choices=choices, objective="price")
    assert found.chosen is not None
    prices = {row.farm.site.name: row.price_usd for row in reversed(found.rows)}
    assert found.chosen.price_usd == min(row.price_usd for row in found.rows) == min(prices.values())
    assert found.chosen.price_usd == (10 if found.chosen.farm.site.name == "slow" else 35) * found.chosen.farm.servers
    none = answer(choices=choices, objective="price", limits={"loss": 1e-3, "price_usd": 20})
    assert none.verdict == "infeasible"
    assert "the price binds" in none.summary


def test_a_limit_of_latency_takes_more_servers_or_no_deep_buffer() -> None:
    loose = answer(choices={"servers": {"from": 1, "to": 80}, "places": 40}, failing=0)
    tight = answer(choices={"servers": {"from": 1, "to": 80}, "places": 40}, failing=0,
                   limits={"loss": 1e-3, "latency_p999_s": 0.07})  # fmt: skip
    assert loose.chosen is not None
    assert tight.chosen is not None
    assert tight.chosen.farm.servers > loose.chosen.farm.servers
    assert tight.chosen.latency_p999_s <= 0.07 < loose.chosen.latency_p999_s


def test_too_few_servers_for_the_load_say_how_many_it_takes() -> None:
    found = answer(choices={"servers": {"from": 1, "to": 8}, "places": [0, 40]})
    assert found.verdict == "infeasible"
    assert found.chosen is None
    assert found.beyond is not None
    assert found.beyond.farm.servers > 8
    assert _loss(found.beyond.farm.servers, 40) <= 1e-3 < _loss(found.beyond.farm.servers - 1, 40)
    assert "the load alone takes more than there is" in found.summary
    assert found.to_json()["beyond_choices"]["servers"] == found.beyond.farm.servers
    assert "Infeasible" in found.page()


def test_a_batch_needs_room_for_its_events_and_batches_count_as_services() -> None:
    pipeline = dict(small()["pipeline"])
    farm = {**pipeline["stages"][0], "batch": {"size": 8, "max_wait_s": "20 ms"}, "places": 64}
    pipeline["stages"] = [farm]
    found = answer(pipeline=pipeline, choices={"servers": {"from": 1, "to": 80}, "places": [8, 64]})
    assert found.chosen is not None
    part = found.chosen.farm.part(0)
    assert part.arrival_hz == pytest.approx(RATE_HZ / 8)
    assert part.service_s == pytest.approx(8 * SERVICE_S)
    with pytest.raises(BadFileError, match="a batch of the stage 'Farm' has 8 events"):
        answer(pipeline=pipeline, choices={"servers": 20, "places": [4, 64]})


def test_a_service_may_be_a_workload_on_a_device() -> None:
    found = plan({
        "kind": "plan", "pipeline": str(ROOT / "examples" / "trigger_nn_on_gpu.yaml"), "stage": "NN",
        "choices": {"servers": {"from": 1, "to": 50}, "places": [256, 4096],
                    "alternatives": {"gpu": {}, "npu": {"improved_by": "npu"}}},
        "limits": {"loss": 1e-6}, "objective": "power", "confirm": {"engine": "none"},
    })  # fmt: skip
    assert isinstance(found, PipelinePlan)
    times = {site.name: site.service_s for site in found.sites}
    assert times["gpu"] != times["npu"]
    assert all(0 < lo < value < hi for value, lo, hi in times.values())
    assert {row.farm.site.name for row in found.rows} == {"gpu", "npu"}
    assert found.chosen is not None
    assert found.chosen.power_w == min(row.power_w for row in found.rows)


def test_the_least_choice_is_said_to_bind_where_fewer_would_do() -> None:
    found = answer(choices={"servers": {"from": 60, "to": 80}, "places": [0, 5]})
    assert found.chosen is not None
    assert (found.chosen.farm.servers, found.chosen.farm.places) == (60, 0)
    assert found.binds.startswith("The choices bind the servers: their smallest number of servers, 60, holds")


def test_robustness_points_the_right_way() -> None:
    found = answer()
    by_name = {stress.name: stress for stress in found.stresses}
    assert by_name["rate -10 %"].holds
    assert not by_name["20 % failing"].holds
    assert found.chosen is not None
    for stress in found.stresses:
        assert stress.needed is not None
        assert stress.holds == (stress.needed.total <= found.chosen.farm.total)


def test_a_million_servers_are_planned_in_closed_form() -> None:
    found = answer(rate_hz=9.0e4, pipeline=_big(), choices={"servers": {"from": 1, "to": 1_000_000}, "places": 100},
                   limits={"loss": 1e-6})  # fmt: skip
    assert found.chosen is not None
    up = found.chosen.farm.servers - math.ceil(0.1 * found.chosen.farm.servers)
    assert mmck(9.0e4, 9.0, up, up + 100).loss <= 1e-6 < mmck(9.0e4, 9.0, up - 1, up + 99).loss
    assert 810_000 < up < 815_000


def _big() -> dict[str, object]:
    pipeline = dict(small()["pipeline"])
    pipeline["detectors"] = [{**pipeline["detectors"][0], "rate_hz": "1 MHz"}]
    pipeline["stages"] = [{**pipeline["stages"][0], "service": {"time_s": "9 s", "law": "exponential"}}]
    return pipeline


def test_the_example_plans_nodes_of_the_trigger_in_closed_form() -> None:
    found = plan(ROOT / "examples" / "hlt_farm.yaml", settings={"confirm.engine": "none"})
    assert isinstance(found, PipelinePlan)
    assert found.chosen is not None
    # 750 kHz x 5.2889 s of one core over 0.9 of the farm
    assert found.chosen.farm.total > 750e3 * 5.2889 / 0.9
    assert found.chosen.loss <= 1e-6
    assert len(found.front) == 6
    assert found.chosen.load == pytest.approx(
        750e3 * 5.2889 / (256 * (found.chosen.farm.parts - math.ceil(0.1 * found.chosen.farm.parts))), rel=1e-9
    )
