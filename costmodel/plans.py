"""What a learned model knows, and how it answers each kind of operator on a device: `planned` decides once a device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from costmodel.collectives import Fabric
from costmodel.features import DEVICE_RATIOS, FRAMEWORKS, GROUP_OF, LAYOUTS, stack_of
from costmodel.forms import SHARED, shared_name
from costmodel.rates import Rates
from foundation.formats import FORMAT_CODES, FORMAT_NAMES
from workloads.elementwise import Value
from workloads.table import OP_CODES, OPS, PHASES, Array, OpTable

FEWEST = 9
"""Rows that a 90 % conformal quantile needs: with fewer the quantile does not exist."""
PARTS = 64
FREE = 1e30
"""End of a range that bounds nothing (infinity would give 0 x infinity)."""
FARTHEST_KIN = 2.5
"""Log distance to the nearest measured device beyond which none of them says anything (estimated, 1.5 to 4)."""
NEAR_KIN = 0.75
"""Log distance within which devices are one design with other figures, and one's trees serve another as they are: H100
and H200 are 0.51 apart, the B200 and its variants 0.12 to 0.46; L40S and RTX PRO 6000 (0.91) are two designs."""
REGIMES = 4
"""Launch, device memory, memory that a cache may serve, and arithmetic: what a row's time goes into."""
RESIDENT = 0.25
"""Part of the last cache that holds half of what operators move when they are repeated with several copies of their
weights, as benchmarks do (estimated, 0.1 to 1)."""
SIBLINGS = 0.7
"""Log distance within which devices share their trees (estimated, 0.6 to 1.4): up to four times the rows for kernels
that are nearly the same. H100 and H200 are 0.51 apart, the L40S and the RTX PRO 6000 0.60; sharing lowers the error of
products by 3 to 9 % of itself and that of attention by 9 to 17 %. A100 and H100 are 1.44 apart; it raises theirs."""
POOLED = ("gemm", "attention", "mla", "moe")
"""Operators whose trees siblings share."""
LIBRARIES = ("nccl", "oneccl")
"""Software that every framework calls for its collectives."""
assert max(len(FORMAT_NAMES), len(PHASES)) <= PARTS


def model_name(op: str, device: str, part: str) -> str:
    """Return the name of the trees that serve an operator of a device; `part` is its format or its phase.

    `device` joins several that share their trees by +. Collectives of all devices share theirs: each device has few
    rows, and its links are in the features.
    """
    if op == "collective":
        return op
    return f"{op}/{device}/{part}" if part else f"{op}/{device}"


def near_name(op: str) -> str:
    """Return the name of the intervals of devices that were never measured but have a device of their own design."""
    return f"near/{op}"


def siblings(kinship: dict[str, tuple[float, ...]], kinds: dict[str, str]) -> dict[str, str]:
    """Return for each device the names of those that it shares trees with, itself among them, joined by +.

    In the order of their names, each joins the first pool of its kind whose members all are within `SIBLINGS`.
    """
    pools: list[list[str]] = []
    for name in sorted(kinship):
        for pool in pools:
            away = max(float(np.linalg.norm(np.subtract(kinship[name], kinship[other]))) for other in pool)
            if kinds[pool[0]] == kinds[name] and away <= SIBLINGS:
                pool.append(name)
                break
        else:
            pools.append([name])
    return {name: "+".join(pool) for pool in pools for name in pool}


