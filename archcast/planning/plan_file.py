"""Files of kind `plan`: what is in one, checked key by key. `docs/plan.md` lists the keys.

kind: plan
model: llama-3.1-70b
traffic: {name: azure-2023-conv, rate_hz: 20}
slo: {ttft_s: 2.0, tpot_s: 0.1, percentile: 99}
devices: [h100-sxm, b200]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from archcast.yaml_settings import Settings
from foundation.checks import finite_number, whole_number
from foundation.formats import number_format
from foundation.yaml_file import Path_, YamlDocument, load_yaml

TOP = (
    "kind", "model", "knobs", "traffic", "trace", "slo", "objective", "devices", "formats", "kv_formats",
    "instance_devices", "policies", "software", "router", "memory_share", "prices", "carbon", "limits", "confirm",
    "replications", "warmup", "cost_model",
)  # fmt: skip
SLO = ("ttft_s", "tpot_s", "percentile", "goodput_share")
LIMITS = ("devices", "usd_per_hour", "available")
CARBON = ("grid_intensity_g_per_kwh", "pue")
TRAFFIC_ONLY, TRACE = ("requests", "rate_hz"), ("file", "requests", "rate_hz")
POLICY = ("most_tokens", "most_requests", "block_tokens", "watermark", "prompts_first", "prefix_cache")
OBJECTIVES = ("cost", "power", "energy", "carbon")
ROUTERS = ("least-loaded", "round-robin", "power-of-two", "random")
MOST_DEVICES = 256
"""Of a fleet, where the file sets no limit."""
INSTANCE_DEVICES = (1, 2, 4, 8)
DEFAULT_POLICIES = ({"most_tokens": 2048}, {"most_tokens": 512})
MEMORY_SHARE = 0.9
"""Of a device's memory that an engine takes (vLLM's gpu_memory_utilization by default)."""
MOST_REQUESTS = 500_000


@dataclass(frozen=True)
class Slo:
    """What must hold: TTFT and TPOT at a percentile (None: no limit), and the share of requests that keep both."""

    ttft_s: float | None
    tpot_s: float | None
    percentile: float = 99.0
    goodput_share: float | None = None

    @property
    def name(self) -> str:
        """Return e.g. `p99`."""
        return f"p{self.percentile:g}"

    def to_json(self) -> dict[str, float]:
        found = {key: getattr(self, key) for key in SLO}
        return {key: value for key, value in found.items() if value is not None}


@dataclass(frozen=True)
class Limits:
    """What a fleet may not exceed. `available` is by device; a device that is not named is bounded by `devices`."""

    devices: int = MOST_DEVICES
    usd_per_hour: float = float("inf")
    available: Mapping[str, int] = field(default_factory=dict)

    def of(self, device: str) -> int:
        """Return how many devices of a type a fleet may have."""
        return min(self.devices, self.available.get(device, self.devices))


@dataclass(frozen=True)
class Study:
    """A whole plan file, checked. Names of devices and the model are not looked up yet."""

    settings: Settings
    model: str
    knobs: dict[str, Any]
    traffic: dict[str, Any] | None
    trace: dict[str, Any] | None
    slo: Slo
    objective: str
    devices: tuple[str, ...]
    formats: tuple[str, ...]
    kv_formats: tuple[str, ...]
    instance_devices: tuple[int, ...]
    policies: tuple[dict[str, Any], ...]
    software: str
    router: str
    memory_share: float
    prices: dict[str, float]
    grid_kg_per_j: float | None
    pue: float
    limits: Limits
    confirm: int
    replications: int
    warmup_share: float
    cost_model: str | None

    @property
    def demand_at(self) -> Path_:
        return ("trace",) if self.trace else ("traffic",)


def read_plan(file: str | Path | Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> Study:
    """Return the study that a file (or a mapping with its keys) asks for, with overrides by dotted path.

    `trace=FILE` among the overrides takes the place of the file's `traffic`, and `traffic` that of its `trace`.

    Raises:
        BadFileError: file, line and key: an unknown key, a missing one, two that exclude each other, a bad value.
    """
    document = YamlDocument(Path("plan"), dict(file)) if isinstance(file, Mapping) else load_yaml(file)
    settings = Settings(document)
    changes = dict(overrides or {})
    firsts = {key.split(".")[0] for key in changes}
    for key in ({"trace", "traffic"} & firsts) if len({"trace", "traffic"} & firsts) == 1 else ():
        settings.data.pop("traffic" if key == "trace" else "trace", None)
    for key, value in changes.items():
        if key.startswith("trace.") and isinstance(settings.data.get("trace"), str):
            settings.data["trace"] = {"file": settings.data["trace"]}
        settings.override(key, value, paths=("trace", "trace.file", "model", "cost_model"))
    return study_of(settings)


def study_of(settings: Settings) -> Study:
    """Return the study that checked settings ask for. Raises BadFileError as `read_plan`."""
    data = settings.data
    if data.get("kind", "plan") != "plan":  # before its keys, which are those of another kind
        hint = "`archcast simulate` runs files of other kinds."
        raise settings.fault(("kind",), f"a plan file has 'kind: plan', not {data['kind']!r}.", hint)
    settings.known((), data, TOP)
    if "kind" not in data:
        raise settings.fault((), "a plan file has 'kind: plan'; the key is missing.")
    if not data.get("model"):
        raise settings.fault((), "a file of kind 'plan' needs the key 'model'.")
    traffic, trace = _demand(settings)
    grid, pue = _carbon(settings)
    objective = settings.choice(("objective",), data.get("objective", OBJECTIVES[0]), "objective", OBJECTIVES)
    if objective == "carbon" and grid is None:
        raise settings.fault(
            ("objective",), "carbon needs the intensity of the grid.",
            "Give carbon: {grid_intensity_g_per_kwh: 350, pue: 1.2}.",
        )  # fmt: skip
    model_cost = data.get("cost_model")
    return Study(
        settings=settings, model=settings.near(str(data["model"])), knobs=settings.mapping(("knobs",)) or {},
        traffic=traffic, trace=trace, slo=_slo(settings), objective=objective, devices=_devices(settings),
        formats=_formats(settings, "formats"), kv_formats=_formats(settings, "kv_formats"),
        instance_devices=_sizes(settings), policies=_policies(settings), software=str(data.get("software") or ""),
        router=settings.choice(("router",), data.get("router", ROUTERS[0]), "router", ROUTERS),
        memory_share=_number(settings, ("memory_share",), MEMORY_SHARE, high=1.0), prices=_prices(settings),
        grid_kg_per_j=grid, pue=pue, limits=_limits(settings), confirm=settings.whole(("confirm",), 5, high=1000),
        replications=settings.whole(("replications",), 12, high=1000),
        warmup_share=settings.at(("warmup",), lambda: finite_number("warmup", data.get("warmup", 0.15), high=0.9)),
        cost_model=None if model_cost is None else settings.near(str(model_cost)),
    )  # fmt: skip


def _demand(settings: Settings) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    traffic, trace = settings.mapping(("traffic",)), settings.data.get("trace")
    if traffic is not None and trace is not None:
        raise settings.fault(("trace",), "give traffic or trace, not both.", "Take one of the two keys out.")
    if traffic is None and trace is None:
        raise settings.fault((), "there is no demand.", "Give traffic: {name: azure-2023-conv, rate_hz: 20}, or trace.")
    if trace is not None:
        found = {"file": trace} if isinstance(trace, str) else trace
        if not isinstance(found, dict) or not isinstance(found.get("file"), str):
            raise settings.fault(("trace",), "a trace is the path of a file, or a mapping with the key file.")
        settings.known(("trace",), found, TRACE)
        return None, {**found, "file": settings.near(found["file"]), **_amounts(settings, "trace", found)}
    assert traffic is not None
    return {**traffic, **_amounts(settings, "traffic", traffic)}, None


def _amounts(settings: Settings, key: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the checked rate and number of requests of a demand, where it has them."""
    found: dict[str, Any] = {}
    if given.get("rate_hz") is not None:
        found["rate_hz"] = _number(settings, (key, "rate_hz"), given["rate_hz"])
    if given.get("requests") is not None:
        count = given["requests"]
        found["requests"] = settings.at(
            (key, "requests"), lambda: whole_number("requests", count, low=100, high=MOST_REQUESTS)
        )
    return found


