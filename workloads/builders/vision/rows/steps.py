"""The layers of a row that is written as steps."""

from __future__ import annotations

from collections.abc import Sequence

from foundation.errors import BadValueError
from workloads.builders.vision.layers import Layers
from workloads.builders.vision.rows.modules import Style
from workloads.builders.vision.rows.notation import Step

Branch = Sequence[Sequence[Step]]


def draw_steps(x: Layers, branches: Sequence[Branch], style: Style, classes: int) -> None:
    """Append the branches, all of which read one map, and join their results."""
    entry, ends = x.here, []
    for number, branch in enumerate(branches, start=1):
        x.back_to(entry)
        prefix = f"branch{number}." if len(branches) > 1 else ""
        for place, fork in enumerate(branch, start=1):
            start, ends_here = x.here, []
            for way, step in enumerate(fork, start=1):
                x.back_to(start)
                draw_step(x, f"{prefix}{step.kind}{place}{f'.{way}' if len(fork) > 1 else ''}", step, style, classes)
                ends_here.append(x.here)
            if place < len(branch) and len(fork) > 1:
                x.concat(f"{prefix}join{place}", ends_here)
                ends_here = [x.here]
        ends += ends_here
    if len({(end.height, end.width) for end in ends}) > 1:
        raise BadValueError(f"Branches of a row end in maps of other sizes: {[tuple(end[1:]) for end in ends]}.")
    if len(ends) > 1:
        x.concat("join.out", ends)


def draw_step(x: Layers, name: str, step: Step, style: Style, classes: int) -> None:
    """Append one layer."""
    if step.kind in ("conv", "d"):
        _convolution(x, name, step, style)
    elif step.kind in ("m", "a"):
        kernel = step.numbers[0]
        x.pool(name, kernel, step.stride, max(0, step.padding), ceil="c" in step.flags)
    elif step.kind == "t":
        _transposed(x, name, step.numbers[0])
    elif step.kind == "fit":
        _fit(x, name, step.numbers[0])
    elif step.kind == "flat":
        x.channels, x.height, x.width = x.channels * x.height * x.width, 1, 1
    elif step.kind == "fc":
        normed = "v" in step.flags
        act = style.act if step.flags else ""
        last = not step.numbers
        features = classes if last else step.numbers[0]
        x.dense(name, features, batch_norm=normed, act=act, shard="logits" if last else "")
    elif step.kind == "up":
        x.resize(name, step.numbers[0])
    else:
        x.average(name)


def _convolution(x: Layers, name: str, step: Step, style: Style) -> None:
    depthwise = step.kind == "d"
    channels = x.channels if depthwise else step.numbers[0]
    high, wide = (step.numbers[0],) * 2 if depthwise else (step.numbers[1], step.numbers[-1])
    plain = "b" in step.flags
    if x.channels % step.groups or channels % step.groups:
        raise BadValueError(
            f"A row has {step.groups} groups, which do not divide {x.channels} and {channels} channels."
        )
    x.conv(
        name, channels, high if high == wide else (high, wide), stride=step.stride,
        padding=None if step.padding < 0 else step.padding, groups=channels if depthwise else step.groups,
        act="" if "n" in step.flags else style.act, bias=int(plain or style.bias),
        batch_norm=style.batch_norm and not plain,
    )  # fmt: skip


def _transposed(x: Layers, name: str, channels: int) -> None:
    """Append a transposed convolution, window and stride 2: each pixel makes four, so a 1x1 one of 4 x channels."""
    x.conv(name, 4 * channels, 1, batch_norm=False)
    x.channels, x.height, x.width = channels, 2 * x.height, 2 * x.width
    x.fused(f"{name}.bias", "elementwise", 1.0, parameters=float(channels))


def _fit(x: Layers, name: str, side: int) -> None:
    """Append an average that leaves `side` x `side` pixels (a map of that size is left alone)."""
    if (x.height, x.width) != (side, side):
        reads = x.height * x.width / side**2
        x.height = x.width = side
        shape = {"rows": side**2, "hidden": x.channels, "operands": reads, "flop_per_element": reads}
        x.add(name, "elementwise", shape)
