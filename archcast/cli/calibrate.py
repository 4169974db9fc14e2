"""`archcast calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archcast.cli.app import app, one_sentence_errors, print_json, print_text


@app.command()
def calibrate(
    measurements: Annotated[
        list[Path], typer.Argument(metavar="MEASUREMENTS...", help="Measurement tables, CSV or Parquet.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write the artefact to.")],
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out bad rows instead of refusing the table.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the split and the fit.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Fit a cost model to measurements; prints its error and coverage on held-out shape groups."""
    with one_sentence_errors():
        from archcast.calibration import calibrate as fit

        report = fit(measurements, out=out, skip_bad=skip_bad, seed=seed)
        if as_json:
            print_json(report.to_json())
        else:
            print_text(report.text())
