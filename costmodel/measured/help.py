"""HELP: latency of search-space networks on many devices (github.com/HayeonLee/HELP, MIT).

A column is a device, its suffix the batch (none = 1); values are ms for the whole batch. Traps: essential_ph_1, pixel2
and samsung_a50 hold whole milliseconds; on pixel3 and raspi4 cells whose output hangs on nothing come out below 0.5 ms
and are left out; eyeriss and fpga are estimates of tools, not boards (`source` says so). Many cells of NAS-Bench-201
are the same network: `group` is the class of a cell, so that a split keeps them together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from costmodel.measured.base import ImportRequest
from costmodel.measured.data_files import Columns, device_id, each, read_file, set_folder, whole_models
from foundation.errors import BadFileError
from workloads.table import Array
from workloads.workload_measurements import WorkloadMeasurements, params_text

SOURCE = "HELP, commit 45f70eb (MIT)"
ESTIMATES = ("eyeriss", "fpga")
DISCONNECTED_S, DISCONNECTED_ON = 0.5e-3, ("pixel3", "raspi4")
_EDGE = re.compile(r"([a-z0-9_]+)~(\d)")


@dataclass(frozen=True)
class _Space:
    """One search space: its file, its network here, the columns that describe an architecture, and how they do."""

    file: str
    workload: str
    described: tuple[str, ...]
    params: Callable[[tuple[str, ...]], str]
    group: Callable[[tuple[str, ...]], str]


def cell_class(cell: str) -> str:
    """Return the class of a NAS-Bench-201 cell: what its output is made of, '' where that is nothing.

    Zero edges carry nothing, skipped edges hand on what they read, and the order of terms of a sum does not matter
    (Dong & Yang 2020, arXiv 2001.00326, section 2; cells of one class are isomorphic).

    Raises:
        BadFileError: the text is no cell.
    """
    nodes: list[tuple[str, ...]] = [("0",)]
    for part in cell.split("|+|"):
        terms: list[str] = []
        edges = _EDGE.findall(part)
        if len(edges) != len(nodes):
            raise BadFileError("NAS-Bench-201", f"'{cell[:80]}' is no cell.")
        for operation, start in edges:
            read = nodes[int(start)] if int(start) < len(nodes) else ()
            if operation == "skip_connect":
                terms += read
            elif operation != "none" and read:
                terms.append(f"{operation}({'+'.join(read)})")
        nodes.append(tuple(sorted(terms)))
    return "+".join(nodes[-1])


def _sub_network(words: tuple[str, ...]) -> str:
    kernels, expand, depth = ([int(n) for n in word.split("-")] for word in words[:3])
    return params_text(kernels=kernels, expand=expand, depth=depth, image=int(words[3]))


SPACES = (
    _Space("nasbench201", "nas-bench-201", ("arch_str",), lambda w: params_text(cell=w[0]), lambda w: cell_class(w[0])),
    _Space("fbnet", "fbnet-space-32px", ("arch_str",), lambda w: params_text(blocks=w[0]), "|".join),
    _Space("ofa", "ofa-mbv3", ("ks", "expand", "depth", "resolution"), _sub_network, "/".join),
)


def load_help(request: ImportRequest) -> Iterator[WorkloadMeasurements]:
    """Yield one table a column. The option `space` names one of nasbench201, fbnet, ofa. Raises BadFileError."""
    request.check_options("space")
    folder = set_folder(request, "help")
    spaces = [space for space in SPACES if request.options.get("space", space.file) == space.file]
    for done, space in enumerate(spaces):
        request.progress(space.file, done / len(spaces))
        path = folder / f"{space.file}_latency_ms.csv.gz"
        columns, index, words = _read(path, space)
        params, group = (np.array([ask(word) for word in words], dtype=object) for ask in (space.params, space.group))
        for name, values in columns.items():
            table = _column(request, space, name, values * 1e-3, (index, params, group))
            if table is not None:
                yield table


def _read(path: Path, space: _Space) -> tuple[Columns, Array, list[tuple[str, ...]]]:
    """Return the columns of devices, the index of each row in the file, and its words."""
    header = read_file(path, (), (*space.described, "arch_idx"))
    devices = device_columns(path, space.described)
    found = read_file(path, devices)
    words = list(zip(*(header[name].tolist() for name in space.described), strict=True))
    return found, header["arch_idx"], words


def device_columns(path: Path, described: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the columns that hold latencies."""
    import gzip  # the header alone: which columns are devices is not known beforehand

    with gzip.open(path, "rt", encoding="utf-8") as text:
        names = text.readline(100_000).strip().split(",")
    return tuple(name for name in names if name not in (*described, "arch_idx"))


def batch_of(column: str) -> tuple[str, int]:
    """Return the device of a column and its batch: 'titan_rtx_256' is ('titan_rtx', 256), 'pixel2' ('pixel2', 1)."""
    found = re.fullmatch(r"(.+)_(1|32|64|256)", column)
    return (found[1], int(found[2])) if found and column != "essential_ph_1" else (column, 1)


def _column(
    request: ImportRequest, space: _Space, name: str, latency_s: Array, of_row: tuple[Array, Array, Array]
) -> WorkloadMeasurements | None:
    index, params, group = of_row
    device, batch = batch_of(name)
    request.report.read += len(latency_s)
    bad = ~(latency_s > 0)
    request.report.skip("no time in the row", int(bad.sum()))
    if space.file == "nasbench201" and device in DISCONNECTED_ON:
        short = ~bad & (latency_s < DISCONNECTED_S)
        request.report.skip("a cell whose output hangs on nothing, below 0.5 ms", int(short.sum()))
        bad |= short
    keep = ~bad
    source = f"{SOURCE}{', estimate of a tool' if device in ESTIMATES else ''}"
    return whole_models(
        request, f"HELP {space.file} {name}",
        {
            "device": device_id("help", device), "software": "", "source": source,
            "workload": each(index[keep], lambda _: space.workload), "batch": float(batch), "params": params[keep],
            "group": group[keep], "latency_s": latency_s[keep], "column": name, "arch_idx": index[keep],
        },
    )  # fmt: skip
