"""Spaces that architecture searches draw from: the encodings of their benchmarks, published sizes, what is refused."""

from __future__ import annotations

import csv
import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.errors import BadValueError, UnknownNameError
from workloads.builders.search.cells import OPERATIONS, CellNetwork
from workloads.builders.search.chains import FBNet, OnceForAll
from workloads.model import Model

DATA = Path(os.environ.get("ARCHCAST_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data") / "help"
LARGEST = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"


def rows(name: str) -> list[dict[str, str]]:
    path = DATA / f"{name}_latency_ms.csv.gz"
    if not path.is_file():
        pytest.skip(f"the measured table {path.name} is not there (set ARCHCAST_DATA)")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def network(space: str, row: dict[str, str]) -> Model:
    if space == "nasbench201":
        return CellNetwork(name="cell", cell=row["arch_str"])
    if space == "fbnet":
        return FBNet(name="chain", blocks=row["arch_str"], image=32, strides=(1, 1, 2, 2, 1, 2, 1), stem_stride=1)
    lists = {knob: tuple(map(int, row[key].split("-")))
             for knob, key in (("kernels", "ks"), ("expand", "expand"), ("depth", "depth"))}  # fmt: skip
    return OnceForAll(name="sub", image=int(row["resolution"]), **lists)  # type: ignore[arg-type]


def test_the_largest_and_smallest_cells_have_the_published_sizes() -> None:
    largest = CellNetwork(name="cell", cell=LARGEST).summary()
    assert (largest["parameters"], round(largest["macs"] / 1e6, 2)) == (1_531_546, 220.12)
    smallest = CellNetwork(name="cell", cell=LARGEST.replace("nor_conv_3x3", "none")).summary()
    assert (smallest["parameters"], round(smallest["macs"] / 1e6, 2)) == (73_306, 7.78)


@settings(max_examples=25)
@given(st.lists(st.sampled_from(OPERATIONS), min_size=6, max_size=6))
def test_a_cell_costs_what_its_convolutions_cost(chosen: list[str]) -> None:
    a, b, c, d, e, f = chosen
    model = CellNetwork(name="cell", cell=f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|")
    taps = sum({"nor_conv_3x3": 9, "nor_conv_1x1": 1}.get(name, 0) for name in chosen)
    pixels_times_squares = 3 * 32 * 32 * 16 * 16  # the same in each of the three stages
    assert model.summary()["macs"] == 7_783_040 + 5 * taps * pixels_times_squares


def test_an_edge_less_makes_no_network_larger() -> None:
    fewer = CellNetwork(name="cell", cell=LARGEST.replace("nor_conv_3x3~2", "none~2"))
    assert fewer.summary()["macs"] < CellNetwork(name="cell", cell=LARGEST).summary()["macs"]


def test_a_block_that_is_skipped_is_not_there() -> None:
    all_blocks = ["k3_e6"] * 22
    shorter = [*all_blocks[:2], "skip", *all_blocks[3:]]  # inside a stage: the map stays as it is
    full, less = (FBNet(name="chain", blocks="|".join(blocks)).summary() for blocks in (all_blocks, shorter))
    wide, pixels = 6 * 24, 56 * 56
    assert full["macs"] - less["macs"] == pixels * (2 * 24 * wide + 9 * wide)
    assert full["parameters"] - less["parameters"] == 2 * 24 * wide + 9 * wide + 2 * (2 * wide + 24)


def test_the_whole_super_network_has_the_parameters_of_its_authors() -> None:
    assert OnceForAll(name="all").summary()["parameters"] == pytest.approx(7.66e6, rel=2e-3)  # counted on the weights


@pytest.mark.parametrize("space", ["nasbench201", "fbnet", "ofa"])
def test_the_encodings_of_the_measured_tables_are_read(space: str) -> None:
    found = rows(space)
    for row in found[:: len(found) // 40]:
        assert network(space, row).summary()["macs"] > 1e6


@pytest.mark.parametrize(("space", "device", "least"), [("nasbench201", "raspi4", 0.8), ("fbnet", "raspi4", 0.8)])
def test_more_work_is_more_time_on_a_small_processor(space: str, device: str, least: float) -> None:
    found = [row for row in rows(space)[::37] if float(row[device]) > 0.5]  # shorter ones are disconnected cells
    macs = np.array([network(space, row).summary()["macs"] for row in found])
    measured = np.array([float(row[device]) for row in found])
    ranks = [np.argsort(np.argsort(values)) for values in (macs, measured)]
    assert np.corrcoef(*ranks)[0, 1] > least


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CellNetwork(name="x", cell="|none~0|"), "has 1 nodes"),
        (lambda: CellNetwork(name="x", cell=LARGEST.replace("~2", "~1")), "must read nodes 0 to 2"),
        (lambda: CellNetwork(name="x", cell=LARGEST.replace("nor_conv_3x3~2", "nor_conv_5x5~2")), "nor_conv_3x3"),
        (lambda: CellNetwork(name="x", cell="|" * 3000), "at most 2000 characters"),
        (lambda: FBNet(name="x", blocks="k3_e6"), "22"),
        (lambda: FBNet(name="x", blocks="|".join(["k7_e6"] * 22)), "k3_e6"),
        (lambda: FBNet(name="x", strides=(1, 2)), "7 stages"),
        (lambda: OnceForAll(name="x", depth=(2, 3)), "1 or 5"),
        (lambda: OnceForAll(name="x", kernels=(3,) * 19), "1 or 20"),
    ],
)
def test_what_the_space_does_not_hold_is_refused(make: object, message: str) -> None:
    with pytest.raises((BadValueError, UnknownNameError), match=message):
        make()  # type: ignore[operator]
