"""Operators and whole networks through ONNX Runtime on the host's processor.

Operators are timed by the runtime's own profiler: kernels alone, since a network does not pay for calls and layout
changes around each of its operators. Whole networks are timed from outside, as a user sees them.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from archcast.measuring import pool
from archcast.measuring.backends.base import Network, Row
from archcast.measuring.backends.onnx_operators import (
    CONTRIB,
    CONTRIB_OPSET,
    IR_VERSION,
    OPSET,
    Noise,
    Program,
    build,
)
from archcast.measuring.machine import EnergyCounter
from archcast.measuring.repeats import Timing, repeat, typical
from foundation.errors import UnsupportedError
from hardware_specs.catalogue import HOST_CPU
from workloads.table import Array

WARM_UPS = 2
BESIDE_BYTES = 65536
NETWORKS: tuple[Network, ...] = (
    Network("resnet-18"), Network("mobilenet-v2"), Network("vit-tiny"), Network("bert-small", prompt=128),
    Network("gpt-2", {"layers": 4, "vocab": 8192}, prompt=128),
    Network("gpt-2", {"layers": 4, "vocab": 8192}, prompt=128, decode=True),
)  # fmt: skip
"""Small networks of each kind; they are measured last, to hold predictions against."""


class OnnxRuntimeBackend:
    """Sessions on the CPU provider, all optimisations on, one thread a core."""

    device = HOST_CPU

    def __init__(self, threads: int) -> None:
        import onnxruntime

        self._runtime: Any = onnxruntime
        onnxruntime.set_default_logger_severity(4)  # its own lines on stderr say nothing that an error would not
        self._threads = threads
        self._noise = Noise()
        self._energy = EnergyCounter()
        self.software = f"onnxruntime {onnxruntime.__version__} threads {threads}"

    def candidates(self) -> Sequence[Row]:
        """Return operators in fp32, and products and convolutions in int8 too."""
        forms = [(1, 1.0), (1, 2.0), (1, 4.0), (1, 8.0), (1, 8.0), (2, 1.0), (2, 1.0), (4.0, 9.0)]
        means = [(float(n), float(n)) for n in (16, 49, 49, 64, 100, 196)]
        return [
            *pool.gemms(350, "fp32"), *pool.convolutions(500, "fp32"), *pool.attentions(250, "fp32"),
            *pool.pointwise(150, "fp32", "norm", [(1, 7.0), (3, 8.0)], 4096),
            *pool.pointwise(220, "fp32", "elementwise", [*forms, *means[:2]], 4096),
            *pool.pointwise(60, "fp32", "elementwise", means, 2048),
            *pool.pointwise(80, "fp32", "softmax", [(1, 0.0)], 65536),
            *pool.pointwise(80, "fp32", "embedding", [(1, 0.0)], 4096),
            *(row for row in pool.pointwise(80, "fp32", "copy", [(1, 0.0)], 4096) if row["rows"] > 1),
            *pool.gemms(120, "int8"), *pool.convolutions(150, "int8"),
        ]  # fmt: skip

    def networks(self) -> Sequence[Network]:
        return NETWORKS

    def measure(self, row: Row, limit_s: float) -> Timing:
        """Run one operator repeatedly; each run has every copy of it."""
        program = build(row, self._noise)
        with tempfile.TemporaryDirectory(prefix="archcast-") as folder:
            options = self._options()
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder) / "profile")
            session = self._session(program, options)
            run = _binding(self._runtime, session, program)
            for _ in range(WARM_UPS):
                session.run_with_iobinding(run)
            self._energy.start()
            _, quiet = repeat(lambda _: session.run_with_iobinding(run), limit_s)
            power = self._energy.power_w()
            profile = Path(session.end_profiling()).read_text(encoding="utf-8")
        kernels = kernel_samples(json.loads(profile), program.left_out, skip=WARM_UPS)
        latency, spread, count = one_copy(kernels, quiet, len(program.outputs))
        if not latency > 0:
            raise UnsupportedError("ONNX Runtime left nothing of the operator to run.")
        return Timing(latency, spread, count, power, power * latency)

    def measure_network(self, network: Network, limit_s: float) -> Timing:
        """Run a whole network repeatedly."""
        from archcast.measuring.networks import network_program

        program = network_program(network, self._noise)
        session = self._session(program, self._options())
        run = _binding(self._runtime, session, program)
        for _ in range(WARM_UPS):
            session.run_with_iobinding(run)
        self._energy.start()
        seconds, quiet = repeat(lambda _: session.run_with_iobinding(run), limit_s, wanted=30)
        power = self._energy.power_w()
        latency, spread, count = typical(seconds, quiet)
        return Timing(latency, spread, count, power, power * latency)

    def _options(self) -> Any:
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # nothing but what stops it; that comes back as an exception
        return options

    def _session(self, program: Program, options: Any) -> Any:
        """Return a session; large weights go beside the model, which would be copied several times with them in it."""
        beside = {name for name, value in program.weights.items() if value.nbytes >= BESIDE_BYTES}
        try:
            values = [self._runtime.OrtValue.ortvalue_from_numpy(program.weights[name]) for name in sorted(beside)]
            options.add_external_initializers(sorted(beside), values)
            model = program_model(program, beside)
            return self._runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's own classes, which derive from RuntimeError and Exception
            reason = " ".join(str(error).split())[:200]
            raise UnsupportedError(f"ONNX Runtime refuses the program: {reason}.") from None


def program_model(program: Program, beside: Collection[str] = ()) -> bytes:
    """Return a program as the bytes of an ONNX model; of the weights `beside` it says only the shape."""
    from onnx import helper, numpy_helper

    def info(name: str, shape: Sequence[int], fmt: Any) -> Any:
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(fmt)), list(shape))

    graph = helper.make_graph(
        program.nodes, "archcast",
        [info(name, value.shape, value.dtype) for name, value in program.inputs.items()],
        [info(*output) for group in program.outputs for output in group],
        [_named_only(name, value) if name in beside else numpy_helper.from_array(value, name)
         for name, value in program.weights.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, CONTRIB_OPSET)]
    model = helper.make_model(graph, opset_imports=opsets)
    model.ir_version = IR_VERSION
    return bytes(model.SerializeToString())


def _named_only(name: str, value: Array) -> Any:
    """Return a tensor of the model whose bytes a session is given apart from it."""
    from onnx import TensorProto, helper

    made = TensorProto(name=name, data_type=helper.np_dtype_to_tensor_dtype(value.dtype), dims=value.shape)
    made.data_location = TensorProto.EXTERNAL
    made.external_data.add(key="location", value="given to the session")
    return made


def _binding(runtime: Any, session: Any, program: Program) -> Any:
    """Return inputs and outputs in fixed memory. Copies write to the same place, one after the other, as layers do."""
    values = {name: runtime.OrtValue.ortvalue_from_numpy(value) for name, value in program.inputs.items()}
    written: dict[tuple[Any, ...], Any] = {}
    binding = session.io_binding()
    for name, value in values.items():
        binding.bind_ortvalue_input(name, value)
    for group in program.outputs:
        for place, (name, shape, fmt) in enumerate(group):
            if name in program.shared:
                target = values[program.shared[name]]
            else:
                key = (place, shape, np.dtype(fmt).name)
                if key not in written:
                    written[key] = runtime.OrtValue.ortvalue_from_shape_and_type(list(shape), np.dtype(fmt))
                target = written[key]
            binding.bind_ortvalue_output(name, target)
    return binding


Kernel = tuple[str, str]
"""Type of a node and the shapes of its inputs."""


def kernel_samples(
    events: Sequence[dict[str, Any]], left_out: frozenset[str], skip: int = 0
) -> list[dict[Kernel, list[float]]]:  # fmt: skip
    """Return the seconds of every kernel of each run after the first `skip`, from a profile's events.

    A run's nodes stand before the event that ends it.
    """
    runs: list[dict[Kernel, list[float]]] = []
    now: dict[Kernel, list[float]] = {}
    for event in events:
        name = str(event.get("name", ""))
        if event.get("cat") == "Node" and name.endswith("_kernel_time"):
            detail = event.get("args", {})
            kernel = str(detail.get("op_name")), json.dumps(detail.get("input_type_shape"))
            if kernel[0] not in left_out:
                now.setdefault(kernel, []).append(float(event["dur"]) * 1e-6)
        elif name == "model_run":
            runs.append(now)
            now = {}
    return runs[skip:]


def one_copy(runs: Sequence[dict[Kernel, list[float]]], quiet: Array, copies: int) -> tuple[float, float, int]:
    """Return (typical seconds, spread, samples) of one copy of the operator: the sum over its kernels."""
    latency = variance = 0.0
    count = 0
    for kernel in {kernel for run in runs for kernel in run}:
        samples = [(value, still) for run, still in zip(runs, quiet, strict=False) for value in run.get(kernel, ())]
        values, still = np.array([value for value, _ in samples]), np.array([flag for _, flag in samples], dtype=bool)
        each = len(values) / max(len(runs), 1) / copies
        value, spread, used = typical(values, still)
        latency += each * value
        variance += each * spread**2
        count = max(count, used)
    return latency, float(variance**0.5), count
