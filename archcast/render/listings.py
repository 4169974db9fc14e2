"""What `archcast devices` and `archcast workloads` print: the catalogue as tables, one entry in full."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import IO, TYPE_CHECKING, Any

from archcast.render.figures import figure_rows
from archcast.render.human import printable, text
from archcast.render.terminal import make_console, name_and_value, plain_table, styled

if TYPE_CHECKING:
    from hardware_specs import DeviceSpec

_PREFERRED = ("bf16", "fp16", "int8", "fp32", "fp64")


def print_devices(rows: Iterable[DeviceSpec], *, file: IO[str] | None = None) -> None:
    """Print one line a device: id, kind, memory, bandwidth, a peak rate, power limit and price."""
    console = make_console(file)
    table = plain_table(
        ("device", "left"), ("kind", "left"), ("memory", "right"), ("bandwidth", "right"), ("peak", "right"),
        ("power", "right"), ("$/h", "right"),
    )  # fmt: skip
    for spec in rows:
        peaks = {str(name): figure.value for name, figure in spec.unit("matrix").peak_flop_per_s.items()}
        best = next((name for name in _PREFERRED if name in peaks), next(iter(peaks)))
        price = f"{spec.price.usd_per_hour.value:.3g}" if spec.price else "-"
        table.add_row(
            styled(spec.id, "bold"), styled(spec.kind, "dim"), text(spec.dram.capacity_bytes.value, "bytes"),
            text(spec.dram.bandwidth_bytes_per_s.value, "bytes_per_s"),
            f"{text(peaks[best], 'flop_per_s')} {best}", text(spec.power.limit_w.value, "w"), price,
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
    """Print one line a workload; a row is what `Model.summary()` returns."""
    console = make_console(file)
    table = plain_table(
        ("workload", "left"), ("family", "left"), ("parameters", "right"), ("active", "right"), ("MACs a pass", "right")
    )
    for row in rows:
        table.add_row(
            styled(row["name"], "bold"), styled(row.get("family", ""), "dim"), _count(row, "parameters"),
            _count(row, "active_parameters"), _count(row, "macs"),
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
    return "-" if value is None else printable(text(float(value), "count"))
