"""Power and energy of served language models: what a step does, what is fitted to it, and how far that is off."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costmodel.collectives import fabric_of
from costmodel.protocol import PhysicsModel
from costmodel.rates import compile_rates
from costmodel.served_power import (
    PRIOR,
    QUANTITIES,
    SIGNALS,
    TERMS,
    Labels,
    ServedPower,
    fit_served_power,
    served_energy,
    shipped_served_power,
    signals_of,
    terms_of,
)
from costmodel.served_work import COLUMNS, KINDS, Served, Work, joined_work, served_work, taken
from foundation.errors import BadFileError, BadValueError
from hardware_specs import load_device
from workloads.catalogue import load_model
from workloads.mapping import Mapping
from workloads.table import Array

DATA = Path(os.environ.get("ARCHCAST_DATA") or Path(__file__).parents[1] / ".." / "shared" / "data")


def engine(name: str, mapping: Mapping | None = None) -> Served:
    spec, laid = load_device("h100-sxm"), mapping or Mapping()
    return Served(load_model(name), compile_rates(spec), fabric_of(spec, laid.devices), laid, PhysicsModel())


def work_of(
    name: str, batch: list[float], prompt: float = 300, generate: float = 500, mapping: Mapping | None = None
) -> Work:
    loads = np.array(batch, dtype=float)
    return served_work(engine(name, mapping), loads, np.full(len(loads), prompt), np.full(len(loads), generate))


def samples() -> tuple[Work, Array]:
    """Return the work of four networks under some loads, and the name of each row's."""
    loads = [8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0]
    names = ["llama-3.1-8b", "qwen3-14b", "gemma-3-12b", "qwen3-30b-a3b"]
    works = [work_of(name, loads, generate=generate) for name in names for generate in (300.0, 2000.0)]
    return joined_work(works), np.repeat(names, 2 * len(loads))


WORK, NAMES = samples()


def test_a_step_reads_every_weight_once_and_one_key_and_value_a_cached_token() -> None:
    work = work_of("llama-3.1-8b", [1.0], prompt=1000, generate=1)
    # 8.03e9 weights less the embedding's 0.525e9 rows that are not looked up, in two bytes; 128 kB a cached token,
    # of which there are 1000 and, of an output of one token with a coefficient of variation of 1, another
    expected = ((8.03e9 - 0.525e9) * 2 + 1001 * 131_072) / 3.35e12
    assert work["decode_dram_s"][0] == pytest.approx(expected, rel=0.01)


def test_a_prompt_that_joins_a_step_pays_for_its_tokens_and_not_for_the_weights() -> None:
    work = work_of("llama-3.1-8b", [64.0], prompt=400, generate=100)
    assert work["prompts"][0] == 0.64
    flop = 2 * 6.98e9 * 400 * 0.64  # weights of the layers, whose products 400 tokens pass
    assert work["prefill_flop_s"][0] == pytest.approx(flop / 989e12, rel=0.05)
    assert work["prefill_dram_s"][0] < 0.2 * work["decode_dram_s"][0]


def test_longer_outputs_make_prompts_rarer_and_contexts_longer() -> None:
    short, long = (work_of("llama-3.1-8b", [64.0], generate=g) for g in (100.0, 1000.0))
    assert long["prefill_gemm_s"][0] == pytest.approx(short["prefill_gemm_s"][0] / 10)
    assert long["decode_attention_s"][0] > short["decode_attention_s"][0]
    assert long["decode_gemm_s"][0] == short["decode_gemm_s"][0]


def test_experts_are_counted_by_layer_and_format() -> None:
    routed = work_of("llama-4-maverick-fp8", [8.0, 512.0], mapping=Mapping(tp=8, ep=8))
    assert (routed["expert_layers"][0], routed["eight_bit_expert_layers"][0]) == (24, 24)  # every second of 48 layers
    few, many = routed[
        "narrow"
    ]  # experts are in 8 bits, all else in 16: the more are hit, the narrower is what is read
    assert 0 < few < many < 1
    plain = work_of("llama-3.1-8b", [8.0])
    assert plain["expert_layers"][0] == plain["narrow"][0] == plain["decode_moe_s"][0] == 0


