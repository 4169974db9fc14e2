"""From the mapping `traffic:` of a file to a model of traffic; every key is checked, and a wrong one is named.

{name: azure-2023-conv, rate_hz: 4, requests: 2000}
{arrivals: {kind: poisson, rate_hz: 3}, prompt: 1024, generate: {kind: lognormal, mean: 200, cv: 1}, requests: 500}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, fields
from typing import Any, TypeVar

import numpy as np

from foundation.checks import whole_number
from foundation.errors import BadValueError, UnknownNameError
from workloads.traffic.arrivals import Arrivals, AtOnce, Batch, Constant, Diurnal, Gamma, Poisson
from workloads.traffic.bursts import Bursty, Switching, two_state
from workloads.traffic.lengths import (
    ConstantLengths,
    EmpiricalLengths,
    Lengths,
    LognormalLengths,
    PromptAndAnswer,
    UniformLengths,
    ZipfLengths,
)  # fmt: skip
from workloads.traffic.model import TrafficModel
from workloads.traffic.named import named_specification
from workloads.traffic.sessions import PromptClass, Sessions
from workloads.traffic.stream import Traffic

ARRIVALS: dict[str, type[Arrivals]] = {
    one.kind: one for one in (Constant, Poisson, Gamma, Diurnal, Batch, AtOnce, Bursty)
}
LENGTHS: dict[str, type[Lengths]] = {
    one.kind: one for one in (ConstantLengths, UniformLengths, LognormalLengths, ZipfLengths, EmpiricalLengths)
}
TWO_STATE = ("rate_hz", "ratio", "burst_s", "calm_s")
KEYS = (
    "name", "rate_hz", "requests", "horizon_s", "arrivals", "prompt", "generate", "total", "prompt_to_generate",
    "rank_correlation", "most_tokens", "sessions", "priorities",
)  # fmt: skip
T = TypeVar("T")
ABOUT = ("source", "licence", "attribution", "fitted_by", "trace")
"""Keys of the named files that say where the numbers are from; they draw nothing."""


def traffic_model(spec: Mapping[str, Any]) -> TrafficModel:
    """Return the model that a mapping describes. With `name`, its other keys take the place of the named traffic's.

    Raises:
        UnknownNameError: a key, a kind or a name that there is not; the nearest are named.
        BadValueError: a value that it cannot have, with its key.
    """
    data = {**_mapping(spec, "traffic", KEYS)}
    if data.get("name") is not None:
        data = _over_named(data)
    with _inside("traffic"):
        return TrafficModel(
            _arrivals(data), _lengths(data), _sessions(data.get("sessions")), _priorities(data.get("priorities")),
            None if data.get("requests") is None else whole_number("requests", data["requests"]),
            data.get("horizon_s"), str(data.get("name") or ""), str(data.get("source") or ""),
        )  # fmt: skip


def named_traffic(name: str) -> TrafficModel:
    """Return a model by its name (`NAMES`). Raises UnknownNameError, with the nearest."""
    return traffic_model({"name": name})


def draw(
    spec: Mapping[str, Any], random: tuple[np.random.Generator, np.random.Generator], *,
    requests: int | None = None, horizon_s: float | None = None,
) -> Traffic:  # fmt: skip
    """Return requests as the mapping says, drawn from two streams `(arrivals, lengths)`; see `TrafficModel.draw`."""
    return traffic_model(spec).draw(random, requests=requests, horizon_s=horizon_s)


def _over_named(data: dict[str, Any]) -> dict[str, Any]:
    """Lay the caller's keys over the named file's; a length given anew drops the file's other way to say it."""
    base = named_specification(str(data["name"]))
    given = {key: value for key, value in data.items() if value is not None or key == "sessions"}
    if "total" in given or "prompt_to_generate" in given:
        base = {key: value for key, value in base.items() if key not in ("prompt", "generate", "rank_correlation")}
    if "arrivals" in given and "rate_hz" not in given and not _has_rate(given["arrivals"]):
        given["rate_hz"] = base["arrivals"]["rate_hz"]
    return {**base, **given}


def _has_rate(arrivals: Any) -> bool:
    return isinstance(arrivals, Mapping) and arrivals.get("rate_hz") is not None


def _arrivals(data: Mapping[str, Any]) -> Arrivals:
    spec = data.get("arrivals")
    spec = {"kind": "poisson"} if spec is None else {"kind": spec} if isinstance(spec, str) else spec
    found = {**_mapping(spec, "traffic.arrivals")}
    kind = found.pop("kind", "poisson")
    if data.get("rate_hz") is not None:
        found["rate_hz"] = data["rate_hz"]
    if kind == "mmpp":
        _mapping(found, "traffic.arrivals", TWO_STATE, TWO_STATE)
        return two_state(**found)
    if not isinstance(kind, str) or kind not in ARRIVALS:
        raise UnknownNameError("kind of arrivals", str(kind), [*ARRIVALS, "mmpp"])
    if "rate_hz" not in found and kind != "at-once":
        raise BadValueError("no rate is given; set rate_hz (requests a second), or name a known traffic.")
    if kind == "bursty":
        parts = _list(found.get("components"), "arrivals.components")
        found["components"] = tuple(_built(Switching, part, "traffic.arrivals.components") for part in parts)
    with _inside("traffic.arrivals"):
        return _built(ARRIVALS[kind], found, "traffic.arrivals")


