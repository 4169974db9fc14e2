"""`archcast calibrate`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from archcast.cli.app import app, one_sentence_errors, print_json, print_text


@app.command()
def calibrate(
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write the artefact to.")],
    measurements: Annotated[
        list[Path] | None, typer.Argument(metavar="[MEASUREMENTS]...", help="Measurement tables, CSV or Parquet.")
    ] = None,
    imports: Annotated[
        list[str] | None,
        typer.Option(
            "--import",
            metavar="NAME[=PATH][,KEY=VALUE...]",
            help="Also read foreign data, e.g. `aiconfigurator`, `kineto=trace.json,workload=bert-base,batch=2`.",
        ),
    ] = None,
    devices: Annotated[str, typer.Option(metavar="A,B", help="Use rows of these devices only.")] = "",
    exclude: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A measurement table whose shapes are left out of training.")
    ] = None,
    base: Annotated[
        Path | None,
        typer.Option("--from", metavar="DIR", help="An artefact of other devices; 10 to 50 rows of a new one suffice."),
    ] = None,
    networks: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Whole networks that a new device timed; the other devices' are predicted."),
    ] = None,
    other_networks: Annotated[
        list[Path] | None,
        typer.Option("--from-networks", metavar="FILE", help="Whole networks that three or more other stacks timed."),
    ] = None,
    served: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="Served runs (software, concurrency, lengths, ttft_s, tpot_s): fit the stack."
        ),
    ] = None,
    column_map: Annotated[
        str,
        typer.Option("--map", metavar="RULES", help="Columns of MEASUREMENTS, e.g. `m=M,latency_s=ms*1e-3,op:gemm`."),
    ] = "",
    max_rows: Annotated[
        int, typer.Option(help="Of more rows, the largest families of a device and an operator are thinned.")
    ] = 4_000_000,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out bad rows instead of refusing the table.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the split and the fit.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Fit a cost model to measurements; prints its error and coverage on held-out shape groups.

    With --networks and --from-networks: a table of whole networks on a device that timed some ten of them.
    With --served: what the serving stack adds to its kernels, from a handful of served runs.
    """
    with one_sentence_errors():
        if served:
            _stacks(served, measurements or imports or base or networks, out, skip_bad, as_json)
            return
        if networks is not None or other_networks:
            _transfer(networks, other_networks or [], measurements or imports or base, out, skip_bad, as_json)
            return
        names = [name.strip() for name in devices.split(",") if name.strip()]
        _operators(
            measurements or [], as_json, out=out, skip_bad=skip_bad, seed=seed, imports=imports or [], devices=names,
            exclude=exclude, column_map=column_map, max_rows=max_rows, base=base,
        )  # fmt: skip


def _operators(measurements: list[Path], as_json: bool, **options: Any) -> None:
    from archcast.calibration import calibrate as fit

    with _progress() as progress:
        report = fit(measurements, progress=progress, **options)
    if as_json:
        print_json(report.to_json())
    else:
        print_text(report.text())


def _transfer(
    networks: Path | None, sources: list[Path], operators: object, out: Path, skip_bad: bool, as_json: bool
) -> None:  # fmt: skip
    from archcast.network_transfer import transfer_networks
    from foundation.errors import BadValueError

    if networks is None or not sources:
        raise BadValueError("--networks and --from-networks go together: the new device's table and the others'.")
    if operators:
        raise BadValueError("Whole networks and operators are calibrated apart; run `calibrate` once for each.")
    report = transfer_networks(networks, sources=sources, out=out, skip_bad=skip_bad)
    if as_json:
        print_json(report.to_json())
    else:
        print_text(report.text())


def _stacks(tables: list[Path], others: object, out: Path, skip_bad: bool, as_json: bool) -> None:
    from archcast.stack_calibration import calibrate_stacks
    from foundation.errors import BadValueError

    if others:
        raise BadValueError("Served runs are calibrated apart from operators and networks; run `calibrate` for each.")
    report = calibrate_stacks(tables, out=out, skip_bad=skip_bad)
    if as_json:
        print_json(report.to_json())
    else:
        print_text(report.text())


@contextmanager
def _progress() -> Iterator[Callable[[str, float | None], None]]:
    """Yield what shows the progress: a bar on stderr where that is a terminal, else nothing."""
    if not sys.stderr.isatty():
        yield lambda _what, _share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("reading", total=1.0)

        def show(what: str, share: float | None) -> None:
            bars.update(task, description=what, completed=share or 0.0, total=None if share is None else 1.0)

        yield show
