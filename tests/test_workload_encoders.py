"""Encoders and encoder-decoders: parameters, MACs against torch's counter, cache bytes, what is refused.

MACs named `torch` were counted by torch.utils.flop_counter (torch 2.15) on the network that transformers 5.23 builds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import BadValueError
from workloads import Request, lower
from workloads.builders.language.encoder import Encoder
from workloads.catalogue import architecture_facts, load_model, workload_names
from workloads.families import build

ENCODERS = [n for n in workload_names() if architecture_facts(n)["family"] in ("encoder", "encoder-bottleneck")]
PAIRS = [n for n in workload_names() if architecture_facts(n)["family"] == "encoder-decoder"]
PUBLISHED_OTHERWISE = {"ul2"}
"""Their published count shares the table of embeddings, which their configuration does not."""


@pytest.mark.parametrize("name", [n for n in [*ENCODERS, *PAIRS] if n not in PUBLISHED_OTHERWISE])
def test_parameters_are_exactly_the_published_ones(name: str) -> None:
    assert load_model(name).workload(Request()).parameters == architecture_facts(name)["published_parameters"]


def test_an_output_projection_of_its_own_is_all_that_ul2_has_beside_the_published_count() -> None:
    published = architecture_facts("ul2")["published_parameters"]
    assert load_model("ul2").workload(Request()).parameters == published + 32128 * 4096
    assert load_model("ul2", {"tied": True}).workload(Request()).parameters == published


@pytest.mark.parametrize(
    ("family", "knobs", "tokens", "torch"),
    [
        ("encoder", {}, 512, 48_318_971_904),
        ("encoder", {"embed_hidden": 128, "shared_layers": True}, 512, 48_369_303_552),
        ("encoder", {"layers": 2, "types": 0, "position": "none", "attention": "disentangled", "head": "none"}, 512,
         10_066_329_600),
        ("encoder", {"layers": 2, "types": 0, "position": "none", "attention": "disentangled", "head": "none"}, 128,
         3_271_557_120),
        ("encoder-bottleneck", {"layers": 24, "hidden": 512, "embed_hidden": 128, "heads": 4, "inter": 512}, 512,
         11_979_194_368),
    ],
)  # fmt: skip
def test_macs_of_an_encoder_are_those_that_torch_counts(
    family: str, knobs: dict[str, Any], tokens: int, torch: int
) -> None:
    assert build(family, "x", knobs).workload(Request(prompt=tokens)).graph.macs() == torch


def test_a_window_with_global_tokens_costs_what_its_pairs_cost() -> None:
    """Torch counts 39,071,711,232 for 2 layers: it pads windows to overlapping chunks of 512 and two of 256 beside."""
    model = load_model("longformer-base", {"layers": 2, "head": "none"})
    tokens, width = 2048, 768
    # q, k, v, o, the feed-forward part; k and v for the global token from all, q for it alone
    dense = tokens * (4 * width**2 + 2 * width * 3072) + 2 * tokens * width**2 + width**2
    pairs = tokens * 513 + tokens + tokens
    assert model.workload(Request(prompt=tokens)).graph.macs() == 2 * (dense + 2 * pairs * width)
    chunked = 2 * (7 * 512 * 512 + 8 * 256 * 768 - 2 * tokens * 513) * width
    assert 2 * (dense + 2 * pairs * width) + width**2 + chunked == pytest.approx(39_071_711_232, rel=1e-6)


def test_a_window_makes_cost_linear_in_the_sequence() -> None:
    model = load_model("longformer-base", {"global_tokens": 0, "head": "none"})
    macs = [model.workload(Request(prompt=n)).graph.macs() for n in (1024, 2048, 4096)]
    assert macs[2] - macs[1] == pytest.approx(2 * (macs[1] - macs[0]))


def test_shared_layers_are_stored_once_and_run_every_time() -> None:
    apart = load_model("albert-base", {"shared_layers": False}).workload(Request())
    shared = load_model("albert-base").workload(Request())
    assert apart.graph.macs() == shared.graph.macs()
    layer = 4 * (768**2 + 768) + 2 * 768 * 3072 + 3072 + 768 + 4 * 768
    assert apart.parameters - shared.parameters == 11 * layer


def test_a_causal_encoder_sees_half_of_the_pairs() -> None:
    every = Encoder.from_knobs("x", {"layers": 1, "head": "none"}).workload(Request(prompt=64)).graph.macs()
    before = Encoder.from_knobs("x", {"layers": 1, "head": "none", "causal": True})
    assert every - before.workload(Request(prompt=64)).graph.macs() == 2 * 768 * (64 * 64 - 64 * 65 / 2)


def test_an_encoder_without_a_window_to_see_is_refused() -> None:
    with pytest.raises(BadValueError, match="window"):
        load_model("bert-base", {"attention": "global"})


def test_names_that_people_use_for_embedding_models_resolve() -> None:
    for alias, name in {
        "BAAI/bge-large-en-v1.5": "bert-large", "intfloat/e5-base-v2": "bert-base", "google/flan-t5-xl": "t5-v1.1-xl",
        "sentence-transformers/all-MiniLM-L6-v2": "minilm-l6", "microsoft/deberta-v3-base": "deberta-v3-base",
        "google/t5-v1_1-xxl": "t5-v1.1-xxl", "facebook/bart-large-cnn": "bart-large-cnn",
    }.items():  # fmt: skip
        assert load_model(alias) == load_model(name)


@pytest.mark.parametrize("name", PAIRS)
def test_the_cache_of_one_token_has_the_bytes_that_the_facts_state(name: str) -> None:
    facts = architecture_facts(name)

    def kept(generate: int) -> float:
        blocks = load_model(name).workload(Request(prompt=16, generate=generate)).graph.blocks
        return sum(2 * float(np.ravel(o.state_elements)[0]) * b.count for b in blocks for o in b.operators)

    assert kept(9) - kept(8) == facts["published_kv_bytes_per_token"]


@pytest.mark.parametrize(
    ("name", "layers", "hidden", "torch"),
    [("bart-large", 12, 1024, 112_111_190_016), ("t5-base", 12, 768, 64_166_559_744)],
)
def test_macs_of_an_encoder_decoder_are_those_that_torch_counts(
    name: str, layers: int, hidden: int, torch: int
) -> None:
    """With 64 target tokens at once, as in training; torch computes the pairs that the causal mask then drops."""
    request = Request(prompt=512, generate=64, mode="train")
    masked = layers * 2 * hidden * (64 * 64 - 64 * 65 // 2)
    assert load_model(name).workload(request).graph.macs() == torch - masked


def test_keys_and_values_of_the_source_are_made_once() -> None:
    prefill, decode = load_model("bart-base").workload(Request(prompt=32, generate=8)).passes
    assert {"cross_kv"} == {o.name for b in prefill.graph.blocks for o in b.operators if o.name == "cross_kv"}
    assert not any(o.name == "cross_kv" for b in decode.graph.blocks for o in b.operators)


def test_a_source_longer_than_the_table_is_refused_and_relative_positions_have_none() -> None:
    with pytest.raises(BadValueError, match="1,024"):
        load_model("bart-base").workload(Request(prompt=1025))
    assert not load_model("t5-small").workload(Request(prompt=5000)).notes


@given(st.integers(1, 64), st.integers(1, 512), st.integers(1, 64))
def test_requests_together_cost_what_they_cost_alone(batch: int, prompt: int, generate: int) -> None:
    model = load_model("bart-base", {"encoder_layers": 1, "decoder_layers": 1})
    many = model.workload(Request(batch=np.array([batch, 3]), prompt=np.array([prompt, 7]), generate=generate))
    one = model.workload(Request(batch=batch, prompt=prompt, generate=generate))
    for together, alone in zip(many.passes, one.passes, strict=True):
        row = lower([together]).table.full("rows")
        assert together.graph.macs() == alone.graph.macs()
        assert len(row) % 2 == 0


@pytest.mark.parametrize("name", ["mobilebert", "albert-base", "longformer-base", "deberta-v3-base", "bart-base"])
def test_a_training_step_goes_forward_and_back(name: str) -> None:
    workload = load_model(name).workload(Request(prompt=64, generate=8, mode="train"))
    forward, backward = (p.graph.macs() for p in workload.passes[:2])
    assert 1.8 * forward < backward < 2.2 * forward
