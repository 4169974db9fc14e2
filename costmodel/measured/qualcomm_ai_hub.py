"""Qualcomm AI Hub: latency and peak memory on NPUs (github.com/quic/ai-hub-models, BSD-3-Clause).

`inference_ms` is one inference at batch 1. Traps: rows that fell back to CPU or GPU are no rows of the NPU and are left
out, as are mixed precisions; `float` runs in fp16 on the NPU; `w8a16` has 16-bit whole-number activations (the format
`w8a16` here has the same widths but multiplies in bf16); the peak of memory is a noisy range, of which the upper end is
taken. Parts of a network that were compiled apart are left out: their network is not one row. Of language models, the
shortest time to a first token is that of one chunk of the prompt: the range's ends differ by context / chunk, which
gives the chunk. Rows of one device that repeat another's were removed by those who made the copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from costmodel.measured.base import ImportRequest
from costmodel.measured.data_files import (
    Columns,
    by_timm_name,
    check_names,
    device_id,
    drop,
    each,
    read_file,
    set_folder,
    whole_models,
    workload_id,
)
from workloads.table import Array
from workloads.workload_measurements import WorkloadMeasurements, params_text

SOURCE = "Qualcomm AI Hub, commit 52c080d2 (BSD-3-Clause)"
FORMATS = {"float": "fp16", "w8a8": "int8", "w8a16": "w8a16"}
LLM_FORMATS = {"w4a16": "w4a16", "w4": "w4a16"}
TIMM = {
    "beit": "beit_base_patch16_224", "convnext_base": "convnext_base", "convnext_tiny": "convnext_tiny",
    "densenet121": "densenet121", "dla102x": "dla102x", "efficientformer": "efficientformer_l1",
    "efficientnet_b0": "efficientnet_b0", "efficientnet_b4": "efficientnet_b4",
    "efficientnet_v2_s": "tf_efficientnetv2_s", "efficientvit_b2_cls": "efficientvit_b2",
    "efficientvit_l2_cls": "efficientvit_l2", "googlenet": "inception_v1", "inception_v3": "inception_v3",
    "levit": "levit_128s", "mnasnet05": "mnasnet_050", "mobile_vit": "mobilevit_s", "mobilenet_v2": "mobilenetv2_100",
    "mobilenet_v3_large": "mobilenetv3_large_100", "mobilenet_v3_small": "mobilenetv3_small_100",
    "nasnet": "nasnetalarge", "regnet": "regnetx_032", "regnet_y_800mf": "regnety_008_tv", "resnet101": "resnet101",
    "resnet18": "resnet18", "resnet50": "resnet50", "resnext101": "resnext101_32x8d", "resnext50": "resnext50_32x4d",
    "sequencer2d": "sequencer2d_s", "vit": "vit_base_patch16_224", "wideresnet50": "wide_resnet50_2",
}  # fmt: skip
"""Its image networks by timm's names; parameters of its `model_info` and ours agree (regnet: 15.3 M is the x_3.2gf)."""
NAMED = {
    "albert_base_v2_hf": "albert-base", "bert_base_uncased_hf": "bert-base",
    "distil_bert_base_uncased_hf": "distilbert", "electra_bert_base_discrim_google": "electra-base",
    "mobile_bert_uncased_google": "mobilebert",
    "nomic_embed_text": "nomic-embed-text-v1.5", "shufflenet_v2": "shufflenet-v2-1.0", "sequencer2d": "sequencer2d-s",
    "squeezenet1_1": "squeezenet-1.1", "openai_clip": "clip-vit-b-16", "yolov8_det": "yolov8n", "yolov5": "yolov5m",
    "yolov10_det": "yolov10n", "yolov11_det": "yolo11n", "yolov6": "yolov6n", "yolov7": "yolov7-tiny",
    "yolox": "yolox-s", "yolov3": "yolov3-tiny", "detr_resnet50": "detr-resnet-50", "detr_resnet101": "detr-resnet-101",
    "segformer_base": "segformer-b0", "unet_segmentation": "unet", "internimage": "internimage-t",
    "video_mae": "videomae-base", "deeplabv3_plus_mobilenet": "deeplabv3-plus-mobilenet",
    "fcn_resnet50": "fcn-resnet50",
}  # fmt: skip
"""Other networks by names of the catalogue (those that it lacks are counted in the report)."""
LANGUAGE = {
    "llama_v2_7b_chat": "llama-2-7b", "llama_v3_8b_instruct": "llama-3-8b", "llama_v3_1_8b_instruct": "llama-3.1-8b",
    "llama_v3_2_1b_instruct": "llama-3.2-1b", "llama_v3_2_3b_instruct": "llama-3.2-3b",
    "llama_v3_elyza_jp_8b": "llama-3-8b", "llama_v3_taide_8b_chat": "llama-3-8b",
    "llama_v3_1_sea_lion_3_5_8b_r": "llama-3.1-8b", "mistral_7b_instruct_v0_3": "mistral-7b-v0.3",
    "phi_3_5_mini_instruct": "phi-3.5-mini", "qwen2_5_1_5b_instruct": "qwen2.5-1.5b",
    "qwen2_5_7b_instruct": "qwen2.5-7b", "qwen2_7b_instruct": "qwen2-7b", "falcon_v3_7b_instruct": "falcon-3-7b",
    "ibm_granite_v3_1_8b_instruct": "granite-3.1-8b", "baichuan2_7b": "baichuan2-7b",
}  # fmt: skip
"""Its language models (fine-tuned ones have the shape of their base)."""
NO_IMAGE = ("openai_clip", "video_mae")


