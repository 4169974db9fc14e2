"""Joules of an output token of served models: ML.ENERGY's rows, and answers with a family of networks left out.

Version 3 is vLLM 0.11.1 on H100 with as many requests in flight as `max_num_seqs` allows, all the time; version 2 is an
older engine on A100 and H100. Measured are watts of all GPUs and output tokens a second; joules of a token are their
ratio. Prompts' lengths are not in the rows: `PROMPTS` are estimates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from costmodel.collectives import fabric_of
from costmodel.measured.base import ImportRequest
from costmodel.measured.data_files import Columns, device_id, read_file, set_folder, workload_id
from costmodel.protocol import SHIPPED, CostModel
from costmodel.rates import Rates, compile_rates
from costmodel.served_power import Ends, Labels, ServedAnswer, ServedPower, fit_served_power
from costmodel.served_work import KINDS, PARTS, Served, Work, joined_work, served_work, taken
from foundation.errors import ArchcastError
from hardware_specs import load_device
from workloads.catalogue import load_model
from workloads.mapping import Mapping
from workloads.table import Array

SOURCE = "fitted to ML.ENERGY v3 (github.com/ml-energy, Apache-2.0): H100, vLLM 0.11.1; coefficients only"
SOFTWARE = {"v3": "vllm 0.11.1", "v2": "vllm 0.5.4"}
FAMILIES: tuple[tuple[str, str], ...] = (
    ("nemotron", "Nemotron"), ("gpt-oss", "gpt-oss"), ("starcoder", "StarCoder"), ("mixtral", "Mistral"),
    ("mistral", "Mistral"), ("phi", "Phi"), ("chameleon", "Chameleon"), ("llava", "Llama"), ("llama", "Llama"),
    ("gemma", "Gemma"), ("qwen", "Qwen"),
)  # fmt: skip
"""Lineages by a part of the name: what was derived from Llama is Llama, Nemotron Nano 2 is a design of its own."""
PROMPTS: dict[str, tuple[float, float, float]] = {
    "lm-arena-chat": (300, 150, 800), "gpqa": (300, 200, 500), "sourcegraph-fim": (1000, 500, 2500),
    "image-chat": (600, 300, 2000), "video-chat": (1500, 700, 6000), "chat": (300, 150, 600), "code": (150, 80, 300),
    "mllm chat": (650, 400, 1200),
}  # fmt: skip
"""Tokens of a prompt, those of images and videos included: value, lo, hi, all estimated (typical of the data sets that
the tasks take their prompts from). Chat and code are those of version 2 (ShareGPT, EvalPlus)."""
SPREADS: dict[str, float] = {"lm-arena-chat": 0.95, "gpqa": 0.45, "sourcegraph-fim": 2.2, "video-chat": 0.5}
"""Squared coefficient of variation of generated tokens, means of the files' histograms; elsewhere 1."""
LANGUAGE: tuple[str, ...] = ("lm-arena-chat", "gpqa", "sourcegraph-fim", "chat", "code")
TEXT_MODELS: dict[str, str] = {
    "Qwen/Qwen3-VL-235B-A22B-Instruct": "qwen3-235b-a22b-2507", "Qwen/Qwen3-VL-30B-A3B-Instruct": "qwen3-30b-a3b-2507",
    "Qwen/Qwen3-VL-235B-A22B-Instruct-FP8": "qwen3-235b-a22b-2507-fp8", "Qwen/Qwen3-VL-32B-Instruct": "qwen3-32b",
    "Qwen/Qwen3-Omni-30B-A3B-Instruct": "qwen3-30b-a3b-2507", "Qwen/Qwen3-VL-8B-Instruct": "qwen3-8b",
    "nvidia/NVIDIA-Nemotron-Nano-12B-v2-VL-BF16": "nemotron-nano-12b-v2", "llava-hf/llava-1.5-7b-hf": "llama-2-7b",
    "llava-hf/llava-1.5-13b-hf": "llama-2-13b", "facebook/chameleon-7b": "llama-2-7b",
    "microsoft/Phi-3-vision-128k-instruct": "phi-3-mini-4k", "llava-hf/llama3-llava-next-8b-hf": "llama-3-8b",
}  # fmt: skip
"""Language models that answer about images and videos, by what generates their tokens: encoders are left out.
Chameleon follows Llama 2 (Chameleon Team 2024, section 2.3)."""
GIVEN, MOST = "batch given", "max_num_seqs"
"""Whether the mean of requests in flight is an input, or only the most that are allowed."""

