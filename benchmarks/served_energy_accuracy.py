"""How far joules of an output token of served language models are off, each family of models left out in turn.

Rows: ML.ENERGY v3 (H100, vLLM 0.11.1) by families; v2 (an older engine, A100 and H100) by what is fitted to all of v3.
The last tables say how much of it is time and how much power, and what the estimated lengths of prompts and the
estimated skew of experts matter: fitted and scored with their ends.

Run: `python benchmarks/served_energy_accuracy.py` beside the reference data (`ARCHCAST_DATA`, or `../shared/data`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from real_ops import data_folder

from archcast.validation.report import percent, ratio
from archcast.validation.served_energy import served_energy_lines
from costmodel import served_work
from costmodel.evaluation.served_energy import MOST, LeftOut, leave_families_out, read_served
from workloads.table import Array

LEAST_ANSWERED = 0.95
SKEWS = (0.6, 1.2)


def error_share(found: Array, measured: Array, mask: Array) -> str:
    return percent(float(np.abs(found / measured - 1)[mask].mean()))


def lines_table(root: Path) -> list[str]:
    """Return what `archcast validate` shows."""
    every = served_energy_lines(root, 0, LEAST_ANSWERED)
    bases = list(every[0].baselines)
    out = [f"| rows | n | answered | MAPE | median | p90 | inside 90 % | width | {' | '.join(bases)} |",
           "|" + "---|" * (8 + len(bases))]  # fmt: skip
    for line in every:
        errors = line.errors
        numbers = [percent(x) for x in (errors.mape_share, errors.median_error_share, errors.p90_error_share)]
        others = [percent(line.baselines[name].mape_share) for name in bases]
        cells = [f"{line.device}, {line.label}", str(line.rows), f"{line.answered_share:.0%}", *numbers,
                 f"{line.coverage_share:.0%}", ratio(line.width_ratio), *others]  # fmt: skip
        out.append(f"| {' | '.join(cells)} |")
    return out


def parts_row(name: str, found: LeftOut) -> str:
    """Return the MAPE of a step's time, of watts and of joules, for language and for all tasks."""
    rows = found.rows
    every = np.ones(len(rows.rows), dtype=bool)
    cells = [name]
    for mask in (rows.language, every):
        cells += [
            error_share(found.answer.step_s[0], rows.labels.step_s, mask),
            error_share(found.answer.power_w[0] / rows.work["devices"], rows.labels.device_w, mask),
            error_share(found.answer.energy_per_token_j[0], rows.energy_per_token_j, mask),
        ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the tables."""
    root = data_folder()
    if root is None:
        raise SystemExit("The reference data is not here; name its folder in ARCHCAST_DATA.")
    print("\n".join(lines_table(root)))
    print("\n| fitted and scored with | language: step | power | energy | all tasks: step | power | energy |")
    print("|---|---|---|---|---|---|---|")
    rows = read_served(root, "v3")
    print(parts_row("requests in flight given", leave_families_out(rows)))
    print(parts_row("only max_num_seqs given", leave_families_out(rows, read_served(root, "v3", MOST))))
    for prompts, name in ((1, "the shortest prompts"), (2, "the longest prompts")):
        print(parts_row(name, leave_families_out(read_served(root, "v3", prompts=prompts))))
    for skew in SKEWS:
        served_work.SKEW = skew
        print(parts_row(f"skew of experts {skew}", leave_families_out(read_served(root, "v3"))))


if __name__ == "__main__":
    main()
