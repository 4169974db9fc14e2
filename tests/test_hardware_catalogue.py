"""The catalogue: names that resolve, figures with an origin, and numbers that agree with each other."""

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli_runner import archcast

from foundation.errors import UnknownNameError
from foundation.packed_text import read_packed
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
from hardware_specs.compile import FOLDER, compile_catalogue
from hardware_specs.compiled import read_sections, text_of
from hardware_specs.document import KINDS, PAGE, binary, page, scaled
from hardware_specs.figures import Sourced
from hardware_specs.schema import DeviceSpec

AS_TYPED = """
P4, P100, V100, T4, RTX 2080 Ti, Titan RTX, A10, A30, A40, A100, A100-SXM, A100-PCIe, A100-40GB, A100-80GB,
a100-sxm-40gb, a100-sxm-80gb, a100-pcie-40gb, a100-pcie-80gb, L4, L40S, RTX 3090, RTX 4090, RTX 5090, RTX 6000 Ada,
RTX PRO 6000, H100, H100 PCIe, H100 SXM, H100 NVL, H200, GH200, B200, B300, GB200, GB300, Jetson TX2, TX2,
Jetson Orin Nano, orin-nano, Jetson Orin NX, orin-nx, Jetson AGX Orin, agx-orin, GTX 1080 Ti, Titan X, Titan Xp,
RTX A6000, RTX A5000, Quadro RTX 6000, MI50, MI100, MI210, MI250, MI250X, MI300X, MI325X, MI355X, RX 7900 XTX, Gaudi 2,
gaudi2, Gaudi 3, gaudi3, Arc B60, Arc Pro B60, Max 1550, TPU v4, TPU v5e, TPU v5p, TPU v6e, Trillium, Edge TPU, Coral,
SN40L, speedAI240, Gemmini, gemmini-16x16, Eyeriss, eyeriss-like, tpu-like-128x128, zigzag-tpu-like,
zigzag-edge-tpu-like, Hailo-8, hailo8, Hailo-8L, Hailo-10H, Hailo-15H, Hailo-15L, RK3588, RK3576, RK3568, RK3566,
RK3562, RV1109, RV1126, RK1808, Snapdragon 8 Gen 2, Snapdragon 8 Gen 3, Snapdragon 8 Elite, Snapdragon 8 Elite Gen 5,
Snapdragon X Elite, Snapdragon 865, SA8775P, SA8295P, SA7255P, QCS8550, QCS8450, Apple M2 Pro, m2-pro, EPYC Milan,
epyc-milan, Raspberry Pi 4, Raspberry Pi 5, rpi4, rpi5, xeon-6226, xeon-4114, xeon-4210r, GAP8, STM32H7, stm32h743,
stm32h7a3, NUCLEO-H7A3ZI-Q, stm32l4r5, NUCLEO-L4R5ZI, stm32u575, stm32f746, stm32g0b1, EK-RA8D1, NDP9120, ZC706, VCU128
"""
"""Devices that the catalogue promises, as people type them."""

KNOWN_BYTES = {
    "h200-sxm": 151_397_597_184,
    "rtx-4090": 25_250_627_584,
    "h100-sxm": 80 * 2**30,
    "a100-sxm-80gb": 80 * 2**30,
    "l40s": 46_068 * 2**20,
    "mi300x": 192 * 2**30,
    "jetson-agx-orin": 64 * 2**30,
    "gap8": 8 * 2**20,
    "a100-sxm-40gb": 40 * 2**30,
    "h100-pcie": 80 * 2**30,
    "mi210": 64 * 2**30,
    "mi250x": 64 * 2**30,
    "mi325x": 256 * 2**30,
    "mi355x": 288 * 2**30,
    "raspberry-pi-5": 8 * 2**30,
    "stm32h7": 2 * 2**20,
    "stm32l4r5": 2 * 2**20,
    "stm32g0b1": 512 * 2**10,
}


def everything() -> list[Sourced]:
    specs: list[Sourced] = [load_device(name) for name in device_ids()]
    specs += [load_link(name) for name in link_ids()]
    specs += [load_node(name) for name in node_ids()]
    return specs + [load_cluster(name) for name in cluster_ids()]


def flop_per_clock(device: DeviceSpec) -> list[tuple[str, float, float]]:
    """Return what each sourced peak needs of one unit in one clock, at least and at most."""
    return [
        (f"{unit.name} {fmt}", peak.lo / unit.count / unit.clock_hz.hi, peak.hi / unit.count / unit.clock_hz.lo)
        for unit in device.units
        for fmt, peak in unit.peak_flop_per_s.items()
        if peak.source and unit.clock_hz.source
    ]


def test_the_compiled_catalogue_is_what_the_yaml_says() -> None:
    assert read_packed(COMPILED).decode() == text_of(compile_catalogue()), "run python -m hardware_specs.compile"


