"""Served language models: first-token and per-token times of aiconfigurator's silicon sample (NVIDIA, Apache-2.0).

Aggregated rows only: rows of split prefill and decode mostly lack their worker counts. Traps: where experts are spread
(`tpX_epX`), `tp_size` or `attention_dp_size` hold X x X, and ids tell that X devices ran: X is restored; 12, 20, 24,
28, ... ranks are the devices of a whole system, not of one instance, and no network's heads divide by them; rows of
`epnone` whose MoE sizes contradict `tp_size` are left out, and rows whose users would need three times the arithmetic
that the devices have: their concurrency is that of a whole system. `precision` picks the catalogue's quantised variant
of a network where there is one (then `dtype` is empty: the checkpoint's own), else the format.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from costmodel.measured.base import ImportRequest
from costmodel.measured.data_files import (
    Columns,
    device_id,
    drop,
    each,
    read_file,
    set_folder,
    whole_models,
    workload_id,
)
from costmodel.rates import compile_rates
from foundation.formats import number_format
from hardware_specs import load_device
from workloads.catalogue import load_model
from workloads.table import Array
from workloads.workload_measurements import WorkloadMeasurements

SOURCE = "aiconfigurator silicon sample, commit 095f58a5 (Apache-2.0)"
NUMBERS = (
    "concurrency", "isl", "osl", "tp_size", "pp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size",
    "silicon_ttft_ms", "silicon_tpot_ms",
)  # fmt: skip
TEXTS = ("backend", "backend_version", "model_path", "system", "precision", "mode", "gemm_quant_mode", "measured_on")
VARIANTS = {"fp4": "nvfp4", "fp8": "fp8"}
FORMATS = {"fp8": "fp8", "fp8_block": "fp8_block", "nvfp4": "nvfp4", "int4_wo": "w4a16", "": "bf16"}
MOST_RANKS = 16
FASTEST = 1.05
"""Of the peak rate, beyond which a row cannot be of so many devices (the physical floor: boost clock x 1.05)."""


def load_silicon_sample(request: ImportRequest) -> Iterator[WorkloadMeasurements]:
    """Yield one table. Raises BadFileError."""
    request.check_options()
    folder = set_folder(request, "aiconfigurator")
    found = read_file(folder / "silicon_sample_e2e.csv.gz", NUMBERS, TEXTS)
    request.report.read += len(found["mode"])
    found = drop(
        request, found, found["mode"] != "agg", "prefill and decode on workers of their own, mostly not stated"
    )
    count, tp, dp, ep, wrong = ranks_of(found)
    request.report.skip("parallel sizes that contradict each other, or of a whole system", int(wrong.sum()))
    found, sizes = {k: c[~wrong] for k, c in found.items()}, [s[~wrong] for s in (count, tp, dp, ep)]
    asked = found["model_path"] + "|" + found["precision"] + "|" + found["gemm_quant_mode"]
    workload, dtype = each(asked, lambda text: _network(text)[0]), each(asked, lambda text: _network(text)[1])
    device = each(found["system"], lambda name: device_id("aiconfigurator", name))
    beyond = arithmetic_share(found, workload, device, sizes[0]) > FASTEST
    request.report.skip("more arithmetic than the devices can do: concurrency of a whole system", int(beyond.sum()))
    found, sizes = {k: c[~beyond] for k, c in found.items()}, [s[~beyond] for s in sizes]
    workload, dtype, device = workload[~beyond], dtype[~beyond], device[~beyond]
    group = found["model_path"] + "|" + found["system"] + "|" + found["precision"]
    group = group + np.array([f"|tp{t:g} dp{d:g} ep{e:g}" for t, d, e in zip(*sizes[1:], strict=True)], dtype=object)
    table = whole_models(
        request, "aiconfigurator silicon sample",
        {
            "device": device, "source": SOURCE,
            "software": each(found["backend"] + " " + found["backend_version"], str.strip), "workload": workload,
            "dtype": dtype, "count": sizes[0], "tp": sizes[1], "pp": found["pp_size"], "dp": sizes[2], "ep": sizes[3],
            "concurrency": found["concurrency"], "prompt": found["isl"], "generate": found["osl"], "group": group,
            "ttft_s": found["silicon_ttft_ms"] * 1e-3, "tpot_s": found["silicon_tpot_ms"] * 1e-3,
            "precision": found["precision"], "measured_on": found["measured_on"],
        },
        unknown=found["model_path"],
    )  # fmt: skip
    if table is not None:
        yield table


def arithmetic_share(found: Columns, workload: Array, device: Array, count: Array) -> Array:
    """Return the share of the devices' peak rate that a run's tokens take: two operations a parameter and token.

    Each of the users has a request in service all the time, which takes its first token and all further ones.
    """
    parameters = each(workload, lambda name: float(load_model(name).summary()["active_parameters"]) if name else 0.0)
    peak = each(
        device, lambda name: float(np.nanmax(compile_rates(load_device(name)).peak_flop_per_s)) if name else 1.0
    )
    request_s = (found["silicon_ttft_ms"] + found["silicon_tpot_ms"] * (found["osl"] - 1)) * 1e-3
    tokens_per_s = found["concurrency"] * (found["isl"] + found["osl"]) / request_s
    return np.asarray(2.0 * parameters * tokens_per_s / (count * peak))


def ranks_of(found: Columns) -> tuple[Array, Array, Array, Array, Array]:
    """Return (devices, tp, dp, ep, contradicts) of each row; tp and dp are those of attention.

    Rows with `tpX_epX` in their id hold one of: tp = X; tp = X^2 with moe_tp = moe_ep = X; tp = dp = X with moe_ep =
    X^2; the same with attention in parallel over requests (dp = X or X^2). In each, X devices ran.
    """
    tp, pp = found["tp_size"], np.nan_to_num(found["pp_size"], nan=1.0)
    dp_given = ~np.isnan(found["attention_dp_size"])
    dp = np.maximum(np.nan_to_num(found["attention_dp_size"], nan=1.0), 1)
    moe_tp, moe_ep = (np.maximum(np.nan_to_num(found[f"moe_{name}_size"], nan=1.0), 1) for name in ("tp", "ep"))
    squared = dp_given & (moe_tp > 1) & (moe_ep > 1)
    both = (tp > 1) & (tp == dp) & (moe_ep == tp * dp)
    count = np.where(squared, moe_tp, np.where(both, tp, tp * dp))
    spread = dp > 1
    agrees = (moe_tp * moe_ep == 1) | (moe_tp * moe_ep == tp * dp) | both
    wrong = ~agrees | (count > MOST_RANKS) | (np.log2(count) % 1 != 0) | ~(tp > 0)
    return count * pp, np.where(spread, 1.0, count), np.where(spread, count, 1.0), np.where(
        moe_ep > 1, np.where(dp_given, count, moe_ep), 1.0
    ), wrong  # fmt: skip


def _network(text: str) -> tuple[str, str]:
    """Return the network and the format of 'model|precision|mode of products'."""
    path, precision, products = text.split("|")
    base = workload_id(path)
    if not base:
        return "", ""
    stem = base.removesuffix("-fp8").removesuffix("-nvfp4")
    if precision in VARIANTS and (variant := workload_id(f"{stem}-{VARIANTS[precision]}")):
        return variant, ""
    own = number_format(str(load_model(base).defaults["dtype"]))
    width = {"fp4": 4, "fp8": 8, "int4": 4, "bf16": 16}.get(precision, 16)
    if int(own.weight_bits) == width:
        return base, ""  # the checkpoint's own format, e.g. the 4-bit experts of gpt-oss
    return base, FORMATS.get(products, "")
