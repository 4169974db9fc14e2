"""Where mean rates and events disagree, which stages block, and which windows are simulated."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pipeline_samples import CHAIN, shown, small

from archcast.pipeline_agreement import blocking_stages, disagreements
from foundation.errors import BadValueError
from simulator.intervals import Uncertain
from simulator.pipelines.rates_ranges import Range

BLOCKS = CHAIN.replace("    servers: 8\n", "    servers: 8\n    places: 2\n    when_full: block\n")


def test_a_chain_whose_closed_forms_hold_has_no_disagreement() -> None:
    answer = small()
    found = {each.quantity for each in answer.disagreements}
    assert "utilisation" not in found
    assert "rate_out_hz" not in found


def test_a_wrong_mean_rate_is_found_with_window_stage_and_quantity() -> None:
    answer = small()
    stages = list(answer.rates.stages)
    at = [stage.name for stage in stages].index("Farm")
    servers = stages[at].servers
    assert servers is not None
    stages[at] = replace(stages[at], servers=replace(servers, utilisation=Range(0.2, 0.2, 0.2)))
    wrong = replace(answer.rates, stages=tuple(stages))
    found = [each for each in disagreements(answer.spec, wrong, answer.windows) if each.quantity == "utilisation"]
    assert [(each.window, each.stage, each.mean_rates) for each in found] == [("all of it", "Farm", 0.2)]
    assert "servers of 'Farm' that are up are busy 20.0 % in mean rates" in found[0].text()


def test_a_wrong_loss_is_found_unless_its_interval_holds_it() -> None:
    answer = small()
    stages = list(answer.rates.stages)
    at = [stage.name for stage in stages].index("Buffer")
    none = dict.fromkeys(stages[at].losses, Range(0.0, 0.0, 0.0))
    stages[at] = replace(stages[at], losses=none)
    wrong = replace(answer.rates, stages=tuple(stages))
    found = [each for each in disagreements(answer.spec, wrong, answer.windows) if each.quantity == "loss_share"]
    assert [each.stage for each in found] == ["Buffer"]
    row = answer.windows[0].stages["Buffer"]
    unsure = replace(row, loss_share=Uncertain(row.loss_share.value, 0.0, 1.0))
    window = replace(answer.windows[0], stages={**answer.windows[0].stages, "Buffer": unsure})
    assert "loss_share" not in {each.quantity for each in disagreements(answer.spec, wrong, (window,))}


def test_a_wrong_rate_out_is_found() -> None:
    answer = small()
    window = replace(answer.windows[0], rate_out_hz=Uncertain(2 * answer.windows[0].rate_out_hz.value))
    found = {each.quantity: each for each in disagreements(answer.spec, answer.rates, (window,))}
    assert found["rate_out_hz"].stage == "Disk"
    assert "kHz leave 'Disk' in mean rates" in found["rate_out_hz"].text()


def test_the_lines_are_in_text_page_and_json() -> None:
    answer = small()
    window = replace(answer.windows[0], rate_out_hz=Uncertain(2 * answer.windows[0].rate_out_hz.value))
    wrong = replace(answer, windows=(window,))
    assert "DISAGREE: Mean rates and events disagree in window 'all of it'" in wrong.text()
    assert "Mean rates and events disagree in window" in wrong.page()
    document = wrong.to_json()["disagreements"]
    assert [(row["stage"], row["quantity"]) for row in document if row["quantity"] == "rate_out_hz"] == [
        ("Disk", "rate_out_hz")
    ]
    assert document[0]["events"]["value"] is not None


def test_where_a_stage_blocks_the_headline_points_to_the_window() -> None:
    answer = shown(BLOCKS)
    assert blocking_stages(answer.spec) == ("Farm",)
    assert blocking_stages(small().spec) == ()
    text = " ".join(answer.text().split())
    assert "in mean rates, which have no blocking; window 'all of it' loses" in text
    assert "'Farm' holds back what sends to it when it is full. Mean rates have no blocking" in text
    assert "in mean rates, which have no blocking; window &#x27;all of it&#x27; loses" in answer.page()
    assert any("no window was simulated with it" in note for note in shown(BLOCKS, fidelity="rates").notes)


def test_an_unknown_window_is_refused_with_mean_rates_too() -> None:
    for fidelity in ("events", "rates"):
        with pytest.raises(BadValueError, match=r"unknown window 'nope'\. Known: all of it\."):
            shown(window="nope", fidelity=fidelity)


def test_windows_are_named_alone_or_in_a_list() -> None:
    assert [window.name for window in shown(window="all of it").windows] == ["all of it"]
    assert [window.name for window in shown(window="[all of it]").windows] == ["all of it"]
    with pytest.raises(BadValueError, match="unknown window 'other'"):
        shown(window="[all of it, other]")