def test_the_compiled_text_is_one_json_document_with_a_line_an_entry() -> None:
    text = read_packed(COMPILED).decode()
    whole = json.loads(text)
    sections = read_sections(COMPILED)
    assert {kind: dict(section) for kind, section in sections.items()} == whole
    assert len(text.splitlines()) == 2 + sum(2 + len(entries) for entries in whole.values())


def test_there_are_devices_of_every_kind() -> None:
    assert len(device_ids()) >= 75
    assert {load_device(name).kind for name in device_ids()} == set(KINDS)


@pytest.mark.parametrize("typed", [name.strip() for name in AS_TYPED.replace("\n", " ").split(",")])
def test_a_device_resolves_as_people_type_it(typed: str) -> None:
    assert load_device(typed).id in device_ids()


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


@pytest.mark.parametrize("name", device_ids())
def test_a_sourced_peak_is_a_power_of_two_a_unit_and_clock(name: str) -> None:
    """Data sheets round to three digits and state some peaks at another clock of the range: 3 % are allowed."""
    for where, least, most in flop_per_clock(load_device(name)):
        width = 2.0 ** math.floor(math.log2(most * 1.03))
        assert width >= least * 0.97, f"{where}: {least:.1f} to {most:.1f} FLOP a clock and unit"


@pytest.mark.parametrize("name", device_ids())
def test_energies_at_the_sustained_rate_agree_with_the_power_limit(name: str) -> None:
    """Matrix unit and device memory at their usual efficiency need about what the limit leaves above idle.

    Far less would mean that the device never reaches its limit, far more that it always throttles.
    """
    device = load_device(name)
    unit, dram = device.unit("matrix"), device.dram
    memory_w = dram.bandwidth_bytes_per_s.value * dram.efficiency.value * dram.energy_per_byte_j.value
    above_idle_w = device.power.limit_w.value - device.power.idle_w.value
    for fmt, peak in unit.peak_flop_per_s.items():
        power_w = memory_w + peak.value * unit.efficiency.value * unit.energy_per_flop_j[fmt].value
        assert 0.35 <= power_w / above_idle_w <= 2.5, fmt


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


def new_device(folder: Path) -> Path:
    """Write the one file that a new device is: a faster Gemmini."""
    text = (FOLDER / "devices" / "gemmini-16x16.yaml").read_text(encoding="utf-8")
    text = text.replace("id: gemmini-16x16", "id: my-npu").replace("aliases: [gemmini]", "aliases: [mine]")
    text = text.replace("value: 512 GOP/s", "value: 2048 GOP/s").replace("rows: 16, cols: 16", "rows: 32, cols: 32")
    file = folder / "my-npu.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_one_yaml_file_adds_a_device_to_predict_on(tmp_path: Path) -> None:
    file = new_device(tmp_path)
    assert load_device(file).unit("matrix").peak_flop_per_s["int8"].value == 2048e9
    mine = archcast("predict", "resnet-50", "--on", file, "--dtype", "int8", "--json").json()
    known = archcast("predict", "resnet-50", "--on", "gemmini-16x16", "--dtype", "int8", "--json").json()
    assert 0 < mine["latency_s"]["value"] < known["latency_s"]["value"]


def test_one_yaml_file_adds_a_device_to_the_catalogue(tmp_path: Path) -> None:
    folder = tmp_path / "catalogue"
    shutil.copytree(FOLDER, folder)
    new_device(folder / "devices")
    compiled = compile_catalogue(folder)
    assert set(compiled["devices"]) == {*device_ids(), "my-npu"}
    assert compiled["aliases"]["mine"] == "my-npu"
    (tmp_path / "compiled.json").write_text(text_of(compiled), encoding="utf-8")
    entry = read_sections(tmp_path / "compiled.json")["devices"]["my-npu"]
    assert DeviceSpec.model_validate(entry) == load_device(folder / "devices" / "my-npu.yaml")


def test_the_page_of_devices_is_what_the_catalogue_says() -> None:
    text = page()
    assert PAGE.read_text(encoding="utf-8") == text, "run python -m hardware_specs.document"
    assert all(f"`{name}`" in text for name in [*device_ids(), *link_ids(), *node_ids(), *cluster_ids()])


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (3.35e12, "B/s", "3.35 TB/s"),
        (999.6e6, "B/s", "1 GB/s"),
        (1978.9e12, "FLOP/s", "1.98 PFLOP/s"),
        (42e-3, "W", "42 mW"),
        (6e-12, "J/bit", "6 pJ/bit"),
        (700.0, "W", "700 W"),
    ],
)
def test_numbers_on_the_page_have_units_that_people_read(value: float, unit: str, text: str) -> None:
    assert scaled(value, unit) == text


def test_bytes_on_the_page_are_counted_in_powers_of_1024() -> None:
    assert [binary(n) for n in (80 * 2**30, 2**30, 640 * 1024, 46_068 * 2**20)] == [
        "80 GiB",
        "1 GiB",
        "640 KiB",
        "45 GiB",
    ]
