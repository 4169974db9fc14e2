"""Environments by id: the problem behind each, what it starts from, and which names ArchGym has for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from archcast.searching.space import Columns
from foundation.errors import UnknownNameError
from workloads.table import Array

PLACES: dict[str, str] = {
    "npu-array": "archcast.environments.npu_start",
    "dram-controller": "archcast.searching.problems.dram_controller",
    "network-architecture": "archcast.searching.problems.network_architecture",
    "soc": "archcast.searching.problems.soc",
    "offloading": "archcast.searching.problems.offloading",
    "daq-chain": "archcast.searching.problems.daq_chain",
    "gpu-serving": "archcast.searching.problems.gpu_serving",
}
"""Id -> module with `SPACE`, `WORKLOAD` and `OBJECTIVES`."""
IDS: tuple[str, ...] = tuple(PLACES)
ALIASES: dict[str, str] = {
    "timeloop": "npu-array", "mastero": "npu-array", "maestro": "npu-array", "dram": "dram-controller",
    "dramsys": "dram-controller", "farsi": "soc", "astrasim": "gpu-serving", "nas": "network-architecture",
}  # fmt: skip
"""ArchGym's environments, without their endings (`TimeloopGym`, `DRAMEnv`, `FARSIEnv-v0`, ...)."""


def environment_id(name: str) -> str:
    """Return the id that a name stands for. Raises UnknownNameError."""
    plain = name.removeprefix("archcast/").removesuffix("-v0")
    if plain in PLACES:
        return plain
    short = plain.lower().removesuffix("_rl").removesuffix("gym").removesuffix("env").strip("-_")
    found = ALIASES.get(short, "")
    if found not in PLACES:
        raise UnknownNameError("environment", name, IDS, f"Known: {', '.join(IDS)}.")
    return found


@dataclass(frozen=True)
class Start:
    """What an environment starts from: space, workload ("" for none), objectives, and values that are only shown."""

    space: Mapping[str, Any]
    workload: str
    objectives: tuple[str, ...]
    extra: Callable[[Columns], Mapping[str, Array]] | None


def start_of(name: str) -> Start:
    """Return what the environment of an id starts from."""
    module = import_module(PLACES[name])
    return Start(module.SPACE, module.WORKLOAD, module.OBJECTIVES, getattr(module, "extra_values", None))
