"""`archcast predict` and `archcast predict-ops`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from archcast.cli.app import app, one_sentence_errors, parse_settings, print_json

Workload = Annotated[str, typer.Argument(metavar="WORKLOAD", help="A name, a config.json, an ONNX or a YAML file.")]
CostModel = Annotated[
    str | None, typer.Option(metavar="DIR", help="A calibrated artefact, or physics; default: the one that ships.")
]
Device = Annotated[str, typer.Option("--on", metavar="DEVICE", help="A catalogue id or a YAML file.")]


@app.command()
def predict(
    workload: Workload,
    on: Device,
    count: Annotated[int | None, typer.Option(help="Devices; alone, the fastest mapping that fits is chosen.")] = None,
    batch: Annotated[int, typer.Option(help="Requests that start together.")] = 1,
    prompt: Annotated[int | None, typer.Option(help="Prompt tokens a request; default: the model's.")] = None,
    generate: Annotated[int | None, typer.Option(help="Generated tokens a request; default: the model's.")] = None,
    concurrency: Annotated[
        int | None, typer.Option(help="Requests in service all the time, instead of --batch.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="Number format of weights and activations; default: the model's.")] = "",
    kv_dtype: Annotated[str, typer.Option(help="Number format of the KV cache.")] = "",
    tp: Annotated[int, typer.Option(help="Tensor-parallel size.")] = 1,
    pp: Annotated[int, typer.Option(help="Pipeline stages.")] = 1,
    ep: Annotated[int, typer.Option(help="Ranks that experts are spread over.")] = 1,
    dp: Annotated[int, typer.Option(help="Data-parallel replicas.")] = 1,
    cp: Annotated[int, typer.Option(help="Ranks that divide prompts and caches.")] = 1,
    software: Annotated[str, typer.Option(help="Runtime, or software stack whose calibration applies.")] = "",
    allow_fallback: Annotated[
        bool, typer.Option("--allow-fallback", help="Compute in the nearest format that the device has.")
    ] = False,
    mode: Annotated[str, typer.Option(help="infer or train.")] = "infer",
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KNOB=VALUE", help="Change a knob of the model.")
    ] = None,
    model: CostModel = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show where the time goes.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a self-contained page.")] = None,
) -> None:
    """What a workload costs on a device: time, energy, memory, money, traffic."""
    with one_sentence_errors():
        from archcast.edge import edge_report
        from archcast.prediction import predict as ask
        from archcast.question import find_target

        estimate = ask(
            workload, on=on, batch=batch, prompt=prompt, generate=generate, concurrency=concurrency, dtype=dtype,
            kv_dtype=kv_dtype, count=count, tp=tp, pp=pp, ep=ep, dp=dp, cp=cp, software=software,
            mode=mode, knobs=parse_settings(settings), model=model, allow_fallback=allow_fallback,
        )  # fmt: skip
        report = edge_report(estimate, find_target(on).spec)
        if report is not None:
            estimate = replace(estimate, notes=(*estimate.notes, *report.lines()))
        if html is not None:
            from archcast.render.html import write_html
            from archcast.simulation import timeline_of

            write_html(estimate, html, timeline_of(estimate), device=find_target(on).spec)
        if as_json:
            document = estimate.to_json()
            if explain and estimate.latency_s is not None:
                document["explain"] = estimate.explain().to_json()
            if report is not None:
                document["edge"] = report.to_json()
            print_json(document)
        else:
            from archcast.render.terminal import print_estimate

            print_estimate(estimate, explain=explain)


@app.command("predict-ops")
def predict_ops(
    operators: Annotated[Path, typer.Argument(metavar="OPS", help="A measurement table, CSV or Parquet.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where to write the table with costs added.")],
    model: CostModel = None,
) -> None:
    """Price every operator of a table; rows keep their order, cost columns are added."""
    with one_sentence_errors():
        from archcast.operators import predict_ops_file

        predict_ops_file(operators, out, model)
