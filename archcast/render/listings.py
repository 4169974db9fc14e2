"""What `archcast devices` and `archcast workloads` print: the catalogue as tables, one entry in full."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import IO, TYPE_CHECKING, Any

from archcast.render.console import make_console, name_and_value, plain_table, styled
from archcast.render.figures import figure_rows
from archcast.render.human import printable, text

if TYPE_CHECKING:
    from rich.console import Console

    from hardware_specs import DeviceSpec

SOURCE_WIDTH = 32

PIPED_WIDTH = 140
"""Columns of a list that no terminal shows."""


def list_console(file: IO[str] | None) -> Console:
    """Return a console for a list: a line an entry where a program reads it, so that `grep` finds whole names."""
    console = make_console(file)
    if not console.is_terminal and not os.environ.get("COLUMNS"):
        console.width = PIPED_WIDTH
    return console


def print_devices(rows: Iterable[Mapping[str, Any]], *, file: IO[str] | None = None) -> None:
    """Print one line a device; a row is one of `archcast.listing.device_rows()`."""
    console = list_console(file)
    table = plain_table(
        ("device", "left"), ("kind", "left"), ("memory", "right"), ("bandwidth", "right"), ("peak", "right"),
        ("power", "right"), ("$/h", "right"),
    )  # fmt: skip
    for row in rows:
        price = row.get("price_usd_per_hour")
        table.add_row(
            styled(row["id"], "bold"), styled(row["kind"], "dim"), text(row["memory_bytes"], "bytes"),
            text(row["bandwidth_bytes_per_s"], "bytes_per_s"),
            f"{text(row['peak_flop_per_s'], 'flop_per_s')} {printable(row.get('peak_format', ''))}",
            text(row["limit_w"], "w"), "-" if price is None else f"{price:.2f}",
        )  # fmt: skip
    console.print(table)


def print_device(spec: DeviceSpec, *, file: IO[str] | None = None) -> None:
    """Print every figure of a device with its range and where it came from."""
    console = make_console(file)
    console.print(styled(f"{spec.id}: {spec.name}", "bold"))
    about = [("kind", f"{spec.kind}, {spec.vendor}, released {spec.released}")]
    if spec.aliases:
        about.append(("also called", ", ".join(spec.aliases)))
    if spec.links:
        about.append(("links", ", ".join(f"{port.count} x {port.link}" for port in spec.links)))
    if spec.price:
        about.append(("price of", spec.price.date))
    console.print(name_and_value(about))
    table = plain_table(("figure", "left"), ("value", "right"), ("range", "left"), ("source", "left"))
    for row in figure_rows(spec):
        table.add_row(styled(row.place), row.value, row.range, styled(row.key, "yellow" if row.estimated else "dim"))
    console.print(table)
    for key, title in spec.sources.items():
        console.print(styled(f"{key}: {title}", "dim"))
    if spec.notes:
        console.print(styled(spec.notes.strip(), "dim"))


def print_workloads(rows: Iterable[Mapping[str, Any]], *, file: IO[str] | None = None) -> None:
    """Print one line a workload; a row is one of `archcast.listing.workload_rows()`."""
    console = list_console(file)
    table = plain_table(("workload", "left"), ("family", "left"), ("parameters", "right"), ("source", "left"))
    for row in rows:
        table.add_row(
            styled(row["name"], "bold"), styled(row.get("family", ""), "dim"), _count(row, "parameters"),
            styled(printable(row.get("source", ""), SOURCE_WIDTH), "dim"),
        )  # fmt: skip
    console.print(table)


def print_workload(summary: Mapping[str, Any], *, file: IO[str] | None = None) -> None:
    """Print the parameters, MACs and knobs of one workload."""
    console = make_console(file)
    console.print(styled(f"{summary['name']}", "bold"))
    about: list[tuple[str, Any]] = [("family", summary.get("family", ""))]
    for key, label in (("parameters", "parameters"), ("active_parameters", "active"), ("macs", "MACs of one pass")):
        if summary.get(key):
            about.append((label, f"{_count(summary, key)} ({summary[key]:,.0f})"))
    console.print(name_and_value(about))
    knobs = summary.get("knobs") or {}
    if knobs:
        table = plain_table(("knob (--set KNOB=VALUE)", "left"), ("value", "left"))
        for name, value in knobs.items():
            joined = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
            table.add_row(styled(name), styled(joined))
        console.print(table)


def _count(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    return "-" if value is None else text(float(value), "count")
