"""`archcast serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archcast.cli.app import app, one_sentence_errors


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; others than loopback need a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8000,
    workers: Annotated[int, typer.Option(help="Processes that answer.")] = 1,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File with the token to demand; or ARCHCAST_TOKEN.")
    ] = None,
    data: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Where jobs and uploads are kept.")] = None,
    job_workers: Annotated[int, typer.Option(help="Jobs that run at once; 0 leaves them to another service.")] = 1,
    cache_bytes: Annotated[
        int, typer.Option(help="Bytes of answers to keep in each process; 0 keeps none.")
    ] = 64_000_000,
    no_log: Annotated[bool, typer.Option("--no-log", help="Write no line a request.")] = False,
) -> None:
    """Answer over HTTP: a page, a JSON interface, long questions as jobs."""
    with one_sentence_errors():
        from archcast.service.settings import Limits, Settings, data_folder, read_token

        settings = Settings(
            host=host, port=port, workers=workers, token=read_token(token_file), data=data or data_folder(),
            log=not no_log, job_workers=job_workers,
            limits=Limits(cache_bytes=cache_bytes),
        )  # fmt: skip
        from archcast.service.running import serve as run

        run(settings)
