"""What a frame of Hailo's public networks makes a chip do, counted by running their definitions on empty tensors.

Run: `PYTHONPATH=. python benchmarks/trace_npu_networks.py DATA [NETWORK ...]` with torch, torchvision 0.28, timm 1.0.31
and ultralytics 8.4.190 (no dependencies of archcast) beside the reference data, whose table says the inputs' sizes. It
prints the rows of `costmodel/measured/npu_networks.csv` that are marked `public`, and on stderr the networks that come
out otherwise than there. docs/dataflow-chips.md says how the other rows were made.
"""

from __future__ import annotations

import csv
import gzip
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

os.environ["TIMM_FUSED_ATTN"] = "0"  # attention as two products and a softmax
import timm
import torch
from timm.utils import reparameterize_model
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.models import googlenet, squeezenet1_1, video

from costmodel.dataflow_work import AMOUNTS, THIN, imbalance

SHEET = Path(__file__).parents[1] / "costmodel" / "measured" / "npu_networks.csv"
Build = Callable[[], nn.Module]

NORMS, SMOOTH = ("native_layer_norm", "native_group_norm"), ("gelu", "silu", "sigmoid", "hardswish")
SUMS, UPSAMPLED = ("add", "sub"), ("upsample_nearest2d", "upsample_bilinear2d")
POINTWISE = (*SMOOTH, "cat", *UPSAMPLED, *SUMS, "mul", "div")
COUNTED = {*NORMS, *POINTWISE, "_softmax"}

TIMM = {
    "davit_tiny": "davit_tiny", "deit_base": "deit_base_patch16_224", "deit_small": "deit_small_patch16_224",
    "deit_tiny": "deit_tiny_patch16_224", "vit_base": "vit_base_patch16_224", "vit_small": "vit_small_patch16_224",
    "vit_tiny": "vit_tiny_patch16_224", "efficientformer_l1": "efficientformer_l1", "efficientnet_s": "efficientnet_es",
    "efficientnet_m": "efficientnet_em", "efficientnet_l": "efficientnet_el", "fastvit_sa12": "fastvit_sa12",
    "levit128": "levit_128", "levit192": "levit_192", "levit256": "levit_256", "levit384": "levit_384",
    "mobilenet_v1": "mobilenetv1_100", "mobilenet_v2_1.0": "mobilenetv2_100", "mobilenet_v2_1.4": "mobilenetv2_140",
    "mobilenet_v3": "tf_mobilenetv3_large_minimal_100", "nextvit_base": "nextvit_base",
    "nextvit_small": "nextvit_small", "poolformer_s12": "poolformer_s12",
    "resnet_v2_50": "resnetv2_50", "regnetx_1.6gf": "regnetx_016", "regnetx_800mf": "regnetx_008",
    "repghost_1_0x": "repghostnet_100", "repghost_2_0x": "repghostnet_200", "repvgg_a1": "repvgg_a1",
    "repvgg_a2": "repvgg_a2", "resmlp12_relu": "resmlp_12_224", "resnet_v1_18": "resnet18", "resnet_v1_34": "resnet34",
    "resnet_v1_50": "resnet50", "resnext50_32x4d": "resnext50_32x4d", "swin_small": "swin_small_patch4_window7_224",
    "swin_tiny": "swin_tiny_patch4_window7_224", "clip_resnet_50_image_encoder": "resnet50_clip",
    "clip_resnet_50x4_image_encoder": "resnet50x4_clip", "clip_vit_b_16_image_encoder": "vit_base_patch16_clip_224",
    "clip_vit_b_32_image_encoder": "vit_base_patch32_clip_224",
    "clip_vit_l_14_336_image_encoder": "vit_large_patch14_clip_336",
    "clip_vit_l_14_laion2B_image_encoder": "vit_large_patch14_clip_224",
    "siglip_b_16_image_encoder": "vit_base_patch16_siglip_224",
    "siglip2_b_32_256_image_encoder": "vit_base_patch32_siglip_256",
    "siglip_l_16_256_image_encoder": "vit_large_patch16_siglip_256",
    "tinyclip_vit_39m_16_text_19m_yfcc15m_image_encoder": "vit_medium_patch16_clip_224",
    "tinyclip_vit_40m_32_text_19m_laion400m_image_encoder": "vit_medium_patch32_clip_224",
    "tinyclip_vit_61m_32_text_29m_laion400m_image_encoder": "vit_betwixt_patch32_clip_224",
    "tinyclip_vit_8m_16_text_3m_yfcc15m_image_encoder": "vit_xsmall_patch16_clip_224",
    **{f"efficientnet_lite{i}": f"efficientnet_lite{i}" for i in range(5)},
}  # fmt: skip
OUTPUTS = {
    "face_attr_resnet_v1_18": ("resnet18", 80), "person_attr_resnet_v1_18": ("resnet18", 35),
    "tddfa_mobilenet_v1": ("mobilenetv1_100", 62), "repvgg_a0_person_reid_512": ("repvgg_a0", 512),
}  # fmt: skip
"""Networks of timm with so many outputs of their own."""
YOLO = {
    **{f"yolov10{s}": f"yolov10{s}.yaml" for s in "nsbmx"}, **{f"yolov11{s}": f"yolo11{s}.yaml" for s in "nsmlx"},
    **{f"yolov8{s}": f"yolov8{s}.yaml" for s in "nsmlx"}, **{f"yolov8{s}_seg": f"yolov8{s}-seg.yaml" for s in "nsm"},
    **{f"yolov8{s}_pose": f"yolov8{s}-pose.yaml" for s in "nsm"},
    "yolov8s_bbox_decoding_only": "yolov8s.yaml", "yolo_world_v2s": "yolov8s.yaml", "fast_sam_s": "yolov8s-seg.yaml",
    "yolov9c": "yolov9c.yaml", "yolov12n": "yolo12n.yaml",
}  # fmt: skip
"""Heads as in training: what follows them runs on the host."""
YOLO_5 = {
    "yolov5s": "s", "yolov5m": "m", "yolov5m_6.1": "m", "yolov5m_wo_spp": "m", "yolov5s_bbox_decoding_only": "s",
    "yolov5s_c3tr": "s", "yolov5s_wo_spp": "s", "yolov5xs_wo_spp": "s", "yolov5n_seg": "n", "yolov5s_seg": "s",
    "yolov5m_seg": "m", "yolov5l_seg": "l", "yolov5m6_6.1": "m", "yolov5n": "n",
}  # fmt: skip
"""Scale of each YOLOv5; where the table has other weights, the table's count (`costmodel.evaluation.hailo`)."""
SIZES = {"yolov5n": (640, 640), "resnet_v2_50": (224, 224)}
"""Inputs of networks that Rockchip's table has and Hailo's has not."""


