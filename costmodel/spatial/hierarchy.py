"""`Hierarchy`: the memories of an array from the elements outwards, and the axes along which loops are unrolled.

The closed `Machine` has one form (buffers, a shared level, device memory); a hierarchy says any: which operands a
memory holds, its ports, what one access costs, and along which axes of the array its copies stand.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from costmodel.spatial.machine import DATAFLOWS, IS, OS, WS, Machine
from foundation.errors import BadValueError, UnsupportedError

if TYPE_CHECKING:
    from costmodel.spatial.technology import Technology

DIMS: tuple[str, ...] = ("B", "G", "K", "C", "OY", "OX", "FY", "FX")
"""Loops of a layer: images, groups, output and input channels, output rows and columns, kernel rows and columns."""
OPERANDS: tuple[str, ...] = ("I", "W", "O")
MOVES: tuple[str, ...] = ("fill", "feed", "sink", "drain")
"""Moves at a memory: written from above, read towards the array, written from below, read to above."""


@dataclass(frozen=True)
class Port:
    """A port of a memory: bits a cycle at most, the least it moves at once, and the moves that share it ("I fill").

    One that `is_free` has the width for the energy of an access, but no limit.
    """

    serves: frozenset[str]
    bits_per_cycle: float
    least_bits: float | None = None
    is_free: bool = False

    def __post_init__(self) -> None:
        known = {f"{operand} {move}" for operand in OPERANDS for move in MOVES}
        if not self.serves <= known:
            raise BadValueError(f"a port serves {sorted(self.serves - known)}; moves are such as 'I fill', 'O drain'.")
        if not self.bits_per_cycle > 0:
            raise BadValueError(f"a port must move more than 0 bits a cycle, not {self.bits_per_cycle:g}.")


def port(moves: str, bits_per_cycle: float, least_bits: float | None = None) -> Port:
    """Return a port of moves named as in "I fill, O fill"."""
    return Port(frozenset(move.strip() for move in moves.split(",")), bits_per_cycle, least_bits)


@dataclass(frozen=True)
class Memory:
    """A memory. Copies stand at each unit of the array's axes other than those in `across`, which share one copy.

    `read_pj`, `write_pj` are of an access of a port's full width. `capacity_bits` counts elements of whatever format
    where `counts_elements` (a register). `buffering`: "double" uses half, so that filling never waits; "single" fills
    only while nothing in it is needed; "free" is double where the tile in use leaves the room for it.
    """

    name: str
    holds: str
    capacity_bits: float
    ports: tuple[Port, ...]
    across: tuple[str, ...] = ()
    read_pj: float = 0.0
    write_pj: float = 0.0
    buffering: str = "free"
    counts_elements: bool = False

    def __post_init__(self) -> None:
        if not self.holds or not set(self.holds) <= set(OPERANDS):
            raise BadValueError(f"memory '{self.name}' must hold some of I, W and O, not '{self.holds}'.")
        if not self.capacity_bits > 0:
            raise BadValueError(f"memory '{self.name}' must have more than 0 bits, not {self.capacity_bits:g}.")
        if self.buffering not in ("free", "double", "single"):
            raise BadValueError(f"memory '{self.name}': buffering is free, double or single, not '{self.buffering}'.")

    def port_of(self, move: str) -> Port | None:
        """Return the port of a move such as "I fill", None where there is none (the outside of the outermost)."""
        return next((item for item in self.ports if move in item.serves), None)


@dataclass(frozen=True)
class Axis:
    """An axis of the array with its units; the dims that may be unrolled on it, the first before the others."""

    name: str
    size: int
    dims: tuple[str, ...]
    systolic: bool = False

    def __post_init__(self) -> None:
        if self.size < 1:
            raise BadValueError(f"axis '{self.name}' of an array must have at least 1 unit, not {self.size}.")
        if not set(self.dims) <= set(DIMS):
            raise BadValueError(f"axis '{self.name}' unrolls {sorted(set(self.dims) - set(DIMS))}; dims are {DIMS}.")


@dataclass(frozen=True)
class Hierarchy:
    """An array with its memories, inner before outer; the outermost holds every operand whole.

    `streams`: a tile is used while it is still being filled, so that nothing but what the array takes at once is
    waited for; else a memory's first tile is there before its first use, and its last leaves after. Without
    `has_energies` "pJ" are bits to and from device memory.
    """

    name: str
    axes: tuple[Axis, ...]
    memories: tuple[Memory, ...]
    mac_pj: float = 0.0
    streams: bool = False
    has_energies: bool = True
    chains: Mapping[str, tuple[int, ...]] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        chains = {o: tuple(i for i, m in enumerate(self.memories) if o in m.holds) for o in OPERANDS}
        for operand, chain in chains.items():
            if not chain:
                raise BadValueError(f"no memory of '{self.name}' holds operand {operand}.")
            for low, high in itertools.pairwise(chain):
                inner, outer = self.memories[low], self.memories[high]
                if not set(inner.across) <= set(outer.across):
                    raise BadValueError(f"'{outer.name}' must stand across the axes of '{inner.name}' that it fills.")
        object.__setattr__(self, "chains", chains)

    @property
    def units(self) -> int:
        """Elements of the array, each one MAC a cycle."""
        count = 1
        for axis in self.axes:
            count *= axis.size
        return count


AXES_OF_DATAFLOW: dict[int, tuple[tuple[str, ...], tuple[str, ...], str]] = {
    WS: (("C", "FY", "FX"), ("K",), "W"),
    OS: (("OX", "OY", "B"), ("K",), "O"),
    IS: (("C", "FY", "FX"), ("OX", "OY", "B"), "I"),
}
"""What a dataflow unrolls on rows and on columns, and the operand that stays in the elements."""
CORE_DIMS: tuple[str, ...] = ("K", "OY", "B", "G", "OX")
HUGE_BITS = 1e18
NOTHING = (0.0, 0.0)


def hierarchy_of(machine: Machine, energies_pj_per_bit: Mapping[str, tuple[float, float]] | None = None) -> Hierarchy:
    """Return one `Machine` (scalars only) as a hierarchy, with pJ a bit (read, written) by memory where given.

    Memories are named pe, "buffer I", "buffer W", "buffer O" or buffer, shared, dram. Groups that share a fold
    (`packs_groups`) and skipped zeros are not modelled.

    Raises:
        BadValueError: a dataflow that is none of ws, os, is.
        UnsupportedError: a machine in columns.
    """
    require_scalar(machine)
    one = machine.reshaped(())
    flow = int(one.dataflow)
    if flow not in AXES_OF_DATAFLOW:
        raise BadValueError(f"dataflow {flow} of a spatial array; known: {', '.join(DATAFLOWS[1:])} as 1, 2, 3.")
    pj = energies_pj_per_bit if energies_pj_per_bit is not None else {"dram": (1.0, 1.0)}
    rows, cols, stays = AXES_OF_DATAFLOW[flow]
    if not one.kernel_on_rows:
        rows = tuple(dim for dim in rows if dim not in ("FY", "FX"))
    axes = [Axis("rows", int(one.rows), rows, systolic=True), Axis("cols", int(one.cols), cols, systolic=True)]
    if one.cores > 1:
        axes.append(Axis("cores", int(one.cores), CORE_DIMS))
    memories = [_register(stays, bool(one.preload_hidden), pj.get("pe", NOTHING))]
    memories += _buffers(one, pj)
    everywhere = tuple(axis.name for axis in axes)
    far = (
        ("shared", float(one.shared_bytes) * 8, one.shared_bytes_per_cycle),
        ("dram", HUGE_BITS, one.dram_bytes_per_cycle),
    )
    for name, held, rate in far:
        if held:
            moves = frozenset(f"{o} {m}" for o in OPERANDS for m in MOVES)
            bits = min(float(rate) * 8, HUGE_BITS)
            read, write = (value * bits for value in pj.get(name, NOTHING))
            memories.append(Memory(name, "IWO", held, (Port(moves, bits, least_bits=8),), everywhere, read, write))
    name = f"{DATAFLOWS[flow]} {int(one.rows)}x{int(one.cols)}"
    return Hierarchy(name, tuple(axes), tuple(memories), streams=True, has_energies=energies_pj_per_bit is not None)


def _register(operand: str, hidden: bool, pj_per_bit: tuple[float, float]) -> Memory:
    """Return the register of an element that keeps one value, two where the next is loaded meanwhile."""
    moves = [port(f"{operand} {move}", 64, least_bits=8) for move in MOVES]
    read, write = (value * 64 for value in pj_per_bit)
    buffering = "double" if hidden else "single"
    return Memory("pe", operand, 2 if hidden else 1, tuple(moves), (), read, write, buffering, counts_elements=True)


def _buffers(one: Machine, pj_per_bit: Mapping[str, tuple[float, float]]) -> list[Memory]:
    """Return the buffers of a core; those of 0 bytes are not there, a unified one holds all operands."""
    across, buffering = ("rows", "cols"), "double" if one.double_buffered else "single"
    sizes = dict(zip("IWO", one.buffer_bytes, strict=True))
    rates = dict(zip("IWO", one.buffer_bytes_per_cycle, strict=True))
    groups = ["IWO"] if one.unified else [operand for operand in "WIO" if sizes[operand] > 0]
    found = []
    for held in groups:
        size = sum(float(sizes[o]) for o in held) * 8
        if not size:
            continue
        bits = min(sum(float(rates[o]) for o in held) * 8, HUGE_BITS)
        array = frozenset(f"{o} {m}" for o in held for m in (("feed", "sink") if o == "O" else ("feed",)))
        rest = frozenset(f"{o} {m}" for o in held for m in MOVES) - array
        # what the next level fills and drains has banks of its own; its rate is the next level's
        ports = (Port(array, bits, least_bits=8), Port(rest, bits, least_bits=8, is_free=True))
        name = "buffer" if one.unified else f"buffer {held}"
        read, write = (value * bits for value in pj_per_bit.get(name, pj_per_bit.get("buffer", NOTHING)))
        found.append(Memory(name, held, size, ports, across, read, write, buffering))
    return found


def energies_of(machine: Machine, technology: Technology) -> dict[str, tuple[float, float]]:
    """Return pJ a bit read and written of the memories of `hierarchy_of(machine)`, from a table of components."""
    from costmodel.spatial.energy import sram_j_per_byte

    one, of = machine.reshaped(()), technology.value
    rates = dict(zip("IWO", one.buffer_bytes_per_cycle, strict=True))
    sizes = dict(zip("IWO", one.buffer_bytes, strict=True))
    joules = {f"buffer {o}": sram_j_per_byte(sizes[o], rates[o], technology, of) / 8 for o in "IWO"}
    joules["buffer"] = sram_j_per_byte(sum(sizes.values()), sum(rates.values()), technology, of) / 8
    joules["shared"] = sram_j_per_byte(one.shared_bytes, one.shared_bytes_per_cycle, technology, of) / 8
    found = {name: float(value) * 1e12 for name, value in joules.items()}
    found |= {"pe": of.register_j_per_bit * 1e12, "dram": of.dram_j_per_bit * 1e12}
    return {name: (value, value) for name, value in found.items()}


def require_scalar(machine: Machine) -> None:
    """Raise UnsupportedError where a machine stands in columns: the best mapping is searched one machine at a time."""
    try:
        machine.reshaped(())
    except ValueError:
        raise UnsupportedError("the best mapping is searched for one machine at a time, not for columns.") from None
