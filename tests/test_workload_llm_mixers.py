"""Parts of a decoder's layer beyond attention and SwiGLU, against values derived by hand on a tiny model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import BadValueError
from workloads import Request, Workload, count_work, lower
from workloads.builders.language.decoder import Decoder
from workloads.builders.language.mixers_latent import chosen_share
from workloads.graph import Operator

TINY: dict[str, Any] = {
    "layers": 1, "hidden": 8, "heads": 2, "kv_heads": 1, "inter": 16, "vocab": 32, "max_context": 10**6,
}  # fmt: skip
DSA: dict[str, Any] = {
    "mixers": "dsa", "kv_rank": 6, "rope_dim": 2, "q_rank": 5, "index_heads": 3, "index_dim": 4, "topk_keys": 8,
}  # fmt: skip
DELTA: dict[str, Any] = {
    "mixers": "deltanet", "linear_heads": 4, "linear_key_heads": 2, "linear_key_dim": 3, "linear_value_dim": 5,
}  # fmt: skip
RWKV: dict[str, Any] = {
    "mixers": "rwkv6", "ffns": "channel-mix", "norm": "layer", "mix_rank": 2, "decay_rank": 3, "position": "none",
}  # fmt: skip


def tiny(**knobs: Any) -> Decoder:
    return Decoder.from_knobs("tiny", TINY | knobs)


def layer(model: Decoder, *, decode: bool = False, **request: Any) -> dict[str, Operator]:
    """Return the operators of the layers' block by name."""
    workload = model.workload(Request(**request))
    (block,) = (b for b in workload.passes[int(decode)].graph.blocks if b.name == "layers")
    return {o.name: o for o in block.operators}


def parameters(model: Decoder) -> dict[str, float]:
    """Return the stored parameters of a layer's operators that have some."""
    return {name: o.parameters for name, o in layer(model).items() if o.parameters}


def work(workload: Workload, phase: int, name: str) -> dict[str, float]:
    """Return the work of one operator in one pass (first scenario)."""
    lowered = lower([workload.passes[phase]])
    counted, at = count_work(lowered.table), lowered.table.labels.index(name)
    fields = ("matrix_flop", "vector_flop", "weight_bytes")
    return {field: float(np.broadcast_to(getattr(counted, field), lowered.table.rows)[at]) for field in fields}


def test_an_indexer_scores_all_pairs_and_attention_reads_the_chosen() -> None:
    """16 tokens: 1 + .. + 16 = 136 pairs are scored; sum min(i, 8) = 100 are attended, over latents of 6 + 2."""
    workload = tiny(**DSA).workload(Request(prompt=16, generate=2))
    assert work(workload, 0, "index_scores")["matrix_flop"] == 2 * 136 * 3 * 4
    assert work(workload, 0, "attention")["matrix_flop"] == pytest.approx(2 * 100 * 2 * (2 * 6 + 2))
    assert work(workload, 1, "index_scores")["matrix_flop"] == 2 * 17 * 3 * 4
    assert work(workload, 1, "attention")["matrix_flop"] == pytest.approx(2 * 8 * 2 * (2 * 6 + 2))
    assert work(workload, 1, "attention")["weight_bytes"] == pytest.approx(8 * (6 + 2) * 2)


def test_an_indexer_stores_its_projections_and_keeps_one_key_and_its_scale_a_token() -> None:
    found, plain = (parameters(tiny(**DSA | {"mixers": mixer})) for mixer in ("dsa", "mla"))
    added = {"index_q": 3 * 4 * 5, "index_k": 4 * 8, "index_norm": 2 * 4, "index_weights": 3 * 8}
    assert {name: found[name] for name in added} == added
    assert sum(found.values()) - sum(plain.values()) == sum(added.values())
    kept = layer(tiny(**DSA), prompt=100, generate=0)["index_scores"]
    assert (kept.state_elements, kept.state_dtype) == (100 * (4 + 4), "fp8")


@given(q_len=st.integers(1, 300), before=st.integers(0, 300), limit=st.integers(1, 400))
def test_the_chosen_share_of_pairs_is_that_of_counting_them(q_len: int, before: int, limit: int) -> None:
    seen = range(before + 1, before + q_len + 1)
    counted = sum(min(n, limit) for n in seen) / sum(seen)
    assert chosen_share(q_len, before + q_len, limit) == pytest.approx(counted)


