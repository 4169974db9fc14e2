"""Limits of power and price of a pipeline's farm, and what is said to bind it."""

import pytest
from cli_runner import ROOT
from pipeline_plan_samples import answer

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
