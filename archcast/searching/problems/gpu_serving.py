"""The space `gpu-serving`: how a language model is served: device, tensor parallelism, formats, batching, instances.

Values are those of one stream of requests (the same for all designs: common random numbers). `closed_form` reads curves
of steady states (`gpu_serving_curves`); it knows nothing of `schedule`, of the router but for the prefixes that it
brings together, and of preemption. `events` serves the stream request by request (`simulator.serving.fleet`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from archcast.searching.knobs import KnobKind
from archcast.searching.limits import Limit
from archcast.searching.problem import Design, Found, Problem, Stage
from archcast.searching.problems.columns import knob_of, places
from archcast.searching.problems.gpu_serving_curves import Curves
from archcast.searching.problems.gpu_serving_engines import CHOICES, NO_FORMAT, NO_MAPPING, SAME, Engines
from archcast.searching.space import Columns, DesignSpace
from foundation.errors import BadValueError
from foundation.formats import FORMAT_NAMES
from hardware_specs.catalogue import device_ids
from simulator.serving.fleet import Fleet
from simulator.serving.policy import Policy
from simulator.serving.pools import Pool
from simulator.serving.requests import Requests
from simulator.serving.results import times_s
from simulator.serving.routers import ROUTERS
from simulator.streams import RandomStreams
from workloads.model import Model, Request
from workloads.table import Array
from workloads.traffic.named import NAMES
from workloads.traffic.specification import traffic_model
from workloads.traffic.stream import Traffic

SCHEDULES = ("mixed", "prompts-first")
COUNT = KnobKind("whole", 1, 65536)
KNOBS: dict[str, KnobKind] = {
    "device": KnobKind("name", names=tuple(device_ids())), "tp": KnobKind("whole", 1, 64),
    "dtype": KnobKind("name", names=tuple(FORMAT_NAMES)), "kv_dtype": KnobKind("name", names=(SAME, *FORMAT_NAMES)),
    "instances": KnobKind("whole", 1, 512), "most_tokens": COUNT, "most_requests": COUNT,
    "block_tokens": KnobKind("whole", 1, 1024), "memory_share": KnobKind("real", 0.05, 1.0),
    "prefix_cache": KnobKind("name", names=("off", "on")), "schedule": KnobKind("name", names=SCHEDULES),
    "router": KnobKind("name", names=ROUTERS),
}  # fmt: skip
NEEDED = ("device", "tp", "instances", "most_tokens", "most_requests")
DEFAULTS: dict[str, Any] = {
    "dtype": "bf16", "kv_dtype": SAME, "block_tokens": 16, "memory_share": 0.9, "prefix_cache": "on",
    "schedule": "mixed", "router": "least-loaded",
}  # fmt: skip
CHAT = "chat"
FIXED: dict[str, KnobKind] = {
    "traffic": KnobKind("name", names=(CHAT, *NAMES)), "rate_hz": KnobKind("real", 1e-3, 1e5, "Hz"),
    "requests": KnobKind("whole", 20, 100_000), "seed": KnobKind("whole", 0, 2**53),
    "cost_model": KnobKind("name", names=("shipped", "physics")),
}  # fmt: skip
FIXED_DEFAULTS: dict[str, Any] = {
    "traffic": CHAT, "rate_hz": 16.0, "requests": 600, "seed": 1, "cost_model": "physics"
}  # fmt: skip
VALUES = {
    "ttft_p99_s": "s", "tpot_p99_s": "s", "latency_s": "s", "usd_per_million_tokens": "", "energy_per_token_j": "J",
    "energy_j": "J", "power_w": "W", "memory_bytes": "B", "devices": "",
}  # fmt: skip
"""All to be small. `energy_j` and `power_w` are those of all devices from the first arrival to the last answer,
`memory_bytes` what one device holds beside its KV blocks, `latency_s` the mean from arrival to last token."""

CHAT_SESSIONS = {"continues": 0.6, "shared": [0.3, 0.9], "age_s": [5.0, 60.0], "system_blocks": 4, "block_tokens": 64}
"""Of `chat`: lengths of the Azure trace of 2023 arriving as Poisson, with conversations laid over them (all estimated:
continues 0.3 to 0.8, shared 0.2 to 0.95, a system prompt of 0 to 1,024 tokens)."""
GATHERING = ("prefix-aware", "session")
"""Routers that bring requests of one prefix to one instance."""
MEMORY = "weights and the longest request do not fit the memory"
POLICY = "most_tokens below most_requests"

SPACE: dict[str, Any] = {
    "device": ["h100-sxm", "h200-sxm", "a100-sxm-80gb", "l40s"], "tp": [1, 2, 4, 8], "dtype": ["bf16", "fp8"],
    "kv_dtype": [SAME, "fp8"], "instances": [1, 2, 3, 4, 6, 8], "most_tokens": [512, 1024, 2048, 4096, 8192],
    "most_requests": [8, 16, 32, 64, 128, 256], "block_tokens": [16, 32, 64], "memory_share": [0.7, 0.8, 0.9],
    "prefix_cache": ["off", "on"], "schedule": list(SCHEDULES),
    "router": ["round-robin", "least-loaded", "power-of-two", "prefix-aware"],
}  # fmt: skip
WORKLOAD = "llama-3.1-8b"
OBJECTIVES = ("ttft_p99_s", "usd_per_million_tokens", "energy_per_token_j")


@dataclass(frozen=True)
class GpuServing:
    """One search. `events`: whether requests are served one by one. Implements `Problem`."""

    space: DesignSpace
    objectives: tuple[str, ...]
    limits: tuple[Limit, ...]
    fixed: Mapping[str, Any]
    model: Model
    events: bool

    @property
    def notes(self) -> tuple[str, ...]:
        return (
            f"{len(self.traffic):,} requests at {self.fixed['rate_hz']:g} a second, prompts of "
            f"{self.traffic.prompt.mean():,.0f} and answers of {self.traffic.generate.mean():,.0f} tokens in the mean, "
            f"the same for all designs (seed {self.fixed['seed']}). "
            + (
                "Served one by one." if self.events else "Read off steady states: schedule and preemption are not seen."
            ),
        )

    @property
    def stages(self) -> tuple[Stage, ...]:
        return self._room, (self._events if self.events else self._closed)

    @cached_property
    def traffic(self) -> Traffic:
        """Return the requests, drawn once."""
        name, asked = self.fixed["traffic"], {key: self.fixed[key] for key in ("rate_hz", "requests")}
        chat = {"name": "azure-2023-conv", "arrivals": {"kind": "poisson"}, "sessions": CHAT_SESSIONS}
        streams = RandomStreams(int(self.fixed["seed"]))
        model = traffic_model(
            {**(chat if name == CHAT else {"name": name}), **asked, "requests": int(asked["requests"])}
        )
        return model.draw((streams.get("traffic/arrivals"), streams.get("traffic/lengths")))

    @cached_property
    def requests(self) -> Requests:
        return Requests.from_traffic(self.traffic)

    @cached_property
    def engines(self) -> Engines:
        values = [tuple(knob_of(self.space, name).value(i) for i in range(len(knob_of(self.space, name).values)))
                  for name in CHOICES]  # fmt: skip
        most = [int(max(knob_of(self.space, name).numbers)) for name in ("most_tokens", "most_requests")]
        budgets = tuple(int(value) for value in knob_of(self.space, "most_tokens").numbers)
        longest = int((self.traffic.prompt + self.traffic.generate).max())
        cost_model = "" if self.fixed["cost_model"] == "shipped" else str(self.fixed["cost_model"])
        return Engines(self.model, tuple(values), budgets, min(most), longest, cost_model)  # type: ignore[arg-type]

    @cached_property
    def curves(self) -> Curves:
        return Curves(self.engines, self.traffic, self.fixed["rate_hz"])

    def _engine(self, columns: Columns) -> Array:
        devices, tps, dtypes, kvs = self.engines.values
        tp_at = np.searchsorted(np.array(tps), columns["tp"])
        at = {name: places(self.space, columns, name, known)
              for name, known in zip(("device", "dtype", "kv_dtype"), (devices, dtypes, kvs), strict=True)}  # fmt: skip
        return np.asarray(self.engines.place[at["device"], tp_at, at["dtype"], at["kv_dtype"]])

    def _budget(self, columns: Columns) -> Array:
        return np.searchsorted(np.array(self.engines.most_tokens), columns["most_tokens"])

    def _blocks(self, columns: Columns, engine: Array) -> tuple[Array, Array, Array]:
        """Return KV blocks, bytes held beside them, and bytes missing for the longest request."""
        known, at = self.engines, np.maximum(engine, 0)
        held = known.held_bytes(at, self._budget(columns), columns["most_requests"])
        loose = columns["memory_share"] * known.capacity_bytes[at] - held
        block = known.token_bytes[at] * columns["block_tokens"]
        least = np.ceil(known.longest / columns["block_tokens"])
        return np.floor(np.maximum(loose, 0.0) / block), held, np.maximum(least * block - loose, 0.0)

    def _room(self, columns: Columns) -> Found:
        engine = self._engine(columns)
        _, held, short = self._blocks(columns, engine)
        known = engine >= 0
        refused = {NO_FORMAT: engine == -1, NO_MAPPING: engine == -2,
                   POLICY: columns["most_tokens"] < columns["most_requests"], MEMORY: known & (short > 0)}  # fmt: skip
        devices = columns["tp"] * columns["instances"]
        return Found({"memory_bytes": held, "devices": devices}, refused, np.where(known, short, 0.0))

    def _closed(self, columns: Columns) -> Found:
        engine = self._engine(columns)
        blocks, _, _ = self._blocks(columns, engine)
        curves, width = self.curves, columns["block_tokens"]
        slots = np.maximum(blocks * width / (curves.attended + (width - 1) / 2), 1.0)
        slots = np.minimum(np.minimum(slots, columns["most_requests"]), columns["most_tokens"])
        read = curves.read(engine, self._budget(columns), self._hits(columns), slots, columns["instances"])
        found = {name: getattr(read, name) for name in ("ttft_p99_s", "tpot_p99_s", "latency_s")}
        return Found(
            found | self._totals(engine, columns["instances"], read.makespan_s, read.power_w * read.makespan_s)
        )

    def _hits(self, columns: Columns) -> Array:
        """Return the share of cacheable tokens that an instance finds."""
        on = places(self.space, columns, "prefix_cache", ("off", "on"))
        router = places(self.space, columns, "router", ROUTERS)
        gathers = np.isin(router, [ROUTERS.index(name) for name in GATHERING])
        return np.asarray(on * np.where(gathers, 1.0, 1.0 / columns["instances"]))

    def _totals(self, engine: Array, instances: Array, makespan_s: Array, energy_j: Array) -> dict[str, Array]:
        tokens = float(self.traffic.generate.sum())
        usd = self.engines.usd_per_s[engine] * instances * makespan_s
        return {
            "usd_per_million_tokens": usd / tokens * 1e6, "energy_per_token_j": energy_j / tokens,
            "energy_j": energy_j, "power_w": energy_j / makespan_s,
        }  # fmt: skip

    def _events(self, columns: Columns) -> Found:
        engine = self._engine(columns)
        blocks, _, _ = self._blocks(columns, engine)
        names = {name: knob_of(self.space, name) for name in ("prefix_cache", "schedule", "router")}
        rows = np.zeros((5, len(engine)))
        for i in range(len(engine)):
            one = {name: columns[name][i] for name in columns}
            policy = Policy(
                int(one["most_tokens"]), int(one["most_requests"]), int(one["block_tokens"]), int(blocks[i]),
                prompts_first=names["schedule"].value(int(one["schedule"])) == "prompts-first",
                prefix_cache=names["prefix_cache"].value(int(one["prefix_cache"])) == "on",
            )  # fmt: skip
            router = str(names["router"].value(int(one["router"])))
            rows[:, i] = self.served(int(engine[i]), policy, int(one["instances"]), router)
        found = dict(zip(("ttft_p99_s", "tpot_p99_s", "latency_s"), rows, strict=False))
        return Found(found | self._totals(engine, columns["instances"], rows[3], rows[4]))

    def served(self, engine: int, policy: Policy, instances: int, router: str) -> tuple[float, ...]:
        """Return (p99 of TTFT, p99 of TPOT, mean latency, makespan in s, energy in J) of one run of the events."""
        tp = self.engines.engines[engine].mapping.tp
        pool = Pool(
            "engines", self.engines.step_costs(engine), policy, instances=instances, devices=tp, tp=tp,
            idle_w=float(self.engines.idle_w[engine]), router=router,
        )  # fmt: skip
        run = Fleet([pool], self.requests, RandomStreams(int(self.fixed["seed"]))).run()
        times = times_s(self.requests, run.log)
        first, each = (np.nanpercentile(times[name], 99) for name in ("ttft_s", "tpot_s"))
        return float(first), float(each), float(times["latency_s"].mean()), run.horizon_s, run.energy_j

    def details(self, codes: Array) -> list[dict[str, Any]]:
        """Return designs as JSON. Ends of times and of energy are those of the cost model's step times."""
        columns = self.space.columns(codes)
        values = {**self._room(columns).values, **self.stages[1](columns).values}
        engine = self._engine(columns)
        low, high = self._ends(columns, engine)
        timed = [name for name in values if name not in ("memory_bytes", "devices")]
        return [
            {
                "knobs": self.space.values(codes[:, i]),
                **{name: {"value": float(column[i]), "lo": float(column[i] * (low[i] if name in timed else 1)),
                          "hi": float(column[i] * (high[i] if name in timed else 1))}
                   for name, column in values.items()},
            }
            for i in range(codes.shape[1])
        ]  # fmt: skip

    def _ends(self, columns: Columns, engine: Array) -> tuple[Array, Array]:
        tables, at = self.curves.tables, self._budget(columns)
        middle = tables["slower"].shape[-1] // 2
        return tables["faster"][engine, at, 0, middle], tables["slower"][engine, at, 0, middle]


def gpu_serving(
    space: DesignSpace, objectives: tuple[str, ...], limits: tuple[Limit, ...], fixed: Mapping[str, Any],
    model: Model | None, request: Request | None, *, events: bool = False,
) -> Problem:  # fmt: skip
    """Return the problem of a language model that is served. Formats are knobs: those of `request` are not looked at.

    Raises:
        BadValueError: the model generates no tokens.
    """
    if model is None or "decode" not in {
        run.name for run in model.workload(Request(batch=1, prompt=8, generate=2)).passes
    }:
        name = model.name if model else "nothing"
        raise BadValueError(f"'{name}' generates no tokens one by one, so no engine serves it; name a language model.")
    return GpuServing(space, objectives, limits, fixed, model, events)


DESIGN = Design(
    KNOBS, NEEDED, DEFAULTS, FIXED, FIXED_DEFAULTS, VALUES, gpu_serving,
    fidelities={"events": partial(gpu_serving, events=True)}, request=False,
)  # fmt: skip
