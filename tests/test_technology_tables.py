"""The table of components: sources and ranges, factors that follow the published scaling, classes that scale apart."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.spatial.energy import sram_j_per_byte
from costmodel.spatial.technology import COEFFICIENTS, Coefficients, technology
from foundation.errors import BadFileError, BadValueError, UnknownNameError
from hardware_specs.compile import FOLDER
from hardware_specs.technology import TECHNOLOGY, load_technology

STILLMAKER = {  # node: (energy polynomial in the supply voltage, a voltage of that node)
    65: ((3.755, -4.398, 1.975), 1.1), 45: ((1.103, -0.362, 0.2767), 0.9), 32: ((0.9559, -0.7823, 0.471), 0.9),
    16: ((0.2958, -0.1241, 0.03024), 0.8), 7: ((0.1776, -0.09097, 0.02447), 0.75),
}  # fmt: skip
CACTI_ROOT_PJ = {65: 1.90, 45: 1.0, 32: 0.555, 22: 0.235}
"""Energy of CACTI's square-root law at 128 bit, over that of 45 nm (18 runs a node)."""


def test_the_catalogue_is_the_yaml() -> None:
    assert load_technology() == load_technology(FOLDER / "technology" / f"{TECHNOLOGY}.yaml")


def test_every_figure_has_a_source_or_is_estimated_with_a_range() -> None:
    spec = load_technology()
    found = list(spec.figures())
    assert len(found) > 80
    for place, figure in found:
        assert figure.source in spec.sources or figure.estimated, place
        assert figure.lo <= figure.value <= figure.hi, place


@pytest.mark.parametrize("node", [65, 32, 16, 7])
def test_one_end_of_logic_energy_is_the_published_polynomial(node: int) -> None:
    def at(row: int) -> float:
        (a, b, c), volt = STILLMAKER[row]
        return a * volt**2 + b * volt + c

    factor = next(n.logic_energy for n in load_technology().nodes if n.node_nm == node)
    published = at(node) / at(45)
    assert min(abs(end / published - 1) for end in (factor.lo, factor.hi)) < 0.03
    assert factor.value == pytest.approx(math.sqrt(factor.lo * factor.hi), rel=0.02)


@pytest.mark.parametrize("node", [65, 32, 22])
def test_one_end_of_sram_energy_is_cacti(node: int) -> None:
    factor = next(n.sram_energy for n in load_technology().nodes if n.node_nm == node)
    assert min(abs(end / CACTI_ROOT_PJ[node] - 1) for end in (factor.lo, factor.hi)) < 0.03


@pytest.mark.parametrize(
    ("size_kib", "bits", "pj"),
    [(4, 64, 4.92), (16, 64, 11.15), (64, 128, 37.7), (256, 256, 121.3), (1024, 64, 84.9), (4096, 256, 497.1)],
)
def test_the_square_root_law_is_within_twelve_percent_of_cacti_at_45_nm(size_kib: int, bits: int, pj: float) -> None:
    """The mean of read and write energy that CACTI 7 gave (itrs-lstp cells)."""
    found = technology(45, "lpddr4", "int8")
    per_access = float(sram_j_per_byte(size_kib * 1024, bits / 8, found, found.value)) * bits / 8
    assert per_access == pytest.approx(pj * 1e-12, rel=0.12)


def test_caches_of_horowitz_are_within_a_third_of_the_law() -> None:
    """8 KiB 10 pJ, 32 KiB 20 pJ, 1 MiB 100 pJ for 64 bit at 45 nm; caches with their tags, so above it."""
    found = technology(45, "lpddr4", "int8")
    for size, pj in ((8, 10), (32, 20), (1024, 100)):
        per_access = float(sram_j_per_byte(size * 1024, 8.0, found, found.value)) * 8
        assert 0.67 * pj <= per_access * 1e12 <= pj


