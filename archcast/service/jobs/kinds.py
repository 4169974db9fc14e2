"""What the kinds of jobs run: each a function of (request, report, folder) whose answer is the result's document.

They run in a process of their own, whose working folder is the job's; uploads that a request names are put there
before. A request holds documents, names of the catalogues and names of uploads, never a path of the server.
"""

from __future__ import annotations

import inspect
import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from archcast.service.jobs.artefacts import may_be_job
from archcast.service.jobs.requests import no_paths, words_of
from archcast.service.jobs.uploads import MEASUREMENTS, Uploads
from foundation.errors import BadValueError, UnknownNameError, UnsupportedError
from foundation.yaml_file import key_text

Report = Callable[..., None]
"""report(done, whole=0, note=""): tells how far the job is."""

KINDS: dict[str, str] = {
    name: f"archcast.service.jobs.kinds:{name}" for name in ("simulate", "calibrate", "search", "plan", "allocate")
}
TAKEN: dict[str, tuple[str, ...]] = {
    "simulate": ("file", "settings", "seed", "replications"),
    "calibrate": ("uploads", "exclude", "devices", "column_map", "skip_bad", "seed", "max_rows", "base"),
    "search": ("file", "method", "evaluations", "fidelity", "seed", "shard"),
    "plan": ("file", "settings", "seed"),
    "allocate": ("file", "settings", "seed"),
}
"""The keys of a request of each kind."""
FILE = "request.yaml"
_FILE = re.compile(r"\.(csv|parquet|onnx|csv\.gz|jsonl?|ya?ml)$", re.IGNORECASE)
"""Endings of the files that the readers of jobs take; no catalogue has such a name."""
FREE = frozenset({"name", "notes", "source", "sources", "title", "description", "text", "url"})
PROXY = "proxy"
"""The fidelity of searches that needs a log; no upload is one."""
SHARDS = "shards"
"""The folder, in a job's own, in which a search keeps what is done."""


def check_request(kind: str, request: Mapping[str, Any], uploads: Uploads) -> None:
    """Refuse a request that could never run, or that names what is not the sender's.

    Raises:
        UnknownNameError: a key, an example or an upload. BadValueError: a value of the wrong kind, or a path.
    """
    taken = TAKEN[kind]
    for name in request:
        if name not in taken:
            raise UnknownNameError(f"key of a {kind} job", str(name)[:80], taken, f"Known: {', '.join(taken)}.")
    no_paths(request)
    if kind == "calibrate":
        _check_tables(request, uploads)
        return
    _check_files(request, uploads)
    file = request.get("file")
    if isinstance(file, str) and kind == "simulate":
        _check_name(file)
    elif not isinstance(file, Mapping):
        also = " or the name of an example or a pipeline" if kind == "simulate" else ""
        raise BadValueError(f"A {kind} job needs 'file': the keys of a file of that kind as a mapping{also}.")
    if isinstance(file, Mapping) and not isinstance(file.get("kind", ""), str):
        raise BadValueError("file.kind must be a word, the kind of the file.")
    if not isinstance(request.get("settings") or {}, Mapping):
        raise BadValueError("settings must be a mapping of dotted keys to values.")
    if kind == "search" and isinstance(file, Mapping) and PROXY in (request.get("fidelity"), file.get("fidelity")):
        raise BadValueError(
            "A search job knows no proxy, which is learned from a log: leave out the fidelity 'proxy', or run "
            "archcast search --proxy-from LOG."
        )


def _check_files(request: Mapping[str, Any], uploads: Uploads) -> None:
    """Refuse a text that names a file where no upload has that name. Raises BadValueError."""
    for at, word in words_of(request):
        if _FILE.search(word) and not _is_free(at) and not uploads.has(word.partition("=")[2] or word):
            where = f"key '{key_text(at)}': " if at else ""
            raise BadValueError(
                f"{where}'{word[:80]}' is not among the uploads; send it to /v1/uploads and write the name that comes "
                "back."
            )


def _is_free(at: tuple[str | int, ...]) -> bool:
    """Tell whether what stands under a key is for people, whatever it looks like."""
    return next((name for name in reversed(at) if isinstance(name, str)), "") in FREE


def _check_name(name: str) -> None:
    from hardware_specs.catalogue import plain_name
    from hardware_specs.pipelines import pipeline_ids
    from simulator.graph_file import example_files

    known = [*example_files(), *pipeline_ids()]
    if name not in known and plain_name(name) not in known:
        raise UnknownNameError("example or pipeline", name[:80], known, f"Known: {', '.join(known)}.")


