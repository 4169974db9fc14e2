"""`archcast simulate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archcast.cli.app import app, one_sentence_errors, parse_settings, print_json, print_text


@app.command()
def simulate(
    file: Annotated[
        str, typer.Argument(metavar="FILE|NAME", help="A YAML file, a pipeline of the catalogue, or an example.")
    ],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a value of the file.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of every random stream.")] = 0,
    replications: Annotated[int | None, typer.Option(help="Independent runs (default: as the file says).")] = None,
    trace: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a Chrome trace (for Perfetto).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the answer as a page.")] = None,
) -> None:
    """Run a task graph, a workload, a service, a data-acquisition pipeline, an edge or a cluster, in time."""
    with one_sentence_errors():
        from archcast.simulation import simulate as run
        from archcast.simulation import write_timeline_html, write_trace

        result = run(file, settings=parse_settings(settings), seed=seed, replications=replications)
        if trace is not None:
            write_trace(result, trace)
        if html is not None:
            write_timeline_html(result, html)
        if as_json:
            print_json(result.to_json())
        else:
            print_text(result.text())
