"""What qualifies the answer of a plan: an unknown stack, a cost model that hardly knows, pipelines, what binds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
from plan_samples import SMALL, small, small_plan

from archcast.planning.closed_form import Profiles
from archcast.planning.confirm import Confirmer, Outcome, Seen
from archcast.planning.demand import demand_of
from archcast.planning.engines import candidates_of, model_of, sites_of
from archcast.planning.notes import notes_of
from archcast.planning.plan_file import Slo, read_plan
from archcast.planning.robustness import sentence, stresses
from archcast.planning.run import plan
from archcast.planning.screen import screen
from archcast.planning.search import fleet_of
from archcast.planning.words import binds_of
from archcast.render.plan import plan_page
from archcast.render.plan_text import plan_text


def one_device(**changes: object) -> dict[str, object]:
    """Return a plan of one candidate."""
    return small(devices=["h100-sxm"], instance_devices=[1], **changes)


@pytest.mark.parametrize("software", ["vlm", "vlm 0.9"])
def test_a_stack_that_is_not_known_is_named_with_the_nearest(software: str) -> None:
    notes = plan(one_device(software=software), seed=1).notes
    assert any("'vlm' is no stack" in note and "Nearest: vllm" in note for note in notes)


@pytest.mark.parametrize("software", ["", "vllm", "vllm 0.9.2", "SGLang"])
def test_a_stack_that_is_known_needs_no_note(software: str) -> None:
    assert not any("is no stack" in note for note in plan(one_device(software=software), seed=1).notes)


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


def outcome_of(instances: int, ttft_s: float, tpot_s: float, goodput_share: float | None = None) -> Outcome:
    """Return a fleet whose requests all take as long."""
    arrival, ttft, tpot, latency = (np.full(100, value) for value in (0.0, ttft_s, tpot_s, 1.0))
    seen = Seen(arrival, ttft, tpot, latency, lost=0, power_w=1.0, busy_share=0.23, preempted=0, trace_hash="")
    return Outcome(cast(Any, None), instances, Slo(2.0, 0.05, 99.0, goodput_share), (seen, seen))


def test_the_objective_that_binds_is_named_with_how_busy_the_engines_are() -> None:
    assert binds_of(outcome_of(3, 0.2, 0.0499)) == "TPOT binds: 49.9 ms of 50.0 ms; engines are 23.0 % busy"
    assert binds_of(outcome_of(1, 1.9, 0.01)) == "TTFT binds: 1.90 s of 2.00 s; engines are 23.0 % busy"
    assert binds_of(outcome_of(1, 0.2, 0.01)).startswith("TPOT is nearest to its limit: 10.0 ms of 50.0 ms")
    assert "the closed form's bound of 4 instances binds: 10.0 ms" in binds_of(outcome_of(4, 0.2, 0.01), least=4)
    assert binds_of(outcome_of(4, 0.2, 0.0499), least=4).startswith("TPOT binds: 49.9 ms")
    assert binds_of(outcome_of(2, 2.1, 0.01, 0.9)).startswith("goodput binds: 0.0 %, at least 90.0 %")


def test_what_binds_is_in_the_text_the_document_and_the_page() -> None:
    answer = small_plan()
    assert answer.chosen is not None
    words = binds_of(answer.chosen.outcome, answer.chosen.screened.least)
    found = answer.to_json()["chosen"]["binds"]
    name, used = answer.chosen.outcome.worst
    assert found["objective"] == name
    assert found["used_share"] == used == pytest.approx(found["value"] / found["limit"])
    assert found["words"] == words
    assert f"{words}." in plan_text(answer).splitlines()
    assert words in plan_page(answer)


def test_a_chosen_pipeline_says_that_its_lanes_overlap_without_bubbles() -> None:
    study, demand = read_plan(SMALL), small_plan().demand
    seen = set()
    for fleet in small_plan().fleets:
        confirmer = Confirmer(study, demand, Profiles([fleet.outcome.candidate], demand.longest), 1)
        stages = fleet.outcome.candidate.engine.mapping.pp
        notes = [note for note in notes_of(study, demand, [fleet], confirmer) if "overlap without bubbles" in note]
        assert len(notes) == (stages > 1)
        assert all("up to 50.0 % more ((pp-1)/pp, estimated)" in note for note in notes)
        seen.add(stages)
    assert seen == {1, 2}
