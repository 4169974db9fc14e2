"""Made contention: what tasks on one machine cost each other through cores, last-level cache and memory bandwidth.

SYNTHETIC. Workloads and machine are drawn or assumed, the laws are textbook ones, and nothing here was measured.
It gives data on which a learned model of interference can be shown and tested, with the truth known.

An instruction takes `cpi` cycles of its own, and each miss of the shared cache one memory latency over `overlap`. The
miss ratio falls exponentially with the cache that a workload holds over its working set; the cache is held in
proportion to what each brings in (its misses). The latency rises with the use u of the bandwidth as
1 + u / (2 (1 - u)), the mean wait of an M/D/1 queue. Cores are shared evenly where more are asked for than there are.
The state in which all of this agrees is found by damped iteration.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from simulator.streams import DEFAULT_SEED, RandomStreams

Floats = npt.NDArray[np.float64]
LINE_BYTES = 64.0
STEPS = 200
DAMPING = 0.3
MOST_USE = 0.98
"""Use of the bandwidth at which the latency is cut (it would be endless at 1)."""
COUNTER_NOISE = 0.03
"""Standard deviation of the logarithm of each counter (estimated, 0.01 to 0.1)."""
RATIO_NOISE = 0.01


@dataclass(frozen=True)
class Host:
    """A machine; the numbers are those of a plausible server socket (estimated)."""

    cores: float = 32.0
    clock_hz: float = 2.5e9
    cache_bytes: float = 40e6
    bandwidth_bytes_per_s: float = 120e9
    latency_s: float = 90e-9


@dataclass(frozen=True)
class Workloads:
    """Workloads by column, shape (workloads,): cores; cpi: cycles an instruction without misses of the shared cache;
    accesses: of that cache an instruction; floor: the share of them that always misses; working_set_bytes; overlap:
    misses in flight at a time.
    """

    cores: Floats
    cpi: Floats
    accesses: Floats
    floor: Floats
    working_set_bytes: Floats
    overlap: Floats

    def __len__(self) -> int:
        return len(self.cores)

    def take(self, rows: npt.NDArray[np.int64]) -> Workloads:
        return Workloads(*(getattr(self, field.name)[rows] for field in fields(self)))


def made_workloads(count: int = 24, seed: int = DEFAULT_SEED) -> Workloads:
    """Return workloads from bound by the cores to bound by memory (all ranges estimated)."""
    random = RandomStreams(seed).get("contention/workloads")
    kind = random.random(count)  # 0: computes; 1: moves data
    return Workloads(
        random.choice([2.0, 4.0, 8.0], count), random.uniform(0.4, 1.0, count),
        10 ** (-3.2 + 1.7 * kind + random.normal(0, 0.15, count)), 0.02 + 0.5 * kind**2 * random.random(count),
        10 ** random.uniform(6.0, 8.0, count), random.uniform(2.0, 8.0, count),
    )  # fmt: skip


@dataclass(frozen=True)
class Together:
    """How workloads run side by side on one host; arrays of shape (scenarios, places), 0 where a place is empty."""

    instructions_per_s: Floats
    miss_ratio: Floats
    traffic_bytes_per_s: Floats
    cache_bytes: Floats


def run_together(workloads: Workloads, there: npt.NDArray[np.bool_], host: Host | None = None) -> Together:
    """Return the steady state of scenarios, all at once.

    Args:
        workloads: columns of shape (scenarios, places). there: which places are taken.
    """
    host = host or Host()
    cores = np.where(there, workloads.cores, 0.0)
    share = np.minimum(host.cores / np.maximum(cores.sum(axis=1, keepdims=True), 1e-9), 1.0)
    weight = there.astype(float)
    held = weight / np.maximum(weight.sum(axis=1, keepdims=True), 1.0)
    use = np.zeros((len(cores), 1))
    rate, miss, traffic = np.zeros_like(cores), np.ones_like(cores), np.zeros_like(cores)
    for _ in range(STEPS):
        miss = workloads.floor + (1 - workloads.floor) * np.exp(-held * host.cache_bytes / workloads.working_set_bytes)
        latency = host.latency_s * host.clock_hz * (1 + use / (2 * (1 - use)))
        cycles = workloads.cpi + workloads.accesses * miss * latency / workloads.overlap
        rate = cores * share * host.clock_hz / cycles
        traffic = rate * workloads.accesses * miss * LINE_BYTES
        wanted = np.minimum(traffic.sum(axis=1, keepdims=True) / host.bandwidth_bytes_per_s, MOST_USE)
        brought = traffic / np.maximum(traffic.sum(axis=1, keepdims=True), 1e-30)
        use += DAMPING * (wanted - use)
        held += DAMPING * (brought - held)
    return Together(np.where(there, rate, 0.0), np.where(there, miss, 0.0), traffic, held * host.cache_bytes)


def ratios_together(workloads: Workloads, there: npt.NDArray[np.bool_], host: Host | None = None) -> Floats:
    """Return of each workload its speed beside the others over its speed alone, in (0, 1]; 1 where a place is empty."""
    both = run_together(workloads, there, host).instructions_per_s
    columns = {field.name: getattr(workloads, field.name).reshape(-1, 1) for field in fields(workloads)}
    alone = run_together(Workloads(**columns), np.ones((there.size, 1), dtype=bool), host).instructions_per_s
    found = np.where(there, both / alone.reshape(there.shape), 1.0)
    return np.clip(found, 1e-6, 1.0)


OWN = ("cores", "instructions_per_cycle", "misses_per_instruction", "accesses_per_instruction", "traffic_bytes_per_s")
COUNTERS = (
    *OWN, *(f"neighbours_{name}" for name in OWN), "neighbours", "cores_asked", "traffic_asked",
    "most_neighbour_traffic",
)  # fmt: skip


def counters_alone(workloads: Workloads, random: np.random.Generator | None, host: Host | None = None) -> Floats:
    """Return what counters show of each workload alone, shape (workloads, len(OWN)); `random` adds their noise."""
    host = host or Host()
    columns = {field.name: getattr(workloads, field.name).reshape(-1, 1) for field in fields(workloads)}
    state = run_together(Workloads(**columns), np.ones((len(workloads), 1), dtype=bool), host)
    rate, miss = state.instructions_per_s[:, 0], state.miss_ratio[:, 0]
    found = np.column_stack([
        workloads.cores, rate / (np.minimum(workloads.cores, host.cores) * host.clock_hz), workloads.accesses * miss,
        workloads.accesses, state.traffic_bytes_per_s[:, 0],
    ])  # fmt: skip
    if random is None:
        return found
    noise = np.exp(random.normal(0.0, COUNTER_NOISE, found.shape))
    noise[:, 0] = 1.0  # how many cores a task asked for is known
    return np.asarray(found * noise)


def features(own: Floats, there: npt.NDArray[np.bool_], host: Host | None = None) -> Floats:
    """Return the columns COUNTERS of every place, from counters of each workload alone.

    Args:
        own: shape (scenarios, places, len(OWN)). Returns shape (scenarios, places, len(COUNTERS)).
    """
    host = host or Host()
    mine = own * there[..., None]
    total = mine.sum(axis=1, keepdims=True)
    others = total - mine
    count = there.sum(axis=1, keepdims=True)[..., None] - there[..., None]
    traffic = mine[..., 4]
    ordered = np.sort(traffic, axis=1)
    most = np.where(traffic == ordered[:, -1:], ordered[:, -2:-1] if traffic.shape[1] > 1 else 0.0, ordered[:, -1:])
    whole = np.broadcast_to(
        np.concatenate([total[..., :1] / host.cores, total[..., 4:] / host.bandwidth_bytes_per_s], axis=2),
        (*there.shape, 2),
    )
    return np.concatenate([mine, others, count.astype(float), whole, most[..., None]], axis=2)
