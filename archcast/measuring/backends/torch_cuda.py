"""Operators through torch on an NVIDIA GPU: CUDA graphs timed by events, energy by NVML, peak memory by torch.

Kernels of a few microseconds are shorter than a launch from Python, so a graph holds the operator several times, each
with the next copy of its weights, and one replay is one sample.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from math import nan
from typing import Any

import numpy as np

from archcast.measuring import pool
from archcast.measuring.backends.base import Network, Row
from archcast.measuring.repeats import Timing, repeat, typical
from foundation.errors import UnknownNameError, UnsupportedError
from hardware_specs import device_ids, load_device

WARM_UPS, LOOP_S, MOST_LOOPS = 3, 5e-4, 64
ENERGY_TIME_S = 1.0
"""NVML's energy counter moves every 20 to 100 ms (Yang et al. 2024, "Part-time power measurements"); a second of
replays keeps its step below a few per cent."""
ENERGY_EVERY = 4
"""Every so many operators energy is measured too: it takes a second, and power varies less than time."""
COPIES_BYTES, MOST_COPIES = 2.5e8, 16


def cuda_backend() -> CudaBackend:
    """Return the first GPU. Raises UnsupportedError: no torch, or no GPU that it can use."""
    try:
        import torch
    except ImportError:
        raise UnsupportedError("Measuring a GPU needs torch with CUDA, which is absent; pip install torch.") from None
    if not torch.cuda.is_available():
        raise UnsupportedError("torch finds no CUDA device on this machine; --on host-cpu measures its processor.")
    return CudaBackend(torch, _nvml())


def _nvml() -> Any:
    """Return the NVML handle of the first GPU with its module, or None."""
    try:
        import pynvml

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except Exception:  # absent, or a GPU without the counter (before Volta): energy stays empty
        return None
    return lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) * 1e-3


def catalogue_device(name: str) -> str:
    """Return the catalogue id of a GPU as its driver names it, such as 'NVIDIA H100 80GB HBM3'.

    Raises:
        UnknownNameError: it is not in the catalogue.
    """
    plain = name.lower().replace("nvidia", " ").replace("geforce", " ").replace("tesla", " ").replace("quadro", " ")
    words = plain.replace("-", " ").replace("sxm4", "sxm").replace("sxm2", "sxm").replace("sxm5", "sxm").split()
    words = ["sxm" if word in ("hbm3", "hbm3e") else word for word in words]
    if words[:1] == ["h200"] or words[:1] == ["h100"]:
        words = [word for word in words if not word.endswith("gb")]
        words += ["sxm"] if len(words) == 1 else []
    candidates = ["-".join(words[:size]) for size in range(len(words), 0, -1)]
    for candidate in candidates:
        try:
            return load_device(candidate).id
        except UnknownNameError:
            continue
    raise UnknownNameError("GPU", name, device_ids(), "Describe it in a YAML file and report it.")


class CudaBackend:
    """One GPU. `torch` is the module (or what stands in for it), `energy_j` reads the energy counter in joules."""

    def __init__(self, torch: Any, energy_j: Callable[[], float] | None = None) -> None:
        self._torch, self._energy_j, self._count = torch, energy_j, 0
        self.device = catalogue_device(str(torch.cuda.get_device_name(0)))
        self.software = f"torch {torch.__version__} cuda {torch.version.cuda}"
        torch.backends.cuda.matmul.allow_tf32 = False  # fp32 rows are fp32
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = True

    def candidates(self) -> Sequence[Row]:
        """Return operators in 16 bits, and products in fp32."""
        large, norms = pool.LARGE, [(1, 7.0)]
        return [
            *pool.gemms(500, "bf16", large), *pool.gemms(120, "fp16", large), *pool.gemms(120, "fp32", large),
            *pool.convolutions(400, "fp16", large), *pool.attentions(400, "bf16", large),
            *pool.pointwise(120, "bf16", "norm", norms, 16384, large),
            *pool.pointwise(120, "bf16", "elementwise", [(1, 1.0), (1, 8.0), (2, 1.0)], 16384, large),
            *pool.pointwise(80, "bf16", "softmax", [(1, 0.0)], 65536, large),
            *pool.pointwise(80, "bf16", "embedding", [(1, 0.0)], 8192, large),
            *pool.pointwise(80, "bf16", "copy", [(1, 0.0)], 16384, large),
        ]  # fmt: skip

    def networks(self) -> Sequence[Network]:
        return ()

    def measure_network(self, network: Network, limit_s: float) -> Timing:
        raise UnsupportedError(f"Whole networks are measured on the processor only, so not {network.workload}.")

    def measure(self, row: Row, limit_s: float) -> Timing:
        """Run one operator repeatedly. Raises UnsupportedError: torch refuses it, or it does not fit."""
        torch = self._torch
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        try:
            with torch.no_grad():
                calls = self._prepared(row)
                once_s = self._timed(lambda: calls[0]())
                loops = int(min(max(LOOP_S / max(once_s, 1e-6), len(calls)), MOST_LOOPS))
                graph = self._captured(calls, loops)
                samples: list[float] = []
                repeat(lambda _: samples.append(self._timed(graph.replay) / loops), limit_s, counter=lambda: 0)
                memory = float(torch.cuda.max_memory_allocated())
                power = self._power_w(graph)
        except RuntimeError as error:  # torch's own, running out of memory among them
            raise UnsupportedError(f"torch refuses it: {' '.join(str(error).split())[:160]}.") from None
        # the smallest and the first replays find a clock that is still rising; the typical value leaves them out
        values = np.array(samples)
        latency, spread, count = typical(values, np.ones(len(values), dtype=bool))
        return Timing(latency, spread, count, power, power * latency, memory)

    def _timed(self, work: Callable[[], object]) -> float:
        """Return the seconds between two events around the work."""
        begin, end = (self._torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) * 1e-3

    def _captured(self, calls: Sequence[Callable[[], object]], loops: int) -> Any:
        """Return a graph of `loops` calls, the copies in turn; warmed up on another stream, as capturing demands."""
        torch = self._torch
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for turn in range(max(WARM_UPS, len(calls))):
                calls[turn % len(calls)]()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for turn in range(loops):
                calls[turn % len(calls)]()
        graph.replay()
        torch.cuda.synchronize()
        return graph

    def _power_w(self, graph: Any) -> float:
        """Return the board's mean power over replays of at least a second; NaN where it is not this row's turn."""
        self._count += 1
        if self._energy_j is None or self._count % ENERGY_EVERY != 1:
            return nan
        self._torch.cuda.synchronize()
        before, start = self._energy_j(), time.perf_counter()
        while time.perf_counter() - start < ENERGY_TIME_S:
            for _ in range(20):
                graph.replay()
            self._torch.cuda.synchronize()
        return (self._energy_j() - before) / (time.perf_counter() - start)

    def _prepared(self, row: Row) -> list[Callable[[], object]]:
        """Return functions that run the operator once, each on its own weights. Raises UnsupportedError."""
        torch = self._torch
        fmt = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}.get(str(row["dtype"]))
        if fmt is None:
            raise UnsupportedError(f"{row['dtype']} is not measured with torch.")

        def noise(*shape: int) -> Any:
            return torch.randn(*shape, device="cuda", dtype=fmt)

        if row["op"] == "gemm":
            return _gemm(torch, row, noise)
        if row["op"] == "conv2d":
            return _conv(torch, row, noise)
        if row["op"] == "attention":
            return _attention(torch, row, noise)
        return _pointwise(torch, row, noise)


Noise = Callable[..., Any]


def _copies(weight_elements: float) -> range:
    """Return a range over copies of weights: enough to pass through the caches of the largest GPUs."""
    return range(int(min(max(COPIES_BYTES // max(2 * weight_elements, 1), 2), MOST_COPIES)))


def _gemm(torch: Any, row: Row, noise: Noise) -> list[Callable[[], object]]:
    m, n, k, batch = (int(row[name]) for name in ("m", "n", "k", "batch"))
    lead = (batch,) if batch > 1 else ()
    x = noise(*lead, m, k)
    weights = [noise(*lead, k, n) for _ in _copies(batch * n * k)]
    return [lambda w=w: torch.matmul(x, w) for w in weights]  # type: ignore[misc]


def _conv(torch: Any, row: Row, noise: Noise) -> list[Callable[[], object]]:
    groups = int(row["groups"])
    x = noise(*(int(row[name]) for name in ("batch", "c_in", "h", "w")))
    shape = (int(row["c_out"]), int(row["c_in"]) // groups, int(row["kh"]), int(row["kw"]))
    x = x.to(memory_format=torch.channels_last)
    weights = [noise(*shape).to(memory_format=torch.channels_last) for _ in _copies(float(np.prod(shape)))]
    stride, padding = int(row["stride"]), int(row["padding"])
    return [
        lambda w=w: torch.nn.functional.conv2d(x, w, None, stride, padding, 1, groups)  # type: ignore[misc]
        for w in weights
    ]


def _attention(torch: Any, row: Row, noise: Noise) -> list[Callable[[], object]]:
    batch, q_len, kv_len, heads, kv_heads, head_dim = (
        int(row[name]) for name in ("batch", "q_len", "kv_len", "heads", "kv_heads", "head_dim")
    )
    q = noise(batch, heads, q_len, head_dim)
    caches = [(noise(batch, kv_heads, kv_len, head_dim), noise(batch, kv_heads, kv_len, head_dim))
              for _ in _copies(2.0 * batch * kv_heads * kv_len * head_dim)]  # fmt: skip
    causal, shared = bool(row["causal"]) and q_len > 1, kv_heads != heads
    attend = torch.nn.functional.scaled_dot_product_attention
    return [lambda k=k, v=v: attend(q, k, v, is_causal=causal, enable_gqa=shared)  # type: ignore[misc]
            for k, v in caches]  # fmt: skip


def _pointwise(torch: Any, row: Row, noise: Noise) -> list[Callable[[], object]]:
    rows, hidden = int(row["rows"]), int(row["hidden"])
    operands, flop = float(row.get("operands", 1)), float(row.get("flop_per_element", 0))
    functional = torch.nn.functional
    if row["op"] == "embedding":
        table = noise(32768, hidden)
        index = torch.arange(rows, device="cuda") * 7919 % 32768
        return [lambda: functional.embedding(index, table)]
    x = noise(rows, hidden)
    if row["op"] == "norm":
        gain, shift = noise(hidden), noise(hidden)
        return [lambda: functional.layer_norm(x, (hidden,), gain, shift)]
    if row["op"] == "softmax":
        return [lambda: functional.softmax(x, -1)]
    if row["op"] == "copy":
        return [lambda: x.clone()]
    if row["op"] == "elementwise" and operands == 2:
        z = noise(rows, hidden)
        return [lambda: torch.add(x, z)]
    if row["op"] == "elementwise" and operands == 1:
        return [(lambda: functional.gelu(x)) if flop == 8 else (lambda: functional.relu(x))]
    raise UnsupportedError(f"The operator '{row['op']}' is not measured with torch.")
