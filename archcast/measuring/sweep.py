"""`measure`: a sweep over a device's operators until the budget ends, then its whole networks."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from archcast.measuring.backends.base import Backend, Network, Row
from archcast.measuring.choose import Chooser
from archcast.measuring.machine import busy_share, pinned
from archcast.measuring.repeats import Timing
from archcast.measuring.rows_file import NETWORK_COLUMNS, OPERATOR_COLUMNS, SIZES, RowsFile
from costmodel.rates import Rates, compile_rates
from foundation.checks import finite_number
from foundation.errors import BadFileError, UnknownNameError, UnsupportedError
from hardware_specs import load_device
from hardware_specs.catalogue import HOST_CPU
from workloads.table import DEFAULTS, OpTable

TARGETS = (HOST_CPU, "cuda")
MOST_BUDGET_S = 7 * 86400.0
NETWORK_SHARE, MOST_NETWORKS_S = 0.2, 40.0
"""Part of the budget that is kept for whole networks, and the most of it in seconds."""
OPERATOR_LIMIT_S, NETWORK_LIMIT_S = 0.4, 2.0
"""Seconds after which an operator, a network, is repeated no more."""
BUSY_WINDOW_S, MOST_BUSY = 0.3, 0.1
"""How long the cores are watched before a sweep, and the share of other work that is worth a word."""
LEAST_LEFT_S = 1.5
"""With less than this left, setting up a network would pass the budget."""
STRATUM_WEIGHTS: dict[str, float] = {"gemm": 4.0, "conv2d": 2.0, "attention": 1.5}
ASIDE = 0.03
"""Families that most of a network's time goes to are worth more of the budget; int8 and a second stack a thirtieth."""

Progress = Callable[[float, int, str], None]
"""Told the share of the budget that is spent, the rows so far, and what is measured now."""


@dataclass(frozen=True)
class Sweep:
    """What a sweep did. `missing` says what could not be measured and why; `stopped` why it ended.

    `busy_share` is the share of the cores that other work used just before it began.
    """

    file: str
    networks_file: str
    device: str
    software: tuple[str, ...]
    rows: int
    earlier_rows: int
    networks: int
    seconds: float
    stopped: str
    missing: tuple[str, ...]
    operators: dict[str, int]
    busy_share: float = math.nan

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            "file": self.file, "networks_file": self.networks_file, "device": self.device,
            "software": list(self.software), "rows": self.rows, "earlier_rows": self.earlier_rows,
            "networks": self.networks, "measured_s": self.seconds, "stopped": self.stopped,
            "missing": list(self.missing), "operators": self.operators,
            "busy_share": None if math.isnan(self.busy_share) else self.busy_share,
        }  # fmt: skip

    def _disturbed(self) -> str:
        if not self.busy_share > MOST_BUSY:
            return ""
        return (
            f" Other work used {self.busy_share:.0%} of the cores, so times may be too long: measure again without it."
        )

    def text(self) -> str:
        """Return one line for a terminal."""
        before = f" (and {self.earlier_rows:,} from before)" if self.earlier_rows else ""
        networks = f" and {self.networks} networks in {self.networks_file}" if self.networks else ""
        lacks = f" Not measured: {'; '.join(self.missing)}." if self.missing else ""
        return (
            f"{self.rows:,} operators of {self.device}{before} in {self.file}{networks}, in {self.seconds:.0f} s "
            f"({self.stopped}).{lacks}{self._disturbed()}"
        )


