"""FemtoDet: counts by hand, cores of a phone's processor, and the energy of a frame beside what its authors state."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.evaluation.femtodet import (
    BIG,
    EVERY,
    FRAME_J,
    PADDLE_LITE_S,
    PRIME,
    PRIOR,
    TIMES,
    UNCALIBRATED,
    Frame,
    evaluate_femtodet,
    frame_of,
)
from foundation.errors import BadValueError, UnknownNameError
from hardware_specs import load_device
from workloads.catalogue import load_model

BLOCKS = (  # of the authors' FemtoNet at width 0.25: input, output, expansion, stride, groups of the projection
    (8, 8, 1, 1, 1), (8, 8, 4, 2, 1), (8, 8, 4, 1, 1), (8, 8, 4, 2, 1), (8, 8, 4, 1, 1), (8, 16, 4, 2, 1),
    (16, 16, 4, 1, 1), (16, 16, 4, 1, 1), (16, 24, 4, 1, 1), (24, 24, 4, 1, 1), (24, 40, 4, 2, 2), (40, 40, 4, 1, 2),
    (40, 80, 4, 1, 2),
)  # fmt: skip


def counted(side: int) -> tuple[int, int]:
    """Return (parameters, multiply-accumulates) of FemtoDet as deployed, counted layer by layer."""
    side = (side + 1) // 2
    parameters, macs = 27 * 8 + 2 * 8, 27 * 8 * side**2
    for c_in, c_out, expansion, stride, groups in BLOCKS:
        inner, before, side = c_in * expansion, side, side // stride
        if expansion > 1:
            parameters, macs = parameters + c_in * inner + 2 * inner, macs + c_in * inner * before**2
        parameters += 9 * inner + 2 * inner + inner // groups * c_out + 2 * c_out
        macs += (9 * inner + inner // groups * c_out) * side**2
    middle = 2 * side
    for c_in, at in ((8, 2 * middle), (24, middle), (80, side)):  # three maps to 64 channels
        parameters, macs = parameters + 64 * c_in + 128, macs + 64 * c_in * at**2
    parameters += 9 * 64 + 128 + 64 * 64 + 128 + 25 * 64 + 25
    return parameters, macs + (9 * 64 + 64 * 64 + 25 * 64) * middle**2


def test_femtodet_has_its_hand_counted_parameters_and_macs() -> None:
    summary = load_model("femtodet").summary()
    assert (summary["parameters"], summary["macs"]) == counted(416)


def test_what_merges_at_deployment_makes_up_the_published_68_77_thousand() -> None:
    merged = sum(2 * c_in * expansion + 1 for c_in, _, expansion, _, _ in BLOCKS)  # a normalisation and a weight each
    assert round((load_model("femtodet").summary()["parameters"] + merged) / 1e3, 2) == 68.77


def test_the_energy_of_a_frame_is_within_a_factor_of_two_with_nothing_fitted() -> None:
    assert 0.5 < frame_of("femtodet", PRIME).energy_j / FRAME_J < 2
    assert 0.5 < frame_of("femtodet", BIG).energy_j / FRAME_J < 2


def test_two_published_times_set_the_factor_of_the_other_networks() -> None:
    scores = {score.split: score for score in evaluate_femtodet() if score.device == PRIME}
    assert scores[TIMES].n == 3 * 10
    assert scores[TIMES].mape < 0.15
    assert scores[TIMES].rho > 0.95
    assert scores[UNCALIBRATED].n == scores[PRIOR].n == 1
    assert scores[EVERY].n == 10
    assert scores[PRIOR].mape < 0.5  # the paper's runtime is slower than the one that sets the factor


def test_energy_is_not_proportional_to_multiply_accumulates() -> None:
    small = frame_of("mobilenet-v3-small", PRIME).energy_j / load_model("mobilenet-v3-small").summary()["macs"]
    dense = frame_of("resnet-50", PRIME).energy_j / load_model("resnet-50").summary()["macs"]
    femto = frame_of("femtodet", PRIME).energy_j / load_model("femtodet").summary()["macs"]
    assert femto > small > 1.5 * dense


def test_a_longer_run_adds_only_the_standing_power() -> None:
    assert Frame(2.0, 3.0, 0.5).stretched(3.0) == Frame(6.0, 5.0, 0.5)
    assert Frame(2.0, 3.0, 0.5).stretched(1.0) == Frame(2.0, 3.0, 0.5)


def test_one_core_is_slower_than_all_and_draws_less_power() -> None:
    names = ("snapdragon-865:1xlittle", "snapdragon-865:1xbig", "snapdragon-865:prime", "snapdragon-865:3xbig")
    frames = [frame_of("femtodet", name) for name in names]
    assert all(slow.latency_s > fast.latency_s for slow, fast in pairwise(frames))
    powers = [frame.energy_j / frame.latency_s for frame in frames]
    assert powers == sorted(powers)


@given(count=st.integers(1, 3))
def test_lanes_and_standing_power_grow_with_the_cores(count: int) -> None:
    whole, some = load_device("snapdragon-865"), load_device(f"snapdragon-865:{count}xbig")
    group = next(group for group in whole.cores if group.name == "big")
    assert some.unit("matrix").peak_flop_per_s["fp32"].value == pytest.approx(
        count * group.peak_flop_per_s["fp32"].value
    )
    assert some.power.idle_w.value == pytest.approx(whole.power.idle_w.value + count * group.active_w.value)
    assert some.dram.bandwidth_bytes_per_s.value <= whole.dram.bandwidth_bytes_per_s.value
    caches = {level.name: level.capacity_bytes.value for level in some.memory[1:]}
    assert caches["l2"] == count * 256 * 1024
    assert caches["l3"] == 4 * 2**20


def test_the_groups_of_cores_together_are_the_large_cores_of_the_device() -> None:
    whole = load_device("snapdragon-865")
    large = [group for group in whole.cores if group.core == "Cortex-A77"]
    for name, peak in whole.unit("matrix").peak_flop_per_s.items():
        assert sum(g.count * g.peak_flop_per_s[name].value for g in large) == pytest.approx(peak.value, rel=0.01)


@pytest.mark.parametrize("asked", ["4xbig", "0xbig", "x", "2x", "big cores", ":", "99999999xbig"])
def test_cores_that_are_not_there_are_refused(asked: str) -> None:
    with pytest.raises((BadValueError, UnknownNameError)):
        load_device(f"snapdragon-865:{asked}")


def test_an_unknown_group_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="prime"):
        load_device("snapdragon-865:prim")


def test_a_device_without_groups_says_so() -> None:
    with pytest.raises(BadValueError, match="none are described"):
        load_device("a40:big")


def test_times_that_calibrate_are_of_networks_in_the_catalogue() -> None:
    assert all(load_model(name).summary()["macs"] > 1e7 for name in PADDLE_LITE_S)