def _lengths(data: Mapping[str, Any]) -> PromptAndAnswer:
    total, ratio = data.get("total"), data.get("prompt_to_generate")
    correlation, most = data.get("rank_correlation") or 0.0, data.get("most_tokens")
    if total is not None or ratio is not None:
        if total is None or ratio is None or "prompt" in data or "generate" in data:
            raise BadValueError("give total and prompt_to_generate, or prompt and generate, not a mixture.")
        return PromptAndAnswer(_length("total", total), None, 0.0, ratio, most)
    for key in ("prompt", "generate"):
        if data.get(key) is None:
            raise BadValueError(f"'{key}' is missing: how many tokens, as a number or a distribution.")
    prompt, generate = _length("prompt", data["prompt"]), _length("generate", data["generate"])
    return PromptAndAnswer(prompt, generate, correlation, None, most)


def _length(key: str, spec: Any) -> Lengths:
    if not isinstance(spec, Mapping):
        return ConstantLengths(whole_number(key, spec))
    found = {**spec}
    kind = found.pop("kind", None)
    if not isinstance(kind, str) or kind not in LENGTHS:
        raise UnknownNameError(f"kind of length in traffic.{key}", str(kind), LENGTHS)
    if kind == "empirical":
        found["tokens_at"] = _numbers(found.get("tokens_at"), "tokens_at")
        even = np.linspace(0, 1, max(2, len(found["tokens_at"]))).tolist()
        found["quantiles"] = _numbers(found.get("quantiles", even), "quantiles")
    with _inside(f"traffic.{key}"):
        return _built(LENGTHS[kind], found, f"traffic.{key}")


def _sessions(spec: Any) -> Sessions | None:
    """`continues` and `shared` may stand in place of `classes` where they do not depend on the prompt."""
    if spec is None:
        return None
    found = {**_mapping(spec, "traffic.sessions")}
    with _inside("traffic.sessions"):
        if "classes" not in found:
            same = {"prompt_up_to": 1.0, "continues": found.pop("continues", None), "shared": found.pop("shared", None)}
            found["classes"] = [same]
        parts = _list(found["classes"], "classes")
        rows = [{**_mapping(part, "traffic.sessions.classes")} for part in parts]
        for row in rows:
            row["shared"] = _spread(row.get("shared"), "shared")
        found["classes"] = tuple(_built(PromptClass, row, "traffic.sessions.classes") for row in rows)
        found["age_s"] = _spread(found.get("age_s"), "age_s")
        return _built(Sessions, found, "traffic.sessions")


def _priorities(spec: Any) -> tuple[tuple[int, float], ...]:
    parts = [] if spec is None else _list(spec, "priorities")
    names = ("priority", "share")
    rows = [_mapping(part, "traffic.priorities", names, names) for part in parts]
    return tuple((whole_number("priority", row["priority"], low=-(2**31)), row["share"]) for row in rows)


def _mapping(spec: Any, where: str, known: tuple[str, ...] = (), needed: tuple[str, ...] = ()) -> Mapping[str, Any]:
    """Return `spec` where it is a mapping with keys among `known` (any, where empty) and all of `needed`."""
    if not isinstance(spec, Mapping):
        raise BadValueError(f"{where} must be a mapping of keys to values, not {str(spec)[:40]!r}.")
    for key in spec:
        if known and key not in known:
            raise UnknownNameError(f"key in {where}", str(key), known)
    for key in needed:
        if spec.get(key) is None:
            raise BadValueError(f"{where}: the key '{key}' is missing.")
    return spec


def _built(kind: type[T], spec: Any, where: str) -> T:
    """Return the dataclass `kind` made of a mapping whose keys are its fields."""
    parts = [part for part in fields(kind) if part.init]  # type: ignore[arg-type]
    needed = tuple(part.name for part in parts if part.default is MISSING and part.default_factory is MISSING)
    return kind(**_mapping(spec, where, tuple(part.name for part in parts), needed))


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise BadValueError(f"{name} must be a list, not {str(value)[:40]!r}.")
    return list(value)


def _numbers(value: Any, name: str) -> tuple[float, ...]:
    found = _list(value, name)
    if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in found):
        raise BadValueError(f"{name} must be a list of numbers.")
    return tuple(float(one) for one in found)


def _spread(value: Any, name: str) -> tuple[float, ...]:
    """Quantiles, or one number that they all have."""
    if value is None:
        raise BadValueError(f"the key '{name}' is missing.")
    one = isinstance(value, int | float) and not isinstance(value, bool)
    return (float(value), float(value)) if one else _numbers(value, name)


@contextmanager
def _inside(key: str) -> Iterator[None]:
    """Say under which key a bad value stands."""
    try:
        yield
    except BadValueError as error:
        said = str(error).startswith("traffic")
        raise BadValueError(str(error) if said else f"{key}: {error}") from None
