"""`calibrate`: measurement tables in, an artefact and its held-out scores out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from costmodel.artefact import Card
from costmodel.calibration import calibrate as fit
from workloads.measurements import read_measurements


@dataclass(frozen=True)
class Calibration:
    """What `calibrate` did: the card of the artefact in `folder`, and the rows that were skipped, with reasons."""

    folder: str
    card: Card
    skipped: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the card as plain JSON values."""
        return {"folder": self.folder, "skipped": list(self.skipped), **self.card.to_json()}

    def text(self) -> str:
        """Return the held-out scores for a terminal, one line an operator family, beside the roofline."""
        head = ("held-out", "n", "MAPE", "median", "p90", "covered", "closed form", "roofline")
        lines = ["{:24}{:>8}{:>8}{:>8}{:>8}{:>9}{:>13}{:>10}".format(*head)]
        for name, s in self.card.scores.items():
            shares = (s.mape, s.median, s.p90, s.coverage)
            lines.append(
                f"{name[:23]:24}{s.rows:8,}"
                + "".join(f"{share:{width}.1%}" for share, width in zip(shares, (8, 8, 8, 9), strict=True))
                + f"{s.physics_mape:13.1%}{s.roofline_mape:10.1%}"
            )
        lines += [f"skipped: {reason}" for reason in self.skipped]
        return "\n".join([*lines, f"The artefact is in {self.folder}; ask with --model {self.folder}."])


def calibrate(
    measurements: str | Path | Iterable[str | Path], *, out: str | Path, skip_bad: bool = False, seed: int = 0
) -> Calibration:  # fmt: skip
    """Fit a cost model to measurement tables (docs/measurements.md) and write it to the folder `out`.

    Raises:
        BadFileError: a table cannot be used (file, row and column are named), or `out` holds something else.
        BadValueError: too few rows or groups, or latencies in another unit.
    """
    files = [measurements] if isinstance(measurements, (str, Path)) else list(measurements)
    tables = [read_measurements(Path(file), skip_bad=skip_bad) for file in files]
    skipped = tuple(str(reason) for table in tables for reason in table.skipped)
    return Calibration(str(out), fit(tables, out, seed=seed), skipped)
