"""ML.ENERGY: power and energy of served models on H100 and A100 (github.com/ml-energy/leaderboard, Apache-2.0 data).

Version 3 (H100) and 2 (A100, H100). `power_w` is that of all GPUs of the deployment, `energy_j` that of one request
where requests are served together, of the whole batch in diffusion. Traps: energy a token equals power over throughput
exactly, so there are two labels, not three; GPU energy only; lengths of prompts are not stated; `batch` is the mean of
requests in flight, `concurrency` the most allowed; rows with experts over N devices say one rank of attention, which is
read as N, the engine's way. In version 2 power is energy a request times requests a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from costmodel.measured.base import ImportRequest
from costmodel.measured.data_files import Columns, device_id, each, read_file, set_folder, whole_models, workload_id
from workloads.table import Array
from workloads.workload_measurements import WorkloadMeasurements, params_text

SOURCE = "ML.ENERGY {} (Apache-2.0)"
FORMATS = {"bfloat16": "bf16", "fp8": "", "mxfp4": ""}
"""Quantised checkpoints keep the formats of their own."""
MODELS = {
    "black-forest-labs/FLUX.1-dev": "flux-1-dev",
    "stabilityai/stable-diffusion-3.5-large": "stable-diffusion-3.5-large",
    "stabilityai/stable-diffusion-3.5-medium": "stable-diffusion-3.5-medium",
    "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS": "pixart-sigma", "Wan-AI/Wan2.1-T2V-1.3B-Diffusers": "wan-2.1-1.3b",
    "Wan-AI/Wan2.1-T2V-14B-Diffusers": "wan-2.1-14b", "zai-org/CogVideoX-2b": "cogvideox-2b",
    "zai-org/CogVideoX1.5-5B": "cogvideox-1.5-5b", "stabilityai/stable-diffusion-2-1": "stable-diffusion-2.1",
    "stabilityai/sdxl-turbo": "sdxl-turbo", "stabilityai/stable-diffusion-xl-base-1.0": "sdxl",
    "stabilityai/stable-diffusion-3-medium-diffusers": "stable-diffusion-3-medium",
}  # fmt: skip
"""Diffusion models by names of the catalogue (those that it lacks are counted in the report)."""
V3 = (
    "avg_batch_size", "avg_output_len", "avg_power_watts", "data_parallel", "energy_per_request_joules",
    "expert_parallel", "max_num_seqs", "median_itl_ms", "num_gpus", "output_throughput_tokens_per_sec",
    "tensor_parallel", "batch_latency_s", "batch_size", "energy_per_video_joules", "inference_steps", "num_frames",
    "video_height", "video_width", "energy_per_image_joules", "image_height", "image_width",
)  # fmt: skip
V2 = (
    "TP", "PP", "Energy/req (J)", "Avg TPOT (s)", "Token tput (tok/s)", "Avg Output Tokens", "Avg BS (reqs)",
    "Max BS (reqs)", "Energy/video (J)", "Batch latency (s)", "Batch size", "Denoising steps", "Frames",
    "Energy/image (J)",
)  # fmt: skip


def load_ml_energy(request: ImportRequest) -> Iterator[WorkloadMeasurements]:
    """Yield tables of served language models and of diffusion, for both versions. Raises BadFileError."""
    request.check_options()
    folder = set_folder(request, "ml_energy")
    for reader in (_v3, _v2):
        for table in reader(request, folder):
            if table is not None:
                yield table


def _workload(model: str) -> str:
    """Return the network; checkpoints tuned for a task are those of their base, by the catalogue's aliases."""
    return workload_id(MODELS.get(model, model))


def _rows(found: Columns, keep: Array) -> Columns:
    return {name: column[keep] for name, column in found.items()}


