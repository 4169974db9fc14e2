"""Simulation files of kind `cluster`: what is in one, checked key by key. `docs/cluster.md` lists the keys.

kind: cluster
trace: {tasks: cluster_replay.csv}
machines: [{count: 20, cpu_cores: 32, memory_bytes: 128 GiB}]
placement: best-fit
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from archcast.yaml_settings import Settings
from foundation.checks import finite_number, whole_number
from foundation.yaml_file import Path_, YamlDocument
from simulator.cluster.google_2011 import GoogleTrace2011
from simulator.cluster.made import MadeTrace
from simulator.cluster.migration import LOAD, Migration, RelieveOverload
from simulator.cluster.placement import NAMES
from simulator.cluster.plain_csv import PlainCsv
from simulator.cluster.reading import MOST_ROWS
from simulator.cluster.replay import EVICTED, QUEUES
from simulator.cluster.trace import CORES_AND_BYTES, UNLIMITED, AttributeChange, MachineTrace, TaskTrace, counts_of

Found = TypeVar("Found")
TOP = (
    "kind", "trace", "machines", "placement", "compare", "queue", "preemption", "evicted", "horizon_s", "migration",
    "interference", "overload", "power", "replications",
)  # fmt: skip
FORMATS = ("csv", "google-2011", "made")
GOOGLE_TABLES = ("task_events", "machine_events", "task_constraints", "machine_attributes")
MADE = tuple(MadeTrace.__dataclass_fields__)
TRACE = ("format", "tasks", "machines", "most_rows", *GOOGLE_TABLES)
GROUP = ("name", "count", "cpu_cores", "memory_bytes", "disk_bytes", "attributes")
MIGRATION = (
    "period_s", "bandwidth_bytes_per_s", "downtime_s", "live", "state_bytes_per_unit", "threshold", "moves",
)  # fmt: skip
POWER = ("idle_w", "busy_w")
INTERFERENCE = ("kind", "loss", "scenarios")
KINDS = ("constant", "learned")
SCENARIOS = 800
"""Of the learned interference, as `simulator.cluster.learned.SCENARIOS` (whose import takes long)."""
MOST_MACHINES = 1_000_000

Source = Callable[[int, int], tuple[TaskTrace, MachineTrace]]
"""From seed and replication to a trace."""


@dataclass(frozen=True)
class ClusterKeys:
    """A whole file, checked. `drawn`: the trace is made anew in each replication."""

    settings: Settings
    source: Source
    drawn: bool
    trace_name: str
    placement: str
    compare: tuple[str, ...]
    queue: str
    preemption: bool
    evicted: str
    horizon_s: float | None
    migration: Migration | None
    interference: dict[str, Any] | None
    overload: float
    idle_w: float
    busy_w: float
    replications: int


def read_cluster(document: YamlDocument, overrides: Mapping[str, Any] | None = None) -> ClusterKeys:
    """Return the keys of a `kind: cluster` file with overrides by dotted path.

    Raises:
        BadFileError: file, line and key: an unknown key, a missing one, or a value that cannot be.
    """
    settings = Settings(document)
    for key, value in (overrides or {}).items():
        settings.override(key, value, paths=("trace.tasks", "trace.machines", *(f"trace.{t}" for t in GOOGLE_TABLES)))
    data = settings.data
    settings.known((), data, TOP)
    source, drawn, name = _trace(settings)
    power = _part(settings, "power", POWER) or {}
    horizon = data.get("horizon_s")
    return ClusterKeys(
        settings, source, drawn, name,
        placement=settings.choice(("placement",), data.get("placement", "best-fit"), "placement", NAMES),
        compare=_compare(settings),
        queue=settings.choice(("queue",), data.get("queue", QUEUES[0]), "queue", QUEUES),
        preemption=settings.switch(("preemption",), False),
        evicted=settings.choice(("evicted",), data.get("evicted", EVICTED[0]), "rule", EVICTED),
        horizon_s=None if horizon is None else _number(settings, ("horizon_s",), horizon, 1e10, strict=True),
        migration=_migration(settings), interference=_interference(settings),
        overload=_number(settings, ("overload",), data.get("overload", LOAD), 1.0, strict=True),
        idle_w=_number(settings, ("power", "idle_w"), power["idle_w"], 1e7) if "idle_w" in power else np.nan,
        busy_w=_number(settings, ("power", "busy_w"), power["busy_w"], 1e7) if "busy_w" in power else np.nan,
        replications=settings.whole(("replications",), 5, high=10_000),
    )  # fmt: skip


def _number(settings: Settings, at: Path_, value: Any, high: float, *, strict: bool = False) -> float:
    return settings.at(at, lambda: finite_number(str(at[-1]), value, high=high, strict=strict))


def _part(settings: Settings, name: str, keys: tuple[str, ...]) -> dict[str, Any] | None:
    found = settings.mapping((name,))
    if found is not None:
        settings.known((name,), found, keys)
    return found


def _compare(settings: Settings) -> tuple[str, ...]:
    found = settings.data.get("compare", [])
    if not isinstance(found, list):
        raise settings.fault(("compare",), "'compare' must be a list of placements.")
    return tuple(settings.choice(("compare", i), name, "placement", NAMES) for i, name in enumerate(found))


def _trace(settings: Settings) -> tuple[Source, bool, str]:
    """Return what gives the trace, whether it is drawn, and its name."""
    trace = settings.mapping(("trace",))
    if trace is None:
        raise settings.fault((), f"a file of kind 'cluster' needs the key 'trace' (format: {', '.join(FORMATS)}).")
    kind = settings.choice(("trace", "format"), trace.get("format", FORMATS[0]), "format", FORMATS)
    if kind == "made":
        settings.known(("trace",), trace, ("format", *MADE))
        numbers = {key: value for key, value in trace.items() if key != "format"}
        made = settings.at(("trace",), lambda: MadeTrace(**numbers))
        if settings.data.get("machines") is not None:
            raise settings.fault(("machines",), "a made trace brings its machines (trace.machines: how many).")
        return (lambda seed, replication: settings.at(("trace",), lambda: made.make(seed, replication))), True, "made"
    settings.known(("trace",), trace, TRACE)
    most = settings.at(
        ("trace", "most_rows"), lambda: whole_number("most_rows", trace.get("most_rows", MOST_ROWS), high=MOST_ROWS)
    )
    if kind == "google-2011":
        return _google(settings, trace, most)
    tasks = _files(settings, "tasks", 1)
    if len(tasks) > 1:
        raise settings.fault(("trace", "tasks"), "a CSV trace is one file of tasks.")
    beside = _files(settings, "machines")
    reader = PlainCsv(tasks[0], beside[0] if beside else None, most)
    groups = _groups(settings, bool(beside))

    def read(seed: int, replication: int) -> tuple[TaskTrace, MachineTrace]:
        found, machines = reader.read()
        there = machines or groups
        assert there is not None
        return found, there

    return read, False, Path(tasks[0]).name


def _google(settings: Settings, trace: Mapping[str, Any], most: int) -> tuple[Source, bool, str]:
    needed = [_files(settings, name, 1) for name in GOOGLE_TABLES[:2]]
    others = [_files(settings, name) for name in GOOGLE_TABLES[2:]]
    if settings.data.get("machines") is not None:
        raise settings.fault(("machines",), "the machines of a Google trace are in its machine_events.")
    reader = GoogleTrace2011(needed[0], needed[1], others[0], others[1], most)
    return (lambda seed, replication: reader.read()), False, Path(needed[0][0]).name


def _files(settings: Settings, name: str, least: int = 0) -> Sequence[str]:
    """Return the files of a key of `trace`, one or a list, beside the file that names them."""
    found = settings.data["trace"].get(name)
    files = [found] if isinstance(found, str) else found or []
    if not isinstance(files, list) or not all(isinstance(file, str) for file in files):
        raise settings.fault(("trace", name), f"'{name}' must be a file or a list of files.")
    if len(files) < least:
        raise settings.fault(("trace",), f"the trace needs '{name}': a file.")
    return [settings.near(file) for file in files]


def _groups(settings: Settings, in_file: bool) -> MachineTrace | None:
    """Return the machines that the file lists in groups of equal ones. Raises BadFileError."""
    groups = settings.data.get("machines")
    if in_file:
        if groups is not None:
            raise settings.fault(("machines",), "give machines here or in trace.machines, not both.")
        return None
    if not isinstance(groups, list) or not groups:
        hint = "Write machines: [{count: 20, cpu_cores: 32, memory_bytes: 128 GiB}], or trace.machines: FILE."
        raise settings.fault(("machines",), "the cluster needs machines: a list of groups.", hint)
    sizes, names, changes = list[np.ndarray[tuple[int, ...], np.dtype[np.int64]]](), list[str](), []
    for i, group in enumerate(groups):
        place: Path_ = ("machines", i)
        if not isinstance(group, dict):
            raise settings.fault(place, "a group of machines is a mapping of keys to values.")
        settings.known(place, group, GROUP)
        count = _whole(settings, (*place, "count"), group.get("count", 1), MOST_MACHINES)
        prefix = str(group.get("name", f"group{i}" if len(groups) > 1 else "m"))
        attributes = group.get("attributes") or {}
        if not isinstance(attributes, dict):
            raise settings.fault((*place, "attributes"), "attributes must be a mapping of names to values.")
        for key, value in attributes.items():
            changes += [AttributeChange(0, len(names) + n, str(key), str(value)) for n in range(count)]
        sizes.append(np.tile(_capacity(settings, place, group), (count, 1)))
        names += [f"{prefix}-{n}" if count > 1 else prefix for n in range(count)]
    if len(names) > MOST_MACHINES:
        raise settings.fault(("machines",), f"there are more than {MOST_MACHINES:,} machines.")
    zeros = np.zeros(len(names), dtype=np.int64)
    return MachineTrace(
        zeros, zeros, np.arange(len(names)), np.concatenate(sizes), tuple(names), CORES_AND_BYTES, changes
    )


def _whole(settings: Settings, at: Path_, value: Any, high: int) -> int:
    return settings.at(at, lambda: whole_number(str(at[-1]), value, high=high))


def _capacity(settings: Settings, place: Path_, group: Mapping[str, Any]) -> np.ndarray[
    tuple[int, ...], np.dtype[np.int64]
]:  # fmt: skip
    for key in ("cpu_cores", "memory_bytes"):
        if key not in group:
            raise settings.fault(place, f"a group of machines needs '{key}'.")
    cores = _number(settings, (*place, "cpu_cores"), group["cpu_cores"], 1e6, strict=True)
    memory = _bytes(settings, (*place, "memory_bytes"), group["memory_bytes"])
    disk = _bytes(settings, (*place, "disk_bytes"), group["disk_bytes"]) if "disk_bytes" in group else 0.0
    found = settings.at(place, lambda: counts_of([cores, memory, disk], CORES_AND_BYTES, "a capacity"))
    if "disk_bytes" not in group:
        found[2] = UNLIMITED
    return found


def _bytes(settings: Settings, at: Path_, value: Any) -> float:
    """Return an amount of data, a number of bytes or text such as `128 GiB`."""
    if isinstance(value, str):
        from hardware_specs.units import Quantity, parse_quantity

        value = settings.at(at, lambda: parse_quantity(value, Quantity("B", 0.0, 1e18)))
    return _number(settings, at, value, 4e15, strict=True)


def _migration(settings: Settings) -> Migration | None:
    found = _part(settings, "migration", MIGRATION)
    if found is None:
        return None
    hook = {key: found[key] for key in ("threshold", "moves") if key in found}
    rest = {key: value for key, value in found.items() if key not in hook}
    if not isinstance(rest.get("live", True), bool):
        raise settings.fault(("migration", "live"), "'live' must be true or false.")
    if "moves" in hook:
        _whole(settings, ("migration", "moves"), hook["moves"], 10**6)
    if isinstance(rest.get("state_bytes_per_unit"), str):
        rest["state_bytes_per_unit"] = _bytes(
            settings, ("migration", "state_bytes_per_unit"), rest["state_bytes_per_unit"]
        )
    return settings.at(("migration",), lambda: Migration(RelieveOverload(**hook), **rest))


def _interference(settings: Settings) -> dict[str, Any] | None:
    found = _part(settings, "interference", INTERFERENCE)
    if found is None:
        return None
    kind = settings.choice(("interference", "kind"), found.get("kind", "learned"), "interference", KINDS)
    if kind == "constant":
        if "loss" not in found:
            raise settings.fault(("interference",), "constant interference needs 'loss': what a neighbour takes.")
        loss = _number(settings, ("interference", "loss"), found["loss"], 0.999)
        return {"kind": kind, "loss": loss}
    scenarios = _whole(settings, ("interference", "scenarios"), found.get("scenarios", SCENARIOS), 100_000)
    return {"kind": kind, "scenarios": scenarios}
