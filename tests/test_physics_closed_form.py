"""The closed form against values worked out by hand on a tiny made-up device, and against SCALE-Sim's cycle counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from costmodel.costs import BOUNDS
from costmodel.kernels import EXPONENTIAL_FLOP
from costmodel.physics import _folds, predict_physics, stages
from costmodel.rates import Rates, compile_rates, require_format
from foundation.errors import BadValueError, UnsupportedError
from foundation.formats import FORMATS
from hardware_specs import load_device
from workloads.table import OpTable
from workloads.work import count_work


def tiny(**changes: object) -> Rates:
    """4 units of 16 x 16 x 8 tiles, 1 GFLOP/s in all, 0.1 GFLOP/s vector, 1 GB/s memory, 64 KiB on chip."""
    formats = len(FORMATS)
    base = replace(
        compile_rates(load_device("xeon-6226")),  # a processor: every operator is one kernel without waves
        device="tiny", units=4, tile=(16, 16, 8), array=None,
        peak_flop_per_s=np.full(formats, 1e9), vector_flop_per_s=np.full(formats, 1e8),
        matrix_energy_j=np.tile([1e-12, 5e-13, 2e-12], (formats, 1)),
        vector_energy_j=np.tile([4e-12, 2e-12, 8e-12], (formats, 1)),
        matrix_formats=np.full(formats, True), widened={},
        compute_efficiency=(0.5, 0.25, 1.0), memory_efficiency=(0.5, 0.25, 1.0),
        dram_bytes_per_s=1e9, cache_bytes=65536.0, cache_bytes_per_s=1e10,
        dram_energy_j=(1e-10, 5e-11, 2e-10), cache_energy_j=(1e-11, 5e-12, 2e-11),
        launch_s=(1e-6, 5e-7, 2e-6), idle_w=(0.5, 0.25, 1.0), limit_w=10.0, usable_bytes=1e9,
    )  # fmt: skip
    return replace(base, **changes)  # type: ignore[arg-type]


def gemm(m: float, n: float, k: float, batch: float = 1, dtype: str = "bf16") -> OpTable:
    return OpTable.from_columns({"op": "gemm", "dtype": dtype, "m": [m], "n": n, "k": k, "batch": batch})


def shaped_s(table: OpTable, rates: Rates) -> float:
    return float(np.ravel(stages(table, count_work(table), rates).shaped_s)[0])


def test_a_gemm_of_whole_tiles_in_whole_waves_runs_at_the_peak() -> None:
    # 32 x 32 x 64 is 2 x 2 tiles on 4 units: one full wave, 2*32*32*64 = 131072 FLOP at 1e9/s
    assert shaped_s(gemm(32, 32, 64), tiny()) == pytest.approx(131.072e-6, rel=1e-12)


def test_a_fifth_tile_costs_a_whole_second_wave() -> None:
    # 16 x 80 is 5 tiles on 4 units: 2 waves of 4 x 2*16*16*64 FLOP, where the work is 5 of those 8
    assert shaped_s(gemm(16, 80, 64), tiny()) == pytest.approx(8 * 32768e-9, rel=1e-12)


def test_a_small_edge_is_padded_to_eight_lanes_not_to_the_tile() -> None:
    # m = 3 computes 8 rows; one wave of 4 units x 2*8*16*64
    card = tiny(kind="gpu")
    assert shaped_s(gemm(3, 64, 64), card) == pytest.approx(4 * 2 * 8 * 16 * 64e-9, rel=1e-12)
    assert shaped_s(gemm(9, 64, 64), card) == pytest.approx(4 * 2 * 16 * 16 * 64e-9, rel=1e-12)


def test_a_processor_computes_no_row_that_is_not_there() -> None:
    # one wave of 4 units x 2*3*16*64; lanes lie along n, so n = 3 computes 8 columns of whole rows: 2*16*8*64
    assert shaped_s(gemm(3, 64, 64), tiny()) == pytest.approx(4 * 2 * 3 * 16 * 64e-9, rel=1e-12)
    assert shaped_s(gemm(64, 3, 64), tiny()) == pytest.approx(4 * 2 * 16 * 8 * 64e-9, rel=1e-12)


def test_a_deep_product_of_one_tile_is_split_over_the_units() -> None:
    # depth of a piece: 8 * 32 = 256; k = 1024 is 4 pieces on 4 units, so as long as k = 256 alone
    assert shaped_s(gemm(16, 16, 1024), tiny()) == pytest.approx(4 * 2 * 16 * 16 * 256e-9, rel=1e-12)
    assert shaped_s(gemm(16, 16, 256), tiny()) == shaped_s(gemm(16, 16, 1024), tiny())


def test_a_deep_product_that_fills_the_units_is_not_padded_to_whole_pieces() -> None:
    # 64 x 64 is 16 tiles, 4 full waves; k = 320 = 1.25 pieces of 256: exactly the work, 2*64*64*320 FLOP
    assert shaped_s(gemm(64, 64, 320), tiny()) == pytest.approx(2 * 64 * 64 * 320e-9, rel=1e-12)


def test_a_batched_gemm_fills_the_units_with_its_batch() -> None:
    # 6 products of one tile: 2 waves
    assert shaped_s(gemm(16, 16, 64, batch=6), tiny()) == pytest.approx(8 * 32768e-9, rel=1e-12)


def test_latency_is_the_largest_part_over_its_efficiency_plus_launch() -> None:
    # compute 131.072 us / 0.5; memory: (32*64 + 64*32 + 32*32) * 2 B = 10240 B at 0.5 GB/s = 20.48 us
    cost = predict_physics(gemm(32, 32, 64), tiny())
    assert cost.latency_s[0] == pytest.approx(262.144e-6 + 1e-6, rel=1e-12)
    assert cost.latency_lo_s[0] == pytest.approx(131.072e-6 + 0.5e-6, rel=1e-12)
    assert cost.latency_hi_s[0] == pytest.approx(524.288e-6 + 2e-6, rel=1e-12)
    assert cost.dram_bytes[0] == 10240
    assert cost.bounds() == ["compute"]
    assert cost.sources() == ["physics"]


def test_attention_takes_its_products_and_its_exponentials() -> None:
    # 1 query x 256 keys x 2 heads of 64: 4 * 256 * 2 * 64 FLOP of products; 512 scores of 4 FLOP and an exponential
    table = OpTable.from_columns(
        {"op": "attention", "dtype": "bf16", "batch": [1], "q_len": 1, "kv_len": 256, "heads": 2, "head_dim": 64}
    )
    parts = stages(table, count_work(table), tiny())
    assert float(np.ravel(parts.ideal_s)[0]) == pytest.approx((4 * 256 * 2 * 64) / 1e9, rel=1e-12)
    assert float(np.ravel(parts.vector_s)[0]) == pytest.approx(512 * (4 + EXPONENTIAL_FLOP) / 1e8, rel=1e-12)


@pytest.mark.parametrize(
    ("columns", "changes", "bound"),
    [
        ({"op": "gemm", "m": 512, "n": 512, "k": 512}, {}, "compute"),
        (
            {"op": "elementwise", "rows": 4096, "hidden": 512},
            {"vector_flop_per_s": np.full(len(FORMATS), 1e12)},
            "memory",
        ),
        ({"op": "gemm", "m": 1, "n": 1, "k": 1}, {"launch_s": (1e-5, 1e-5, 1e-5)}, "overhead"),
    ],
)
def test_the_bound_names_the_largest_part(columns: dict[str, object], changes: dict[str, object], bound: str) -> None:
    assert (
        BOUNDS[predict_physics(OpTable.from_columns({"dtype": "bf16", **columns}), tiny(**changes)).bound[0]] == bound
    )


def test_a_product_that_does_not_stay_on_chip_moves_more_than_its_operands() -> None:
    # 2 m n k elements / sqrt(S): S = 65536 B / 2 B = 32768 elements; 2 * 1024^3 / sqrt(32768) elements of 2 B,
    # 23.7 MB where the two operands are 4.2 MB; and the result once: 2.1 MB
    blocked = 2 * 1024**3 / 32768**0.5 * 2
    cost = predict_physics(gemm(1024, 1024, 1024), tiny())
    assert blocked > 2 * 1024**2 * 2
    assert cost.dram_bytes[0] == pytest.approx(blocked + 1024**2 * 2, rel=1e-12)


def test_a_product_that_fits_on_chip_moves_its_operands_once() -> None:
    assert predict_physics(gemm(64, 64, 64), tiny()).dram_bytes[0] == 3 * 64 * 64 * 2


def test_a_device_without_cache_moves_compulsory_traffic_only() -> None:
    assert predict_physics(gemm(1024, 1024, 1024), tiny(cache_bytes=0.0)).dram_bytes[0] == 3 * 1024**2 * 2


def test_cache_bandwidth_bounds_what_dram_could_deliver() -> None:
    slow = tiny(cache_bytes_per_s=1e8, vector_flop_per_s=np.full(len(FORMATS), 1e15))
    table = OpTable.from_columns({"op": "copy", "dtype": "bf16", "rows": [1000], "hidden": 50})
    # 1000 * 50 * 2 B read and written = 200 kB at 0.1 GB/s
    assert predict_physics(table, slow).latency_s[0] == pytest.approx(2e-3 + 1e-6, rel=1e-12)


SCALE_SIM = """
    25 4608 512 32 ws 274175 | 144 2304 256 32 ws 137087 | 144 2304 256 32 os 94639 | 144 2304 256 32 is 125999
    841 64 128 32 ws 7479 | 841 64 128 32 os 13607 | 841 64 128 32 is 11987 | 1 512 1000 32 ws 48639
    1 512 1000 32 os 18367 | 1 512 1000 32 is 17503 | 144 2304 256 128 ws 18935 | 144 2304 256 128 os 10231
    144 2304 256 128 is 22967 | 841 64 128 128 ws 1222 | 841 64 128 128 os 2225 | 841 64 128 128 is 3569
    1 512 1000 128 ws 12255 | 1 512 1000 128 os 6127 | 1 512 1000 128 is 5527
