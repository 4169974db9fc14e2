"""`archcast measure`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from archcast.cli.app import app, one_sentence_errors, print_json, print_text

if TYPE_CHECKING:
    from archcast.measuring.sweep import Progress

_UNITS_S = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


@app.command()
def measure(
    out: Annotated[Path, typer.Option(metavar="FILE.csv", help="The table to write; networks go beside it.")],
    on: Annotated[str, typer.Option("--on", metavar="DEVICE", help="host-cpu or cuda.")] = "host-cpu",
    budget: Annotated[str, typer.Option(metavar="TIME", help="When to stop, such as 90s, 10min or 1h.")] = "120s",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the table of an earlier sweep.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Measure operators and small networks on this machine's processor or GPU, for `archcast calibrate`."""
    with one_sentence_errors():
        from archcast.measuring.sweep import measure as sweep

        with _progress() as told:
            done = sweep(out, on=on, budget_s=seconds_of(budget), resume=resume, progress=told)
        if as_json:
            print_json(done.to_json())
        else:
            print_text(done.text())


def seconds_of(text: str) -> float:
    """Return a time such as `120s`, `10min`, `1h` or `120` in seconds.

    Raises:
        BadValueError: it is none.
    """
    from foundation.errors import BadValueError

    found = re.fullmatch(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*(s|m|min|h)?\s*", text)
    if found is None:
        raise BadValueError(f"--budget takes a time such as 90s, 10min or 1h, not '{text[:40]}'.")
    return float(found[1]) * _UNITS_S[found[2] or ""]


@contextmanager
def _progress() -> Iterator[Progress]:
    """Yield what shows a bar on stderr where that is a terminal, and nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda share, rows, what: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda share, rows, what: bar.update(task, completed=share, description=f"{rows} rows, {what}")
