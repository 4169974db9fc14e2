"""Text with units, as YAML files carry it ('3.35 TB/s', '25 pJ/bit'), to a number in the unit a field wants.

Prefixes of bytes are decimal (GB = 1e9 B) and binary ones are written out (GiB = 2**30 B). One MAC is 2 FLOP,
and an integer operation (OP) counts as one FLOP. `B` is a byte and `b` (or `bit`) a bit. Only the border uses
this module; it is the only one that imports pint.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from foundation.errors import BadValueError

_DEFINITIONS = (
    "femto- = 1e-15 = f-", "pico- = 1e-12 = p-", "nano- = 1e-9 = n-", "micro- = 1e-6 = u-", "milli- = 1e-3 = m-",
    "kilo- = 1e3 = k-", "mega- = 1e6 = M-", "giga- = 1e9 = G-", "tera- = 1e12 = T-", "peta- = 1e15 = P-",
    "kibi- = 1024 = Ki-", "mebi- = 1048576 = Mi-", "gibi- = 1073741824 = Gi-", "tebi- = 1099511627776 = Ti-",
    "B = [data]", "bit = B / 8 = b", "s = [time]", "h = 3600 * s", "J = [energy]", "W = J / s", "Hz = 1 / s",
    "Wh = 3600 * J", "K = [temperature]",
    "FLOP = [operation]", "OP = FLOP", "MAC = 2 * FLOP", "FLOPS = FLOP / s", "OPS = OP / s", "USD = [money]",
    "m = [length]", "transfer = [] = T",
)  # fmt: skip

_QUANTITY = re.compile(r"\s*([+-]?(?:\d[\d_,]*\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?)\s*([A-Za-z][A-Za-z/ ]{0,30})?\s*")

_DIMENSIONS = {
    "": "a number without a unit",
    "B": "an amount of data (bytes)",
    "B/s": "a data rate (bytes per second)",
    "s": "a time (seconds)",
    "Hz": "a frequency (hertz)",
    "W": "a power (watts)",
    "J": "an energy (joules)",
    "FLOP": "a number of operations (FLOP)",
    "FLOP/s": "an operation rate (FLOP per second)",
    "J/FLOP": "an energy per operation (joules per FLOP)",
    "J/B": "an energy per byte (joules per byte)",
    "J/bit": "an energy per bit (joules per bit)",
    "J/OP": "an energy per operation (joules per operation)",
    "USD": "an amount of money (USD)",
    "USD/h": "a price per hour (USD per hour)",
    "nm": "a length (nanometres)",
    "K": "a temperature (kelvin)",
    "K/W": "a thermal resistance (kelvin per watt)",
    "J/K": "a heat capacity (joules per kelvin)",
}
"""Units that fields want or that people write by mistake, and what they measure."""


@dataclass(frozen=True)
class Quantity:
    """What a field holds: its unit ('' = dimensionless), its possible range in that unit, and whether bits may name it.

    A data sheet gives links in bits and memories in bytes; `bits` says that this field is of the first kind.
    """

    unit: str
    low: float
    high: float
    bits: bool = False

    @property
    def meaning(self) -> str:
        """What is expected, in words, with an example of its unit."""
        return _DIMENSIONS[self.unit]


@cache
def _registry() -> Any:
    import pint

    registry: Any = pint.UnitRegistry(None, case_sensitive=True)
    for line in _DEFINITIONS:
        registry.define(line)
    return registry


def parse_quantity(text: object, wanted: Quantity) -> float:
    """Return `text` as a number in `wanted.unit`.

    Raises:
        BadValueError: no number, no unit where one is needed, an unknown unit, or one of another dimension.
    """
    if isinstance(text, bool) or not isinstance(text, (int, float, str)):
        raise BadValueError(f"{text!r} is not a quantity; expected {wanted.meaning}.")
    match = _QUANTITY.fullmatch(str(text))
    if match is None:
        raise BadValueError(f"'{text}' is not a number with a unit; expected {wanted.meaning}.")
    number = float(match[1].replace(",", "").replace("_", ""))
    unit = (match[2] or "").replace(" ", "")
    if not unit and not wanted.unit:
        return number
    if not unit:
        raise BadValueError(f"'{text}' has no unit; expected {wanted.meaning}, such as '{match[1]} {wanted.unit}'.")
    return number * _factor(str(text).strip(), unit, wanted)


def _factor(text: str, unit: str, wanted: Quantity) -> float:
    """Return how many `wanted.unit` one `unit` is; `text` is only named in errors."""
    import pint

    registry = _registry()
    try:
        given = registry.parse_units(unit)
    except (pint.PintError, ValueError, TypeError, AttributeError):
        hint = " (KiB is binary, kB decimal)" if unit.startswith("KB") else ""
        raise BadValueError(f"'{text}' has the unknown unit '{unit}'{hint}; expected {wanted.meaning}.") from None
    target = registry.parse_units(wanted.unit)
    if given.dimensionality != target.dimensionality:
        raise BadValueError(f"'{text}' is {_describe(given)}, but {wanted.meaning} is expected.")
    if not wanted.bits and wanted.unit in ("B", "B/s") and re.search(r"(b|bit)(/|$)", unit):
        raise BadValueError(f"'{text}' counts bits, but {wanted.meaning} is expected; B is a byte and b a bit.")
    return float(registry.convert(1.0, given, target))


def _describe(given: Any) -> str:
    """Return in words what a pint unit measures."""
    registry = _registry()
    for unit, words in _DIMENSIONS.items():
        if registry.parse_units(unit).dimensionality == given.dimensionality:
            return words
    return f"in '{given}'"
