"""How a learned model answers each kind of operator on a device: `planned` decides once a device."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from costmodel.collectives import Fabric
from costmodel.features import DEVICE_RATIOS, GROUP_OF, LAYOUTS
from costmodel.forms import SHARED, shared_name
from costmodel.kin import FARTHEST_KIN, NEAR_KIN, distance_to, kin_place, kin_weights, near_name
from costmodel.knowledge import FREE, PARTS, Adapted, Intervals, Scope, Transfer, part_of
from costmodel.rates import Rates
from foundation.formats import FORMAT_CODES
from workloads.table import OP_CODES, OPS, PHASES, Array, OpTable


@dataclass(frozen=True)
class Answer:
    """How one kind of operator is answered: models, weights, what few rows say, trained range, and interval."""

    models: tuple[str, ...]
    weights: tuple[float, ...]
    adapted: Adapted | None
    lo: Array
    hi: Array
    cuts: tuple[float, float]
    half: Array
    kind: str
    fabric: str = ""
    software: str = ""
    away: float = 0.0
    """Log distance to the nearest device that the models were measured on."""

    @cached_property
    def _per_range(self) -> Array:
        return np.asarray(1.0 / np.maximum(self.hi - self.lo, 0.1), dtype=np.float32)

    def distance(self, ratios: Array) -> Array:
        """Return how far each row lies outside the trained ranges: the worst ratio, as a part of its range."""
        if len(ratios) == 1:
            row = ratios[0]
            return np.array([max(0.0, float((np.maximum(self.lo - row, row - self.hi) * self._per_range).max()))])
        # most tables lie inside as a whole: two passes say so
        if ((ratios.min(axis=0) >= self.lo) & (ratios.max(axis=0) <= self.hi)).all():
            return np.zeros(len(ratios), dtype=np.float32)
        return np.asarray((np.maximum(self.lo - ratios, ratios - self.hi) * self._per_range).max(axis=1, initial=0.0))


@dataclass(frozen=True)
class Plan:
    """Answers of one device and software by `part_codes`; `family` and `physics` are by operator code.

    `halves`: fp16 was not measured and runs at the rates of bf16, so that it has bf16's answers.
    """

    software: str
    answers: dict[int, Answer]
    family: Array
    physics: Array
    halves: bool = False

    def answer(self, code: int, fabric: Fabric | None) -> Answer | None:
        """Return the answer for a code; none where collectives ran over something else."""
        found = self.answers.get(code)
        if found is not None and found.fabric and (fabric is None or fabric.name != found.fabric):
            return None
        return found


def planned(
    scope: Scope, intervals: Intervals, transfer: Transfer, digests: dict[str, str], rates: Rates, software: str
) -> Plan:  # fmt: skip
    """Return how a device is answered: by its own models, by those of its kin, or (no answers) by the closed form."""
    device, named = rates.device, bool(software)
    software = scope.software_of(device, software)
    known = device in scope.devices
    names = [f"{device}/{op}" if known else f"/{op}" for op in OPS]
    physics = np.array([intervals.physics.get(name, np.nan) for name in names])
    family = np.array([name in intervals.physics for name in names])
    if known:
        # a factor over other figures of the device (a what-if, a newer description) would be no measured truth
        same = digests.get(device) == rates.digest()
        answers = _own(scope, intervals, device, software, named) if same else {}
    else:
        answers = _of_kin(scope, intervals, transfer, rates)
        family &= bool(answers)
    return Plan(software, answers, family, physics, _halves(answers, rates))


def _halves(answers: dict[int, Answer], rates: Rates) -> bool:
    """Return whether bf16 may answer for fp16."""
    one, other = FORMAT_CODES["fp16"], FORMAT_CODES["bf16"]
    alike = all(column[one] == column[other] for column in (rates.peak_flop_per_s, rates.vector_flop_per_s))
    measured = {code // 4 % PARTS for code in answers if code // 4 // PARTS != OP_CODES["collective"]}
    return alike and other in measured and one not in measured


def as_bf16(table: OpTable) -> OpTable:
    """Return rows of fp16 as rows of bf16, whose kernels move and compute as much; collectives stay as they are."""
    one, other = FORMAT_CODES["fp16"], FORMAT_CODES["bf16"]
    columns = {name: table[name] for name in ("dtype", "kv_dtype") if name in table.columns}
    if not any(np.any(column == one) for column in columns.values()):
        return table
    moved = table["op"] != OP_CODES["collective"]
    changed = {n: np.where((c == one) & moved, other, c).astype(c.dtype) for n, c in columns.items()}
    return OpTable(table.rows, {**table.columns, **changed}, table.labels)


def _codes_of(op: str, dtype: str) -> list[tuple[int, str]]:
    """Return (code, part) of every row that a kernel covers."""
    base = (OP_CODES[op] * PARTS + FORMAT_CODES[dtype]) * 4
    if GROUP_OF[OP_CODES[op]] == "attention":
        return [(base + i, part_of(op, dtype, phase)) for i, phase in enumerate(PHASES)]
    return [(base, part_of(op, dtype, ""))]


def _own(scope: Scope, intervals: Intervals, device: str, software: str, named: bool) -> dict[int, Answer]:
    """Return answers from a device's own models: in the stack that is named, or (none is) in each operator's usual."""
    stacks: dict[tuple[str, str], list[str]] = {}
    for op, dtype, where, stack in scope.kernels:
        if where == device:
            stacks.setdefault((op, dtype), []).append(stack)
    answers: dict[int, Answer] = {}
    for (op, dtype), measured in stacks.items():
        if software in measured and (named or op != "collective"):
            stack = software
        elif named and op != "collective":
            like = scope.like_stack(measured, software)
            if not like:
                continue
            stack = like
        else:
            stack = scope.usual_stack(op, measured, software)
        for code, part in _codes_of(op, dtype):
            name = scope.model_of(op, device, part)
            if name is not None or op == "collective":  # collectives have curves in place of trees
                answers[code] = _own_answer(scope, intervals, device, op, name, stack)
    return answers


def _own_answer(scope: Scope, intervals: Intervals, device: str, op: str, name: str | None, stack: str) -> Answer:
    lo, hi = (np.array(ends, dtype=np.float32) for ends in (scope.ranges[name] if name else ((), ())))
    family = f"{device}/{op}"
    half, cuts = np.array(intervals.half.get(family, (np.nan,) * 3)), intervals.cuts.get(family, (0.0, 0.0))
    fabric = scope.fabrics.get(device, "") if op == "collective" else ""
    models, weights = ((name,), (1.0,)) if name else ((), ())
    return Answer(models, weights, None, lo, hi, cuts, half, "conformal", fabric, stack)


def _of_kin(scope: Scope, intervals: Intervals, transfer: Transfer, rates: Rates) -> dict[int, Answer]:
    """Return answers from devices of the same kind that resemble this one."""
    own = kin_place(rates)
    kin = {name: ratios for name, ratios in transfer.kinship.items() if transfer.kinds.get(name) == rates.kind}
    far = rates.array is not None or not kin or distance_to(kin, own) > FARTHEST_KIN
    answers: dict[int, Answer] = {}
    for op, dtype in sorted({(kernel[0], kernel[1]) for kernel in scope.kernels}):
        adapted = transfer.adapted.get(f"{rates.device}/{op}")
        if far and (adapted is None or not kin):
            continue
        for code, part in _codes_of(op, dtype):
            sources = {k[2]: kin[k[2]] for k in scope.kernels if k[:2] == (op, dtype) and k[2] in kin}
            sources = {d: r for d, r in sources.items() if scope.model_of(op, d, part) is not None}
            if op not in transfer.reach or not (sources or adapted):
                continue
            if not sources:  # a format of another device's own kernels: the closed form, moved by the rows
                answers[code] = _blend(scope, intervals, op, part, {}, 0.0, adapted)
                continue
            near = distance_to(sources, own) <= NEAR_KIN
            share = 1.0 if near else transfer.share.get(op, 0.0)
            usual = kin_weights(sources, own, transfer.reach[op])
            weights = {d: w * share for d, w in usual.items()}
            parts = dict(zip(SHARED, (0.0, 0.0) if near else transfer.shared.get(op, (0.0, 0.0)), strict=True))
            if adapted is not None:
                weights = _among(adapted.weights, {d: usual.get(d, 0.0) for d in sources})
                parts = {name: adapted.weights.get(name, 0.0) for name in SHARED}
            elif share + sum(parts.values()) == 0.0:
                continue
            answers[code] = _blend(scope, intervals, op, part, weights, distance_to(sources, own), adapted, parts)
    return answers


def _among(told: dict[str, float], usual: dict[str, float]) -> dict[str, float]:
    """Return the weights that few rows gave to those sources that know a kernel (`usual`: their resemblance, 1 in sum).

    A source that does not know it says what those that do say on average, as when the rows were fitted.
    """
    rest = sum(weight for name, weight in told.items() if name not in usual and name not in SHARED)
    return {name: told.get(name, 0.0) + rest * weight for name, weight in usual.items()}


def _blend(
    scope: Scope, intervals: Intervals, op: str, part: str, weights: dict[str, float], away: float,
    adapted: Adapted | None, parts: dict[str, float] | None = None,
) -> Answer:  # fmt: skip
    """Return the weighted mean of the sources' models; what weights lack of 1 is the closed form's.

    `parts` are the weights of models of all devices (`costmodel.forms.SHARED`).
    """
    family = near_name(op) if away <= NEAR_KIN and near_name(op) in intervals.half else f"/{op}"
    cuts = intervals.cuts.get(family, (0.0, 0.0)) if adapted is None else adapted.cuts
    half = intervals.half.get(family, (np.nan,) * 3) if adapted is None else adapted.half
    shares: dict[str, float] = {}  # siblings have one model, which answers once
    for source, weight in weights.items():
        name = scope.model_of(op, source, part)
        assert name is not None, source
        shares[name] = shares.get(name, 0.0) + weight
    models = tuple(shares)
    if not models:
        wide = np.full(LAYOUTS[GROUP_OF[OP_CODES[op]]].ranged, FREE, dtype=np.float32)
        return Answer((), (), adapted, -wide, wide, cuts, np.array(half), "pseudo_target", away=away)
    ends = np.array([scope.ranges[name] for name in models], dtype=np.float32)
    lo, hi = ends[:, 0].min(axis=0), ends[:, 1].max(axis=0)
    # ratios of the device alone are those of another device: they bound nothing
    ratios = LAYOUTS[GROUP_OF[OP_CODES[op]]].names[: len(lo)]
    free = np.isin(ratios, DEVICE_RATIOS)
    lo, hi = np.where(free, -FREE, lo).astype(np.float32), np.where(free, FREE, hi).astype(np.float32)
    shares |= {shared_name(name, op): weight for name, weight in (parts or {}).items() if weight != 0.0}
    named = tuple((name, weight) for name, weight in shares.items() if weight != 0.0)
    models, whole = tuple(name for name, _ in named), tuple(weight for _, weight in named)
    return Answer(models, whole, adapted, lo, hi, cuts, np.array(half), "pseudo_target", away=away)