def _v3(request: ImportRequest, folder: Path) -> Iterator[WorkloadMeasurements | None]:
    found = read_file(folder / "v3_configurations.csv.gz", V3, ("task", "model_id", "gpu_model", "weight_precision"))
    request.report.read += len(found["task"])
    served = found["output_throughput_tokens_per_sec"] > 0
    for text, part in ((True, _rows(found, served)), (False, _rows(found, ~served))):
        about = {
            "device": each(part["gpu_model"], lambda name: device_id("ml_energy", name)), "source": SOURCE.format("v3"),
            "software": "vllm" if text else "xdit", "workload": each(part["model_id"], _workload),
            "dtype": each(part["weight_precision"], lambda word: FORMATS.get(word, "")), "count": part["num_gpus"],
            "power_w": part["avg_power_watts"], "task": part["task"], "model": part["model_id"],
        }  # fmt: skip
        if text:
            length = part["avg_output_len"]
            about |= {
                "tp": _tensor_parallel(part), "ep": part["expert_parallel"], "dp": part["data_parallel"],
                "concurrency": part["max_num_seqs"], "batch": np.maximum(part["avg_batch_size"], 1), "generate": length,
                "tpot_s": part["median_itl_ms"] * 1e-3, "energy_j": part["energy_per_request_joules"],
                "rate_hz": part["output_throughput_tokens_per_sec"] / length,
            }  # fmt: skip
        else:
            each_j = np.fmax(part["energy_per_image_joules"], part["energy_per_video_joules"])
            about |= {
                "batch": part["batch_size"], "latency_s": part["batch_latency_s"],
                "energy_j": each_j * part["batch_size"],
                "params": _pictures(part["image_height"], part["image_width"], part["video_height"],
                                    part["video_width"], part["num_frames"], part["inference_steps"]),
            }  # fmt: skip
        yield whole_models(request, "ML.ENERGY v3", about, unknown=part["model_id"])


def _tensor_parallel(part: Columns) -> Array:
    """Return the ranks of attention: all of a replica, also where the row says 1 beside experts over all devices."""
    spread = (part["expert_parallel"] > 1) & (part["tensor_parallel"] * part["data_parallel"] < part["num_gpus"])
    return np.where(spread, part["num_gpus"] / part["data_parallel"], part["tensor_parallel"])


def _pictures(*columns: Array) -> Array:
    """Return the knobs of image height and width, video height and width, frames and steps, where they are given."""
    texts = []
    for image_h, image_w, video_h, video_w, frames, steps in zip(*columns, strict=True):
        height, width = (image_h, image_w) if image_h > 0 else (video_h, video_w)
        knobs = {"height": height, "width": width, "frames": frames, "steps": steps}
        texts.append(params_text(**{name: int(value) for name, value in knobs.items() if value > 0}))
    return np.array(texts, dtype=object)


def _v2(request: ImportRequest, folder: Path) -> Iterator[WorkloadMeasurements | None]:
    found = read_file(folder / "v2_results.csv.gz", V2, ("Model", "GPU", "_task"))
    request.report.read += len(found["Model"])
    served = found["Token tput (tok/s)"] > 0
    part = _rows(found, served)
    length, energy_j = part["Avg Output Tokens"], part["Energy/req (J)"]
    rate_hz = part["Token tput (tok/s)"] / length
    yield whole_models(
        request, "ML.ENERGY v2",
        {
            **_about(part), "count": part["TP"] * part["PP"], "tp": part["TP"], "pp": part["PP"],
            "batch": np.maximum(part["Avg BS (reqs)"], 1), "concurrency": part["Max BS (reqs)"], "generate": length,
            "tpot_s": part["Avg TPOT (s)"], "energy_j": energy_j, "rate_hz": rate_hz, "power_w": energy_j * rate_hz,
        },
        unknown=part["Model"],
    )  # fmt: skip
    part = _rows(found, ~served)
    each_j = np.fmax(part["Energy/image (J)"], part["Energy/video (J)"])
    blank = np.full(len(each_j), np.nan)
    yield whole_models(
        request, "ML.ENERGY v2, diffusion",
        {
            **_about(part), "batch": part["Batch size"], "latency_s": part["Batch latency (s)"], "count": 1.0,
            "energy_j": each_j * part["Batch size"],
            "params": _pictures(blank, blank, blank, blank, part["Frames"], part["Denoising steps"]),
        },
        unknown=part["Model"],
    )  # fmt: skip


def _about(part: Columns) -> dict[str, Array | str]:
    return {
        "device": each(part["GPU"], lambda name: device_id("ml_energy", name)), "source": SOURCE.format("v2"),
        "software": "", "workload": each(part["Model"], _workload), "task": part["_task"], "model": part["Model"],
    }  # fmt: skip
