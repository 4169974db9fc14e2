"""Files of kind `plan` with the key `pipeline`: which farm is sought, among which choices, within which limits.

kind: plan
pipeline: cms-run5-pu200
stage: HLT
choices: {parts: {from: 10000, to: 30000, step: 100}, servers: 256, buffer_bytes: [1 GB, 4 GB]}
limits: {loss: 1e-6}
failing: 0.1
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archcast.planning.pipeline_choices import Choices, read_choices
from archcast.yaml_settings import Settings
from foundation.checks import finite_number, whole_number
from foundation.errors import UnknownNameError
from foundation.yaml_file import Path_, YamlDocument
from hardware_specs.units import Quantity, parse_quantity

TOP = (
    "kind", "pipeline", "settings", "improved_by", "stage", "rate_hz", "choices", "limits", "failing", "failures",
    "objective", "prices", "confirm", "cost_model",
)  # fmt: skip
LIMITS = ("loss", "latency_p999_s", "power_w", "price_usd")
UNITS = {"latency_p999_s": "s", "power_w": "W", "price_usd": "USD"}
OBJECTIVES = ("servers", "price", "power")
CONFIRM = ("replications", "events", "engine", "horizon_s")
ENGINES = ("auto", "callbacks", "kernel", "none")
DEFAULT_LOSS = 1e-6


@dataclass(frozen=True)
class FarmLimits:
    """What must hold: the share of events lost for want of places, and, where given, the others."""

    loss: float
    latency_p999_s: float = math.inf
    power_w: float = math.inf
    price_usd: float = math.inf

    def to_json(self) -> dict[str, float]:
        return {key: getattr(self, key) for key in LIMITS if math.isfinite(getattr(self, key))}


@dataclass(frozen=True)
class Repairs:
    """Units that break at random: mean time between failures and mean time to repair, in seconds."""

    mtbf_s: float
    mttr_s: float

    @property
    def down_share(self) -> float:
        return self.mttr_s / (self.mtbf_s + self.mttr_s)


@dataclass(frozen=True)
class Effort:
    """How events confirm: replications, events in all of them (None: by the engine), engine and horizon (s)."""

    replications: int = 8
    events: int | None = None
    engine: str = "auto"
    horizon_s: float | None = None


@dataclass(frozen=True)
class FarmStudy:
    """A whole plan file of a pipeline, checked. `pipeline` is a name, a path or a document; its stage is not looked up
    yet."""

    settings: Settings
    pipeline: str | YamlDocument
    changes: dict[str, Any]
    improved_by: tuple[str, ...] | None
    stage: str
    rate_hz: float | None
    choices: Choices
    limits: FarmLimits
    failing: float
    failures: Repairs | None
    objective: str
    buffer_usd_per_byte: float
    confirm: Effort
    cost_model: str | None

    @property
    def folder(self) -> Path:
        return self.settings.document.path.parent


def read_farm_plan(document: YamlDocument, overrides: Mapping[str, Any] | None = None) -> FarmStudy:
    """Return the study that a plan file asks for, with overrides by dotted path.

    `settings.stages.HLT.servers=9` among the overrides is a setting of the pipeline.

    Raises:
        BadFileError: file, line and key: an unknown key, a missing one, a value that cannot be.
    """
    settings = Settings(document)
    for key, value in (overrides or {}).items():
        _override(settings, key, value)
    data = settings.data
    settings.known((), data, TOP)
    if data.get("kind") != "plan":
        raise settings.fault(("kind",), f"a plan file has 'kind: plan', not {data.get('kind')!r}.")
    if not isinstance(data.get("stage"), str):
        raise settings.fault(("stage",), "a plan of a pipeline needs the key 'stage': whose servers are sought.")
    cost_model = data.get("cost_model")
    return FarmStudy(
        settings=settings, pipeline=_pipeline(settings), changes=settings.mapping(("settings",)) or {},
        improved_by=_improved(settings), stage=data["stage"],
        rate_hz=None if data.get("rate_hz") is None else amount(settings, ("rate_hz",), data["rate_hz"], "Hz"),
        choices=read_choices(settings), limits=_limits(settings), failing=_failing(settings),
        failures=_failures(settings),
        objective=settings.choice(("objective",), data.get("objective", OBJECTIVES[0]), "objective", OBJECTIVES),
        buffer_usd_per_byte=_buffer_price(settings), confirm=_confirm(settings),
        cost_model=None if cost_model is None else settings.near(str(cost_model)),
    )  # fmt: skip


def amount(settings: Settings, at: Path_, value: Any, unit: str, *, low: float = 0.0, strict: bool = True) -> float:
    """Return a bare number in `unit`, or text with a unit. Raises BadFileError."""

    def make() -> float:
        number = parse_quantity(value, Quantity(unit, 0, math.inf)) if isinstance(value, str) else value
        return finite_number(str(at[-1]), number, low=low, strict=strict)

    return settings.at(at, make)


def _override(settings: Settings, key: str, value: Any) -> None:
    """Put an override in; the keys below `settings` are dotted paths of the pipeline and stay whole."""
    head, _, rest = key.partition(".")
    if head != "settings" or not rest:
        settings.override(key, value, paths=("pipeline", "cost_model"))
        return
    if not isinstance(settings.data.get("settings"), dict):
        settings.data["settings"] = {}
    settings.data["settings"][rest] = value


def _pipeline(settings: Settings) -> str | YamlDocument:
    given = settings.data["pipeline"]
    if isinstance(given, str) and given:
        return settings.near(given)
    if isinstance(given, dict):
        document = settings.document
        lines = {place[1:]: line for place, line in document.lines.items() if place[:1] == ("pipeline",)}
        return YamlDocument(document.path, given, lines)
    raise settings.fault(("pipeline",), "a pipeline is a name of the catalogue, a path, or a description.")


def _improved(settings: Settings) -> tuple[str, ...] | None:
    given = settings.data.get("improved_by")
    if given is None:
        return None
    return (given,) if isinstance(given, str) else tuple(str(name) for name in given)


def _limits(settings: Settings) -> FarmLimits:
    given = settings.mapping(("limits",)) or {}
    settings.known(("limits",), given, LIMITS)
    loss = settings.at(
        ("limits", "loss"), lambda: finite_number("loss", given.get("loss", DEFAULT_LOSS), high=1.0, strict=True)
    )
    if loss >= 1:
        raise settings.fault(("limits", "loss"), "loss must be below 1: it is a share of the events.")
    others = {
        key: amount(settings, ("limits", key), given[key], unit)
        for key, unit in UNITS.items() if given.get(key) is not None
    }  # fmt: skip
    return FarmLimits(loss, **others)


def _failing(settings: Settings) -> float:
    value = settings.data.get("failing", 0.0)
    found = settings.at(("failing",), lambda: finite_number("failing", value))
    if found >= 1:
        raise settings.fault(("failing",), f"failing must be below 1, not {value!r}: no server would be left.")
    return found


def _failures(settings: Settings) -> Repairs | None:
    given = settings.mapping(("failures",))
    if given is None:
        return None
    settings.known(("failures",), given, ("mtbf_s", "mttr_s"))
    for key in ("mtbf_s", "mttr_s"):
        if given.get(key) is None:
            raise settings.fault(
                ("failures",), f"failures need '{key}'.", "Give failures: {mtbf_s: 1 h, mttr_s: 60 s}."
            )
    return Repairs(*(amount(settings, ("failures", key), given[key], "s") for key in ("mtbf_s", "mttr_s")))


def _buffer_price(settings: Settings) -> float:
    given = settings.mapping(("prices",)) or {}
    settings.known(("prices",), given, ("buffer_usd_per_gb",))
    if given.get("buffer_usd_per_gb") is None:
        return 0.0
    at: Path_ = ("prices", "buffer_usd_per_gb")
    return amount(settings, at, given["buffer_usd_per_gb"], "USD", strict=False) / 1e9


def _confirm(settings: Settings) -> Effort:
    given = settings.mapping(("confirm",)) or {}
    settings.known(("confirm",), given, CONFIRM)
    events, horizon = given.get("events"), given.get("horizon_s")

    def whole(key: str, value: Any, low: int, high: int) -> int:
        return settings.at(("confirm", key), lambda: whole_number(key, value, low=low, high=high))

    engine = given.get("engine", "auto")
    if engine not in ENGINES:
        raise settings.fault(("confirm", "engine"), str(UnknownNameError("engine", str(engine), ENGINES)))
    return Effort(
        whole("replications", given.get("replications", 8), 3, 1000),
        None if events is None else whole("events", events, 10_000, 2_000_000_000), str(engine),
        None if horizon is None else amount(settings, ("confirm", "horizon_s"), horizon, "s"),
    )  # fmt: skip
