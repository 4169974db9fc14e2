"""Kinds of space by the name that files give them; a kind is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module

from archcast.searching.problem import Design

PLACES: dict[str, tuple[str, str]] = {
    "npu-array": ("archcast.searching.npu_array", "NPU_ARRAY"),
    "dram-controller": ("archcast.searching.problems.dram_controller", "DESIGN"),
    "network-architecture": ("archcast.searching.problems.network_architecture", "DESIGN"),
    "soc": ("archcast.searching.problems.soc", "DESIGN"),
    "offloading": ("archcast.searching.problems.offloading", "DESIGN"),
    "daq-chain": ("archcast.searching.problems.daq_chain", "DESIGN"),
    "gpu-serving": ("archcast.searching.problems.gpu_serving", "DESIGN"),
}
"""Name -> (module, name in it)."""


class Designs(Mapping[str, Design]):
    """The designs by name; all names are known without an import."""

    def __init__(self, places: Mapping[str, tuple[str, str]]) -> None:
        self.places = dict(places)

    def __getitem__(self, name: str) -> Design:
        module, attribute = self.places[name]
        found = getattr(import_module(module), attribute)
        assert isinstance(found, Design)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)


DESIGNS: Mapping[str, Design] = Designs(PLACES)
