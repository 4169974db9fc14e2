"""Names of software: what is known, slips are refused, a stack of one's own is noted, and nothing passes in silence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_runner import refused

import archcast as ac
from archcast.cost_models import shipped
from archcast.operators import predict_ops_file
from archcast.software import as_known, check_software, known_software
from costmodel.protocol import PhysicsModel
from foundation.errors import BadFileError, BadValueError, UnknownNameError
from hardware_specs.runtimes import load_runtime, runtime_ids

GPT = {"workload": "gpt-2", "on": "h100-sxm", "prompt": 16, "generate": 2}


@pytest.mark.parametrize("runtime", runtime_ids())
def test_every_name_of_a_runtime_is_known(runtime: str) -> None:
    for name in load_runtime(runtime).names:
        check_software(f"{name} 1.0", PhysicsModel())


@pytest.mark.parametrize(
    "software",
    ["vllm", "vllm 0.19.0", "SGLang 0.5", "trtllm 1.3.0rc20", "nccl 2.29", "pytorch-2.1", "torch 2.5 cuda 12.4",
     "numpy 2", "megatron", "tensorrt-llm", "TensorRT", "", " "],
)  # fmt: skip
def test_names_of_stacks_and_of_measured_tables_are_known(software: str) -> None:
    check_software(software, shipped())
    check_software(software, PhysicsModel())


@pytest.mark.parametrize("name", ["onnxruntime-gpu", "onnxruntime-web", "megatron-lm", "LiteRT-LM", "my engine"])
def test_what_people_call_other_products_is_no_slip(name: str) -> None:
    assert ac.predict("gpt-2", on="h100-sxm", software=name).latency_s is not None


@pytest.mark.parametrize(
    ("slip", "nearest"),
    [("vlllm", "vllm"), ("sglangg 0.5", "sglang"), ("litrt", "litert"), ("onnxruntme 1.20", "onnxruntime"),
     ("tensorrt10", "tensorrt"), ("olama", "ollama"), ("pytorh", "pytorch")],
)  # fmt: skip
def test_a_slip_is_refused_with_the_nearest_name_first(slip: str, nearest: str) -> None:
    with pytest.raises(UnknownNameError) as refused:
        ac.predict("gpt-2", on="h100-sxm", software=slip)
    assert refused.value.nearest[0] == nearest
    assert f"Unknown software '{slip}'. Nearest: {nearest}" in str(refused.value)
    assert "h100-sxm has" in str(refused.value)


@pytest.mark.parametrize(
    ("glued", "written"),
    [("vllm0.19", "vllm 0.19"), ("vLLM-0.19", "vllm 0.19"), ("vllm==0.19.0", "vllm 0.19.0"),
     ("trtllm1.3.0rc20", "trtllm 1.3.0rc20"), ("tensorrt10", "tensorrt 10"), ("TensorRT-LLM0.9", "trtllm 0.9")],
)  # fmt: skip
def test_a_version_without_its_blank_is_refused_with_the_blank_in_it(glued: str, written: str) -> None:
    with pytest.raises(UnknownNameError, match=f"Write the version after a blank: '{written}'"):
        ac.predict("gpt-2", on="h100-sxm", software=glued)


@pytest.mark.parametrize(
    ("spelling", "known"),
    [("vLLM 0.19.0", "vllm 0.19.0"), ("TensorRT-LLM", "trtllm"), ("tensorrt_llm 1.0.0", "trtllm 1.0.0"),
     ("TRT-LLM 1.0.0", "trtllm 1.0.0"), ("TensorRT LLM 1.0.0", "trtllm 1.0.0"), (" SGLang 0.5.9", "sglang 0.5.9")],
)  # fmt: skip
def test_a_known_stack_is_recognised_in_the_spelling_of_people(spelling: str, known: str) -> None:
    asked = [ac.predict("gpt-2", on="h100-sxm", software=name).to_json() for name in (spelling, known)]
    assert asked[0] == asked[1]
    found = ac.predict_batch(workload="gpt-2", on="h100-sxm", software=[spelling, known])["latency_hi_s"]
    rows = ac.predict_ops({"op": "gemm", "m": [64, 64], "n": 64, "k": 64, "software": [spelling, known]}, on="h100-sxm")
    assert found[0] == found[1]
    assert rows.latency_hi_s[0] == rows.latency_hi_s[1]


def test_a_name_that_a_model_was_calibrated_on_is_taken_as_it_is_written() -> None:
    class Calibrated(PhysicsModel):
        class scope:
            softwares = ("TensorRT-LLM 1.0",)

    assert as_known("TensorRT-LLM 2.0", Calibrated()) == "TensorRT-LLM 2.0"
    assert as_known("TensorRT-LLM 2.0", PhysicsModel()) == "trtllm 2.0"


@pytest.mark.parametrize("model", [None, "physics"])
def test_operators_refuse_a_slip_with_its_row_and_take_a_stack_of_ones_own(model: str | None) -> None:
    gemm = {"op": "gemm", "m": [64, 64], "n": 64, "k": 64}
    for slip in ("vlllm", "tensorrt10"):
        with pytest.raises(BadValueError, match=f"^Row 2: Unknown software '{slip}'"):
            ac.predict_ops({**gemm, "software": ["", slip]}, on="l40s", model=model)
        with pytest.raises(BadValueError, match=f"^Unknown software '{slip}'"):
            ac.predict_ops({**gemm, "software": slip}, on="l40s", model=model)
    assert ac.predict_ops({**gemm, "software": ["my engine 1.0", None]}, on="l40s", model=model).latency_s.shape == (2,)


def test_a_file_of_operators_names_the_row_of_a_slip(tmp_path: Path) -> None:
    (tmp_path / "o.csv").write_text(
        "op,dtype,m,n,k,device,software\ngemm,bf16,8,8,8,l40s,\ngemm,bf16,8,8,8,l40s,vlllm\n"
    )
    with pytest.raises(BadFileError, match="key 'software': row 2: Unknown software 'vlllm'"):
        predict_ops_file(tmp_path / "o.csv", tmp_path / "out.csv")


@pytest.mark.parametrize("software", ["my engine 1.0", "zzz", "rccl 2.2", "litert-lm", "mlx", "lmdeploy 0.6"])
def test_a_name_near_none_is_a_stack_of_ones_own_with_a_note(software: str) -> None:
    plain = ac.predict("gpt-2", on="h100-sxm")
    named = ac.predict("gpt-2", on="h100-sxm", software=software)
    assert plain.latency_s is not None
    assert named.latency_s is not None
    assert named.latency_s.hi / named.latency_s.lo > plain.latency_s.hi / plain.latency_s.lo
    assert any(f"not calibrated on the software '{software}'" in note for note in named.notes)


def test_a_model_that_was_calibrated_on_a_name_knows_it() -> None:
    class Calibrated(PhysicsModel):
        class scope:
            softwares = ("vlllm 3",)

    assert "vlllm" in known_software(Calibrated())
    check_software("vlllm 4", Calibrated())
    with pytest.raises(UnknownNameError):
        check_software("vlllm 4", PhysicsModel())


def test_rows_of_unknown_software_say_so_and_the_others_are_answered() -> None:
    found = ac.predict_batch(workload="gpt-2", on="h100-sxm", software=["", "vllm", "zzz", "vlllm"])
    assert found["verdict"].tolist() == ["feasible", "feasible", "infeasible", "infeasible"]
    assert found["reason"][2].startswith("Unknown software 'zzz'.")
    assert found["reason"][3].startswith("Unknown software 'vlllm'. Nearest: vllm")


@pytest.mark.parametrize("software", ["zzz", "vlllm"])
def test_the_oracle_refuses_software_that_nothing_knows(software: str) -> None:
    asked = {**GPT, "software": software}
    for question in (
        lambda: ac.cost_table({"workload": "gpt-2"}, [{"on": "h100-sxm", "software": software}, {"on": "l40s"}]),
        lambda: ac.curve(asked, "batch", [1, 2]),
        lambda: ac.marginal(asked, "batch"),
        lambda: ac.max_within(asked, "batch", {"latency_s": 1.0}),
        lambda: ac.scenarios(asked, 4),
        lambda: ac.sensitivities(asked),
    ):
        with pytest.raises(UnknownNameError, match=f"Unknown software '{software}'"):
            question()


def test_the_command_line_refuses_a_slip_in_one_sentence() -> None:
    said = refused("predict", "gpt-2", "--on", "h100-sxm", "--software", "vlllm")
    assert "Unknown software 'vlllm'. Nearest: vllm" in said
    said = refused("oracle", "curve", "gpt-2", "--on", "h100-sxm", "--software", "zzz", "--values", "1,2")
    assert "Unknown software 'zzz'" in said


def test_allocate_names_the_line_of_unknown_software(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(json.dumps({
        "kind": "allocate", "budgets": {"cost_usd": 1.0},
        "options": [{"name": "one", "workload": "gpt-2", "on": "l40s", "software": "vlllm"}],
        "items": [{"name": "i", "prompt": 10, "success": {"one": 0.5}}],
    }, indent=1))  # fmt: skip
    with pytest.raises(BadFileError, match=r"a\.yaml:\d+, key 'options\[0\]\.software': Unknown software 'vlllm'"):
        ac.allocate(file)


def test_a_file_of_served_requests_names_the_line_of_a_slip(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    text = (
        "kind: serving\nmodel: llama-3.2-1b\non: l40s\nsoftware: {}\n"
        "traffic: {{requests: 20, rate_hz: 5, prompt: 20, generate: 4}}\n"
    )
    file.write_text(text.format("vlllm"))
    with pytest.raises(BadFileError, match=r"s\.yaml:4, key 'software': Unknown software 'vlllm'\. Nearest: vllm"):
        ac.simulate(file)
    file.write_text(text.format("my-engine"))
    assert any("'my-engine' is no stack that is known" in note for note in ac.simulate(file).notes)