def test_a_gated_delta_net_has_the_parameters_and_the_work_derived_by_hand() -> None:
    """2 key heads of 3 and 4 value heads of 5: queries and keys 6 each, values and gate 20 each, 4 decays, 4 steps."""
    model = tiny(**DELTA)
    found = parameters(model)
    by_hand = {
        "in_proj": 8 * (6 + 6 + 20 + 20 + 4 + 4), "conv": (6 + 6 + 20) * 4, "scan": 2 * 4, "gate_norm": 5,
        "out_proj": 20 * 8,
    }  # fmt: skip
    assert {name: found[name] for name in by_hand} == by_hand
    workload = model.workload(Request(batch=2, prompt=5, generate=1))
    assert work(workload, 0, "scan")["vector_flop"] == 6 * 10 * 4 * 5 * 3


def test_a_recurrent_state_is_kept_in_its_own_format() -> None:
    scan = layer(tiny(**DELTA, state_dtype="fp32"), batch=3)["scan"]
    assert (scan.state_elements, scan.state_dtype) == (3 * 4 * 5 * 3, "fp32")
    assert layer(tiny(**DELTA), batch=3)["scan"].state_dtype == "bf16"


def test_rwkv_has_the_parameters_derived_by_hand() -> None:
    by_hand = {
        "mixer_norm": 16, "shift": 6 * 8, "mix_a": 5 * 2 * 8, "mix_b": 5 * 2 * 8, "decay_a": 3 * 8,
        "decay_b": 3 * 8 + 8, "rkvg": 4 * 64, "scan": 8, "gate_norm": 16, "o": 64, "ffn_norm": 16,
        "channel_shift": 2 * 8, "channel_receptance": 64, "channel_key": 16 * 8, "channel_value": 16 * 8,
    }  # fmt: skip
    assert parameters(tiny(**RWKV)) == by_hand
    kept = {name: o.state_elements for name, o in layer(tiny(**RWKV)).items() if o.state_elements}
    assert kept == {"shift": 8, "scan": 2 * 4 * 4, "channel_shift": 8}


def test_a_gated_short_convolution_has_the_parameters_derived_by_hand() -> None:
    found = parameters(tiny(mixers="conv", conv_width=3, conv_expand=2, ffns="none"))
    assert found == {"mixer_norm": 8, "in_proj": 8 * 32, "conv": 16 * (3 + 1), "out_proj": 16 * 8}


def test_inner_norms_of_a_state_space_are_stored() -> None:
    plain, normed = (parameters(tiny(mixers="mamba", ssm_state=4, dt_rank=2, ssm_norm=n)) for n in (False, True))
    assert sum(normed.values()) - sum(plain.values()) == 2 + 2 * 4


def test_heads_of_a_state_space_need_not_follow_from_the_width() -> None:
    found = parameters(tiny(mixers="mamba2", ssm_heads=3, ssm_head_dim=4, ssm_state=2, ssm_groups=1))
    assert found["in_proj"] == 8 * (2 * 12 + 2 * 2 + 3)


def test_a_gate_and_sinks_add_their_parameters_and_the_gate_reads_the_projection() -> None:
    plain, gated = (layer(tiny(attention_gate=g, sinks=g)) for g in (False, True))
    assert gated["qkv"].parameters - plain["qkv"].parameters == 8 * 8
    assert gated["attention"].parameters - plain["attention"].parameters == 2
    assert gated["attention_gate"].inputs == ("attention", "qkv")


def test_norms_of_queries_and_keys_are_one_a_head_or_one_over_all() -> None:
    assert parameters(tiny(qk_norm=True))["qk_norm"] == 2 * 4
    assert parameters(tiny(qk_norm=True, qk_norm_wide=True))["qk_norm"] == 2 * 4 + 4


def test_rotating_half_a_head_is_half_the_work() -> None:
    whole, half = (layer(tiny(rotary_dim=r))["rope"].shape["hidden"] for r in (0, 2))
    assert (whole, half) == (8 + 4, 6)
    with pytest.raises(BadValueError, match="rotary_dim=5"):
        tiny(rotary_dim=5)


@pytest.mark.parametrize(
    ("bias", "added"),
    [("none", 0), ("qkv", 16), ("attention", 16 + 8), ("mlp", 32 + 8), ("all", 16 + 8 + 32 + 8)],
)
def test_biases_stand_where_they_are_said_to(bias: str, added: int) -> None:
    plain, biased = (sum(parameters(tiny(bias=b)).values()) for b in ("none", bias))
    assert biased - plain == added


def test_biases_of_experts_and_their_router_are_stored() -> None:
    knobs = {"ffns": "moe", "experts": 4, "topk": 2, "moe_inter": 6}
    plain, biased = (parameters(tiny(**knobs, bias=b)) for b in ("none", "all"))
    assert biased["experts"] - plain["experts"] == 4 * (2 * 6 + 8)
    assert biased["router"] - plain["router"] == 4
    assert layer(tiny(**knobs, bias="all"))["experts"].active_parameters == 2 * (3 * 8 * 6 + 2 * 6 + 8)


