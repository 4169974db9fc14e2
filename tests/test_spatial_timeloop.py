"""Timeloop's cycles of given mappings: some as committed facts, a sample where the measured data lies beside us."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from costmodel.evaluation.timeloop import costs_of_rows, evaluate_timeloop, given_nest, layers_of_rows, read_rows
from foundation.errors import BadFileError

DATA = Path(os.environ.get("ARCHCAST_DATA", Path(__file__).parents[2] / "shared" / "data"))
COLUMNS = ("mapping.mapping", "arch.meshX", "arch.mem1_entries", "arch.mem2_entries", "target.cycle", "prob.C",
           "prob.K", "prob.N", "prob.P", "prob.Q", "prob.R", "prob.S", "prob.Hstride")  # fmt: skip
# rows of ucb-bar/dosa (BSD-2), data/: Timeloop's output for Gemmini
FACTS = [
    ("L3[WIO] P28 R7 Q56 K8 - L2[WI] N1 K4X - L1[O] K2 S7 Q2 P4 C3X - L0[W] N1",
     32, 128, 2048, 10436608, 3, 64, 1, 112, 112, 7, 7, 2),
    ("L3[WIO] C4 K2048 - L2[WI] N1 - L1[O] K2 C64 C16X - L0[W] N1",
     64, 8192, 1048576, 2101248, 4096, 4096, 1, 1, 1, 1, 1, 1),  # 16.8 M weights by 8 a cycle
    ("L3[WIO] R3 S3 Q14 K128 C16 - L2[WI] N1 - L1[O] K4 C32 Q2 - L0[W] P28",
     2, 256, 1048576, 1851293696, 512, 512, 1, 28, 28, 3, 3, 1),  # one element: the loops
    ("L3[WIO] P108 K8 S3 Q108 - L2[WI] N1 K4X - L1[O] K2 R3 C3 - L0[W] N1",
     16, 256, 524288, 5225472, 3, 64, 1, 108, 108, 3, 3, 2),
    ("L3[WIO] K16 C13 - L2[WI] N1 K32X - L1[O] N1 - L0[W] N1",
     128, 64, 4096, 922, 13, 512, 1, 1, 1, 1, 1, 1),
]  # fmt: skip


def row(values: tuple[object, ...]) -> dict[str, str]:
    return {name: str(value) for name, value in zip(COLUMNS, values, strict=True)}


@pytest.mark.parametrize("fact", FACTS)
def test_a_given_mapping_takes_the_cycles_that_timeloop_says(fact: tuple[object, ...]) -> None:
    ((_, costs),) = costs_of_rows([row(fact)])
    assert costs.feasible[0]
    assert costs.bound_cycles[0] == pytest.approx(float(str(fact[4])), rel=1e-3)


def test_a_mapping_of_other_memories_is_refused() -> None:
    made = row(FACTS[4])
    with pytest.raises(BadFileError, match="not of registers, accumulators, scratchpad and DRAM"):
        given_nest(["L2[WIO] K16 C13 - L1[O] K32X - L0[W] N1"], layers_of_rows([made]))


def test_a_tile_beyond_the_accumulators_does_not_fit() -> None:
    small = row(FACTS[0]) | {"arch.mem1_entries": "8"}
    ((_, costs),) = costs_of_rows([small])
    assert not costs.feasible[0]
    assert costs.shortfall_bytes[0] == 2 * 2 * 4 - 8  # K 2, Q 2, P 4 words of one column


@pytest.mark.skipif(not (DATA / "dosa-gemmini-firesim").is_dir(), reason="the measured data is not beside us")
def test_a_sample_of_the_data_set_agrees() -> None:
    found = evaluate_timeloop(read_rows(DATA, 2000, seed=1))
    assert found.answered == 1.0
    assert found.mape < 0.01
    assert found.rho > 0.999
    assert np.isfinite(found.baseline_mape)
