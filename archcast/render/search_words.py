"""Names and numbers of a search as people read them: by the unit that a name ends in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from archcast.render.human import digits, text

_KINDS = (("_bytes_per_s", "bytes_per_s"), ("_j_s", ""), ("_s", "s"), ("_j", "j"), ("_w", "w"), ("_hz", "hz"))
_ENDS = ("_bytes_per_s", "_bytes", "_j_s", "_mm2", "_s", "_j", "_w", "_hz", "_nm", "_usd")


def plain(name: str) -> str:
    """Return a name without its unit: `dram_bandwidth_bytes_per_s` becomes `dram bandwidth`."""
    end = next((end for end in _ENDS if name.endswith(end)), "")
    found = name.removesuffix(end).replace("_", " ")
    return {"edp": "energy x latency"}.get(found, found)


def shown(name: str, value: Any) -> str:
    """Return a value with the unit of its name, e.g. `1.14 ms`, `64 KiB`, `28.2 mm²`."""
    if value is None:
        return "-"  # a knob that is switched off
    if isinstance(value, str):
        return value
    if name.endswith("_mm2"):
        return f"{digits(value)} mm²"
    if name.endswith("_nm"):
        return f"{value:g} nm"
    if name.endswith("_bytes"):
        return _bytes(float(value))
    if "usd" in name.split("_"):
        return f"${value:,.0f}" if abs(value) >= 1000 else f"${value:.4g}"
    if name.rsplit("_", 1)[-1] == "year":
        return f"{value:.0f}"
    kind = next((kind for end, kind in _KINDS if name.endswith(end)), None)
    if kind is None:
        return f"{value:,.0f}" if value == round(value) or abs(value) >= 1000 else f"{value:.4g}"
    return text(float(value), kind) if kind else f"{digits(value)} J s"


def _bytes(value: float) -> str:
    """Return sizes of buffers without needless digits: `64 KiB`, `1.5 MiB`."""
    for size, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if value >= size:
            return f"{value / size:.4g} {unit}"
    return f"{value:.4g} B"


def interval(name: str, found: Mapping[str, float]) -> str:
    """Return the ends of an uncertain value, e.g. `0.9 ms .. 3.3 ms`."""
    return f"{shown(name, found['lo'])} .. {shown(name, found['hi'])}"


def step_words(binds: Mapping[str, Any]) -> str:
    """Return what lowers an objective most: `dram bandwidth to 51.2 GB/s (-12 %)`, "" where nothing does."""
    if not binds:
        return ""
    cut = 100 * (1 - binds["ratio"])
    words = f"-{cut:.0f} %" if cut >= 1 else f"-{cut:.1f} %" if cut >= 0.1 else "by less than 0.1 %"
    return f"{plain(binds['knob'])} to {shown(binds['knob'], binds['to'])} ({words})"
