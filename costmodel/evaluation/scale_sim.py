"""Compute cycles beside SCALE-Sim v3 (a tool's output): the closed form with that tool's quirks, to the cycle."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from costmodel.evaluation.scores import Score, score
from costmodel.measured.data_files import read_file
from costmodel.spatial.folds import scale_sim_cycles
from costmodel.spatial.machine import DATAFLOWS


def evaluate_scale_sim(folder: Path) -> list[Score]:
    """Return the score of all rows that the tool ran; shapes are those that the table beside them gives its layers.

    Raises:
        BadFileError: a file is missing or not of that form.
    """
    ran = read_file(folder / "scalesim_v3_layers.csv", ("rows", "cols", "total_cycles"), ("layer", "dataflow"))
    shapes = read_file(folder / "resnet18_closed_form.csv", ("M", "K", "N"), ("layer",))
    first = {str(layer): i for i, layer in reversed(list(enumerate(shapes["layer"])))}
    at = np.array([first[str(layer)] for layer in ran["layer"]])
    flows = np.array([DATAFLOWS.index(str(flow)) for flow in ran["dataflow"]])
    found = scale_sim_cycles(
        shapes["M"][at], shapes["K"][at], shapes["N"][at], ran["rows"], ran["cols"], flows
    )  # fmt: skip
    labels = ("scale-sim", "SCALE-Sim v3 arrays", "all runs", "closed form", 0)
    worst = int(np.argmax(np.abs(found / ran["total_cycles"] - 1)))
    last = ("scale-sim", "SCALE-Sim v3 arrays", "worst run", "closed form", 0)
    one = slice(worst, worst + 1)
    return [score(labels, ran["total_cycles"], found), score(last, ran["total_cycles"][one], found[one])]
