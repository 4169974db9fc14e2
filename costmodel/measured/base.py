"""What every importer of measurements is, and which ones there are.

An importer reads one kind of foreign data (a data set, a profiler's trace) and yields tables in SI units, piece by
piece, so that a source of ten million rows never stands in memory at once. What it read, used and left out, and why,
goes into the request's report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Protocol

from foundation.errors import ArchcastError, BadFileError, UnknownNameError

ENTRY_POINTS = "archcast.measurements"
MOST_REASONS = 8
"""Reasons for leaving rows out that are printed; a card holds all."""


class Piece(Protocol):
    """A table of measurements: `MeasurementTable` (operators), or a table of whole models."""

    @property
    def rows(self) -> int:
        """Return how many measurements it holds."""
        ...


@dataclass
class ImportReport:
    """What an import did, in rows: `read` from files, `mapped` to the measurement table, `skipped` by reason."""

    read: int = 0
    mapped: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    def skip(self, reason: str, rows: int) -> None:
        """Note rows that were read and are left out."""
        if rows:
            self.skipped[reason] += int(rows)

    def to_json(self) -> dict[str, object]:
        """Return plain values, the most frequent reason first."""
        return {"read": self.read, "mapped": self.mapped, "skipped": dict(self.skipped.most_common())}

    def text(self) -> str:
        """Return one line for the sum, and one for each of the most frequent reasons."""
        lines = [f"{self.read:,} rows read, {self.mapped:,} used"]
        reasons = self.skipped.most_common()
        lines += [f"{rows:,} rows left out: {reason}" for reason, rows in reasons[:MOST_REASONS]]
        if more := reasons[MOST_REASONS:]:
            lines.append(f"{sum(rows for _, rows in more):,} rows left out for {len(more)} more reasons (in the card)")
        return "\n".join(lines)


def _silent(_what: str, _share: float) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class ImportRequest:
    """What is asked of an importer.

    `path` is a file or folder (None: where the importer finds its data by itself, e.g. an installed package).
    `devices` are catalogue ids; rows of others are left out (empty = all). `options` are the importer's own.
    `progress` is told what is being read and the share that is done, in [0, 1].
    """

    path: Path | None = None
    devices: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    progress: Callable[[str, float], None] = _silent
    report: ImportReport = field(default_factory=ImportReport)

    def needed_path(self, what: str) -> Path:
        """Return the path. Raises BadFileError where none is given; `what` says what it should be."""
        if self.path is None:
            raise BadFileError("(no file)", f"the import needs {what}.", hint="Name it as --import NAME=PATH.")
        return self.path

    def check_options(self, *known: str) -> None:
        """Raise UnknownNameError for an option that is none of `known`."""
        for name in self.options:
            if name not in known:
                raise UnknownNameError("option of the import", name, known, "" if known else "It has none.")


Loader = Callable[[ImportRequest], Iterator[Piece]]


@dataclass(frozen=True)
class MeasurementImporter:
    """Reads one kind of measured data.

    `describe` says in one line what it reads. `loader` is `module:function`, imported when it is used; the function
    takes an `ImportRequest` and yields tables, `MeasurementTable` or whole-model tables. Files are hostile: a loader
    bounds what it reads, executes nothing, and raises `BadFileError` with the place of a fault.
    """

    name: str
    describe: str
    loader: str

    def load(self, request: ImportRequest) -> Iterator[Piece]:
        """Yield the tables, and count their rows in the report. Raises BadFileError, UnsupportedError."""
        module, _, function = self.loader.partition(":")
        load: Loader = getattr(import_module(module), function)
        for piece in load(request):
            request.report.mapped += piece.rows
            yield piece


DATA_SETS: tuple[tuple[str, str, str], ...] = (
    ("archgym", "designs of simulated clusters by their knobs", "archgym:load_archgym"),
    ("argonne", "language models on eight kinds of accelerators", "served_models:load_argonne"),
    ("dosa", "layers on Gemmini arrays, simulated as RTL", "dosa:load_dosa"),
    ("hailo", "frame rates of vision networks on Hailo NPUs", "npu_vision:load_hailo"),
    ("helm", "idealised runtimes of language models", "helm:load_helm"),
    ("help", "latency of search-space networks on many devices", "help:load_help"),
    ("ibm_llm_pilot", "latency of language models by users", "served_models:load_ibm"),
    ("inferencex", "decode times of one unnamed node", "served_models:load_inferencex"),
    ("llm_edge", "decode rates of language models on small systems", "llm_edge:load_llm_edge"),
    ("llmcompass", "a few operators on A100 and MI210", "llmcompass:load_llmcompass"),
    ("llmservingsim", "layers of language models on GPUs and a TPU", "llmservingsim:load_llmservingsim"),
    ("ml_energy", "energy of served models on H100 and A100", "ml_energy:load_ml_energy"),
    ("mlperf", "MLPerf Inference and Training", "mlperf:load_mlperf"),
    ("mlperf_mobile", "MLPerf Mobile on phones", "mlperf_small:load_mobile"),
    ("mlperf_tiny", "MLPerf Tiny on microcontrollers and small NPUs", "mlperf_small:load_tiny"),
    ("neusight", "operators and whole models on eleven GPUs, FP32", "neusight:load_neusight"),
    ("qualcomm_ai_hub", "latency and memory on Qualcomm's NPUs", "qualcomm_ai_hub:load_qualcomm"),
    ("rknn", "frame rates of vision networks on Rockchip NPUs", "npu_vision:load_rknn"),
    ("silicon_sample", "served language models, TTFT and TPOT", "silicon_sample:load_silicon_sample"),
    ("simumax", "training steps and memory on eight B200", "training_runs:load_simumax"),
    ("splitwise", "phases of language models on A100 and H100", "training_runs:load_splitwise"),
    ("timm", "throughput of image networks", "timm:load_timm"),
    ("vidur", "operators of language models under tensor parallelism", "vidur:load_vidur"),
    ("vtrain", "training steps on eight A100", "training_runs:load_vtrain"),
    ("zeus", "training rate and power of image networks", "training_runs:load_zeus"),
)
"""Measured data sets in a folder each: name, what they hold, loader (docs/datasets.md)."""

IMPORTERS: dict[str, MeasurementImporter] = {
    i.name: i
    for i in (
        MeasurementImporter(
            "aiconfigurator", "operator tables of the package aiconfigurator-core, or a folder of them (Parquet)",
            "costmodel.measured.aiconfigurator:load_aiconfigurator",
        ),
        MeasurementImporter(
            "csv", "any CSV or Parquet table, its columns renamed and scaled by the option `map`",
            "costmodel.measured.csv_map:load_csv_map",
        ),
        MeasurementImporter(
            "kineto", "traces of PyTorch's profiler (export_chrome_trace), .json or .json.gz",
            "costmodel.measured.kineto:load_kineto",
        ),
        MeasurementImporter(
            "onnxruntime", "profiles of ONNX Runtime (enable_profiling), .json",
            "costmodel.measured.onnxruntime:load_onnxruntime",
        ),
        MeasurementImporter(
            "nsys", "SQLite exports of Nsight Systems (nsys export --type sqlite)",
            "costmodel.measured.nsys:load_nsys",
        ),
        MeasurementImporter(
            "chakra", "MLCommons Chakra execution traces in JSON", "costmodel.measured.chakra:load_chakra",
        ),
        *(
            MeasurementImporter(name, f"data set `{name}`: {what}", f"costmodel.measured.{loader}")
            for name, what, loader in DATA_SETS
        ),
    )
}  # fmt: skip
"""The built-in importers; other packages add theirs as entry points of the group `archcast.measurements`."""


def find_importer(name: str) -> MeasurementImporter:
    """Return the importer of that name: a built-in one, else that of an installed package.

    A plug-in that cannot be imported, or that is none, is passed over; it is named where its name was asked for.

    Raises:
        UnknownNameError: no such importer.
        BadFileError: the plug-in of that name cannot be used.
    """
    if name in IMPORTERS:
        return IMPORTERS[name]
    broken: dict[str, str] = {}
    found = {importer.name: importer for importer in plugins(broken)}
    if name in found:
        return _Guarded(name, found[name].describe, found[name].loader, found[name])
    if name in broken:
        raise BadFileError(f"importer '{name}'", f"the plug-in cannot be used ({broken[name]}).")
    raise UnknownNameError("importer of measurements", name, [*IMPORTERS, *found])


def plugins(broken: dict[str, str]) -> Iterator[MeasurementImporter]:
    """Yield the importers of installed packages; `broken` gains name and reason of each that cannot be used."""
    from importlib.metadata import entry_points  # opens every installed package: only for an unknown name

    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        try:
            importer = entry.load()
        except Exception as error:  # whatever a stranger's module raises when it is imported
            broken[entry.name] = f"{type(error).__name__}: {error}"
            continue
        if not isinstance(importer, MeasurementImporter):
            broken[entry.name] = f"an entry point must name a MeasurementImporter, not {type(importer).__name__}"
        elif importer.name in IMPORTERS:
            broken[entry.name] = f"the name '{importer.name}' is taken"
        else:
            yield importer


@dataclass(frozen=True)
class _Guarded(MeasurementImporter):
    """A plug-in's importer: what it raises by mistake becomes an error that names it."""

    inner: MeasurementImporter

    def load(self, request: ImportRequest) -> Iterator[Piece]:
        """Yield the tables of the plug-in. Raises BadFileError."""
        try:
            yield from self.inner.load(request)
        except ArchcastError:
            raise
        except Exception as error:
            problem = f"it failed ({type(error).__name__}: {error})."
            raise BadFileError(f"importer '{self.name}'", problem) from error
