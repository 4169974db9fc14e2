"""Simulation files of kind `serving`: what is in one, checked key by key. `docs/serving.md` lists the keys.

kind: serving
model: llama-3.1-70b
on: h100-sxm
tp: 4
instances: 2
traffic: {rate_hz: 4.0, requests: 2000, prompt: 1155, generate: 211}
slo: {ttft_s: 2.0, tpot_s: 0.05}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from archcast.yaml_settings import Settings
from foundation.checks import finite_number, whole_number
from foundation.errors import BadFileError, InputError
from foundation.yaml_file import Path_, YamlDocument
from simulator.serving.policy import ORDERS, PREEMPTIONS
from simulator.serving.routers import ROUTERS

Found = TypeVar("Found")

SIZES = ("tp", "pp", "dp", "ep", "instances")
WORDS = ("name", "model", "on", "dtype", "kv_dtype", "software", "router", "role")
PARTS = ("policy", "knobs", "autoscaling", "failures", "speculation", "power_caps")
ENGINE = (*WORDS, *SIZES, *PARTS, "max_queue", "power_cap_w", "memory_share")
POLICY_SIZES: dict[str, tuple[int, int]] = {
    "most_tokens": (1, 262_144), "most_requests": (1, 16_384), "block_tokens": (1, 65_536), "blocks": (1, 10**9),
    "longest_chunk": (0, 262_144),
}  # fmt: skip
"""Least and most: every number of tokens and of requests of a step is priced, so they are bounded."""
POLICY_SHARES: dict[str, float] = {"watermark": 0.99, "swap_bytes_per_s": 1e13}
POLICY_CHOICES: dict[str, tuple[str, ...]] = {"order": ORDERS, "preemption": PREEMPTIONS}
POLICY_SWITCHES = ("whole_prompt", "prompts_first", "decodes_first", "prefix_cache")
POLICY = (*POLICY_SIZES, *POLICY_SHARES, *POLICY_CHOICES, *POLICY_SWITCHES)
MOST_TOKENS, MOST_REQUESTS = 2048, 256
"""Of one step, where the file says nothing."""
SLO = ("ttft_s", "tpot_s", "latency_s")
SLO_SHARE = 0.99
"""Of the requests that must meet all limits, where `slo.share` does not say it."""
ARRIVALS = ("traffic", "trace", "closed_loop")
LOOP = ("users", "think_s", "ramp_s", "think")
TRACE = ("file", "requests", "rate_hz", "start_s", "end_s", "sort", "drop_empty")
STUDY = ("kind", "slo", "replications", "warmup", "intervals", "cost_model", "transfer", "workflow", *ARRIVALS)
TOP = (*STUDY, *ENGINE, "pools")
ROLES = ("both", "prefill", "decode")
ROUTER = "least-loaded"
WARMUPS = ("share", "mser-5")
MEMORY_SHARE = 0.9
"""Of a device's memory that engines take (vLLM's gpu_memory_utilization by default)."""
MOST_INSTANCES = 4096
LONGEST_RUN = 20_000_000


@dataclass(frozen=True)
class EngineKeys:
    """One pool of equal engines, as the file has it; `at` is where in the file."""

    name: str
    model: str
    on: str
    at: Path_
    tp: int = 1
    pp: int = 1
    dp: int = 1
    ep: int = 1
    instances: int = 1
    dtype: str = ""
    kv_dtype: str = ""
    software: str = ""
    router: str = ROUTER
    role: str = ROLES[0]
    policy: dict[str, Any] = field(default_factory=dict)
    knobs: dict[str, Any] = field(default_factory=dict)
    autoscaling: dict[str, Any] | None = None
    failures: Any = None
    power_caps: Any = None
    speculation: dict[str, Any] | None = None
    max_queue: int | None = None
    power_cap_w: float | None = None
    memory_share: float = MEMORY_SHARE


@dataclass(frozen=True)
class ServingKeys:
    """A whole file, checked. Either `traffic` or `trace` says who asks; of a closed loop only their lengths count."""

    settings: Settings
    pools: tuple[EngineKeys, ...]
    traffic: dict[str, Any] | None
    trace: dict[str, Any] | None
    closed_loop: dict[str, Any] | None
    slo: dict[str, float]
    slo_share: float
    replications: int
    warmup: tuple[str, float]
    intervals: bool
    cost_model: str | None
    transfer: dict[str, Any] | None
    workflow: Any

    def at(self, place: Path_, make: Callable[[], Found]) -> Found:
        """Run `make`; what it refuses becomes a fault of the file at that place. Raises BadFileError."""
        return self.settings.at(place, make)

    def place(self, pool: EngineKeys, key: str) -> Path_:
        """Return where a key of a pool stands: in the pool, or at the top for all pools."""
        own = (*pool.at, key)
        return own if self.settings.has(own) or not self.settings.has((key,)) else (key,)


def read_serving(document: YamlDocument, overrides: Mapping[str, Any] | None = None) -> ServingKeys:
    """Return the keys of a `kind: serving` file with overrides by dotted path.

    `--set trace=FILE` takes the place of `traffic`; paths in overrides are relative to the working
    folder, those in the file to the file.

    Raises:
        BadFileError: file, line and key: an unknown key, a missing one, two that exclude each other, a bad value.
    """
    settings = Settings(document)
    for key, value in (overrides or {}).items():
        _override(settings, key, value)
    data = settings.data
    settings.known((), data, TOP)
    pools = _pools(settings)
    if data.get("trace") is not None and data.get("traffic") is not None:
        raise settings.fault(("trace",), "give either trace or traffic, not both; each says what arrives.")
    if data.get("trace") is None and data.get("traffic") is None:
        lengths = " (a closed loop takes its lengths from it)" if data.get("closed_loop") else ""
        raise settings.fault((), f"nobody asks: give traffic or trace{lengths}.")
    return ServingKeys(
        settings, pools, traffic=settings.mapping(("traffic",)), trace=_trace(settings),
        closed_loop=_closed_loop(settings), slo=_slo(settings), slo_share=_slo_share(settings),
        replications=settings.whole(("replications",), 5, high=10_000), warmup=_warmup(settings),
        intervals=settings.switch(("intervals",), True), cost_model=_cost_model(settings),
        transfer=settings.mapping(("transfer",)), workflow=data.get("workflow"),
    )  # fmt: skip


def _override(settings: Settings, key: str, value: Any) -> None:
    first, data = key.split(".")[0], settings.data
    if first == "trace":
        data.pop("traffic", None)
        if "." in key and not isinstance(data.get("trace"), dict):
            data["trace"] = {"file": data["trace"]} if data.get("trace") else {}
    settings.override(key, value, paths=("trace", "trace.file", "model", "on", "cost_model"))


def _pools(settings: Settings) -> tuple[EngineKeys, ...]:
    data = settings.data
    if "pools" not in data:
        return (_engine(settings, (), {k: v for k, v in data.items() if k in ENGINE}, "engines"),)
    pools = data["pools"]
    if not isinstance(pools, list) or not pools:
        raise settings.fault(("pools",), "'pools' must be a list with at least one engine description.")
    found = []
    for i, one in enumerate(pools):
        place: Path_ = ("pools", i)
        if not isinstance(one, dict):
            raise settings.fault(place, "each pool must be a mapping of keys.")
        settings.known(place, one, ENGINE)
        common = {k: v for k, v in data.items() if k in ENGINE and k != "name"}
        found.append(_engine(settings, place, common | one, f"pool {i + 1}"))
    names = [pool.name for pool in found]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise settings.fault(("pools", i), f"two pools have the name '{name}'.")
    return tuple(found)


def _engine(settings: Settings, at: Path_, keys: dict[str, Any], name: str) -> EngineKeys:
    for key in ("model", "on"):
        if not keys.get(key):
            raise settings.fault(at, f"a file of kind 'serving' needs the key '{key}'.")

    def checked(key: str, make: Callable[[Any], Found], default: Found) -> Found:
        if keys.get(key) is None:
            return default
        place = (*at, key) if settings.has((*at, key)) else (key,)
        return settings.at(place, lambda: make(keys[key]))

    more: dict[str, Any] = {k: str(keys[k]) for k in ("dtype", "kv_dtype", "software") if keys.get(k) is not None}
    for key in SIZES:
        more[key] = checked(key, lambda value, key=key: whole_number(key, value, high=MOST_INSTANCES), 1)  # type: ignore[misc]
    for key in PARTS:
        if key not in ("failures", "power_caps"):
            more[key] = checked(key, lambda value, key=key: _mapping(key, value), None)  # type: ignore[misc]
    place = (*at, "policy") if settings.has((*at, "policy")) else ("policy",)
    return EngineKeys(
        name=str(keys.get("name", name)), model=settings.near(str(keys["model"])), on=settings.near(str(keys["on"])),
        at=at, **more | {"policy": _policy(settings, place, more["policy"] or {}), "knobs": more["knobs"] or {}},
        router=settings.choice((*at, "router"), keys.get("router", ROUTER), "router", ROUTERS),
        role=settings.choice((*at, "role"), keys.get("role", ROLES[0]), "role", ROLES), failures=keys.get("failures"),
        power_caps=keys.get("power_caps"),
        max_queue=checked("max_queue", lambda value: whole_number("max_queue", value, low=0), None),
        power_cap_w=checked("power_cap_w", lambda value: finite_number("power_cap_w", value, strict=True), None),
        memory_share=checked(
            "memory_share", lambda value: finite_number("memory_share", value, high=1.0, strict=True), MEMORY_SHARE
        ),
    )  # fmt: skip


def _policy(settings: Settings, at: Path_, keys: dict[str, Any]) -> dict[str, Any]:
    """Return the scheduler's settings, checked one by one and against each other."""
    settings.known(at, keys, POLICY)
    found = {key: _policy_value(settings, (*at, key), key, value) for key, value in keys.items()}
    tokens, requests = found.get("most_tokens", MOST_TOKENS), found.get("most_requests", MOST_REQUESTS)
    if tokens < requests:
        raise settings.fault(
            (*at, "most_tokens"),
            f"most_tokens={tokens} is less than most_requests={requests}: a step could not hold one token of each; "
            "raise the one or lower the other.",
        )
    return {"most_tokens": tokens, "most_requests": requests} | found


