"""`archcast search`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from archcast.cli.app import app, one_sentence_errors, print_json, print_text

THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


@app.command()
def search(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A YAML file of `kind: search`.")],
    method: Annotated[str, typer.Option(metavar="NAME", help="How designs are chosen, instead of the file's.")] = "",
    evaluations: Annotated[int, typer.Option(help="Designs that an adaptive method evaluates.")] = 0,
    fidelity: Annotated[str, typer.Option(metavar="NAME", help="How closely they are valued, as events.")] = "",
    seed: Annotated[int, typer.Option(help="Seed of every random stream.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes (0: one a core); the answer is the same.")] = 1,
    executor: Annotated[str, typer.Option(metavar="NAME", help="serial, processes or dask.")] = "",
    address: Annotated[str, typer.Option(metavar="URL", help="Scheduler of a Dask cluster.")] = "",
    resume: Annotated[str, typer.Option(metavar="FOLDER", help="Keep what is done there; go on from it.")] = "",
    log: Annotated[str, typer.Option(metavar="FILE", help="Write all evaluations (.parquet, .csv).")] = "",
    shard: Annotated[str, typer.Option(metavar="I/N", help="Only the I-th of N equal parts of the designs.")] = "",
    merge: Annotated[
        list[str] | None, typer.Option(metavar="ANSWER", help="Put JSON answers of shards together (repeatable).")
    ] = None,
    proxy_from: Annotated[
        str, typer.Option(metavar="LOG", help="A proxy of this log (or --resume folder) for the closed form.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a self-contained page.")] = None,
) -> None:
    """The designs of a space that no other is better than, what limits them, and what each knob can reach."""
    with one_sentence_errors():
        _one_thread()
        from archcast.searching.run import search as ask
        from foundation.errors import BadValueError

        if merge and shard:
            raise BadValueError("--shard evaluates a part and --merge puts parts together; give one of them.")
        if merge and proxy_from:
            raise BadValueError("a search on a proxy runs whole: --merge does not go with --proxy-from.")
        if merge:
            from archcast.searching.merging import merge as put_together

            answer = put_together(file, merge)
        else:
            with _progress() as tell:
                answer = ask(
                    file, method=method, evaluations=evaluations, fidelity=fidelity, seed=seed, shard=shard,
                    workers=workers, executor=executor, address=address, resume=resume, log=log,
                    proxy_from=proxy_from, progress=tell,
                )  # fmt: skip
        if html is not None:
            from archcast.render.search import write_search_html

            write_search_html(answer, html)
        if as_json:
            print_json(answer.to_json())
        else:
            from archcast.render.search_text import search_text

            print_text(search_text(answer))


def _one_thread() -> None:
    """Keep libraries of linear algebra to one thread, unless the environment says otherwise; they read it once.

    Matrices of the method `bayesian` are small: more threads wait for each other longer than they work.
    """
    if "numpy" not in sys.modules:
        for name in THREADS:
            os.environ.setdefault(name, "1")


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None] | None]:
    """Yield what shows the progress: a bar on stderr where that is a terminal, else nothing."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.completed:,.0f} designs"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("designs", total=None)
        yield lambda done, whole: bars.update(task, completed=done, total=whole)
