"""Time of collectives by alpha-beta over the topology: ring, tree, direct, all-to-all, hierarchical.

Costs are those of Thakur, Rabenseifner and Gropp 2005 (Optimization of Collective Communication Operations in MPICH,
sections 4.1 to 4.5) without the reduction arithmetic: alpha is the latency of one message, beta the time per byte.
The value takes what NCCL runs (a ring inside a node, the better of ring and double binary tree between nodes); the
low end takes the fastest algorithm that the topology allows (recursive doubling, one-shot all-reduce).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foundation.errors import MappingError
from hardware_specs import ClusterSpec, DeviceSpec, load_link, load_node, node_of
from workloads.table import KINDS, OP_CODES, Array, OpTable

ALL_REDUCE, ALL_GATHER, REDUCE_SCATTER, ALL_TO_ALL, SEND_RECV = range(1, 6)
assert KINDS[ALL_REDUCE] == "all_reduce"
assert KINDS[SEND_RECV] == "send_recv"


START_S = (2.8e-6, 0.5e-6, 7e-6)
"""What starting a collective takes beyond an operator's launch (value, lo, hi): estimated. With a launch of 2 us the
value is what NCCL all-gathers and reduce-scatters of 512 B to 8 KB need beside their steps on H100; A100 needs 8 us."""


@dataclass(frozen=True)
class Fabric:
    """What devices talk over. Rates are bytes per second that one device can send in one direction.

    `local` is inside a node of `node_size` devices, `remote` between nodes. `switched` means that any device reaches
    any other in one hop at full rate; in a mesh the rate is divided over links to `peers` others, so that two devices
    have one of them between them. Latencies and efficiencies are (value, lo, hi).
    """

    name: str
    node_size: int
    switched: bool
    local_bytes_per_s: float
    local_latency_s: tuple[float, float, float]
    local_efficiency: tuple[float, float, float]
    remote_bytes_per_s: float
    remote_latency_s: tuple[float, float, float]
    remote_efficiency: tuple[float, float, float]
    energy_per_byte_j: tuple[float, float, float]
    peers: int = 1

    def seconds(self, table: OpTable, part: int = 0) -> Array:
        """Return the time of each collective row, shape (rows,); part 0 = value, 1 = lo, 2 = hi of the ranges."""
        kind, ranks = table.full("kind"), np.maximum(table.full("ranks"), 1)
        size = table.full("bytes")
        apart = np.maximum(table.full("stride"), 1)  # members of the group may stand several devices apart
        inside = np.clip(np.floor(self.node_size / apart), 1, ranks)
        nodes = np.ceil(ranks / inside)
        best = {0: 0, 1: 2, 2: 1}[part]  # a low time goes with a high efficiency
        rate, remote_rate = self.local_bytes_per_s * self.local_efficiency[best], self.remote_bytes_per_s
        local = _Wire(self.local_latency_s[part], rate, self.switched, peers=self.peers)
        remote = _Wire(self.remote_latency_s[part], remote_rate * self.remote_efficiency[best], True, tree=True)
        time = _within(kind, inside, size, local, part == 1)
        wide = nodes > 1
        if wide.any():
            time = np.where(wide, _across(kind, inside, nodes, size, local, remote, part == 1), time)
        return np.asarray(np.where(ranks > 1, START_S[part] + time, 0.0))


@dataclass(frozen=True)
class _Wire:
    latency_s: float
    bytes_per_s: float
    switched: bool
    tree: bool = False
    peers: int = 1


def _within(kind: Array, ranks: Array, size: Array, wire: _Wire, fastest: bool) -> Array:
    """Time inside one level of the fabric, shape of the inputs; `fastest` allows any algorithm, not only NCCL's."""
    alpha, lane = wire.latency_s, wire.peers / wire.bytes_per_s
    beta = lane / np.clip(ranks - 1, 1, wire.peers)
    sent = (ranks - 1) / ranks * size * beta
    steps, hops = ranks - 1, np.ceil(np.log2(np.maximum(ranks, 1)))
    gather = steps * alpha + sent
    reduce = 2 * gather
    if wire.switched and fastest:
        gather = hops * alpha + sent  # recursive doubling
        reduce = np.minimum(2 * gather, alpha + steps * size * beta)  # or one-shot: everyone sends all to everyone
    elif wire.tree:
        reduce = np.minimum(reduce, 2 * (hops * alpha + sent))  # double binary tree (Sanders, Speck and Traeff 2009)
    # without a switch or a mesh every byte crosses ranks / 4 links of the ring on average
    direct = wire.switched or wire.peers > 1
    exchange = hops * alpha + sent if direct else steps * alpha + sent * np.maximum(ranks / 4, 1)
    send = alpha + size * lane
    table = np.stack(np.broadcast_arrays(0 * send, reduce, gather, gather, exchange, send))
    return np.asarray(np.take_along_axis(table, kind[None].astype(np.intp), axis=0)[0])