def _policy_value(settings: Settings, place: Path_, key: str, value: Any) -> Any:
    if key in POLICY_SIZES:
        low, high = POLICY_SIZES[key]
        return settings.at(place, lambda: whole_number(key, value, low=low, high=high))
    if key in POLICY_SHARES:
        return settings.at(place, lambda: finite_number(key, value, high=POLICY_SHARES[key]))
    if key in POLICY_CHOICES:
        return settings.choice(place, value, key, POLICY_CHOICES[key])
    if not isinstance(value, bool):
        raise settings.fault(place, f"'{key}' must be true or false, not {value!r}.")
    return value


def _mapping(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{name} must be a mapping of keys to values, not {value!r}.")
    return value


def _trace(settings: Settings) -> dict[str, Any] | None:
    trace = settings.data.get("trace")
    if trace is None:
        return None
    found = {"file": trace} if isinstance(trace, str) else trace
    if not isinstance(found, dict) or not isinstance(found.get("file"), str):
        raise settings.fault(("trace",), "a trace is the path of a file, or a mapping with the key file.")
    settings.known(("trace",), found, TRACE)
    checks: dict[str, Any] = {
        "requests": lambda v: whole_number("requests", v, high=LONGEST_RUN),
        "rate_hz": lambda v: finite_number("rate_hz", v, strict=True),
        "start_s": lambda v: finite_number("start_s", v), "end_s": lambda v: finite_number("end_s", v, strict=True),
    }  # fmt: skip
    for key in ("sort", "drop_empty"):
        if not isinstance(found.get(key, False), bool):
            raise settings.fault(("trace", key), f"'{key}' must be true or false, not {found[key]!r}.")
    read = {k: settings.at(("trace", k), lambda k=k: checks[k](found[k])) for k in found if k in checks}  # type: ignore[misc]
    return {**found, "file": settings.near(found["file"]), **read}


def _closed_loop(settings: Settings) -> dict[str, Any] | None:
    loop = settings.mapping(("closed_loop",))
    if loop is None:
        return None
    settings.known(("closed_loop",), loop, LOOP)
    if "users" not in loop:
        raise settings.fault(("closed_loop",), "a closed loop needs the key 'users'.")
    users = settings.at(("closed_loop", "users"), lambda: whole_number("users", loop["users"], high=1_000_000))
    found: dict[str, Any] = {"users": users}
    for key in ("think_s", "ramp_s"):
        found[key] = settings.at(("closed_loop", key), lambda key=key: finite_number(key, loop.get(key, 0.0)))  # type: ignore[misc]
    return found | {"think": str(loop["think"])} if "think" in loop else found


def _slo(settings: Settings) -> dict[str, float]:
    slo = settings.mapping(("slo",)) or {}
    settings.known(("slo",), slo, (*SLO, "share"))
    return {
        key: settings.at(("slo", key), lambda key=key: finite_number(key, slo[key], strict=True))  # type: ignore[misc]
        for key in slo
        if key != "share"
    }


def _slo_share(settings: Settings) -> float:
    """Return the share of the requests that must meet all limits."""
    value = (settings.mapping(("slo",)) or {}).get("share", SLO_SHARE)
    return settings.at(("slo", "share"), lambda: finite_number("share", value, high=1.0, strict=True))


def _warmup(settings: Settings) -> tuple[str, float]:
    """Return (rule, share of the requests that the rule `share` leaves out)."""
    value = settings.data.get("warmup", 0.1)
    if isinstance(value, str):
        return settings.choice(("warmup",), value, "warm-up rule", WARMUPS), 0.1
    return "share", settings.at(("warmup",), lambda: finite_number("warmup", value, high=0.9))


def _cost_model(settings: Settings) -> str | None:
    value = settings.data.get("cost_model")
    return None if value is None else settings.near(str(value))


def as_fault(keys: ServingKeys, error: InputError) -> BadFileError:
    """Return an error of the question as one of the file. Errors that name a file stay as they are."""
    return error if isinstance(error, BadFileError) else BadFileError(keys.settings.document.path, str(error))
