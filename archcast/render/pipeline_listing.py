"""What `archcast devices` prints of pipelines: the list, and one with every figure and where it came from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import IO, TYPE_CHECKING, Any

from archcast.render.console import make_console, plain_table, styled
from archcast.render.human import printable, text
from archcast.render.listings import list_console

if TYPE_CHECKING:
    from hardware_specs.figures import Figure, Place
    from hardware_specs.pipeline_schema import PipelineSpec

UNITS = {
    "_bytes_per_s": "bytes_per_s", "_bytes": "traffic_bytes", "_hz": "hz", "_s": "s", "_w": "w", "_j": "j",
    "_usd": "usd",
}  # fmt: skip
"""Endings of fields, and the kind of quantity that they hold."""
OF_THE_REST = 60


def print_pipelines(rows: Iterable[Mapping[str, Any]], *, file: IO[str] | None = None) -> None:
    """Print one line a pipeline; a row is one of `archcast.listing.pipeline_rows()`."""
    console = list_console(file)
    table = plain_table(
        ("pipeline", "left"), ("name", "left"), ("detectors", "right"), ("stages", "right"), ("rate in", "right"),
        ("switches", "left"),
    )  # fmt: skip
    for row in rows:
        table.add_row(
            styled(row["id"], "bold"), printable(row["name"], OF_THE_REST), str(row["detectors"]), str(row["stages"]),
            text(row["rate_in_hz"], "hz"), styled(printable(", ".join(row["improvements"]), OF_THE_REST), "dim"),
        )  # fmt: skip
    console.print(table)


def print_pipeline(spec: PipelineSpec, *, file: IO[str] | None = None) -> None:
    """Print every figure of a pipeline with its range and its source."""
    console = make_console(file)
    console.print(styled(f"{spec.id}: {printable(spec.name, 200)}", "bold"))
    if spec.notes:
        console.print(styled(printable(spec.notes, 2_000), "dim"))
    console.print(f"chain: {printable(' -> '.join(stage.name for stage in spec.in_order()), 500)}")
    if spec.improvements:
        console.print(f"switches (--set improved_by=[..]): {printable(', '.join(spec.improvements), 300)}")
    table = plain_table(("figure", "left"), ("value", "right"), ("range", "left"), ("source", "left"))
    for place, figure in spec.figures():
        table.add_row(
            _place(spec, place), _shown(place, figure.value), _range(place, figure), styled(_source(figure), "dim")
        )
    console.print(table)
    used = {figure.source for _, figure in spec.figures()}
    for name, words in spec.sources.items():
        if name in used:
            console.print(styled(f"{name}: {printable(words, 500)}", "dim"))
    console.print(styled(f"Run it: archcast simulate {spec.id}", "dim"))


def _place(spec: PipelineSpec, place: Place) -> str:
    """Return where a figure stands, with the names of items in place of their numbers."""
    at: Any = spec
    words: list[str] = []
    for part in place:
        at = at[part] if isinstance(part, int) or isinstance(at, dict) else getattr(at, str(part))
        if isinstance(part, int) and hasattr(at, "name"):
            words[-1] = str(at.name)
        elif part != "counts":
            words.append(str(part))
    return printable(" ".join(words), OF_THE_REST)


def _shown(place: Place, value: float) -> str:
    name = str(place[-1])
    kind = next((kind for ending, kind in UNITS.items() if name.endswith(ending)), "")
    return text(value, kind) if kind and "per_bit" not in name and "per_operation" not in name else f"{value:,.6g}"


def _range(place: Place, figure: Figure) -> str:
    if figure.lo == figure.hi:
        return ""
    return f"{_shown(place, figure.lo)} .. {_shown(place, figure.hi)}"


def _source(figure: Figure) -> str:
    return "estimated" if figure.estimated else figure.source