def measure(
    out: str | Path, *, on: str = HOST_CPU, budget_s: float = 120.0, resume: bool = False,
    progress: Progress = lambda share, rows, what: None, backends: Sequence[Backend] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Sweep:  # fmt: skip
    """Measure this machine's processor or GPU and append every row to the CSV `out` (docs/measurements.md).

    Args:
        on: `host-cpu` or `cuda`.
        budget_s: wall-clock seconds, set-up included.
        resume: go on with a file of an earlier sweep; nothing is measured twice.
        backends: what runs the operators (None: what is installed for `on`).

    Raises:
        UnknownNameError: `on` is neither. BadValueError: the budget. BadFileError: `out` cannot be used.
        UnsupportedError: nothing is installed that could run there.
    """
    started = clock()
    budget_s = finite_number("budget_s", budget_s, low=1.0, high=MOST_BUDGET_S)
    if on not in TARGETS:
        raise UnknownNameError("device to measure", on, TARGETS, "Others are measured on their own machine.")
    if not resume and networks_path(out).exists():
        raise BadFileError(networks_path(out), "the file is there already.", hint="Add --resume to go on with it.")
    table = RowsFile(out, OPERATOR_COLUMNS, resume=resume)
    networks = RowsFile(networks_path(out), NETWORK_COLUMNS, resume=resume)
    try:
        with pinned() as cores:
            used, missing = installed(on, len(cores)) if backends is None else (list(backends), [])
            run = _Run(used, table, networks, started + budget_s, clock, progress, budget_s, missing)
            busy = busy_share(BUSY_WINDOW_S) if backends is None and on == HOST_CPU else math.nan
            return replace(run.all(started), busy_share=busy)
    finally:
        table.close()
        networks.close()
        if not networks.rows:
            networks.path.unlink(missing_ok=True)


def networks_path(out: str | Path) -> Path:
    """Return where whole networks go: beside the operators, since a table holds the one or the other."""
    return Path(out).with_name(f"{Path(out).stem}.networks{Path(out).suffix}")


def installed(on: str, threads: int) -> tuple[list[Backend], list[str]]:
    """Return the backends of this machine, and what is missing. Raises UnsupportedError where there is none."""
    if on == "cuda":
        from archcast.measuring.backends.torch_cuda import cuda_backend

        return [cuda_backend()], []
    from archcast.measuring.backends.numpy_host import NumpyBackend

    found: list[Backend] = []
    missing: list[str] = []
    try:
        import onnx  # noqa: F401

        from archcast.measuring.backends.onnxruntime_host import OnnxRuntimeBackend

        found.append(OnnxRuntimeBackend(threads))
    except ImportError as error:
        missing.append(
            f"networks and all that ONNX Runtime runs ({error.name} is absent: pip install archcast[measure])"
        )
    return [*found, NumpyBackend(threads)], missing


def operator_table(rows: Sequence[Row]) -> OpTable:
    """Return operators given as rows of names and sizes as columns."""
    names = [name for name in SIZES if any(name in row for row in rows)]
    columns = {name: [row.get(name, DEFAULTS.get(name, "")) for row in rows] for name in names}
    return OpTable.from_columns(columns)


@dataclass
class _Run:
    """One sweep: the backends, the two files, and when it must end."""

    backends: Sequence[Backend]
    table: RowsFile
    networks: RowsFile
    deadline: float
    clock: Callable[[], float]
    progress: Progress
    budget_s: float
    missing: list[str]

    def all(self, started: float) -> Sweep:
        """Measure operators, then networks."""
        source = self._source()
        earlier, earlier_networks = len(self.table), len(self.networks)
        stopped = "budget spent"
        try:
            stopped = self._operators(source)
            for _ in self._whole(source):
                pass
        except KeyboardInterrupt:  # every row is on the disk: what is there is reported, and --resume goes on
            stopped = "interrupted"
        return Sweep(
            str(self.table.path), str(self.networks.path), self.backends[0].device,
            tuple(b.software for b in self.backends), len(self.table) - earlier, earlier,
            len(self.networks) - earlier_networks, self.clock() - started, stopped, tuple(self.missing),
            dict(Counter(row["op"] for row in self.table.rows)),
        )  # fmt: skip

    def _source(self) -> str:
        """Return where the rows are from. Raises BadFileError: the file's rows are from another machine."""
        spec = load_device(self.backends[0].device)
        source = f"archcast measure on {spec.name}"
        others = {row["source"] for row in (*self.table.rows, *self.networks.rows)} - {source}
        if others:
            raise BadFileError(self.table.path, f"its rows are of '{min(others)}', not of this machine ('{source}').")
        return source

    def _left(self) -> float:
        return self.deadline - self.clock()

    def _operators(self, source: str) -> str:
        """Measure operators until the budget or the pool ends; returns which."""
        pool = [(backend, row) for backend in self.backends for row in backend.candidates()]
        rates = compile_rates(load_device(self.backends[0].device))
        chooser = self._chooser(pool, rates)
        reserve = min(NETWORK_SHARE * self.budget_s, MOST_NETWORKS_S) if self._unmeasured() else 0.0
        while (index := chooser.next(self._left() - reserve)) is not None:
            backend, row = pool[index]
            self.progress(1 - self._left() / self.budget_s, len(self.table), f"{row['op']} {row['dtype']}")
            begin = self.clock()
            try:
                timing = backend.measure(row, min(OPERATOR_LIMIT_S, max(self._left() - reserve, 0.0)))
            except UnsupportedError as error:
                chooser.skip(index)
                self._note(f"{row['op']} in {row['dtype']} ({error})")
                continue
            self.table.append(self._row(backend, source, row, timing))
            noise = timing.latency_std_s / timing.latency_s
            chooser.record(index, timing.latency_s, self.clock() - begin, noise)
        return "budget spent" if chooser.any_left() else "nothing is left to measure"

    def _chooser(self, pool: Sequence[tuple[Backend, Row]], rates: Rates) -> Chooser:
        """Return what chooses from the pool, told what an earlier sweep has measured."""
        kernels = [(backend.software, str(row["op"]), str(row["dtype"])) for backend, row in pool]
        names = list(dict.fromkeys(kernels))
        strata = np.array([names.index(kernel) for kernel in kernels])
        first = self.backends[0].software
        weights = [
            STRATUM_WEIGHTS.get(op, 1.0) * (1.0 if software == first and dtype != "int8" else ASIDE)
            for software, op, dtype in names
        ]
        chooser = Chooser(operator_table([row for _, row in pool]), strata, weights, rates)
        known = {self.table.key(row): _known(row) for row in self.table.rows if row["latency_s"]}
        for index, (backend, row) in enumerate(pool):
            key = self.table.key({"device": backend.device, "software": backend.software, **row})
            if key in known:
                latency_s, noise = known[key]
                chooser.record(index, latency_s, None, noise)
        return chooser

    def _row(self, backend: Backend, source: str, row: Row, timing: Timing) -> dict[str, Any]:
        return {
            "device": backend.device, "software": backend.software, "source": source, **row, **_measured(timing)
        }  # fmt: skip

    def _unmeasured(self) -> list[tuple[Backend, Network]]:
        return [(backend, network) for backend in self.backends for network in backend.networks()
                if not self.networks.has(self._network_row(backend, "", network))]  # fmt: skip

    def _network_row(self, backend: Backend, source: str, network: Network) -> dict[str, Any]:
        return {
            "device": backend.device, "software": backend.software, "source": source, "op": "workload",
            "workload": network.workload, "dtype": "fp32", "batch": network.batch, "prompt": network.prompt,
            "generate": None if network.prompt is None else 2 if network.decode else 1,
            "params": json.dumps(dict(network.knobs), sort_keys=True) if network.knobs else "",
        }  # fmt: skip

    def _whole(self, source: str) -> Iterator[Network]:
        """Measure whole networks while there is time."""
        for backend, network in self._unmeasured():
            if self._left() < LEAST_LEFT_S:
                return
            self.progress(1 - self._left() / self.budget_s, len(self.table), network.workload)
            try:
                timing = backend.measure_network(network, min(NETWORK_LIMIT_S, self._left() / 2))
            except UnsupportedError as error:
                self._note(f"{network.workload} ({error})")
                continue
            row = self._network_row(backend, source, network) | _measured(timing)
            if network.decode:  # one step is the time of one token
                row |= {"latency_s": math.nan, "tpot_s": timing.latency_s}
            self.networks.append(row)
            yield network

    def _note(self, reason: str) -> None:
        """Keep the first reason of each kind of failure, three in all."""
        kind = reason.partition(" (")[0]
        if len(self.missing) < 4 and not any(known.startswith(kind) for known in self.missing):
            self.missing.append(reason.rstrip("."))


def _known(row: Mapping[str, str]) -> tuple[float, float]:
    """Return latency and relative spread of a row of the table."""
    latency_s = float(row["latency_s"])
    return latency_s, float(row["latency_std_s"] or 0.0) / latency_s


def _measured(timing: Timing) -> dict[str, Any]:
    return {
        "latency_s": timing.latency_s, "energy_j": timing.energy_j, "power_w": timing.power_w,
        "memory_bytes": timing.memory_bytes, "n_repeat": timing.n_repeat, "latency_std_s": timing.latency_std_s,
    }  # fmt: skip
