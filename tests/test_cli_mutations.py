"""Files with values replaced, dropped or added are answered or refused; none of them makes archcast fail."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_runner import ROOT, archcast
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject

VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 0.5, 1e99, 1e-300, 10**30, "", "x", "-3", "inf", "9" * 400, "\0", [], {}, [1], [None], {"a": 1},
)  # fmt: skip

DEVICE = (ROOT / "docs" / "hardware.md").read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]
RUN = """{kind: run, workload: gpt-2, "on": h100-sxm, batch: 2, prompt: 32, generate: 2, tp: 1, policy: in-order,
 knobs: {layers: 2}}"""
GRAPH = """{kind: graph, policy: critical-path,
 engines: [{name: gpu, kind: compute}, {name: link, kind: link, bandwidth_bytes_per_s: 5.0e10}],
 tasks: [{name: a, engine: gpu, duration_s: 0.001, repeat: 4}, {name: b, engine: link, bytes: 1000, after: [a]}]}"""
WORKLOAD = """{kind: workload, name: mlp, blocks: [{name: l, count: 3, operators: [
 {name: up, op: gemm, m: 1, n: 64, k: 16, parameters: auto}, {name: act, op: elementwise, rows: 1, hidden: 64},
 {name: down, op: gemm, m: 1, n: 16, k: 64, inputs: act, parameters: auto}]}]}"""
CONFIG = """{architectures: [Qwen3MoeForCausalLM], model_type: qwen3_moe, hidden_size: 64, num_hidden_layers: 2,
 num_attention_heads: 4, num_key_value_heads: 2, head_dim: 16, intermediate_size: 128, moe_intermediate_size: 32,
 num_experts: 8, num_experts_per_tok: 2, decoder_sparse_step: 1, vocab_size: 100, max_position_embeddings: 256,
 tie_word_embeddings: false, torch_dtype: bfloat16, norm_topk_prob: true}"""

CASES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "device": (DEVICE, "yaml", ("predict", "mobilenet-v2", "--on", "FILE")),
    "graph": (GRAPH, "yaml", ("simulate", "FILE")),
    "run": (RUN, "yaml", ("simulate", "FILE")),
    "workload": (WORKLOAD, "yaml", ("predict", "FILE", "--on", "rk3588")),
    "config": (CONFIG, "json", ("predict", "FILE", "--on", "h100-sxm")),
}


def places(data: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the place of every key and item of nested data."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [place for key, value in items for place in ((*at, key), *places(value, (*at, key)))]


def changed(data: Any, draw: DataObject) -> Any:
    """Return a copy in which one place has another value, is gone, or has a stranger beside it."""
    data = copy.deepcopy(data)
    *path, last = draw.draw(st.sampled_from(places(data)))
    holder = data
    for key in path:
        holder = holder[key]
    how = draw.draw(st.sampled_from(("value", "value", "gone", "stranger")))
    if how == "gone":
        del holder[last]
    elif how == "stranger" and isinstance(holder, dict):
        holder["stranger"] = draw.draw(st.sampled_from(VALUES))
    else:
        holder[last] = draw.draw(st.sampled_from(VALUES))
    return data


@pytest.mark.parametrize("case", CASES)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(draw=st.data())
def test_a_changed_file_is_answered_or_refused(case: str, tmp_path: Path, draw: DataObject) -> None:
    text, kind, arguments = CASES[case]
    data = changed(yaml.safe_load(text), draw)
    file = tmp_path / f"changed.{kind}"
    file.write_text(json.dumps(data) if kind == "json" else yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    ended = archcast(*(file if word == "FILE" else word for word in arguments), "--json")
    if ended.code == 0:
        assert ended.stderr == ""
        assert isinstance(ended.json(), dict)
    else:
        assert ended.code == 2, ended.stderr
        assert ended.stdout == ""
        assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("case", CASES)
def test_the_unchanged_file_is_answered(case: str, tmp_path: Path) -> None:
    text, kind, arguments = CASES[case]
    file = tmp_path / f"whole.{kind}"
    file.write_text(json.dumps(yaml.safe_load(text), default=str), encoding="utf-8")
    ended = archcast(*(file if word == "FILE" else word for word in arguments), "--json")
    assert ended.code == 0, ended.stderr
