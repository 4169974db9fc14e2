"""archcast: what a workload costs on hardware that you do not have, with an interval and a source for every number.

>>> import archcast as ac
>>> answer = ac.predict("llama-3.1-8b", on="h100-sxm", batch=8, prompt=1024, generate=256)
>>> answer.latency_s.lo <= answer.latency_s.value <= answer.latency_s.hi
True
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from archcast._guard import check_siblings

check_siblings()

__version__ = "0.1.0"

_WHERE = {
    "predict": "archcast.prediction",
    "predict_batch": "archcast.batches",
    "predict_ops": "archcast.operators",
    "simulate": "archcast.simulation",
    "plan": "archcast.planning.run",
    "search": "archcast.searching.run",
    "calibrate": "archcast.calibration",
    "transfer_networks": "archcast.network_transfer",
    "edge_report": "archcast.edge",
    "allocate": "archcast.allocating.run",
    "grow": "archcast.growing.run",
    "cost_table": "archcast.oracle",
    "curve": "archcast.oracle",
    "marginal": "archcast.oracle",
    "max_within": "archcast.oracle",
    "iso": "archcast.oracle",
    "break_even": "archcast.oracle",
    "cost_of_pass": "archcast.oracle",
    "scenarios": "archcast.oracle",
    "sensitivities": "archcast.oracle",
    "reasoning_cost": "archcast.oracle",
    "sweep": "archcast.sweeps",
    "make_study": "archcast.searching.study",
    "fit_proxy": "archcast.searching.proxy.logs",
    "hypervolume": "archcast.front_volume",
    "measure": "archcast.measuring.sweep",
    "Client": "archcast.service.client",
    "Estimate": "costmodel.estimate",
    "Quantity": "costmodel.estimate",
    "ArchcastError": "foundation.errors",
    "load_device": "hardware_specs",
    "load_model": "workloads.catalogue",
    "Mapping": "workloads.mapping",
}
"""Public name -> module. Resolved on first use, so that importing archcast costs next to nothing."""

__all__ = ["__version__", *_WHERE]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'archcast' has no attribute '{name}'")
    import sys
    from importlib import import_module

    value = getattr(import_module(_WHERE[name]), name)
    setattr(sys.modules[__name__], name, value)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


if TYPE_CHECKING:
    from archcast.allocating.run import allocate as allocate
    from archcast.batches import predict_batch as predict_batch
    from archcast.calibration import calibrate as calibrate
    from archcast.edge import edge_report as edge_report
    from archcast.front_volume import hypervolume as hypervolume
    from archcast.growing.run import grow as grow
    from archcast.measuring.sweep import measure as measure
    from archcast.network_transfer import transfer_networks as transfer_networks
    from archcast.operators import predict_ops as predict_ops
    from archcast.oracle import break_even as break_even
    from archcast.oracle import cost_of_pass as cost_of_pass
    from archcast.oracle import cost_table as cost_table
    from archcast.oracle import curve as curve
    from archcast.oracle import iso as iso
    from archcast.oracle import marginal as marginal
    from archcast.oracle import max_within as max_within
    from archcast.oracle import reasoning_cost as reasoning_cost
    from archcast.oracle import scenarios as scenarios
    from archcast.oracle import sensitivities as sensitivities
    from archcast.planning.run import plan as plan
    from archcast.prediction import predict as predict
    from archcast.searching.proxy.logs import fit_proxy as fit_proxy
    from archcast.searching.run import search as search
    from archcast.searching.study import make_study as make_study
    from archcast.service.client import Client as Client
    from archcast.simulation import simulate as simulate
    from archcast.sweeps import sweep as sweep
    from costmodel.estimate import Estimate as Estimate
    from costmodel.estimate import Quantity as Quantity
    from foundation.errors import ArchcastError as ArchcastError
    from hardware_specs import load_device as load_device
    from workloads.catalogue import load_model as load_model
    from workloads.mapping import Mapping as Mapping
