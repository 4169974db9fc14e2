"""Plans: the least fleet is what trying everything finds, and money, power and carbon follow from it."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from plan_samples import SMALL, small, small_plan

from archcast.planning.closed_form import Profiles
from archcast.planning.confirm import Confirmer
from archcast.planning.demand import demand_of
from archcast.planning.engines import candidates_of, model_of, sites_of
from archcast.planning.plan_file import read_plan
from archcast.planning.run import plan
from archcast.planning.screen import screen
from simulator.serving.power import with_served_power
from simulator.serving.pricing import HOST_S
from simulator.serving.profile import profile_of


def test_the_search_finds_what_trying_every_fleet_finds() -> None:
    study = read_plan(SMALL)
    demand = demand_of(study, 1)
    candidates, _ = candidates_of(study, sites_of(study), model_of(study), demand.longest)
    confirmer = Confirmer(study, demand, Profiles(candidates, demand.longest), 1)
    costs = [
        candidate.usd_per_hour * instances
        for candidate in candidates
        for instances in range(1, 7)
        if confirmer.outcome(candidate, instances, whole=True).meets
    ]
    chosen = small_plan().chosen
    assert chosen is not None
    assert chosen.outcome.usd_per_hour == pytest.approx(min(costs))


def test_each_confirmed_fleet_is_the_least_of_its_kind() -> None:
    study = read_plan(SMALL)
    demand = demand_of(study, 1)
    for fleet in small_plan().fleets:
        assert fleet.outcome.whole
        assert fleet.outcome.meets
        if fleet.outcome.instances > 1:
            candidate = fleet.outcome.candidate
            confirmer = Confirmer(study, demand, Profiles([candidate], demand.longest), 1)
            assert not confirmer.outcome(candidate, fleet.outcome.instances - 1, whole=True).meets


def test_the_closed_form_bounds_the_confirmed_fleets_from_below() -> None:
    for fleet in small_plan().fleets:
        assert fleet.screened.least <= fleet.outcome.instances
        assert fleet.screened.objective <= fleet.objective * (1 + 1e-12)


def test_requests_that_are_alone_wait_no_longer_than_in_a_fleet() -> None:
    for fleet in small_plan().fleets:
        assert fleet.screened.form.ttft_alone_s <= fleet.outcome.ttft_s.value * (1 + 1e-9)


def test_equal_seeds_give_equal_answers() -> None:
    assert plan(SMALL, seed=1).to_json() == small_plan().to_json()


def test_another_seed_is_another_demand() -> None:
    assert plan(SMALL, seed=2).demand.digest != small_plan().demand.digest


def test_money_is_devices_times_their_price() -> None:
    found = small_plan().to_json()["chosen"]
    assert found["device"] == "h100-sxm"
    assert found["usd_per_hour"] == pytest.approx({"value": 2.99, "lo": 1.9, "hi": 6.0})
    demand = small_plan().demand
    tokens_per_hour = demand.tokens_per_s * 3600
    assert found["usd_per_million_tokens"]["value"] == pytest.approx(2.99 / tokens_per_hour * 1e6)


def test_a_price_of_the_file_takes_the_place_of_the_catalogues() -> None:
    answer = plan(small(prices={"h100-sxm": 50.0}), seed=1)
    assert answer.chosen is not None
    assert answer.chosen.outcome.candidate.site.id == "l40s"
    assert answer.price_dates == {"l40s": "2025-07-01", "h100-sxm": "plan file"}


def test_carbon_and_energy_are_those_of_the_building() -> None:
    found = small_plan().to_json()["chosen"]
    power = found["power_w"]["value"]
    assert found["facility_power_w"]["value"] == pytest.approx(1.25 * power)
    assert found["carbon_kg_per_hour"]["value"] == pytest.approx(1.25 * power / 1000 * 0.360)
    assert found["energy_per_token_j"]["value"] == pytest.approx(1.25 * power / small_plan().demand.tokens_per_s)


def test_power_lies_between_idle_and_the_limit() -> None:
    for fleet in small_plan().fleets:
        outcome, site = fleet.outcome, fleet.outcome.candidate.site
        assert outcome.devices * site.idle_w < outcome.power_w.value <= outcome.devices * site.target.rates.limit_w


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"software": "vllm"},
        {"traffic": {**SMALL["traffic"], "rate_hz": 60, "requests": 1500}},
        {"traffic": {**SMALL["traffic"], "rate_hz": 0.3, "requests": 400}, "devices": ["h100-sxm"]},  # half idle
    ],
    ids=["small", "stack", "fast", "slow"],
)
def test_watts_of_the_events_are_those_of_the_closed_form(changes: dict[str, Any]) -> None:
    answer = plan(small(**changes), seed=1)
    for fleet in answer.fleets:
        outcome, count = fleet.outcome, fleet.outcome.instances
        idle_w = outcome.candidate.site.idle_w * outcome.candidate.devices
        closed_w = count * fleet.screened.steady.power_at(answer.demand.rate_hz / count, idle_w)
        assert outcome.power_w.value == pytest.approx(closed_w, rel=0.1)
        assert fleet.screened.objective <= fleet.objective


def test_watts_are_those_that_boards_draw_in_steps_of_a_served_profile() -> None:
    study = read_plan(SMALL)
    demand = demand_of(study, 1)
    candidates, _ = candidates_of(study, sites_of(study), model_of(study), demand.longest)
    profiles = Profiles(candidates, demand.longest)
    several = [c for c in candidates if c.site.id == "h100-sxm"][:1]
    bare = profile_of([several[0].engine], profiles.most_tokens, profiles.most_requests, demand.longest, HOST_S)
    seen = []
    for profile in (bare, with_served_power(bare, several[0].engine)):
        one = Profiles(several, demand.longest)
        one.profile = profile
        seen.append(Confirmer(study, demand, one, 1).outcome(several[0], 1, whole=True).power_w.value)
    chosen = small_plan().chosen
    assert chosen is not None
    assert chosen.outcome.power_w.value == pytest.approx(seen[1], rel=1e-3)
    assert seen[1] > 1.1 * seen[0]


@pytest.mark.parametrize("objective", ["power", "energy", "carbon"])
def test_the_coolest_fleet_draws_no_more_than_any_other_that_serves(objective: str) -> None:
    answer = plan(small(objective=objective), seed=1)
    assert answer.chosen is not None
    serves = [point.outcome.power_w.value for point in (*answer.points, *small_plan().points) if point.meets]
    assert answer.chosen.outcome.power_w.value <= min(serves) * (1 + 1e-9)


def test_the_runner_up_is_of_another_kind_and_its_loss_has_numbers() -> None:
    answer = small_plan()
    assert answer.chosen is not None
    assert answer.runner_up is not None
    assert answer.runner_up.outcome.candidate.engine_key != answer.chosen.outcome.candidate.engine_key
    assert answer.runner_up.objective >= answer.chosen.objective
    assert "3.96 $/h, 32.4 % more: with 3 instances its p99 TPOT is" in answer.why


def test_more_demand_never_needs_fewer_instances() -> None:
    answer = small_plan()
    needed = [s.needed.instances for s in answer.stresses if s.name.startswith("demand") and s.needed]
    assert needed == sorted(needed)
    assert answer.chosen is not None
    assert needed[0] >= answer.chosen.outcome.instances


def test_one_instance_down_needs_one_more() -> None:
    stress = next(s for s in small_plan().stresses if s.name == "one instance down")
    chosen = small_plan().chosen
    assert chosen is not None
    assert stress.needed is not None
    assert not stress.holds
    assert stress.needed.instances == chosen.outcome.instances + 1


def test_the_json_document_has_numbers_and_nothing_else() -> None:
    document = json.loads(json.dumps(small_plan().to_json(), allow_nan=False))
    assert document["verdict"] == "feasible"
    assert document["seed"] == 1
    assert document["price_dates"] == {"l40s": "2025-07-01", "h100-sxm": "2025-07-01"}
    assert set(document["versions"]) >= {"archcast", "cost_model", "device l40s", "device h100-sxm", "numpy"}
    assert all(len(digest) == 64 for digest in document["chosen"]["trace_hashes"])
    assert [fleet["objective"] for fleet in document["fleets"]] == sorted(f["objective"] for f in document["fleets"])
    for point in document["front"]:
        assert not point["front"] or point["meets"]


def test_a_goodput_objective_asks_for_more() -> None:
    answer = plan(small(slo={"ttft_s": 0.2, "tpot_s": 0.03, "percentile": 50, "goodput_share": 0.995}), seed=1)
    assert answer.chosen is not None
    assert answer.chosen.outcome.goodput_share.value >= 0.995
    assert math.isfinite(answer.chosen.outcome.ttft_s.value)


def test_screening_orders_by_the_objective() -> None:
    study = read_plan(SMALL)
    demand = demand_of(study, 1)
    candidates, _ = candidates_of(study, sites_of(study), model_of(study), demand.longest)
    good, bad = screen(study, demand, candidates, Profiles(candidates, demand.longest))
    assert len(good) + len(bad) == len(candidates)
    assert [s.objective for s in good] == sorted(s.objective for s in good)
