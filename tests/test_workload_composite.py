"""Workloads made of workloads: parts, how often they run, what they share, and files that cannot be right."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import archcast as ac
from foundation.errors import ArchcastError, BadFileError, BadValueError, UnknownNameError
from workloads.catalogue import load_model
from workloads.expressions import evaluate
from workloads.lowering import lower
from workloads.model import Request
from workloads.work import count_work

CASCADE = """
kind: composite
name: cascade
prompt: 128
generate: 32
knobs: {escalated: 0.25}
parts:
  - {name: small, workload: gpt-2}
  - {name: large, workload: llama-3.1-8b, times: escalated}
"""
MATRIX = """
kind: composite
prompt: 64
knobs: {width: 256}
parts:
  - name: head
    batch: batch * 2
    blocks:
      - {operators: [{name: up, op: gemm, m: prompt, n: 4 * width, k: width, parameters: auto}]}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "mix.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def macs(model: object, request: Request) -> float:
    table = lower(model.workload(request).passes).table  # type: ignore[attr-defined]
    return float((count_work(table).macs * table.full("count")).sum())


def test_a_cascade_is_the_sum_of_its_parts_each_as_often_as_it_runs(tmp_path: Path) -> None:
    model = load_model(written(tmp_path, CASCADE))
    request = Request(batch=2, prompt=100, generate=10)
    small, large = (macs(load_model(name), request) for name in ("gpt-2", "llama-3.1-8b"))
    assert macs(model, request) == pytest.approx(small + 0.25 * large, rel=1e-12)
    assert macs(model.with_knobs({"escalated": 1}), request) == pytest.approx(small + large, rel=1e-12)
    both = load_model("gpt-2").summary()["parameters"] + load_model("llama-3.1-8b").summary()["parameters"]
    assert model.summary()["parameters"] == both


def test_a_cascade_takes_the_time_and_energy_of_its_parts(tmp_path: Path) -> None:
    asked = {"on": "h100-sxm", "batch": 2, "prompt": 100, "generate": 10}
    whole = ac.predict(written(tmp_path, CASCADE), **asked)  # type: ignore[arg-type]
    small, large = (ac.predict(name, **asked) for name in ("gpt-2", "llama-3.1-8b"))  # type: ignore[arg-type]
    assert whole.latency_s is not None
    assert small.latency_s is not None
    assert large.latency_s is not None
    assert whole.latency_s.value == pytest.approx(small.latency_s.value + large.latency_s.value / 4, rel=1e-9)
    assert whole.memory_parts_bytes["weights"] == pytest.approx(
        small.memory_parts_bytes["weights"] + large.memory_parts_bytes["weights"]
    )


def test_parts_of_one_label_hold_one_set_of_weights_and_state(tmp_path: Path) -> None:
    parts = "[{name: a, workload: gpt-2, weights: one}, {name: b, workload: gpt-2, weights: one, set: {layers: 6}}]"
    model = load_model(written(tmp_path, f"kind: composite\nprompt: 8\ngenerate: 8\nparts: {parts}\n"))
    assert model.summary()["parameters"] == load_model("gpt-2").summary()["parameters"]
    request = Request(prompt=8, generate=8)
    state = sum(float(np.max(o.state_elements)) * b.count
                for b in model.workload(request).distinct_blocks() for o in b.operators)  # fmt: skip
    assert state == 2 * 12 * 768 * 16  # keys and values, layers, hidden, tokens of the whole request


def test_sizes_of_operators_are_expressions_of_knobs_and_request(tmp_path: Path) -> None:
    model = load_model(written(tmp_path, MATRIX))
    assert macs(model, Request(batch=3, prompt=10)) == (3 * 2) * 10 * 1024 * 256
    assert macs(model.with_knobs({"width": 128}), Request(batch=3, prompt=10)) == 6 * 10 * 512 * 128
    several = model.workload(Request(batch=np.array([1, 3]), prompt=np.array([10, 20])))
    table = lower(several.passes).table
    assert count_work(table).macs.tolist() == [2 * 10 * 1024 * 256, 6 * 20 * 1024 * 256]


def test_many_questions_at_once_are_those_asked_one_by_one(tmp_path: Path) -> None:
    path = written(tmp_path, CASCADE)
    batch, prompt = [1, 4, 2], [16, 64, 300]
    many = ac.predict_batch(workload=[str(path)] * 3, on=["h100-sxm"] * 3, batch=batch, prompt=prompt)
    for i in range(3):
        one = ac.predict(path, on="h100-sxm", batch=batch[i], prompt=prompt[i])
        assert one.latency_s is not None
        assert many["latency_s"][i] == pytest.approx(one.latency_s.value, rel=1e-9)


def test_a_part_that_trains_keeps_gradients_and_the_other_does_not(tmp_path: Path) -> None:
    text = """
kind: composite
prompt: 64
parts:
  - {name: reward, workload: gpt-2, generate: 0}
  - {name: policy, workload: gpt-2, mode: train, training: {optimizer: sgd}}
"""
    estimate = ac.predict(written(tmp_path, text), on="h100-sxm")
    alone = ac.predict("gpt-2", on="h100-sxm", prompt=64, mode="train")
    assert 0 < estimate.memory_parts_bytes["optimizer"] < alone.memory_parts_bytes["optimizer"]
    assert estimate.memory_parts_bytes["weights"] == pytest.approx(2 * alone.memory_parts_bytes["weights"])


def test_rewrites_change_a_part_before_it_trains(tmp_path: Path) -> None:
    text = """
kind: composite
prompt: 64
parts:
  - name: tune
    workload: gpt-2
    mode: train
    rewrites: [{lora: {pattern: "*qkv", rank: 4}}]
"""
    estimate = ac.predict(written(tmp_path, text), on="h100-sxm")
    assert estimate.memory_parts_bytes["optimizer"] < 0.01 * estimate.memory_parts_bytes["weights"] * 8


