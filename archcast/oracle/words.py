"""Words and tables of the oracle's answers on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from archcast.render.human import text

UNITS = {"latency_s": "s", "ttft_s": "s", "tpot_s": "s", "energy_j": "J", "memory_bytes": "B", "cost_usd": "USD"}
_STEPS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "u"), (1e-9, "n"))


def number_text(value: float, unit: str = "") -> str:
    """Return a number in three digits with a prefix: '12.3 ms', memory in '1.50 GiB'; '-' where there is none."""
    if not np.isfinite(value):
        return "-"
    if unit == "USD":
        return f"${value:.3g}"
    if unit == "B":
        return text(value, "bytes")
    if not unit:
        return f"{value:.4g}"
    step, prefix = next((s for s in _STEPS if abs(value) >= s[0] * 0.9995), (1.0, "") if value == 0 else _STEPS[-1])
    return f"{value / step:.3g} {prefix}{unit}"


def quantity_text(name: str, value: float, lo: float, hi: float) -> str:
    """Return '12.3 ms [11 ms, 14 ms]', '-' where there is no answer."""
    unit = UNITS.get(name, "")
    if np.isnan(value):
        return "-"
    return f"{number_text(value, unit)} [{number_text(lo, unit)}, {number_text(hi, unit)}]"


def text_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return lines in columns, the first to the left, two blanks between."""
    rows = [list(head), *(list(line) for line in lines)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)
