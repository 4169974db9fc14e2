"""The key `growth` of a plan file, checked key by key. `docs/growth.md` lists the keys."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from archcast.growing.dates import year_of
from archcast.growing.study import Bounds, Future, GrowthStudy, Lognormal, Mix, Owned, Peak, Scenario
from archcast.planning.plan_file import Study, study_of
from archcast.yaml_settings import Settings
from foundation.checks import finite_number, whole_number
from foundation.yaml_file import Path_, YamlDocument

KEYS = (
    "start", "periods", "length", "scenarios", "lognormal", "seen_after", "peak", "mix", "regions", "acquire",
    "lead_months", "use_share", "sold_in", "life_years", "retire", "owned", "future", "limits", "carbon",
    "discount_per_year", "shortage_usd_per_million", "objective", "books",
)  # fmt: skip
LENGTHS = {"quarter": 3, "half-year": 6, "year": 12}
MOST_PERIODS, MOST_SCENARIOS = 24, 64
ACQUIRE = ("buy", "lease", "rent")
SOLD_IN = ("boxes", "instances")
OBJECTIVES = ("expected", "cvar", "worst", "carbon")
ELSEWHERE = ("limits", "carbon", "objective", "confirm", "replications", "router", "warmup")
"""Keys of a plan that a growth plan has below `growth`, or does not have."""
USE_SHARE = 0.72
"""Of the closed form's rate within the objectives, up to which an instance is loaded: waiting and bursts take the rest,
and failures (estimated, 0.6 to 0.85; `archcast plan examples/plan_chat_azure.yaml` confirms 0.67 to 0.71 by events)."""
Place = tuple[str | int, ...]


def read_growth(document: YamlDocument, overrides: Mapping[str, Any] | None = None) -> GrowthStudy:
    """Return the study of a file with the key `growth`, with overrides by dotted path. Raises BadFileError."""
    whole = Settings(document)
    for key, value in (overrides or {}).items():
        whole.override(key, value, paths=("trace", "trace.file", "model", "cost_model"))
    given = whole.mapping(("growth",))
    if given is None:
        raise whole.fault(("growth",), "'growth' must be a mapping of keys to values.")
    for key in ELSEWHERE:
        if key in whole.data:
            hint = f"It stands below growth: {{{key}: ...}}." if key in KEYS else "Take it out."
            raise whole.fault((key,), f"a growth plan has no key '{key}' here.", hint)
    base = Settings(document)
    base.data, base.given = {key: value for key, value in whole.data.items() if key != "growth"}, whole.given
    return _Reader(whole, given).study(study_of(base))


def _name(place: Place) -> str:
    """Return the last word of a place; of an item of a list that of the list."""
    return str(next(part for part in reversed(place) if isinstance(part, str)))


class _Reader:
    """Reads what stands below `growth`; every fault names its key."""

    def __init__(self, settings: Settings, given: dict[str, Any]) -> None:
        self.settings, self.given = settings, given
        settings.known(("growth",), given, KEYS)

    def study(self, base: Study) -> GrowthStudy:
        for key in ("start", "periods", "regions"):
            if self.given.get(key) is None:
                raise self.settings.fault(("growth",), f"'growth' needs the key '{key}'.")
        start = self.date(("start",), self.given["start"])
        length = self.settings.choice(("growth", "length"), self.given.get("length", "year"), "length", tuple(LENGTHS))
        months = LENGTHS[length]
        periods = self.whole(("periods",), self.given["periods"], high=MOST_PERIODS)
        scenarios, lognormal = self.scenarios(periods), self.lognormal(periods)
        if bool(scenarios) == (lognormal is not None):
            raise self.settings.fault(("growth",), "give scenarios or lognormal, one of the two.")
        objective, tail = self.objective()
        lead = self.number(("lead_months",), self.given.get("lead_months", 0), high=60)
        life = self.number(("life_years",), self.given.get("life_years", 5), low=0.25, high=20)
        regions = self.names(("regions",))
        shortage = self.given.get("shortage_usd_per_million")
        return GrowthStudy(
            settings=self.settings, base=base, start=start, periods=periods, months=months, scenarios=scenarios,
            lognormal=lognormal,
            seen_after=self.whole(("seen_after",), self.given.get("seen_after", 0), low=0, high=24),
            peak=self.peak(), mix=self.mix(), regions=regions, acquire=self.acquire(),
            buy_lead=math.ceil(lead / months - 1e-9), sold_in=self.choice("sold_in", SOLD_IN),
            use_share=self.number(("use_share",), self.given.get("use_share", USE_SHARE), low=0.01, high=1),
            life=max(1, round(life * 12 / months)), retire=self.switch("retire", True), owned=self.owned(base, regions),
            future=self.future(base), bounds=self.bounds(base, regions),
            carbon_usd_per_tonne=self.number(("carbon", "usd_per_tonne"), self.part("carbon").get("usd_per_tonne", 0)),
            discount_per_year=self.number(
                ("discount_per_year",), self.given.get("discount_per_year", 0.08), low=0, high=1
            ),
            shortage_usd_per_million=None if shortage is None else self.number(("shortage_usd_per_million",), shortage),
            objective=objective, tail=tail, books=self.books(),
        )  # fmt: skip

    def at(self, place: Place) -> Path_:
        return ("growth", *place)

    def number(self, place: Place, value: object, low: float = 0.0, high: float = math.inf) -> float:
        return self.settings.at(self.at(place), lambda: finite_number(_name(place), value, low=low, high=high))

    def whole(self, place: Place, value: object, low: int = 1, high: int = 10**6) -> int:
        return self.settings.at(self.at(place), lambda: whole_number(_name(place), value, low=low, high=high))

    def date(self, place: Place, value: object) -> float:
        return self.settings.at(self.at(place), lambda: year_of(str(place[-1]), value))

    def switch(self, key: str, default: bool) -> bool:
        value = self.given.get(key, default)
        if not isinstance(value, bool):
            raise self.settings.fault(self.at((key,)), f"'{key}' must be true or false, not {value!r}.")
        return value

    def choice(self, key: str, names: tuple[str, ...]) -> str:
        return self.settings.choice(self.at((key,)), self.given.get(key, names[0]), key, names)

    def part(self, key: str, known: tuple[str, ...] = ()) -> dict[str, Any]:
        """Return a mapping below `growth`, empty where the file has none."""
        found = self.given.get(key) or {}
        if not isinstance(found, dict):
            raise self.settings.fault(self.at((key,)), f"'{key}' must be a mapping of keys to values.")
        if known:
            self.settings.known(self.at((key,)), found, known)
        return found

    def items(self, key: str, known: tuple[str, ...], needed: tuple[str, ...] = ()) -> list[dict[str, Any]]:
        """Return a list of mappings below `growth`, empty where the file has none."""
        found = self.given.get(key) or []
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise self.settings.fault(self.at((key,)), f"'{key}' must be a list of mappings.")
        for i, one in enumerate(found):
            self.settings.known(self.at((key, i)), one, known)
            for name in needed:
                if one.get(name) is None:
                    raise self.settings.fault(self.at((key, i)), f"the key '{name}' is missing.")
        return found

    def names(self, place: Place) -> tuple[str, ...]:
        given = self.given.get(str(place[0]))
        found = [given] if isinstance(given, str) else given
        if not isinstance(found, list) or not found or not all(isinstance(one, str) and one for one in found):
            raise self.settings.fault(self.at(place), f"'{place[-1]}' must be a list of at least one name.")
        return tuple(dict.fromkeys(found))

    def scenarios(self, periods: int) -> tuple[Scenario, ...]:
        found = []
        listed = self.items("scenarios", ("name", "probability", "per_year", "path"))
        if len(listed) > MOST_SCENARIOS:
            raise self.settings.fault(self.at(("scenarios",)), f"at most {MOST_SCENARIOS} scenarios are solved.")
        for i, one in enumerate(listed):
            place: Place = ("scenarios", i)
            if (one.get("per_year") is None) == (one.get("path") is None):
                raise self.settings.fault(self.at(place), "give per_year or path, one of the two.")
            share = self.number((*place, "probability"), one.get("probability", 1 / len(listed)), high=1)
            rate, path = one.get("per_year"), one.get("path")
            if path is not None and (not isinstance(path, list) or len(path) != periods):
                raise self.settings.fault(self.at((*place, "path")), f"'path' must be a list of {periods} numbers.")
            steps = tuple(self.number((*place, "path", k), x, low=1e-6) for k, x in enumerate(path or ()))
            growth = None if rate is None else self.number((*place, "per_year"), rate, low=-0.99, high=100)
            found.append(Scenario(str(one.get("name", f"scenario {i + 1}")), share, growth, steps))
        whole = sum(one.probability for one in found)
        if found and abs(whole - 1) > 1e-6:
            raise self.settings.fault(self.at(("scenarios",)), f"probabilities must sum to 1, not {whole:g}.")
        if len({one.name for one in found}) != len(found):
            raise self.settings.fault(self.at(("scenarios",)), "two scenarios have the same name.")
        return tuple(found)

    def lognormal(self, periods: int) -> Lognormal | None:
        if self.given.get("lognormal") is None:
            return None
        given = self.part("lognormal", ("per_year", "spread", "branches", "draws", "seed"))
        branches = given.get("branches", [3])
        if not isinstance(branches, list) or not 0 < len(branches) < periods:
            raise self.settings.fault(
                self.at(("lognormal", "branches")), f"'branches' must be a list of 1 to {periods - 1} numbers."
            )
        read = tuple(self.whole(("lognormal", "branches", i), n, high=16) for i, n in enumerate(branches))
        if math.prod(read) > MOST_SCENARIOS:
            raise self.settings.fault(
                self.at(("lognormal", "branches")), f"{math.prod(read)} scenarios are more than {MOST_SCENARIOS}."
            )
        return Lognormal(
            self.number(("lognormal", "per_year"), given.get("per_year"), low=-0.99, high=100),
            self.number(("lognormal", "spread"), given.get("spread"), high=5), read,
            self.whole(("lognormal", "draws"), given.get("draws", 4000), low=100, high=200_000),
            self.whole(("lognormal", "seed"), given.get("seed", 1), low=0, high=2**31),
        )  # fmt: skip

    def peak(self) -> Peak:
        given = self.part("peak", ("ratio", "share"))
        if not given:
            return Peak()
        ratio = self.number(("peak", "ratio"), given.get("ratio", 1), low=1, high=100)
        share = self.number(("peak", "share"), given.get("share", min(0.25, 1 / ratio)), low=1e-4, high=1)
        if ratio * share > 1 + 1e-9:
            raise self.settings.fault(
                self.at(("peak", "share")),
                f"{share:g} of the hours at {ratio:g} times the mean exceed the mean.",
            )
        return Peak(ratio, share)

    def mix(self) -> tuple[Mix, ...]:
        found = [
            Mix(self.date(("mix", i, "from"), one["from"]),
                self.number(("mix", i, "prompt"), one.get("prompt", 1), low=0.01, high=100),
                self.number(("mix", i, "generate"), one.get("generate", 1), low=0.01, high=100))
            for i, one in enumerate(self.items("mix", ("from", "prompt", "generate"), ("from",)))
        ]  # fmt: skip
        return tuple(sorted(found, key=lambda one: one.year))

    def acquire(self) -> frozenset[str]:
        if self.given.get("acquire") is None:
            return frozenset(ACQUIRE)
        names = self.names(("acquire",))
        return frozenset(self.settings.choice(self.at(("acquire",)), name, "way to acquire", ACQUIRE) for name in names)

    def _listed(self, place: Place, name: object, names: tuple[str, ...], kind: str) -> str:
        return self.settings.choice(self.at(place), name, kind, names)

    def owned(self, base: Study, regions: tuple[str, ...]) -> tuple[Owned, ...]:
        keys = ("device", "region", "devices", "bought")
        return tuple(
            Owned(self._listed(("owned", i, "device"), one["device"], base.devices, "device"),
                  self._listed(("owned", i, "region"), one.get("region", regions[0]), regions, "region"),
                  self.whole(("owned", i, "devices"), one["devices"]), self.date(("owned", i, "bought"), one["bought"]))
            for i, one in enumerate(self.items("owned", keys, ("device", "devices", "bought")))
        )  # fmt: skip

    def future(self, base: Study) -> tuple[Future, ...]:
        keys = ("name", "like", "from", "times_faster")
        return tuple(
            Future(str(one["name"]), self._listed(("future", i, "like"), one["like"], base.devices, "device"),
                   self.date(("future", i, "from"), one["from"]),
                   self.number(("future", i, "times_faster"), one.get("times_faster", 2), low=0.1, high=100))
            for i, one in enumerate(self.items("future", keys, ("name", "like", "from")))
        )  # fmt: skip

    def bounds(self, base: Study, regions: tuple[str, ...]) -> Bounds:
        given = self.part("limits", ("power_w", "capital_usd", "capital_usd_per_period", "available"))
        carbon = self.part("carbon", ("usd_per_tonne", "budget_kg"))
        power = given.get("power_w")
        by_region = power if isinstance(power, dict) else {} if power is None else dict.fromkeys(regions, power)
        watts = {}
        for name, value in by_region.items():
            place: Place = ("limits", "power_w", name) if isinstance(power, dict) else ("limits", "power_w")
            watts[self._listed(place, name, regions, "region")] = self.number(place, value)

        def amount(place: Place, value: object) -> float:
            return math.inf if value is None else self.number(place, value)

        return Bounds(
            watts, amount(("limits", "capital_usd"), given.get("capital_usd")),
            amount(("limits", "capital_usd_per_period"), given.get("capital_usd_per_period")),
            self.available(base, given.get("available") or {}),
            amount(("carbon", "budget_kg"), carbon.get("budget_kg")),
        )  # fmt: skip

    def available(self, base: Study, given: object) -> dict[str, tuple[tuple[float, int], ...]]:
        place: Place = ("limits", "available")
        if not isinstance(given, dict):
            raise self.settings.fault(self.at(place), "'available' must be a mapping of devices to numbers.")
        names = (*base.devices, *(str(one.get("name")) for one in self.items("future", ("name", "like", "from",
                                                                                       "times_faster"))))  # fmt: skip
        found = {}
        for name, value in given.items():
            self._listed((*place, name), name, names, "device")
            steps = value if isinstance(value, list) else [{"from": "1990-01", "devices": value}]
            read = []
            for i, step in enumerate(steps):
                here: Place = (*place, name, i) if isinstance(value, list) else (*place, name)
                if not isinstance(step, dict) or set(step) != {"from", "devices"}:
                    raise self.settings.fault(self.at(here), "an entry is {from: 2027-01, devices: 64}.")
                read.append((self.date(here, step["from"]), self.whole(here, step["devices"], low=0)))
            found[str(name)] = tuple(sorted(read))
        return found

    def objective(self) -> tuple[str, float]:
        given = self.given.get("objective", OBJECTIVES[0])
        tail = 0.9
        if isinstance(given, dict):
            self.settings.known(self.at(("objective",)), given, ("name", "probability"))
            tail = self.number(("objective", "probability"), given.get("probability", tail), high=0.999)
            given = given.get("name")
        return self.settings.choice(self.at(("objective",)), given, "objective", OBJECTIVES), tail

    def books(self) -> dict[str, str]:
        given = self.part("books", ("purchase-prices", "regions", "trends"))
        return {key: self.settings.near(str(value)) for key, value in given.items()}
