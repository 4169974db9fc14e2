"""`archcast validate`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from archcast.cli.app import app, one_sentence_errors, print_json, print_text

if TYPE_CHECKING:
    from archcast.validation.run import Validation


@app.command()
def validate(
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder of data sets; else the variable ARCHCAST_DATA.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Score this artefact, on rows that it has not seen.")
    ] = None,
    only: Annotated[str, typer.Option(metavar="NAME,...", help="Only these cases; a name's beginning is enough.")] = "",
    seed: Annotated[int, typer.Option(help="Seed of samples, splits and fits.")] = 0,
    seeds: Annotated[int, typer.Option(help="So many seeds, from --seed on: prints mean and worst.")] = 1,
    full: Annotated[bool, typer.Option("--full", help="Use every row, not a sample of each kernel: hours.")] = False,
    page: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write a Markdown page, and its figure under images/.")
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write a self-contained page.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Score predictions against measured data on held-out groups, beside named baselines."""
    with one_sentence_errors():
        from archcast.validation import report
        from archcast.validation.run import validate as score

        names = [name.strip() for name in only.split(",") if name.strip()]
        with _progress() as progress:
            found = score(data, model=model, only=names, seed=seed, seeds=seeds, full=full, progress=progress)
        if as_json:  # first what was asked for, which took long; then the files
            print_json(report.to_json(found))
        else:
            print_text(report.text(found))
        if page is not None:
            from archcast.validation.document import write_page

            write_page(found, page)
        if html is not None:
            _write_html(found, html)


def _write_html(found: Validation, path: Path) -> None:
    """Write the page, with the figure where matplotlib is installed."""
    from archcast.validation import figure, report
    from foundation.errors import UnsupportedError
    from foundation.files import write_text_whole

    try:
        drawing = figure.svg(found)
    except UnsupportedError:
        drawing = ""
    write_text_whole(path, report.html(found, drawing))


@contextmanager
def _progress() -> Iterator[Callable[[str, float], None]]:
    """Yield what shows the progress: a bar on stderr where that is a terminal, else nothing."""
    if not sys.stderr.isatty():
        yield lambda _what, _share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("reading", total=1.0)
        yield lambda what, share: bars.update(task, description=what, completed=share)
