"""timm: throughput of image networks (github.com/huggingface/pytorch-image-models, results/, Apache-2.0).

Traps: rows of GPUs are large batches back to back, so `latency_s` is that of a batch, not of one image. Configurations
of one device differ in software only; compiled and channels-last runs are software of their own. `amp` keeps weights
in fp32 and multiplies in fp16. A name may hide another form of the network (branches merged, another head): rows whose
parameters differ from ours by more than 1 % are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from costmodel.measured.base import ImportRequest
from costmodel.measured.data_files import (
    by_timm_name,
    check_names,
    device_id,
    each,
    read_file,
    set_folder,
    whole_models,
)
from workloads.catalogue import architecture_facts
from workloads.workload_measurements import WorkloadMeasurements, params_text

SOURCE = "timm results, commit aa4b5850 (Apache-2.0)"
FORMATS = {"amp": "fp16", "amp_bf16": "bf16", "bf16": "bf16", "fp32": "fp32"}
PARAMETER_LIMIT, PARAMETER_ROUNDING = 0.01, 0.005e6
"""A row is of our network within the limit, beyond half a unit of the table's last decimal."""
OTHER_NETWORKS = {("regnety_2560", 224)}
"""Rows of a network that a later release builds otherwise under that name: 826 M parameters, then 1283 M."""

_ORIGINS = r"(tf|legacy|wide|gc|ese|eca|dm|gluon|tv)_"
_MERGED = (
    ("resnet", r"(se|eca)?resnet(aa|blur|rs|light)?"), ("resnext", r"(se|eca)?resnext(aa)?"), ("senet", r"senet"),
    ("sknet", r"skresne[xt]t?"), ("res2net", r"res2ne[xt]t?"), ("regnet", r"regnet[vxyz]"),
    ("mnasnet", r"(se)?mnasnet"), ("nfnet", r"nf(net|_(regnet|(se|eca)?resnet))"), ("cspnet", r"(cs3|csp).*"),
    ("darknet", r"(se)?darknet(aa)?"), ("vovnet", r"vovnet"), ("rexnet", r"rexnetr?"), ("xception", r"xception"),
    ("densenet", r"densenet(blur)?"),
)  # fmt: skip


def timm_family(name: str) -> str:
    """Return the family of a network by timm's name: its letters (and generation), variants of one paper merged."""
    stem = re.sub(f"^{_ORIGINS}", "", name)
    for family, pattern in _MERGED:
        if re.match(rf"{pattern}(_|\d|$)", stem):
            return family
    found = re.match(r"[a-z]+(?<=v)\d|[a-z]+", stem)
    return found[0] if found else stem


def software_of(config: str) -> str:
    """Return the stack of a configuration, e.g. `infer-amp-nhwc-pt240-cu124-rtx3090`: 'pytorch 2.4.0 channels-last'."""
    found = re.search(r"-pt(\d+)", config)
    digits = found[1] if found else ""
    version = f"1.{digits[1:]}" if digits.startswith("1") else ".".join(digits)
    words = [
        "pytorch",
        version,
        "channels-last" if "-nhwc-" in config else "",
        "compiled" if "-dynamo" in config else "",
    ]
    return " ".join(word for word in words if word)


def load_timm(request: ImportRequest) -> Iterator[WorkloadMeasurements]:
    """Yield one table a configuration: latency of a batch and images per second. Raises BadFileError."""
    check_names(request)
    numbers = tuple(f"{mode}_{name}" for mode in ("infer", "train")
                    for name in ("samples_per_sec", "step_time", "batch_size", "img_size"))  # fmt: skip
    found = read_file(
        set_folder(request, "timm") / "benchmark.csv.gz", (*numbers, "param_count"), ("config", "model")
    )  # fmt: skip
    request.report.read += len(found["config"])
    stem = each(found["model"], lambda word: word.split(".")[0])
    names = by_timm_name()
    workload = each(stem, lambda word: names.get(word, ""))
    millions = each(workload, _parameters)
    other = np.abs(found["param_count"] * 1e6 - millions) - PARAMETER_ROUNDING > PARAMETER_LIMIT * millions
    configs = sorted(set(found["config"].tolist()))
    for done, config in enumerate(configs):
        request.progress(config, done / len(configs))
        mode, style = config.split("-")[:2]
        here = found["config"] == config
        image = found[f"{mode}_img_size"]
        odd = here & np.array([(n, s) in OTHER_NETWORKS for n, s in zip(stem, image, strict=True)])
        blank = here & ~odd & ~(found[f"{mode}_step_time"] > 0)
        request.report.skip("no time in the row", int(blank.sum()))
        form = here & ~blank & ((other & (workload != "")) | odd)
        request.report.skip("another form of the network: its parameters differ from ours", int(form.sum()))
        keep = here & ~blank & ~form
        table = whole_models(
            request, f"timm {config}",
            {
                "device": device_id("timm", config), "software": software_of(config), "source": SOURCE,
                "workload": workload[keep], "dtype": FORMATS.get(style, ""), "mode": mode,
                "batch": found[f"{mode}_batch_size"][keep],
                "params": each(np.array([f"{v:g}" for v in image[keep]], dtype=object), _image),
                "group": each(stem[keep], timm_family),
                "latency_s": found[f"{mode}_step_time"][keep] * 1e-3,
                "rate_hz": found[f"{mode}_samples_per_sec"][keep], "model": found["model"][keep],
            },
            unknown=stem[keep],
        )  # fmt: skip
        if table is not None:
            yield table


def _image(pixels: str) -> str:
    return params_text(image=int(float(pixels)))


def _parameters(workload: str) -> float:
    """Return the published parameters of a network; NaN where none are stated (then every row is taken)."""
    return float(architecture_facts(workload).get("published_parameters", np.nan)) if workload else float("nan")
