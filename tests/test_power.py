"""The power model on synthetic devices whose coefficients are known: recovered, bounded, monotone, carried over."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from costmodel.physics import stages
from costmodel.power import LARGEST_RESIDUAL, MAX_TEXT, PowerModel, PowerSample, bins_of
from costmodel.power_fit import choose_shots, fit_power, reading_trust
from costmodel.power_physics import (
    COEFFICIENTS,
    FAMILIES,
    TYPICAL,
    USES,
    KindPhysics,
    activity,
    fit_coefficients,
    share_of_limit,
)
from costmodel.rates import Rates, compile_rates
from foundation.errors import BadFileError, BadValueError
from hardware_specs import load_device
from workloads.elementwise import unwrapped
from workloads.table import OP_CODES, PHASES, Array, OpTable
from workloads.work import count_work

H200, B200 = compile_rates(load_device("h200-sxm")), compile_rates(load_device("b200"))
TRUE_H200 = np.array([0.18, 0.9, 1.3, 2.0, 0.5, 0.5, 0.2, 0.04, 1.0, 1.1, 0.9, 1.0, 1.0])
TRUE_B200 = np.array([0.24, 1.0, 1.3, 2.0, 0.5, 0.55, 0.2, 0.05, 1.2, 1.3, 1.4, 0.8, 1.0])


def operators(rows: int, seed: int) -> tuple[OpTable, Array]:
    """Return products and attention of many sizes, and the group of each row."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 3, rows)
    group = rng.integers(0, 40, rows)
    sizes = 2 ** (7 + np.random.default_rng(7).integers(0, 6, (40, 2)))
    columns = {
        "op": np.where(kind == 0, OP_CODES["gemm"], OP_CODES["attention"]),
        "dtype": np.where((kind == 0) & (group % 2 == 0), "fp8", "bf16").astype(object),
        "phase": np.array(["", "prefill", "decode"], dtype=object)[kind],
        "m": 2.0 ** rng.integers(3, 14, rows),
        "n": sizes[group, 0].astype(float),
        "k": sizes[group, 1].astype(float),
        "batch": 2.0 ** rng.integers(0, 8, rows),
        "heads": np.full(rows, 32.0),
        "kv_heads": np.full(rows, 8.0),
        "head_dim": np.full(rows, 128.0),
        "kv_len": 2.0 ** rng.integers(8, 14, rows),
    }
    columns["q_len"] = np.where(kind == 1, columns["kv_len"], 1.0)
    columns["op"] = np.array(["gemm", "attention", "attention"], dtype=object)[kind]
    return OpTable.from_columns(columns, rows=rows), group


def synthetic(rates: Rates, true: Array, rows: int, seed: int, *, noise: float = 0.03, bad: float = 0.0) -> PowerSample:
    """Return rows whose power is the physics with these coefficients, with noise and some readings of idle power."""
    from costmodel.physics import predict_physics

    rng = np.random.default_rng(seed + 1000)
    table, group = operators(rows, seed)
    latency = predict_physics(table, rates).latency_s * np.exp(rng.normal(0.2, 0.2, rows))
    active = activity(table, rates, latency)
    power = share_of_limit(true, active.use, active.family) * rates.limit_w * np.exp(rng.normal(0, noise, rows))
    power = np.where(rng.random(rows) < bad, 0.2 * rates.limit_w, power)
    return PowerSample(table, rates, latency, power, group)


@pytest.fixture(scope="module")
def known() -> PowerModel:
    return fit_power([synthetic(H200, TRUE_H200, 3000, 1)], epochs=40)


def off(model: PowerModel, sample: PowerSample) -> Array:
    """Return the relative errors of predicted power."""
    power, _, _ = model.predict(sample.table, sample.rates, sample.latency_s)
    return np.abs(power / sample.power_w - 1)


