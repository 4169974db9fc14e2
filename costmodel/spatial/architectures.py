"""Architectures of the ZigZag mapping tool as hierarchies: sizes in bits, rates in bits a cycle, pJ a word.

Source: ZigZag (KU Leuven MICAS, MIT), zigzag-dse 3.9.1, inputs/hardware/{tpu_like,edge_tpu_like}.yaml and
inputs/mapping/{tpu_like,edge_tpu_like}.yaml. Weights and inputs are 8 bit, outputs 8 bit, partial sums 16 bit.
"""

from __future__ import annotations

from costmodel.spatial.hierarchy import MOVES, OPERANDS, Axis, Hierarchy, Memory, port

FORMAT_BITS = {"weight_bits": 8.0, "input_bits": 8.0, "output_bits": 8.0, "sum_bits": 16.0}
MAC_PJ = 0.04


def _registers(name: str, operand: str, bits: float, width: float, pj: float, across: tuple[str, ...] = ()) -> Memory:
    """Return registers with a port for each move."""
    moves = ("fill", "feed") if operand != "O" else MOVES
    ports = tuple(port(f"{operand} {move}", width) for move in moves)
    return Memory(name, operand, bits, ports, across, pj, pj)


def _outer(across: tuple[str, ...]) -> tuple[Memory, Memory]:
    """Return the buffer of inputs and outputs and device memory, the same in both."""
    buffer = Memory(
        "sram_2MB", "IO", 16_777_216,
        (port("I feed, O feed, O drain", 2048, 64), port("I fill, O fill, O sink", 2048, 64)),
        across, read_pj=416.16, write_pj=378.4,
    )  # fmt: skip
    moves = ", ".join(f"{operand} {move}" for operand in OPERANDS for move in MOVES)
    return buffer, Memory("dram", "IWO", 1e10, (port(moves, 64, 64),), across, read_pj=700.0, write_pj=750.0)


def tpu_like() -> Hierarchy:
    """Return 32 x 32 elements, output channels on one side, input channels on the other, 128 B of weights in each."""
    axes = (Axis("D1", 32, ("K",), systolic=True), Axis("D2", 32, ("C",), systolic=True))
    weights = _registers("rf_128B", "W", 1024, 8, 0.095)
    sums = _registers("rf_2B", "O", 16, 16, 0.021)
    return Hierarchy("zigzag-tpu-like", axes, (weights, sums, *_outer(("D1", "D2"))), MAC_PJ)


def edge_tpu_like() -> Hierarchy:
    """Return 8 x 8 x 4 x 4 elements: output and input channels, output columns and rows; weights have 32 KiB."""
    names = ("D1", "D2", "D3", "D4")
    unrolled = (("K", 8), ("C", 8), ("OX", 4), ("OY", 4))
    axes = tuple(Axis(name, size, (dim,)) for name, (dim, size) in zip(names, unrolled, strict=True))
    weights = _registers("rf_1B", "W", 8, 8, 0.01, ("D3", "D4"))
    sums = _registers("rf_2B", "O", 16, 16, 0.02, ("D2",))
    near = Memory("sram_32KB", "W", 262_144, (port("W feed", 512, 64), port("W fill", 512, 64)), names, 22.9, 52.01)
    return Hierarchy("zigzag-edge-tpu-like", axes, (weights, sums, near, *_outer(names)), MAC_PJ)


ARCHITECTURES = {"zigzag-tpu-like": tpu_like, "zigzag-edge-tpu-like": edge_tpu_like}
