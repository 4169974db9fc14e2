"""`archcast plan`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from archcast.cli.app import app, one_sentence_errors, parse_settings, print_json, print_text

if TYPE_CHECKING:
    from archcast.growing.answer import Growth
    from archcast.planning.pipeline_answer import PipelinePlan


@app.command()
def plan(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A YAML file of `kind: plan`.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a value of the file.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every random stream.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a self-contained page.")] = None,
) -> None:
    """The cheapest fleet that serves a demand within its objectives, or what to buy now and later as demand grows."""
    with one_sentence_errors():
        from archcast.planning.run import plan as ask
        from simulator.streams import DEFAULT_SEED

        answer = ask(file, settings=parse_settings(settings), seed=DEFAULT_SEED if seed is None else seed)
        from archcast.planning.answer import Plan

        if not isinstance(answer, Plan):
            _print_farm(answer, as_json, html)
            return
        if html is not None:
            from archcast.render.plan import write_plan_html

            write_plan_html(answer, html)
        if as_json:
            print_json(answer.to_json())
        else:
            from archcast.render.plan_text import plan_text

            print_text(plan_text(answer))


def _print_farm(answer: PipelinePlan | Growth, as_json: bool, html: Path | None) -> None:
    """Print the farm of a pipeline's stage, or purchases over time, and write its page."""
    if html is not None:
        from foundation.files import write_text_whole

        write_text_whole(html, answer.page())
    if as_json:
        print_json(answer.to_json())
    else:
        print_text(answer.text())
