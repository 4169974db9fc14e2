"""Names of software: runtimes of the catalogue, stacks that a cost model knows, and those of measured tables."""

from __future__ import annotations

import re
from difflib import get_close_matches
from functools import lru_cache

from costmodel.protocol import CostModel
from costmodel.stack import framework, known_stacks
from foundation.errors import UnknownNameError
from hardware_specs import DeviceSpec
from hardware_specs.catalogue import compiled_entries, plain_name
from hardware_specs.runtimes import frameworks_of

MEASURED = (
    "deepspeed", "megatron", "nccl", "numpy", "oneccl", "pytorch", "rccl", "tensorrt-llm", "tgi", "timm", "torch",
    "vidur", "xdit",
)  # fmt: skip
"""Software of measured tables (docs/datasets.md, docs/measure.md) that is no runtime: without an artefact that was
calibrated on it answers are extrapolated, and a note says so."""
VERSION = re.compile(r"-?v?\d[\d.]*$")
ALIKE = 0.87
"""How alike a name and a known one are at least where one is a slip of the other (difflib's ratio: vlllm and vllm 0.89,
while LiteRT-LM and litert, or tensorrt-llm and tensorrt, are two things and below)."""


def known_software(cost_model: CostModel) -> tuple[str, ...]:
    """Return the names that mean something: a version may stand behind each."""
    calibrated: tuple[str, ...] = getattr(getattr(cost_model, "scope", None), "softwares", ())
    names = {*_runtime_names(), *known_stacks(cost_model), *MEASURED, *(framework(one) for one in calibrated)}
    return tuple(sorted({plain_name(name) for name in names} - {""}))


def check_software(
    software: str, cost_model: CostModel, device: DeviceSpec | None = None, *, own: bool = False
) -> None:  # fmt: skip
    """Refuse a name that no runtime, no stack and no measured table has.

    Args:
        own: let a name pass that is near none of them: a stack of one's own, which is answered with a note.

    Raises:
        UnknownNameError: the nearest names, what the device has, and what to do.
    """
    name = plain_name(framework(software))
    if not name or name in (known := known_software(cost_model)) or is_measured(software):
        return
    if own and not _slip(name, known):
        return
    has = frameworks_of(device) if device is not None else []
    hint = f"{device.id} has {', '.join(has)}. " if device is not None and has else ""
    raise UnknownNameError(
        "software", software, known,
        f"{hint}Write a version after a blank, leave it out, or give the model that was calibrated on it.",
    )  # fmt: skip


def is_measured(software: str) -> bool:
    """Say whether measured tables have such a name, with a version behind it or not (`pytorch-2.1`)."""
    return VERSION.sub("", plain_name(framework(software))) in MEASURED


def _slip(name: str, known: tuple[str, ...]) -> bool:
    """Say whether a name is a known one with a letter too many, too few or wrong."""

    def plain(text: str) -> str:
        return text.replace("-", "").replace(".", "")

    return bool(get_close_matches(plain(name), [plain(one) for one in known], n=1, cutoff=ALIKE))


@lru_cache(maxsize=1)
def _runtime_names() -> frozenset[str]:
    entries = compiled_entries("runtimes")
    return frozenset(
        name for key, entry in entries.items() for name in (key, entry["framework"], *entry.get("aliases", ()))
    )
