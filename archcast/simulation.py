"""`simulate`: task graphs, services, pipelines, edges and clusters from files, and the timeline of a prediction."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from costmodel.estimate import Estimate
from foundation.checks import whole_number
from foundation.errors import BadFileError, BadValueError, UnknownNameError
from foundation.files import write_text_whole
from foundation.yaml_file import YamlDocument, load_yaml
from hardware_specs.catalogue import plain_name
from simulator import Timeline, simulate_file
from simulator.graph_file import example_files
from simulator.streams import DEFAULT_SEED, MAX_SEED
from simulator.workload_run import run_workload

if TYPE_CHECKING:
    from archcast.cluster import Cluster
    from archcast.offloading import Offloading
    from archcast.pipeline import Pipeline
    from archcast.serving import Serving

    Answer = Serving | Pipeline | Offloading | Cluster

ONE_OF_EACH = "each pass runs once: prefill, and of the decode steps the middle one (predict counts all of them)"

MOST_REPLICATIONS = 10_000
"""As many as the key `replications` of a file allows."""

PAGE_STYLE = "body{margin:2rem auto;max-width:1160px;font:15px/1.5 system-ui,sans-serif}pre{overflow:auto}"


@dataclass(frozen=True)
class Simulation:
    """The outcome of `simulate`: one timeline, and how often it was run."""

    file: str
    timeline: Timeline
    seed: int
    replications: int
    about: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the answer as plain JSON values."""
        summary = self.timeline.summary()
        return {
            "file": self.file,
            **({"about": self.about} if self.about else {}),
            "seed": self.seed,
            "replications": self.replications,
            **summary,
        }

    def text(self) -> str:
        """Return the answer for a terminal."""
        doc = self.timeline.summary()
        lines = [
            f"makespan      {doc['makespan_s']:.6g} s   ({doc['tasks']} tasks, policy {doc['policy']})",
            f"lower bound   {doc['lower_bound_s']:.6g} s   serial {doc['serial_s']:.6g} s",
            "engine                     busy        idle   utilisation",
        ]
        lines += [
            f"{e['name'][:22]:22} {e['busy_s']:10.4g} s {e['idle_s']:9.4g} s   {e['utilisation']:8.1%}"
            for e in doc["engines"]
        ]
        return "\n".join([*lines, *([self.about] if self.about else [])])


def simulate(
    file: str | Path, *, settings: Mapping[str, Any] | None = None, seed: int = DEFAULT_SEED,
    replications: int | None = None,
) -> Simulation | Answer:  # fmt: skip
    """Run a simulation file, a pipeline of the catalogue by its name, or a built-in example by its name.

    Kinds of files: `graph`, `run`, `serving`, `pipeline`, `edge` and `cluster`. Graphs and runs draw no random number:
    every replication is the same run, so it is run once. The others run as many `replications` as the file says,
    where none are given here.

    Raises:
        BadFileError: with file, line and key.
        BadValueError: the seed, the replications, or a setting that would change the kind.
    """
    whole_number("seed", seed, low=0, high=MAX_SEED)
    if replications is not None:
        whole_number("replications", replications, high=MOST_REPLICATIONS)
    path = _file_of(file)
    if path is None:
        from archcast.pipeline import simulate_pipeline

        return simulate_pipeline(str(file), settings, seed, replications, str(file))
    document = load_yaml(path)
    kind = document.data.get("kind") if isinstance(document.data, dict) else None
    _same_kind(kind, settings or {}, str(file))
    if isinstance(kind, str) and kind in _ANSWERS:
        return _ANSWERS[kind](document, settings, seed, replications, str(file))
    if kind == "run":
        return Simulation(str(file), _run(document, settings), seed, replications or 1, ONE_OF_EACH)
    timeline = simulate_file(path, seed=seed, overrides=dict(settings or {}))
    return Simulation(str(file), timeline, seed, replications or 1)


def _serving(*asked: Any) -> Serving:
    from archcast.serving import serve_file

    return serve_file(*asked)


def _pipeline(*asked: Any) -> Pipeline:
    from archcast.pipeline import simulate_pipeline

    return simulate_pipeline(*asked)


def _edge(*asked: Any) -> Offloading:
    from archcast.offloading import serve_file

    return serve_file(*asked)


def _cluster(*asked: Any) -> Cluster:
    from archcast.cluster import cluster_file

    return cluster_file(*asked)


_ANSWERS: Mapping[Any, Callable[..., Answer]] = {
    "serving": _serving,
    "pipeline": _pipeline,
    "edge": _edge,
    "cluster": _cluster,
}
"""By kind: what answers for (document, settings, seed, replications, name of the file)."""


def _same_kind(kind: object, settings: Mapping[str, Any], file: str) -> None:
    """Refuse a setting that would make the file one of another kind. Raises BadValueError."""
    if isinstance(kind, str) and settings.get("kind", kind) != kind:
        raise BadValueError(
            f"kind cannot be set to {settings['kind']!r}: {file} is of kind '{kind}', with keys of its own."
        )


def _file_of(file: str | Path) -> Path | None:
    """Return the file that a path or the name of an example stands for; None: a pipeline of the catalogue.

    Raises:
        UnknownNameError: neither.
    """
    examples, path = example_files(), Path(file)
    if str(file) in examples:
        return examples[str(file)]
    if isinstance(file, str) and not path.suffix and path.name == file and not path.exists():
        from hardware_specs.pipelines import pipeline_ids

        pipelines = pipeline_ids()
        if plain_name(file) in pipelines:
            return None
        known = f"Give a YAML file, an example ({', '.join(examples)}) or a pipeline ({', '.join(pipelines)})."
        raise UnknownNameError("example or pipeline", file, [*examples, *pipelines], known)
    return path


def _run(document: YamlDocument, settings: Mapping[str, Any] | None) -> Timeline:
    """Simulate a file of kind `run`. Raises BadFileError, also where the workload does not fit."""
    from archcast.run_file import predict_file

    estimate, policy = predict_file(document, settings)
    timeline = timeline_of(estimate, policy)
    if timeline is None:
        raise BadFileError(document.path, f"{estimate.workload} does not fit on {estimate.device}: {estimate.reason}.")
    return timeline


def timeline_of(estimate: Estimate, policy: str = "in-order") -> Timeline | None:
    """Return the timeline of a prediction: each pass once on the device's engines. None where it does not fit."""
    if estimate.detail is None:
        return None
    detail = estimate.detail
    return run_workload(detail.workload, detail.lowered, detail.costs, detail.mapping.pp, policy)


def write_trace(answer: Timeline | Simulation | Answer, path: str | Path) -> None:
    """Write a Chrome trace that Perfetto loads. Raises BadFileError where it cannot be written."""
    shown = answer.timeline if isinstance(answer, Simulation) else answer
    write_text_whole(path, json.dumps(shown.to_chrome_trace()))


def write_timeline_html(simulation: Simulation | Answer, path: str | Path) -> None:
    """Write the answer as one self-contained page. Raises BadFileError where it cannot be written."""
    if not isinstance(simulation, Simulation):
        write_text_whole(path, simulation.page())
        return
    from archcast.render.document import document
    from archcast.render.markup import esc

    title = Path(simulation.file).name
    text = "\n".join(esc(line) for line in simulation.text().splitlines())
    body = f"<h1>{esc(title)}</h1>{simulation.timeline.to_svg()}<pre>{text}</pre>"
    write_text_whole(path, document(title, PAGE_STYLE, body))
