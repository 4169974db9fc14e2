"""`simulate`, kind `pipeline`: a data-acquisition chain in mean rates and, window by window, in events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from archcast.cost_models import AnyModel
from archcast.pipeline_agreement import Disagreement, blocking_notes, disagreements
from archcast.pipeline_services import ResolvedService, resolve_services
from foundation.errors import BadFileError, BadValueError, InputError, UnknownNameError
from foundation.overrides import read_value
from foundation.yaml_file import YamlDocument
from hardware_specs.pipeline_schema import PipelineSpec
from hardware_specs.pipelines import load_pipeline, read_pipeline
from simulator.pipelines.flows import flows_of
from simulator.pipelines.rates import mean_rates
from simulator.pipelines.rates_results import PipelineRates
from simulator.pipelines.window_run import WindowRun, run_window
from simulator.queues.run import ENGINES
from simulator.streams import DEFAULT_SEED

FIDELITIES = ("events", "rates")
"""`events` answers in mean rates and simulates the windows of the file; `rates` leaves the windows out."""


@dataclass(frozen=True)
class Pipeline:
    """The answer: the description with its improvements, its mean rates, and the windows that were simulated."""

    file: str
    spec: PipelineSpec
    rates: PipelineRates
    windows: tuple[WindowRun, ...]
    services: Mapping[str, ResolvedService]
    fidelity: str
    seed: int
    replications: int
    notes: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def unstable(self) -> tuple[str, ...]:
        """Stages and links that are offered more than they can serve, in the mean or in events."""
        found = [*self.rates.unstable, *(name for window in self.windows for name in window.unstable)]
        return tuple(dict.fromkeys(found))

    @property
    def disagreements(self) -> tuple[Disagreement, ...]:
        """What mean rates and the events of the windows have differently, beyond chance."""
        return disagreements(self.spec, self.rates, self.windows)

    def to_json(self) -> dict[str, Any]:
        """Return the answer as plain JSON values."""
        from archcast.render.pipeline_json import pipeline_json

        return pipeline_json(self)

    def text(self) -> str:
        """Return the answer for a terminal."""
        from archcast.render.pipeline_text import pipeline_text

        return pipeline_text(self)

    def to_chrome_trace(self) -> dict[str, Any]:
        """Return occupancy and busy servers over time in Chrome's trace format.

        Raises:
            BadValueError: no window was simulated.
        """
        from archcast.render.pipeline_trace import pipeline_trace

        return pipeline_trace(self)

    def page(self) -> str:
        """Return the answer as one self-contained page."""
        from archcast.render.pipeline import pipeline_page

        return pipeline_page(self)


def simulate_pipeline(
    source: str | Path | YamlDocument, settings: Mapping[str, Any] | None = None, seed: int = DEFAULT_SEED,
    replications: int | None = None, file: str = "", model: AnyModel = None,
) -> Pipeline:  # fmt: skip
    """Answer for a pipeline of the catalogue or of a file.

    Args:
        settings: values by dotted path; `fidelity` (rates or events), `window` (the name of the only window to
            simulate, or a list) and `engine` are not of the description.

    Raises:
        BadFileError: with file, line and key. BadValueError, UnknownNameError: a setting or a name.
    """
    changes = dict(settings or {})
    fidelity = str(changes.pop("fidelity", "events"))
    if fidelity not in FIDELITIES:
        raise BadValueError(f"fidelity must be {' or '.join(FIDELITIES)}, not '{fidelity}'.")
    only = changes.pop("window", None)
    engine = changes.pop("engine", "auto")
    if engine not in ENGINES:
        raise UnknownNameError("engine", str(engine), ENGINES)
    if isinstance(source, YamlDocument):
        spec, folder, name = read_pipeline(source, changes), source.path.parent, file or str(source.path)
    else:
        spec, folder, name = load_pipeline(source, changes), Path(), file or str(source)
    wanted = _wanted(spec, only)
    try:
        services = resolve_services(spec, folder, model)
        times = {stage: found.times for stage, found in services.items()}
        rates = mean_rates(spec, times)
        windows = [w for w in spec.events if fidelity == "events" and w.name in wanted]
        flows, runs = flows_of(rates), replications or 1
        found = tuple(
            run_window(spec, window, flows, times, seed=seed, replications=runs, engine=engine) for window in windows
        )
    except BadFileError:
        raise
    except InputError as error:
        if isinstance(source, YamlDocument):
            raise BadFileError(source.path, str(error)) from None
        raise
    return Pipeline(
        name,
        spec,
        rates,
        found,
        services,
        fidelity,
        seed,
        runs,
        _notes(spec, rates, found, fidelity),
        _versions(services),
    )


def _wanted(spec: PipelineSpec, only: Any) -> list[str]:
    """Return the names of the windows that a setting asks for: one name or a list. Raises BadValueError."""
    known = [window.name for window in spec.events]
    if only is None:
        return known
    read = read_value("window", only)
    names = [str(name) for name in read] if isinstance(read, list) else [str(read)]
    for name in names:
        if name not in known:
            raise BadValueError(f"unknown window '{name}'. Known: {', '.join(known) or 'this pipeline has none'}.")
    return names


def _notes(
    spec: PipelineSpec, rates: PipelineRates, windows: tuple[WindowRun, ...], fidelity: str
) -> tuple[str, ...]:  # fmt: skip
    notes = list(rates.warnings)
    if fidelity == "events" and not spec.events:
        notes.append("The description has no windows (`events`), so nothing was simulated event by event.")
    for window in windows:
        if window.network.begins_accepted:
            first = next(iter(window.stages))
            notes.append(f"Window '{window.name}' begins with the events that '{first}' accepts.")
        parts = {name: scale for name, scale in window.network.scales.items() if scale > 1}
        for name, scale in parts.items():
            notes.append(f"Window '{window.name}' follows one of {scale:,.0f} equal parts of '{name}'.")
    notes += blocking_notes(spec, windows)
    return tuple(dict.fromkeys(notes))


def _versions(services: Mapping[str, ResolvedService]) -> dict[str, str]:
    from archcast import __version__

    found = {"archcast": __version__, "numpy": np.__version__}
    for service in services.values():
        found |= service.estimates[max(service.estimates)].versions
    return found