def test_ranks_with_experts_wait_for_the_busiest() -> None:
    one = work_of("qwen3-30b-a3b", [64.0], mapping=Mapping(tp=4, ep=1))
    many = work_of("qwen3-30b-a3b", [64.0], mapping=Mapping(tp=4, ep=4))
    few = work_of("llama-4-scout", [64.0], mapping=Mapping(tp=4, ep=4))  # one expert of 16 a token, not 8 of 128
    assert one["uneven"][0] == 0
    assert 0 < many["uneven"][0] < few["uneven"][0] < 0.75  # at most all rows are on one of four ranks


def test_stages_of_a_pipeline_share_the_requests() -> None:
    whole, staged = work_of("llama-3.1-8b", [32.0]), work_of("llama-3.1-8b", [64.0], mapping=Mapping(pp=2))
    assert staged["decode_gemm_s"][0] == pytest.approx(whole["decode_gemm_s"][0])
    assert (staged["batch"][0], staged["devices"][0]) == (64, 2)


def test_a_network_that_generates_nothing_is_refused() -> None:
    with pytest.raises(BadValueError, match="generates no tokens"):
        work_of("bert-base", [8.0], prompt=100, generate=100)


def truth(work: Work, family: Array, seed: int = 0) -> Labels:
    """Return labels of a made-up engine: known coefficients, 1 % of noise."""
    random, terms = np.random.default_rng(seed), terms_of(work)
    times = PRIOR + np.array([0.1, 0.2, -0.1, 0.0, 0.0, 0.1, 0.2, 3.0, 5.0, 4.0, 1.0, 0.0, 2.0, 0.0])
    step = terms @ times * np.exp(random.normal(0, 0.01, len(terms)))
    share = 0.3 + 0.4 * signals_of(work, step)[:, 0] + 0.5 * signals_of(work, step)[:, 1]
    return Labels(step, np.clip(700 * share, 75, 700), family)


def test_the_more_rows_the_less_a_fit_leans_on_what_was_believed() -> None:
    errors = []
    for often in (1, 10, 100):
        index = np.tile(np.arange(len(NAMES)), often)
        work, labels = taken(WORK, index), truth(taken(WORK, index), NAMES[index])
        errors.append(float(np.abs(fit_served_power(work, labels).step_s(work) / labels.step_s - 1).mean()))
    assert errors[0] < 0.05
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.01  # the noise is 1 %, whose mean is 0.8 %


def test_a_family_left_out_is_met_by_the_interval() -> None:
    labels = truth(WORK, NAMES)
    for name in ("qwen3-14b", "gemma-3-12b"):
        out, kept = np.flatnonzero(name == NAMES), np.flatnonzero(name != NAMES)
        value, lo, hi = served_energy(taken(WORK, out), fit_served_power(taken(WORK, kept), labels.take(kept)))
        measured = (labels.step_s * labels.device_w / WORK["batch"])[out]
        assert np.abs(value / measured - 1).mean() < 0.1
        assert np.mean((lo <= measured) & (measured <= hi)) >= 0.8


def test_the_same_rows_give_the_same_model_and_text_keeps_it() -> None:
    labels = truth(WORK, NAMES)
    text = fit_served_power(WORK, labels, "made up").to_json()
    assert fit_served_power(WORK, labels, "made up").to_json() == text
    read = ServedPower.from_json(text)
    assert read.to_json() == text
    assert (read.source, read.rows) == ("made up", len(NAMES))


def test_one_bad_row_does_not_decide() -> None:
    labels = truth(WORK, NAMES)
    steps = labels.step_s.copy()
    steps[3] *= 20
    model = fit_served_power(WORK, replace(labels, step_s=steps))
    others = np.arange(len(steps)) != 3
    assert np.abs(model.step_s(WORK) / labels.step_s - 1)[others].mean() < 0.04


def test_too_few_rows_or_families_or_labels_of_zero_are_refused() -> None:
    labels = truth(WORK, NAMES)
    some = np.arange(12)
    with pytest.raises(BadValueError, match="20 rows"):
        fit_served_power(taken(WORK, some), labels.take(some))
    with pytest.raises(BadValueError, match="2 families"):
        fit_served_power(WORK, replace(labels, family=np.full(len(NAMES), "one")))
    with pytest.raises(BadValueError, match="above 0"):
        fit_served_power(WORK, replace(labels, device_w=np.zeros(len(NAMES))))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(1e-6, 10.0), min_size=len(COLUMNS), max_size=len(COLUMNS)), st.floats(1, 1e4))
