"""`python -m archcast.searching.document` writes docs/search_kinds.md: what files may say of each kind of space."""

from __future__ import annotations

import math
from pathlib import Path

from archcast.searching.designs import DESIGNS
from archcast.searching.knobs import KnobKind
from archcast.searching.problem import Design

PAGE = Path(__file__).resolve().parents[2] / "docs" / "search_kinds.md"
MOST_NAMES = 12
"""Names that a line lists."""
HEAD = """# Kinds of space, key by key

What a file of `kind: search` may say for each `design` ([search.md](search.md)); the same spaces are environments for
agents ([environments.md](environments.md)), where each has a space and a workload that ship. Written by
`python -m archcast.searching.document`. Numbers without a unit are counts or shares.
"""


def kinds_text() -> str:
    """Return the page."""
    return "\n".join([HEAD, *(_kind(name, design) for name, design in DESIGNS.items())])


def _kind(name: str, design: Design) -> str:
    tops = ["`workload`"] if design.workload else []
    tops += ["`batch`", "`dtype`"] if design.workload and design.request else []
    values = ", ".join(f"`{value}`" + (f" ({unit})" if unit else "") for value, unit in design.values.items())
    lines = [
        f"## `{name}`",
        "",
        f"Takes {', '.join(tops) if tops else 'no workload'}. Fidelities: "
        f"{', '.join(f'`{one}`' for one in ('closed_form', *design.fidelities))}.",
        "",
        f"Objectives and values to limit: {values}.",
        "",
        "| key | under | may be | default |",
        "|---|---|---|---|",
    ]
    for key, kind in design.knobs.items():
        usual = "required" if key in design.needed else _word(design.defaults.get(key, ""))
        lines.append(f"| `{key}` | `space` | {_range(key, kind)} | {usual} |")
    for key, kind in design.fixed.items():
        lines.append(f"| `{key}` | `fixed` | {_range(key, kind)} | {_word(design.fixed_defaults[key])} |")
    return "\n".join([*lines, ""])


def _range(key: str, kind: KnobKind) -> str:
    """Return what a knob may be, in words."""
    if kind.kind == "name":
        if len(kind.names) <= MOST_NAMES:
            return ", ".join(kind.names)
        return "a device of the catalogue" if key == "device" else "a number format, such as bf16 or fp8"
    ends = f"{kind.low:.10g} to {kind.high:.10g}" if math.isfinite(kind.high) else f"from {kind.low:.10g}"
    return f"{'whole, ' if kind.kind == 'whole' else ''}{ends}{' ' + kind.unit if kind.unit else ''}"


def _word(value: object) -> str:
    return f"{value:.10g}" if isinstance(value, (int, float)) else str(value)


if __name__ == "__main__":
    PAGE.write_text(kinds_text())
