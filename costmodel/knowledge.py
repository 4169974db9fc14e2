"""What a learned model knows, as an artefact keeps it: kernels and ranges, intervals, and what serves other devices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from costmodel.features import FRAMEWORKS, GROUP_OF, stack_of
from costmodel.kin import kernel_codes, regimes
from foundation.formats import FORMAT_NAMES
from workloads.elementwise import Value, occurring
from workloads.table import OP_CODES, PHASES, Array, OpTable

FEWEST = 9
"""Rows that a 90 % conformal quantile needs: with fewer the quantile does not exist."""
PARTS = 64
FREE = 1e30
"""End of a range that bounds nothing (infinity would give 0 x infinity)."""
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

    def like_stack(self, stacks: Sequence[str], software: str) -> str:
        """Return the one of `stacks` of the framework that `software` names whose version is nearest; '' without one.

        A framework without a version stands for its newest.
        """
        code, version = stack_of(software)
        same = [stack for stack in stacks if code and stack_of(stack)[0] == code]
        newest = software.strip().lower() in FRAMEWORKS
        return max(same, key=lambda s: (stack_of(s)[1] if newest else -abs(stack_of(s)[1] - version), s), default="")

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
        for code in occurring(codes):
            found = found + self.kernels.get(int(code), 0.0) * (codes == code)
        return np.asarray(found)


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
