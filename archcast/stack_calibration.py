"""`calibrate --served`: what a stack adds to its kernels, from served runs of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from archcast.cost_models import AnyModel, find_serving_model
from archcast.served_runs import asked, served_times
from costmodel.stack import STACKS, ServedTimes, Stack, adapt_stacks, answer, shipped_stacks, write_stacks
from foundation.errors import BadValueError
from workloads.workload_measurements import WorkloadMeasurements, read_workload_measurements

NEEDED = ("concurrency", "prompt", "generate")


@dataclass(frozen=True)
class StackCalibration:
    """What `calibrate --served` did: the stacks in `folder`, and mean errors of the runs before and after.

    `left_out` holds runs that could not be simulated, with the reason. Errors after are those of the runs themselves:
    they say how well a stack's terms can follow them, not how well new runs are met.
    """

    folder: str
    stacks: dict[str, Stack]
    rows: int
    ttft_mape: tuple[float, float]
    tpot_mape: tuple[float, float]
    left_out: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; what is not known is null."""
        errors = {name: [x if np.isfinite(x) else None for x in getattr(self, name)]
                  for name in ("ttft_mape", "tpot_mape")}  # fmt: skip
        stacks = [{k: None if v != v else v for k, v in asdict(s).items()} for s in self.stacks.values()]
        return {"folder": self.folder, "rows": self.rows, **errors, "left_out": list(self.left_out), "stacks": stacks}

    def text(self) -> str:
        """Return the report for a terminal."""
        lines = [f"{self.rows:,} served runs; mean error as shipped -> with these stacks (of the same runs):"]
        for name, (before, after) in (("first token", self.ttft_mape), ("token", self.tpot_mape)):
            if np.isfinite(before):
                lines.append(f"  time to the first token: {before:.1%} -> {after:.1%}" if name == "first token"
                             else f"  time per output token:   {before:.1%} -> {after:.1%}")  # fmt: skip
        for name, s in self.stacks.items():
            lines.append(
                f"{name}: steps x {s.step_factor:.3f}; first token x {s.first_factor:.2f} + {s.seen_steps:.1f} tokens "
                f"+ {s.request_s * 1e3:.1f} ms"
            )
        lines += [f"left out: {reason}" for reason in self.left_out]
        return "\n".join([*lines, f"The stacks are in {self.folder}; name it as cost_model, or with --model."])


def calibrate_stacks(
    tables: Sequence[str | Path], *, out: str | Path, skip_bad: bool = False, model: AnyModel = None
) -> StackCalibration:  # fmt: skip
    """Fit stacks to measured runs of served models and write them to the folder `out`.

    Args:
        tables: whole-model measurements (docs/measurements.md) with software, concurrency, prompt, generate, and ttft_s
            or tpot_s.
        model: the cost model of the engines (None: the shipped one, tempered).

    Raises:
        BadFileError, BadValueError: a table that cannot be used, or no run in it that can be simulated.
    """
    parts = [_times(read_workload_measurements(path, skip_bad=skip_bad), Path(path).name, model) for path in tables]
    times = ServedTimes(*(np.concatenate([getattr(p, name) for p, _ in parts])
                          for name in ServedTimes.__dataclass_fields__))  # fmt: skip
    left_out = tuple(dict.fromkeys(reason for _, reasons in parts for reason in reasons))
    if not len(times.software):
        raise BadValueError(f"No served run can be simulated: {left_out[0] if left_out else 'the tables are empty'}")
    shipped = shipped_stacks()
    stacks = adapt_stacks(shipped, times)
    before, after = _errors(shipped, times), _errors({**shipped, **stacks}, times)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    write_stacks({**shipped, **stacks}, folder / STACKS, ", ".join(Path(path).name for path in tables))
    return StackCalibration(
        str(out), stacks, len(times.software), (before[0], after[0]), (before[1], after[1]), left_out
    )  # fmt: skip


def _times(table: WorkloadMeasurements, name: str, model: AnyModel) -> tuple[ServedTimes, list[str]]:
    """Return the runs of a table that can be simulated, and why others cannot."""
    seen_ttft, seen_tpot = table.value("ttft_s"), table.value("tpot_s")
    missing = np.zeros(table.rows, dtype=bool)
    for size in NEEDED:
        missing |= ~np.isfinite(table.size(size))
    software = table.text("software")
    reasons = {
        f"{name}: runs without concurrency, prompt or generate": missing,
        f"{name}: runs without software": software == "",
        f"{name}: runs without ttft_s and tpot_s": ~(np.isfinite(seen_ttft) | np.isfinite(seen_tpot)),
    }
    good = np.flatnonzero(~np.any(list(reasons.values()), axis=0))
    said, refused = served_times([asked(table)[i] for i in good], find_serving_model(model))
    known = np.isfinite(said[:, 1]) | np.isfinite(said[:, 0])
    where = good[known]
    groups = np.array([f"{table.workload[i]} on {table.device[i]}" for i in where], dtype=object)
    times = ServedTimes(
        software[where], groups, said[known, 0], said[known, 1], seen_ttft[where], seen_tpot[where]
    )  # fmt: skip
    said_no = [reason for reason, rows in reasons.items() if rows.any()]
    return times, [*said_no, *dict.fromkeys(refused.values())]


def _errors(stacks: dict[str, Stack], times: ServedTimes) -> tuple[float, float]:
    ttft, tpot = answer(stacks, times)
    found = []
    for said, seen in ((ttft, times.seen_ttft_s), (tpot, times.seen_tpot_s)):
        error = np.abs(said / seen - 1)
        found.append(float(np.nanmean(error)) if np.isfinite(error).any() else float("nan"))
    return found[0], found[1]
