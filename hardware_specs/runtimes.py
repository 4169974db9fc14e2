"""Runtimes: what the software that runs a network on an accelerator takes there, and what the rest costs.

A runtime divides a network: operators that its compiler or delegate takes run on the accelerator, the others on the
processor of the same chip or board (`DeviceSpec.host`). Names of operators, formats and activations are those of
workload graphs (`workloads.table.OPS`, `foundation.formats`); load and compile times are not counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from foundation.errors import UnknownNameError, UnsupportedError
from foundation.formats import number_format
from hardware_specs.catalogue import compiled_entries, load_device, plain_name
from hardware_specs.figures import Figure, Sourced, Spec, fault
from hardware_specs.schema import Count, DeviceKind, DeviceSpec
from hardware_specs.units import Quantity

NORMS: tuple[str, ...] = ("batch", "layer", "rms")
"""Kinds of normalisation; group normalisation counts as `layer`."""

Kernel = Literal["conv", "pointwise", "depthwise", "dense", "other"]
"""What kernels do: convolutions with a window, without one, by channel (grouped ones too), dense layers, the rest."""

Divides = Literal["whole", "head", "parts"]
"""`whole`: the network runs there as a whole or not at all; `head`: from its start up to the first operator that is not
taken; `parts`: every run of operators that are taken."""


class RunsOn(Spec):
    """The devices of a runtime: those named, else those of a kind (and, where vendors stand there, of one of them)."""

    kinds: tuple[DeviceKind, ...] = ()
    vendors: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()

    def rank(self, device: DeviceSpec) -> int:
        """Return how closely a device is meant: 3 by name (or `like`), 2 by vendor, 1 by kind, 0 not at all."""
        if {device.id, device.like} & set(self.devices):
            return 3
        if device.kind not in self.kinds:
            return 0
        return (2 if device.vendor in self.vendors else 0) if self.vendors else 1


class Limit(Spec):
    """The accelerator takes an operator only while a size of it is at most `most`."""

    operator: str
    size: str
    most: float


class RuntimeSpec(Sourced):
    """One runtime on one kind of accelerator.

    Attributes:
        framework: what people call it (`litert`); together with a device it names the runtime.
        operators, activations, norms, formats: what the accelerator takes; of `activations` also those that stand
            alone, or that another kernel computes on its way.
        fuses: activations and norms that run inside the kernel before them (`batch`, `relu`); what a graph has as
            fused and a runtime does not fuse is a kernel of its own.
        float_only: operators and activations that are not taken in quantised networks (weights of 8 bits and less).
        limits: sizes beyond which an operator is not taken.
        divides: how a network is cut; `most_parts` and `fewest_operators` say which parts are worth a switch.
        most_batch: inputs that a compiled network takes at once; a larger batch runs in turns.
        cores: units of the device that one network runs on unless it is told otherwise (absent: all).
        switch_s: of one change of processor, without the bytes.
        convert_s_per_element: quantising or dequantising one element that crosses, on the host.
        host_format: what the host computes in ("": the format of the operator).
        pace: time of kernels on the device over that of the closed form, by what they do (`KERNELS`; absent: 1).
        dynamic_shapes: sizes may be known as late as at run time.
    """

    framework: str
    aliases: tuple[str, ...] = ()
    runs_on: RunsOn
    operators: tuple[str, ...]
    activations: tuple[str, ...] = ()
    norms: tuple[Literal["batch", "layer", "rms"], ...] = ()
    formats: tuple[str, ...]
    fuses: tuple[str, ...] = ()
    float_only: tuple[str, ...] = ()
    limits: tuple[Limit, ...] = ()
    divides: Divides
    most_parts: Count | None = None
    fewest_operators: Count = 1
    most_batch: Count | None = None
    cores: Count | None = None
    switch_s: Annotated[Figure, Quantity("s", 0, 1)]
    convert_s_per_element: Annotated[Figure, Quantity("s", 0, 1e-3)]
    host_format: str = ""
    pace: Annotated[dict[Kernel, Figure], Quantity("", 0.01, 100)] = Field(default_factory=dict)
    dynamic_shapes: bool = False

    @field_validator("formats")
    @classmethod
    def _formats_exist(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(number_format(name).name for name in names)

    @model_validator(mode="after")
    def _parts_are_of_parts(self) -> RuntimeSpec:
        if self.most_parts is not None and self.divides != "parts":
            raise fault("most_parts says something where divides is 'parts' only.", ("most_parts",))
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """What `--software` may call it: its id, its framework, and its aliases."""
        return (self.id, self.framework, *self.aliases)


def runtime_ids() -> list[str]:
    """Return the ids of all runtimes of the catalogue, sorted."""
    return list(compiled_entries("runtimes"))


def load_runtime(name: str) -> RuntimeSpec:
    """Return a runtime by its id. Raises UnknownNameError."""
    entries = compiled_entries("runtimes")
    if plain_name(name) not in entries:
        raise UnknownNameError("runtime", name, entries)
    return RuntimeSpec.model_validate(entries[plain_name(name)])


def find_runtime(software: str, device: DeviceSpec) -> RuntimeSpec | None:
    """Return the runtime that a name means on a device, None where no runtime has this name.

    A version after the name (`onnxruntime 1.20`) does not matter.

    Raises:
        UnsupportedError: the runtime does not run on this device; those that do are named.
        UnknownNameError: the device is `like` one that the catalogue does not have.
    """
    word = plain_name(software.split()[0]) if software.split() else ""
    named = list(_named(word)) if word else []
    if not named:
        return None
    if device.like:
        load_device(device.like)
    able = [spec for spec in named if spec.runs_on.rank(device)]
    if able:
        # of two runtimes of a vendor the one for fewer vendors is the more particular
        return max(able, key=lambda s: (s.id == word, s.runs_on.rank(device), -len(s.runs_on.vendors)))
    known = frameworks_of(device)
    other = f"; ask for its host, --on {device.host.device}" if device.host and _reaches(named, device) else ""
    none = "" if known else " (a device of a file takes those of a device that it is 'like', e.g. like: edge-tpu)"
    raise UnsupportedError(
        f"The runtime '{word}' does not run on {device.id} ({device.kind}); there are "
        f"{', '.join(known) or 'none'}{none}{other}."
    )


def frameworks_of(device: DeviceSpec) -> list[str]:
    """Return the names of the runtimes that run on a device, sorted."""
    return sorted({spec.framework for spec in _all() if spec.runs_on.rank(device)})


def unknown_runtime(software: str, device: DeviceSpec) -> str:
    """Return what to say of a name that no runtime has: the nearest one, and those of the device ('' without any)."""
    known = frameworks_of(device)
    names = sorted({name for spec in _all() for name in spec.names})
    word = plain_name(software.split()[0]) if software.split() else ""
    near = get_close_matches(word, names, n=1)
    if not known:
        return ""
    nearest = f" Nearest: {near[0]}." if near else ""
    return f"Unknown runtime '{software}'.{nearest} {device.id} has {', '.join(known)}."


def _reaches(named: list[RuntimeSpec], device: DeviceSpec) -> bool:
    """Say whether a runtime runs on the host of a device."""
    if device.host is None:
        return False
    host = load_device(device.host.device)
    return any(spec.runs_on.rank(host) for spec in named)


def _named(word: str) -> Iterator[RuntimeSpec]:
    for name, entry in compiled_entries("runtimes").items():
        if word == name or word == entry["framework"] or word in entry.get("aliases", ()):
            yield load_runtime(name)


def _all() -> Iterator[RuntimeSpec]:
    return (load_runtime(name) for name in runtime_ids())
