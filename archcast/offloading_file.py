"""Reading of a file of `kind: edge`: its keys become a `Plan`, each fault names file, line and key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from archcast.yaml_settings import Settings
from foundation.checks import finite_number, whole_number
from foundation.yaml_file import Path_, YamlDocument
from simulator.offloading.policies import Policy, find_policy
from simulator.offloading.settings import (
    MOST_EDGES,
    MOST_STEPS,
    MOST_TASKS,
    MOST_USERS,
    PAPER_ONLY,
    PHYSICAL_ONLY,
    PHYSICAL_ONLY_OF_SERVERS,
    PUBLISHED,
    WITH_CV,
    OffloadingConfig,
    ServerKind,
    not_looked_at,
    paper_config,
)
from simulator.offloading.study import MOST_REPLICATIONS, Plan

WORDS = ("law", "sending", "fading")
WHOLE = {"users": MOST_USERS, "tasks": MOST_TASKS, "steps": MOST_STEPS}
NUMBERS = tuple(
    field.name
    for field in fields(OffloadingConfig)
    if field.name not in (*WORDS, *WHOLE, "paper_mode", "published", "edges", "cloud", "edge")
)
OF_SERVERS = tuple(field.name for field in fields(ServerKind))
OF_PLAN = ("policy", "compare", "weights", "replications", "warm_up", "reference")
KEYS = ("kind", "paper_mode", "edges", "cloud", "edge", *WORDS, *WHOLE, *NUMBERS, *OF_PLAN)
REFERENCE = ("latency_s", "energy_per_task_j")


def read_offloading(
    document: YamlDocument, overrides: Mapping[str, Any] | None, seed: int, replications: int | None,
    own: Mapping[str, Policy] | None = None,
) -> Plan:  # fmt: skip
    """Return the plan of a file.

    Raises:
        BadFileError: with file, line and key.
    """
    settings = Settings(document)
    for key, value in (overrides or {}).items():
        settings.override(key, value)
    settings.known((), settings.data, KEYS)
    config = _config(settings)
    changes: dict[str, Any] = {"own": dict(own or {})}
    if "policy" in settings.data:
        changes["policy"] = _policy(settings, ("policy",), settings.data["policy"], changes["own"])
    if "compare" in settings.data:
        names = _list(settings, "compare")
        changes["compare"] = tuple(
            _policy(settings, ("compare", i), name, changes["own"]) for i, name in enumerate(names)
        )
    if "weights" in settings.data:
        weights = _list(settings, "weights")
        changes["weights"] = tuple(_number(settings, ("weights", i), x, 1.0) for i, x in enumerate(weights))
    if "warm_up" in settings.data:
        changes["warm_up"] = _number(settings, ("warm_up",), settings.data["warm_up"], 0.45)
    found = settings.mapping(("reference",))
    if found is not None:
        settings.known(("reference",), found, REFERENCE)
        changes["reference"] = tuple(
            settings.at(("reference", key), lambda key=key: finite_number(key, found.get(key), strict=True))  # type: ignore[misc]
            for key in REFERENCE
        )
    changes["replications"] = settings.whole(("replications",), 5, MOST_REPLICATIONS)
    if replications is not None:
        changes["replications"] = replications
    return settings.at((), lambda: Plan(config, seed=seed, **changes))


def _config(settings: Settings) -> OffloadingConfig:
    mode = settings.data.get("paper_mode", False)
    if not isinstance(mode, bool):
        settings.choice(("paper_mode",), mode, "published environment", PUBLISHED)
    _looked_at(settings, bool(mode))
    base = paper_config(single_edge=mode == "single-edge") if mode else OffloadingConfig()
    changes: dict[str, Any] = {}
    for key in (*WORDS, *WHOLE, *NUMBERS):
        if key in settings.data:
            changes[key] = _scalar(settings, key, settings.data[key])
    if "edges" in settings.data:
        changes["edges"] = _edges(settings, settings.data["edges"])
    for place in ("cloud", "edge"):
        found = settings.mapping((place,))
        if found is not None:
            changes[place] = _server(settings, place, found, getattr(base, place))
    return _cv_counts(settings, settings.at((), lambda: replace(base, **changes)))


def _looked_at(settings: Settings, paper_mode: bool) -> None:
    """Refuse keys that this mode would ignore. Raises BadFileError."""
    ignored: list[Path_] = [(key,) for key in ((*PHYSICAL_ONLY, "warm_up") if paper_mode else PAPER_ONLY)]
    if paper_mode:
        ignored += [(place, key) for place in ("cloud", "edge") for key in PHYSICAL_ONLY_OF_SERVERS]
    for at in ignored:
        if settings.has(at):
            raise settings.fault(at, not_looked_at(".".join(map(str, at)), paper_mode=paper_mode))
    if settings.has(("mean_bits",)) and settings.has(("load",)):
        raise settings.fault(("load",), "'load' and 'mean_bits' both say how large tasks are: leave one out.")


def _cv_counts(settings: Settings, config: OffloadingConfig) -> OffloadingConfig:
    """Refuse `cv` where the law of sizes has none to choose. Raises BadFileError."""
    if settings.has(("cv",)) and config.law not in WITH_CV:
        raise settings.fault(("cv",), f"{config.law} sizes have no 'cv' to choose: it is of {', '.join(WITH_CV)}.")
    return config


def _server(settings: Settings, place: str, found: dict[str, Any], base: ServerKind) -> ServerKind:
    settings.known((place,), found, OF_SERVERS)
    values = {
        key: settings.at((place, key), lambda key=key, value=value: finite_number(key, value, low=-1e300))  # type: ignore[misc]
        for key, value in found.items()
    }
    return settings.at((place,), lambda: replace(base, **values))


def _scalar(settings: Settings, key: str, value: Any) -> Any:
    """Return a word or number; what range it must be in is the config's to say."""
    if key in WORDS:
        return value
    if key in WHOLE:
        return settings.at((key,), lambda: whole_number(key, value, high=WHOLE[key]))
    return settings.at((key,), lambda: finite_number(key, value, low=-1e300))


def _edges(settings: Settings, value: Any) -> int | tuple[int, int]:
    """Return a number of edges, or the range that it is drawn from."""

    def whole(at: Path_, number: Any) -> int:
        return settings.at(at, lambda: whole_number("edges", number, high=MOST_EDGES))

    if isinstance(value, list) and len(value) == 2:
        return whole(("edges", 0), value[0]), whole(("edges", 1), value[1])
    return whole(("edges",), value)


def _list(settings: Settings, key: str) -> list[Any]:
    found = settings.data[key]
    if not isinstance(found, list) or not found:
        raise settings.fault((key,), f"'{key}' must be a list of at least one.")
    return found


def _number(settings: Settings, at: Path_, value: Any, high: float) -> float:
    return settings.at(at, lambda: finite_number(str(at[0]), value, high=high))


def _policy(settings: Settings, at: Path_, name: Any, own: Mapping[str, Policy]) -> str:
    settings.at(at, lambda: find_policy(str(name), own))
    return str(name)
