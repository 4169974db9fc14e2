"""What the catalogue lists: devices and workloads, a row each, and one entry whole."""

from __future__ import annotations

from typing import Any

from hardware_specs import DeviceSpec, device_ids, load_device
from workloads.catalogue import architecture_facts, workload_names


def device_rows() -> list[dict[str, Any]]:
    """Return id, kind, vendor, memory, bandwidth, best peak, power limit and price of every device."""
    rows = []
    for name in device_ids():
        spec = load_device(name)
        peaks = {fmt: figure.value for fmt, figure in spec.unit("matrix").peak_flop_per_s.items()}
        best = max(peaks, key=lambda fmt: peaks[fmt])
        rows.append(
            {
                "id": spec.id,
                "name": spec.name,
                "kind": spec.kind,
                "vendor": spec.vendor,
                "memory_bytes": spec.dram.capacity_bytes.value,
                "bandwidth_bytes_per_s": spec.dram.bandwidth_bytes_per_s.value,
                "peak_flop_per_s": peaks[best],
                "peak_format": best,
                "limit_w": spec.power.limit_w.value,
                "price_usd_per_hour": spec.price.usd_per_hour.value if spec.price else None,
            }
        )
    return rows


def device(name: str) -> DeviceSpec:
    """Return one device by id, alias or YAML file. Raises UnknownNameError, BadFileError."""
    return load_device(name)


def workload_rows() -> list[dict[str, Any]]:
    """Return name, family, published parameters and source of every built-in network, without building it."""
    rows = []
    for name in workload_names():
        facts = architecture_facts(name)
        rows.append(
            {
                "name": name,
                "family": facts["family"],
                "domain": facts["domain"],
                "parameters": facts.get("published_parameters"),
                "source": facts.get("source", ""),
            }
        )
    return rows


def workload(name: str) -> dict[str, Any]:
    """Return parameters, active parameters, MACs of one pass and the knobs. Raises UnknownNameError, BadFileError."""
    from archcast.question import find_model  # not for the lists, which need no numpy

    return find_model(name).summary()
