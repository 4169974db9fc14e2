"""Vision-language models: an image tower, a projector, then a language model over visual and text tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from foundation.errors import BadValueError
from workloads.builders.chain import GELU_FLOP, Chain, request_sizes
from workloads.builders.knobs import choice, size, switch
from workloads.builders.multimodal.joined import TOWER, JoinedModel, named, one_step, titled, tower_width
from workloads.graph import BLOCK_INPUT, Block, Pass, Size, Workload
from workloads.model import Model, Request
from workloads.table import Array


@dataclass(frozen=True)
class VisionLanguage(JoinedModel):
    """`vision` sees `images` images a request once, in prefill; `text` reads their tokens before the prompt.

    `prompt` counts text tokens alone. Knobs of the towers are `vision.KNOB` and `text.KNOB`.

    Attributes:
        tiles: crops of an image that the tower sees one by one (LLaVA-NeXT: four and the whole).
        visual_tokens: tokens of an image that reach the language model (0: as the tower yields them, merged): tower
            and projector run in full, then tokens are pruned or line ends added.
        merge: patches a side that are joined into one token.
        projector_layers: dense layers with GELU between tower and language model (0: widths agree).
        projector_inter: hidden features of the projector (0: the language model's).
        projector_norm: a normalisation of each patch (`rms`, `layer`), or of joined patches (`merged`).
        deep_mergers: further projectors, whose tokens are added in the first layers of the language model (Qwen3-VL,
            DeepStack, arXiv 2406.04334).
        newline: a learned token that ends a line of patches (LLaVA-NeXT).
        second_table: the visual embedding stores a table of text embeddings of its own (HoVLE, arXiv 2412.16158).
    """

    family: ClassVar[str] = "vision-language"

    vision: Model = field(default=named("vit"), metadata=TOWER)
    text: Model = field(default=named("decoder"), metadata=TOWER)
    images: int = size(1, low=0, high=100_000)
    tiles: int = size(1, high=10_000)
    visual_tokens: int = size(0, low=0)
    merge: int = size(1, high=100)
    projector_layers: int = size(2, low=0, high=2)
    projector_inter: int = size(0, low=0)
    projector_norm: str = choice("none", ("none", "rms", "layer", "merged"))
    deep_mergers: int = size(0, low=0, high=1000)
    newline: bool = switch(False)
    second_table: bool = switch(False)

    def check(self) -> None:
        wide, narrow = tower_width(self.vision, self.name) * self.merge**2, tower_width(self.text, self.name)
        if not self.projector_layers and wide != narrow:
            raise BadValueError(
                f"projector_layers=0 needs towers of one width, but the tokens have {wide} features for {narrow}."
            )
        if "generate" not in self.text.defaults or not self.text.defaults["generate"]:
            raise BadValueError(f"'{self.text.name}' generates no tokens; the text tower must be a decoder.")
        if self._patches % self.merge**2:
            raise BadValueError(
                f"{self._patches} patches of an image do not divide into squares of merge={self.merge}."
            )

    @property
    def defaults(self) -> Mapping[str, Any]:
        own = self.text.defaults
        return {"prompt": min(128, own["prompt"]), "generate": own["generate"], "dtype": own["dtype"]}

    @property
    def image_tokens(self) -> int:
        """Tokens of one image that the language model reads."""
        return self.visual_tokens or self.tiles * self._patches // self.merge**2

    def workload(self, request: Request) -> Workload:
        """Return prefill (images, then visual and text tokens) and decode; or a training step of all of it."""
        sizes = request_sizes(request, self.defaults)
        total = sizes.prompt + self.images * self.image_tokens
        whole = replace(request, batch=sizes.batch, prompt=total, generate=sizes.generate)
        built = self.text.workload(whole)
        seen = self._vision_blocks(sizes.batch, request.dtype)
        graph = built.passes[0].graph
        # look-ups first: they have no gradient to pass on, so that training wants them before all else
        blocks = (graph.blocks[0], *seen, *graph.blocks[1:]) if self.images else graph.blocks
        first = replace(built.passes[0], graph=replace(graph, name=self.name, blocks=blocks))
        notes = self.notes + built.notes
        if request.mode == "train":
            return self._training(first, sizes.batch, total, notes)
        stored = (*seen, *built.distinct_blocks())
        passes = (first, *built.passes[1:])
        return replace(built, name=self.name, passes=passes, tokens_in=sizes.prompt, notes=notes, stored=stored)

    def _training(self, forward: Pass, batch: Array, tokens: Size, notes: tuple[str, ...]) -> Workload:
        from workloads.training import training_workload

        return training_workload(forward, name=self.name, batch=batch, tokens_in=tokens, notes=notes)

    @property
    def _patches(self) -> int:
        patches = getattr(self.vision, "patches", 0)
        if not isinstance(patches, int) or patches < 1:
            raise BadValueError(f"'{self.vision.name}' does not say how many patches an image has; name a vit.")
        return patches

    def _vision_blocks(self, batch: Array, dtype: str) -> tuple[Block, ...]:
        crops = batch * (max(self.images, 1) * self.tiles)
        seen = self.vision.workload(Request(batch=crops, dtype=dtype)).graph
        return (*titled(seen.blocks, "vision"), self._projector(crops, dtype or self.text.defaults["dtype"]))

    def _projector(self, crops: Size, dtype: str) -> Block:
        """Return the block from patches to tokens of the language model."""
        tokens = self._patches // self.merge**2
        chain = Chain(one_step(crops, tokens, dtype))
        extra = self.newline + getattr(self.text, "vocab", 0) * self.second_table
        for i in range(1 + self.deep_mergers):
            chain.prefix = f"{i}." if i else ""
            self._dense(chain, merged=i > 0)
        kept = np.asarray(crops / self.tiles) * self.image_tokens
        hidden = tower_width(self.text, self.name)
        # visual tokens take the places that the prompt keeps for them
        chain.prefix = ""
        chain.pointwise("place", hidden, 0.0, op="copy", rows=kept, shard="", parameters=float(extra * hidden))
        return Block("projector", tuple(chain.operators))

    def _dense(self, chain: Chain, *, merged: bool) -> None:
        """Append one projector; what it reads is the tower's output (`merged`: with a norm of joined patches)."""
        width, hidden = tower_width(self.vision, self.name), tower_width(self.text, self.name)
        joined, inter = width * self.merge**2, self.projector_inter or hidden
        chain.last = BLOCK_INPUT
        if self.projector_norm in ("rms", "layer") and not merged:
            rows = chain.step.tokens * self.merge**2
            chain.norm("norm", self.projector_norm, width, residual=False, rows=rows)
        elif self.projector_norm != "none":
            chain.norm("norm", "layer", joined, residual=False)
        if self.projector_layers == 1:
            chain.gemm("fc", hidden, joined, bias=True, shard="")
        elif self.projector_layers == 2:
            chain.gemm("fc1", inter, joined, bias=True, shard="column")
            chain.pointwise("gelu", inter, GELU_FLOP, fused=True)
            chain.gemm("fc2", hidden, inter, bias=True, shard="row")
        if merged:
            chain.pointwise("add", hidden, 1.0, operands=2, shard="")
