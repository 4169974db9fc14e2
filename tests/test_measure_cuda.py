"""The CUDA backend against a stand-in of torch: what it captures, how it divides, what it does where torch refuses."""

from __future__ import annotations

import math
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from archcast.measuring.backends import torch_cuda
from archcast.measuring.backends.torch_cuda import CudaBackend, catalogue_device
from foundation.errors import UnknownNameError, UnsupportedError

CALL_S = 20e-6


class Tensor:
    """A shape; operators on it advance the device's clock."""

    def __init__(self, device: Device, *shape: int) -> None:
        self.device, self.shape = device, shape
        device.allocated += 2 * math.prod(shape)
        if device.allocated > device.capacity:
            raise RuntimeError("CUDA out of memory. Tried to allocate\n2 GiB")

    def to(self, **_: object) -> Tensor:
        return self

    def clone(self) -> None:
        self.device.run(self)

    def __mul__(self, other: int) -> Tensor:
        return self

    def __mod__(self, other: int) -> Tensor:
        return self


class Device:
    """A GPU that takes `CALL_S` for every operator, and remembers what was read."""

    def __init__(self, name: str = "NVIDIA H100 80GB HBM3", capacity: float = 1e12) -> None:
        self.name, self.now_s, self.allocated, self.capacity = name, 0.0, 0, capacity
        self.recording: list[tuple[Any, ...]] | None = None
        self.captured: list[tuple[Any, ...]] = []

    def run(self, *operands: Any) -> None:
        if self.recording is not None:
            self.recording.append(operands)
        else:
            self.now_s += CALL_S

    def torch(self) -> Any:
        device = self

        class Event:
            def __init__(self, enable_timing: bool) -> None:
                self.at_s = 0.0

            def record(self) -> None:
                self.at_s = device.now_s

            def synchronize(self) -> None:
                pass

            def elapsed_time(self, end: Event) -> float:
                return (end.at_s - self.at_s) * 1e3

        class CUDAGraph:
            def __init__(self) -> None:
                self.calls: list[tuple[Any, ...]] = []

            def replay(self) -> None:
                device.now_s += CALL_S * len(self.calls)

        @contextmanager
        def graph(into: CUDAGraph) -> Any:
            device.recording = into.calls
            yield
            device.captured, device.recording = into.calls, None

        @contextmanager
        def nothing(*_: object) -> Any:
            yield

        stream = SimpleNamespace(wait_stream=lambda other: None)
        cuda = SimpleNamespace(
            get_device_name=lambda index: device.name, Event=Event, CUDAGraph=CUDAGraph, graph=graph, stream=nothing,
            Stream=lambda: stream, current_stream=lambda: stream, synchronize=lambda: None, empty_cache=lambda: None,
            reset_peak_memory_stats=lambda: setattr(device, "allocated", 0),
            max_memory_allocated=lambda: device.allocated,
        )  # fmt: skip
        run = device.run
        functional = SimpleNamespace(
            conv2d=lambda x, w, *rest: run(x, w), embedding=run, layer_norm=lambda x, *rest: run(x),
            softmax=lambda x, axis: run(x), gelu=run, relu=run,
            scaled_dot_product_attention=lambda q, k, v, **how: run(q, k, v, how),
        )  # fmt: skip
        return SimpleNamespace(
            __version__="2.9.0", version=SimpleNamespace(cuda="12.8"), cuda=cuda, no_grad=nothing,
            backends=SimpleNamespace(cuda=SimpleNamespace(matmul=SimpleNamespace()), cudnn=SimpleNamespace()),
            randn=lambda *shape, **how: Tensor(device, *shape), arange=lambda size, **how: Tensor(device, size),
            matmul=run, add=run, nn=SimpleNamespace(functional=functional), channels_last=None,
            bfloat16="bf16", float16="fp16", float32="fp32",
        )  # fmt: skip


GEMM = {"op": "gemm", "dtype": "bf16", "m": 64, "n": 4096, "k": 4096, "batch": 1}