def load_qualcomm(request: ImportRequest) -> Iterator[WorkloadMeasurements]:
    """Yield a table of networks, and one of language models. Raises BadFileError."""
    check_names(request)
    folder = set_folder(request, "qualcomm_ai_hub")
    tables = (_networks(request, folder), _language(request, folder / "llm_perf.csv.gz"))
    yield from (table for table in tables if table is not None)


def _networks(request: ImportRequest, folder: Path) -> WorkloadMeasurements | None:
    numbers = ("inference_ms", "peak_mem_max_mb")
    texts = ("model", "precision", "component", "device", "runtime", "primary_compute_unit", "qairt_version")
    found = read_file(folder / "perf.csv.gz", numbers, texts)
    request.report.read += len(found["model"])
    parts = _parts(found)
    name = np.where(parts, found["model"] + "/" + found["component"], found["model"]).astype(object)
    found = {**found, "name": name, "whole": np.where(parts, "", found["model"]).astype(object)}
    if not check_names(request):
        found = drop(request, found, parts, "a part of a network, compiled apart")
    found = drop(request, found, found["primary_compute_unit"] != "NPU", "it ran on the CPU or the GPU")
    kept = each(found["precision"], lambda p: float(p in FORMATS)) == 1
    found = drop(request, found, ~kept, "a precision that is no format here (mixed, or w16a16)")
    sizes = _input_sizes(folder)
    workload = each(found["whole"], _network)
    return whole_models(
        request, "Qualcomm AI Hub",
        {
            "device": each(found["device"], lambda d: device_id("qualcomm_ai_hub", d)), "source": SOURCE,
            "software": _software(found), "workload": workload, "dtype": each(found["precision"], FORMATS.__getitem__),
            "batch": 1.0, "prompt": each(found["model"], lambda m: _tokens(sizes.get(m, ""))),
            "params": each(found["model"], lambda m: _image(m, sizes.get(m, ""))),
            "group": np.where(workload == "", found["model"], workload).astype(object),
            "latency_s": found["inference_ms"] * 1e-3,
            "memory_bytes": np.where(found["peak_mem_max_mb"] > 0, found["peak_mem_max_mb"] * 1e6, np.nan),
            "model": found["name"],
        },
        unknown=found["name"],
    )  # fmt: skip


def _parts(found: Columns) -> Array:
    """Return a mask of the rows of networks that have more than one component."""
    pairs = set(zip(found["model"].tolist(), found["component"].tolist(), strict=True))
    models = [model for model, _ in pairs]
    return np.asarray(each(found["model"], lambda model: float(models.count(model) > 1)) == 1)


def _software(found: Columns) -> Array:
    """Return 'runtime version' of each row, e.g. `qnn_dlc 2.42.0`."""
    version = each(found["qairt_version"], lambda v: " " + ".".join(v.split(".")[:3]) if v else "")
    return np.asarray(found["runtime"] + version)


def _network(model: str) -> str:
    return by_timm_name().get(TIMM.get(model, ""), "") or workload_id(NAMED.get(model, ""))


def _input_sizes(folder: Path) -> dict[str, str]:
    """Return the input of each network as its page states it, e.g. '224x224' or '1x384'."""
    info = read_file(folder / "model_info.csv.gz", (), ("model", "key", "value"))
    rows = zip(info["model"].tolist(), info["key"].tolist(), info["value"].tolist(), strict=True)
    return {model: value for model, key, value in rows if key == "Input resolution"}


def _sides(size: str) -> list[int]:
    """Return the numbers of '1x3x224x224', '1x384' or '416p (416x416)'; none where there is no such text."""
    inside = size[size.find("(") + 1 :].rstrip(")") if "p (" in size else size.split(" (")[0]
    words = [word.strip() for word in inside.split("x")]
    return [int(word) for word in words] if all(word.isdigit() for word in words) else []


def _tokens(size: str) -> float:
    sides = _sides(size)
    return float(sides[1]) if len(sides) == 2 and sides[0] == 1 else float("nan")


def _image(model: str, size: str) -> str:
    sides = [side for side in _sides(size) if side > 3]
    if model in NO_IMAGE or not sides or (_sides(size)[:1] == [1] and len(_sides(size)) == 2):
        return ""
    square = len(set(sides)) == 1
    return params_text(image=sides[0]) if square else params_text(image_height=sides[0], image_width=sides[1])


def _language(request: ImportRequest, path: Path) -> WorkloadMeasurements | None:
    numbers = ("context_length", "tokens_per_second", "ttft_min_ms", "ttft_max_ms")
    found = read_file(path, numbers, ("model", "precision", "device", "runtime"))
    request.report.read += len(found["model"])
    workload = each(found["model"], lambda model: workload_id(LANGUAGE.get(model, "")))
    chunks = np.round(found["ttft_max_ms"] / found["ttft_min_ms"])
    return whole_models(
        request, "Qualcomm AI Hub, language models",
        {
            "device": each(found["device"], lambda d: device_id("qualcomm_ai_hub", d)), "source": SOURCE,
            "software": found["runtime"], "workload": workload, "batch": 1.0,
            "dtype": each(found["precision"], lambda p: LLM_FORMATS.get(p, "")),
            "prompt": found["context_length"] / chunks, "group": workload, "ttft_s": found["ttft_min_ms"] * 1e-3,
            "tpot_s": 1 / found["tokens_per_second"], "context_length": found["context_length"],
            "precision": found["precision"], "model": found["model"],
        },
        unknown=found["model"],
    )  # fmt: skip
