"""The families of networks: which builder makes each, and what an architecture file may state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from workloads.model import Model

FAMILIES: dict[str, str] = {
    "decoder": "workloads.builders.language.decoder:Decoder",
    "encoder": "workloads.builders.language.encoder:Encoder",
    "encoder-bottleneck": "workloads.builders.language.encoder_bottleneck:BottleneckEncoder",
    "encoder-decoder": "workloads.builders.language.encoder_decoder:EncoderDecoder",
    "speech": "workloads.builders.multimodal.speech:Speech",
    "clip": "workloads.builders.multimodal.clip:Clip",
    "vision-language": "workloads.builders.multimodal.vision_language:VisionLanguage",
    "patch-tower": "workloads.builders.multimodal.patch_tower:PatchTower",
    "vit": "workloads.builders.vision.vit:VisionTransformer",
    "vision-stages": "workloads.builders.vision.staged.network:StagedNetwork",
    "resnet": "workloads.builders.vision.resnet:ResNet",
    "fbnet": "workloads.builders.search.chains:FBNet",
    "nas-bench-201": "workloads.builders.search.cells:CellNetwork",
    "once-for-all": "workloads.builders.search.chains:OnceForAll",
    "diffusion-unet": "workloads.builders.generative.unet:UNetDiffusion",
    "diffusion-transformer": "workloads.builders.generative.transformer:TransformerDiffusion",
    "graph-network": "workloads.builders.graph.network:GraphNetwork",
    "mobilenet": "workloads.builders.vision.mobilenet:MobileNet",
    "regnet": "workloads.builders.vision.regnet:RegNet",
    "vgg": "workloads.builders.vision.vgg:Vgg",
    "convnext": "workloads.builders.vision.convnext:ConvNext",
    "preact": "workloads.builders.vision.preact:PreActivation",
    "conv-mixers": "workloads.builders.vision.mixers:ConvMixers",
    "aggregation": "workloads.builders.vision.aggregation:Aggregation",
    "densenet": "workloads.builders.vision.densenet:DenseNet",
    "csp": "workloads.builders.vision.csp:CrossStage",
    "rexnet": "workloads.builders.vision.rexnet:ReXNet",
    "ghostnet": "workloads.builders.vision.ghostnet:GhostNet",
    "hrnet": "workloads.builders.vision.hrnet:HighResolution",
    "dual-path": "workloads.builders.vision.dualpath:DualPath",
    "dla": "workloads.builders.vision.dla:LayerAggregation",
    "xception": "workloads.builders.vision.xception:Xception",
    "merged": "workloads.builders.vision.merged:Merged",
    "rows": "workloads.builders.vision.rows.network:RowNetwork",
    "efficientmod": "workloads.builders.vision.modulation:EfficientMod",
}
"""Builder of each family, imported when it is needed. A builder has `from_knobs(name, knobs, notes)`."""

FACTS = ("family", "name", "aliases", "source", "notes", "published_parameters", "published_active_parameters",
         "published_macs", "published_kv_bytes_per_token", "published_source", "timm", "timm_counts", "knobs",
         "variants")  # fmt: skip
"""Keys of an architecture file. `timm` is the name of the network in that library's tables; `timm_counts`
is `no-attention` where its MACs leave out the attention products (its counter does not see fused kernels), and
`standardised-4` or `-5` where they hold so many operations a weight for the standardisation of filters, and
`no-depthwise` where they leave out depthwise convolutions."""

VARIANT_FACTS = tuple(key for key in FACTS if key not in ("family", "name", "variants"))
"""Keys of one of `variants`; what it states stands before what the file states, knob by knob."""


def build(family: str, name: str, knobs: Mapping[str, Any], notes: Sequence[str] = ()) -> Model:
    """Return a model of one of `FAMILIES`; its builder is imported now. Raises UnknownNameError, BadValueError."""
    module, _, builder = FAMILIES[family].partition(":")
    model: Model = getattr(import_module(module), builder).from_knobs(name, knobs, tuple(notes))
    return model
