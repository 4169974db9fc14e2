"""A system that was drawn or handed in: servers, links, and the tasks that come."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foundation.errors import BadValueError
from simulator.offloading.radio import physical_rates, published_rates
from simulator.offloading.settings import OffloadingConfig, ServerKind
from simulator.streams import RandomStreams
from workloads.table import Array


def server_name(server: int) -> str:
    """Return what a server is called everywhere: `cloud` (server 0), `edge 1`, ..."""
    return "cloud" if server == 0 else f"edge {server}"


@dataclass(frozen=True)
class System:
    """Servers (the first is the cloud) and their links.

    frequency_hz (servers), distance_m, fading (factor on the power) and rate_bits_per_s (servers, users); `kinds` in
    the same order.
    """

    frequency_hz: Array
    distance_m: Array
    fading: Array
    rate_bits_per_s: Array
    kinds: tuple[ServerKind, ...]

    @classmethod
    def of(
        cls, config: OffloadingConfig, frequency_hz: Array, distance_m: Array, fading: Array,
        shadowing_db: Array | None = None, rate_bits_per_s: Array | None = None,
    ) -> System:  # fmt: skip
        """Return the system of given draws; rates follow from them unless they are given.

        Raises:
            BadValueError: shapes that do not fit, or what is not above 0.
        """
        frequency_hz, distance_m, fading = (np.asarray(x, dtype=float) for x in (frequency_hz, distance_m, fading))
        servers = len(frequency_hz)
        if not servers:
            raise BadValueError("There must be at least one server.")
        rates = None if rate_bits_per_s is None else np.asarray(rate_bits_per_s, dtype=float)
        for name, found in (("distance_m", distance_m), ("fading", fading), ("rate_bits_per_s", rates)):
            if found is not None and found.shape != (servers, config.users):
                raise BadValueError(f"{name} must have {servers} rows (servers) of {config.users} (users).")
        for name, found in (("frequency_hz", frequency_hz), ("distance_m", distance_m), ("fading", fading)):
            if not (np.isfinite(found).all() and (found > 0).all()):
                raise BadValueError(f"{name} must be finite and above 0.")
        if rates is None and config.paper_mode:
            rates = published_rates(config, distance_m, fading)
        elif rates is None:
            lost = np.zeros((servers, config.users)) if shadowing_db is None else np.asarray(shadowing_db, dtype=float)
            rates = physical_rates(config, distance_m, fading, lost)
        if not (np.isfinite(rates).all() and (rates > 0).all()):
            raise BadValueError("rate_bits_per_s must be finite and above 0: a link that carries nothing is no link.")
        kinds = (config.cloud, *(config.edge,) * (servers - 1))
        return cls(frequency_hz, distance_m, fading, rates, kinds)

    @property
    def servers(self) -> int:
        return len(self.frequency_hz)

    @property
    def cycles_per_bit(self) -> Array:
        return np.array([kind.cycles_per_bit for kind in self.kinds])

    @property
    def speed_bits_per_s(self) -> Array:
        """Bits a second that each server works off alone."""
        return self.frequency_hz / self.cycles_per_bit

    def mean_bits(self, config: OffloadingConfig) -> float:
        """Return the mean size of a task: given, or such that the servers are loaded as stated.

        As published it is the sum of the speeds, cloud first (load 1 at one task a second).
        """
        if config.mean_bits is not None:
            return config.mean_bits
        total = float(np.cumsum(self.speed_bits_per_s)[-1])
        return total if config.paper_mode else config.load * total / config.rate_hz

    def offered_load(self, config: OffloadingConfig) -> float:
        """Return the work that comes over what all servers can do; from 1 on no policy is stable."""
        return config.rate_hz * self.mean_bits(config) / float(self.speed_bits_per_s.sum())


def draw_system(config: OffloadingConfig, streams: RandomStreams) -> System:
    """Draw a system: frequencies and distances uniform, fading Rayleigh ((n1^2 + n2^2) / 2 on the power).

    In physical mode shadowing is normal in dB around 0; as published it is a loss of 8 dB on every link.
    """
    low, high = config.edge_range
    servers = 1 + int(streams.get("offloading/edges").integers(low, high + 1))
    kinds = [config.cloud] + [config.edge] * (servers - 1)
    frequency = streams.get("offloading/frequency")
    ends = [(k.frequency_hz - k.frequency_spread_hz, k.frequency_hz + k.frequency_spread_hz) for k in kinds]
    frequency_hz = np.array([frequency.uniform(least, most) for least, most in ends])
    place = streams.get("offloading/distance")
    distance_m = np.array([place.uniform(kind.nearest_m, kind.farthest_m, config.users) for kind in kinds])
    normal = streams.get("offloading/fading")
    shape = (servers, config.users)
    fading = np.ones(shape)
    if config.fading == "fixed":
        fading = 1 / 2 * (normal.standard_normal(shape) ** 2 + normal.standard_normal(shape) ** 2)
    shadowing = None
    if not config.paper_mode:
        shadowing = config.shadowing_db * streams.get("offloading/shadowing").standard_normal(shape)
    return System.of(config, frequency_hz, distance_m, fading, shadowing)
