"""`archcast allocate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archcast.cli.app import app, one_sentence_errors, parse_settings, print_json, print_text


@app.command()
def allocate(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A YAML file of `kind: allocate`.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a value of the file.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the joint draws of costs.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a self-contained page.")] = None,
) -> None:
    """Which option each item gets under shared budgets, how far that is proved, and what more of a budget buys."""
    with one_sentence_errors():
        from archcast.allocating.run import allocate as ask

        answer = ask(file, settings=parse_settings(settings), seed=seed)
        if html is not None:
            from archcast.render.allocate import write_allocate_html

            write_allocate_html(answer, html)
        if as_json:
            print_json(answer.to_json())
        else:
            print_text(answer.text())
