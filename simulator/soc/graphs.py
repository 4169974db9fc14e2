"""Task graphs of one frame: kernels, the operations of each, and the bytes that it hands on.

After the three workloads of FARSI (Boroujerdian et al., ACM TECS 2023): an audio decoder (ILLIXR's ambisonics), CAVA (a
camera pipeline) and edge detection, whose kernels these are. Operations and bytes follow from the size of a frame and
the kernels' arithmetic (a 3 x 3 filter is 17 operations a pixel, an FFT of n points 5 n log2 n); all are estimated,
0.5 to 2 times as stated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from foundation.errors import UnknownNameError

CLASSES = ("control", "stencil", "transform", "matrix")
"""What a kernel is like: `control` runs on cores alone, the others have an accelerator each that may be built in."""


@dataclass(frozen=True)
class Task:
    """A kernel of `operations` that reads what the tasks `after` hand it, and hands on `out_bytes`."""

    name: str
    kind: str
    operations: float
    out_bytes: float
    after: tuple[str, ...] = ()


def _fft(points: int, times: int) -> float:
    return 5.0 * points * math.log2(points) * times


_PIXELS = 1280 * 720
_SAMPLES, _CHANNELS, _EARS = 1024, 16, 2
GRAPHS: dict[str, tuple[Task, ...]] = {
    "audio-decoder": (
        Task("read", "control", 4.0 * _SAMPLES * _CHANNELS, 4.0 * _SAMPLES * _CHANNELS),
        Task("psychoacoustic", "transform", 2 * _fft(2 * _SAMPLES, _CHANNELS), 4.0 * _SAMPLES * _CHANNELS, ("read",)),
        Task("pose", "control", 5e4, 512.0),
        Task("rotation-matrix", "control", 4e4, 4.0 * _CHANNELS**2, ("pose",)),
        Task("rotate", "matrix", 2.0 * _SAMPLES * _CHANNELS**2, 4.0 * _SAMPLES * _CHANNELS,
             ("psychoacoustic", "rotation-matrix")),
        Task("zoom", "matrix", 2.0 * _SAMPLES * _CHANNELS * 4, 4.0 * _SAMPLES * _CHANNELS, ("rotate",)),
        Task("left", "transform", 2 * _fft(2 * _SAMPLES, _CHANNELS), 4.0 * _SAMPLES, ("zoom",)),
        Task("right", "transform", 2 * _fft(2 * _SAMPLES, _CHANNELS), 4.0 * _SAMPLES, ("zoom",)),
        Task("mix", "control", 8.0 * _SAMPLES * _EARS, 4.0 * _SAMPLES * _EARS, ("left", "right")),
    ),
    "cava": (
        Task("scale", "stencil", 4.0 * _PIXELS, 3.0 * _PIXELS),
        Task("demosaic", "stencil", 24.0 * _PIXELS, 3.0 * _PIXELS, ("scale",)),
        Task("denoise", "stencil", 3 * 30.0 * _PIXELS, 3.0 * _PIXELS, ("demosaic",)),
        Task("white-balance", "matrix", 3 * 2.0 * _PIXELS, 3.0 * _PIXELS, ("denoise",)),
        Task("statistics", "control", 2.0 * _PIXELS / 16, 4096.0, ("demosaic",)),
        Task("gamut", "matrix", 3 * 24.0 * _PIXELS, 3.0 * _PIXELS, ("white-balance", "statistics")),
        Task("tone", "stencil", 3 * 4.0 * _PIXELS, 3.0 * _PIXELS, ("gamut",)),
        Task("show", "control", 0.25 * _PIXELS, 3.0 * _PIXELS, ("tone",)),
    ),
    "edge-detection": (
        Task("grey", "matrix", 5.0 * _PIXELS, 1.0 * _PIXELS),
        Task("smooth", "stencil", 17.0 * _PIXELS, 1.0 * _PIXELS, ("grey",)),
        Task("gradient-x", "stencil", 17.0 * _PIXELS, 2.0 * _PIXELS, ("smooth",)),
        Task("gradient-y", "stencil", 17.0 * _PIXELS, 2.0 * _PIXELS, ("smooth",)),
        Task("magnitude", "matrix", 4.0 * _PIXELS, 2.0 * _PIXELS, ("gradient-x", "gradient-y")),
        Task("suppress", "stencil", 9.0 * _PIXELS, 1.0 * _PIXELS, ("magnitude",)),
        Task("threshold", "control", 0.5 * _PIXELS, 1.0 * _PIXELS, ("suppress",)),
        Task("link", "control", 0.5 * _PIXELS, 1.0 * _PIXELS, ("threshold",)),
    ),
}  # fmt: skip


def find_graph(name: str) -> tuple[Task, ...]:
    """Return the tasks of a graph, each after those that it waits for. Raises UnknownNameError."""
    if name not in GRAPHS:
        raise UnknownNameError("task graph", name, GRAPHS, f"Known: {', '.join(GRAPHS)}.")
    return GRAPHS[name]