V3 = ("avg_batch_size", "avg_output_len", "avg_power_watts", "data_parallel", "expert_parallel", "max_num_seqs",
      "num_gpus", "output_throughput_tokens_per_sec", "tensor_parallel")  # fmt: skip
V2 = ("TP", "PP", "Energy/req (J)", "Token tput (tok/s)", "Avg Output Tokens", "Avg BS (reqs)", "Max BS (reqs)")


@dataclass(frozen=True)
class Row:
    """One measured row: `devices` of a deployment, watts of all of them, tokens a second."""

    model: str
    device: str
    task: str
    mapping: Mapping
    batch: float
    most: float
    generate: float
    watts: float
    tokens_hz: float

    @property
    def engine(self) -> tuple[str, str, Mapping]:
        return self.model, self.device, self.mapping

    @property
    def language(self) -> bool:
        """Say whether requests are without images and videos."""
        return self.task in LANGUAGE

    @property
    def family(self) -> str:
        name = self.model.lower()
        return next((family for part, family in FAMILIES if part in name), name)


@dataclass(frozen=True)
class ServedRows:
    """Rows that can be asked; `left` are the rows that cannot, `refused` counts them by reason."""

    work: Work
    labels: Labels
    rows: tuple[Row, ...]
    left: tuple[Row, ...]
    refused: dict[str, int]

    @property
    def language(self) -> Array:
        """Say which rows are without images and videos."""
        return np.array([row.language for row in self.rows])

    @property
    def energy_per_token_j(self) -> Array:
        return np.array([row.watts / row.tokens_hz for row in self.rows])

    @property
    def device(self) -> Array:
        return np.array([row.device for row in self.rows])


def read_served(
    root: Path | None, version: str, batch: str = GIVEN, prompts: int = 0, model: CostModel | None = None
) -> ServedRows:
    """Return the served language models of a version of the data.

    Args:
        root: the folder of data sets, or that of ml_energy.
        batch: `GIVEN` or `MOST`. prompts: 0 for the value of `PROMPTS`, 1 and 2 for its ends.
        model: the cost model (None: the one that ships).

    Raises:
        BadFileError: a file is absent or broken.
    """
    if model is None:
        from costmodel.artefact import load_artefact

        model = load_artefact(SHIPPED)
    folder = set_folder(ImportRequest(root), "ml_energy")
    rows = list(_v3(folder) if version == "v3" else _v2(folder))
    groups: dict[tuple[str, str, Mapping], list[Row]] = {}
    for row in rows:
        groups.setdefault(row.engine, []).append(row)
    refused: dict[str, int] = {}
    kept: list[Row] = []
    left: list[Row] = []
    works: list[Work] = []
    for mine in groups.values():
        try:
            works.append(_work(mine, batch, prompts, model, SOFTWARE[version]))
            kept += mine
        except ArchcastError as error:
            left += mine
            refused[str(error)] = refused.get(str(error), 0) + len(mine)
    work = joined_work(works)
    watts, rate = (np.array([getattr(row, name) for row in kept]) for name in ("watts", "tokens_hz"))
    step = np.array([row.batch for row in kept]) / rate
    devices = np.array([float(row.mapping.devices) for row in kept])
    labels = Labels(step, watts / devices, np.array([row.family for row in kept]))
    return ServedRows(work, labels, tuple(kept), tuple(left), refused)


def _work(rows: list[Row], batch: str, prompts: int, model: CostModel, software: str) -> Work:
    first = rows[0]
    spec = load_device(first.device)
    mapping = replace(first.mapping, software=software)
    name = TEXT_MODELS.get(first.model) or workload_id(first.model) or first.model
    engine = Served(load_model(name), _rates(first.device), fabric_of(spec, mapping.devices), mapping, model)
    slots = np.array([(row.batch if batch == GIVEN else row.most) / mapping.dp for row in rows])
    prompt, spread = (np.array(values) for values in zip(
        *((PROMPTS[row.task][prompts], SPREADS.get(row.task, 1.0)) for row in rows), strict=True))  # fmt: skip
    return served_work(engine, slots, prompt, np.array([row.generate for row in rows]), spread)


def _rates(device: str) -> Rates:
    return compile_rates(load_device(device))


