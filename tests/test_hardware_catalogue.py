"""The catalogue: names that resolve, figures with an origin, and numbers that agree with each other."""

import json
import subprocess
import sys

import pytest

from foundation.errors import UnknownNameError
from hardware_specs import (
    cluster_ids,
    device_ids,
    link_ids,
    load_cluster,
    load_device,
    load_link,
    load_node,
    node_ids,
    node_of,
)
from hardware_specs.catalogue import COMPILED
from hardware_specs.compile import compile_catalogue, text_of
from hardware_specs.figures import Sourced

TWELVE = {
    "h100-sxm", "a100-sxm-80gb", "h200-sxm", "l40s", "rtx-4090", "mi300x", "jetson-agx-orin", "raspberry-pi-5",
    "xeon-6226", "gemmini-16x16", "rk3588", "gap8",
}  # fmt: skip

KNOWN_BYTES = {
    "h200-sxm": 151_397_597_184,
    "rtx-4090": 25_250_627_584,
    "h100-sxm": 80 * 2**30,
    "a100-sxm-80gb": 80 * 2**30,
    "l40s": 46_068 * 2**20,
    "mi300x": 192 * 2**30,
    "jetson-agx-orin": 64 * 2**30,
    "gap8": 8 * 2**20,
}


def everything() -> list[Sourced]:
    specs: list[Sourced] = [load_device(name) for name in device_ids()]
    specs += [load_link(name) for name in link_ids()]
    specs += [load_node(name) for name in node_ids()]
    return specs + [load_cluster(name) for name in cluster_ids()]


def test_the_compiled_catalogue_is_what_the_yaml_says() -> None:
    assert COMPILED.read_text(encoding="utf-8") == text_of(compile_catalogue()), "run python -m hardware_specs.compile"


def test_the_twelve_devices_of_four_kinds_are_there() -> None:
    assert set(device_ids()) >= TWELVE
    assert {load_device(name).kind for name in TWELVE} == {"gpu", "cpu", "npu", "mcu"}


@pytest.mark.parametrize("spec", everything(), ids=lambda spec: str(spec.id))
def test_every_figure_has_a_source_or_a_range(spec: Sourced) -> None:
    for place, figure in spec.figures():
        assert figure.source in spec.sources or (figure.estimated and figure.lo <= figure.value <= figure.hi), place
    assert spec.sources, "no source at all"
    used = {figure.source for _, figure in spec.figures()}
    assert set(spec.sources) <= used, "a source that nothing rests on"


@pytest.mark.parametrize(("name", "expected"), KNOWN_BYTES.items())
def test_device_memory_has_the_bytes_that_drivers_report(name: str, expected: int) -> None:
    assert load_device(name).dram.capacity_bytes.value == expected


def test_the_rtx_4090_has_25_25_gigabytes() -> None:
    assert load_device("rtx-4090").dram.capacity_bytes.value == pytest.approx(25.25e9, rel=1e-4)


@pytest.mark.parametrize("name", device_ids())
def test_a_device_can_be_costed(name: str) -> None:
    device = load_device(name)
    assert {unit.name for unit in device.units} == {"matrix", "vector"}
    for unit in device.units:
        assert set(unit.energy_per_flop_j) == set(unit.peak_flop_per_s)
    capacities = [level.usable_bytes for level in device.memory]
    assert capacities == sorted(capacities, reverse=True), "memory is ordered from the outermost level inwards"
    assert all(load_link(port.link) for port in device.links)
    assert device.dram.name == "dram"


@pytest.mark.parametrize("name", [n for n in device_ids() if load_device(n).dram.bus_width_bits])
def test_bandwidth_is_pins_times_rate(name: str) -> None:
    level = load_device(name).dram
    assert level.bus_width_bits is not None
    assert level.transfer_rate_hz is not None
    pins = level.bus_width_bits * level.transfer_rate_hz.value / 8
    assert level.bandwidth_bytes_per_s.value == pytest.approx(pins, rel=0.02)


@pytest.mark.parametrize(
    ("name", "unit", "fmt", "flop_per_clock_per_unit"),
    [
        ("h100-sxm", "matrix", "bf16", 4096),
        ("h200-sxm", "matrix", "fp8", 8192),
        ("a100-sxm-80gb", "matrix", "bf16", 2048),
        ("a100-sxm-80gb", "vector", "fp32", 128),
        ("l40s", "vector", "fp32", 256),
        ("rtx-4090", "vector", "fp32", 256),
        ("rtx-4090", "matrix", "bf16", 512),
        ("mi300x", "matrix", "bf16", 2048),
        ("mi300x", "vector", "fp32", 256),
        ("jetson-agx-orin", "matrix", "int8", 4096),
        ("jetson-agx-orin", "vector", "fp32", 256),
        ("raspberry-pi-5", "matrix", "fp32", 16),
        ("xeon-6226", "matrix", "fp32", 64),
        ("xeon-6226", "matrix", "int8", 256),
        ("gemmini-16x16", "matrix", "int8", 2 * 16 * 16),
        ("rk3588", "matrix", "int8", 2 * 1024),
        ("gap8", "matrix", "int8", 8),
    ],
)
def test_a_peak_is_units_times_clock_times_width(name: str, unit: str, fmt: str, flop_per_clock_per_unit: int) -> None:
    found = load_device(name).unit(unit)  # type: ignore[arg-type]
    by_hand = found.count * flop_per_clock_per_unit * found.clock_hz.value
    assert found.peak_flop_per_s[fmt].value == pytest.approx(by_hand, rel=0.01)  # type: ignore[index]


def test_aliases_and_other_spellings_resolve() -> None:
    assert load_device("a100-sxm").id == load_device("A100_SXM").id == "a100-sxm-80gb"
    for name in device_ids():
        assert all(load_device(alias).id == name for alias in load_device(name).aliases)


def test_an_unknown_name_offers_the_three_nearest() -> None:
    with pytest.raises(UnknownNameError) as caught:
        load_device("h100-smx")
    assert len(caught.value.nearest) == 3
    assert caught.value.nearest[0] == "h100-sxm"
    with pytest.raises(UnknownNameError, match=r"Unknown node 'hgx-h100'\. Nearest: hgx-h100-8"):
        load_node("hgx-h100")


def test_a_device_knows_its_node() -> None:
    node = node_of("a100-sxm")
    assert node is not None
    assert (node.id, node.count, node.topology) == ("hgx-a100-8", 8, "switch")
    assert node_of("gap8") is None


@pytest.mark.parametrize("name", node_ids())
def test_a_node_moves_no_more_than_the_links_of_its_device(name: str) -> None:
    node = load_node(name)
    ports = {port.link: port.count for port in load_device(node.device).links}
    each = load_link(node.intra_link).bandwidth_bytes_per_s.value
    assert node.intra_bandwidth_bytes_per_s.value == pytest.approx(ports[node.intra_link] * each)


def test_a_cluster_composes_down_to_devices() -> None:
    cluster = load_cluster("h100-4-nodes")
    node = load_node(cluster.node)
    assert cluster.count * node.count == 32
    assert load_device(node.device).id == "h100-sxm"


def test_the_catalogue_needs_neither_pint_nor_yaml() -> None:
    code = (
        "import sys, json, hardware_specs\n"
        "hardware_specs.load_device('h100-sxm'); hardware_specs.node_of('h100-sxm')\n"
        "print(json.dumps([m for m in ('pint', 'yaml', 'networkx', 'numpy') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