class Call(NamedTuple):
    """One call: multiply-adds, weights, elements read and written, groups and channels in."""

    kind: str
    macs: int = 0
    weights: int = 0
    read: int = 0
    written: int = 0
    groups: int = 1
    channels: int = 0


class Recorder(TorchDispatchMode):
    """Keeps what each call below torch's autograd does."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.calls.extend(_called(func._schema.name.removeprefix("aten::").rstrip("_"), args, out))
        return out


def _called(name: str, args: tuple[Any, ...], out: Any) -> Iterator[Call]:
    if name in ("convolution", "_convolution"):
        x, weight, transposed, groups = args[0], args[1], args[6], args[8]
        macs = (x if transposed else out).numel() * weight.shape[1] * weight[0, 0].numel()
        yield Call("layer", macs, weight.numel(), x.numel(), out.numel(), groups, x.shape[1])
    elif name in ("addmm", "mm", "linear"):
        left, right = args[1:3] if name == "addmm" else args[:2]
        depth = left.shape[-1]
        yield Call("layer", out.numel() * depth, right.numel(), left.numel(), out.numel(), 1, depth)
    elif name in ("bmm", "baddbmm", "matmul"):
        left, right = args[1:3] if name == "baddbmm" else args[:2]
        yield Call("product", out.numel() * left.shape[-1], 0, left.numel() + right.numel(), out.numel())
    elif name in COUNTED:
        whole = out[0] if isinstance(out, tuple) else out
        if whole.numel() > 1:
            yield Call(name, written=whole.numel())


def traced(model: nn.Module, height: int, width: int, meta: bool) -> list[Call]:
    """Return the calls of one frame, on tensors without data where the network runs on such."""
    shape = (1, 3, 16, 112, 112) if isinstance(model, video.VideoResNet) else (1, 3, height, width)
    device = "meta" if meta else "cpu"
    model = model.eval().to(device)
    with torch.no_grad(), Recorder() as recorder:
        frame = torch.zeros(shape, device=device)
        model(frame) if meta else model.predict(frame)
    return recorder.calls


def amounts(calls: list[Call]) -> dict[str, float]:
    """Return the amounts of `costmodel.dataflow_work.AMOUNTS` but those of the input."""
    layers = [c for c in calls if c.kind == "layer"]
    products = [c for c in calls if c.kind == "product"]
    depthwise = [c for c in layers if c.groups > 1 and c.groups >= c.channels]
    grouped = [c for c in layers if 1 < c.groups < c.channels]
    thin = [c for c in layers if c.groups <= 1 and c.channels <= THIN]
    dense = [c for c in layers if c.groups <= 1 and c.channels > THIN]

    def count(*kinds: str) -> int:
        return sum(c.kind in kinds for c in calls)

    def written(*kinds: str) -> int:
        return sum(c.written for c in calls if c.kind in kinds)

    def operations(some: list[Call]) -> int:
        return 2 * sum(c.macs for c in some)

    found = (
        operations(dense), operations(thin), operations(depthwise), operations(grouped), operations(products),
        round(imbalance(np.array([c.macs for c in (*layers, *products)], float)), 4), sum(c.weights for c in layers),
        len(layers), len(depthwise), len(grouped), len(products), count(*NORMS), count("_softmax"), count(*SMOOTH),
        count(*SUMS), count("cat"), written("layer"), max(c.written for c in layers), written(*NORMS),
        sum(c.read + c.written for c in products) + written("_softmax"), written(*POINTWISE),
    )  # fmt: skip
    return dict(zip(AMOUNTS[:-2], found, strict=True))


def _yolo(config: str) -> Build:
    def build() -> nn.Module:
        from ultralytics.nn import tasks

        kinds = {"-seg": tasks.SegmentationModel, "-pose": tasks.PoseModel}
        kind = next((of for word, of in kinds.items() if word in config), tasks.DetectionModel)
        model: nn.Module = kind(config, verbose=False)
        model.model[-1].training = True
        return model

    return build


class _Anchored(nn.Module):
    """The head of YOLOv5: one layer a scale."""

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(c, 255, 1) for c in channels])

    def forward(self, scales: list[torch.Tensor]) -> list[torch.Tensor]:
        return [layer(x) for layer, x in zip(self.layers, scales, strict=True)]


def _yolo_5(scale: str, deep: bool) -> Build:
    def build() -> nn.Module:
        import ultralytics
        import yaml
        from ultralytics.nn.tasks import DetectionModel

        folder = Path(ultralytics.__file__).parent / "cfg" / "models" / "v5"
        config = yaml.safe_load((folder / ("yolov5-p6.yaml" if deep else "yolov5.yaml")).read_text(encoding="utf-8"))
        model: nn.Module = DetectionModel({**config, "scale": scale}, verbose=False)
        last = model.model[-1]
        head: Any = _Anchored([branch[0].conv.in_channels for branch in last.cv2])
        head.f, head.i, head.type, head.np = last.f, last.i, "head", 0
        model.model[-1] = head
        return model

    return build


def _without_norms(name: str) -> Build:
    def build() -> nn.Module:  # norms of batches fold into the layers before them
        model = timm.create_model(name)
        for module in list(model.modules()):
            for key, child in list(module.named_children()):
                if isinstance(child, nn.LayerNorm):
                    setattr(module, key, nn.Identity())
        return model

    return build


def networks() -> dict[str, Build]:
    """Return how each network is built, by its name in Hailo's table."""
    resnet = timm.models.resnet
    found: dict[str, Build] = {
        "squeezenet_v1.1": squeezenet1_1,
        "inception_v1": lambda: googlenet(aux_logits=False, init_weights=False),
        "r3d_18": video.r3d_18,
        "resnext26_32x4d": lambda: resnet.ResNet(resnet.Bottleneck, [2, 2, 2, 2], cardinality=32, base_width=4),
    }
    found |= {f"vit_{s}_bn": _without_norms(f"vit_{s}_patch16_224") for s in ("base", "small", "tiny")}
    found |= {name: (lambda of=of: timm.create_model(of)) for name, of in TIMM.items()}
    found |= {name: (lambda of=of, n=n: timm.create_model(of, num_classes=n)) for name, (of, n) in OUTPUTS.items()}
    found |= {name: _yolo(config) for name, config in YOLO.items()}
    found |= {name: _yolo_5(scale, name == "yolov5m6_6.1") for name, scale in YOLO_5.items()}
    return found