@pytest.mark.parametrize("bad", [0.0, 0.2])
def test_coefficients_of_a_known_device_are_recovered_within_ten_percent(bad: float) -> None:
    rng = np.random.default_rng(3)
    use = rng.random((6000, len(USES))) * np.array([0.5, 0.0, 0.0, 0.3, 0.5, 0.5])
    use *= rng.random((6000, len(USES))) < 0.5
    family = rng.integers(0, len(FAMILIES), 6000)
    share = share_of_limit(TRUE_H200, use, family) * np.exp(rng.normal(0, 0.03, 6000))
    share = np.where(rng.random(6000) < bad, 0.2, share)
    found = fit_coefficients(use, family, share, np.ones(6000), np.array(TYPICAL), np.ones(len(TYPICAL)))
    first = 2 + len(USES)

    def drawn(c: Array) -> Array:
        """What a family draws of each use; only the products of factors and energies can be told apart."""
        return np.outer(c[first:], c[1:first])[:, [0, 3, 4, 5]]

    assert found[0] == pytest.approx(TRUE_H200[0], rel=0.1)
    np.testing.assert_allclose(drawn(found), drawn(TRUE_H200), rtol=0.1)


def test_unseen_shapes_of_a_known_device_are_within_the_noise(known: PowerModel) -> None:
    other = synthetic(H200, TRUE_H200, 1000, 2)
    assert np.median(off(known, other)) < 0.035


def test_the_interval_of_a_known_device_covers_nine_in_ten(known: PowerModel) -> None:
    other = synthetic(H200, TRUE_H200, 2000, 3)
    _, lo, hi = known.predict(other.table, other.rates, other.latency_s)
    assert 0.86 <= ((other.power_w >= lo) & (other.power_w <= hi)).mean() <= 0.97
    assert known.kind_of(H200) == "conformal"


def test_power_stays_between_idle_and_the_limit_whatever_the_latency(known: PowerModel) -> None:
    table, _ = operators(400, 5)
    for latency_s in (1e-12, 1e-6, 1e-3, 1e3):
        for rates in (H200, B200):
            power, lo, hi = known.predict(table, rates, np.full(400, latency_s))
            assert np.isfinite(power).all()
            assert (rates.idle_w[1] <= lo).all()
            assert (lo <= power).all()
            assert (power <= hi).all()
            assert (hi <= rates.limit_w).all()


def test_by_physics_a_busier_device_never_draws_less() -> None:
    sample = synthetic(H200, TRUE_H200, 500, 6)
    active = activity(sample.table, sample.rates, sample.latency_s)
    before = share_of_limit(TRUE_H200, active.use, active.family)
    for use in range(len(USES)):
        for factor in (1.1, 2.0, 5.0):
            more = active.use.copy()
            more[:, use] = np.minimum(more[:, use] * factor + 0.01, 1.2)
            assert (share_of_limit(TRUE_H200, more, active.family) >= before - 1e-12).all(), (USES[use], factor)


def test_rows_of_one_kind_have_the_physics_of_rows_of_many() -> None:
    sample = synthetic(H200, TRUE_H200, 500, 6)
    active = activity(sample.table, sample.rates, sample.latency_s)
    whole = share_of_limit(TRUE_H200, active.use, active.family)
    for family in np.unique(active.family):
        for width in np.unique(active.width):
            at = np.flatnonzero((active.family == family) & (active.width == width))
            part = KindPhysics.of(TRUE_H200, int(family), int(width)).share(active.signals[:, at])
            np.testing.assert_allclose(part, whole[at], rtol=1e-9)


def test_twenty_rows_carry_the_model_to_another_device(known: PowerModel) -> None:
    target, test = synthetic(B200, TRUE_B200, 2000, 8), synthetic(B200, TRUE_B200, 1000, 9)
    shots = target.take(choose_shots(target, 20, known))
    adapted = known.adapt(shots)
    constant = np.abs(shots.power_w.mean() / test.power_w - 1).mean()
    assert off(adapted, test).mean() < 0.06
    assert off(adapted, test).mean() < 0.6 * off(known, test).mean()
    assert off(adapted, test).mean() < 0.2 * constant
    _, lo, hi = adapted.predict(test.table, test.rates, test.latency_s)
    assert ((test.power_w >= lo) & (test.power_w <= hi)).mean() >= 0.85
    assert adapted.kind_of(B200) == "few_shot"
    np.testing.assert_array_equal(adapted.coefficients["h200-sxm"], known.coefficients["h200-sxm"])


