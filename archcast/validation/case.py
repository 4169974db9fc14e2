"""What a case of `archcast validate` is: what is read, how it is split, what is fitted, beside what it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from archcast.validation.baselines import NEAREST, ROOFLINE
from archcast.validation.splits import Split

CLOSED_FORM, FACTOR, TREES = "closed form, nothing fitted", "one factor a device", "trees"
SHOTS, TERMS, POWER = "other devices, and shots of this one", "terms of the graph", "measured power"
STACK, LAYERS, SERVED = "stack terms", "layer tables of the GPU", "time and power of a step"
"""What is fitted on the train groups: nothing; the median of measured over closed form, one a device, stack and format;
the learned model of `archcast calibrate`; timings of other devices and a few of this one; coefficients of what a
network makes a device do; coefficients of what an operator moves and computes; what a serving stack adds to its
kernels; timings of layers on the GPU; time and power of a step of an engine."""

SHAPES = Split("shape", "unseen shapes: {}")
FOLDS = Split("group", "{} held out in five folds", folds=5, rounds=0)
EACH = Split("group", "each {} left out in turn", folds=0, rounds=0)
DEVICES = Split("device", "each {} left out in turn", folds=0, rounds=0)


@dataclass(frozen=True)
class Case:
    """One comparison.

    `importer` reads `folder` of the data (`package` instead: an installed package, no folder), with `options`. What is
    scored is operators, devices (operators of a device left out), whole models, or what a method of its own yields:
    `scorer` says which. `ops`, `stack` (how its label begins) and `dtype` are the rows that count (empty = all),
    `reads` the devices that are read. `quantity` is what is compared, a measured column. `split` names the groups;
    `unit` fills its text. `fitted` and `baselines` are names; `least_answered` is the share of test rows that must be
    answered for a line to count. `kernel_rows` thins operators as they are read, to so many random rows of each kernel
    (0 = all); `most_rows` bounds the rows of whole models, by whole groups. `kin` are the columns that rows with one
    factor share. `devices` are those that are scored (empty = all), `shots` the numbers of rows that are given of a
    device left out.
    """

    name: str
    title: str
    importer: str
    folder: str
    scorer: str = "workloads"
    quantity: str = "latency_s"
    split: Split = FOLDS
    unit: str = "networks"
    fitted: str = CLOSED_FORM
    baselines: tuple[str, ...] = (ROOFLINE, NEAREST)
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    package: str = ""
    ops: tuple[str, ...] = ()
    stack: str = ""
    dtype: str = ""
    reads: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    shots: tuple[int, ...] = (0,)
    peer: str = ""
    kin: tuple[str, ...] = ("device", "software", "dtype", "mode")
    least_answered: float = 0.95
    most_rows: int = 4000
    kernel_rows: int = 0
    note: str = ""

    @property
    def split_text(self) -> str:
        """Say in words what is held out; nothing is where neither a fit nor a baseline sees other rows."""
        if self.scorer == "evaluation":
            return self.unit
        if self.fitted == CLOSED_FORM and NEAREST not in self.baselines:
            return "all rows"
        return self.split.text.format(self.unit)

    @property
    def seeded(self) -> bool:
        """Return whether further seeds tell more: something is learned from what a seed draws."""
        return self.fitted not in (CLOSED_FORM, FACTOR, LAYERS, SERVED)