def main(data: Path, asked: list[str]) -> None:
    """Print the sheet's rows of public networks, and say which differ from it."""
    sizes: dict[str, tuple[int, ...]] = {}
    with gzip.open(data / "hailo" / "fps.csv.gz", "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            size = row["input_resolution"].split(",")[0].split("x")
            if all(n.isdigit() for n in size):  # one row of the table has a link there
                sizes.setdefault(row["network"].rstrip("⭐"), tuple(int(n) for n in size))
    sizes = {**SIZES, **sizes}
    with SHEET.open(encoding="utf-8", newline="") as file:
        known = {row["network"]: row for row in csv.DictReader(file)}
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["network", "definition", *AMOUNTS[:-2]])
    for name, build in sorted(networks().items()):
        if name not in sizes or (asked and name not in asked):
            continue
        model = build()
        if "rep" in name or "fastvit" in name:
            model = reparameterize_model(model)
        found = amounts(traced(model, *sizes[name][:2], meta=name not in {**YOLO, **YOLO_5}))
        out.writerow([name, "public", *found.values()])
        apart = [key for key, value in found.items() if float(known[name][key]) != value] if name in known else ["new"]
        if apart:
            print(f"{name} ({known.get(name, {}).get('definition')}): other {', '.join(apart)}", file=sys.stderr)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
