"""`calibrate --served`: a handful of served runs moves what a stack adds, and the folder answers with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_runner import archcast

from archcast.served_runs import asked, cached_in, served_times
from archcast.stack_calibration import calibrate_stacks
from costmodel.protocol import PhysicsModel
from costmodel.stack import read_stacks, shipped_stacks
from foundation.errors import BadFileError, BadValueError
from workloads.catalogue import load_model
from workloads.workload_measurements import read_workload_measurements

HEAD = "workload,device,software,dtype,tp,concurrency,prompt,generate,ttft_s,tpot_s\n"
ROW = "llama-3.1-8b,h100-sxm,myserver 1.0,bf16,1,{},512,32,{},{}\n"


def table(tmp_path: Path, factor: float = 1.5, late_s: float = 0.2) -> Path:
    """Write runs that take `factor` times the closed form's steps, and show the first token late."""
    path = tmp_path / "runs.csv"
    path.write_text(HEAD + "".join(ROW.format(n, 0.1, 0.01) for n in (4, 16, 48)), encoding="utf-8")
    said, _ = served_times(asked(read_workload_measurements(path)), PhysicsModel())
    rows = [ROW.format(n, ttft + late_s, factor * tpot) for n, (ttft, tpot) in zip((4, 16, 48), said, strict=True)]
    path.write_text(HEAD + "".join(rows), encoding="utf-8")
    return path


def test_three_runs_move_the_steps_three_quarters_of_the_way(tmp_path: Path) -> None:
    found = calibrate_stacks([table(tmp_path)], out=tmp_path / "out", model="physics")
    known = shipped_stacks()[""].step_factor
    assert found.stacks["myserver"].step_factor == pytest.approx(1.5**0.75 * known**0.25, rel=1e-6)
    assert found.tpot_mape[1] < found.tpot_mape[0]
    assert found.ttft_mape[1] < found.ttft_mape[0]


def test_the_folder_holds_the_new_stack_beside_the_shipped_ones(tmp_path: Path) -> None:
    calibrate_stacks([table(tmp_path)], out=tmp_path / "out", model="physics")
    stacks = read_stacks(tmp_path / "out" / "stacks.json")
    assert stacks["vllm"] == shipped_stacks()["vllm"]
    assert stacks["myserver"].rows == 3


def test_runs_that_do_not_say_what_served_them_are_named(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(HEAD + ROW.format(4, 0.1, 0.01).replace("myserver 1.0", ""), encoding="utf-8")
    with pytest.raises(BadValueError, match="without software"):
        calibrate_stacks([path], out=tmp_path / "out", model="physics")


def test_a_folder_without_stacks_or_artefact_is_refused_by_simulate(tmp_path: Path) -> None:
    from archcast.cost_models import find_serving_model

    with pytest.raises(BadFileError):
        find_serving_model(tmp_path)


def test_simulate_takes_the_folder_as_its_cost_model(tmp_path: Path) -> None:
    from archcast.cost_models import find_serving_model

    calibrate_stacks([table(tmp_path, factor=3.0)], out=tmp_path / "out", model="physics")
    assert find_serving_model(tmp_path / "out").stacks["myserver"].step_factor > 2  # type: ignore[attr-defined]


def test_the_command_prints_what_it_did(tmp_path: Path) -> None:
    ended = archcast("calibrate", "--served", table(tmp_path), "--out", tmp_path / "out", "--json")
    assert ended.code == 0
    assert ended.json()["rows"] == 3


def test_caches_beside_eight_bit_weights_are_in_eight_bits() -> None:
    assert cached_in(load_model("llama-3.1-8b"), "") == ""
    assert cached_in(load_model("llama-3.1-8b"), "fp8") == "fp8"
    assert cached_in(load_model("deepseek-v3"), "") == "fp8"


def test_steps_of_a_simulation_take_as_long_as_the_calibrated_stack_says(tmp_path: Path) -> None:
    import archcast as ac

    found = calibrate_stacks([table(tmp_path, factor=3.0)], out=tmp_path / "out", model="physics")
    file = tmp_path / "serving.yaml"
    file.write_text(
        "kind: serving\nmodel: llama-3.1-8b\non: h100-sxm\nsoftware: myserver 1.0\nreplications: 1\nintervals: false\n"
        "policy: {most_tokens: 512, most_requests: 8}\nclosed_loop: {users: 1}\n"
        "traffic: {prompt: 256, generate: 16, requests: 5}\n",
        encoding="utf-8",
    )
    shipped, own = (ac.simulate(file, settings=given) for given in ({}, {"cost_model": str(tmp_path / "out")}))
    ratio = found.stacks["myserver"].step_factor / shipped_stacks()[""].step_factor
    tpot = [one.study.times["tpot_s"]["mean"].value for one in (shipped, own)]  # type: ignore[union-attr]
    assert tpot[1] / tpot[0] == pytest.approx(ratio, rel=1e-6)


def test_an_answer_names_a_calibration_only_for_stacks_of_its_own(tmp_path: Path) -> None:
    from archcast.cost_models import find_serving_model
    from archcast.in_service import stack_note

    calibrate_stacks([table(tmp_path)], out=tmp_path / "out", model="physics")
    model = find_serving_model(tmp_path / "out")
    assert "of your calibration" in stack_note("myserver", model)
    assert "silicon sample" in stack_note("vllm", model)