def test_a_fifth_of_wrong_readings_among_the_shots_does_little_harm(known: PowerModel) -> None:
    target, test = synthetic(B200, TRUE_B200, 2000, 8), synthetic(B200, TRUE_B200, 1000, 9)
    shots = target.take(choose_shots(target, 20, known))
    wrong = replace(shots, power_w=np.where(np.arange(20) % 5 == 0, 0.25 * B200.limit_w, shots.power_w))
    assert off(known.adapt(wrong), test).mean() < 0.12


def test_rows_to_measure_are_chosen_without_their_power_and_spread_over_families(known: PowerModel) -> None:
    target = synthetic(B200, TRUE_B200, 2000, 8)
    chosen = choose_shots(target, 20, known)
    blind = replace(target, power_w=np.random.default_rng(0).permutation(target.power_w))
    np.testing.assert_array_equal(chosen, choose_shots(blind, 20, known))
    assert len(np.unique(chosen)) == 20
    family = activity(target.table, target.rates, target.latency_s).family[chosen]
    assert set(family.tolist()) == {0, 2, 3}


def test_two_devices_calibrate_the_interval_of_a_third_by_leaving_each_out() -> None:
    samples = [synthetic(H200, TRUE_H200, 1200, 1), synthetic(B200, TRUE_B200, 1200, 2)]
    model = fit_power(samples, epochs=20)
    assert set(model.spreads) == {"conformal", "pseudo_target", "uncalibrated"}
    h100 = compile_rates(load_device("h100-sxm"))
    table, _ = operators(50, 3)
    _, lo, hi = model.predict(table, h100, np.full(50, 1e-3))
    assert model.kind_of(h100) == "uncalibrated"
    third = synthetic(h100, TRUE_B200, 500, 4)
    assert model.adapt(third.take(choose_shots(third, 20, model))).kind_of(h100) == "pseudo_target"
    assert (lo <= hi).all()


def test_a_second_device_met_by_few_rows_does_not_narrow_the_first(known: PowerModel) -> None:
    h100 = compile_rates(load_device("h100-sxm"))
    first = known.adapt(synthetic(B200, TRUE_B200, 20, 8, noise=0.3))
    both = first.adapt(synthetic(h100, TRUE_H200, 20, 9))
    assert (both.spreads["few_shot"][:, 0] <= first.spreads["few_shot"][:, 0]).all()
    assert (both.spreads["few_shot"][:, 1] >= first.spreads["few_shot"][:, 1]).all()


def test_a_format_never_trained_gets_the_physics_alone(known: PowerModel) -> None:
    rows = 30
    table = OpTable.from_columns({"op": "gemm", "dtype": "nvfp4", "m": 512.0, "n": np.full(rows, 4096.0), "k": 4096.0})
    active = activity(table, B200, np.full(rows, 1e-4))
    found = known.share(active, B200, np.array([""] * rows))
    np.testing.assert_allclose(found, share_of_limit(known.base, active.use, active.family), rtol=1e-9)


def test_the_residual_is_bounded(known: PowerModel) -> None:
    sample = synthetic(H200, TRUE_H200, 500, 6)
    active = activity(sample.table, sample.rates, sample.latency_s)
    physics = share_of_limit(known.coefficients["h200-sxm"], active.use, active.family)
    wild = replace(known, net=replace(known.net, last=known.net.last * np.float32(1e6)))
    factor = np.log(wild.share(active, H200, sample.frameworks) / physics)
    assert np.abs(factor).max() <= LARGEST_RESIDUAL + 1e-6
    assert np.abs(factor).max() > 0.5 * LARGEST_RESIDUAL