def _v3(folder: Path) -> Iterator[Row]:
    found = read_file(folder / "v3_configurations.csv.gz", V3, ("task", "model_id", "gpu_model"))
    for i in np.flatnonzero(found["output_throughput_tokens_per_sec"] > 0):
        count, dp, ep = (_whole(found, name, i) for name in ("num_gpus", "data_parallel", "expert_parallel"))
        tp = _whole(found, "tensor_parallel", i)
        # experts over all devices beside one rank of attention is how the engine says that attention is over all, too
        tp = count // dp if ep > 1 and tp * dp < count else tp
        yield Row(
            found["model_id"][i], device_id("ml_energy", found["gpu_model"][i]), found["task"][i],
            Mapping(tp=tp, dp=dp, ep=ep), float(found["avg_batch_size"][i]), float(found["max_num_seqs"][i]),
            float(found["avg_output_len"][i]), float(found["avg_power_watts"][i]),
            float(found["output_throughput_tokens_per_sec"][i]),
        )  # fmt: skip


def _v2(folder: Path) -> Iterator[Row]:
    found = read_file(folder / "v2_results.csv.gz", V2, ("Model", "GPU", "_task", "_cat"))
    for i in np.flatnonzero(found["Token tput (tok/s)"] > 0):
        rate, length = float(found["Token tput (tok/s)"][i]), float(found["Avg Output Tokens"][i])
        task = "mllm chat" if found["_cat"][i].startswith("mllm") else found["_task"][i]
        yield Row(
            found["Model"][i], device_id("ml_energy", found["GPU"][i]), task,
            Mapping(tp=_whole(found, "TP", i), pp=_whole(found, "PP", i)), float(found["Avg BS (reqs)"][i]),
            float(found["Max BS (reqs)"][i]), length, float(found["Energy/req (J)"][i]) / length * rate, rate,
        )  # fmt: skip


def _whole(found: Columns, name: str, i: np.integer[Any]) -> int:
    return max(int(found[name][i]), 1)


@dataclass(frozen=True)
class LeftOut:
    """What was answered for rows whose family was left out, and the baselines, all of shape (rows,)."""

    rows: ServedRows
    answer: ServedAnswer
    baselines: dict[str, Array]


CONSTANT, CLOSED, SHIPPED_MODEL = "constant power", "closed form", "shipped model"
MEASURED_TIME = "constant power, measured time"


def leave_families_out(rows: ServedRows, asked: ServedRows | None = None) -> LeftOut:
    """Answer each family by a model fitted to all others.

    Args:
        rows: what is fitted, with requests in flight as measured. asked: the same rows as they are asked (None: those).
    """
    test = rows if asked is None else asked
    family = rows.labels.family
    answers: list[tuple[Array, ServedAnswer]] = []
    baselines = {name: np.full(len(family), np.nan) for name in (CONSTANT, MEASURED_TIME, CLOSED, SHIPPED_MODEL)}
    for name in np.unique(family):
        out = family == name
        model = fit_served_power(taken(rows.work, ~out), rows.labels.take(~out))
        answers.append((np.flatnonzero(out), model.answer(taken(test.work, out))))
        share = float(np.median((rows.labels.device_w / rows.work["limit_w"])[~out]))
        for base, values in _baselines(test, share).items():
            baselines[base][out] = values[out]
    return LeftOut(test, _together(answers, len(family)), baselines)


def _baselines(rows: ServedRows, share: float) -> dict[str, Array]:
    """Return joules of a token: a share of the limit over unfitted and measured times, and what is not fitted."""
    work = rows.work
    watts = share * work["limit_w"]
    seconds = sum(work[f"{part}_{kind}_s"] for part in PARTS for kind in KINDS)
    devices, batch = work["devices"], work["batch"]
    closed, own = (sum(work[f"{part}_{name}"] for part in PARTS) for name in ("closed_energy_j", "energy_j"))
    return {
        CONSTANT: watts * devices * seconds / batch, MEASURED_TIME: watts * devices * rows.labels.step_s / batch,
        CLOSED: closed * work["ranks"] / batch, SHIPPED_MODEL: own * work["ranks"] / batch,
    }  # fmt: skip


def answered_by(model: ServedPower, known: ServedRows, rows: ServedRows) -> LeftOut:
    """Answer rows by a model that was fitted to the known ones, beside the same baselines."""
    share = float(np.median(known.labels.device_w / known.work["limit_w"]))
    return LeftOut(rows, model.answer(rows.work), _baselines(rows, share))


def _together(answers: list[tuple[Array, ServedAnswer]], rows: int) -> ServedAnswer:
    def ends(pick: Callable[[ServedAnswer], Ends]) -> Ends:
        out = tuple(np.empty(rows) for _ in range(3))
        for where, answer in answers:
            for column, values in zip(out, pick(answer), strict=True):
                column[where] = values
        return out[0], out[1], out[2]

    return ServedAnswer(ends(lambda a: a.step_s), ends(lambda a: a.power_w), ends(lambda a: a.energy_per_token_j))
