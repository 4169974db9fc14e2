"""What is checked of questions before any is priced: names that nothing has, and knobs that change nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from archcast.oracle.questions import KNOBS, SAMPLES, Questions
from archcast.question import ask, find_model, find_target
from archcast.software import check_software
from costmodel.protocol import CostModel
from foundation.errors import BadValueError
from foundation.formats import number_format
from workloads.model import Model

TOKENS = ("prompt", "generate", SAMPLES)
"""Knobs of workloads that read or write tokens; samples share a prompt and differ in what they write."""
_CHECKS: dict[str, Callable[[Any], object]] = {
    "workload": find_model,
    "on": find_target,
    "dtype": number_format,
    "kv_dtype": number_format,
}


def check_names(questions: Questions) -> None:
    """Refuse what no catalogue has: that is a mistake, where "does not fit" is an answer.

    Raises:
        UnknownNameError, BadFileError, BadValueError: an unknown workload, device, format, mode or knob of a model.
    """
    for name, check in _CHECKS.items():
        column = questions.columns.get(name)
        for value in () if column is None else _distinct(column.tolist()):
            if value != "":
                check(value)
    modes = questions.columns.get("mode")
    for mode in () if modes is None else _distinct(modes.tolist()):
        if mode not in ("infer", "train"):
            raise BadValueError(f"Unknown mode '{mode}'; it is infer or train.")
    if KNOBS in questions.columns and "workload" in questions.columns:
        seen = set()
        pairs = zip(questions.columns["workload"].tolist(), questions.columns[KNOBS].tolist(), strict=True)
        for workload, knobs in pairs:
            key = (workload if isinstance(workload, str) else id(workload), repr(knobs))
            if workload is not None and knobs and key not in seen:
                seen.add(key)
                find_model(workload, knobs)


def check_stacks(questions: Questions, cost_model: CostModel) -> None:
    """Refuse software that no runtime, no stack of the model and no measured table has.

    Raises:
        UnknownNameError: the nearest names.
    """
    column = questions.columns.get("software")
    for value in () if column is None else _distinct(column.tolist()):
        check_software(value, cost_model)


def check_one(questions: Questions) -> None:
    """Refuse names as `check_names` does and, of a single question, what its device cannot be asked at all."""
    for name in ("workload", "on"):
        if name not in questions.columns:
            raise BadValueError(f"A question needs '{name}'.")
    check_names(questions)
    if questions.rows == 1:
        said: dict[str, Any] = {
            name: questions.columns[name][0]
            for name in ("dtype", "kv_dtype", "mode", "software", KNOBS)
            if name in questions.columns and questions.columns[name][0] is not None
        }
        ask(questions.columns["workload"][0], questions.columns["on"][0], **said)


def check_effect(questions: Questions, knob: str) -> None:
    """Refuse a knob that changes nothing. Raises BadValueError: no tokens of that kind, or a training step's."""
    if knob not in TOKENS:
        return
    needs = "prompt" if knob == "prompt" else "generate"
    for workload in _distinct(questions.columns["workload"].tolist()):
        model = find_model(workload)
        if not model.defaults.get(needs):
            raise BadValueError(f"{_without(model, knob)}, so it would change nothing; name another, such as batch.")
    modes = questions.columns.get("mode")
    if modes is not None and needs == "generate" and "train" in modes.tolist():
        raise BadValueError(f"A training step has no {knob}, so it would change nothing; name another, such as batch.")


def check_reads(verifier: Questions) -> None:
    """Refuse a verifier that reads no tokens. Raises BadValueError."""
    model = find_model(verifier.columns["workload"][0])
    if not model.defaults.get("prompt"):
        raise BadValueError(f"The verifier '{model.name}' reads no tokens; name a language model.")


def _without(model: Model, knob: str) -> str:
    why = " (it generates no tokens)" if knob == SAMPLES else ""
    return f"'{model.name}' has no {knob}{why}"


def _distinct(values: list[Any]) -> list[Any]:
    """Return what is said in a column, each once; objects are told apart by identity."""
    return list({
        value if isinstance(value, str) else id(value): value
        for value in values
        if value is not None and not isinstance(value, Mapping)
    }.values())  # fmt: skip
