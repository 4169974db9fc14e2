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
    "deepspeed", "megatron", "megatron-lm", "nccl", "numpy", "oneccl", "pytorch", "rccl", "tensorrt-llm", "tgi", "timm",
    "torch", "vidur", "xdit",
)  # fmt: skip
"""Software of measured tables (docs/datasets.md, docs/measure.md) that is no runtime: without an artefact that was
calibrated on it answers are extrapolated, and a note says so."""
VERSION = re.compile(r"-?v?\d[\d.]*$")
GLUED = re.compile(r"(?<=[a-z])[-=@:]*v?\d.*$")
"""A version without a blank before it: `vllm0.19`, `vllm==0.19`, `tensorrt10`, `trtllm1.3.0rc20`."""
TRTLLM = re.compile(r"^\s*(tensorrt|trt)[-_ ]?llm(?![a-z])", re.IGNORECASE)
"""How people write the stack that is measured as `trtllm`."""
ALIKE = 0.87
"""How alike a name and a known one are at least where one is a slip of the other (difflib's ratio: vlllm and vllm 0.89,
while LiteRT-LM and litert, or tensorrt-llm and tensorrt, are two things and below)."""

NEARLY = 0.93
"""The same where a known name and a word make the name: `onnxruntime-cdua` is a slip, `onnxruntime-web` is not."""


def known_software(cost_model: CostModel) -> tuple[str, ...]:
    """Return the names that mean something: a version may stand behind each."""
    return _known(known_stacks(cost_model), calibrated_on(cost_model))


@lru_cache(maxsize=64)
def _known(stacks: tuple[str, ...], calibrated: tuple[str, ...]) -> tuple[str, ...]:
    names = {*_runtime_names(), *stacks, *MEASURED, *(framework(one) for one in calibrated)}
    return tuple(sorted({plain_name(name) for name in names} - {""}))


def calibrated_on(cost_model: CostModel) -> tuple[str, ...]:
    """Return the software that a cost model was calibrated on, with versions."""
    found: tuple[str, ...] = getattr(getattr(cost_model, "scope", None), "softwares", ())
    return found


def as_known(software: str, cost_model: CostModel) -> str:
    """Return a name as the stack that it means is written: `trtllm 1.0` of `TensorRT-LLM 1.0`; others as they are."""
    calibrated = calibrated_on(cost_model)
    if not software or software in calibrated:
        return software
    if any(one.split()[:1] == software.split()[:1] for one in calibrated):
        return software  # a model of one's own calls it so
    stacks = known_stacks(cost_model)
    spelt = TRTLLM.sub("trtllm", software) if "trtllm" in stacks else software
    first, _, version = " ".join(spelt.split()).partition(" ")
    return f"{first.lower()} {version}".strip() if first.lower() in stacks else spelt


def check_software(
    software: str, cost_model: CostModel, device: DeviceSpec | None = None, *, own: bool = False
) -> None:  # fmt: skip
    """Refuse a name that no runtime, no stack and no measured table has.

    Args:
        own: let a name pass that is near none of them: a stack of one's own, which is answered with a note.

    Raises:
        UnknownNameError: the nearest names, what the device has, and what to do.
    """
    if not software or software in calibrated_on(cost_model):
        return
    spelt = as_known(software, cost_model)
    name = plain_name(framework(spelt))
    if not name or name in (known := known_software(cost_model)) or is_measured(spelt):
        return
    bare = GLUED.sub("", name)
    glued = bare in known
    if own and not glued and not _slip(name, known):
        return
    has = frameworks_of(device) if device is not None else []
    hint = f"{device.id} has {', '.join(has)}. " if device is not None and has else ""
    raise UnknownNameError(
        "software", software, known,
        f"{hint}Write the version after a blank: '{bare} {name[len(bare) :].strip('-=@:v')}'." if glued else
        f"{hint}Write a version after a blank, leave it out, or give the model that was calibrated on it.",
    )  # fmt: skip


def is_measured(software: str) -> bool:
    """Say whether measured tables have such a name, with a version behind it or not (`pytorch-2.1`)."""
    return VERSION.sub("", plain_name(framework(software))) in MEASURED


def _slip(name: str, known: tuple[str, ...]) -> bool:
    """Say whether a name is a known one with a letter too many, too few or wrong; `known-word` is of its own."""
    first = name.rpartition("-")[0]
    cutoff = NEARLY if first in known else ALIKE
    return bool(get_close_matches(_letters(name), [_letters(one) for one in known], n=1, cutoff=cutoff))


def _letters(name: str) -> str:
    return name.replace("-", "").replace(".", "")


@lru_cache(maxsize=1)
def _runtime_names() -> frozenset[str]:
    entries = compiled_entries("runtimes")
    return frozenset(
        name for key, entry in entries.items() for name in (key, entry["framework"], *entry.get("aliases", ()))
    )
