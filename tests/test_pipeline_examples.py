"""Every pipeline of the catalogue and the example with a network answer in JSON, text, page and trace."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
from cli_runner import ROOT, archcast
from trigger_network import trigger_network

from archcast.pipeline import Pipeline, simulate_pipeline
from archcast.render.pipeline_text import COLUMNS
from archcast.simulation import simulate
from hardware_specs.pipelines import pipeline_ids

EXAMPLE = ROOT / "examples" / "trigger_nn_on_gpu.yaml"
SHORT_WINDOWS = {"dune-fd": "", "protodune": ""}
"""Pipelines whose windows plain callbacks run in about a second; of the others, mean rates are shown."""


@cache
def example(**settings: str) -> Pipeline:
    answer = simulate(EXAMPLE, settings={"engine": "callbacks", "window": "trigger"} | settings, seed=1)
    assert isinstance(answer, Pipeline)
    return answer


def answers_everywhere(answer: Pipeline) -> None:
    """Check that an answer can be shown in all four ways."""
    document = json.loads(json.dumps(answer.to_json(), allow_nan=False))
    assert document["kind"] == "pipeline"
    assert document["power_w"] is None or document["power_w"]["value"] > 0
    assert [stage["name"] for stage in document["stages"]] == [stage.name for stage in answer.spec.in_order()]
    text = answer.text()
    assert max(map(len, text.splitlines())) <= COLUMNS
    page = answer.page()
    assert page.count('<svg class="chain"') == 1
    assert "NaN" not in page
    for stage in answer.spec.stages:
        assert stage.name[:20] in text
        assert stage.name in page
    if answer.windows:
        json.dumps(answer.to_chrome_trace(), allow_nan=False)


@pytest.mark.parametrize("name", pipeline_ids())
def test_every_pipeline_of_the_catalogue_is_shown(name: str) -> None:
    fidelity = "events" if name in SHORT_WINDOWS else "rates"
    answer = simulate_pipeline(name, {"fidelity": fidelity, "engine": "callbacks"})
    answers_everywhere(answer)
    assert bool(answer.windows) == (fidelity == "events")


def test_cms_run_5_answers_by_its_name_with_its_front_end(tmp_path: Path) -> None:
    files = tmp_path / "t.json", tmp_path / "p.html"
    settings: list[object] = [
        "--set",
        "window=front end",
        "--set",
        "events.front end.horizon_s=4 ms",
        "--set",
        "engine=callbacks",
    ]
    settings += ["--set", "events.front end.warm_up_s=1 ms", "--trace", files[0], "--html", files[1]]
    ended = archcast("simulate", "cms-run5-pu200", "--json", *settings)
    assert ended.code == 0, ended.stderr
    document = ended.json()
    assert document["stable"] is True
    assert document["windows"]["front end"]["stages"]["Readout"]["waiting_events"]["p999"]["value"] > 3
    tracks = {e["name"] for e in json.loads(files[0].read_text())["traceEvents"] if e["ph"] == "C"}
    assert {"Readout waiting", "Readout busy"} <= tracks
    assert "Window: front end" in files[1].read_text()


def test_the_network_of_the_example_is_what_its_script_writes() -> None:
    assert (EXAMPLE.parent / "trigger_nn.onnx").read_bytes() == trigger_network().SerializeToString(deterministic=True)


def test_the_network_runs_on_gpus_in_full_batches_and_keeps_up() -> None:
    answer = example()
    answers_everywhere(answer)
    assert answer.unstable == ()
    network = answer.rates.stage("NN")
    assert network.servers is not None
    assert network.servers.batch == 64
    assert 0.02 < network.servers.utilisation.value < 0.5
    assert network.servers.utilisation.hi < 1  # the upper end of the predicted times is served too
    assert network.rate_in_hz.value == pytest.approx(750e3, rel=2e-3)
    row = answer.windows[0].stages["NN"]
    assert row.waiting["most"].value >= 63  # a batch fills before its first event has waited 200 us
    assert row.loss_share.value == 0
    assert row.utilisation.value == pytest.approx(network.servers.utilisation.value, rel=0.05)
    page = answer.page()
    assert "Services from the cost model" in page
    assert "trigger_nn on l4" in page


def test_the_batch_goes_out_unfilled_where_events_are_rare() -> None:
    answer = example(**{"stages.L1T.reduction": "400", "fidelity": "rates"})
    servers = answer.rates.stage("NN").servers
    assert servers is not None
    assert servers.batch == pytest.approx(1 + 100e3 * 200e-6, rel=0.01)  # 100 kHz for 200 us


@pytest.mark.parametrize(
    ("device", "dtype", "servers"),
    [("hailo-8", "int8", 2), ("gemmini-16x16", "int8", 6), ("a100-pcie-80gb", "fp16", 1)],
)
def test_the_same_stage_on_another_device_by_settings(device: str, dtype: str, servers: int) -> None:
    chosen = {"stages.NN.service.on": device, "stages.NN.service.dtype": dtype, "stages.NN.servers": str(servers)}
    answer = example(**chosen, fidelity="rates")
    assert answer.services["NN"].device == device
    assert answer.unstable == ()
    assert answer.to_json()["services"]["NN"]["on"] == device
    longest = answer.services["NN"].times.time_s
    assert longest[63] > longest[0]


@pytest.mark.parametrize("switch", ["one_gpu", "npu", "array"])
def test_each_what_if_of_the_example_keeps_up(switch: str) -> None:
    answer = example(improved_by=f"[{switch}]", fidelity="rates")
    assert answer.spec.improved_by == (switch,)
    assert answer.unstable == ()
    assert f"improved by {switch}" in answer.text()