def _check_tables(request: Mapping[str, Any], uploads: Uploads) -> None:
    names = request.get("uploads")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise BadValueError("A calibrate job needs 'uploads': a list of names of uploaded measurement tables.")
    devices = request.get("devices", [])
    if not isinstance(devices, list) or not all(isinstance(name, str) for name in devices):
        raise BadValueError("devices must be a list of names of devices.")
    if not isinstance(request.get("column_map", ""), str) or not isinstance(request.get("skip_bad", False), bool):
        raise BadValueError("column_map must be text, and skip_bad true or false.")
    if request.get("base") is not None and not may_be_job(request["base"]):
        raise BadValueError("base must be the id of a calibrate job, whose model is started from.")
    excluded = [request["exclude"]] if request.get("exclude") is not None else []
    for name in [*names, *excluded]:
        found = uploads.get(name)
        if found.kind != MEASUREMENTS and not request.get("column_map"):
            raise BadValueError(
                f"The upload {name} is of kind {found.kind}; calibrate needs a table with a column 'op'."
            )


def uploads_of(request: Mapping[str, Any], uploads: Uploads) -> list[str]:
    """Return the uploads that a request names, anywhere in it."""
    return list(dict.fromkeys(word for _, word in words_of(request) if uploads.has(word)))


def simulate(request: Mapping[str, Any], report: Report, folder: Path) -> Any:
    """Run `archcast simulate`."""
    from archcast.simulation import simulate as run

    given = request["file"]
    file = given if isinstance(given, str) else _written(given)
    asked = {name: request[name] for name in ("settings", "seed", "replications") if request.get(name) is not None}
    return run(file, **asked).to_json()


def plan(request: Mapping[str, Any], report: Report, folder: Path) -> Any:
    """Run `archcast plan`."""
    from archcast.planning.run import plan as run

    asked = {name: request[name] for name in ("settings", "seed") if request.get(name) is not None}
    return run(dict(request["file"]), **asked).to_json()


def search(request: Mapping[str, Any], report: Report, folder: Path) -> Any:
    """Run `archcast search`; what is done is kept in the job's folder and not done again."""
    from archcast.searching.run import search as run

    asked = {name: value for name, value in request.items() if name != "file" and value is not None}
    evaluated = 0

    def progress(done: int, whole: int) -> None:
        nonlocal evaluated
        evaluated = done
        report(done, whole, "designs")

    answer = run(dict(request["file"]), progress=progress, resume=_made(folder / SHARDS), **asked).to_json()
    report(evaluated, evaluated, "designs")  # a method may stop before its budget
    return answer


def allocate(request: Mapping[str, Any], report: Report, folder: Path) -> Any:
    """Run `archcast allocate`."""
    try:
        import archcast

        run: Callable[..., Any] = archcast.allocate
    except (ImportError, AttributeError):
        raise UnsupportedError("This archcast cannot allocate; install a newer one.") from None
    taken = inspect.signature(run).parameters
    asked = {name: request[name] for name in ("settings", "seed") if request.get(name) is not None}
    if unknown := [name for name in asked if name not in taken]:
        raise BadValueError(f"An allocate job takes no '{unknown[0]}'; put it into the file.")
    return run(dict(request["file"]), **asked).to_json()


def calibrate(request: Mapping[str, Any], report: Report, folder: Path) -> Any:
    """Run `archcast calibrate` on uploads; the artefact stays in the job's folder, the result is its card.

    `model` is the name under which the artefact answers from then on: the job's id, which its folder has.
    """
    from archcast.calibration import calibrate as run

    out = folder / "artefact"
    shutil.rmtree(out, ignore_errors=True)
    asked = {name: value for name, value in request.items() if name != "uploads" and value is not None}

    def progress(what: str, share: float | None) -> None:
        report(share or 0.0, 0.0 if share is None else 1.0, what)

    answer = run(request["uploads"], out=out, progress=progress, **asked).to_json()
    report(1.0, 1.0)
    return {**answer, "folder": out.name, "model": folder.name}


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def _written(document: Mapping[str, Any]) -> Path:
    """Write a mapping as a file: JSON is YAML, and quotes keep text from being read as anything else."""
    path = Path(FILE)
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False), encoding="utf-8")
    return path
