"""Which archcast answers: its version, the artefact's and the catalogues', and one hash of all three."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from costmodel.protocol import CostModel


@cache
def versions() -> dict[str, str]:
    """Return `archcast`, `cost_model`, `catalogue` (a hash) and `service` (a hash of the three)."""
    from archcast import __version__
    from archcast.cost_models import shipped

    model = shipped()
    found = {"archcast": __version__, "cost_model": f"{model.name} {model.version}", "catalogue": _catalogue()}
    whole = hashlib.sha256("\x00".join(found.values()).encode()).hexdigest()[:12]
    return {**found, "service": whole}


def versions_of(model: CostModel) -> dict[str, str]:
    """Return the versions of an answer that a model of its own gave."""
    return {**versions(), "cost_model": f"{model.name} {model.version}"}


def _catalogue() -> str:
    from hardware_specs.catalogue import COMPILED as DEVICES
    from workloads.catalogue import COMPILED as WORKLOADS
    from workloads.catalogue import EXAMPLES

    digest = hashlib.sha256()
    for file in (DEVICES, WORKLOADS, EXAMPLES):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
