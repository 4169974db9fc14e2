"""Sparse and mixed-format operands on spatial arrays: bytes as stored, cycles skipped or gated, steps a product takes.

A zero operand saves bytes where it is stored compressed, energy where its multiplication is gated, and cycles only
where it is skipped. Structured sparsity (n of m) is skipped evenly. Unstructured zeros fall unevenly over lanes that
must wait for each other: the fullest of R lanes with Binomial(n, d) products each binds. Its mean is taken as
n d + z sqrt(n d (1 - d)) + (z^2 - 1) (1 - 2 d) / 6, with z the mean of the largest of R normal deviates by Blom
(Statistical Estimates and Transformed Beta-Variables, 1958): z = Phi^-1((R - 3/8) / (R + 1/4)), and the last term the
skewness of the binomial (Cornish and Fisher, 1938). It is within 2.5 % of the exact mean from 32 operands on
(tests/test_spatial_sparsity.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from costmodel.spatial.folds import executed_share
from costmodel.spatial.layers import Layers
from costmodel.spatial.machine import Machine, Operands
from foundation.errors import BadValueError, UnknownNameError
from workloads.elementwise import Value
from workloads.table import Array

POINTER_BITS = 32.0
"""One row pointer of compressed sparse rows."""


def _bitmap(bits: Value, density: Value, _: Value) -> Value:
    return density * bits + 1.0


def _compressed_rows(bits: Value, density: Value, row: Value) -> Value:
    """Values and their columns, and one pointer a row."""
    return density * (bits + np.ceil(np.log2(np.maximum(row, 2.0)))) + POINTER_BITS / row


def _run_length(bits: Value, density: Value, _: Value) -> Value:
    """Values with the zeros before each in 5 bits (Eyeriss, JSSC 2017, section V-B); longer runs take a filler."""
    long_run = (1.0 - density) ** 32
    entries = density + np.where(density > 0, density * long_run / np.maximum(1.0 - long_run, 1e-300), 1.0 / 32.0)
    return entries * (bits + 5.0)


def _structured(kept: float, of: float) -> Callable[[Value, Value, Value], Value]:
    """Values of which `kept` of `of` stand, with the place of each (2:4 of NVIDIA's Ampere: 2 bits a value)."""

    def stored(bits: Value, density: Value, _: Value) -> Value:
        if np.any(density > kept / of + 1e-12):
            raise BadValueError(
                f"{kept:g}:{of:g} storage holds a density of at most {kept / of:g}; prune, or 'bitmap'."
            )
        return kept / of * (bits + np.log2(of)) + 0.0 * density

    return stored


STORAGE: dict[str, Callable[[Value, Value, Value], Value]] = {
    "dense": lambda bits, density, _: bits + 0.0 * density, "bitmap": _bitmap, "csr": _compressed_rows,
    "run_length": _run_length, "2:4": _structured(2, 4), "1:4": _structured(1, 4), "4:8": _structured(4, 8),
}  # fmt: skip
"""Bits an element takes on average: (bits of a value, share that is not zero, elements a row)."""


def stored_bits(storage: str, bits: Value, density: Value, row: Value = 256.0) -> Value:
    """Return the bits an element takes on average where it is stored.

    Raises:
        UnknownNameError: no such storage.
        BadValueError: a density outside [0, 1], or one that a structured storage cannot hold.
    """
    if storage not in STORAGE:
        raise UnknownNameError("storage of sparse operands", storage, STORAGE)
    shares = np.asarray(density, dtype=float)
    within = (shares >= 0) & (shares <= 1)
    if not within.all():
        raise BadValueError(f"A density lies between 0 and 1, not at {shares[~within].flat[0]:g}.")
    return STORAGE[storage](bits, density, row)


def compressed(layers: Layers, *, weights: str = "dense", inputs: str = "dense") -> Layers:
    """Return the layers with operands stored so; what is smaller uncompressed is left so."""
    weight_bits = stored_bits(weights, layers.weight_bits, layers.weight_density, layers.depth)
    input_bits = stored_bits(inputs, layers.input_bits, layers.input_density, np.maximum(layers.c, 1.0))
    return replace(
        layers, weight_bits=np.minimum(weight_bits, layers.weight_bits),
        input_bits=np.minimum(input_bits, layers.input_bits),
    )  # fmt: skip


def fullest_lane(steps: Value, density: Value, lanes: Value) -> Value:
    """Return the steps of the fullest of `lanes` lanes that each have `steps` operands, a share of them not zero."""
    mean = steps * density
    variance = np.maximum(mean * (1.0 - density), 0.0)
    z = _blom(lanes)
    spread = z * np.sqrt(variance)
    skew = (z**2 - 1.0) * (1.0 - 2.0 * density) / 6.0
    skew = np.minimum(np.maximum(skew, -spread / 3.0), spread / 3.0)  # the series is for many operands
    return np.minimum(mean + spread + skew, steps)


def _blom(lanes: Value) -> Array:
    """Return the mean of the largest of so many standard normal deviates."""
    from statistics import NormalDist  # with fractions and decimals: every prediction would load them

    counts, place = np.unique(np.maximum(np.asarray(lanes, dtype=float), 1.0), return_inverse=True)
    normal = NormalDist()
    scores = np.array([normal.inv_cdf((count - 0.375) / (count + 0.25)) for count in counts])
    return np.asarray(scores[place].reshape(np.shape(lanes)))


def skipped_share(steps: Value, density: Value, lanes: Value) -> Value:
    """Return which share of the zeros really saves cycles: `skips_weights` or `skips_inputs` of a `Machine`.

    Lanes wait for each other every `steps` operands (the depth of the queue that each has).
    """
    zeros = np.maximum(1.0 - np.asarray(density, dtype=float), 1e-12)
    return np.clip((1.0 - fullest_lane(steps, density, lanes) / np.maximum(steps, 1e-12)) / zeros, 0.0, 1.0)


def gated_share(layers: Layers, machine: Machine) -> Value:
    """Return the share of the executed multiply-accumulates that has a zero operand: cycles, but no arithmetic."""
    useful = layers.weight_density * layers.input_density
    return np.clip(1.0 - useful / np.maximum(executed_share(layers, machine), 1e-300), 0.0, 1.0)


def _serial(weight_bits: Value, _: Value, __: Value) -> Value:
    return np.ceil(weight_bits)


def _composed(weight_bits: Value, input_bits: Value, unit_bits: Value) -> Value:
    return np.ceil(weight_bits / 2.0) * np.ceil(input_bits / 2.0) / (unit_bits / 2.0) ** 2


def _whole(weight_bits: Value, input_bits: Value, unit_bits: Value) -> Value:
    return np.ceil(weight_bits / unit_bits) * np.ceil(input_bits / unit_bits)


MULTIPLIERS: dict[str, Callable[[Value, Value, Value], Value]] = {
    "whole": _whole, "composed": _composed, "serial": _serial,
}  # fmt: skip
"""Steps of one product (weight bits, input bits, bits of the unit): `whole` multipliers split what is wider and gain
nothing from what is narrower; `composed` ones are built of 2-bit bricks (Bit Fusion, Sharma et al., ISCA 2018);
`serial` ones take one bit of the weight a cycle (UNPU, Lee et al., ISSCC 2018; Stripes does so with inputs)."""


def steps_a_product(kind: str, weight_bits: Value, input_bits: Value, unit_bits: Value = 8.0) -> Value:
    """Return how many steps of one processing element a product takes; below 1 it does several at once.

    Raises:
        UnknownNameError: no such kind of multiplier.
        BadValueError: a width that is not above 0.
    """
    if kind not in MULTIPLIERS:
        raise UnknownNameError("kind of multiplier", kind, MULTIPLIERS)
    if not all(np.all(np.asarray(width) > 0) for width in (weight_bits, input_bits, unit_bits)):
        raise BadValueError("Operands and multipliers must be wider than 0 bits.")
    return MULTIPLIERS[kind](weight_bits, input_bits, unit_bits)


def at_precision(machine: Machine, steps: Value) -> Machine:
    """Return the machine in cycles of `steps` clocks each: the peak of a format that takes so many steps.

    Rates of memories a cycle grow by as much and waits shrink, so that seconds (`clock_hz`) come out right.
    """

    def scaled(value: Any) -> Any:
        return value * steps

    return replace(
        machine, clock_hz=machine.clock_hz / steps, dram_bytes_per_cycle=scaled(machine.dram_bytes_per_cycle),
        buffer_bytes_per_cycle=Operands(*map(scaled, machine.buffer_bytes_per_cycle)),
        shared_bytes_per_cycle=scaled(machine.shared_bytes_per_cycle),
        dram_latency_cycles=machine.dram_latency_cycles / steps, issue_cycles=machine.issue_cycles / steps,
    )  # fmt: skip
