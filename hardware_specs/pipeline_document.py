"""Write `docs/experiments.md`, the page of all pipelines: `python -m hardware_specs.pipeline_document`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import fill
from typing import Any

from foundation.files import write_text_whole
from hardware_specs.catalogue import compiled_entries
from hardware_specs.document import scaled, table
from hardware_specs.figures import Figure, Spec
from hardware_specs.pipeline_parts import Polynomial
from hardware_specs.pipeline_schema import PipelineSpec
from hardware_specs.pipelines import load_pipeline, pipeline_ids

PAGE = Path(__file__).parents[1] / "docs" / "experiments.md"

_INTRO = """# Experiments of the catalogue

<!-- written by `python -m hardware_specs.pipeline_document`; a test compares the two -->

{count} data-acquisition pipelines. `archcast simulate NAME` answers for one; `--set improved_by=[gpu]` turns one of its
improvements on and `--set stages.HLT.servers=300` changes one figure, by the paths of the tables below (items of lists
go by name, `*` means all of them). A file of `kind: pipeline` describes another one; there a figure may stand without a
source, as `1.44 MB`.

Every figure has a source, or it is an estimate with a range; what the text calls "from memory" is an estimate. Servers,
places and buffers are those of one of a stage's `parts`.

The published table of the CMS model (SystemFlow) divides the power of every row by its technology factor of 2032, and
so do the CMS files; `--set improved_by=[sheet_year]` uses the year that the sheet of a case names.
"""
_FAMILY = 3  # so many equal figures of one list or more stand in one row
_PER_BYTE = "coefficients of 1, x, x^2, .. (x: bytes of an event)"

Row = tuple[str, str, str, str]


def page() -> str:
    """Return the text of the page for the compiled catalogue."""
    return "\n".join(
        [_INTRO.format(count=len(pipeline_ids())), *(_experiment(load_pipeline(i)) for i in pipeline_ids())]
    )


def _experiment(spec: PipelineSpec) -> str:
    figures = list(_figures(spec, "", ""))
    estimated = sum(origin == "estimated" for *_, origin in figures)
    chain = " -> ".join(stage.name for stage in spec.in_order())
    windows = [f"- **{w.name}**: {w.notes}" for w in spec.events]
    improvements = [
        f"- **{name}**: {', '.join(f'`{path}` = {_change(value)}' for path, value in changes.items())}"
        for name, changes in spec.improvements.items()
    ]
    sources = [f"- `{key}`: {text}" for key, text in sorted(_written_sources(spec).items())]
    parts = [
        f"## {spec.name}\n",
        fill(f"`{spec.id}`. {spec.notes}", 118, break_on_hyphens=False, break_long_words=False) + "\n",
        f"Chain: {chain}. {len(figures)} figures, {estimated} of them estimated.\n",
        table(("figure", "value", "range", "origin"), _rows(figures)),
    ]
    for title, lines in (("Windows of events", windows), ("Improvements", improvements), ("Sources", sources)):
        if lines:
            parts += [f"{title}:\n", *lines, ""]
    return "\n".join(parts)


def _written_sources(spec: PipelineSpec) -> dict[str, str]:
    sources: dict[str, str] = compiled_entries("pipelines")[spec.id]["sources"]
    return sources


def _rows(figures: list[Row]) -> list[Row]:
    """Return the rows; equal figures of many items of one list share a row."""
    families: dict[Row, int] = {}
    for row in figures:
        families[_family(row)] = families.get(_family(row), 0) + 1
    shown: dict[Row, None] = {}
    for row in figures:
        family = _family(row)
        path, *rest = family if families[family] >= _FAMILY else row
        shown[(f"`{path}`", rest[0], rest[1], rest[2])] = None
    return list(shown)


def _family(row: Row) -> Row:
    return (re.sub(r"^(detectors|stages)\.[^.]*", r"\1.*", row[0]), *row[1:])


def _figures(spec: Spec, at: str, unit: str) -> Iterator[Row]:
    """Yield a row for each figure below a description."""
    for name in type(spec).model_fields:
        if name == "improvements" or (name == "technology" and isinstance(spec, PipelineSpec) and spec.year is None):
            continue
        quantity = type(spec).quantities.get(name)
        path = at if name == "counts" else f"{at}.{name}".lstrip(".")
        yield from _values(getattr(spec, name), path, "" if quantity is None else quantity.unit)


def _values(value: Any, at: str, unit: str) -> Iterator[Row]:
    if isinstance(value, Figure):
        ends = "" if value.lo == value.hi else f"{_number(value.lo, unit)} to {_number(value.hi, unit)}"
        yield at, _number(value.value, unit), ends, "estimated" if value.estimated else value.source
    elif isinstance(value, Polynomial):
        numbers = ", ".join(f"{figure.value:g}" for figure in value.coefficients)
        first = value.coefficients[0]
        yield at, f"[{numbers}]", _PER_BYTE, "estimated" if first.estimated else first.source
    elif isinstance(value, Spec):
        yield from _figures(value, at, unit)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _values(item, f"{at}.{key}", unit)
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _values(item, f"{at}.{getattr(item, 'name', index)}", unit)


def _number(value: float, unit: str) -> str:
    if value == 0 or not unit:
        return f"{value:.8g} {unit}".rstrip()
    if unit == "s" and value >= 1:
        return f"{value:.6g} s"
    return scaled(value, unit, 6)


def _change(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_change, value))}]"
    if isinstance(value, dict) and value and "value" not in value:
        return f"{{{', '.join(f'{key}: {_change(item)}' for key, item in value.items())}}}"
    if not isinstance(value, dict) or "value" not in value:
        return str(value)
    origin = "estimated" if value.get("estimated") else value.get("source", "")
    return f"{value['value']:g} ({origin})"


def main() -> None:
    """Write the page."""
    write_text_whole(PAGE, page())


if __name__ == "__main__":
    main()
