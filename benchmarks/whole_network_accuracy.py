"""How far models of whole networks are from measurements they have not seen, beside a baseline fitted in the same run.

Run: `python benchmarks/whole_network_accuracy.py help|aihub|timm|helm|archgym [--seeds 5] [--all]` beside the measured
data (`ARCHCAST_DATA`, or `../shared/data`). Prints a Markdown table: n, share answered, MAPE (mean and worst seed),
median and p90 error, rank correlation, share inside the 90 % interval, its width, and the baseline on the same rows.
Splits keep classes of cells, families of networks, curves or topologies together; docs of each are in
`costmodel.evaluation`. What the settings were chosen on is said where they are set. All sets with five
seeds take some seven minutes of processor time (help 45 s a seed, timm 30 s, archgym 38 s in all); `--first-seed 10`
takes seeds that nothing was chosen on.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from real_ops import data_folder

from costmodel.evaluation.aihub import evaluate_aihub, read_runs
from costmodel.evaluation.archgym import designs_of, evaluate_archgym
from costmodel.evaluation.helm import curves_of, evaluate_helm
from costmodel.evaluation.help import evaluate_help, space_of
from costmodel.evaluation.scores import Score, table_lines
from costmodel.evaluation.timm import CONFIGS, evaluate_timm, read_rows
from costmodel.measured.archgym import load_archgym
from costmodel.measured.base import ImportRequest
from costmodel.measured.helm import load_helm
from costmodel.measured.help import load_help
from costmodel.measured.timm import load_timm


def help_scores(data: Path, seeds: Sequence[int], every: bool) -> list[Score]:
    """Score both spaces; `every` adds the sources of the older figures (without pixel3)."""
    scores = []
    for name, most in (("nasbench201", 6000), ("fbnet", 4000)):
        space = space_of(name, load_help(ImportRequest(path=data, options={"space": name})), most=most)
        for paper in (True, False) if every else (True,):
            scores += evaluate_help(space, shots=(10, 20, 50) if every else (10, 20), seeds=seeds, paper=paper)
    return scores


def timm_scores(data: Path, seeds: Sequence[int], every: bool) -> list[Score]:
    """Score one configuration a device, or all."""
    configs = () if every else CONFIGS
    return evaluate_timm(read_rows(data, load_timm(ImportRequest(path=data)), configs), seeds)


def aihub_scores(data: Path, seeds: Sequence[int], every: bool) -> list[Score]:
    """Score each device."""
    return evaluate_aihub(read_runs(data / "qualcomm_ai_hub" / "perf.csv.gz"), seeds)


def helm_scores(data: Path, seeds: Sequence[int], every: bool) -> list[Score]:
    """Score the curves; nothing is drawn, so one seed."""
    return evaluate_helm(*curves_of(load_helm(ImportRequest(path=data))))


def archgym_scores(data: Path, seeds: Sequence[int], every: bool) -> list[Score]:
    """Score the authors' split and each topology."""
    return evaluate_archgym(designs_of(next(load_archgym(ImportRequest(path=data)))), seeds)


SETS: dict[str, Callable[[Path, Sequence[int], bool], list[Score]]] = {
    "help": help_scores, "aihub": aihub_scores, "timm": timm_scores, "helm": helm_scores, "archgym": archgym_scores,
}  # fmt: skip


def main() -> None:
    """Print the table of the named data sets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", choices=[*SETS, []], default=[])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--all", action="store_true")
    asked = parser.parse_args()
    data = data_folder()
    if data is None:
        sys.exit("There is no measured data: set ARCHCAST_DATA.")
    for name in asked.sets or SETS:
        begin = time.perf_counter()
        lines = table_lines(SETS[name](data, range(asked.first_seed, asked.first_seed + asked.seeds), asked.all))
        print("\n".join(lines) + f"\n\n{name}: {time.perf_counter() - begin:.0f} s\n", flush=True)


if __name__ == "__main__":
    main()
