"""Write `docs/devices.md`, the page of the whole catalogue: `python -m hardware_specs.document` (after a compile)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from foundation.files import write_text_whole
from hardware_specs.catalogue import (
    cluster_ids,
    device_ids,
    link_ids,
    load_cluster,
    load_device,
    load_link,
    load_node,
    measured_devices,
    node_ids,
    table_names,
)
from hardware_specs.figures import Figure, Place, Sourced
from hardware_specs.schema import DeviceKind, DeviceSpec, MathFormat

PAGE = Path(__file__).parents[1] / "docs" / "devices.md"

KINDS: dict[DeviceKind, str] = {
    "gpu": "GPUs",
    "accelerator": "Server accelerators that are no GPU",
    "npu": "NPUs: inference engines of phones, boards and cameras",
    "cpu": "CPUs",
    "mcu": "Microcontrollers",
    "fpga": "FPGAs",
}

_INTRO = """# Devices of the catalogue

<!-- written by `python -m hardware_specs.document`; a test compares the two -->

{devices} devices, {links} links, {nodes} nodes, {clusters} clusters. `archcast devices NAME` shows one with every
figure, its range and its source; [hardware.md](hardware.md) says what the figures mean and how to add a device.

Rates are dense peaks of the whole device, on its matrix unit; where a device has both formats of a column, the faster
one stands here, and `-` means that it has neither. Memory is the outermost level with the reserved part in it
(1 GiB = 2^30 bytes; bandwidth is decimal). Power is the limit. The last column is the share of a device's figures that
no document states: they are estimates with a range, and the range flows into the interval of a prediction.
"""

_SCALES = (
    (1e15, "P"),
    (1e12, "T"),
    (1e9, "G"),
    (1e6, "M"),
    (1e3, "k"),
    (1.0, ""),
    (1e-3, "m"),
    (1e-6, "u"),
    (1e-9, "n"),
    (1e-12, "p"),
)
_BINARY = ((2.0**40, "Ti"), (2.0**30, "Gi"), (2.0**20, "Mi"), (2.0**10, "Ki"), (1.0, ""))

_FIELDS = {
    "peak_flop_per_s": "peak rate",
    "energy_per_flop_j": "energy of an operation",
    "bandwidth_bytes_per_s": "bandwidth",
    "energy_per_byte_j": "energy of a byte",
    "capacity_bytes": "capacity",
    "reserved_bytes": "reserved part",
    "transfer_rate_hz": "transfer rate of a pin",
    "clock_hz": "clock",
    "active_w": "power of a busy core",
    "private_bytes": "memory of a core",
    "efficiency": "efficiency",
    "idle_w": "idle power",
    "limit_w": "power limit",
    "battery_j": "energy of the battery",
    "rest_w": "power of the box around it",
    "resistance_k_per_w": "thermal resistance",
    "capacitance_j_per_k": "heat capacity",
    "throttle_k": "temperature of throttling",
    "ambient_k": "temperature of the air",
    "usd_per_hour": "price",
    "launch_overhead_s": "overhead of an operator",
    "process_node_nm": "process node",
    "dram_latency_s": "latency of memory",
    "issue_s": "start of a tile",
    "node_nm": "node of the array",
    "latency_s": "latency",
    "intra_bandwidth_bytes_per_s": "bandwidth inside a node",
    "host_power_w": "power of the rest of the box",
    "oversubscription": "oversubscription",
}


def page() -> str:
    """Return the text of the page for the compiled catalogue."""
    devices = [load_device(name) for name in device_ids()]
    counts = {
        "devices": len(devices),
        "links": len(link_ids()),
        "nodes": len(node_ids()),
        "clusters": len(cluster_ids()),
    }
    parts = [_INTRO.format(**counts)]
    parts += [_devices(kind, [d for d in devices if d.kind == kind]) for kind in KINDS]
    parts += [_links(), _nodes(), _clusters(), _tables(), _estimates(devices)]
    return "\n".join(parts)


def scaled(value: float, unit: str, digits: int = 3) -> str:
    """Return a number in SI units as people read it: (3.35e12, 'B/s') -> '3.35 TB/s'."""
    return _in_steps(value, unit, digits, _SCALES)


def binary(value: float) -> str:
    """Return bytes in powers of 1024: 85899345920 -> '80 GiB'."""
    return _in_steps(value, "B", 3, _BINARY)


def _in_steps(value: float, unit: str, digits: int, steps: Sequence[tuple[float, str]]) -> str:
    # the step is chosen for the rounded number, so that 999.6 MB is 1 GB and not 1000 MB
    size, prefix = next(((s, p) for s, p in steps if float(f"{value / s:.{digits}g}") >= 1), steps[-1])
    number = f"{value / size:.{digits}g}" if value / size < 10**digits else f"{value / size:.0f}"
    return f"{number} {prefix}{unit}".rstrip()


def _devices(kind: DeviceKind, devices: list[DeviceSpec]) -> str:
    rows = [_device_row(d) for d in sorted(devices, key=lambda d: (d.vendor.lower(), d.released, d.id))]
    head = (
        "id",
        "name",
        "vendor",
        "year",
        "memory",
        "bandwidth",
        "fp32",
        "bf16, fp16",
        "fp8, int8",
        "power",
        "estimated",
    )
    return f"## {KINDS[kind]} ({len(rows)})\n\n{table(head, rows, right=range(4, 11))}"


def _device_row(device: DeviceSpec) -> tuple[str, ...]:
    figures = [figure for _, figure in device.figures()]
    return (
        f"`{device.id}`",
        device.name,
        device.vendor,
        device.released[:4],
        binary(device.dram.capacity_bytes.value),
        scaled(device.dram.bandwidth_bytes_per_s.value, "B/s"),
        _best_peak(device, ("fp32",)),
        _best_peak(device, ("bf16", "fp16")),
        _best_peak(device, ("fp8", "int8")),
        scaled(device.power.limit_w.value, "W"),
        f"{_share(figures):.0%}",
    )


def _best_peak(device: DeviceSpec, formats: tuple[MathFormat, ...]) -> str:
    peaks = device.unit("matrix").peak_flop_per_s
    found = [(peaks[name].value, name) for name in formats if name in peaks]
    if not found:
        return "-"
    best, name = max(found, key=lambda item: item[0])
    return scaled(best, "OP/s" if name.startswith("int") else "FLOP/s")


def _links() -> str:
    rows = []
    for link in sorted((load_link(name) for name in link_ids()), key=lambda link: link.id):
        bandwidth = link.bandwidth_bytes_per_s.value
        rows.append(
            (
                f"`{link.id}`",
                link.name,
                scaled(bandwidth, "B/s"),
                scaled(bandwidth * 8, "b/s"),
                scaled(link.latency_s.value, "s"),
                scaled(link.energy_per_byte_j.value / 8, "J/bit"),
                f"{link.efficiency.value:.0%}",
            )
        )
    head = ("id", "name", "one port, one way", "in bits", "latency", "energy", "efficiency")
    return f"## Links ({len(rows)})\n\n{table(head, rows, right=range(2, 7))}"


def _nodes() -> str:
    rows = []
    for node in (load_node(name) for name in node_ids()):
        each = scaled(node.intra_bandwidth_bytes_per_s.value, "B/s")
        host = scaled(node.host_power_w.value, "W")
        devices = f"{node.count} x `{node.device}`"
        rows.append((f"`{node.id}`", node.name, devices, node.topology, f"`{node.intra_link}`", each, host))
    head = ("id", "name", "devices", "topology", "link", "a device, one way", "host power")
    intro = "Devices in one box. Host power is everything in the box but the devices.\n"
    return f"## Nodes ({len(rows)})\n\n{intro}\n{table(head, rows, right=(5, 6))}"


def _clusters() -> str:
    rows = []
    for cluster in (load_cluster(name) for name in cluster_ids()):
        devices = cluster.count * load_node(cluster.node).count
        ports = f"{cluster.links_per_node} x `{cluster.inter_link}`"
        over = f"{cluster.oversubscription.value:g}:1"
        nodes = f"{cluster.count} x `{cluster.node}`"
        rows.append((f"`{cluster.id}`", cluster.name, nodes, str(devices), cluster.topology, ports, over))
    head = ("id", "name", "nodes", "devices", "topology", "ports of a node", "oversubscription")
    return f"## Clusters ({len(rows)})\n\n{table(head, rows, right=(3, 6))}"


def _tables() -> str:
    lines = []
    for table in table_names():
        ids = sorted(set(measured_devices(table).values()))
        lines.append(f"- **{table}**: {', '.join(f'`{name}`' for name in ids) or 'no device is named'}")
    intro = (
        "Measured data has its own names for devices; `hardware_specs.device_of(set, name)` gives the catalogue's id."
    )
    return "\n".join([f"## Devices of the measured data ({len(lines)} sets)", "", intro, "", *lines, ""])


def _estimates(devices: list[DeviceSpec]) -> str:
    others: list[Sourced] = [load_link(name) for name in link_ids()]
    others += [load_node(name) for name in node_ids()] + [load_cluster(name) for name in cluster_ids()]
    total: Counter[str] = Counter()
    estimated: Counter[str] = Counter()
    for spec in [*devices, *others]:
        for place, figure in spec.figures():
            total[_field(spec, place)] += 1
            estimated[_field(spec, place)] += figure.estimated
    order = sorted((field for field in estimated if estimated[field]), key=lambda field: (-estimated[field], field))
    rows = [(f, str(total[f]), str(estimated[f]), f"{estimated[f] / total[f]:.0%}") for f in order]
    rows.append(("all", str(total.total()), str(estimated.total()), f"{estimated.total() / total.total():.0%}"))
    intro = (
        "How many figures of each field no document states. [hardware.md](hardware.md#estimates) says how they were"
        " chosen.\n"
    )
    head = ("field", "figures", "estimated", "share")
    return f"## Figures that are estimates\n\n{intro}\n{table(head, rows, right=(1, 2, 3))}"


def _field(spec: Sourced, place: Place) -> str:
    """Name the field of a figure in words, e.g. 'matrix unit: peak rate'."""
    words = _FIELDS[next(part for part in place if part in _FIELDS)]
    if isinstance(spec, DeviceSpec) and place[0] == "units":
        return f"{spec.units[int(place[1])].name} unit: {words}"
    if isinstance(spec, DeviceSpec) and place[0] == "memory":
        return f"{'inner' if place[1] else 'outermost'} memory: {words}"
    if isinstance(spec, DeviceSpec) and place[0] == "spatial":
        return f"spatial array: {words}"
    if isinstance(spec, DeviceSpec) and place[0] == "cores":
        return f"core: {words}"
    owner = "device" if isinstance(spec, DeviceSpec) else type(spec).__name__.removesuffix("Spec").lower()
    return f"{owner}: {words}"


def _share(figures: list[Figure]) -> float:
    return sum(figure.estimated for figure in figures) / len(figures)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> str:
    """Return a markdown table whose columns are aligned in the text too; `right` are set flush right."""
    lines = [tuple(head), *(tuple(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    flush = set(right)
    rule = [("-" * (w - 1) + ":") if i in flush else "-" * w for i, w in enumerate(widths)]

    def text(cells: Sequence[str]) -> str:
        padded = [c.rjust(w) if i in flush else c.ljust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
        return f"| {' | '.join(padded)} |"

    return "\n".join([text(lines[0]), text(rule), *(text(line) for line in lines[1:])]) + "\n"


def main() -> None:
    """Write the page."""
    write_text_whole(PAGE, page())


if __name__ == "__main__":
    main()