"""
"""M K N, edge of the square array, dataflow, compute cycles that SCALE-Sim 3.0.0 reported for layers of ResNet-18."""


@pytest.mark.parametrize("row", [row.strip() for line in SCALE_SIM.strip().splitlines() for row in line.split("|")])
def test_folds_equal_what_scale_sim_measured(row: str) -> None:
    m, k, n, edge, flow, measured = row.split()
    array = (int(edge), int(edge), ("", "ws", "os", "is").index(flow))
    _, cycles = _folds(count_work(gemm(float(m), float(n), float(k))), array, 1)
    assert float(np.ravel(cycles)[0]) - 1 == int(measured)  # SCALE-Sim counts from cycle 0


def test_a_systolic_array_takes_its_cycles_at_its_clock() -> None:
    # 4 x 4, output-stationary, 2 units, peak 1e9 = 2*16*2 FLOP a cycle: 64 ns a cycle.
    # 8 x 12 x 10: ceil(8/4) ceil(12/4) = 6 folds on 2 units: 3 each of 4 + 4 + 10 - 2 = 16 cycles, 10 of them streaming
    rates = tiny(array=(4, 4, 2), units=2)
    table = gemm(8, 12, 10)
    parts = stages(table, count_work(table), rates)
    assert float(np.ravel(parts.shaped_s)[0]) == pytest.approx(3 * 10 * 64e-9, rel=1e-12)
    assert float(np.ravel(parts.filled_s)[0]) == pytest.approx(3 * 16 * 64e-9, rel=1e-12)


def test_a_depthwise_convolution_uses_one_column_of_the_array_per_group() -> None:
    # 8 groups of K = 9, N = 1 on 4 x 4 ws: ceil(9/4) = 3 folds a group of M + 2*4 + 4 - 2 = 16 + 10 cycles
    table = OpTable.from_columns({
        "op": "conv2d", "dtype": "int8", "batch": [1], "c_in": 8, "h": 4, "w": 4, "c_out": 8, "kh": 3, "kw": 3,
        "padding": 1, "groups": 8,
    })  # fmt: skip
    _, cycles = _folds(count_work(table), (4, 4, 1), 1)
    assert float(np.ravel(cycles)[0]) == 8 * 3 * 26


def test_a_format_without_arithmetic_comes_out_as_nan_and_is_refused_by_name() -> None:
    peaks, able = np.full(len(FORMATS), 1e9), np.full(len(FORMATS), True)
    peaks[list(FORMATS).index("fp64")], able[list(FORMATS).index("fp64")] = np.nan, False
    rates = tiny(peak_flop_per_s=peaks, matrix_formats=able)
    assert np.isnan(predict_physics(gemm(8, 8, 8, dtype="fp64"), rates).latency_s[0])
    with pytest.raises(UnsupportedError, match="tiny cannot compute in fp64, not even widened; it can in fp32"):
        require_format(rates, "fp64")


def test_what_if_factors_multiply_rates_and_refuse_nonsense() -> None:
    scaled = tiny().scaled(bandwidth=2.0, peak=3.0)
    assert scaled.dram_bytes_per_s == 2e9
    assert scaled.peak_flop_per_s[0] == scaled.vector_flop_per_s[0] * 10 == 3e9
    for bad in (0.0, -1.0, float("nan")):
        with pytest.raises(BadValueError, match="above 0"):
            tiny().scaled(peak=bad)


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"op": "conv2d", "batch": 1, "c_in": 3, "h": 3, "w": 3, "c_out": 8, "kh": 7, "kw": 7}, "kernel is larger"),
        (
            {"op": "conv2d", "batch": 1, "c_in": 3, "h": 9, "w": 9, "c_out": 8, "kh": 3, "kw": 3, "stride": 0},
            "stride above 0",
        ),
        ({"op": "moe", "tokens": 4, "hidden": 8, "inter": 8, "experts": 4, "topk": 2, "ep": 0}, "ep above 0"),
        ({"op": "collective", "bytes": 1024, "ranks": 2}, "needs a kind"),
    ],
)
def test_an_operator_that_would_divide_by_zero_or_compute_backwards_is_refused(
    columns: dict[str, object], reason: str
) -> None:
    from archcast.operators import predict_ops

    with pytest.raises(BadValueError, match=reason):
        predict_ops({"dtype": "fp16", **columns}, on="h100-sxm")


def test_a_widened_format_pays_the_wider_peak_and_keeps_its_bytes() -> None:
    rates = compile_rates(load_device("a100-sxm-80gb"))  # no fp8 arithmetic
    assert rates.widened["fp8"] == "bf16"
    narrow, wide = (predict_physics(gemm(4096, 4096, 4096, dtype=name), rates) for name in ("fp8", "bf16"))
    assert BOUNDS[narrow.bound[0]] == BOUNDS[wide.bound[0]] == "compute"
    assert narrow.latency_s[0] == pytest.approx(wide.latency_s[0], rel=0.1)  # the power limit sees fewer bytes
    # one byte an operand, two a result
    assert narrow.dram_bytes[0] == 4096**2 * (1 + 1 + 2)
    assert wide.dram_bytes[0] == 4096**2 * (2 + 2 + 2)


def test_what_only_the_vector_unit_can_compute_runs_there_without_folds() -> None:
    rates = compile_rates(load_device("gemmini-16x16"))  # an int8 array beside a processor
    assert rates.supports("int8")
    assert not rates.supports("fp16")
    lane = rates.vector_flop_per_s[list(FORMATS).index("fp16")]
    parts = stages(gemm(1, 64, 64, dtype="fp16"), count_work(gemm(1, 64, 64, dtype="fp16")), rates)
    assert float(np.ravel(parts.filled_s)[0]) == pytest.approx(2 * 64 * 64 / lane, rel=1e-12)


def test_matrix_and_vector_work_overlap_in_part() -> None:
    # scores of 1 query x 256 keys, 2 heads of 64: 32 tiles of 1 x 16 x 128 on 4 units are 8 waves, 131072 FLOP;
    # 512 scores of 20 FLOP-times on the lanes; 0.7 of the shorter is not hidden (0 to 1). At best keys, values, the
    # query and its answer bound it: (2 x 256 + 2) x 2 x 64 x 2 B = 131584 B at 1 GB/s
    table = OpTable.from_columns(
        {"op": "attention", "dtype": "bf16", "batch": [1], "q_len": 1, "kv_len": 256, "heads": 2, "head_dim": 64}
    )
    cost, matrix_s, vector_s = predict_physics(table, tiny()), 131072e-9, 10240 / 1e8
    assert cost.latency_s[0] == pytest.approx(matrix_s / 0.5 + 0.7 * vector_s + 1e-6, rel=1e-12)
    assert cost.latency_lo_s[0] == pytest.approx(131584e-9 + 0.5e-6, rel=1e-12)
    assert cost.latency_hi_s[0] == pytest.approx(matrix_s / 0.25 + vector_s + 2e-6, rel=1e-12)


def test_the_low_end_lets_a_set_that_fits_stay_on_chip() -> None:
    fast = tiny(vector_flop_per_s=np.full(len(FORMATS), 1e15))
    # 1000 x 16 x 2 B read and written: 64 kB fit in 64 KiB, so 10 GB/s at best; 65.6 kB do not, so 1 GB/s
    rows = OpTable.from_columns({"op": "copy", "dtype": "bf16", "rows": [1000, 1025], "hidden": 16})
    cost = predict_physics(rows, fast)
    assert cost.latency_lo_s.tolist() == pytest.approx([6.4e-6 + 0.5e-6, 65.6e-6 + 0.5e-6], rel=1e-12)
    assert cost.latency_s.tolist() == pytest.approx([128e-6 + 1e-6, 131.2e-6 + 1e-6], rel=1e-12)
