"""From the functions of a StableHLO module to segments of operators: calls written out, loops as repeated blocks.

Which arguments are weights is not written in such a file. An argument counts as one where every use of it is that of
a weight: second operand of a product without batching dimensions, filters of a convolution, table of a gather, or
broadcast against something larger (a bias, a gain). Anything else is data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from foundation.errors import BadFileError
from workloads.importers.mlir_text import Op, Program, Region, TensorType
from workloads.importers.onnx_formats import FLOATS, QUANTISED, element_format
from workloads.importers.onnx_node import Node
from workloads.importers.onnx_shapes import Tensor
from workloads.importers.stablehlo_costs import COLLECTIVES, HANDLERS, VIEWS, Seen, dot_dimensions, permutes_nothing
from workloads.importers.stablehlo_loops import fixed_trips, number_of
from workloads.importers.traced import MAX_ELEMENTS, Tracer, stored_elements

MAX_CALLS = 40
"""Functions and bodies inside one another."""
MAX_WORDS = 20_000_000
"""Words of all operators walked, those of functions counted at every call."""
HOST_ELEMENTS = 64
"""Whole numbers of up to so many elements are computed on the host: indices, counters."""

ELEMENTS: dict[str, str] = {
    "f64": "DOUBLE", "f32": "FLOAT", "f16": "FLOAT16", "bf16": "BFLOAT16", "i1": "BOOL", "i2": "INT4", "ui2": "UINT4",
    "i4": "INT4", "ui4": "UINT4", "i8": "INT8", "ui8": "UINT8", "i16": "INT16", "ui16": "UINT16", "i32": "INT32",
    "ui32": "UINT32", "i64": "INT64", "ui64": "UINT64", "index": "INT64", "f4E2M1FN": "FLOAT4E2M1",
    "complexf32": "COMPLEX64", "complexf64": "COMPLEX128", "tf32": "FLOAT", "s8": "INT8", "u8": "UINT8",
}  # fmt: skip
"""MLIR element types by the names that ONNX gives them; every f8 kind is one byte."""
COMMUNICATES = "it exchanges data between devices; export the program of one device"
UNKNOWN = "an operator that this version of archcast does not know"
CUSTOM = "a kernel of its own outside StableHLO; archcast does not know what it computes"
SHARDING = ("Sharding", "annotate_device_placement", "SPMDFullToShardShape", "SPMDShardToFullShape", "LayoutConstraint")


@dataclass
class Scope:
    """Values by the names of one body, and the body around it."""

    outer: Scope | None = None
    values: dict[str, Tensor | None] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)

    def number(self, name: str) -> int | None:
        """Return the whole number that a value is a constant of, None where it is none."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.values:
                return scope.numbers.get(name)
            scope = scope.outer
        return None

    def find(self, name: str) -> Tensor | None:
        """Return the value of a name. Raises LookupError."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.values:
                return scope.values[name]
            scope = scope.outer
        raise LookupError(name)


class Walker:
    """Walks a program from its entry. `weights` are the arguments of the entry that are stored (by position).

    With `uses_only`, costs are left out: only how arguments are used is found.
    """

    def __init__(self, program: Program, weights: frozenset[int], *, uses_only: bool = False) -> None:
        self.program, self.path, self.uses_only = program, program.path, uses_only
        self.tracer = Tracer(program.path)
        self.uses: dict[int, set[str]] = {}
        self.arguments: list[Tensor | None] = []
        self._origin: dict[str, frozenset[int]] = {}  # value -> the arguments that alone it is made of
        self._elements: dict[str, int] = {}  # broadcast value -> elements of what was broadcast
        self._fresh = self._words = 0
        scope = Scope()
        body = program.entry.body
        for place, (name, kind) in enumerate(zip(body.arguments, body.types, strict=True)):
            tensor = self._tensor(kind, 0)
            self.arguments.append(tensor)
            scope.values[name] = tensor
            if tensor is None:
                continue
            if place in weights:
                self.tracer.constant(tensor.name, stored_elements(tensor.element, tensor.dims))
            else:
                self._origin[tensor.name] = frozenset((place,))
        returned = self._body(body, scope, 1, 0)
        self.tracer.close(1, frozenset(tensor.name for tensor in returned if tensor is not None))

    def _tensor(self, kind: TensorType | None, line: int) -> Tensor | None:
        """Return a new value of a type. Raises BadFileError: an open or absurd size."""
        if kind is None:
            return None
        elements = 1
        for size in kind.dims:
            if size < 0:
                raise BadFileError(
                    self.path, "a size is open ('?').", line=line or None, hint="Export the program with fixed sizes."
                )
            elements *= size
            if elements > MAX_ELEMENTS:
                problem = f"a tensor claims {elements:.3g} elements; at most {MAX_ELEMENTS:.3g} are read."
                raise BadFileError(self.path, problem, line=line or None)
        self._fresh += 1
        element = ELEMENTS.get(kind.element, "FLOAT8E4M3FN" if kind.element.startswith("f8") else kind.element)
        return Tensor(f"v{self._fresh}", element, kind.dims)

    def _body(self, body: Region, scope: Scope, count: int, depth: int) -> list[Tensor | None]:
        """Walk a body that runs `count` times, and return what it gives back."""
        if depth > MAX_CALLS:
            raise BadFileError(self.path, f"functions call each other deeper than {MAX_CALLS} levels.")
        for op in body.operators:
            inputs = [self._read(scope, name, op) for name in op.operands]
            kind = op.name.rpartition(".")[2]
            if kind == "return":
                return inputs
            outputs = [self._tensor(found, op.line) for found in op.result_types]
            number = number_of(op)
            if number is not None:
                scope.numbers[op.results[0]] = number
            self._operator(op, kind, inputs, outputs, scope, count, depth)
            scope.values.update(zip(op.results, outputs, strict=False))
        return []

    def _read(self, scope: Scope, name: str, op: Op) -> Tensor | None:
        for spelled in (name, name.removesuffix("#0"), f"{name}#0"):
            try:
                return scope.find(spelled)
            except LookupError:
                continue
        raise BadFileError(self.path, f"{op.name} reads {name}, which nothing produces.", line=op.line)

    def _operator(
        self, op: Op, kind: str, inputs: list[Tensor | None], outputs: list[Tensor | None], scope: Scope, count: int,
        depth: int,
    ) -> None:  # fmt: skip
        self.tracer.count_node()
        self._words += op.size
        if self._words > MAX_WORDS:
            raise BadFileError(self.path, "the program is too long once its functions are written out.", line=op.line)
        if kind == "while":
            self._while(op, inputs, outputs, scope, count, depth)
        elif kind in ("case", "if"):
            self._branch(op, kind, outputs, scope, count, depth)
        elif kind in ("call", "composite"):
            self._call(op, inputs, outputs, count, depth)
        elif kind in ("constant", "iota", "create_token"):
            for tensor in outputs:
                if tensor is not None:
                    self.tracer.constant(tensor.name, self._stored(op, kind, tensor))
        else:
            typed_in = [tensor for tensor in inputs if tensor is not None]
            typed_out = [tensor for tensor in outputs if tensor is not None]
            if typed_out:
                self._cost(op, kind, typed_in, typed_out)

    def _stored(self, op: Op, kind: str, tensor: Tensor) -> int:
        """A constant of many different values is a weight; one value for all elements is not."""
        text = next((token for token in _flat(op) if token.startswith(("dense", "dense_resource"))), "")
        many = text.startswith(("dense<[", 'dense<"', "dense_resource"))
        return stored_elements(tensor.element, tensor.dims) if kind == "constant" and many else 0

    def _cost(self, op: Op, kind: str, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        tracer = self.tracer
        moving = [tensor for tensor in inputs if not tracer.is_constant(tensor.name)]
        target = next((token[1:] for token in _flat(op) if token.startswith("@")), "") if kind == "custom_call" else ""
        label = (target or kind) + "".join(f"_{name.lstrip('%').replace('#', '_')}" for name in op.results[:1])
        if not inputs:  # made of nothing: known before the program runs
            for tensor in outputs:
                tracer.constant(tensor.name)
        elif kind in VIEWS or target in SHARDING or (kind == "transpose" and permutes_nothing(op, inputs[0])):
            self._view(kind, inputs, outputs)
        elif moving and kind not in PRODUCTS and all(_is_index(tensor) for tensor in (*inputs, *outputs)):
            self._note_uses(kind, inputs, outputs, op)
            tracer.view(moving[0].name, *(tensor.name for tensor in outputs))
        elif kind in ("dynamic_slice", "gather", "slice", "transpose", "convert") and self._is_stored(inputs, kind):
            self._take(kind, inputs[0], outputs[0])
        elif kind in HANDLERS:
            self._note_uses(kind, inputs, outputs, op)
            self._kernel(op, kind, label, inputs, outputs)
        else:
            self._note_uses(kind, inputs, outputs, op)
            reason = COMMUNICATES if kind in COLLECTIVES else CUSTOM if target else UNKNOWN
            domain, _, _ = op.name.rpartition(".")
            tracer.unmodelled(Node(target or kind, label, {}, tuple(inputs), tuple(outputs)), reason, domain=domain)

    def _is_stored(self, inputs: list[Tensor], kind: str) -> bool:
        """Tell whether an operator takes part of a stored tensor (the weights of one layer out of many)."""
        first = self.tracer.is_constant(inputs[0].name)
        return first and (kind != "gather" or all(self.tracer.is_constant(tensor.name) for tensor in inputs))

    def _take(self, kind: str, source: Tensor, result: Tensor) -> None:
        self.tracer.view(source.name, result.name)
        if kind == "convert" and source.element in QUANTISED and result.element in FLOATS:
            self.tracer.quantised[result.name] = QUANTISED[source.element]

    def _view(self, kind: str, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        for place, result in enumerate(outputs):
            source = inputs[min(place, len(inputs) - 1)] if kind == "optimization_barrier" else inputs[0]
            self.tracer.view(source.name, result.name)
            if source.name in self._origin:
                self._origin[result.name] = self._origin[source.name]
            self._elements[result.name] = min(self._elements.get(source.name, source.elements), result.elements)

    def _kernel(self, op: Op, kind: str, label: str, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        if self.uses_only:
            if all(self.tracer.is_constant(tensor.name) for tensor in inputs):
                for tensor in outputs:
                    self.tracer.constant(tensor.name)
            return
        marked = tuple(replace(tensor, constant=self.tracer.is_constant(tensor.name)) for tensor in inputs)
        read = tuple(self._elements.get(tensor.name, tensor.elements) for tensor in marked)
        seen = Seen(op, kind, marked, tuple(outputs), read)
        constant = all(tensor.constant for tensor in marked)
        if not constant and all(tensor.elements for tensor in outputs):
            try:
                op_type, parts = HANDLERS[kind](seen)
            except (LookupError, ValueError, ZeroDivisionError, TypeError, OverflowError) as error:
                problem = f"{op.name} has operands or attributes that do not fit it ({type(error).__name__}: {error})."
                raise BadFileError(self.path, problem, line=op.line) from None
        else:
            op_type, parts = "Mul", []
        node = Node(op_type, label, {}, marked, tuple(outputs))
        self.tracer.node(node, parts=parts, dtype=self._format(kind, marked, outputs))

    def _format(self, kind: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> str:
        """A product is in the format of its operands (its result may be wider); "" leaves it to the tracer."""
        if kind in PRODUCTS and not any(t.name in self.tracer.quantised for t in inputs):
            return max((element_format(t) for t in inputs[:2]), key=_width)
        return ""

    def _note_uses(self, kind: str, inputs: list[Tensor], outputs: list[Tensor], op: Op) -> None:
        """Note how arguments are used, for `weights_of`; what is made of arguments alone is decided later."""
        moving = [tensor for tensor in inputs if not self.tracer.is_constant(tensor.name)]
        origins = [self._origin.get(tensor.name) for tensor in moving]
        pointwise = kind in HANDLERS and kind not in ROLES
        if moving and pointwise and all(origins):
            union = frozenset().union(*(origin for origin in origins if origin))
            if len(union) <= MAX_TOGETHER:
                self._origin.update(dict.fromkeys((tensor.name for tensor in outputs), union))
                return
        for place, tensor in enumerate(inputs):
            origin = self._origin.get(tensor.name)
            if not origin:
                continue
            use = self._use(kind, place, tensor, outputs[0], op)
            for argument in origin:
                self.uses.setdefault(argument, set()).add(use)
            if kind in ("dynamic_slice", "slice", "convert", "transpose"):
                self._origin[outputs[0].name] = origin

    def _use(self, kind: str, place: int, tensor: Tensor, out: Tensor, op: Op) -> str:
        if kind in ("dot_general", "dot"):
            return "weight" if place == 1 and not (kind == "dot_general" and dot_dimensions(op)[1]) else "data"
        if kind in ("convolution", "gather", "torch_index_select"):
            table = place == 0 and len(tensor.dims) > 1 and tensor.element in FLOATS
            return "weight" if (table if kind != "convolution" else place == 1) else "data"
        if kind in ("dynamic_slice", "slice", "convert", "transpose"):
            return "passed"
        small = self._elements.get(tensor.name, tensor.elements)
        return "weight" if 1 < small < out.elements else "passed" if small == 1 else "data"

    def _call(
        self, op: Op, inputs: list[Tensor | None], outputs: list[Tensor | None], count: int, depth: int
    ) -> None:  # fmt: skip
        name = next((token[1:] for token in _flat(op) if token.startswith("@")), "")
        function = self.program.functions.get(name)
        if function is None:
            raise BadFileError(self.path, f"a call of '{name}', which is no function of the file.", line=op.line)
        scope = Scope()
        if len(inputs) != len(function.body.arguments):
            problem = f"'{name}' takes {len(function.body.arguments)} arguments, not {len(inputs)}."
            raise BadFileError(self.path, problem, line=op.line)
        scope.values.update(zip(function.body.arguments, inputs, strict=True))
        self._same(self._body(function.body, scope, count, depth + 1), outputs)

    def _same(self, sources: Sequence[Tensor | None], targets: Sequence[Tensor | None]) -> None:
        """Note that values are others under new names."""
        for source, target in zip(sources, targets, strict=False):
            if source is not None and target is not None:
                self.tracer.alias(source.name, target.name)
                if source.name in self._origin:
                    self._origin[target.name] = self._origin[source.name]
                if source.name in self._elements:
                    self._elements[target.name] = self._elements[source.name]

    def _branch(
        self, op: Op, kind: str, outputs: list[Tensor | None], scope: Scope, count: int, depth: int
    ) -> None:  # fmt: skip
        longest = max(op.regions, key=lambda region: len(region.operators), default=None)
        if longest is None:
            raise BadFileError(self.path, f"{op.name} has no bodies.", line=op.line)
        self.tracer.findings.notes.append(
            f"The {kind} in line {op.line} depends on data; the longer of its {len(op.regions)} branches is counted."
        )
        self._same(self._body(longest, Scope(scope), count, depth + 1), outputs)

    def _while(
        self, op: Op, inputs: list[Tensor | None], outputs: list[Tensor | None], scope: Scope, count: int, depth: int
    ) -> None:  # fmt: skip
        if len(op.regions) != 2 or len(op.regions[1].arguments) != len(inputs):
            raise BadFileError(self.path, "a while needs a condition and a body over what it carries.", line=op.line)
        body = op.regions[1]
        trips = fixed_trips(op, scope.number)
        if trips is None:
            text = f"The while in line {op.line} runs as often as data says; its body is counted once."
            self.tracer.findings.notes.append(text)
        inner = Scope(scope)
        last = body.operators[-1].operands if body.operators else []
        for place, (name, source) in enumerate(zip(body.arguments, inputs, strict=True)):
            kept = place < len(last) and last[place] == name
            inner.values[name] = source if kept else self._carried(source)
        self.tracer.close(count)
        if trips != 0:
            repeats = count * (trips or 1)
            self._body(body, inner, repeats, depth + 1)
            self.tracer.close(repeats, name=f"while_{len(self.tracer.segments) + 1}")
        for place, (source, target) in enumerate(zip(inputs, outputs, strict=False)):
            if place < len(last) and last[place] == body.arguments[place]:
                self._same([source], [target])
            elif target is not None and _is_index(target):
                self.tracer.constant(target.name)

    def _carried(self, source: Tensor | None) -> Tensor | None:
        """Return a value that changes from one run of a body to the next; counters are known on the host."""
        if source is None:
            return None
        self._fresh += 1
        tensor = replace(source, name=f"v{self._fresh}", constant=False)
        if _is_index(tensor):
            self.tracer.constant(tensor.name)
        elif source.name in self._origin:
            for argument in self._origin[source.name]:
                self.uses.setdefault(argument, set()).add("data")
        return tensor


MAX_TOGETHER = 64
"""Arguments that one value may be made of before they count as data."""
PRODUCTS = ("dot_general", "dot", "convolution")
ROLES = frozenset({
    "dot_general", "dot", "convolution", "gather", "torch_index_select", "dynamic_slice", "slice", "convert",
    "transpose",
})  # fmt: skip


def _is_index(tensor: Tensor) -> bool:
    """Tell whether a tensor is a few whole numbers, which the host computes beside the kernels."""
    return tensor.element not in FLOATS and tensor.elements <= HOST_ELEMENTS


def _width(name: str) -> float:
    from foundation.formats import number_format

    return number_format(name).activation_bits


def _flat(op: Op) -> list[str]:
    """Return the words of an operator's attributes."""
    found: list[str] = []
    stack = list(reversed(op.tokens))
    while stack and len(found) < 1000:
        token = stack.pop()
        if isinstance(token, str):
            found.append(token)
        elif not isinstance(token, int) and not op.regions:
            stack += reversed(token.items)
    return found


def weights_of(program: Program) -> frozenset[int]:
    """Return the positions of the entry's arguments that are used as weights only.

    Where that would leave no data, the last argument is data: programs take parameters first.
    """
    walker = Walker(program, frozenset(), uses_only=True)
    found = {place for place, uses in walker.uses.items() if "weight" in uses and "data" not in uses}
    given = {place for place, tensor in enumerate(walker.arguments) if tensor is not None and tensor.dims}
    return frozenset(found - {max(given)} if found and found >= given else found)