def _slo(settings: Settings) -> Slo:
    given = settings.mapping(("slo",)) or {}
    settings.known(("slo",), given, SLO)
    if given.get("ttft_s") is None and given.get("tpot_s") is None:
        raise settings.fault(("slo",), "a plan needs an objective to keep.", "Give slo: {ttft_s: 2.0, tpot_s: 0.1}.")
    times = {
        key: None if given.get(key) is None else _number(settings, ("slo", key), given[key])
        for key in ("ttft_s", "tpot_s")
    }
    percentile = given.get("percentile", 99)
    plain = percentile.lower().removeprefix("p") if isinstance(percentile, str) else percentile
    rank = settings.at(("slo", "percentile"), lambda: finite_number("percentile", plain, low=1.0, high=99.9))
    share = given.get("goodput_share")
    goodput = None if share is None else _number(settings, ("slo", "goodput_share"), share, high=1.0)
    return Slo(times["ttft_s"], times["tpot_s"], rank, goodput)


def _number(settings: Settings, at: Path_, value: Any, high: float = float("inf")) -> float:
    """Return a number above 0. Raises BadFileError. The value of a top key is read from the file."""
    found = settings.data.get(str(at[0]), value) if len(at) == 1 else value
    return settings.at(at, lambda: finite_number(str(at[-1]), found, high=high, strict=True))


