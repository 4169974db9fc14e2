"""Task graphs from YAML files (`kind: graph`), with overrides of single values.

kind: graph
policy: critical-path            # or in-order, or a list of names, or a mapping of name to priority
engines:
  - {name: gpu, kind: compute}
  - {name: link, kind: link, bandwidth_bytes_per_s: 50e9}
tasks:
  - {name: forward, engine: gpu, duration_s: 1e-3, repeat: 4}
  - {name: send, engine: link, bytes: 1e6, after: [forward]}
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foundation.checks import whole_number
from foundation.errors import ArchcastError, BadFileError, BadValueError, InputError, nearest_names
from foundation.overrides import read_value, set_at
from foundation.yaml_file import Path_, YamlDocument, load_yaml
from simulator.builder import TaskGraphBuilder
from simulator.clock import PICOSECONDS_PER_SECOND
from simulator.schedule import POLICIES, Policy, simulate_graph
from simulator.streams import DEFAULT_SEED
from simulator.tasks import TaskGraph
from simulator.timeline import Timeline

KINDS = ("graph",)
"""The kinds of simulation files that are read here."""
OTHER_KINDS = {
    **dict.fromkeys(("run", "serving", "pipeline", "edge", "cluster"), "archcast simulate"),
    "plan": "archcast plan",
}
"""Kinds that are read above this package, and the commands that run them."""
PLANNED_KINDS = ("training",)

_TOP_KEYS = ("kind", "name", "policy", "ticks_per_second", "engines", "tasks")
_ENGINE_KEYS = ("name", "kind", "device", "capacity", "discipline", "bandwidth_bytes_per_s")
_TASK_KEYS = ("name", "engine", "duration_s", "bytes", "after", "category", "repeat")


def example_files() -> dict[str, Path]:
    """Return the simulation files that come with the package, by name."""
    folder = Path(__file__).parent / "examples"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_graph_file(path: str | Path, overrides: Mapping[str, Any] | None = None) -> tuple[TaskGraph, Policy]:
    """Return the graph of a `kind: graph` file and its policy (`in-order` where it names none).

    `overrides` maps a dotted path to a value, e.g. `{"tasks.forward.duration_s": 0.1}`; list items go by their name
    or number, and text values are read as YAML.

    Raises:
        BadFileError: with file, line and key: unreadable, another kind, an unknown key, engine or task, or a value
            out of range.
        BadValueError: an override has no place in the file, or tasks wait for each other in a circle.
    """
    reader = _Reader(load_yaml(path))
    for key, value in (overrides or {}).items():
        reader.override(key, value)
    return reader.graph(), reader.policy()


def simulate_file(
    path: str | Path, *, seed: int = DEFAULT_SEED, overrides: Mapping[str, Any] | None = None
) -> Timeline:
    """Load a file, apply the overrides (see `load_graph_file`) and simulate it.

    A graph draws no random number, so `seed` does not change its timeline; it is taken so that every simulation is
    called alike. Raises as `load_graph_file` and `simulate_graph`.
    """
    graph, policy = load_graph_file(path, overrides)
    try:
        return simulate_graph(graph, policy)
    except InputError as error:
        raise BadFileError(path, str(error)) from None


class _Reader:
    """Walks the parsed document; every fault names its line and key."""

    def __init__(self, document: YamlDocument) -> None:
        self.document, self.data = document, document.data
        self.given: set[Path_] = set()  # places whose value came from an override
        if not isinstance(self.data, dict):
            raise document.fault((), "the file must be a mapping with the key kind (graph, run, serving).")
        self._check_kind()

    def graph(self) -> TaskGraph:
        """Return the task graph."""
        self._known_keys((), self.data, _TOP_KEYS)
        builder = TaskGraphBuilder(self._tick_rate())
        for at, item in self._items("engines", _ENGINE_KEYS):
            self._at(at, lambda item=item: builder.engine(item.pop("name"), item.pop("kind", "compute"), **item))
        tasks = self._items("tasks", _TASK_KEYS)
        names = {item["name"]: None for _, item in tasks}
        for at, item in tasks:
            self._task(builder, at, item, names)
        try:
            return builder.build()
        except BadValueError as error:
            raise self.document.fault(("tasks",), str(error)) from None

    def _tick_rate(self) -> int:
        rate = self.data.get("ticks_per_second", PICOSECONDS_PER_SECOND)
        try:
            return whole_number("ticks_per_second", rate, high=10**15)
        except BadValueError as error:
            raise self._fault(("ticks_per_second",), str(error)) from None

    def policy(self) -> Policy:
        """Return the policy; its names are checked by the simulation."""
        policy = self.data.get("policy", POLICIES[0])
        if isinstance(policy, str):
            if policy not in POLICIES:
                raise self._fault(("policy",), f"unknown policy '{policy}'.", _near(policy, POLICIES))
            return policy
        if isinstance(policy, list) and all(isinstance(name, str) for name in policy):
            return policy
        if isinstance(policy, dict) and all(type(value) in (int, float) for value in policy.values()):
            return policy
        raise self._fault(
            ("policy",), f"a policy is {' or '.join(POLICIES)}, a list of task names, or a mapping of name to priority."
        )

    def override(self, key: str, value: Any) -> None:
        """Set the value at a dotted path.

        Raises:
            BadValueError: the path leads nowhere; the nearest names are given.
        """
        self.given.update(set_at(self.data, key, read_value(key, value)))
        self._check_kind()

    def _check_kind(self) -> None:
        kind = self.data.get("kind")
        if kind in KINDS:
            return
        known = f"This version runs files of kind: {', '.join((*KINDS, *OTHER_KINDS))}."
        if kind is None:
            raise self.document.fault((), "the key 'kind' is missing.", known)
        if isinstance(kind, str) and kind in OTHER_KINDS:
            raise self._fault(("kind",), f"kind '{kind}' is not a task graph: `{OTHER_KINDS[kind]}` runs such a file.")
        if kind in PLANNED_KINDS:
            raise self._fault(("kind",), f"simulations of kind '{kind}' are not supported yet.", known)
        raise self._fault(("kind",), f"unknown kind '{kind}'.", known)

    def _items(self, section: str, keys: tuple[str, ...]) -> list[tuple[Path_, dict[str, Any]]]:
        """Return (place, copy) of each item of a list of named mappings."""
        items = self.data.get(section)
        if not isinstance(items, list) or not items:
            raise self._fault((section,), f"'{section}' must be a list with at least one item, each with a name.")
        result: list[tuple[Path_, dict[str, Any]]] = []
        for index, item in enumerate(items):
            at: Path_ = (section, index)
            if not isinstance(item, dict):
                raise self._fault(at, f"each item of '{section}' must be a mapping with a name.")
            self._known_keys(at, item, keys)
            if not isinstance(item.get("name"), str) or not item["name"]:
                raise self._fault(at, "the item has no name, or one that is not text.", "Put numbers in quotes.")
            for key in ("engine", "kind", "device", "discipline", "category"):
                if not isinstance(item.get(key, ""), str):
                    raise self._fault((*at, key), f"'{key}' must be text, not {item[key]!r}.")
            result.append((at, dict(item)))
        return result

    def _task(self, builder: TaskGraphBuilder, at: Path_, item: dict[str, Any], names: Mapping[str, Any]) -> None:
        after = item.get("after") or []
        after = [after] if isinstance(after, str) else after
        if not isinstance(after, list):
            raise self._fault((*at, "after"), "'after' must be a task name or a list of task names.")
        for name in after:
            if not isinstance(name, str) or name not in names:
                raise self._fault(
                    (*at, "after"), f"task '{item['name']}' waits for unknown task '{name}'.", _near(name, names)
                )
        if "engine" not in item:
            raise self._fault(at, f"task '{item['name']}' names no engine.")
        if ("duration_s" in item) == ("bytes" in item):
            raise self._fault(at, f"task '{item['name']}' needs either duration_s or bytes (on a link).")
        more = {key: item[key] for key in ("category", "repeat") if key in item}
        if "bytes" in item:
            self._at(
                (*at, "bytes"),
                lambda: builder.transfer(item["name"], item["engine"], item["bytes"], after=after, **more),
            )
        else:
            self._at(at, lambda: builder.task(item["name"], item["engine"], item["duration_s"], after=after, **more))

    def _at(self, at: Path_, make: Any) -> None:
        """Run `make`; what it refuses becomes a fault of the file, at the key that the message begins with."""
        try:
            make()
        except BadFileError:
            raise
        except ArchcastError as error:
            key = str(error).split(" ", 1)[0]
            known = (*at, key) in self.document.lines or (*at, key) in self.given
            raise self._fault((*at, key) if known else at, str(error)) from None

    def _known_keys(self, at: Path_, item: dict[str, Any], keys: tuple[str, ...]) -> None:
        for key in item:
            if key not in keys:
                raise self._fault(
                    (*at, key), f"unknown key '{key}'.", f"{_near(key, keys)} Known: {', '.join(keys)}.".strip()
                )

    def _fault(self, at: Path_, problem: str, hint: str = "") -> BadFileError:
        """Name the line, or the override where the value is from one."""
        if any(at[: len(place)] == place for place in self.given):
            hint = f"{hint} An override gave this value.".strip()
        return self.document.fault(at, problem, hint)


def _near(name: Any, known: Any) -> str:
    near = nearest_names(str(name), known)
    return f"Nearest: {', '.join(near)}." if near else ""
