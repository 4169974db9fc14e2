"""aiconfigurator's tables become operators in SI units; what they do not say is left out with a reason."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from costmodel.measured.aiconfigurator import REPEATED
from costmodel.measured.aiconfigurator_tables import FORMATS, expert_skew
from costmodel.measured.base import ImportReport, ImportRequest, find_importer
from costmodel.physics import predict_physics
from costmodel.rates import compile_rates
from foundation.errors import BadFileError, UnknownNameError, UnsupportedError
from foundation.formats import FORMATS as OURS
from hardware_specs import load_device
from workloads.measurements import MeasurementTable

pyarrow = pytest.importorskip("pyarrow")
pytest.importorskip("pyarrow.parquet")

COMMON: dict[str, Any] = {"framework": "VLLM", "version": "0.24.0", "device": "NVIDIA H100 80GB HBM3",
                          "op_name": "gemm", "kernel_source": "default"}  # fmt: skip
GEMM = {**COMMON, "gemm_dtype": "bfloat16", "m": 128, "n": 4096, "k": 8192, "latency": 0.05}
ATTENTION = {**COMMON, "batch_size": 4, "isl": 1, "num_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
             "beam_width": 1, "attn_dtype": "bfloat16", "kv_cache_dtype": "fp8", "step": 1023, "window_size": None,
             "latency": 0.02}  # fmt: skip
MOE = {**COMMON, "moe_dtype": "fp8_block", "num_tokens": 64, "hidden_size": 4096, "inter_size": 1536, "topk": 8,
       "num_experts": 128, "moe_tp_size": 2, "moe_ep_size": 4, "distribution": "power_law_1.2",
       "latency": 0.3}  # fmt: skip
LINK = {**COMMON, "op_name": "all_gather", "nccl_dtype": "half", "num_gpus": 8, "message_size": 1024,
        "latency": 0.01}  # fmt: skip


def put(folder: Path, place: str, rows: list[dict[str, Any]]) -> Path:
    path = folder / place
    path.parent.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys(name for row in rows for name in row))
    pyarrow.parquet.write_table(pyarrow.table({n: [row.get(n) for row in rows] for n in names}), path)
    return path


def imported(folder: Path | None, *devices: str, **options: str) -> tuple[list[MeasurementTable], ImportReport]:
    request = ImportRequest(folder, devices, options)
    pieces = [p for p in find_importer("aiconfigurator").load(request) if isinstance(p, MeasurementTable)]
    report = request.report
    assert report.read == report.mapped + sum(report.skipped.values())
    assert report.mapped == sum(p.rows for p in pieces)
    return pieces, report


def one(folder: Path, place: str, *rows: dict[str, Any]) -> MeasurementTable:
    put(folder, place, list(rows))
    pieces, _ = imported(folder)
    assert len(pieces) == 1
    return pieces[0]


def sizes(found: MeasurementTable, *names: str) -> list[list[float]]:
    return [found.table.full(name).tolist() for name in names]


def test_a_product_comes_with_device_stack_format_and_seconds(tmp_path: Path) -> None:
    found = one(tmp_path, "h100_sxm/gemm/vllm/0.24.0/gemm_perf.parquet", GEMM, {**GEMM, "m": 1, "latency": 0.004})
    assert found.table.names("op") == ["gemm"] * 2
    assert found.table.names("dtype") == ["bf16"] * 2
    assert sizes(found, "m", "n", "k", "batch") == [[128, 1], [4096] * 2, [8192] * 2, [1, 1]]
    assert found.device.tolist() == ["h100-sxm"] * 2
    assert found.software.tolist() == ["vllm 0.24.0"] * 2
    assert found.value("latency_s") == pytest.approx([5e-5, 4e-6])
    assert np.isnan(found.value("energy_j")).all()
    assert all("Apache-2.0" in source for source in found.source)


def test_measured_power_becomes_watts_and_joules_of_one_call(tmp_path: Path) -> None:
    rows = [{**GEMM, "system": "h200_sxm", "power": 690.0, "power_limit": 700.0},
            {**GEMM, "system": "b200_sxm", "power": None, "power_limit": None}]  # fmt: skip
    found = one(tmp_path, "op_power_gemm.parquet", *rows)
    assert found.device.tolist() == ["h200-sxm", "b200"]
    assert found.value("power_w")[0] == 690.0
    assert found.value("energy_j")[0] == pytest.approx(690.0 * 5e-5)
    assert np.isnan(found.value("power_w")[1])
    assert np.isnan(found.value("energy_j")[1])


def test_a_generated_token_sees_itself_and_the_steps_before_it(tmp_path: Path) -> None:
    place = "h100_sxm/attention/vllm/0.24.0/generation_attention_perf.parquet"
    found = one(tmp_path, place, ATTENTION, {**ATTENTION, "window_size": 128})
    assert found.table.names("phase") == ["decode"] * 2
    assert found.table.names("kv_dtype") == ["fp8"] * 2
    assert sizes(found, "q_len", "kv_len", "heads", "kv_heads") == [[1, 1], [1024, 1024], [32, 32], [8, 8]]
    assert sizes(found, "window") == [[0, 128]]


def test_a_prompt_sees_itself_and_its_prefix(tmp_path: Path) -> None:
    place = "h100_sxm/attention/vllm/0.24.0/context_attention_perf.parquet"
    found = one(tmp_path, place, {**ATTENTION, "isl": 512, "step": 0}, {**ATTENTION, "isl": 512, "step": 256})
    assert found.table.names("phase") == ["prefill"] * 2
    assert sizes(found, "q_len", "kv_len", "causal") == [[512, 512], [512, 768], [1, 1]]


def test_an_encoder_sees_all_keys_and_has_as_many_of_them_as_queries(tmp_path: Path) -> None:
    row = {n: ATTENTION[n] for n in (*COMMON, "batch_size", "num_heads", "head_dim", "attn_dtype", "latency")}
    found = one(tmp_path, "l40s/encoder_attention/vllm/0.24.0/encoder_attention_perf.parquet", {**row, "isl": 577})
    assert sizes(found, "causal", "q_len", "kv_len", "kv_heads") == [[0], [577], [577], [32]]


def test_latent_attention_has_the_ranks_of_deepseek(tmp_path: Path) -> None:
    row = {n: ATTENTION[n] for n in (*COMMON, "batch_size", "isl", "num_heads", "step", "kv_cache_dtype", "latency")}
    place = "b200_sxm/mla/trtllm/1.3.0rc20/generation_mla_perf.parquet"
    found = one(tmp_path, place, {**row, "mla_dtype": "bfloat16", "tp_size": 4})
    assert found.table.names("op") == ["mla"]
    assert sizes(found, "kv_rank", "rope_dim", "head_dim", "kv_len", "heads") == [[512], [64], [128], [1024], [32]]


def test_absorbed_products_go_into_the_latent_and_out_of_it(tmp_path: Path) -> None:
    row = {**COMMON, "bmm_dtype": "fp8", "num_tokens": 7, "num_heads": 16, "latency": 0.01}
    rows = [
        {**row, "op_name": "mla_gen_pre"},
        {**row, "op_name": "mla_gen_post", "kernel_source": "trtllm_bmm_out_dequant_bf16"},
        {**row, "op_name": "mla_gen_post", "kernel_source": "trtllm_fp8_block_scaling_bmm_out"},
    ]
    found = one(tmp_path, "h100_sxm/mla_bmm/trtllm/1.3.0rc20/mla_bmm_perf.parquet", *rows)
    assert sizes(found, "m", "n", "k", "batch") == [[7] * 3, [512, 128, 128], [128, 512, 512], [16] * 3]
    assert found.table.names("dtype") == ["fp8", "w8a16", "fp8_block"]


def test_experts_keep_global_sizes_and_the_exponent_of_their_loads(tmp_path: Path) -> None:
    place = "h100_sxm/moe/vllm/0.24.0/moe_perf.parquet"
    found = one(tmp_path, place, MOE, {**MOE, "distribution": "balanced"})
    assert found.table.names("dtype") == ["fp8_block"] * 2
    names = ("tokens", "hidden", "inter", "experts", "topk", "tp", "ep")
    assert sizes(found, *names) == [[size] * 2 for size in (64, 4096, 1536, 128, 8, 2, 4)]
    assert sizes(found, "skew", "gated") == [[1.2, 0], [1, 1]]


def test_nemotron_experts_have_two_matrices_unless_the_kernel_ran_a_gate(tmp_path: Path) -> None:
    shape = {"hidden_size": 2688, "inter_size": 1856, "num_experts": 128, "topk": 6}
    kernels = ["moe_torch_flow_nongated", "vllm_unquantizedfusedmoe_triton_tritonexperts", "sglang_fused_moe_triton"]
    rows = [{**MOE, **shape, "kernel_source": kernel, "version": str(i)} for i, kernel in enumerate(kernels)]
    found = one(tmp_path, "h100_sxm/moe/vllm/0.24.0/moe_perf.parquet", *rows)
    assert sizes(found, "gated") == [[0, 0, 1]]


@pytest.mark.parametrize(("dtype", "size"), [("half", 2), ("int8", 1), ("bfloat16", 2)])
def test_messages_are_counted_in_elements_and_become_bytes(tmp_path: Path, dtype: str, size: int) -> None:
    row = {**LINK, "nccl_dtype": dtype, "version": None, "framework": None}
    found = one(tmp_path, "h100_sxm/comm/nccl/2.23/nccl_perf.parquet", row, {**row, "op_name": "alltoall"})
    assert sizes(found, "bytes", "ranks") == [[1024 * size] * 2, [8, 8]]
    assert found.table.names("kind") == ["all_gather", "all_to_all"]
    assert found.software.tolist() == ["nccl 2.23"] * 2


def test_a_file_copied_under_another_version_keeps_the_stack_of_its_rows(tmp_path: Path) -> None:
    row = {n: v for n, v in {**LINK, "allreduce_dtype": "bfloat16", "op_name": "all_reduce"}.items() if "nccl" not in n}
    for place in ("sglang/0.5.6", "trtllm/1.2.0"):
        put(tmp_path, f"h100_sxm/comm/{place}/custom_allreduce_perf.parquet",
            [{**row, "framework": "TRTLLM", "version": "1.2.0"}])  # fmt: skip
    (found,), report = imported(tmp_path)
    assert found.software.tolist() == ["trtllm 1.2.0"]
    assert report.skipped == {REPEATED: 1}


def test_of_kernels_for_one_operator_the_fastest_is_kept_for_each_stack(tmp_path: Path) -> None:
    rows = [{**GEMM, "kernel_source": "a", "latency": 0.09}, {**GEMM, "kernel_source": "b", "latency": 0.06},
            {**GEMM, "version": "0.19.0", "latency": 0.08}]  # fmt: skip
    found = one(tmp_path, "h100_sxm/gemm/vllm/0.24.0/gemm_perf.parquet", *rows)
    assert found.value("latency_s") == pytest.approx([6e-5, 8e-5])
    assert found.software.tolist() == ["vllm 0.24.0", "vllm 0.19.0"]


def test_what_cannot_be_used_is_counted_by_its_reason(tmp_path: Path) -> None:
    rows = [GEMM, {**GEMM, "m": 2, "latency": 4e-8}, {**GEMM, "m": 3, "gemm_dtype": "int3"},
            {**GEMM, "m": 4, "latency": None}, {**GEMM, "m": None}]  # fmt: skip
    put(tmp_path, "h100_sxm/gemm/vllm/0.24.0/gemm_perf.parquet", rows)
    put(tmp_path, "h100_sxm/mla/vllm/0.24.0/mla_context_module_perf.parquet", [COMMON] * 7)
    put(tmp_path, "future_gpu/gemm/vllm/0.24.0/gemm_perf.parquet", [GEMM] * 2)
    put(tmp_path, "h100_sxm/moe/vllm/0.24.0/moe_perf.parquet", [{**MOE, "distribution": "zipf"}])
    (found,), report = imported(tmp_path)
    assert found.rows == 1
    assert report.read == 15
    reasons = {reason.split(":")[0]: rows for reason, rows in report.skipped.items()}
    assert reasons == {
        "latency below 0.0001 ms": 1, "gemm_dtype 'int3' is no operator or format here": 1, "a cell that is empty": 2,
        "table mla_context_module_perf": 7, "system 'future_gpu' is not in the catalogue": 2,
        "distribution 'zipf' is no operator or format here": 1,
    }  # fmt: skip


def test_a_row_that_is_no_operator_does_not_stop_the_others(tmp_path: Path) -> None:
    put(tmp_path, "h100_sxm/gemm/vllm/0.24.0/gemm_perf.parquet", [GEMM, {**GEMM, "n": 0}, {**GEMM, "k": -1}])
    (found,), report = imported(tmp_path)
    assert found.rows == 1
    assert found.skipped == ()
    assert sum(report.skipped.values()) == 2
    assert "n: gemm needs n above 0, found 0." in report.skipped


def test_only_devices_and_tables_that_were_asked_for_are_read(tmp_path: Path) -> None:
    for system in ("h100_sxm", "l40s"):
        put(tmp_path, f"{system}/gemm/vllm/0.24.0/gemm_perf.parquet", [GEMM])
        put(tmp_path, f"{system}/moe/vllm/0.24.0/moe_perf.parquet", [MOE])
    pieces, report = imported(tmp_path, "l40s", tables="moe_perf")
    assert [(p.table.names("op"), p.device.tolist()) for p in pieces] == [(["moe"], ["l40s"])]
    assert report.read == 1
    with pytest.raises(UnknownNameError, match="moe_perf"):
        imported(tmp_path, tables="moe_prf")


def test_a_package_that_is_absent_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(UnsupportedError, match="pip install aiconfigurator-core"):
        imported(None)


def test_a_folder_without_tables_and_a_truncated_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFileError, match="no Parquet tables"):
        imported(tmp_path)
    path = put(tmp_path, "h100_sxm/gemm/vllm/0.24.0/gemm_perf.parquet", [GEMM])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BadFileError, match="not a readable Parquet file"):
        imported(tmp_path)


def test_every_format_is_one_of_ours() -> None:
    assert set(FORMATS.values()) <= set(OURS)
    assert FORMATS["sq"] == "int8"
    assert FORMATS["int4_wo"] == "w4a16"


@pytest.mark.parametrize("name", ["power_law_", "power_law_x", "power_law_-1", "power_law_nan", "zipf", ""])
def test_a_distribution_that_is_not_known_has_no_exponent(name: str) -> None:
    assert np.isnan(expert_skew(name))


@pytest.mark.skipif(
    importlib.util.find_spec("aiconfigurator_core") is None, reason="the package aiconfigurator-core is not installed"
)
def test_the_rows_of_the_package_lie_near_the_closed_form() -> None:
    """A100 has few rows (185,067, the sum of its footers), and of each family."""
    pieces, report = imported(None, "a100-sxm-80gb")
    if "0.12.0" in pieces[0].source[0]:
        assert report.read == 185_067
    assert report.mapped > 0.9 * report.read
    rates = compile_rates(load_device("a100-sxm-80gb"))
    seen = set()
    for piece in pieces:
        latency = piece.value("latency_s")
        assert np.isfinite(latency).all()
        assert (latency > 1e-7).all()
        op = piece.table.names("op")[0]
        seen.add(op)
        if op != "collective":
            every = piece.take(slice(None, None, max(1, piece.rows // 5000)))
            ratio = np.median(every.value("latency_s") / predict_physics(every.table, rates).latency_s)
            assert 0.3 < ratio < 30, piece.path
    assert seen == {"attention", "collective", "gemm", "mla", "moe", "scan"}
