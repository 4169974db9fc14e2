"""What builders of transformers share: one run's sizes and formats (`Step`), and a chain of operators (`Chain`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from foundation.errors import BadValueError
from workloads.builders.knobs import KnobModel
from workloads.graph import BLOCK_INPUT, Block, Operator, Shard, Size
from workloads.model import Request
from workloads.table import Array

NORM_FLOP: Mapping[str, float] = {"rms": 4.0, "layer": 7.0, "layer-gain": 6.0}
"""Per element. RMS: square, add, scale by 1/rms, gain. Layer: also mean, subtract, bias (as in `workloads.work`);
`layer-gain` has no bias."""
ROPE_FLOP = 3.0
"""Per element: x cos + rotated(x) sin."""
SILU_FLOP, GELU_FLOP, SIGMOID_FLOP = 4.0, 8.0, 3.0
"""Per element: SiLU is exp, add, divide, multiply; GELU by tanh is 5 multiply-adds and multiplies, tanh counted 3."""
WIDE_FORMATS = ("fp64", "fp32", "tf32", "bf16", "fp16")
MAX_PERIOD = 32

FormatsT = TypeVar("FormatsT", bound=KnobModel)


def wide(dtype: str) -> str:
    """Return the format in which a stack keeps what it does not quantise (norms, attention, logits)."""
    return dtype if dtype in WIDE_FORMATS else "bf16"


@dataclass(frozen=True)
class Sizes:
    """A request's sizes, broadcast to one shape: () for one request, (S,) for S."""

    batch: Array
    prompt: Array
    generate: Array

    @property
    def requests(self) -> int:
        return int(self.batch.size)

    def at(self, owner: Array) -> Sizes:
        """Return the sizes of the requests `owner`, one a row."""
        flat = (np.atleast_1d(a)[owner] for a in (self.batch, self.prompt, self.generate))
        return Sizes(*flat)


def request_sizes(request: Request, defaults: Mapping[str, Any]) -> Sizes:
    """Return the sizes of a request, the model's defaults where it leaves them open.

    Raises:
        BadValueError: a size that is not a whole number, not finite, or below 1 (`generate`: 0).
    """
    prompt = defaults["prompt"] if request.prompt is None else request.prompt
    generate = defaults["generate"] if request.generate is None else request.generate
    checked = [_size("batch", request.batch, 1), _size("prompt", prompt, 1), _size("generate", generate, 0)]
    try:
        return Sizes(*np.broadcast_arrays(*checked))
    except ValueError:
        shapes = ", ".join(str(a.shape) for a in checked)
        raise BadValueError(f"batch, prompt and generate have shapes {shapes}, which do not go together.") from None


def in_formats(model: FormatsT, request: Request) -> FormatsT:
    """Return a model in the number formats that the request names. Raises UnknownNameError."""
    asked = {"dtype": request.dtype, "kv_dtype": request.kv_dtype}
    changes = {knob: value for knob, value in asked.items() if value and knob in model.knobs()}
    return model.with_knobs(changes) if changes else model


def context_notes(name: str, length: Any, longest: int, *, table: bool) -> tuple[str, ...]:
    """Say that a request is longer than the model was made for.

    Raises:
        BadValueError: positions come from a table, which ends there.
    """
    asked = float(np.max(length))
    if asked <= longest:
        return ()
    text = f"The request has {asked:,.0f} tokens; '{name}' was made for {longest:,}"
    if table:
        raise BadValueError(f"{text}, the size of its table of positions. Ask for fewer.")
    return (f"{text}.",)


def _size(name: str, value: Any, low: float) -> Array:
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise BadValueError(f"{name} must be a whole number, not {value!r}.") from None
    ok = (array >= low) & (array <= 1e12) & (array == np.floor(array))
    if array.ndim > 1 or not ok.all():
        raise BadValueError(f"{name} must be a whole number from {low:g} to 1e12 (or a list of them), not {value!r}.")
    return array


@dataclass(frozen=True)
class Step:
    """Sizes and formats of one pass over the layers.

    Each of `batch` sequences feeds `q_len` tokens that attend to `kv_len`; the cache will hold `final_len` tokens at
    the end of the request. `dtype` is the format of the projections' weights, `act` that of everything not
    quantised, `attention` that of the attention arithmetic and `kv` that of the cache. `cached` of the tokens were in
    the cache before, and `sharing` sequences have those in common, with `cascade` read once for all of them.
    """

    batch: Size
    q_len: Size
    kv_len: Size
    final_len: Size
    phase: str
    dtype: str
    act: str
    attention: str
    kv: str
    cached: float = 0.0
    sharing: float = 1.0
    cascade: bool = False

    def held(self, limit: float = np.inf) -> Size:
        """Return how many of its last `limit` tokens a sequence keeps; of one that n share, each keeps 1/n."""
        own = self.final_len - self.cached
        kept: Size = np.minimum(own, limit) + np.clip(limit - own, 0.0, self.cached) / self.sharing
        return kept

    @property
    def tokens(self) -> Size:
        return self.batch * self.q_len

    @property
    def decode(self) -> bool:
        return self.phase == "decode"