def _devices(settings: Settings) -> tuple[str, ...]:
    given = settings.data.get("devices")
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise settings.fault(
            ("devices",), "'devices' must be a list of at least one device.", "`archcast devices` lists them."
        )
    return tuple(dict.fromkeys(settings.near(name) for name in names))


def _formats(settings: Settings, key: str) -> tuple[str, ...]:
    given = settings.data.get(key)
    names = [""] if given is None else [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not names:
        raise settings.fault((key,), f"'{key}' must be a list of number formats.")
    return tuple(dict.fromkeys(settings.at((key,), partial(_format, name)) for name in names))


def _format(name: object) -> str:
    return number_format(str(name)).name if name else ""


def _sizes(settings: Settings) -> tuple[int, ...]:
    given = settings.data.get("instance_devices", list(INSTANCE_DEVICES))
    sizes = given if isinstance(given, list) else [given]
    if not sizes:
        raise settings.fault(("instance_devices",), "'instance_devices' must have at least one size.")
    read = [
        settings.at(("instance_devices",), partial(whole_number, "instance_devices", n, high=MOST_DEVICES))
        for n in sizes
    ]
    return tuple(sorted(set(read)))


def _policies(settings: Settings) -> tuple[dict[str, Any], ...]:
    given = settings.data.get("policies", list(DEFAULT_POLICIES))
    policies = [given] if isinstance(given, dict) else given
    if not isinstance(policies, list) or not policies or not all(isinstance(one, dict) for one in policies):
        raise settings.fault(("policies",), "'policies' must be a list of mappings, such as - {most_tokens: 2048}.")
    for i, one in enumerate(policies):
        settings.known(("policies", i), one, POLICY)
        for key, value in one.items():
            place: Path_ = ("policies", i, key)
            if key in ("most_tokens", "most_requests", "block_tokens"):
                settings.at(place, partial(whole_number, key, value, high=1_000_000))
            elif key == "watermark":
                settings.at(place, partial(finite_number, key, value, high=0.99))
            elif not isinstance(value, bool):
                raise settings.fault(place, f"'{key}' must be true or false, not {value!r}.")
    return tuple(policies)


def _prices(settings: Settings) -> dict[str, float]:
    given = settings.mapping(("prices",)) or {}
    return {str(name): _number(settings, ("prices", name), value) for name, value in given.items()}


def _carbon(settings: Settings) -> tuple[float | None, float]:
    """Return (kg of CO2 a joule, power of the building over that of the devices)."""
    given = settings.mapping(("carbon",)) or {}
    settings.known(("carbon",), given, CARBON)
    grid = given.get("grid_intensity_g_per_kwh")
    pue = settings.at(("carbon", "pue"), lambda: finite_number("pue", given.get("pue", 1.0), low=1.0, high=10.0))
    if grid is None:
        return None, pue
    grams = settings.at(
        ("carbon", "grid_intensity_g_per_kwh"), lambda: finite_number("grid_intensity_g_per_kwh", grid, high=1e4)
    )
    return grams / 1000 / 3.6e6, pue


def _limits(settings: Settings) -> Limits:
    given = settings.mapping(("limits",)) or {}
    settings.known(("limits",), given, LIMITS)
    available = given.get("available") or {}
    if not isinstance(available, dict):
        raise settings.fault(("limits", "available"), "'available' must be a mapping of device to number.")
    counts = {
        str(name): settings.at(("limits", "available", name), partial(whole_number, "available", n, low=0))
        for name, n in available.items()
    }
    most = settings.at(
        ("limits", "devices"), lambda: whole_number("devices", given.get("devices", MOST_DEVICES), high=100_000)
    )
    budget = given.get("usd_per_hour")
    usd = float("inf") if budget is None else _number(settings, ("limits", "usd_per_hour"), budget)
    return Limits(most, usd, counts)