def test_a_replay_holds_several_calls_and_is_divided_by_them() -> None:
    device = Device()
    timing = CudaBackend(device.torch()).measure(GEMM, 0.01)
    assert timing.latency_s == pytest.approx(CALL_S)
    assert len(device.captured) == 25  # half a millisecond of calls
    assert timing.memory_bytes == device.allocated > 0


def test_the_calls_of_a_graph_take_the_copies_of_the_weights_in_turn() -> None:
    device = Device()
    CudaBackend(device.torch()).measure(GEMM, 0.01)
    weights = [id(operands[1]) for operands in device.captured]
    copies = len(set(weights))
    assert copies == 7  # of 33.6 MB each: a quarter of a gigabyte
    assert weights == [weights[i % copies] for i in range(len(weights))]


def test_energy_is_that_of_a_second_of_replays(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device()
    clock = SimpleNamespace(now=0.0)

    def passing() -> float:
        clock.now += 0.25
        return clock.now

    monkeypatch.setattr(torch_cuda.time, "perf_counter", passing)
    joules = iter([100.0, 100.0 + 350.0])
    backend = CudaBackend(device.torch(), lambda: next(joules))
    timing = backend.measure(GEMM, 0.0)
    assert timing.power_w * 1.25 == pytest.approx(350.0, rel=0.25)
    assert timing.energy_j == pytest.approx(timing.power_w * timing.latency_s)
    # the next three rows have no turn
    assert all(math.isnan(backend.measure(GEMM, 0.0).energy_j) for _ in range(3))


def test_without_a_counter_energy_is_empty() -> None:
    assert math.isnan(CudaBackend(Device().torch()).measure(GEMM, 0.0).power_w)


def test_what_does_not_fit_into_the_memory_is_refused_in_one_line() -> None:
    backend = CudaBackend(Device(capacity=1e6).torch())
    with pytest.raises(UnsupportedError, match=r"out of memory\. Tried to allocate 2 GiB"):
        backend.measure(GEMM, 0.0)


def test_every_family_of_the_pool_is_prepared() -> None:
    backend = CudaBackend(Device().torch())
    seen: set[tuple[str, str]] = set()
    for row in backend.candidates():
        kind = str(row["op"]), str(row["dtype"])
        if kind not in seen:
            seen.add(kind)
            assert backend.measure(row, 0.0).latency_s == pytest.approx(CALL_S)
    assert {op for op, _ in seen} == {
        "gemm",
        "conv2d",
        "attention",
        "norm",
        "elementwise",
        "softmax",
        "embedding",
        "copy",
    }


def test_decode_attention_is_not_masked_and_prefill_is() -> None:
    row = {"op": "attention", "dtype": "bf16", "phase": "decode", "batch": 1, "q_len": 1, "kv_len": 512, "heads": 8,
           "kv_heads": 2, "head_dim": 128, "causal": 1}  # fmt: skip
    for q_len, masked in ((1, False), (512, True)):
        device = Device()
        CudaBackend(device.torch()).measure(row | {"q_len": q_len}, 0.0)
        assert device.captured[0][3] == {"is_causal": masked, "enable_gqa": True}


@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("NVIDIA H100 80GB HBM3", "h100-sxm"), ("NVIDIA H100 PCIe", "h100-pcie"), ("NVIDIA H200", "h200-sxm"),
        ("NVIDIA A100-SXM4-80GB", "a100-sxm-80gb"), ("NVIDIA A100-SXM4-40GB", "a100-sxm-40gb"),
        ("NVIDIA L40S", "l40s"), ("Tesla T4", "t4"), ("NVIDIA GeForce RTX 4090", "rtx-4090"), ("NVIDIA B200", "b200"),
    ],
)  # fmt: skip
def test_a_gpu_is_known_by_its_drivers_name(name: str, device: str) -> None:
    assert catalogue_device(name) == device


def test_an_unknown_gpu_is_named_with_its_nearest() -> None:
    with pytest.raises(UnknownNameError, match="RTX 9999"):
        catalogue_device("NVIDIA GeForce RTX 9999 Ultra")


def test_a_machine_without_torch_or_gpu_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UnsupportedError, match="torch"):
        torch_cuda.cuda_backend()
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: False)))
    with pytest.raises(UnsupportedError, match="no CUDA device"):
        torch_cuda.cuda_backend()
