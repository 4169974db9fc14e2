"""Files of kind `allocate`: what is in one, checked key by key. docs/allocate.md lists the keys.

kind: allocate
items: [{name: easy, count: 800, prompt: 400, success: {small: {256: 0.6, 1024: 0.7}}}]
options: [{name: small, workload: llama-3.1-8b, on: l40s, tokens: [256, 1024]}]
budgets: {cost_usd: 20, latency_s: 10}
risk: {kind: chance, probability: 0.95}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from archcast.yaml_settings import Settings
from foundation.checks import finite_number, whole_number
from foundation.errors import BadValueError
from foundation.yaml_file import Path_, YamlDocument, load_yaml

TOP = (
    "kind", "name", "items", "options", "table", "budgets", "choose", "method", "risk", "seed", "time_limit_s", "gap",
    "cost_model", "notes",
)  # fmt: skip
QUESTION = ("workload", "prompt", "generate", "knobs", "mode", "batch", "dtype", "kv_dtype")
ITEM = ("name", "count", "worth", "success", "limits", "lengths", *QUESTION)
OPTION = (
    "name", "on", "device", "tokens", "samples", "parallel", "verifier", "passes", "count", "tp", "pp", "ep", "dp",
    "software", *QUESTION,
)  # fmt: skip
VERIFIER = ("workload", "on", "device", "dtype", "generate", "software", "knobs", "tp", "pp", "count")
RISK = ("kind", "probability", "joint", "gamma", "scenarios")
RISKS = ("nominal", "upper", "chance", "robust")
CHOOSE = ("one", "at most one", "shares")
METHODS = ("auto", "exact", "greedy")
MODELLED = ("latency_s", "ttft_s", "tpot_s", "energy_j", "cost_usd", "memory_bytes")
EACH = ("latency_s", "ttft_s", "tpot_s", "memory_bytes")
"""Budgets that hold for each request rather than for all together, unless the file says otherwise."""
MOST_ITEMS, MOST_OPTIONS, MOST_VARIANTS, MOST_CELLS = 2000, 200, 2000, 60_000
SCENARIOS = 6000
MOST_NUMBER = 1e12
"""Of a count or a worth: far from where sums of products lose all digits."""


@dataclass(frozen=True)
class Item:
    """A class of requests: how many, what a success is worth, the question, success by option, limits of its own."""

    name: str
    count: float
    worth: float
    question: dict[str, Any]
    success: dict[str, Any]
    limits: dict[str, float]
    lengths: dict[str, Any] | None
    at: Path_


@dataclass(frozen=True)
class Option:
    """A way to answer, for each of its numbers of tokens and samples."""

    name: str
    question: dict[str, Any]
    tokens: tuple[float, ...]
    samples: tuple[int, ...]
    parallel: bool
    verifier: dict[str, Any] | None
    passes: int
    at: Path_


@dataclass(frozen=True)
class Budget:
    """The most of a quantity: `of` all requests together (`total`) or of `each`."""

    name: str
    most: float
    of: str


@dataclass(frozen=True)
class Risk:
    """How uncertain costs are met; see docs/allocate.md."""

    kind: str = "nominal"
    probability: float = 0.95
    joint: bool = False
    gamma: float = 1.0
    scenarios: int = SCENARIOS


@dataclass(frozen=True)
class Study:
    """A whole file, checked."""

    settings: Settings
    name: str
    items: tuple[Item, ...]
    options: tuple[Option, ...]
    table: Any
    budgets: tuple[Budget, ...]
    choose: str
    method: str
    risk: Risk
    seed: int
    time_limit_s: float
    gap: float | None
    cost_model: str | None
    notes: tuple[str, ...] = field(default=())

    @property
    def total(self) -> tuple[Budget, ...]:
        return tuple(b for b in self.budgets if b.of == "total")

    @property
    def each(self) -> tuple[Budget, ...]:
        return tuple(b for b in self.budgets if b.of == "each")


def read_allocate(file: str | Path | Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> Study:
    """Return the study that a file (or a mapping with its keys) asks for, with overrides by dotted path.

    Raises:
        BadFileError: file, line and key: an unknown key, a missing one, a bad value. BadValueError: no file at all.
    """
    if not isinstance(file, (str, Path, Mapping)):
        raise BadValueError(f"allocate takes the path of a YAML file or a mapping with its keys, not {file!r:.80}.")
    document = YamlDocument(Path("allocate"), dict(file)) if isinstance(file, Mapping) else load_yaml(file)
    settings = Settings(document)
    for key, value in (overrides or {}).items():
        settings.override(key, value, paths=("table", "cost_model"))
    data = settings.data
    if data.get("kind", "allocate") != "allocate":
        raise settings.fault(("kind",), f"an allocate file has 'kind: allocate', not {data['kind']!r}.")
    settings.known((), data, TOP)
    has_table, has_items = data.get("table") is not None, data.get("items") is not None
    if has_table == (has_items or data.get("options") is not None):
        raise settings.fault((), "give items and options, or a table of costs.",
                             "Such as table: [{item: a, option: x, value: 1, cost_usd: 2}].")  # fmt: skip
    options = () if has_table else _options(settings)
    items = () if has_table else _items(settings, options)
    _few_cells(settings, items, options)
    choose = settings.choice(("choose",), data.get("choose", CHOOSE[0]), "way to choose", CHOOSE)
    risk = _risk(settings)
    if choose == "shares" and risk.kind not in ("nominal", "upper"):
        raise settings.fault(("risk", "kind"), f"shares are chosen with risk nominal or upper, not {risk.kind}.")
    gap = data.get("gap")
    model = data.get("cost_model")
    return Study(
        settings, str(data.get("name") or document.path.stem), items, options, data.get("table"), _budgets(settings),
        choose, settings.choice(("method",), data.get("method", METHODS[0]), "method", METHODS), risk,
        settings.at(("seed",), lambda: whole_number("seed", data.get("seed", 0), low=0, high=2**32)),
        settings.at(("time_limit_s",), partial(finite_number, "time_limit_s", data.get("time_limit_s", 3.0), low=0.1,
                                               high=3600.0)),
        None if gap is None else settings.at(("gap",), partial(finite_number, "gap", gap, high=1.0)),
        None if model is None else settings.near(str(model)), _notes(settings),
    )  # fmt: skip


def _notes(settings: Settings) -> tuple[str, ...]:
    given = settings.data.get("notes") or []
    notes = [given] if isinstance(given, str) else given
    if not isinstance(notes, list) or len(notes) > 50:
        raise settings.fault(("notes",), "notes is a sentence or a list of at most 50.")
    return tuple(str(one)[:1000] for one in notes)


def _list(settings: Settings, key: str, most: int) -> list[dict[str, Any]]:
    given = settings.data.get(key)
    if not isinstance(given, list) or not given or not all(isinstance(one, dict) for one in given):
        raise settings.fault((key,), f"'{key}' must be a list of at least one mapping.")
    if len(given) > most:
        raise settings.fault((key,), f"{len(given):,} {key} are more than {most:,}.")
    names = [str(one.get("name") or f"{key[:-1]} {i + 1}") for i, one in enumerate(given)]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise settings.fault((key, i, "name"), f"two {key} have the name '{name}'.")
    return [{**one, "name": name} for one, name in zip(given, names, strict=True)]


def _options(settings: Settings) -> tuple[Option, ...]:
    found = []
    for i, one in enumerate(_list(settings, "options", MOST_OPTIONS)):
        at: Path_ = ("options", i)
        settings.known(at, one, OPTION)
        verifier = one.get("verifier")
        if verifier is not None:
            if not isinstance(verifier, dict):
                raise settings.fault((*at, "verifier"), "a verifier is a mapping such as {workload: .., on: ..}.")
            settings.known((*at, "verifier"), verifier, VERIFIER)
            verifier = _named(settings, verifier)
        own = ("name", "tokens", "samples", "parallel", "verifier", "passes")
        question = _named(settings, {k: v for k, v in one.items() if k not in own and v is not None})
        if not question.get("on"):
            raise settings.fault(at, f"option '{one['name']}' needs a device.", "Such as on: l40s.")
        parallel = one.get("parallel", True)
        if not isinstance(parallel, bool):
            raise settings.fault((*at, "parallel"), f"'parallel' must be true or false, not {parallel!r}.")
        samples = _numbers(settings, (*at, "samples"), one.get("samples", 1))
        passes = settings.at((*at, "passes"), partial(whole_number, "passes", one.get("passes", 1), high=1000))
        tokens = () if one.get("tokens") is None else _numbers(settings, (*at, "tokens"), one["tokens"])
        found.append(
            Option(str(one["name"]), question, tuple(map(float, tokens)), samples, parallel, verifier, passes, at)
        )
    return tuple(found)


def _named(settings: Settings, question: dict[str, Any]) -> dict[str, Any]:
    """Return a question with its paths resolved and `device` as `on`."""
    found = {("on" if k == "device" else k): v for k, v in question.items()}
    return {k: settings.near(str(v)) if k in ("workload", "on") else v for k, v in found.items()}


def _numbers(settings: Settings, at: Path_, given: Any) -> tuple[int, ...]:
    many = given if isinstance(given, list) else [given]
    if not many:
        raise settings.fault(at, f"'{at[-1]}' must have at least one number.")
    return tuple(dict.fromkeys(
        settings.at(at, partial(whole_number, str(at[-1]), n, high=10**7)) for n in many
    ))  # fmt: skip


def _items(settings: Settings, options: tuple[Option, ...]) -> tuple[Item, ...]:
    names = tuple(option.name for option in options)
    found = []
    for i, one in enumerate(_list(settings, "items", MOST_ITEMS)):
        at: Path_ = ("items", i)
        settings.known(at, one, ITEM)
        success = one.get("success")
        if success is None:
            raise settings.fault(at, f"item '{one['name']}' says nothing about success.",
                                 "Give success: by option, as measured by you; archcast never invents it.")  # fmt: skip
        if not isinstance(success, dict):
            success = dict.fromkeys(names, success)
        settings.known((*at, "success"), success, names)
        limits = one.get("limits") or {}
        if not isinstance(limits, dict):
            raise settings.fault((*at, "limits"), "'limits' is a mapping such as {latency_s: 2}.")
        settings.known((*at, "limits"), limits, MODELLED)
        read = {
            k: settings.at((*at, "limits", k), partial(finite_number, k, v, strict=True)) for k, v in limits.items()
        }
        own = ("name", "count", "worth", "success", "limits", "lengths")
        lengths = one.get("lengths")
        if lengths is not None and not (isinstance(lengths, dict) and lengths):
            raise settings.fault((*at, "lengths"), "'lengths' maps tokens to the share of answers that end by then.")
        count = settings.at(
            (*at, "count"), partial(finite_number, "count", one.get("count", 1), strict=True, high=MOST_NUMBER)
        )
        worth = settings.at((*at, "worth"), partial(finite_number, "worth", one.get("worth", 1), high=MOST_NUMBER))
        found.append(Item(
            str(one["name"]), count, worth,
            _named(settings, {k: v for k, v in one.items() if k not in own and v is not None}), success, read, lengths,
            at,
        ))  # fmt: skip
    return tuple(found)


def _few_cells(settings: Settings, items: tuple[Item, ...], options: tuple[Option, ...]) -> None:
    variants = sum(max(len(o.tokens), 1) * len(o.samples) for o in options)
    if variants > MOST_VARIANTS or variants * len(items) > MOST_CELLS:
        raise settings.fault(("options",), f"{len(items):,} items x {variants:,} variants of options are too many.",
                             f"One file has at most {MOST_VARIANTS:,} variants and {MOST_CELLS:,} cells.")  # fmt: skip


def _budgets(settings: Settings) -> tuple[Budget, ...]:
    given = settings.mapping(("budgets",))
    if not given:
        raise settings.fault(("budgets",) if "budgets" in settings.data else (), "there is no budget.",
                             "Give budgets: {cost_usd: 20, latency_s: 5}.")  # fmt: skip
    if settings.data.get("table") is None:
        settings.known(("budgets",), given, MODELLED)
    found = []
    for name, value in given.items():
        at: Path_ = ("budgets", name)
        whole = value if isinstance(value, dict) else {"most": value}
        settings.known(at, whole, ("most", "of"))
        of = settings.choice(
            (*at, "of"), whole.get("of", "each" if name in EACH else "total"), "scope", ("total", "each")
        )
        if of == "total" and name in ("memory_bytes", "ttft_s", "tpot_s"):
            raise settings.fault((*at, "of"), f"{name} of several requests does not add up; it holds for each.")
        found.append(Budget(str(name), settings.at(at, partial(finite_number, str(name), whole.get("most"))), of))
    if not any(budget.of == "total" for budget in found):
        raise settings.fault(("budgets",), "no budget is shared by the items: each takes its best option by itself.",
                             "Give a total, such as cost_usd or energy_j.")  # fmt: skip
    return tuple(found)


def _risk(settings: Settings) -> Risk:
    given = settings.data.get("risk")
    whole = {"kind": given} if isinstance(given, str) else given or {}
    if not isinstance(whole, dict):
        raise settings.fault(("risk",), "'risk' is a mapping such as {kind: chance, probability: 0.95}.")
    settings.known(("risk",), whole, RISK)
    kind = settings.choice(("risk", "kind"), whole.get("kind", RISKS[0]), "kind of risk", RISKS)
    joint = whole.get("joint", False)
    if not isinstance(joint, bool):
        raise settings.fault(("risk", "joint"), f"'joint' must be true or false, not {joint!r}.")
    share = settings.at(
        ("risk", "probability"),
        partial(finite_number, "probability", whole.get("probability", 0.95), low=0.5, high=0.999),
    )
    gamma = settings.at(("risk", "gamma"), partial(finite_number, "gamma", whole.get("gamma", 1)))
    count = settings.at(
        ("risk", "scenarios"),
        partial(whole_number, "scenarios", whole.get("scenarios", SCENARIOS), low=300, high=100_000),
    )
    return Risk(kind, share, joint, gamma, count)
