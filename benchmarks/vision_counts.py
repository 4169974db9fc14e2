"""Parameters and multiply-accumulates of every image network of the catalogue against timm's benchmark table.

Run: `PYTHONPATH=. python benchmarks/vision_counts.py` beside the reference data (`ARCHCAST_DATA`, or `../shared/data`).
Prints one line a family (networks, rows, worst error of the multiply-accumulates as timm's counter counts them, of
those alone, and of the parameters), and the totals. docs/vision.md says what the counter counts.
"""

from __future__ import annotations

import csv
import gzip
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from costmodel.measured.timm import OTHER_NETWORKS
from costmodel.measured.timm import timm_family as family_of
from workloads.catalogue import architecture_facts, load_model, workload_names
from workloads.graph import WorkloadGraph, as_table
from workloads.model import Request
from workloads.work import count_work

ROUNDING_MACS = 0.005e9
"""Half a unit of the last decimal of `infer_gmacs`; that of `param_count` is the same in millions."""
ROUNDING_PARAMETERS = 0.005e6

NORM_COUNTS = {2.0: 2.0, 4.0: 0.0}
"""What fvcore counts an element of a normalisation, by our operations an element: batch 2, root mean square nothing,
every other one 5 (`batchnorm_flop_jit` and `norm_flop_counter` of fvcore.nn.jit_handles)."""


@dataclass(frozen=True)
class Row:
    """What the table says about a network at one image size: MACs, and parameters, both as rounded there."""

    image: int
    macs: float
    parameters: float


@dataclass(frozen=True)
class Comparison:
    """One network of the catalogue against one row; errors are relative, after the row's rounding is allowed for.

    `plain_error` compares with the multiply-accumulates alone, without what the counter adds for normalisations.
    """

    name: str
    timm: str
    image: int
    macs_error: float
    plain_error: float
    parameter_error: float


def data_folder() -> Path:
    """Return the folder of reference data."""
    return Path(os.environ.get("ARCHCAST_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")


def timm_rows(folder: Path) -> dict[str, list[Row]]:
    """Return the rows of each network: for every image size and every form of it, what the newest torch reports.

    Forms differ in parameters by more than 1 %: before and after parallel branches are merged for inference.
    """
    forms: dict[tuple[str, int], list[tuple[int, Row]]] = {}
    with gzip.open(folder / "timm" / "benchmark.csv.gz", "rt") as file:
        for row in csv.DictReader(file):
            if not row["infer_gmacs"]:
                continue
            version = _torch_version(row["config"])
            name, image = row["model"].split(".")[0], round(float(row["infer_img_size"]))
            one = Row(image, float(row["infer_gmacs"]) * 1e9, float(row["param_count"]) * 1e6)
            found = forms.setdefault((name, image), [])
            same = (i for i, (_, known) in enumerate(found) if abs(known.parameters / one.parameters - 1) < 0.01)
            place = next(same, None)
            if place is None:
                found.append((version, one))
            elif version >= found[place][0]:
                found[place] = (version, one)
    rows: dict[str, list[Row]] = {}
    for (name, image), found in forms.items():
        if (name, image) not in OTHER_NETWORKS:
            rows.setdefault(name, []).extend(one for _, one in found)
    return rows


@cache
def _torch_version(config: str) -> int:
    """Return the torch version of a configuration such as `infer-amp-nchw-pt291-cu128-4090`: 291; 0 without one."""
    version = re.search(r"pt(\d+)", config)
    return int(version[1]) if version else 0


def counted_macs(graph: WorkloadGraph, counts: str = "") -> tuple[float, float]:
    """Return the MACs of a graph as timm's counter sees them, and those alone.

    `counts` is `no-attention` where its counter does not see the attention (one fused kernel), `standardised-4` or
    `-5` where it counts so many operations a weight for the standardisation of filters (without, with a gain), and
    `no-depthwise` where it does not see depthwise convolutions (those that pad by name).
    """
    plain = graph.macs()
    hidden, norms = 0.0, 0.0
    for block in graph.blocks:
        for o in block.operators:
            unseen = (o.op == "attention" and counts == "no-attention") or (
                o.op == "conv2d" and counts == "no-depthwise" and o.shape["groups"] == o.shape["c_in"]
            )
            if unseen:
                hidden += block.count * float(count_work(as_table([o])).macs.sum())
            elif o.op == "norm":
                each = NORM_COUNTS.get(o.shape.get("flop_per_element", 0), 5.0)
                norms += block.count * each * float(o.shape["rows"] * o.shape["hidden"])
            elif o.op == "conv2d" and counts.startswith("standardised-"):
                filters = o.shape["kh"] * o.shape["kw"] * o.shape["c_in"] / o.shape["groups"] * o.shape["c_out"]
                norms += block.count * float(counts.removeprefix("standardised-")) * filters
    return plain - hidden + norms, plain - hidden


def compare(name: str, rows: dict[str, list[Row]]) -> Iterator[Comparison]:
    """Yield the comparisons of one network of the catalogue, one an image size, with the row of its form."""
    facts = architecture_facts(name)
    found = rows.get(facts["timm"], ())
    for image in sorted({row.image for row in found}):
        graph = load_model(name, {"image": image}).workload(Request()).graph
        row = min((row for row in found if row.image == image), key=lambda row: abs(row.parameters - graph.parameters))
        whole, plain = counted_macs(graph, facts.get("timm_counts", ""))
        yield Comparison(
            name, facts["timm"], image, relative(whole, row.macs, ROUNDING_MACS),
            relative(plain, row.macs, ROUNDING_MACS), relative(graph.parameters, row.parameters, ROUNDING_PARAMETERS),
        )  # fmt: skip


def relative(found: float, expected: float, rounding: float) -> float:
    """Return the relative error beyond what the rounding of `expected` explains."""
    return max(0.0, abs(found - expected) - rounding) / expected


def timm_networks() -> list[str]:
    """Return the networks of the catalogue that state their name in timm's tables."""
    return [name for name in workload_names() if "timm" in architecture_facts(name)]


def table(folder: Path) -> list[dict[str, Any]]:
    """Return one line a family: networks, rows, worst errors."""
    rows = timm_rows(folder)
    found: dict[str, list[Comparison]] = {}
    for name in timm_networks():
        for one in compare(name, rows):
            found.setdefault(family_of(one.timm), []).append(one)
    return [
        {
            "family": family, "networks": len({c.name for c in items}), "rows": len(items),
            "macs": max(c.macs_error for c in items), "plain": max(c.plain_error for c in items),
            "parameters": max(c.parameter_error for c in items),
        }
        for family, items in sorted(found.items())
    ]  # fmt: skip


def main() -> None:
    """Print the table as Markdown."""
    folder = data_folder()
    if not folder.is_dir():
        sys.exit(f"no reference data in {folder}: set ARCHCAST_DATA")
    lines = table(folder)
    print("| family | networks | rows | worst MACs | MACs alone | worst parameters |\n|---|---|---|---|---|---|")
    for line in lines:
        print(
            f"| {line['family']} | {line['networks']} | {line['rows']} | {line['macs']:.2%} | {line['plain']:.2%} "
            f"| {line['parameters']:.2%} |"
        )
    total = {key: sum(line[key] for line in lines) for key in ("networks", "rows")}
    worst = {key: max(line[key] for line in lines) for key in ("macs", "plain", "parameters")}
    print(
        f"| **{len(lines)} families** | {total['networks']} | {total['rows']} | {worst['macs']:.2%} "
        f"| {worst['plain']:.2%} | {worst['parameters']:.2%} |"
    )


if __name__ == "__main__":
    main()