def test_energy_is_power_times_latency_and_its_interval_holds_both(known: PowerModel) -> None:
    table, _ = operators(100, 4)
    latency = np.full(100, 2e-3)
    power, lo, hi = known.predict(table, H200, latency)
    exact = known.energy(table, H200, (latency, latency, latency))
    np.testing.assert_allclose(exact[0], power * latency)
    np.testing.assert_allclose(exact[1], lo * latency, rtol=1e-9)
    np.testing.assert_allclose(exact[2], hi * latency, rtol=1e-9)
    loose = known.energy(table, H200, (latency, latency / 1.5, latency * 1.5))
    assert (loose[1] <= exact[1]).all()
    assert (loose[2] >= exact[2]).all()
    assert (loose[2] <= H200.limit_w * latency * 1.5 + 1e-12).all()


def test_one_row_has_the_energy_that_it_has_among_others(known: PowerModel) -> None:
    table, _ = operators(60, 4)
    adapted = known.adapt(synthetic(B200, TRUE_B200, 20, 8))
    rng = np.random.default_rng(2)
    times = 10.0 ** rng.uniform(-5, -1, 60)
    lo, hi = times / rng.uniform(1, 2, 60), times * rng.uniform(1, 2, 60)
    for model, rates in ((known, H200), (adapted, B200), (known, B200)):
        whole = model.energy(table, rates, (times, lo, hi), "vllm 1")
        for i in range(60):
            row = unwrapped(table.take(np.array([i])))
            work = count_work(row)
            parts = stages(row, work, rates)
            op, ends = int(row["op"]), (times[i], lo[i], hi[i])
            one = model.energy_of_kind(row, work, parts, rates, ends, op, "vllm 1")
            np.testing.assert_allclose([float(x) for x in one], [column[i] for column in whole], rtol=1e-5)


def test_a_model_read_back_answers_the_same_to_the_last_bit(known: PowerModel) -> None:
    known = known.adapt(synthetic(B200, TRUE_B200, 20, 8))
    text = known.to_json()
    again = PowerModel.from_json(text)
    table, _ = operators(300, 4)
    for rates in (H200, B200):
        for a, b in zip(
            known.predict(table, rates, np.full(300, 1e-4)),
            again.predict(table, rates, np.full(300, 1e-4)),
            strict=True,
        ):
            np.testing.assert_array_equal(a, b)
    assert again.to_json() == text
    assert len(text) < MAX_TEXT


def test_the_same_rows_and_seed_give_the_same_bytes(known: PowerModel) -> None:
    assert fit_power([synthetic(H200, TRUE_H200, 3000, 1)], epochs=40).to_json() == known.to_json()


