"""The parts of a pipeline's description: beam, links, service times, classifiers, polynomials of the event size."""

from __future__ import annotations

from itertools import cycle
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from hardware_specs.figures import Figure, Spec, fault
from hardware_specs.units import Quantity

Whole = Annotated[int, Field(ge=1, le=10**12)]
Name = Annotated[str, Field(min_length=1, max_length=100)]
Time = Quantity("s", 0, 1e9)
Share = Quantity("", 0, 1)
Bytes = Quantity("B", 0, 1e18)
Rate = Quantity("Hz", 1e-6, 1e12)
EnergyPerOperation = Quantity("J/OP", 0, 1e6)

MOST_ACCEPTS, MOST_CROSSINGS = 10_000, 10**6
"""Of a trigger rule; its loss is summed over every crossing of its window."""
MOST_TOGETHER = 10**6
"""Events of a batch or of a packet."""
LEAST_MTBF_S, LEAST_PERIOD_S = 1e-3, 1e-6
"""Below, a window would simulate nothing but failures, or pauses."""


def value_of(figure: Figure | None, default: float = 0.0) -> float:
    """Return the value of an optional figure."""
    return default if figure is None else figure.value


def _optional_int(field: Any) -> bool:
    parts = get_args(field.annotation)
    return any(part is int or (get_args(part) and get_args(part)[0] is int) for part in parts)


