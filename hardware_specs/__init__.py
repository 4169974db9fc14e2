"""What hardware is: descriptions with units, ranges and sources, and a catalogue of them.

>>> from hardware_specs import load_device
>>> load_device("h100-sxm").dram.bandwidth_bytes_per_s.value
3350000000000.0
"""

from hardware_specs.catalogue import (
    cluster_ids,
    device_ids,
    device_of,
    is_path,
    link_ids,
    load_cluster,
    load_device,
    load_link,
    load_node,
    measured_devices,
    node_ids,
    node_of,
    table_names,
)
from hardware_specs.figures import Figure
from hardware_specs.schema import (
    Array,
    ComputeUnit,
    DeviceSpec,
    LinkPort,
    MathFormat,
    MemoryLevel,
    Power,
    Price,
    Tile,
)
from hardware_specs.systems import ClusterSpec, LinkSpec, NodeSpec

__all__ = [
    "Array",
    "ClusterSpec",
    "ComputeUnit",
    "DeviceSpec",
    "Figure",
    "LinkPort",
    "LinkSpec",
    "MathFormat",
    "MemoryLevel",
    "NodeSpec",
    "Power",
    "Price",
    "Tile",
    "cluster_ids",
    "device_ids",
    "device_of",
    "is_path",
    "link_ids",
    "load_cluster",
    "load_device",
    "load_link",
    "load_node",
    "measured_devices",
    "node_ids",
    "node_of",
    "table_names",
]