def _set(*path: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(plain: dict[str, Any]) -> None:
        place: Any = plain
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = to

    return change


@pytest.mark.parametrize(
    "change",
    [
        _set("schema", to=99),
        _set("inputs", to=[]),
        _set("coefficient_names", to=list(COEFFICIENTS[::-1])),
        _set("base", to=[1.0]),
        _set("base", 0, to=-1.0),
        _set("base", 2, to=1e300),
        _set("coefficients", to=[]),
        _set("coefficients", "h200-sxm", to="x"),
        _set("kinds", to={}),
        _set("kinds", "h200-sxm", to="conformed"),
        _set("spreads", "conformal", to=[[0, 0]]),
        _set("spreads", "conformal", 0, to=[1.0, -1.0]),
        _set("spreads", "conformal", 0, to=[-1.0, 1e9]),
        _set("seen", to=[[1]]),
        _set("stacks", to=[]),
        _set("stacks", 0, to="h200-sxm"),
        _set("digests", to={}),
        _set("ops", to=["gemms"]),
        _set("shots", to={"b200": {}}),
        _set("shots", "b200", "weight", 0, to="a"),
        _set("shots", "b200", "place", to=[[1.0]]),
        _set("shots", "b200", "family", 0, to=0.5),
        _set("net", "inputs", to=3),
        _set("net", "first", to=[1.0]),
        _set("net", "first", 0, to="a"),
        _set("net", "last", 0, to=1e300),
        _set("net", "last_bias", to=None),
        _set("net", to=7),
    ],
)
def test_a_file_that_was_tampered_with_is_refused(known: PowerModel, change: Callable[[dict[str, Any]], None]) -> None:
    plain = json.loads(known.adapt(synthetic(B200, TRUE_B200, 20, 8)).to_json())
    change(plain)
    with pytest.raises(BadFileError, match=r"m/power\.json: this is not a power model"):
        PowerModel.from_json(json.dumps(plain), "m/power.json")


@pytest.mark.parametrize("text", ["", "[]", "7", '{"schema": 1}', "{", "[" * 100_000, '{"schema": NaN}', b"\xff\xfe"])
def test_text_that_is_no_model_is_refused(text: str | bytes) -> None:
    with pytest.raises(BadFileError, match="not a power model"):
        PowerModel.from_json(text)


def test_a_file_that_is_too_large_is_refused_before_it_is_read() -> None:
    with pytest.raises(BadFileError, match="at most 500,000 bytes"):
        PowerModel.from_json(" " * (MAX_TEXT + 1))


def test_rows_that_cannot_be_used_are_refused_in_one_sentence(known: PowerModel) -> None:
    good = synthetic(H200, TRUE_H200, 100, 1)
    with pytest.raises(BadValueError, match="no rows"):
        fit_power([])
    with pytest.raises(BadValueError, match="at least 30"):
        fit_power([good.take(np.arange(10))])
    with pytest.raises(BadValueError, match="at least 3 are needed"):
        known.adapt(good.take(np.arange(2)))
    with pytest.raises(BadValueError, match="Two samples"):
        fit_power([good, good])
    with pytest.raises(BadValueError, match="check for milliwatts"):
        fit_power([replace(good, power_w=good.power_w * 1e3)])
    with pytest.raises(BadValueError, match="check for milliwatts"):
        fit_power([replace(good, power_w=good.power_w * 1e-3)])
    with pytest.raises(BadValueError, match="not above 0 W"):
        fit_power([replace(good, power_w=np.where(np.arange(100) == 3, np.nan, good.power_w))])
    with pytest.raises(BadValueError, match="one value for each"):
        fit_power([replace(good, power_w=good.power_w[:-1])])
    with pytest.raises(BadValueError, match="shape groups"):
        fit_power([replace(good, group=np.zeros(100, dtype=int))])
    with pytest.raises(BadValueError, match="above 0"):
        known.predict(good.table, H200, np.zeros(100))
    with pytest.raises(BadValueError, match="one latency a row"):
        known.predict(good.table, H200, np.ones(3))


def test_short_readings_count_less() -> None:
    trust = reading_trust(np.array([1e-6, 1e-4, 1e-3, 1.0]))
    assert trust.tolist() == pytest.approx([0.1, 0.1**0.5, 1.0, 1.0])


def test_families_follow_operator_and_phase() -> None:
    table = OpTable.from_columns({
        "op": np.array(["gemm", "moe", "attention", "attention", "mla", "norm"], dtype=object),
        "phase": np.array(["", "", "prefill", "decode", "decode", ""], dtype=object),
        "dtype": "bf16", "m": 8.0, "n": 8.0, "k": 8.0, "tokens": 8.0, "hidden": 64.0, "inter": 64.0, "experts": 2.0,
        "topk": 1.0, "batch": 1.0, "q_len": 1.0, "kv_len": 8.0, "heads": 2.0, "kv_heads": 2.0, "head_dim": 16.0,
        "kv_rank": np.array([0, 0, 0, 0, 16.0, 0]), "rows": 8.0,
    })  # fmt: skip
    family = activity(table, H200, np.full(6, 1e-5)).family
    assert [FAMILIES[int(f)] for f in family] == ["gemm", "moe", "prefill", "decode", "decode", "other"]
    assert PHASES.index("decode") == 2


def test_bins_go_by_latency_then_by_nearness_to_the_limit() -> None:
    assert bins_of(np.array([1e-6, 1e-6, 5e-4, 1.0]), np.array([0.1, 0.9, 0.5, 0.9])).tolist() == [0, 2, 4, 8]