class Chain:
    """Collects operators, each reading the one before unless told otherwise; `stream` is the residual stream."""

    def __init__(self, step: Step, prefix: str = "") -> None:
        self.step, self.prefix = step, prefix
        self.operators: list[Operator] = []
        self.last = self.stream = BLOCK_INPUT

    def add(
        self, name: str, op: str, shape: Mapping[str, Any], *, dtype: str = "", inputs: Sequence[str] = (), **rest: Any
    ) -> str:  # fmt: skip
        """Append an operator and return its full name (the prefix goes before `name`)."""
        full = self.prefix + name
        sources = tuple(dict.fromkeys(inputs or (self.last,)))
        sized = {"phase": self.step.phase, **shape}
        self.operators.append(Operator(full, op, sized, dtype=dtype or self.step.act, inputs=sources, **rest))
        self.last = full
        return full

    def gemm(
        self, name: str, n: float, k: float, *, shard: Shard = "", bias: bool = False, rows: Size | None = None,
        dtype: str = "", inputs: Sequence[str] = (), stored: bool = True,
    ) -> str:  # fmt: skip
        """Append a projection of `rows` (default: the pass's tokens) from `k` to `n` features."""
        m = self.step.tokens if rows is None else rows
        parameters = float(n * k + n * bias) if stored else 0.0
        shape = {"m": m, "n": n, "k": k}
        return self.add(
            name, "gemm", shape, dtype=dtype or self.step.dtype, inputs=inputs, shard=shard, parameters=parameters
        )

    def norm(self, name: str, kind: str, hidden: int, *, residual: bool = True, rows: Size | None = None) -> str:
        """Append a normalisation over the tokens; with `residual`, it first adds to the residual stream.

        Serving stacks fuse the two: the kernel reads the branch and the stream and writes the new stream and its
        norm, four tensors in all (three `operands` and the output).
        """
        inputs = (self.last, self.stream) if residual else (self.last,)
        flop = NORM_FLOP[kind] + (1 if residual else 0)
        shape = {
            "rows": self.step.tokens if rows is None else rows, "hidden": hidden, "operands": 3 if residual else 1,
            "flop_per_element": flop,
        }  # fmt: skip
        stored = hidden * (2 if kind == "layer" else 1)
        full = self.add(name, "norm", shape, inputs=inputs, parameters=float(stored))
        if residual:
            self.stream = full
        return full

    def pointwise(
        self, name: str, hidden: Size, flop: float, *, op: str = "elementwise", operands: int = 1,
        rows: Size | None = None, shard: Shard = "hidden", dtype: str = "", inputs: Sequence[str] = (),
        parameters: float = 0.0, fused: bool = False,
    ) -> str:  # fmt: skip
        """Append an operator that touches every one of `hidden` features of each token."""
        tokens = self.step.tokens if rows is None else rows
        shape: dict[str, Any] = {"rows": tokens, "hidden": hidden, "operands": operands}
        if flop:
            shape["flop_per_element"] = flop
        return self.add(name, op, shape, dtype=dtype, inputs=inputs, shard=shard, parameters=parameters, fused=fused)


def layer_blocks(
    layers: Sequence[Any], make: Callable[[Any, Chain], None], step: Step, name: str, *, recursions: int = 1
) -> tuple[Block, ...]:
    """Return blocks for a list of layer descriptions, equal neighbours and repeating patterns as one block.

    `make(description, chain)` appends one layer's operators. Operators of a pattern of several layers are prefixed
    with the layer's place in it. With `recursions`, the whole list runs so often with one set of parameters.
    """
    groups = grouped(layers) if recursions == 1 else [(len(layers), 1)]
    blocks, start = [], 0
    for period, count in groups:
        chain = Chain(step)
        for place, description in enumerate(layers[start : start + period]):
            chain.prefix = f"{place}." if period > 1 else ""
            make(description, chain)
        title = name if len(groups) == 1 else f"{name}.{start}"
        blocks.append(Block(title, tuple(chain.operators), count * recursions, shared=recursions > 1))
        start += period * count
    return tuple(blocks)


def grouped(layers: Sequence[Any]) -> list[tuple[int, int]]:
    """Return (period, repeats) groups that cover a list: at each place the pattern that covers most, shortest first."""
    groups: list[tuple[int, int]] = []
    start, total = 0, len(layers)
    while start < total:
        best = (1, 1)
        for period in range(1, min(MAX_PERIOD, total - start) + 1):
            pattern = layers[start : start + period]
            count, at = 1, start + period
            while layers[at : at + period] == pattern and at + period <= total:
                count, at = count + 1, at + period
            if period * count > best[0] * best[1] and (count > 1 or period == 1):
                best = (period, count)
            if at >= total and count > 1:
                break
        groups.append(best)
        start += best[0] * best[1]
    return groups
