"""What qualifies the answer of a plan: an unknown stack, a cost model that hardly knows, pipelines, what binds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from plan_samples import small, small_plan

from archcast.planning.closed_form import Profiles
from archcast.planning.confirm import Confirmer
from archcast.planning.demand import demand_of
from archcast.planning.engines import candidates_of, model_of, sites_of
from archcast.planning.plan_file import read_plan
from archcast.planning.robustness import sentence, stresses
from archcast.planning.run import plan
from archcast.planning.screen import screen
from archcast.planning.search import fleet_of


def one_device(**changes: object) -> dict[str, object]:
    """Return a plan of one candidate."""
    return small(devices=["h100-sxm"], instance_devices=[1], **changes)


@pytest.mark.parametrize("software", ["vlm", "vlm 0.9"])
def test_a_stack_that_is_not_known_is_named_with_the_nearest(software: str) -> None:
    notes = plan(one_device(software=software), seed=1).notes
    assert "'vlm' is no known stack (sglang, trtllm, vllm). Nearest: vllm; the general stack answers." in notes


@pytest.mark.parametrize("software", ["", "vllm", "vllm 0.9.2", "SGLang"])
def test_a_stack_that_is_known_needs_no_note(software: str) -> None:
    assert not any("no known stack" in note for note in plan(one_device(software=software), seed=1).notes)


def test_steps_are_tried_at_most_twice_as_slow_and_an_end_beyond_is_said() -> None:
    study = read_plan(one_device())
    demand = demand_of(study, 1)
    candidates, _ = candidates_of(study, sites_of(study), model_of(study), demand.longest)
    profiles = Profiles(candidates, demand.longest)
    (one,), _ = screen(study, demand, candidates, profiles)
    confirmer = Confirmer(study, demand, profiles, 1)
    steady = replace(one.steady, slower=np.full(one.steady.slower.shape, 32.21))
    unsure = replace(one, form=replace(one.form, steady=steady))
    fleet = fleet_of(study, demand, unsure, confirmer.outcome(one.candidate, 1, whole=True))
    slow = stresses(study, fleet, confirmer)[-1]
    assert slow.name == "steps 100 % slower"
    assert "the cost model's own interval ends at +3,121 %" in sentence(slow, fleet, "p99")
    assert "+3,121 %" in slow.to_json()["remark"]
    assert not any(stress.remark for stress in small_plan().stresses)
