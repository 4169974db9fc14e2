"""How devices are joined: links, nodes (devices in one box) and clusters (nodes on a network)."""

from __future__ import annotations

from typing import Annotated, Literal

from hardware_specs.figures import Figure, Sourced
from hardware_specs.schema import Count
from hardware_specs.units import Quantity

LinkRate = Quantity("B/s", 1e3, 1e14, bits=True)
LinkTime = Quantity("s", 1e-9, 1.0)


class LinkSpec(Sourced):
    """One port of a link; bandwidth is per direction, latency that of a small message from end to end."""

    bandwidth_bytes_per_s: Annotated[Figure, LinkRate]
    latency_s: Annotated[Figure, LinkTime]
    energy_per_byte_j: Annotated[Figure, Quantity("J/B", 1e-15, 1e-4)]  # radio: up to microjoules a bit
    efficiency: Annotated[Figure, Quantity("", 1e-3, 1.0)]


class NodeSpec(Sourced):
    """`count` equal devices in one box. Bandwidth is what one device can send, in one direction, to its peers.

    `host_power_w` is everything in the box but the devices: processors, memory, fans, network cards.
    """

    aliases: tuple[str, ...] = ()
    device: str
    count: Count
    topology: Literal["switch", "ring", "mesh", "pcie-tree"]
    intra_link: str
    intra_bandwidth_bytes_per_s: Annotated[Figure, LinkRate]
    host_power_w: Annotated[Figure, Quantity("W", 0, 1e5)]


class ClusterSpec(Sourced):
    """`count` equal nodes. Each has `links_per_node` ports of `inter_link`.

    `oversubscription` is the ratio of the bandwidth at the leaves to that at the spine; 1 is full bisection.
    """

    aliases: tuple[str, ...] = ()
    node: str
    count: Count
    topology: Literal["fat-tree", "torus", "dragonfly", "ring", "switch"]
    inter_link: str
    links_per_node: Count
    oversubscription: Annotated[Figure, Quantity("", 1, 1e3)]
