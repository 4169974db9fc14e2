"""What the catalogue lists: devices and workloads, a row each, filtered, and one entry whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, get_args

from foundation.errors import BadValueError, UnknownNameError
from hardware_specs import DeviceSpec, device_ids, load_device
from hardware_specs.catalogue import plain_name
from hardware_specs.schema import DeviceKind
from workloads.catalogue import DOMAINS, architecture_facts, examples, workload_names

if TYPE_CHECKING:
    from hardware_specs.pipeline_schema import PipelineSpec

TECHNIQUE = "technique"
PIPELINE = "pipeline"
WORDS = ("moe", "mla", "window", "mamba", "mamba2", "deltanet", "linear", "fp8", "nvfp4")
"""Examples of what `workloads --has` finds, for who asked for something else."""


def device_rows(*, kind: str = "", vendor: str = "", has: str = "") -> list[dict[str, Any]]:
    """Return id, kind, vendor, memory, bandwidth, best peak, formats, power limit and price of the devices asked for.

    Args:
        kind: gpu, cpu, npu, mcu, fpga or accelerator. vendor: its name, in any case.
        has: a number format that the device computes in, e.g. int4.

    Raises:
        UnknownNameError: a filter that no device could pass; the nearest are named.
    """
    _check("kind", kind, (*get_args(DeviceKind), PIPELINE))
    specs = [load_device(name) for name in device_ids()]
    _check("vendor", vendor.lower(), {spec.vendor.lower() for spec in specs})
    formats = {spec.id: _formats(spec) for spec in specs}
    _check("number format", has, {name for names in formats.values() for name in names})
    return [
        _device_row(spec, formats[spec.id])
        for spec in specs
        if kind in ("", spec.kind) and vendor.lower() in ("", spec.vendor.lower())
        if not has or has in formats[spec.id]
    ]  # fmt: skip


def device(name: str) -> DeviceSpec | PipelineSpec:
    """Return one device by id, alias or YAML file, or a pipeline by id. Raises UnknownNameError, BadFileError."""
    from hardware_specs.pipelines import load_pipeline, pipeline_ids

    return load_pipeline(name) if plain_name(name) in pipeline_ids() else load_device(name)


def pipeline_rows() -> list[dict[str, Any]]:
    """Return id, name, numbers of detectors and stages, rate in and switches of the pipelines of the catalogue."""
    from hardware_specs.pipelines import load_pipeline, pipeline_ids

    specs = [load_pipeline(name) for name in pipeline_ids()]
    return [
        {
            "id": spec.id, "name": spec.name, "detectors": len(spec.detectors), "stages": len(spec.stages),
            "rate_in_hz": max(spec.rate_of(detector) for detector in spec.detectors),
            "improvements": list(spec.improvements),
        }
        for spec in specs
    ]  # fmt: skip


def workload_rows(*, kind: str = "", has: str = "") -> list[dict[str, Any]]:
    """Return name, family, domain, published parameters and source of the built-in networks asked for, not built.

    Args:
        kind: a domain (language, vision, ...), a family (decoder, resnet, ...), or `technique`: the files of
            workloads and techniques that come along (docs/techniques.md), which are not in the list otherwise.
        has: a word that a knob is set to, e.g. moe, mla, mamba, fp8_block.

    Raises:
        UnknownNameError: a filter that no network could pass; the nearest are named.
    """
    if kind == TECHNIQUE:
        return [_technique_row(name, text) for name, text in examples().items()]
    facts = {name: architecture_facts(name) for name in workload_names()}
    _check(
        "kind",
        kind,
        {*DOMAINS, TECHNIQUE, *(entry["family"] for entry in facts.values())},
        f"Domains: {', '.join(DOMAINS)}.",
    )
    _check("word", has, {word for entry in facts.values() for word in _words(entry)}, f"Try {', '.join(WORDS)}.")
    return [
        {
            "name": name, "family": entry["family"], "domain": entry["domain"],
            "parameters": entry.get("published_parameters"), "source": entry.get("source", ""),
        }
        for name, entry in facts.items()
        if kind in ("", entry["domain"], entry["family"]) and (not has or has in _words(entry))
    ]  # fmt: skip


def workload(name: str) -> dict[str, Any]:
    """Return parameters, active parameters, MACs of one pass and the knobs. Raises UnknownNameError, BadFileError."""
    from archcast.question import find_model  # not for the lists, which need no numpy

    return find_model(name).summary()


def _technique_row(name: str, text: str) -> dict[str, Any]:
    first = text.splitlines()[0]
    about = first.removeprefix("#").strip() if first.startswith("#") else ""
    return {"name": name, "family": "file", "domain": TECHNIQUE, "parameters": None, "source": about}


def no_filters(name: str, **filters: str | None) -> None:
    """Refuse filters beside a name. Raises BadValueError."""
    given = [f"--{key}" for key, value in filters.items() if value]
    if given:
        raise BadValueError(f"{given[0]} filters the list; leave it out to show '{name}', or leave out the name.")


def _device_row(spec: DeviceSpec, formats: Iterable[str]) -> dict[str, Any]:
    peaks = {fmt: figure.value for fmt, figure in spec.unit("matrix").peak_flop_per_s.items()}
    best = max(peaks, key=lambda fmt: peaks[fmt])
    return {
        "id": spec.id, "name": spec.name, "kind": spec.kind, "vendor": spec.vendor,
        "memory_bytes": spec.dram.capacity_bytes.value,
        "bandwidth_bytes_per_s": spec.dram.bandwidth_bytes_per_s.value,
        "peak_flop_per_s": peaks[best], "peak_format": best, "formats": list(formats),
        "limit_w": spec.power.limit_w.value,
        "price_usd_per_hour": spec.price.usd_per_hour.value if spec.price else None,
    }  # fmt: skip


def _formats(spec: DeviceSpec) -> list[str]:
    """Return the formats that a device has a rate for, fastest first."""
    best: dict[str, float] = {}
    for unit in spec.units:
        for fmt, figure in unit.peak_flop_per_s.items():
            best[fmt] = max(figure.value, best.get(fmt, 0.0))
    return sorted(best, key=lambda fmt: -best[fmt])


def _words(entry: Mapping[str, Any]) -> set[str]:
    """Return the names that knobs are set to."""
    found: set[str] = set()
    for value in (entry.get("knobs") or {}).values():
        for word in value if isinstance(value, list) else [value]:
            if isinstance(word, str):
                found |= {part.split("*")[0].strip() for part in word.split(",")}
    return found


def _check(what: str, asked: str, known: Iterable[str], hint: str = "") -> None:
    names = sorted(set(known))
    if asked and asked not in names:
        raise UnknownNameError(what, asked, names, f"There are {', '.join(names)}." if len(names) <= 20 else hint)
