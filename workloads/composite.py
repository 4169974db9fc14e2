"""Workloads made of workloads: parts that run so often on average, with weights that they share or have of their own.

A cascade, a draft model beside its target, rollouts and the update that follows them, a loop of cheap and full steps:
each is a list of parts. What a part is asked for (batch, prompt, knobs, how often) may be an expression over the knobs
of the whole and the request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np

from foundation.errors import BadValueError, UnknownNameError
from workloads import rewrites
from workloads.builders.chain import request_sizes
from workloads.expressions import evaluate
from workloads.graph import Block, Pass, Size, TrainingState, Workload, WorkloadGraph
from workloads.graph_model import GraphModel
from workloads.model import Model, Request
from workloads.paths import InputPath, refuse_set_by_paths, variants_of
from workloads.training import training_workload

Names = Mapping[str, Size]
Blocks = Callable[[Names], tuple[Block, ...]]
REWRITES = rewrites.__all__
NUMBERS = ("keep", "rank", "heads", "density")
"""Arguments of rewrites that are numbers."""


@dataclass(frozen=True)
class Part:
    """One network, or operators written out (`source` is a function of the names), and how it is run.

    `times` is the expected number of runs; a part that never runs only holds its weights and state. `batch`, `prompt`,
    `generate` of None are those of the whole; `keep` names the passes that run (empty: all). Parts with one `weights`
    label hold one set of parameters and state. `rewrites` are (name, arguments) of `workloads.rewrites`, done in order;
    `training` are the keywords of `workloads.training.training_workload`. `reads` are the knobs of the whole that its
    expressions name.
    """

    name: str
    source: Model | Blocks
    times: Size | str = 1.0
    batch: Size | str | None = None
    prompt: Size | str | None = None
    generate: Size | str | None = None
    knobs: Mapping[str, Any] = field(default_factory=dict)
    dtype: str = ""
    kv_dtype: str = ""
    mode: Literal["infer", "train"] = "infer"
    keep: tuple[str, ...] = ()
    rewrites: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    training: Mapping[str, Any] = field(default_factory=dict)
    weights: str = ""
    reads: frozenset[str] = frozenset()

    @property
    def label(self) -> str:
        return self.weights or self.name

    def runs(self, names: Names) -> Size:
        """Return the expected number of runs, 0 or more. Raises BadValueError, UnknownNameError."""
        times = evaluate(self.times, names)
        if np.any(np.asarray(times) < 0):
            raise BadValueError(f"part '{self.name}' runs {times} times; that must be 0 or more.")
        return times

    def workload(self, names: Names, request: Request) -> Workload:
        """Return one run of the part. Raises InputError."""
        # what takes images is not told of the tokens of the whole, which would change nothing
        images = isinstance(self.source, Model) and not self.source.defaults["prompt"]
        asked = replace(
            request,
            batch=request.batch if self.batch is None else evaluate(self.batch, names),
            prompt=(None if images else request.prompt) if self.prompt is None else evaluate(self.prompt, names),
            generate=(None if images else request.generate)
            if self.generate is None
            else evaluate(self.generate, names),
            dtype=self.dtype or request.dtype,
            kv_dtype=self.kv_dtype or request.kv_dtype,
            mode=self.mode,
        )
        built = self._model(names).workload(asked)
        if self.rewrites:
            passes = built.passes[:1] if self.mode == "train" else built.passes
            changed = tuple(replace(run, graph=self._rewritten(run.graph, names)) for run in passes)
            held = self._rewritten(WorkloadGraph("held", built.stored), names).blocks if built.stored else ()
            built = replace(built, passes=changed, stored=held)
        if self.mode == "train" and (self.rewrites or self.training):
            built = training_workload(
                built.passes[0], name=built.name, batch=built.batch, tokens_in=built.tokens_in, notes=built.notes,
                **self.training,
            )  # fmt: skip
        return self._kept(built)

    def _model(self, names: Names) -> Model:
        if not isinstance(self.source, Model):
            return GraphModel(self.name, WorkloadGraph(self.name, self.source(names)))
        changes = {knob: _scalar(knob, value, names) for knob, value in self.knobs.items()}
        return self.source.with_knobs(changes) if changes else self.source

    def _rewritten(self, graph: WorkloadGraph, names: Names) -> WorkloadGraph:
        for name, arguments in self.rewrites:
            given = {key: _number(key, value, names) for key, value in arguments.items()}
            graph = getattr(rewrites, name)(graph, **given)
        return graph

    def _kept(self, built: Workload) -> Workload:
        known = [run.name for run in built.passes]
        for name in self.keep:
            if name not in known:
                raise UnknownNameError(f"pass of part '{self.name}',", name, known)
        if not self.keep:
            return built
        return replace(
            built, passes=tuple(r for r in built.passes if r.name in self.keep), stored=tuple(built.distinct_blocks())
        )


@dataclass(frozen=True)
class Composite(Model):
    """Parts that run one after the other. `values` are knobs of the whole, which expressions of parts may use.

    Knobs of a part's network are `part.knob`. Where there are `paths`, each input takes one of them: what is asked of
    the whole is then the mean over inputs, with batches that are always full (`workloads.paths`).
    """

    family: ClassVar[str] = "composite"
    name: str
    parts: tuple[Part, ...]
    values: Mapping[str, float] = field(default_factory=dict)
    prompt: int = 0
    generate: int = 0
    notes: tuple[str, ...] = ()
    paths: tuple[InputPath, ...] = ()

    def knobs(self) -> Mapping[str, Any]:
        found: dict[str, Any] = dict(self.values)
        for part in self.parts:
            if isinstance(part.source, Model):
                found |= {f"{part.name}.{knob}": value for knob, value in {**part.source.knobs(), **part.knobs}.items()}
        return found

    def with_knobs(self, changes: Mapping[str, Any]) -> Composite:
        values, parts = dict(self.values), {part.name: part for part in self.parts}
        for knob, value in changes.items():
            if knob not in self.knobs():
                raise UnknownNameError("knob", knob, self.knobs(), "`archcast workloads FILE` lists all knobs.")
            refuse_set_by_paths(knob, self.paths)
            name, dot, inner = knob.partition(".")
            if dot:
                parts[name] = replace(parts[name], knobs={**parts[name].knobs, inner: value})
            else:
                values[knob] = float(np.asarray(evaluate(str(value), {})))
        return replace(self, values=values, parts=tuple(parts.values()))

    @property
    def defaults(self) -> Mapping[str, Any]:
        networks = [part for part in self.parts if isinstance(part.source, Model)]
        dtype = networks[0].dtype or networks[0].source.defaults["dtype"] if networks else "bf16"  # type: ignore[union-attr]
        return {"prompt": self.prompt, "generate": self.generate, "dtype": dtype}

    def workload(self, request: Request) -> Workload:
        """Return the passes of all parts, each as often as it runs. Raises InputError."""
        if request.mode == "train":
            raise BadValueError(f"'{self.name}' is made of parts; each says in the file whether it trains (`mode`).")
        defaults = {"prompt": max(self.prompt, 1), "generate": self.generate}
        sizes = request_sizes(request, defaults)
        names: dict[str, Size] = {
            **self.values, "batch": sizes.batch, "prompt": sizes.prompt, "generate": sizes.generate
        }  # fmt: skip
        whole = replace(request, batch=sizes.batch, prompt=sizes.prompt, generate=sizes.generate)
        passes: list[Pass] = []
        owners = {}
        found = []
        held: dict[str, tuple[Part, Workload]] = {}
        for variant, share in variants_of(self.parts, self.paths, names):
            part, named = variant.part, {**names, **variant.values}
            workload = part.workload(named, whole)
            found.append((part, workload, np.asarray(part.runs(named), float) * share))
            if variant.of not in held or workload.parameters > held[variant.of][1].parameters:
                held[variant.of] = part, workload
        built = list(held.values())
        running = [(part, workload, often) for part, workload, often in found if np.any(often > 0)]
        for part, workload, times in running or found[:1]:
            for run in workload.passes:
                title = f"{part.name}/{run.name}"
                owner = workload.owners.get(run.name)
                often = times
                often = often[owner] if owner is not None and often.ndim else often
                passes.append(Pass(title, run.graph, np.asarray(run.times) * often))
                if owner is not None:
                    owners[title] = owner
        notes = dict.fromkeys((*self.notes, *(note for _, workload, _ in found for note in workload.notes)))
        return Workload(
            self.name, tuple(passes), batch=sizes.batch, tokens_in=sizes.prompt if self.prompt else 0,
            requests=sizes.requests, owners=owners, notes=tuple(notes), training=_training([r[:2] for r in running]),
            stored=_stored(built, [part.name for part, _, _ in running]),
        )  # fmt: skip

    def summary(self) -> dict[str, Any]:
        """Return parameters held, active parameters, and the MACs of everything that runs (batch 1)."""
        from workloads.lowering import lower
        from workloads.work import count_work

        table = lower(self.workload(Request()).passes).table
        return {**super().summary(), "macs": float((count_work(table).macs * table.full("count")).sum())}


def _scalar(knob: str, value: Any, names: Names) -> Any:
    """Return a knob's value; text that is an expression over the names of the whole is computed."""
    from workloads.expressions import names_in

    try:
        read = names_in(value)
    except BadValueError:
        return value
    if not read or not read <= set(names):
        return value
    found = np.unique(np.asarray(evaluate(value, names)))
    if found.size > 1:
        raise BadValueError(f"{knob}={value} differs between requests; ask for one at a time.")
    return float(found[0]) if found[0] % 1 else int(found[0])