def test_watts_lie_between_idle_and_limit_and_ends_enclose_the_value(numbers: list[float], batch: float) -> None:
    work = {name: np.array([value]) for name, value in zip(COLUMNS, numbers, strict=True)}
    work |= {"batch": np.array([batch]), "limit_w": np.array([700.0]), "idle_w": np.array([75.0]),
             "devices": np.array([4.0]), "ranks": np.array([4.0])}  # fmt: skip
    found = shipped_served_power().answer(work)
    for name in QUANTITIES:
        value, lo, hi = (end[0] for end in getattr(found, name))
        assert 0 < lo <= value <= hi < np.inf
    assert 4 * 75 <= found.power_w[1][0] <= found.power_w[2][0] <= 4 * 700
    joules = found.power_w[0][0] * found.step_s[0][0] / batch
    assert found.energy_per_token_j[0][0] == pytest.approx(joules)


def test_what_ships_says_what_it_rests_on_and_answers_as_its_coefficients() -> None:
    model = shipped_served_power()
    assert model.rows == 405
    assert model.families == ("Gemma", "Llama", "Nemotron", "Qwen", "gpt-oss")
    assert "Apache-2.0" in model.source
    work = work_of("llama-3.1-8b", [64.0])
    assert model.step_s(work)[0] == pytest.approx(float(terms_of(work)[0] @ model.times))
    value, lo, hi = (float(end[0]) for end in served_energy(work))
    assert lo < value < hi
    assert 0.05 < value < 0.5  # joules of a token; ML.ENERGY measured 0.12 at 64 requests


def test_more_requests_share_the_weights_and_so_the_energy() -> None:
    joules = served_energy(work_of("qwen3-14b", [8.0, 32.0, 128.0, 256.0]))[0]
    assert (np.diff(joules) < 0).all()


@pytest.mark.parametrize(
    ("change", "word"),
    [({"schema": 99}, "another version"), ({"times": {}}, "another version"), ({"offset": "x"}, "float"),
     ({"spreads": {}}, "step_s"), ({"offset": float("nan")}, "finite")],
)  # fmt: skip
def test_a_damaged_file_is_refused(change: dict[str, object], word: str) -> None:
    doc = {**json.loads(shipped_served_power().to_json()), **change}
    with pytest.raises(BadFileError, match=word):
        ServedPower.from_json(json.dumps(doc), "here.json")
    with pytest.raises(BadFileError, match=r"here\.json"):
        ServedPower.from_json("[]", "here.json")


def test_terms_and_signals_have_a_name_each() -> None:
    assert terms_of(WORK).shape == (len(NAMES), len(TERMS))
    assert signals_of(WORK, np.ones(len(NAMES))).shape == (len(NAMES), len(SIGNALS))
    assert len(PRIOR) == len(TERMS)
    assert np.allclose(terms_of(WORK)[:, : len(KINDS)] @ np.ones(len(KINDS)), sum(WORK[f"decode_{k}_s"] for k in KINDS))


@pytest.mark.skipif(not (DATA / "ml_energy").is_dir(), reason="ML.ENERGY is not here (set ARCHCAST_DATA)")
def test_joules_of_a_token_of_families_never_seen_are_within_a_fifth() -> None:
    from costmodel.evaluation.served_energy import CONSTANT, leave_families_out, read_served

    rows = read_served(DATA, "v3")
    assert (len(rows.rows), rows.left) == (405, ())
    found = leave_families_out(rows)
    value, lo, hi = found.answer.energy_per_token_j
    measured = rows.energy_per_token_j
    error, base = (np.abs(x / measured - 1) for x in (value, found.baselines[CONSTANT]))
    assert error.mean() < 0.15
    assert error[rows.language].mean() < 0.125
    assert error.mean() < 0.6 * base.mean()
    assert np.mean((lo <= measured) & (measured <= hi)) > 0.85
    assert set(rows.labels.family) == set(shipped_served_power().families)
