"""`archcast devices` and `archcast workloads`."""

from __future__ import annotations

from typing import Annotated

import typer

from archcast.cli.app import app, one_sentence_errors, print_json

Name = Annotated[str | None, typer.Argument(metavar="[NAME]", help="One entry; without it, all are listed.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document.")]
Vendor = Annotated[str, typer.Option(metavar="V", help="Only devices of this vendor.")]
DeviceKind = Annotated[
    str, typer.Option(metavar="K", help="Only gpu, cpu, npu, mcu, fpga, accelerator, or pipeline (of detectors).")
]
DeviceHas = Annotated[str, typer.Option(metavar="F", help="Only devices that compute in a number format, e.g. int4.")]
WorkloadKind = Annotated[str, typer.Option(metavar="K", help="Only a domain or family, e.g. vision, decoder.")]
WorkloadHas = Annotated[str, typer.Option(metavar="W", help="Only networks with a part or format, e.g. moe, mamba.")]


@app.command()
def devices(
    name: Name = None, kind: DeviceKind = "", vendor: Vendor = "", has: DeviceHas = "", as_json: Json = False
) -> None:
    """The devices (or, with --kind pipeline, experiments) that archcast knows; one with its figures and sources."""
    with one_sentence_errors():
        from archcast import listing

        if name is None and kind == listing.PIPELINE:
            from archcast.render.pipeline_listing import print_pipelines

            listing.no_filters(kind, vendor=vendor, has=has)
            found = listing.pipeline_rows()
            print_json({"pipelines": found}) if as_json else print_pipelines(found)
            return
        if name is None:
            rows = listing.device_rows(kind=kind, vendor=vendor, has=has)
            if as_json:
                print_json({"devices": rows})
                return
            from archcast.render.terminal import print_devices

            print_devices(rows)
            return
        from hardware_specs import DeviceSpec

        listing.no_filters(name, kind=kind, vendor=vendor, has=has)
        spec = listing.device(name)
        if as_json:
            print_json(spec.model_dump(mode="json"))
            return
        from archcast.render.pipeline_listing import print_pipeline
        from archcast.render.terminal import print_device

        print_device(spec) if isinstance(spec, DeviceSpec) else print_pipeline(spec)


@app.command()
def workloads(name: Name = None, kind: WorkloadKind = "", has: WorkloadHas = "", as_json: Json = False) -> None:
    """The networks that archcast knows; one with its parameters, MACs and knobs."""
    with one_sentence_errors():
        from archcast import listing

        if name is None:
            rows = listing.workload_rows(kind=kind, has=has)
            if as_json:
                print_json({"workloads": rows})
                return
            from archcast.render.terminal import print_workloads

            print_workloads(rows)
            return
        listing.no_filters(name, kind=kind, has=has)
        summary = listing.workload(name)
        if as_json:
            print_json(summary)
            return
        from archcast.render.terminal import print_workload

        print_workload(summary)
