"""Frame rates of NPUs: Hailo's and Rockchip's own tables (hailo_model_zoo, MIT; rknn_model_zoo, Apache-2.0).

Traps of hailo: rates are pipelined, so 1/rate is not a latency: `rate_hz` alone is given; whole-number 8 bit is the
default of its compiler (the tables state no format); networks that do not fit on the chip are bound by the link, which
operations and parameters do not show. Traps of rknn: a vendor's table, batch 1; rates of RK3588 and RK3576 are those of
one core of the NPU, the catalogue's devices have all cores (`software` says so).
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
    workload_id,
)
from workloads.workload_measurements import WorkloadMeasurements, params_text

HAILO_SOURCE = "Hailo model zoo, commit c83fc03 (MIT)"
RKNN_SOURCE = "RKNN model zoo, commit bad6c73 (Apache-2.0)"
HAILO_TIMM = {
    "davit_tiny": "davit_tiny", "deit_base": "deit_base_patch16_224", "deit_small": "deit_small_patch16_224",
    "deit_tiny": "deit_tiny_patch16_224", "efficientformer_l1": "efficientformer_l1",
    "efficientnet_lite0": "efficientnet_lite0", "efficientnet_lite1": "efficientnet_lite1",
    "efficientnet_lite2": "efficientnet_lite2", "efficientnet_lite3": "efficientnet_lite3",
    "efficientnet_lite4": "efficientnet_lite4", "inception_v1": "inception_v1",
    "levit128": "levit_128", "levit192": "levit_192", "levit256": "levit_256", "levit384": "levit_384",
    "mobilenet_v1": "mobilenetv1_100", "mobilenet_v2_1.0": "mobilenetv2_100", "mobilenet_v2_1.4": "mobilenetv2_140",
    "nextvit_base": "nextvit_base", "nextvit_small": "nextvit_small", "poolformer_s12": "poolformer_s12",
    "regnetx_1.6gf": "regnetx_016", "regnetx_800mf": "regnetx_008", "repghost_1_0x": "repghostnet_100",
    "repghost_2_0x": "repghostnet_200", "repvgg_a1": "repvgg_a1", "repvgg_a2": "repvgg_a2",
    "resmlp12_relu": "resmlp_12_224", "resnet_v1_18": "resnet18", "resnet_v1_34": "resnet34",
    "resnext50_32x4d": "resnext50_32x4d", "swin_small": "swin_small_patch4_window7_224",
    "swin_tiny": "swin_tiny_patch4_window7_224", "vit_base": "vit_base_patch16_224",
    "vit_small": "vit_small_patch16_224", "vit_tiny": "vit_tiny_patch16_224", "hardnet68": "hardnet68",
}  # fmt: skip
"""Its networks by timm's names; operations and parameters of its table and ours agree (a test holds them to 10 %).

Left out, since they do not: resnet_v1_50 (6.98 G operations, another stride), efficientnet_s, m and l, fastvit_sa12.
"""
OTHERS = {
    "yolov10n": "yolov10n", "ssd_mobilenet_v1": "ssd-mobilenet-v1",
}  # fmt: skip
RKNN_TIMM = {"mobilenetv2-12": "mobilenetv2_100", "resnet50-v2-7": "resnetv2_50"}
"""The two image classifiers of its table, which are those of the ONNX model zoo (v2 = pre-activation)."""
_DETECTOR = re.compile(r"yolo(v?\d+|x)_?-?(n|s|m|l|x|b|c|tiny)")


def detector_name(name: str) -> str:
    """Return the catalogue's name of a plain YOLO detector ('yolox_s', 'yolov8n'), '' where the catalogue has none."""
    found = _DETECTOR.fullmatch(name)
    return (workload_id(name) or workload_id(f"yolo{found[1]}-{found[2]}")) if found else ""


def load_hailo(request: ImportRequest) -> Iterator[WorkloadMeasurements]:
    """Yield a table for batch 1 and one for batch 8. Raises BadFileError."""
    check_names(request)
    found = read_file(
        set_folder(request, "hailo") / "fps.csv.gz", ("fps_batch1", "fps_batch8"),
        ("chip", "task", "network", "input_resolution"),
    )  # fmt: skip
    name = each(found["network"], lambda word: word.rstrip("⭐"))
    for batch in (1, 8):
        rate_hz = found[f"fps_batch{batch}"]
        request.report.read += len(rate_hz)
        given = rate_hz > 0
        request.report.skip("no rate in the row", int((~given).sum()))
        workload = each(name[given], hailo_network)
        table = whole_models(
            request, f"Hailo, batch {batch}",
            {
                "device": each(found["chip"][given], lambda chip: device_id("hailo", chip)), "source": HAILO_SOURCE,
                "software": "hailo dataflow compiler", "workload": workload, "dtype": "int8", "batch": float(batch),
                "params": each(found["input_resolution"][given], _image), "group": workload,
                "rate_hz": rate_hz[given], "network": name[given],
            },
            unknown=name[given],
        )  # fmt: skip
        if table is not None:
            yield table


def hailo_network(name: str) -> str:
    """Return the catalogue's name of a network of Hailo's table, '' where it has none."""
    return by_timm_name().get(HAILO_TIMM.get(name, ""), "") or workload_id(OTHERS.get(name, "")) or detector_name(name)


def _image(resolution: str) -> str:
    """Return the knobs of 'HxWxC'."""
    height, width = resolution.split("x")[:2]
    return params_text(image=int(height)) if height == width else params_text(
        image_height=int(height), image_width=int(width)
    )  # fmt: skip


def load_rknn(request: ImportRequest) -> Iterator[WorkloadMeasurements]:
    """Yield one table. Raises BadFileError."""
    check_names(request)
    found = read_file(
        set_folder(request, "rknn") / "fps.csv.gz", ("fps",), ("family", "model", "input", "dtype", "platform")
    )  # fmt: skip
    request.report.read += len(found["fps"])
    given = found["fps"] > 0
    request.report.skip("no rate in the row", int((~given).sum()))
    found = {key: column[given] for key, column in found.items()}
    timm = by_timm_name()
    workload = each(found["model"], lambda m: timm.get(RKNN_TIMM.get(m, ""), "") or detector_name(m))
    side = each(found["input"], lambda text: text.strip("[]").split(",")[-1].strip())
    table = whole_models(
        request, "RKNN model zoo",
        {
            "device": each(found["platform"], lambda name: device_id("rknn", name)), "source": RKNN_SOURCE,
            "software": each(found["platform"], lambda name: "rknn, one core" if "single_core" in name else "rknn"),
            "workload": workload, "dtype": np.char.lower(found["dtype"].astype(str)), "batch": 1.0,
            "params": each(side, lambda word: params_text(image=int(word)) if word.isdigit() else ""),
            "group": workload, "rate_hz": found["fps"], "model": found["model"],
        },
        unknown=found["model"],
    )  # fmt: skip
    if table is not None:
        yield table
