"""Efficiency gaps of image networks on an RTX 3090, predicted and as timm measured them: the table of docs/vision.md.

Run: `PYTHONPATH=. python benchmarks/vision_gaps.py` beside the reference data (`ARCHCAST_DATA`, or `../shared/data`).
"""

from __future__ import annotations

import os
from pathlib import Path

from costmodel.evaluation.operator_gaps import NETWORKS, evaluate_gaps, read_gaps
from costmodel.measured.base import ImportRequest, find_importer
from workloads.workload_measurements import WorkloadMeasurements


def main() -> None:
    """Print one line a network of the table, and the score over all networks."""
    root = Path(os.environ.get("ARCHCAST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    pieces = find_importer("timm").load(ImportRequest(root))
    tables = [piece for piece in pieces if isinstance(piece, WorkloadMeasurements)]
    print("| network | what its time goes to | measured | predicted | all fused |\n|---|---|---|---|---|")
    for gap in sorted(read_gaps(tables), key=lambda gap: gap.measured_ratio):
        fused = gap.fused_s / gap.ideal_s
        ratios = " | ".join(f"{ratio:.1f}" for ratio in (gap.measured_ratio, gap.predicted_ratio, fused))
        print(f"| `{gap.workload}` | {NETWORKS[gap.workload]} | {ratios} |")
    (found,) = evaluate_gaps(read_gaps(tables, ()))
    print(f"\nAll {found.n} networks: rho {found.rho:.3f}, median error {found.median:.1%}, MAPE {found.mape:.1%}; "
          f"all fused: rho {found.baseline_rho:.3f}, MAPE {found.baseline_mape:.1%}.")  # fmt: skip


if __name__ == "__main__":
    main()
