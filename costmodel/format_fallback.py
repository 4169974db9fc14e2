"""A format that a device cannot compute in, not even widened: what would stand in for it, and how to ask for that.

Widening (`foundation.formats.MATH_FALLBACK`) keeps the numbers and needs no leave. What is meant here changes them, so
it is done only where a user allows it.
"""

from __future__ import annotations

from math import log2

from costmodel.rates import Rates
from foundation.errors import UnsupportedError
from foundation.formats import FORMATS, NumberFormat

OPTION = "--allow-fallback"


def nearest_format(rates: Rates, dtype: str) -> str:
    """Return the format of a device whose weights, then activations, have the width nearest to those of `dtype`."""
    wanted = FORMATS[dtype]

    def distance(found: NumberFormat) -> tuple[float, float]:
        return (abs(log2(found.weight_bits / wanted.weight_bits)),
                abs(log2(found.activation_bits / wanted.activation_bits)))  # fmt: skip

    return min((FORMATS[name] for name in FORMATS if rates.supports(name)), key=distance).name


def refusal(rates: Rates, dtype: str, host: str = "") -> UnsupportedError:
    """Return the error for a format that a device lacks; it names what would stand in, and how to ask for it.

    Args:
        host: the device beside it that could compute in the format ("": none).
    """
    able = [name for name in FORMATS if rates.supports(name)]
    beside = f", --on {host} for {dtype} on the processor beside it" if host else ""
    return UnsupportedError(
        f"{rates.device} cannot compute in {dtype}, not even widened; it can in {', '.join(able)}. "
        f"It would fall back to {nearest_format(rates, dtype)}, which changes the numbers: {OPTION} asks for "
        f"that{beside}."
    )


def fallback_note(rates: Rates, dtype: str, used: str) -> str:
    """Return the note on an answer in which a format stands in for another."""
    return (
        f"{rates.device} has no arithmetic for {dtype}: the network is computed in {used}, as {OPTION} allows; what "
        "that does to its accuracy is not answered."
    )
