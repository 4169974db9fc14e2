"""LLMCompass: matrix products, softmax, layer norm and GELU on A100 and MI210 (github.com/PrincetonUniversity, BSD-3).

A smoke test of 170 rows. Traps: files without header lines; beside shapes of softmax, norm and GELU stand rates in 1e9
elements a second, not times (an A100 ends at 390, which is 1.56 TB/s of 16-bit reads and writes; the value grows with
the size). The format is not stated: 290 TFLOP/s on A100 are 16 bit. Times inside a transformer block (two files) have
no shapes and are not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from costmodel.measured.base import ImportRequest
from costmodel.measured.data_files import device_id, each, operators, read_file, set_folder
from workloads.measurements import MeasurementTable

SOURCE = "LLMCompass, commit 2e015fd2 (BSD-3-Clause)"
SHAPES = {"gelu": ("hidden",), "layernorm": ("rows", "hidden"), "softmax": ("rows", "hidden")}
OPS = {"gelu": "elementwise", "layernorm": "norm", "softmax": "softmax"}


def load_llmcompass(request: ImportRequest) -> Iterator[MeasurementTable]:
    """Yield one table a file. Raises BadFileError."""
    request.check_options()
    folder = set_folder(request, "llmcompass_ae")
    for name in ("A100", "MI210"):
        about = {"dtype": "fp16", "device": device_id("llmcompass_ae", name), "software": "pytorch", "source": SOURCE}
        found = read_file(folder / f"matmul_{name}.csv", ("m", "n", "k"), ("time", "rate"), header="m,n,k,time,rate")
        request.report.read += len(found["m"])
        columns: dict[str, Any] = {size: found[size] for size in ("m", "n", "k")}
        latency_s = each(found["time"], lambda text: float(text.removesuffix("ms")) * 1e-3)
        table = operators(
            request, f"LLMCompass matmul {name}", {**columns, **about, "op": "gemm", "latency_s": latency_s}
        )
        if table is not None:
            yield table
        for kind, shape in SHAPES.items():
            found = read_file(
                folder / f"{kind}_{name}.csv", (*shape, "billions_per_s"), header=",".join((*shape, "billions_per_s"))
            )  # fmt: skip
            request.report.read += len(found["hidden"])
            rows = found.get("rows", 1.0)
            columns = {"rows": rows, "hidden": found["hidden"], "op": OPS[kind]}
            latency_s = rows * found["hidden"] / (found["billions_per_s"] * 1e9)
            table = operators(request, f"LLMCompass {kind} {name}", {**columns, **about, "latency_s": latency_s})
            if table is not None:
                yield table