def format_of(code: int) -> str:
    """Return the format that a code of `part_codes` stands for."""
    return FORMAT_NAMES[code // 4 % PARTS]


def part_of(op: str, dtype: str, phase: str) -> str:
    """Return what a device's models of an operator are divided by: products by format, attention by phase."""
    return dtype if op == "gemm" else phase if GROUP_OF[OP_CODES[op]] == "attention" else ""


def part_codes(table: OpTable) -> Value:
    """Return a code of operator, format and (attention) phase of each row; an int where all rows share it."""
    ops, dtype = table["op"], table["dtype"]
    if not isinstance(ops, np.ndarray) and not isinstance(dtype, np.ndarray):
        code = (int(ops) * PARTS + int(dtype)) * 4
        if not _ATTENTION[ops]:
            return code
        if not isinstance(table["phase"], np.ndarray):
            return code + int(table["phase"])
    codes = (np.asarray(ops, dtype=np.int64) * PARTS + dtype) * 4
    attention = _ATTENTION[ops]
    if np.any(attention):
        codes = codes + np.asarray(table["phase"], dtype=np.int64) * attention
    return int(codes[0]) if (codes == codes[0]).all() else codes


_ATTENTION: Array = np.array([group == "attention" for group in GROUP_OF])


@dataclass(frozen=True)
class Scope:
    """What training saw. `kernels` are (op, dtype, device, software); `ranges` bound each model's ratios (lo, hi).

    `softwares` are in order of falling row count: the first one is meant where a caller names none. `fabrics` names
    what the collectives of a device were measured on.
    """

    devices: tuple[str, ...]
    softwares: tuple[str, ...]
    kernels: tuple[tuple[str, str, str, str], ...]
    ranges: dict[str, tuple[tuple[float, ...], tuple[float, ...]]]
    fabrics: dict[str, str] = field(default_factory=dict)

    @cached_property
    def _serving(self) -> dict[tuple[str, str, str], str]:
        found = {}
        for name in self.ranges:
            op, pool, part = [*name.split("/"), "", ""][:3]
            found.update({(op, device, part): name for device in pool.split("+")})
        return found

    def model_of(self, op: str, device: str, part: str) -> str | None:
        """Return the name of the trees that serve an operator of a device (see `model_name`); None without any."""
        return self._serving.get((op, "", "") if op == "collective" else (op, device, part))

    def software_of(self, device: str, software: str) -> str:
        """Return the software that is meant on a device."""
        if software:
            return software
        here = {kernel[3] for kernel in self.kernels if kernel[2] == device}
        return next((name for name in self.softwares if name in here), self.softwares[0] if self.softwares else "")

    def usual_stack(self, op: str, stacks: Sequence[str], software: str) -> str:
        """Return the one of `stacks` (those that an operator was measured with) that serves where none is named.

        Collectives: the library that all frameworks call (NCCL, oneCCL). Else the framework of `software`; of its
        versions, and of other frameworks', the newest.
        """

        def rank(stack: str) -> tuple[bool, bool, float, str]:
            code, version = stack_of(stack)
            library = FRAMEWORKS[int(code)] in LIBRARIES
            return library == (op == "collective"), code == stack_of(software)[0], version, stack

        return max(stacks, key=rank)


@dataclass(frozen=True)
class Intervals:
    """Half widths of the log error by 'device/op': one a third of the size range, NaN where there were too few rows.
    They are multiples of how hard a row is (`costmodel.difficulty`) where the model has a forest for that.

    `cuts` are the two log latencies of the closed form that part the thirds; `physics` is the half width of the closed
    form alone on the same rows. The entry '/op' is for devices that were never measured: each source device was left
    out in turn.
    """

    coverage: float
    cuts: dict[str, tuple[float, float]]
    half: dict[str, tuple[float, float, float]]
    physics: dict[str, float]


@dataclass(frozen=True)
class Adapted:
    """What a few rows of a device say about one of its families: weights of the source devices, an offset for all rows,
    one for the share of a row's time in each regime, and one a kernel (`kernel_codes`)."""

    weights: dict[str, float]
    offset: float
    regimes: tuple[float, ...]
    kernels: dict[int, float]
    cuts: tuple[float, float]
    half: tuple[float, float, float]
    shots: int

    def shift(self, features: Array, group: str) -> Array:
        """Return what is added to the log factor of rows (features of a group of operators), shape (rows,)."""
        found = self.offset + regimes(features, group) @ np.array(self.regimes)
        codes = kernel_codes(features, group)
        for code in np.unique(codes):
            found = found + self.kernels.get(int(code), 0.0) * (codes == code)
        return np.asarray(found)


def regimes(features: Array, group: str) -> Array:
    """Return the time that launches, memory (as far as no cache, and as far as one may serve) and whole tiles of
    arithmetic take by the data sheet, as shares of the closed form's time (each at most 1), shape (rows, 4)."""
    names = LAYOUTS[group].names
    launch, memory, intensity, waste, held = (
        features[:, names.index(n)].astype(np.float64)
        for n in ("time_over_launch", "memory_over_time", "compute_over_memory", "shape_waste", "bytes_over_cache")
    )
    cold = -np.logaddexp(0.0, 2.0 * (np.log(RESIDENT) - held))
    warm = cold + 2.0 * (np.log(RESIDENT) - held)
    logs = np.stack([-launch, memory + cold, memory + warm, memory + intensity + waste], axis=1)
    return np.asarray(np.exp(np.clip(logs, -30.0, 0.0)))


def kernel_codes(features: Array, group: str) -> Array:
    """Return a code of number format, framework and phase of each row, shape (rows,): kernels have their own habits."""
    names = LAYOUTS[group].names
    codes = 16.0 * features[:, names.index("dtype")] + features[:, names.index("framework")]
    return np.asarray(codes + 512.0 * features[:, names.index("phase")] if "phase" in names else codes)


@dataclass(frozen=True)
class Transfer:
    """How devices that were never measured are answered.

    `kinship` holds the log ratios of each measured device, `kinds` what it is (gpu, npu ...), `reach` the distance by
    'op' over which resemblance fades, `share` by 'op' what part of their kin's log factor serves devices farther than
    `NEAR_KIN` (0: they keep the closed form), `adapted` what few rows gave, by 'device/op', `shared` by 'op' the parts
    that models of all devices (`costmodel.forms.SHARED`) have in the answer for these.
    """

    kinship: dict[str, tuple[float, ...]] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    reach: dict[str, float] = field(default_factory=dict)
    share: dict[str, float] = field(default_factory=dict)
    adapted: dict[str, Adapted] = field(default_factory=dict)
    shared: dict[str, tuple[float, float]] = field(default_factory=dict)


def kin_ratios(rates: Rates) -> tuple[float, ...]:
    """Return the log ratios by which devices resemble each other: none of them is a size of an operator."""
    peak = float(rates.peak_flop_per_s[FORMAT_CODES["bf16"]])
    vector = float(rates.vector_flop_per_s[FORMAT_CODES["bf16"]])
    fast = float(rates.peak_flop_per_s[FORMAT_CODES["fp8"]])
    found = (
        peak / rates.dram_bytes_per_s / 100, rates.units / 100, rates.cache_bytes_per_s / rates.dram_bytes_per_s,
        peak / vector, peak / rates.units / 1e12, max(rates.cache_bytes, 1e6) / 1e8, rates.launch_s[0] / 1e-6,
        fast / peak,
    )  # fmt: skip
    return tuple(float(np.log(max(x, 1e-12))) if np.isfinite(x) else 0.0 for x in found)


def kin_place(rates: Rates) -> tuple[float, ...]:
    """Return `kin_ratios` and the gain of four-bit products, which tells generations of like figures apart."""
    peak, small = (float(rates.peak_flop_per_s[FORMAT_CODES[name]]) for name in ("bf16", "nvfp4"))
    gain = small / peak if np.isfinite(small) and np.isfinite(peak) else 1.0
    return (*kin_ratios(rates), float(np.log(max(gain, 1e-12))))


def kin_weights(sources: dict[str, tuple[float, ...]], target: tuple[float, ...], reach: float) -> dict[str, float]:
    """Return the share that each source has in the answer for a target: normal in the distance, 1 in sum."""
    away = {name: float(np.linalg.norm(np.subtract(ratios, target))) for name, ratios in sources.items()}
    nearest = min(away.values())
    raw = {name: float(np.exp((nearest**2 - d**2) / (2 * reach**2))) for name, d in away.items()}
    raw = {name: weight for name, weight in raw.items() if weight > 0.02}
    total = sum(raw.values())
    return {name: weight / total for name, weight in raw.items()}


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
            continue
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
    far = rates.array is not None or not kin or _away(kin, own) > FARTHEST_KIN
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
            near = _away(sources, own) <= NEAR_KIN
            share = 1.0 if near else transfer.share.get(op, 0.0)
            usual = kin_weights(sources, own, transfer.reach[op])
            weights = {d: w * share for d, w in usual.items()}
            parts = dict(zip(SHARED, (0.0, 0.0) if near else transfer.shared.get(op, (0.0, 0.0)), strict=True))
            if adapted is not None:
                weights = _among(adapted.weights, {d: usual.get(d, 0.0) for d in sources})
                parts = {name: adapted.weights.get(name, 0.0) for name in SHARED}
            elif share + sum(parts.values()) == 0.0:
                continue
            answers[code] = _blend(scope, intervals, op, part, weights, _away(sources, own), adapted, parts)
    return answers


def _away(kin: dict[str, tuple[float, ...]], own: tuple[float, ...]) -> float:
    """Return the log distance to the nearest device."""
    return min(float(np.linalg.norm(np.subtract(ratios, own))) for ratios in kin.values())


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
