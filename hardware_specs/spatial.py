"""`Spatial`: the array of a device with its buffers, for the model of spatial arrays (docs/npu.md)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hardware_specs.figures import Figure, Spec, fault
from hardware_specs.units import Quantity

_SIZE = Quantity("B", 1, 1e12)
_RATE = Quantity("B/s", 1e5, 1e17)
Edge = Annotated[int, Field(strict=True, ge=1, le=10**5)]
OPERANDS = ("inputs", "weights", "outputs")


class Buffer(Spec):
    """A buffer: what it holds, and what it moves to and from the array. Of one core, but for the shared level."""

    capacity_bytes: Annotated[Figure, _SIZE]
    bandwidth_bytes_per_s: Annotated[Figure, _RATE]


class ElementArray(Spec):
    """Processing elements of one core and what stays in them, where the matrix unit has no `array` of its own."""

    rows: Edge
    cols: Edge
    dataflow: Literal["ws", "os", "is"]


_PLAIN: dict[str, bool | int] = {
    "double_buffered": True, "preload_hidden": True, "packs_groups": False, "skips_weights": False,
    "skips_inputs": False,
}  # fmt: skip
KNOWN_TO: dict[str, dict[str, bool | int]] = {
    "fixed": {}, "best": _PLAIN, "gemmini": {**_PLAIN, "kernel_on_rows": False, "sum_bits": 32},
}  # fmt: skip
"""By mapping, keys of which it knows one value only."""
GEMMINI_SIDES = (4, 64)
GEMMINI_BUS_BYTES = 16.0
GEMMINI_BUS_SHARE = 0.1
"""Where the law of Gemmini's library was fitted: arrays of 4 x 4 to 64 x 64, a bus of 16 bytes a cycle
(docs/gemmini.md); how far device memory's rate may be from it.
"""


class Spatial(Spec):
    """Buffers of each core (one each of `inputs`, `weights`, `outputs`, or `unified`), and how the array uses them.

    `array` is that of the matrix unit where it is not given; the cores are that unit's `count`. An operand without a
    buffer comes straight from the next level. `shared` lies between all cores and device memory. `skips_weights`,
    `skips_inputs`: whether zeros save cycles. `kernel_on_rows`, `packs_groups`: what shares the rows with input
    channels, see `costmodel.spatial.machine`. `sum_bits`: of a partial sum on chip. `mapping` says who tiles: the rule
    of `fixed_mapping`, the best of all tilings, or Gemmini's library; the last two know some keys at one value only
    (`KNOWN_TO`). `node_nm` is the array's where it is not the device's.
    """

    array: ElementArray | None = None
    inputs: Buffer | None = None
    weights: Buffer | None = None
    outputs: Buffer | None = None
    unified: Buffer | None = None
    shared: Buffer | None = None
    double_buffered: bool = True
    preload_hidden: bool = True
    packs_groups: bool = False
    kernel_on_rows: bool = True
    skips_weights: bool = False
    skips_inputs: bool = False
    dram_latency_s: Annotated[Figure, Quantity("s", 0, 1e-3)]
    issue_s: Annotated[Figure, Quantity("s", 0, 1e-2)]
    sum_bits: Annotated[int, Field(strict=True, ge=8, le=64)] = 32
    mapping: Literal["fixed", "best", "gemmini"] = "fixed"
    node_nm: Annotated[Figure | None, Quantity("nm", 0.5, 1e4)] = None

    @model_validator(mode="after")
    def _one_kind_of_buffers(self) -> Spatial:
        own = [name for name in OPERANDS if getattr(self, name) is not None]
        if self.unified is not None and own:
            raise fault(
                f"buffers are either unified or one each, not both (unified and {', '.join(own)}).", ("unified",)
            )
        if self.unified is None and not own:
            raise fault("no buffer is given: write 'unified', or 'inputs', 'weights' and 'outputs'.")
        return self

    @model_validator(mode="after")
    def _mapping_knows_the_keys(self) -> Spatial:
        """Refuse what a mapping would leave out without a word."""
        for key, known in KNOWN_TO[self.mapping].items():
            if getattr(self, key) != known:
                raise fault(
                    f"'mapping: {self.mapping}' knows only '{key}: {str(known).lower()}'; write that, or 'mapping: "
                    "fixed', which knows all.", (key,),
                )  # fmt: skip
        if self.mapping == "gemmini":
            if self.unified is not None or self.shared is not None:
                other = "unified" if self.unified is not None else "shared"
                raise fault(
                    "Gemmini's library tiles for 'inputs', 'weights' (its scratchpad) and 'outputs' (its accumulator) "
                    f"and nothing beyond them; leave '{other}' out, or write 'mapping: fixed'.", (other,),
                )  # fmt: skip
            for name in OPERANDS:
                if getattr(self, name) is None:
                    raise fault("'mapping: gemmini' needs this buffer; give it, or write 'mapping: fixed'.", (name,))
        return self
