"""From what a user types to what the cost model needs: the model, the device, the request, and possible mappings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from costmodel.format_fallback import fallback_note, nearest_format, refusal
from costmodel.rates import Rates, compile_rates
from foundation.checks import whole_number
from foundation.errors import BadFileError, BadValueError, MappingError, UnsupportedError
from foundation.formats import number_format
from hardware_specs import DeviceSpec, load_device
from hardware_specs.catalogue import HOST_CPU
from workloads.catalogue import is_path, load_model
from workloads.mapping import Mapping as Parallel
from workloads.model import Model, Request

MAX_TOKENS = 10**9
MAX_BATCH = 10**7
MOST_DEVICES = 1_000_000


@dataclass(frozen=True)
class Target:
    """A device ready to be asked: its description and its compiled rates."""

    spec: DeviceSpec
    rates: Rates


@dataclass(frozen=True)
class Question:
    """One checked question. `notes` are sentences that belong with the answer."""

    model: Model
    target: Target
    request: Request
    concurrency: int
    notes: tuple[str, ...] = ()


def find_target(name: str | Path | DeviceSpec) -> Target:
    """Return the device of a catalogue id, an alias, or a YAML file. Raises UnknownNameError, BadFileError."""
    if isinstance(name, DeviceSpec):
        return Target(name, compile_rates(name))
    return _catalogue_target(str(name)) if not str(name).lower().endswith((".yaml", ".yml")) else _target(name)


@lru_cache(maxsize=256)
def _catalogue_target(name: str) -> Target:
    return _target(name)


def _target(name: str | Path) -> Target:
    spec = load_device(name)
    return Target(spec, compile_rates(spec))


def find_model(workload: str | Path | Model, knobs: Mapping[str, Any] | None = None) -> Model:
    """Return the model that a name, a file or an object stands for, with knobs changed."""
    if isinstance(workload, Model):
        return workload.with_knobs(knobs) if knobs else workload
    if not isinstance(workload, (str, Path)):
        raise BadValueError(f"workload must be a name, a path or a Model, not {workload!r}.")
    try:
        if is_path(workload) and Path(workload).is_dir():
            raise BadFileError(workload, "this is a folder; name the file in it, such as its config.json.")
        return load_model(workload, knobs)
    except OSError as error:
        raise BadFileError(workload, f"cannot be used ({error.strerror}).") from None


def ask(
    workload: str | Path | Model, on: str | Path | DeviceSpec, *, batch: int = 1, prompt: int | None = None,
    generate: int | None = None, concurrency: int | None = None, dtype: str = "", kv_dtype: str = "",
    mode: str = "infer", knobs: Mapping[str, Any] | None = None, allow_fallback: bool = False, software: str = "",
) -> Question:  # fmt: skip
    """Check a question and find what it names.

    A format that the device lacks is replaced by its nearest where `allow_fallback`, and refused where not. Where none
    is asked for, it is one that the runtime of `software` takes.

    Raises:
        UnknownNameError, BadValueError, BadFileError, UnsupportedError: one sentence on what to change.
    """
    batch = whole_number("batch", batch, high=MAX_BATCH)
    prompt = None if prompt is None else whole_number("prompt", prompt, high=MAX_TOKENS)
    generate = None if generate is None else whole_number("generate", generate, high=MAX_TOKENS)
    if concurrency is not None:
        concurrency = whole_number("concurrency", concurrency, high=MAX_BATCH)
        if batch != 1:
            raise UnsupportedError(
                "Give batch (requests that start together) or concurrency (requests in service), not both."
            )
    if mode not in ("infer", "train"):
        raise UnsupportedError(f"Unknown mode '{mode}'; it is infer or train.")
    dtype = number_format(str(dtype)).name if dtype else ""
    kv_dtype = number_format(str(kv_dtype)).name if kv_dtype else ""
    target = find_target(on)
    model = find_model(workload, knobs)
    asked = dtype
    dtype, notes = choose_format(model, target, dtype, allow_fallback)
    if not asked and dtype == "int8" and software and concurrency is None:
        dtype, notes = _of_runtime(software, target, dtype, notes)
    if dtype == "int8" and asked != "int8":
        model = deployed(model, target)
    if generate is not None and model.defaults["prompt"] and (mode == "train" or not model.defaults["generate"]):
        who = "A training step" if mode == "train" else f"'{model.name}'"
        notes += (f"{who} generates no tokens: generate={generate} changes nothing.",)
    request = Request(batch, prompt, generate, dtype, kv_dtype, "train" if mode == "train" else "infer")
    return Question(model, target, request, concurrency or 0, notes)


def choose_format(
    model: Model, target: Target, dtype: str, allow_fallback: bool = False
) -> tuple[str, tuple[str, ...]]:  # fmt: skip
    """Return the format to compute in ("" = as the model says) and notes on the choice.

    A format that the user names is kept, or refused, or replaced where `allow_fallback`. Else the model's own; NPUs and
    microcontrollers run what they are deployed with, int8, where they have it and the model is not quantised already.
    """
    rates = target.rates
    if dtype:
        return _supported(target, dtype, allow_fallback)
    own = str(model.defaults["dtype"])
    wide = number_format(own).weight_bits > 8
    if rates.kind in ("npu", "mcu", "fpga") and wide and rates.supports("int8"):
        other = f"; --dtype {own} asks for the model's own format" if rates.supports(own) else ""
        return "int8", (f"Computed in int8, as {rates.device} is deployed{other}.",)
    if rates.device == HOST_CPU and own in ("fp16", "bf16"):
        # what is measured on it: numpy and ONNX Runtime compute 16-bit networks of processors in fp32
        return "fp32", (f"Computed in fp32, as networks run on a processor; --dtype {own} asks for the model's own.",)
    used, notes = _supported(target, own, allow_fallback)
    return used if used != own else "", notes


def _of_runtime(
    software: str, target: Target, dtype: str, notes: tuple[str, ...]
) -> tuple[str, tuple[str, ...]]:  # fmt: skip
    """Return the format of deployment, or the narrowest floating-point one where the runtime lacks that."""
    from hardware_specs.runtimes import find_runtime

    runtime = find_runtime(software, target.spec)
    if runtime is None or dtype in runtime.formats:
        return dtype, notes
    wide = [name for name in ("fp16", "bf16", "fp32") if name in runtime.formats and target.rates.supports(name)]
    if not wide:
        return dtype, notes
    return wide[0], (f"Computed in {wide[0]}: {runtime.name} takes no {dtype} on {target.spec.id}.",)


def _supported(target: Target, dtype: str, allow_fallback: bool) -> tuple[str, tuple[str, ...]]:
    """Return a format that the device computes in, and notes. Raises UnsupportedError: it lacks the one asked for."""
    rates = target.rates
    if rates.supports(dtype):
        return dtype, _widening(rates, dtype)
    if not allow_fallback:
        host = find_target(target.spec.host.device) if target.spec.host else None
        raise refusal(rates, dtype, host.spec.id if host and host.rates.supports(dtype) else "")
    used = nearest_format(rates, dtype)
    return used, (fallback_note(rates, dtype, used), *_widening(rates, used))


def deployed(model: Model, target: Target) -> Model:
    """Return the model as compilers for int8 devices lay it out: embeddings and logits in int8, as all weights.

    On a device without 16-bit products its attention is in int8 too. A format that the model or the user states stays.
    """
    inner: tuple[str, ...] = ("embedding_dtype", "lm_head_dtype")
    inner += () if target.rates.supports("fp16") else ("attention_dtype",)
    open_knobs = [knob for knob, value in model.knobs().items() if knob.rpartition(".")[2] in inner and value == ""]
    return model.with_knobs(dict.fromkeys(open_knobs, "int8")) if open_knobs else model


def _widening(rates: Rates, dtype: str) -> tuple[str, ...]:
    if dtype not in rates.widened:
        return ()
    math, wider = number_format(dtype).math, rates.widened[dtype]
    return (f"{rates.device} has no {math} arithmetic: {dtype} is computed in {wider}.",)


def mappings_of(count: int, model: Model, together: int) -> Iterator[Parallel]:
    """Yield the mappings of `count` devices worth trying: replicas x tensor x pipeline, experts together or spread.

    No stage is without a layer, no rank without a head and no replica without one of the `together` requests. A model
    without heads (convolutions, graphs from files) is not divided by tensors.
    """
    knobs = model.knobs()
    experts, stages, heads = (_fewest(knobs, name) for name in ("experts", "layers", "heads"))
    stages, heads = stages or count, heads or 1
    for dp in (d for d in range(1, min(count, together) + 1) if count % d == 0):
        ranks = count // dp
        for tp in (d for d in range(min(ranks, heads), 0, -1) if ranks % d == 0 and ranks // d <= stages):
            yield Parallel(tp=tp, pp=ranks // tp, dp=dp)
            if experts and tp * dp > 1 and experts % (tp * dp) == 0:
                yield Parallel(tp=tp, pp=ranks // tp, dp=dp, ep=tp * dp)


def _fewest(knobs: Mapping[str, Any], name: str) -> int:
    """Return a knob, or the smallest of that name among the networks that a model is made of (0: none has it)."""
    if "text." + name in knobs:  # towers beside a language model are small and come first; its layers are divided
        return int(knobs["text." + name] or 0)
    found = [value for knob, value in knobs.items() if knob == name or knob.endswith("." + name)]
    return min((int(value) for value in found if isinstance(value, int) and value > 0), default=0)


def parallel(
    count: int | None, tp: int, pp: int, ep: int, dp: int, software: str, cp: int = 1, concurrency: int = 0
) -> Parallel | None:  # fmt: skip
    """Return the mapping that a user fixed, or None where only the number of devices is given.

    Raises:
        MappingError: the sizes do not multiply up to the count, or divide prompts of requests in service.
    """
    for name, size in (("tp", tp), ("pp", pp), ("ep", ep), ("dp", dp), ("cp", cp)):
        whole_number(name, size, high=MOST_DEVICES)
    fixed = Parallel(tp=tp, pp=pp, dp=dp, ep=ep, software=software, cp=cp)
    if fixed.cp > 1 and concurrency:
        # steps of a serving engine are priced by their tokens; cp divides those of prompts, not those of decodes
        raise MappingError(f"cp={cp} is answered for requests that start together; give batch, not concurrency.")
    if count is None:
        return fixed
    whole_number("count", count, high=MOST_DEVICES)
    if fixed.devices == 1:
        return None if count > 1 else fixed
    if fixed.devices != count:
        sizes = f"tp={tp} x pp={pp} x dp={dp}" + (f" x cp={cp}" if cp > 1 else "")
        uses = f"{sizes} uses {fixed.devices} devices"
        raise MappingError(f"{uses}, but count={count}; make them equal or leave one out.")
    return fixed