class Counted(Spec):
    """A description with whole numbers that may carry a source too: `servers: {value: 200, source: KEY}`.

    The field then holds the plain number, and `counts` its figure (range and source) under the field's name.
    """

    counts: dict[str, Figure] = Field(default_factory=dict)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Note which fields hold whole numbers and polynomials once, when the class is made."""
        super().__pydantic_init_subclass__(**kwargs)
        cls.wholes = frozenset(
            name for name, field in cls.model_fields.items() if field.annotation is int or _optional_int(field)
        )
        cls.polynomials = frozenset(
            name for name, field in cls.model_fields.items() if "Polynomial" in str(field.annotation)
        )

    @model_validator(mode="before")
    @classmethod
    def _take_counts(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        given = {name: data[name] for name in sorted(cls.wholes) if isinstance(data.get(name), dict)}
        for name, figure in given.items():
            value = figure.get("value")
            if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value):
                raise fault(f"{value!r} is not a whole number.", (name, "value"))
        plain = {name: int(figure["value"]) for name, figure in given.items()}
        return {**data, **plain, "counts": {**data.get("counts", {}), **given}}


class Polynomial(Spec):
    """a0 + a1 x + a2 x^2 + ..., x being the bytes of an event; every coefficient is at least 0.

    In a file: `{coefficients: [a0, a1], source: KEY}`, or `{coefficients: .., range_factor: [0.5, 2], estimated: true}`
    where the range is a factor on every coefficient.
    """

    coefficients: Annotated[tuple[Figure, ...], Field(min_length=1, max_length=8)]

    @model_validator(mode="after")
    def _not_negative(self) -> Polynomial:
        for power, figure in enumerate(self.coefficients):
            if figure.lo < 0:
                raise fault(f"the coefficient {figure.lo:g} is negative.", ("coefficients", power))
        return self

    def at(self, event_bytes: float) -> tuple[float, float, float]:
        """Return (value, lo, hi) for an event of that size."""
        powers = [event_bytes**power for power in range(len(self.coefficients))]
        value, lo, hi = (
            sum(figure.interval[end] * x for figure, x in zip(self.coefficients, powers, strict=True))
            for end in range(3)
        )
        return value, lo, hi


class TechnologySpec(Counted):
    """Power of a result of `year` is divided by exp(growth_per_year x (year - reference_year))."""

    reference_year: Annotated[int, Field(ge=1970, le=2100)] = 2022
    growth_per_year: Annotated[Figure, Quantity("", 0, 1)] = Figure(value=0.18717361, lo=0.13, hi=0.24, estimated=True)


class BeamSpec(Counted):
    """Bunch crossings: `fill` is a list of runs [filled, empty] that repeats up to `slots`, the crossings of an orbit.

    Without `fill`, `filled_slots` says how many are filled, in trains as in the nominal scheme of the LHC; without
    both, all are.
    """

    crossing_rate_hz: Annotated[Figure, Rate]
    slots: Annotated[int, Field(ge=1, le=10**6)] = 3564
    fill: tuple[tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]], ...] = ()
    filled_slots: Annotated[int, Field(ge=1, le=10**6)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> BeamSpec:
        if self.fill and sum(map(sum, self.fill)) == 0:
            raise fault("no run of the fill pattern has a crossing.", ("fill",))
        if self.filled_slots is not None and self.filled_slots > self.slots:
            raise fault(f"{self.filled_slots} filled crossings do not fit in {self.slots} slots.", ("filled_slots",))
        if not any(self.pattern()):
            raise fault("no crossing is filled.", ("fill",))
        if self.fill and self.filled_slots not in (None, sum(self.pattern())):
            raise fault(f"the fill pattern has {sum(self.pattern())} filled crossings.", ("filled_slots",))
        return self

    def pattern(self) -> tuple[bool, ...]:
        """Return which of the orbit's crossings are filled.

        The synthetic pattern is the nominal scheme of the LHC for 2,808 of 3,564, and has trains in such groups for
        other numbers.
        """
        if not self.fill:
            return train_pattern(self.slots, self.slots if self.filled_slots is None else self.filled_slots)
        once = [filled for run in self.fill for filled in (*[True] * run[0], *[False] * run[1])]
        return tuple(once[slot % len(once)] for slot in range(self.slots))


class LinkUse(Counted):
    """A link between two places of the pipeline; the bandwidth is that of one lane, in one direction."""

    energy_per_bit_j: Annotated[Figure | None, Quantity("J/bit", 0, 1e-3)] = None
    bandwidth_bytes_per_s: Annotated[Figure | None, Quantity("B/s", 1, 1e16, bits=True)] = None
    lanes: Whole = 1
    latency_s: Annotated[Figure | None, Time] = None
    frame_bytes: Annotated[Figure | None, Quantity("B", 1, 1e12)] = None
    overhead_bytes: Annotated[Figure | None, Bytes] = None
    credits: Whole | None = None


class BatchSpec(Counted):
    """Up to `size` events are served together; the first waits at most `max_wait_s` (None: until it is full)."""

    size: Whole
    max_wait_s: Annotated[Figure | None, Time] = None

    @model_validator(mode="after")
    def _not_too_large(self) -> BatchSpec:
        if self.size > MOST_TOGETHER:
            raise fault(f"a batch has at most {MOST_TOGETHER:,} events, not {self.size:,}.", ("size",))
        return self


class FailureSpec(Counted):
    """Failures of one server, exponential in time; `lost` says what becomes of the event in service."""

    mtbf_s: Annotated[Figure, Quantity("s", 1e-6, 1e12)]
    mttr_s: Annotated[Figure, Quantity("s", 0, 1e12)]
    lost: Literal["resume", "restart", "lose"] = "resume"

    @model_validator(mode="after")
    def _not_too_often(self) -> FailureSpec:
        if self.mtbf_s.value < LEAST_MTBF_S:
            least = f"{1e3 * LEAST_MTBF_S:g} ms"
            raise fault(f"a server runs at least {least} between failures, not {self.mtbf_s.value:g} s.", ("mtbf_s",))
        return self


class DutySpec(Counted):
    """Busy for `on_s` of every `period_s`."""

    on_s: Annotated[Figure, Quantity("s", 0, 1e9)]
    period_s: Annotated[Figure, Quantity("s", 1e-12, 1e9)]

    @model_validator(mode="after")
    def _on_within_period(self) -> DutySpec:
        if self.on_s.value <= 0:
            raise fault("a duty of 0 s never serves; leave the stage out, or make on_s longer.", ("on_s",))
        if self.period_s.value < LEAST_PERIOD_S:
            least = f"{1e6 * LEAST_PERIOD_S:g} us"
            raise fault(f"a period of duty is at least {least}, not {self.period_s.value:g} s.", ("period_s",))
        if self.on_s.value > self.period_s.value:
            raise fault(f"{self.on_s.value:g} s on do not fit in a period of {self.period_s.value:g} s.", ("on_s",))
        return self


class RuleSpec(Counted):
    """A trigger rule: at most `accepts` in any `crossings` consecutive crossings."""

    accepts: Whole
    crossings: Whole

    @model_validator(mode="after")
    def _restricts(self) -> RuleSpec:
        if self.accepts >= self.crossings:
            raise fault(f"{self.accepts} accepts in {self.crossings} crossings is no restriction.", ("accepts",))
        if self.accepts > MOST_ACCEPTS:
            raise fault(f"a rule allows at most {MOST_ACCEPTS:,} accepts, not {self.accepts:,}.", ("accepts",))
        if self.crossings > MOST_CROSSINGS:
            raise fault(f"a rule covers at most {MOST_CROSSINGS:,} crossings, not {self.crossings:,}.", ("crossings",))
        return self


class ServiceSpec(Counted):
    """The time of one event on one server of speed 1: a time, a polynomial of its bytes, or a workload on a device.

    `law` spreads the time around its mean; `cv` is its standard deviation over its mean. A workload is timed by the
    cost model, on `count` devices with `set` as its knobs.
    """

    time_s: Annotated[Figure | None, Time] = None
    polynomial: Polynomial | None = None
    workload: str | None = None
    on: str | None = None
    batch: Whole | None = None
    dtype: str | None = None
    count: Whole = 1
    software: str | None = None
    set: dict[str, bool | int | float | str] = Field(default_factory=dict)
    law: Literal["constant", "exponential", "erlang", "hyperexponential", "lognormal", "gamma"] = "constant"
    cv: Annotated[Figure | None, Quantity("", 0, 100)] = None

    @model_validator(mode="after")
    def _one_way(self) -> ServiceSpec:
        ways = [name for name in ("time_s", "polynomial", "workload") if getattr(self, name) is not None]
        if len(ways) != 1:
            given = " and ".join(ways) or "none"
            raise fault(f"a service needs exactly one of time_s, polynomial and workload, not {given}.")
        if (self.workload is None) != (self.on is None):
            raise fault("workload and on (the device) belong together.", ("workload" if self.workload else "on",))
        needs_cv = self.law in ("erlang", "hyperexponential", "lognormal", "gamma")
        if needs_cv != (self.cv is not None):
            raise fault(f"the law {self.law} {'needs a' if needs_cv else 'has no'} cv.", ("cv" if self.cv else "law",))
        cv = value_of(self.cv, 1.0)
        if (self.law == "erlang" and not 0 < cv <= 1) or (self.law == "hyperexponential" and cv < 1):
            limits = "above 0 and at most 1" if self.law == "erlang" else "at least 1"
            raise fault(f"the cv of the law {self.law} must be {limits}, not {cv:g}.", ("cv",))
        return self


class ClassifierSpec(Counted):
    """What tells relevant events from others.

    `gaussian`: scores of other events are N(0, 1), of relevant ones N(skill, spread). `turn_on`: the efficiency curves
    of `model`, shifted by `skill_boost`. `rates`: a fixed share of relevant (true_pass) and other events (false_pass)
    passes. `all`: every event passes.
    """

    kind: Literal["all", "gaussian", "turn_on", "rates"]
    skill: Annotated[Figure | None, Quantity("", 0, 100)] = None
    spread: Annotated[Figure | None, Quantity("", 1e-6, 100)] = None
    model: Literal["cms-l1t", "cms-hlt"] | None = None
    skill_boost: Annotated[Figure | None, Quantity("", 0, 100)] = None
    true_pass: Annotated[Figure | None, Share] = None
    false_pass: Annotated[Figure | None, Share] = None

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> ClassifierSpec:
        needed = {"gaussian": ("skill",), "turn_on": ("model",), "rates": ("true_pass", "false_pass")}
        allowed = {"gaussian": ("spread", "skill_boost"), "turn_on": ("skill_boost",)}
        wanted = needed.get(self.kind, ())
        for name in wanted:
            if getattr(self, name) is None:
                raise fault(f"a classifier of kind {self.kind} needs {' and '.join(wanted)}.", (name,))
        for name in ("skill", "spread", "model", "skill_boost", "true_pass", "false_pass"):
            if getattr(self, name) is not None and name not in (*wanted, *allowed.get(self.kind, ())):
                raise fault(f"a classifier of kind {self.kind} has no {name}.", (name,))
        return self


TRAIN = 72
GAP, GROUP_GAPS, END_GAP = 8, {3: 30, 4: 31}, 81
GROUPS = (3, 3, 4, 3, 3, 4, 3, 3, 4, 3, 3, 3)
"""The nominal 25 ns scheme of the LHC (LHC Design Report, CERN-2004-003, from memory; the sums hold): trains of 72,
each followed by 8 empty crossings, a group of trains from one injection by 30 or 31 more, and the orbit by 81 more:
2,808 of 3,564 are filled."""


def train_pattern(slots: int, filled: int) -> tuple[bool, ...]:
    """Return trains in groups as in the nominal scheme, the last train shorter.

    Empty crossings that are left over stand between the groups in equal shares; where there are too few, every gap is
    shorter in proportion.
    """
    if filled == slots:
        return (True,) * slots
    trains = [TRAIN] * (filled // TRAIN) + [filled % TRAIN] * (filled % TRAIN > 0)
    gaps, ends = _gaps(len(trains))
    empty = slots - filled
    spare = empty - sum(gaps)
    shares = [float(i in ends) for i in range(len(trains))] if spare > 0 else [float(gap) for gap in gaps]
    total, given, done = sum(shares), 0, 0.0
    pattern: list[bool] = []
    for train, gap, share in zip(trains, gaps, shares, strict=True):
        done += share
        more = int(abs(spare) * done / total + 1e-9) - given  # cumulated, so that the sum is exact
        given += more
        pattern += [True] * train + [False] * (gap + more if spare > 0 else gap - more)
    return tuple(pattern)


def _gaps(trains: int) -> tuple[list[int], set[int]]:
    """Return the empty crossings after each train, and the trains that end a group."""
    gaps, ends = list[int](), set[int]()
    for group in cycle(GROUPS):
        count = min(group, trains - len(gaps))
        gaps += [GAP] * count
        gaps[-1] += GROUP_GAPS[group]
        ends.add(len(gaps) - 1)
        if len(gaps) == trains:
            break
    gaps[-1] += END_GAP
    return gaps, ends
