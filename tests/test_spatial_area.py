"""Area of arrays: by hand, additive, with an interval; and how far it is from published chips (docs/npu-energy.md)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.spatial.area import PARTS, area
from costmodel.spatial.machine import WS, Machine, Operands
from costmodel.spatial.technology import technology

KIB = 1024.0
TECH = technology(22, "lpddr4", "int8")

CHIPS: tuple[tuple[str, float, str, float, float, tuple[float, float, float], float], ...] = (
    ("Gemmini 16x16, array", 22, "int8", 16, 16, (0, 0, 0), 0.116),
    ("Gemmini 16x16, with both memories", 22, "int8", 16, 16, (256, 0, 64), 0.806),
    ("TPUv1, matrix unit", 28, "int8", 256, 256, (0, 0, 0), 79),
    ("TPUv1, buffer and accumulators", 28, "int8", 1, 1, (24 * 1024, 0, 4096), 116),
    ("Eyeriss, whole chip", 65, "fp16", 12, 14, (192, 0, 0), 12.25),
    ("Simba, whole chiplet", 16, "int8", 32, 32, (752, 0, 0), 6.0),
)
"""Name, node, format, rows, cols, KiB of the buffers, published mm2 (from memory)."""


def machine(rows: float = 16, cols: float = 16, kib: tuple[float, float, float] = (0, 0, 0), **more: object) -> Machine:
    return Machine(
        rows=rows, cols=cols, dataflow=WS, buffer_bytes=Operands(*(size * KIB for size in kib)),
        buffer_bytes_per_cycle=Operands(16.0, 16.0, 16.0), dram_bytes_per_cycle=more.pop("dram", 1e-9), **more,  # type: ignore[arg-type]
    )  # fmt: skip


def test_an_array_by_hand() -> None:
    # per element: 530 um2 of MAC (45 nm) and 2 x 8 + 8 + 32 registers of 5.98 um2 (40 nm), over 0.7, at 22 nm
    at_40 = technology(40, "lpddr4", "int8").value
    assert at_40.register_mm2_per_bit == pytest.approx(5.98e-6)
    element = (530e-6 * 0.246 + 56 * TECH.value.register_mm2_per_bit) / 0.7
    found = area(machine(), TECH)
    assert float(found.parts["array"]) == pytest.approx(256 * element)
    assert float(found.value) == pytest.approx(256 * element * 1.15)


def test_memories_and_the_interface_by_hand() -> None:
    found = area(machine(1, 1, (1024, 512, 512), dram=12.8), TECH)
    assert float(found.parts["buffers"]) == pytest.approx(2 * 1.2 / 0.6)
    assert float(found.parts["phy"]) == pytest.approx(12.8 * 0.2)


@given(st.integers(1, 256), st.integers(1, 64), st.floats(0, 8192), st.sampled_from([5, 7, 16, 28, 65]))
def test_parts_add_up_and_the_value_lies_in_its_interval(rows: int, cores: int, kib: float, node: float) -> None:
    found = area(machine(rows, rows, (kib, kib, kib), cores=cores, shared_bytes=kib * KIB), technology(node))
    assert set(found.parts) == set(PARTS)
    assert sum(float(part) for part in found.parts.values()) == pytest.approx(float(found.value))
    assert 0 < found.lo <= found.value <= found.hi


def test_cores_multiply_and_wider_formats_grow() -> None:
    one, four = (float(area(machine(cores=n), TECH).value) for n in (1, 4))
    assert four == pytest.approx(4 * one)
    assert area(machine(), technology(22, "lpddr4", "fp16")).value > 2 * area(machine(), TECH).value


def test_columns_of_designs_take_the_same_path() -> None:
    rows = np.array([8.0, 16.0, 32.0])
    together = area(machine(rows, 16.0, (64, 64, 64)), TECH).value  # type: ignore[arg-type]
    assert together == pytest.approx([float(area(machine(r, 16.0, (64, 64, 64)), TECH).value) for r in rows])


def checked() -> list[tuple[str, float, float, float, float]]:
    """Return name, estimate, its ends, and what was published, in mm2."""
    found = []
    for name, node, dtype, rows, cols, kib, published in CHIPS:
        one = area(machine(rows, cols, kib), technology(node, "lpddr4", dtype))
        found.append((name, float(one.value), float(one.lo), float(one.hi), published))
    return found


def test_arrays_and_memories_of_published_chips_lie_in_the_interval() -> None:
    """Whole chips (pads, processors, routers, register files) are larger than what is estimated, and must be."""
    for name, value, lo, hi, published in checked():
        if "whole" in name:
            assert value < published, name
        else:
            assert lo <= published <= hi, name
            assert 1 / 2.5 < value / published < 1.5, name


def test_the_page_shows_these_numbers(repository: Path) -> None:
    page = (repository / "docs" / "npu-energy.md").read_text(encoding="utf-8")
    for name, value, lo, hi, published in checked():
        assert f"| {name} | {value:.3g} | {lo:.3g} .. {hi:.3g} | {published:g} |" in page


def test_area_ranks_the_designs_of_dosa(shared_data: Path) -> None:
    """`target.area` is Accelergy's over 95 arrays and memories (8-bit scratchpad, 32-bit accumulators a column)."""
    import csv
    import io
    import tarfile

    with tarfile.open(shared_data / "dosa-gemmini-firesim" / "timeloop_dataset.csv.tar.gz") as archive:
        member = next(m for m in archive.getmembers() if m.name.endswith(".csv") and m.size > 100_000)
        text = archive.extractfile(member)
        assert text is not None
        reader = csv.reader(io.TextIOWrapper(text, encoding="utf-8"))
        heads = next(reader)
        places = [heads.index(f"arch.{name}") for name in ("pe", "mem1_entries", "mem2_entries")]
        tool = heads.index("target.area")
        rows = {tuple(float(row[i]) for i in (*places, tool)) for row in reader}
    elements, sums, scratchpad, published = np.array(sorted(rows)).T
    side = np.sqrt(elements)
    kib = (scratchpad / KIB, np.zeros(len(side)), sums * side * 4 / KIB)
    found = area(machine(side, side, kib), technology(40, "lpddr4", "int8")).value  # type: ignore[arg-type]
    assert np.corrcoef(np.log(found), np.log(published))[0, 1] > 0.95
    assert 1.5 < np.median(found / published) < 2.5  # ours has what surrounds the macros, and layout
