"""Limits of power and price of a pipeline's farm, and what is said to bind it."""

import pytest
from cli_runner import ROOT
from pipeline_plan_samples import answer

from archcast.planning.pipeline_answer import PipelinePlan
from archcast.planning.pipeline_binds import load_only, more_words
from archcast.planning.pipeline_confirm import live_part
from archcast.planning.run import plan
from foundation.errors import BadFileError

POWER = {"settings.stages.Farm.idle_power_w": "2 W", "settings.stages.Farm.busy_power_w": "5 W"}


def test_a_limit_of_power_is_held_against_the_power_that_the_plan_reports() -> None:
    free = answer(POWER)
    assert free.chosen is not None
    assert free.chain is not None
    reported = free.to_json()["power_w"]["value"]
    # 10 erlang of busy servers take 3 W more than the idle 2 W; hardly an event is lost
    assert reported == pytest.approx(2 * free.chosen.farm.total + 3 * 10, rel=2e-3)
    within = answer(POWER, limits={"loss": 1e-3, "power_w": reported * 1.001})
    assert within.chosen is not None
    assert within.chosen.farm == free.chosen.farm or within.chosen.farm.total == free.chosen.farm.total
    none = answer(POWER, limits={"loss": 1e-3, "power_w": 1})
    assert none.verdict == "infeasible"
    assert "the power binds" in none.summary
    assert "of the whole pipeline" in none.summary


def test_a_limit_of_power_takes_the_farm_with_fewer_servers_when_the_objective_does_not() -> None:
    loose = answer({**POWER, "settings.stages.Farm.price_usd": "1 USD"}, objective="price",
                   prices={"buffer_usd_per_gb": 1e9})  # fmt: skip
    assert loose.chosen is not None
    watts = loose.to_json()["power_w"]["value"]
    tight = answer({**POWER, "settings.stages.Farm.price_usd": "1 USD"}, objective="price",
                   prices={"buffer_usd_per_gb": 1e9}, limits={"loss": 1e-3, "power_w": watts - 2})  # fmt: skip
    assert tight.chosen is not None
    assert tight.chosen.farm.total < loose.chosen.farm.total
    assert tight.to_json()["power_w"]["value"] <= watts - 2


def test_a_limit_of_power_without_figures_of_a_server_is_refused() -> None:
    with pytest.raises(BadFileError, match="the stage 'HLT' has no power of a server") as caught:
        plan(ROOT / "examples" / "hlt_farm.yaml", settings={"limits.power_w": 1, "confirm.engine": "none"})
    assert caught.value.key == "limits.power_w"


def test_the_smallest_choice_binds_where_it_holds_however_little_is_lost() -> None:
    found = plan(ROOT / "examples" / "hlt_farm.yaml",
                 settings={"stage": "Readout", "failing": 0, "confirm.engine": "none"})  # fmt: skip
    assert isinstance(found, PipelinePlan)
    assert found.binds.startswith("The choices bind the servers: their smallest number of parts, 15,500, holds")
    words = found.text() + found.page()
    assert "failing share down" not in words
    assert "loss up to none" not in words
    assert "no loss" in words
    assert "loses nothing by the closed form" in found.summary


def test_a_choice_of_one_number_is_said_to_be_the_only_one() -> None:
    found = answer(choices={"servers": 60, "places": 5})
    assert found.binds.startswith("The choices bind the servers: they have one number alone, 60 servers")


def test_large_factors_are_not_percentages() -> None:
    assert more_words(1.014) == "1.4 % more"
    assert more_words(1.999) == "99.9 % more"
    assert more_words(15_500.0) == "15,500 times as many"


def test_latency_binds_where_one_server_less_is_too_late() -> None:
    found = answer(choices={"servers": {"from": 1, "to": 80}, "places": 40}, failing=0,
                   limits={"loss": 1e-3, "latency_p999_s": 0.07})  # fmt: skip
    assert found.binds.startswith("Latency binds the servers")
    assert "the latency asks" in found.binds


@pytest.mark.parametrize(("servers", "failing", "left"), [(5, 0.3, 3), (10, 0.3, 7), (3, 0.1, 2), (7, 0.0, 7)])
def test_the_servers_left_are_rounded_down(servers: int, failing: float, left: int) -> None:
    found = answer(choices={"servers": servers, "places": 40}, limits={"loss": 0.99}, failing=failing)
    assert found.chosen is not None
    assert live_part(found.chosen.farm, found.study).servers == left
    assert found.chosen.load == pytest.approx(10 / left)


def test_the_load_alone_takes_the_least_farm_of_which_enough_servers_are_left() -> None:
    # 10 erlang: 12 servers leave 10 with a tenth (1.2, so 2) down, 11 leave 9
    tenth, third = answer(), answer(failing=0.3)
    assert tenth.chosen is not None
    assert third.chosen is not None
    assert load_only(tenth.study, tenth.chosen.farm) == 12
    assert load_only(third.study, third.chosen.farm) == 15  # 15 leave floor(10.5) = 10, 14 leave floor(9.8) = 9


def test_power_that_no_figure_gives_is_not_reported_as_none_at_all() -> None:
    found = answer().to_json()
    assert found["power_w"] is None
    assert found["chosen"]["power_w"] is None
