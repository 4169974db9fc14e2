"""Compute cycles against SCALE-Sim v3 (scalesim 3.0.0, CALC mode), run once: 19 layers, to the cycle."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from costmodel.spatial.folds import folds, scale_sim_cycles, scale_sim_output
from costmodel.spatial.layers import products
from costmodel.spatial.machine import DATAFLOWS, Machine, Operands

SHAPES: dict[str, tuple[int, int, int]] = {
    "Conv5_1b": (25, 4608, 512), "Conv4_1b": (144, 2304, 256), "Conv3_s": (841, 64, 128), "FC": (1, 512, 1000),
}  # fmt: skip
"""M, K, N of layers of SCALE-Sim's ResNet-18 as that tool counts them."""

MEASURED: tuple[tuple[str, int, str, int], ...] = (
    ("Conv5_1b", 32, "ws", 274175), ("Conv4_1b", 32, "ws", 137087), ("Conv4_1b", 32, "os", 94639),
    ("Conv4_1b", 32, "is", 125999), ("Conv3_s", 32, "ws", 7479), ("Conv3_s", 32, "os", 13607),
    ("Conv3_s", 32, "is", 11987), ("FC", 32, "ws", 48639), ("FC", 32, "os", 18367), ("FC", 32, "is", 17503),
    ("Conv4_1b", 128, "ws", 18935), ("Conv4_1b", 128, "os", 10231), ("Conv4_1b", 128, "is", 22967),
    ("Conv3_s", 128, "ws", 1222), ("Conv3_s", 128, "os", 2225), ("Conv3_s", 128, "is", 3569),
    ("FC", 128, "ws", 12255), ("FC", 128, "os", 6127), ("FC", 128, "is", 5527),
)  # fmt: skip
"""(layer, rows = columns of the array, dataflow, total cycles that the tool printed)."""


@pytest.mark.parametrize(("layer", "edge", "flow", "cycles"), MEASURED)
def test_cycles_equal_those_that_scale_sim_printed(layer: str, edge: int, flow: str, cycles: int) -> None:
    m, k, n = SHAPES[layer]
    assert scale_sim_cycles(m, k, n, edge, edge, DATAFLOWS.index(flow)) == cycles


def test_all_rows_in_columns_equal_the_rows_one_by_one() -> None:
    m, k, n = np.array([SHAPES[layer] for layer, *_ in MEASURED], dtype=float).T
    edges = np.array([float(edge) for _, edge, _, _ in MEASURED])
    flows = np.array([DATAFLOWS.index(flow) for _, _, flow, _ in MEASURED])
    assert scale_sim_cycles(m, k, n, edges, edges, flows).tolist() == [cycles for *_, cycles in MEASURED]


def test_the_files_of_the_runs_hold_the_same_rows(shared_data: Path) -> None:
    rows = list(csv.DictReader((shared_data / "scalesim" / "scalesim_v3_layers.csv").read_text().splitlines()))
    found = {(r["layer"], int(r["rows"]), r["dataflow"], int(float(r["total_cycles"]))) for r in rows}
    assert found == set(MEASURED)
    assert len(rows) == len(MEASURED) == 19


def test_every_layer_of_the_closed_form_table_is_met(shared_data: Path) -> None:
    rows = list(csv.DictReader((shared_data / "scalesim" / "resnet18_closed_form.csv").read_text().splitlines()))
    m, k, n, height, width = (np.array([float(r[c]) for r in rows]) for c in ("M", "K", "N", "rows", "cols"))
    flows = np.array([DATAFLOWS.index(r["dataflow"]) for r in rows])
    expected = [float(r["cycles_closed_form"]) for r in rows]
    assert scale_sim_cycles(m, k, n, height, width, flows).tolist() == expected


def test_its_output_size_is_one_too_many_at_a_stride() -> None:
    assert scale_sim_output(56, 1, 2) == 29  # 28 outputs stand there
    assert scale_sim_output(56, 3, 1) == 54  # without a stride it is right


def test_by_default_a_fold_that_stands_alone_costs_its_equation_without_the_minus_one() -> None:
    m, k, n = SHAPES["Conv4_1b"]
    machine = Machine(32, 32, 1, Operands(0, 0, 0), Operands(1, 1, 1), 1.0, preload_hidden=False)
    own = folds(products(m, n, k), machine).fill_cycles
    assert own == scale_sim_cycles(m, k, n, 32, 32, 1) + 1