def _across(
    kind: Array, inside: Array, nodes: Array, size: Array, local: _Wire, remote: _Wire, fastest: bool
) -> Array:  # fmt: skip
    """Hierarchical: reduce-scatter inside, all-reduce between nodes on 1/inside of it, all-gather inside."""
    gathers = np.where(kind == ALL_REDUCE, ALL_GATHER, kind)
    repeats = np.where(kind == ALL_REDUCE, 2.0, 1.0)
    inner = repeats * _within(gathers, inside, size, local, fastest)
    outer = _within(kind, nodes, size / inside, remote, fastest)
    flat = remote.latency_s * np.log2(inside * nodes) + (nodes - 1) / nodes * size / remote.bytes_per_s
    send = remote.latency_s + size / remote.bytes_per_s
    time = np.where(kind == ALL_TO_ALL, np.maximum(inner, flat), inner + outer)
    return np.asarray(np.where(kind == SEND_RECV, send, time))


def has_traffic(table: OpTable) -> bool:
    """Say whether any row is a collective of more than one rank."""
    return bool(np.any((table["op"] == OP_CODES["collective"]) & (table["ranks"] > 1)))


def fabric_of(spec: DeviceSpec, devices: int, cluster: ClusterSpec | None = None) -> Fabric | None:
    """Return what `devices` of a kind talk over: the catalogue's node of that device, else the device's own links.

    None where one device is asked for.

    Raises:
        MappingError: the device has no link to another.
    """
    if devices <= 1:
        return None
    node = load_node(cluster.node) if cluster else node_of(spec.id)
    if node is None and not spec.links:
        raise MappingError(f"{spec.id} has no link to other devices, so it cannot share a workload; use one device.")
    network = load_link(cluster.inter_link if cluster else "infiniband-ndr")
    ports = cluster.links_per_node / node.count / cluster.oversubscription.value if cluster and node else 1.0
    remote_rate = network.bandwidth_bytes_per_s.value * ports
    remote = (network.latency_s.interval, network.efficiency.interval)
    if node is None:
        return _bare(spec, devices, remote_rate, *remote)
    link = load_link(node.intra_link)
    return Fabric(
        name=node.id, node_size=node.count, switched=node.topology == "switch",
        local_bytes_per_s=node.intra_bandwidth_bytes_per_s.value, local_latency_s=link.latency_s.interval,
        local_efficiency=link.efficiency.interval, remote_bytes_per_s=remote_rate, remote_latency_s=remote[0],
        remote_efficiency=remote[1], energy_per_byte_j=link.energy_per_byte_j.interval,
        peers=max(node.count - 1, 1) if node.topology == "mesh" else 1,
    )  # fmt: skip


def _bare(
    spec: DeviceSpec, devices: int, remote_rate: float, latency: tuple[float, float, float],
    share: tuple[float, float, float],
) -> Fabric:  # fmt: skip
    """Devices in one box on their fastest link."""
    ports = [(load_link(port.link), port.count) for port in spec.links]
    link, count = max(ports, key=lambda pair: pair[0].bandwidth_bytes_per_s.value * pair[1])
    return Fabric(
        name=link.id, node_size=min(devices, 8), switched=False,
        local_bytes_per_s=link.bandwidth_bytes_per_s.value * count, local_latency_s=link.latency_s.interval,
        local_efficiency=link.efficiency.interval, remote_bytes_per_s=remote_rate, remote_latency_s=latency,
        remote_efficiency=share, energy_per_byte_j=link.energy_per_byte_j.interval,
    )  # fmt: skip