def test_classes_scale_apart_from_45_to_7_nm() -> None:
    old, new = technology(45, "hbm2", "int8").value, technology(7, "hbm2", "int8").value
    ratio = {name: getattr(new, name) / getattr(old, name) for name in COEFFICIENTS}
    assert ratio["mac_j"] == pytest.approx(0.153)
    assert ratio["mac_j"] < ratio["sram_root_j"] < ratio["wire_j_per_bit_mm"] < ratio["dram_j_per_bit"] == 1
    assert ratio["mac_mm2"] == pytest.approx(0.059)
    assert ratio["mac_mm2"] < ratio["sram_mm2_per_byte"] < ratio["phy_mm2_per_byte_per_s"] == 1


@given(st.floats(5, 65), st.floats(5, 65))
def test_a_smaller_node_takes_less_and_ends_hold_the_value(one: float, other: float) -> None:
    large, small = (technology(node, "ddr4", "int8") for node in sorted((one, other), reverse=True))
    for name in ("mac_j", "register_j_per_bit", "sram_root_j", "wire_j_per_bit_mm", "mac_mm2", "sram_mm2_per_byte"):
        assert getattr(small.value, name) <= getattr(large.value, name) * (1 + 1e-12)
        assert getattr(small.lo, name) <= getattr(small.value, name) <= getattr(small.hi, name)


def test_a_figure_is_unchanged_at_the_node_it_was_measured_at() -> None:
    at_40, at_45 = technology(40, "ddr4", "int8").value, technology(45, "ddr4", "int8").value
    assert at_40.register_j_per_bit == pytest.approx(0.009e-12)
    assert at_45.mac_j == pytest.approx(0.3e-12)
    assert at_45.dram_j_per_bit == pytest.approx(18e-12)


def test_formats_without_a_multiplier_take_the_one_they_are_widened_to() -> None:
    assert technology(16, "lpddr4", "w4a16").math == "bf16"
    assert technology(16, "lpddr4", "w4a8").value.mac_j == technology(16, "lpddr4", "int8").value.mac_j
    assert technology(16, "lpddr4", "fp32").value.mac_j > technology(16, "lpddr4", "fp16").value.mac_j


def test_unknown_memories_nodes_and_formats_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="Nearest: lpddr5, lpddr4"):
        technology(16, "lpddr", "int8")
    with pytest.raises(BadValueError, match="at least 5"):
        technology(3, "lpddr4", "int8")
    with pytest.raises(UnknownNameError):
        technology(16, "lpddr4", "int7")


def test_a_users_table_takes_the_place_of_the_catalogues(tmp_path: Path) -> None:
    text = (FOLDER / "technology" / f"{TECHNOLOGY}.yaml").read_text()
    file = tmp_path / "mine.yaml"
    file.write_text(text.replace("int8: {value: 0.3 pJ", "int8: {value: 0.25 pJ"))
    assert technology(45, "lpddr4", "int8", file).value.mac_j == pytest.approx(0.25e-12)
    file = tmp_path / "bad.yaml"
    file.write_text(text.replace("node_nm: 65", "node_nm: 6.5", 1))
    with pytest.raises(BadFileError, match="largest to the smallest"):
        technology(45, "lpddr4", "int8", file)


def test_coefficients_say_their_unit() -> None:
    for field in fields(Coefficients):
        assert field.name.endswith(("_j", "_bit", "_mm", "_byte", "_mm2", "_s", "utilisation", "_share")), field.name


def test_the_least_bandwidth_is_that_of_one_channel_device_or_stack() -> None:
    least = {one.name: technology(16, one.name).dram_least_bytes_per_s for one in load_technology().dram}
    assert least["lpddr4"] == 16 / 8 * 1.6e9  # bits of a channel at 1600 MT/s
    assert least["lpddr5"] == 16 / 8 * 3.2e9
    assert least["gddr6"] == 32 / 8 * 12e9
    assert (least["hbm2"], least["hbm3"]) == (1024 / 8 * 1e9, 1024 / 8 * 4e9)
    assert set(least) == set(load_technology().dram_names)
