"""Elasticities of costs to figures of the device, and what the closed form guarantees of their signs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archcast.cost_models import find_cost_model
from archcast.oracle import curve, sensitivities
from archcast.question import find_target
from costmodel.physics import predict_physics
from foundation.errors import ArchcastError, UnknownNameError
from workloads.table import OpTable

CHAT: Any = {"workload": "llama-3.1-8b", "on": "h100-sxm", "prompt": 1024, "generate": 256}
RATES = ("peak_flop_per_s.bf16", "vector_flop_per_s", "dram_bytes_per_s", "cache_bytes_per_s")


def test_decoding_follows_the_bandwidth_and_says_so() -> None:
    found = sensitivities(CHAT)
    share = found.bound[0]["memory"]
    assert share > 0.8
    assert found.of("dram_bytes_per_s")[0] == pytest.approx(-share, abs=0.1)
    assert abs(found.of("peak_flop_per_s.bf16")[0]) < 0.05
    assert found.explained_by[found.figures.index("dram_bytes_per_s")] == "memory"
    assert "memory-bound" in found.text()


def test_prompts_follow_the_peak() -> None:
    found = sensitivities({**CHAT, "prompt": 8192, "generate": 1, "on": "l40s"}, ["peak_flop_per_s.bf16", "limit_w"])
    assert found.of("peak_flop_per_s.bf16")[0] + found.of("limit_w")[0] < -0.5


def test_money_follows_the_price_and_nothing_else_does() -> None:
    found = sensitivities(CHAT, ["usd_per_hour"])
    assert found.value[0, 0] == pytest.approx([0, 0, 1], abs=1e-9)


def test_capacity_changes_what_fits_and_no_cost() -> None:
    found = sensitivities([CHAT, {**CHAT, "batch": 64}], ["usable_bytes"])
    assert np.all(found.value == 0)
    assert found.room[1] < found.room[0] < 1


def test_all_rates_together_make_time_their_inverse() -> None:
    """Euler: time is homogeneous of degree -1 in all rates and 1 / launch, where no power limit holds."""
    for asked, slack in ((CHAT, 0.05), ({"workload": "resnet-50", "on": "l40s", "batch": 4}, 0.005)):
        found = sensitivities(asked)
        rates = sum(found.of(f)[0] for f in found.figures if f.endswith("_per_s") or f.startswith("peak"))
        # what the power limit holds back follows no rate: 1.6 % of the first, nothing of the second
        assert rates - found.of("launch_s")[0] == pytest.approx(-1, abs=slack), asked


def test_links_matter_only_where_devices_talk() -> None:
    assert "link_bytes_per_s" not in sensitivities(CHAT).figures
    assert sensitivities({**CHAT, "tp": 4, "batch": 64}, ["link_bytes_per_s"]).of("link_bytes_per_s")[0] < -0.02


def test_a_kink_has_two_slopes() -> None:
    """At 272 tokens the products of the prompt pass from the bandwidth of an L40S to its power limit."""
    asked = {"workload": "llama-3.1-8b", "on": "l40s", "generate": 1}
    found = sensitivities([{**asked, "prompt": p} for p in (64, 272, 2048)], ["dram_bytes_per_s", "limit_w"])
    assert found.kink[:, :, 0].tolist() == [[False, False], [True, True], [False, False]]
    assert found.below[1, 0, 0] < found.above[1, 0, 0] - 0.3  # more bandwidth helps less than less of it hurts
    assert np.allclose(found.value, (found.above + found.below) / 2, atol=0.01)
    assert "/" in found.text()


def test_questions_of_several_devices_keep_their_order() -> None:
    asked = [{"workload": "resnet-50", "on": device, "batch": b} for b in (1, 64) for device in ("l40s", "h100-sxm")]
    together = sensitivities(asked, ["dram_bytes_per_s"]).of("dram_bytes_per_s")
    alone = [sensitivities(one, ["dram_bytes_per_s"]).of("dram_bytes_per_s")[0] for one in asked]
    assert together == pytest.approx(alone, abs=1e-12)


products = st.tuples(st.integers(1, 5000), st.integers(1, 9000), st.integers(1, 9000))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(products, min_size=1, max_size=8), st.floats(1, 4), st.sampled_from(["h100-sxm", "l40s", "xeon-6226"]),
    st.sampled_from(["bandwidth", "peak"]),
)  # fmt: skip
def test_a_faster_device_is_never_slower(
    sizes: list[tuple[int, int, int]], factor: float, device: str, what: str
) -> None:
    rates = find_target(device).rates
    m, n, k = (list(column) for column in zip(*sizes, strict=True))
    table = OpTable.from_columns({"op": "gemm", "dtype": "bf16", "m": m, "n": n, "k": k})
    before = predict_physics(table, rates).latency_s
    after = predict_physics(table, rates.scaled(**{what: factor})).latency_s
    assert (after <= before * (1 + 1e-12)).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 64), st.integers(1, 4096), st.sampled_from(["h100-sxm", "l40s", "rtx-4090", "a100-sxm"]))
def test_no_network_is_slower_by_more_bandwidth_or_peak(batch: int, prompt: int, device: str) -> None:
    asked = {"workload": "qwen3-0.6b", "on": device, "batch": batch, "prompt": prompt, "generate": 8}
    found = sensitivities(asked, RATES)
    assert (found.value[..., 0] <= 1e-9).all()
    slower = sensitivities(asked, ["launch_s", "idle_w"])
    assert (slower.value[..., 0] >= -1e-9).all()


def test_the_learned_model_falls_where_its_flag_says_so() -> None:
    """Trees are steps: a curve of theirs may fall a little. The flag tells, and memory never falls."""
    model = find_cost_model()
    falls = []
    for knob, values in (("batch", range(1, 129)), ("prompt", range(64, 4096, 64)), ("generate", range(8, 2048, 32))):
        found = curve({**CHAT, "workload": "qwen3-8b"}, knob, values, ["latency_s", "memory_bytes"], model)
        steps = np.diff(found.of("latency_s"))
        assert found.monotone["latency_s"] == bool((steps >= -1e-12 * found.of("latency_s")[:-1]).all())
        assert found.monotone["memory_bytes"]
        drop = found.of("latency_s") / np.maximum.accumulate(found.of("latency_s"))
        falls.append(1 - drop.min())
    assert max(falls) < 0.25  # docs/oracle.md states what was measured


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda: sensitivities(CHAT, ["bandwidth"]), "Nearest"),
        (lambda: sensitivities(CHAT, []), "No figure is given"),
        (lambda: sensitivities([]), "list is empty"),
        (lambda: sensitivities({**CHAT, "on": "rtx-4090", "workload": "llama-3.1-70b"}), "does not fit"),
        (lambda: sensitivities({**CHAT, "samples": 4}), "leave samples out"),
        (lambda: sensitivities({**CHAT, "count": 4}), "give tp"),
    ],
)
def test_bad_input_is_one_sentence(ask: object, words: str) -> None:
    with pytest.raises(ArchcastError) as caught:
        ask()  # type: ignore[operator]
    assert words in str(caught.value)


def test_an_unknown_figure_of_an_answer_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="launch_s"):
        sensitivities(CHAT, ["launch_s"]).of("launches")
