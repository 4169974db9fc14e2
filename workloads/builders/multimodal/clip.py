"""Image-text models with two towers and one space (CLIP, Radford et al. 2021; SigLIP, Zhai et al. 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from foundation.errors import BadValueError
from workloads.builders.chain import Chain, request_sizes
from workloads.builders.knobs import choice, size
from workloads.builders.multimodal.joined import TOWER, JoinedModel, named, one_step, projection, titled, tower_width
from workloads.builders.one_pass import one_pass
from workloads.graph import BLOCK_INPUT, Block, Size, Workload, WorkloadGraph
from workloads.model import Model, Request

PROJECTIONS = ("none", "plain", "bias")


@dataclass(frozen=True)
class Clip(JoinedModel):
    """One image and `texts` texts of `prompt` tokens a request, and the scores between all of a batch.

    Attributes:
        texts: texts an image; 0: they were embedded before (image tower alone).
        embed: features of the space that they share.
        vision_projection, text_projection: the last layer of a tower; `none`: the tower ends in the space.
        scalars: learned numbers of the loss that are stored (temperature; SigLIP: a bias too).
    """

    family: ClassVar[str] = "clip"

    vision: Model = field(default=named("vit"), metadata=TOWER)
    text: Model = field(default=named("encoder"), metadata=TOWER)
    texts: int = size(1, low=0, high=1_000_000)
    embed: int = size(512)
    vision_projection: str = choice("plain", PROJECTIONS)
    text_projection: str = choice("plain", PROJECTIONS)
    scalars: int = size(1, low=0, high=10)

    def check(self) -> None:
        for name in self.towers():
            if getattr(self, f"{name}_projection") != "none":
                tower_width(getattr(self, name), self.name)
        if self.vision.defaults["prompt"]:
            raise BadValueError(f"'{self.vision.name}' takes tokens, not images; name an image network as vision.")

    @property
    def defaults(self) -> Mapping[str, Any]:
        dtype = self.vision.defaults["dtype"]
        return {"prompt": self.text.defaults["prompt"], "generate": 0, "dtype": dtype}

    def workload(self, request: Request) -> Workload:
        """Return one forward pass over images and texts, or a training step. Raises BadValueError."""
        sizes = request_sizes(request, self.defaults)
        dtype = request.dtype or self.defaults["dtype"]
        images = self.vision.workload(Request(batch=sizes.batch, dtype=request.dtype))
        said = self.text.workload(Request(batch=sizes.batch * max(self.texts, 1), prompt=sizes.prompt, dtype=dtype))
        seen = (*titled(images.graph.blocks, "vision"), *self._projection("vision", sizes.batch, dtype))
        rows = sizes.batch * max(self.texts, 1)
        read = (*titled(said.graph.blocks, "text"), *self._projection("text", rows, dtype))
        scores = self._scores(sizes.batch, rows, dtype)
        # texts first: training wants a look-up, which has no gradient to pass on, before all else
        blocks = (*read, *seen, scores) if self.texts else (*seen, scores)
        graph = WorkloadGraph(self.name, blocks, boundary_elements=images.graph.boundary_elements)
        notes = self.notes + said.notes
        built = one_pass(self.name, graph, sizes.batch, request, tokens_in=sizes.prompt, notes=notes)
        return built if self.texts else replace(built, stored=(*seen, *read, scores))

    def _projection(self, name: str, rows: Size, dtype: str) -> tuple[Block, ...]:
        kind = getattr(self, f"{name}_projection")
        if kind == "none":
            return ()
        width = tower_width(getattr(self, name), self.name)
        return (projection(f"{name}.projection", rows, self.embed, width, dtype, bias=kind == "bias"),)

    def _scores(self, images: Size, texts: Size, dtype: str) -> Block:
        """Return the normalised embeddings' products, each image of the batch with each text."""
        chain = Chain(one_step(images, 1, dtype))
        stored = float(self.scalars)
        chain.pointwise("image_length", self.embed, 3.0, op="norm", shard="", parameters=stored)
        chain.pointwise("text_length", self.embed, 3.0, op="norm", rows=texts, shard="", inputs=(BLOCK_INPUT,))
        shape = {"m": images, "n": texts, "k": self.embed}
        chain.add("scores", "gemm", shape, inputs=("image_length", "text_length"))
        return Block("scores", tuple(chain.operators))
