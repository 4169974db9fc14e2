"""The families of networks: which builder makes each, and what an architecture file may state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from workloads.model import Model

FAMILIES: dict[str, str] = {
    "decoder": "workloads.builders.decoder:Decoder",
    "encoder": "workloads.builders.encoder:Encoder",
    "encoder-bottleneck": "workloads.builders.encoder_bottleneck:BottleneckEncoder",
    "encoder-decoder": "workloads.builders.encoder_decoder:EncoderDecoder",
    "speech": "workloads.builders.speech:Speech",
    "clip": "workloads.builders.clip:Clip",
    "vision-language": "workloads.builders.vision_language:VisionLanguage",
    "patch-tower": "workloads.builders.vision_windows:PatchTower",
    "vit": "workloads.builders.vision_vit:VisionTransformer",
    "vision-stages": "workloads.builders.vision_staged:StagedNetwork",
    "resnet": "workloads.builders.vision_resnet:ResNet",
    "fbnet": "workloads.builders.search_chains:FBNet",
    "nas-bench-201": "workloads.builders.search_cells:CellNetwork",
    "once-for-all": "workloads.builders.search_chains:OnceForAll",
    "diffusion-unet": "workloads.builders.diffusion_unet:UNetDiffusion",
    "diffusion-transformer": "workloads.builders.diffusion_transformer:TransformerDiffusion",
    "graph-network": "workloads.builders.graph_network:GraphNetwork",
    "mobilenet": "workloads.builders.vision_mobilenet:MobileNet",
    "regnet": "workloads.builders.vision_regnet:RegNet",
    "vgg": "workloads.builders.vision_vgg:Vgg",
    "convnext": "workloads.builders.vision_convnext:ConvNext",
    "preact": "workloads.builders.vision_preact:PreActivation",
    "conv-mixers": "workloads.builders.vision_mixers:ConvMixers",
    "aggregation": "workloads.builders.vision_aggregation:Aggregation",
    "densenet": "workloads.builders.vision_densenet:DenseNet",
    "csp": "workloads.builders.vision_csp:CrossStage",
    "rexnet": "workloads.builders.vision_rexnet:ReXNet",
    "ghostnet": "workloads.builders.vision_ghostnet:GhostNet",
    "hrnet": "workloads.builders.vision_hrnet:HighResolution",
    "dual-path": "workloads.builders.vision_dualpath:DualPath",
    "dla": "workloads.builders.vision_dla:LayerAggregation",
    "xception": "workloads.builders.vision_xception:Xception",
    "merged": "workloads.builders.vision_merged:Merged",
    "efficientmod": "workloads.builders.vision_modulation:EfficientMod",
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
