"""StableHLO and MLIR text (`.mlir`, `.stablehlo`) as models: see docs/importers.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from foundation.checks import whole_number
from foundation.errors import BadValueError, UnknownNameError
from foundation.yaml_file import read_text
from workloads.importers.mlir_text import MAX_BYTES, Program, parse_program
from workloads.importers.stablehlo_graph import Walker, weights_of
from workloads.importers.traced import TracedModel, require_operators

NAMED = 12
"""Arguments that a note names."""


def load_stablehlo(path: str | Path) -> StableHloModel:
    """Return the model in a file of StableHLO text.

    Raises:
        BadFileError: the file cannot be used; the line is named.
    """
    file = Path(path)
    program = parse_program(read_text(file, max_bytes=MAX_BYTES), file)
    return _model(program, weights_of(program), 0)


@dataclass(frozen=True)
class StableHloModel(TracedModel):
    """A program from StableHLO text.

    Knobs: `data`, the positions of the entry's arguments that are data (the others are weights), and
    `exported_batch`, the batch that the program was exported with (the leading size of its first data argument).
    """

    family: ClassVar[str] = "stablehlo"
    program: Program | None = field(default=None, repr=False, compare=False)
    data: tuple[int, ...] = ()

    def knobs(self) -> Mapping[str, Any]:
        return {"data": list(self.data), "exported_batch": self.fixed_batch}

    def with_knobs(self, changes: Mapping[str, Any]) -> StableHloModel:
        model = self
        for name, value in changes.items():
            if name == "data":
                model = self._with_data(value)
            elif name != "exported_batch":
                hint = "The batch is the request's (`--batch`)." if name == "batch" else ""
                raise UnknownNameError("knob", name, self.knobs(), hint)
        if "exported_batch" in changes:
            model = replace(model, fixed_batch=whole_number("exported_batch", changes["exported_batch"]))
        return model

    def _with_data(self, value: Any) -> StableHloModel:
        assert self.program is not None
        words = value.replace(",", " ").split() if isinstance(value, str) else value
        listed = list(words) if isinstance(words, list | tuple) else [words]
        count = len(self.program.entry.body.arguments)
        if not count:
            raise BadValueError(f"{self.path}: the program has no arguments, so none is data.")
        data = {whole_number("data", item, low=0, high=count - 1) for item in listed}
        return _model(self.program, frozenset(range(count)) - data, 0)


def _model(program: Program, weights: frozenset[int], batch: int) -> StableHloModel:
    walker = Walker(program, weights)
    tracer = walker.tracer
    require_operators(tracer)
    given = [(place, tensor) for place, tensor in enumerate(walker.arguments) if tensor is not None]
    data = [(place, tensor) for place, tensor in given if place not in weights]
    if weights:
        names = ", ".join(f"%arg{place}" for place, _ in data[:NAMED]) + (", ..." if len(data) > NAMED else "")
        text = f"{len(weights)} of {len(given)} arguments are used as weights only and count as parameters"
        tracer.findings.notes.append(f"{text}; data: {names or 'none'} (the knob `data` changes this).")
    leading = next((tensor.dims[0] for _, tensor in data if tensor.dims), 1)
    return StableHloModel(
        program.path.stem, program.path, tuple(tracer.segments), tracer.findings, batch or max(1, leading),
        tracer.largest, program, tuple(place for place, _ in data),
    )  # fmt: skip