def test_a_gate_of_the_shared_expert_is_one_column() -> None:
    knobs = {"ffns": "moe", "experts": 4, "shared_experts": 1, "moe_inter": 6, "shared_inter": 5}
    found = layer(tiny(**knobs, shared_gate=True))
    assert found["shared_gate"].parameters == 8
    assert found["combine"].inputs == ("experts", "shared_down", "shared_gate")


@pytest.mark.parametrize(("parallel", "source", "norms"), [("one-norm", "mixer_norm", 1), ("two-norms", "ffn_norm", 2)])
def test_a_parallel_layer_feeds_both_parts_from_the_stream(parallel: str, source: str, norms: int) -> None:
    found = layer(tiny(parallel=parallel))
    assert found["gate_up"].inputs == (source,)
    assert found["join"].inputs == ("o", "down")
    assert sum(o.op == "norm" for o in found.values()) == norms
    if norms == 2:
        assert found["ffn_norm"].inputs == ("mixer_norm",), "the first norm also writes the stream"


def test_a_parallel_layer_does_the_matrix_work_of_a_sequential_one() -> None:
    request = Request(prompt=20, generate=3)
    macs = {p: tiny(parallel=p).workload(request).graph.macs() for p in ("none", "one-norm", "two-norms")}
    assert len(set(macs.values())) == 1


def test_experts_of_a_shortcut_stand_beside_two_dense_networks() -> None:
    knobs = {"mixers": "mla", "kv_rank": 6, "rope_dim": 2, "ffns": "shortcut-moe", "experts": 4, "moe_inter": 6}
    found = layer(tiny(**knobs))
    assert [name for name, o in found.items() if o.op == "mla"] == ["attention", "second_attention"]
    assert [name for name in found if name.endswith("gate_up")] == ["gate_up", "second_gate_up"]
    assert found["experts"].inputs == ("route", "ffn_norm")
    assert found["gate_up"].inputs == ("ffn_norm",)
    assert found["join"].inputs == ("second_down", "experts")
    plain = parameters(tiny(**knobs | {"ffns": "dense"}))
    extra = sum(parameters(tiny(**knobs)).values()) - 2 * sum(plain.values())
    assert extra == 4 * 3 * 8 * 6 + 4 * 8


def test_norms_of_embeddings_head_biases_and_rows_of_positions_are_stored() -> None:
    def total(**knobs: Any) -> float:
        return tiny(max_context=64, position="table", norm="layer", **knobs).workload(Request()).parameters

    plain = total()
    assert total(embedding_norm=True) - plain == 2 * 8
    assert total(head_bias=True) - plain == 32
    assert total(position_rows=66) - plain == 2 * 8
    assert tiny(norm="layer-gain").workload(Request()).parameters == tiny().workload(Request()).parameters


@pytest.mark.parametrize(
    "knobs",
    [{"head_bias": True, "tied": True}, {"parallel": "one-norm", "post_norm": True}, {"ffns": "shortcut-moe"}],
)
def test_knobs_that_do_not_go_together_are_refused(knobs: dict[str, Any]) -> None:
    with pytest.raises(BadValueError):
        tiny(**knobs)


@given(
    batch=st.integers(1, 64), prompt=st.integers(1, 4000), generate=st.integers(0, 300),
    knobs=st.sampled_from([DSA, DELTA, RWKV, {"mixers": "conv"}, {"parallel": "two-norms"}]),
)  # fmt: skip
def test_no_operator_does_less_when_a_request_grows(
    batch: int, prompt: int, generate: int, knobs: dict[str, Any]
) -> None:
    sizes = np.array([[batch, prompt, generate], [batch + 1, prompt, generate], [batch, prompt + 7, generate]]).T
    workload = tiny(**knobs).workload(Request(batch=sizes[0], prompt=sizes[1], generate=sizes[2]))
    lowered = lower([workload.passes[0]])
    flop = np.broadcast_to(count_work(lowered.table).flop, lowered.table.rows).reshape(-1, 3)
    assert np.all(flop[:, 1:] >= flop[:, :1] * (1 - 1e-12))
    kept = np.array([np.asarray(o.state_elements) + np.zeros(3) for b in workload.graph.blocks for o in b.operators])
    assert np.all(kept[:, 1:] >= kept[:, :1])
    assert not lower(workload.passes).table.faults()