def test_numbers_of_rewrites_are_expressions_and_patterns_are_not(tmp_path: Path) -> None:
    text = """
kind: composite
prompt: 64
knobs: {layers: 3, share: 0.5}
parts:
  - name: cut
    workload: gpt-2
    rewrites: [{drop_layers: {block: layers, keep: 2 * layers}}, {prune: {keep: {"*up": share / 2}}}]
"""
    model = load_model(written(tmp_path, text))
    layer = 3 * 768**2 + 768**2 + 2 * 768 * 768  # qkv, out, and a quarter of two matrices of 768 x 3072
    linear = 6 * 64 * layer + 50257 * 768  # the head scores the last token
    pairs = 6 * 12 * (64 * 65 // 2) * 2 * 64
    assert macs(model, Request(prompt=64, generate=1)) == linear + pairs
    assert macs(model.with_knobs({"layers": 6, "share": 2}), Request(prompt=64, generate=1)) > 2 * linear


def test_a_part_that_never_runs_holds_its_weights_and_nothing_else(tmp_path: Path) -> None:
    text = """
kind: composite
prompt: 64
knobs: {often: 0}
parts:
  - {name: small, workload: gpt-2, generate: 0}
  - {name: large, workload: gpt-2-xl, mode: train, prompt: 1024, times: often}
"""
    path = written(tmp_path, text)
    held, alone = ac.predict(path, on="h100-sxm"), ac.predict("gpt-2", on="h100-sxm", prompt=64, generate=1)
    both = alone.memory_parts_bytes["weights"] + 2 * load_model("gpt-2-xl").summary()["parameters"]
    assert held.memory_parts_bytes["weights"] == pytest.approx(both, rel=1e-6)
    assert held.memory_parts_bytes["activations"] == alone.memory_parts_bytes["activations"]
    assert held.memory_parts_bytes["optimizer"] == 0
    assert ac.predict(path, on="h100-sxm", knobs={"often": 1}).memory_parts_bytes["optimizer"] > 1e9


def test_what_is_held_is_rewritten_like_what_runs(tmp_path: Path) -> None:
    """A network that states what it holds (here two towers of which one runs) is quantised all the same."""
    text = """
kind: composite
parts:
  - {name: both, workload: clip-vit-b-32, set: {texts: 0}, rewrites: [{quantize: {dtype: int8}}]}
"""
    narrow = ac.predict(written(tmp_path, text), on="h100-sxm").memory_parts_bytes["weights"]
    wide = ac.predict("clip-vit-b-32", on="h100-sxm", knobs={"texts": 0}).memory_parts_bytes["weights"]
    assert 0.5 < narrow / wide < 0.7  # tables of embeddings stay wide


def test_a_part_that_takes_images_is_not_told_of_tokens(tmp_path: Path) -> None:
    text = "kind: composite\nprompt: 64\nparts: [{name: see, workload: vit-base}, {name: say, workload: gpt-2}]\n"
    assert load_model(written(tmp_path, text)).workload(Request()).notes == ()


@pytest.mark.parametrize(
    ("text", "value"),
    [("2 * a + 1", 7.0), ("-a ** 2", -9.0), ("ceil(a / 2)", 2.0), ("min(a, 2) // 1", 2.0), ("1e3", 1000.0), (4, 4)],
)
def test_an_expression_has_the_value_that_a_person_computes(text: str | int, value: float) -> None:
    assert evaluate(text, {"a": 3.0}) == value


@pytest.mark.parametrize("text", ["__import__('os')", "a.b", "[1]", "a if a else a", "1 / 0", "'x'", "f(*a)", "9 ** 99",
                                  "lambda: 1", "-" * 90 + "1", "a" * 400, "", "min()", "True"])  # fmt: skip
def test_what_is_no_arithmetic_is_refused(text: str) -> None:
    with pytest.raises((BadValueError, UnknownNameError)):
        evaluate(text, {"a": 3.0})


@given(st.text(max_size=60))
def test_any_text_is_a_number_or_one_clear_error(text: str) -> None:
    with suppress(ArchcastError):
        assert np.all(np.isfinite(evaluate(text, {"a": 1.0})))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("times: escalated", "times: escalatd"), r"parts\[1\]\.times.*escalatd.*escalated"),
        (("workload: gpt-2", "workload: gpt-22"), r"parts\[0\]\.workload.*gpt-2"),
        (("times: escalated", "often: 2"), r"parts\[1\]\.often"),
        (("times: escalated", "times: -1"), "0 or more"),
        (("name: small", "name: large"), "two parts are named"),
        (("workload: gpt-2", "workload: mix.yaml"), "made of parts"),
        (("workload: gpt-2", "rewrites: [{prun: {}}], workload: gpt-2"), "prune"),
        (("workload: gpt-2", "keep: prefil, workload: gpt-2"), "prefill"),
        (("workload: gpt-2", "mode: trian, workload: gpt-2"), "train"),
        (("workload: gpt-2", "training: {zero_stage: 1}, workload: gpt-2"), "does not train"),
        (("escalated: 0.25", "batch: 0.25"), "cannot be the name of a knob"),
        (("escalated: 0.25", "escalated: .nan"), "escalated"),
    ],
)
def test_a_fault_names_its_place(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    with pytest.raises(BadFileError, match=message):
        load_model(written(tmp_path, CASCADE.replace(*change)))


def test_a_composite_refuses_to_train_as_a_whole(tmp_path: Path) -> None:
    with pytest.raises(BadValueError, match="each says in the file whether it trains"):
        ac.predict(written(tmp_path, CASCADE), on="h100-sxm", mode="train")