def _number(key: str, value: Any, names: Names) -> Any:
    """Return an argument of a rewrite: those in `NUMBERS` (and shares by pattern) may be expressions."""
    if key not in NUMBERS:
        return value
    if isinstance(value, Mapping):
        return {pattern: _scalar(key, one, names) for pattern, one in value.items()}
    return _scalar(key, value, names) if isinstance(value, str) else value


def _stored(built: Sequence[tuple[Part, Workload]], running: Sequence[str]) -> tuple[Block, ...]:
    """Return every block that must be held: one a label and name, the one with most parameters, then state.

    An operator learns where a part that runs and trains has it so, whichever part's block is the one that is kept.
    """
    found: dict[str, Block] = {}
    learning: set[tuple[str, str]] = set()
    for part, workload in built:
        for block in workload.distinct_blocks():
            name = f"{part.label}/{block.name}"
            learning |= {
                (name, o.name) for o in block.operators if o.trainable and part.mode == "train" and part.name in running
            }
            if name not in found or _held(block) > _held(found[name]):
                found[name] = block
    return tuple(
        replace(b, name=name, operators=tuple(replace(o, trainable=(name, o.name) in learning) for o in b.operators))
        for name, b in found.items()
    )


def _held(block: Block) -> tuple[float, float]:
    parameters = sum(o.parameters for o in block.operators) * block.copies
    state = sum(float(np.max(o.state_elements)) for o in block.operators) * block.count
    return parameters, state


def _training(built: Sequence[tuple[Part, Workload]]) -> TrainingState | None:
    """Return what the training parts keep: they run one after the other, so the largest set of activations counts."""
    states = [(workload, workload.training) for _, workload in built if workload.training is not None]
    if not states:
        return None
    if len({state.bytes_per_parameter for _, state in states}) > 1:
        raise BadValueError("Parts that train must keep the same optimizer state a parameter.")

    def retained(_: Workload, mapping: Any) -> Size:
        kept: Size = np.max(
            [np.broadcast_arrays(state.retained_bytes(own, mapping))[0] for own, state in states], axis=0
        )
        return kept

    return TrainingState(states[0][1].bytes_per_parameter, retained)
