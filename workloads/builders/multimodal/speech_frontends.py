"""What turns sound into tokens: convolutions over mel frames (Whisper, Conformer) or over samples (wav2vec 2.0).

A 1-D convolution is a `conv2d` over maps of height 1. The spectrogram itself is made on the host and not counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from workloads.builders.chain import GELU_FLOP, Chain, Step
from workloads.graph import BLOCK_INPUT, Block, Size

if TYPE_CHECKING:
    from workloads.builders.multimodal.speech import Speech

FRAMES_PER_S, SAMPLES_PER_S = 100, 16_000
"""Mel frames a second (a hop of 10 ms), samples a second."""
WAVE_LAYERS = ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2))
"""(kernel, stride) of the convolutions over samples (wav2vec 2.0, Baevski et al. 2020, section 4.2)."""
WAVE_CHANNELS = 512
PLACE_KERNEL, PLACE_GROUPS = 128, 16
"""Kernel and groups of the convolution that stands for positions (same section)."""
SUBSAMPLING_CHANNELS = 256
"""Channels of the convolutions before a FastConformer (Rekesh et al. 2023, arXiv 2305.05084, section 2)."""


def conv1d(
    chain: Chain, name: str, c_in: int, c_out: int, width: Size, kernel: int, *, stride: int = 1, groups: int = 1,
    bias: bool = True, out: int = 0, extra: float = 0.0,
) -> str:  # fmt: skip
    """Append a 1-D convolution over `width` places, `out` of which come out (0: as many); `extra` stored elements."""
    shape = {
        "batch": chain.step.batch, "c_in": c_in, "h": 1, "w": width, "c_out": c_out, "kh": 1, "kw": kernel,
        "stride": stride, "groups": groups, "out_h": 1, "out_w": out or width,
    }  # fmt: skip
    stored = c_out * (c_in // groups * kernel + bias) + extra
    inputs = (chain.last,) if chain.operators else (BLOCK_INPUT,)
    return chain.add(name, "conv2d", shape, dtype=chain.step.dtype, inputs=inputs, parameters=float(stored))


def mel_tokens(seconds: float) -> int:
    return max(1, math.ceil(round(seconds * FRAMES_PER_S) / 2))


def mel_frontend(s: Speech, step: Step) -> Block:
    """Two convolutions, the second of stride 2, and positions from a table (Radford et al. 2022, section 2.2)."""
    chain, tokens = Chain(step), mel_tokens(s.seconds)
    frames = 2 * tokens
    conv1d(chain, "conv1", s.mels, s.hidden, frames, 3)
    chain.pointwise("gelu1", s.hidden, GELU_FLOP, rows=step.batch * frames, fused=True)
    conv1d(chain, "conv2", s.hidden, s.hidden, frames, 3, stride=2, out=tokens)
    chain.pointwise("gelu2", s.hidden, GELU_FLOP, fused=True)
    stored = float(mel_tokens(s.max_seconds) * s.hidden)
    chain.pointwise("position", s.hidden, 1.0, operands=2, shard="", parameters=stored)
    return Block("frontend", tuple(chain.operators))


def subsampled_tokens(seconds: float) -> int:
    frames = max(1, round(seconds * FRAMES_PER_S))
    for _ in range(3):
        frames = -(-frames // 2)
    return frames


def subsampling_frontend(s: Speech, step: Step) -> Block:
    """Three convolutions of stride 2 over time and frequency, two depthwise and pointwise; 8 frames a token."""
    chain, width = Chain(step), SUBSAMPLING_CHANNELS
    time, bands, c_in = max(1, round(s.seconds * FRAMES_PER_S)), s.mels, 1
    for i in range(3):
        shape = {
            "batch": step.batch, "c_in": c_in, "h": time, "w": bands, "c_out": width, "kh": 3, "kw": 3, "stride": 2,
            "padding": 1, "groups": c_in,
        }  # fmt: skip
        chain.add(f"{i}.conv", "conv2d", shape, dtype=step.dtype, parameters=width * 10.0)
        time, bands = -(-time // 2), -(-bands // 2)
        pixels = step.batch * (time * bands)
        if i:
            chain.gemm(f"{i}.pointwise", width, width, rows=pixels, bias=True)
        chain.pointwise(f"{i}.relu", width, 1.0, rows=pixels, fused=True)
        c_in = width
    chain.gemm("project", s.hidden, width * bands, bias=True)
    return Block("frontend", tuple(chain.operators))


def wave_tokens(seconds: float) -> int:
    length = round(seconds * SAMPLES_PER_S)
    for kernel, stride in WAVE_LAYERS:
        length = max(1, (length - kernel) // stride + 1)
    return length


def wave_frontend(s: Speech, step: Step) -> Block:
    """Seven convolutions over samples, a projection, and a convolution over the tokens that stands for positions.

    A model with normalisation after each part has one group normalisation after the first convolution; the others
    have a layer normalisation after each (Baevski et al. 2020, appendix; the large models of `fairseq`).
    """
    chain, length, c_in = Chain(step), max(1, round(s.seconds * SAMPLES_PER_S)), 1
    for i, (kernel, stride) in enumerate(WAVE_LAYERS):
        after = max(1, (length - kernel) // stride + 1)
        conv1d(chain, f"{i}.conv", c_in, WAVE_CHANNELS, length, kernel, stride=stride, bias=not s.post_norm, out=after)
        rows, length, c_in = step.batch * after, after, WAVE_CHANNELS
        if i == 0 or not s.post_norm:
            chain.norm(f"{i}.norm", "layer", WAVE_CHANNELS, residual=False, rows=rows)
        chain.pointwise(f"{i}.gelu", WAVE_CHANNELS, GELU_FLOP, rows=rows, fused=True)
    chain.norm("project_norm", "layer", WAVE_CHANNELS, residual=False)
    # the vector that stands for masked tokens in pretraining is stored with the projection
    chain.gemm("project", s.hidden, WAVE_CHANNELS, bias=True)
    projected = chain.pointwise("mask", s.hidden, 0.0, parameters=float(s.hidden), fused=True, shard="")
    # weight normalisation stores the length of each of the kernel's taps beside it
    conv1d(chain, "position", s.hidden, s.hidden, length, PLACE_KERNEL, groups=PLACE_GROUPS, extra=PLACE_KERNEL)
    chain.pointwise("position_gelu", s.hidden, GELU_FLOP, fused=True)
    chain.pointwise("position_add", s.hidden, 1.0, operands=2, shard="", inputs=(chain.last, projected))
    if s.post_norm:
        chain.norm("embed_norm", "layer", s.hidden, residual=False)
    return Block("frontend", tuple(chain.operators))


FRONTENDS: dict[str, tuple[Callable[[Speech, Step], Block], Callable[[float], int]]] = {
    "mel": (mel_frontend, mel_tokens), "subsampling": (subsampling_frontend, subsampled_tokens),
    "wave": (wave_frontend, wave_tokens),
}  # fmt: skip
"""Frontends by the name that the knob `frontend` uses: the block, and the tokens of so many seconds."""
