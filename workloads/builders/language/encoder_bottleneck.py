"""MobileBERT (Sun et al. 2020, arXiv 2004.02984): narrow layers between linear bottlenecks, several feed-forward parts.

It reads trigrams of narrow embeddings, and its normalisations are a scale and a shift without statistics
(section 3.3), which runtimes fuse.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from workloads.builders.chain import Chain, Step
from workloads.builders.knobs import size
from workloads.builders.language.encoder import Encoder
from workloads.graph import BLOCK_INPUT, Block

SCALE_FLOP = 2.0
"""Per element: one multiply, one add."""


@dataclass(frozen=True)
class BottleneckEncoder(Encoder):
    """An encoder whose layers work on `narrow` features between a projection in and one out.

    `ffns` feed-forward parts of `inter` hidden features stand in each layer; queries and keys read a projection that
    they share, values the wide stream (`key_query_shared_bottleneck` of the authors' code).
    """

    family: ClassVar[str] = "encoder-bottleneck"

    narrow: int = size(128)
    ffns: int = size(4, high=1000)

    def embedding(self, step: Step) -> Block:
        chain = Chain(step)
        width = self.embed_hidden or self.hidden
        shape = {"rows": step.tokens, "hidden": width}
        stored = float(self.vocab * width)
        looked = chain.add("embed", "embedding", shape, inputs=(BLOCK_INPUT,), parameters=stored, shard="vocab")
        chain.pointwise("trigram", 3 * width, 0.0, op="copy", shard="", inputs=(looked,))
        projected = chain.gemm("embed_project", self.hidden, 3 * width, bias=True)
        tables = {"position": self.position_rows or self.max_context, "type": self.types}
        wide = {"rows": step.tokens, "hidden": self.hidden}
        found = [
            chain.add(name, "embedding", wide, inputs=(BLOCK_INPUT,), parameters=float(rows * self.hidden))
            for name, rows in tables.items()
        ]
        chain.pointwise("add", self.hidden, 2.0, operands=3, shard="", inputs=(projected, *found))
        self._scale(chain, "embed_norm", self.hidden)
        return Block("embed", tuple(chain.operators))

    def layer(self, _: Any, chain: Chain) -> None:
        step, entry, narrow, head = chain.step, chain.last, self.narrow, self.narrow // self.heads
        shared = self._projection(chain, "shared_bottleneck", narrow, self.hidden)
        carried = self._projection(chain, "input_bottleneck", narrow, self.hidden, inputs=(entry,))
        chain.gemm("qk", 2 * narrow, narrow, shard="column", bias=True, inputs=(shared,))
        chain.gemm("v", narrow, self.hidden, shard="column", bias=True, inputs=(entry,))
        shape = {
            "batch": step.batch, "q_len": step.q_len, "kv_len": step.kv_len, "heads": self.heads, "head_dim": head,
            "causal": 0,
        }  # fmt: skip
        chain.add("attention", "attention", shape, dtype=step.attention, inputs=("qk", "v"), shard="heads")
        chain.gemm("o", narrow, narrow, shard="row", bias=True)
        stream = self._add(chain, "mixer_norm", narrow, carried)
        for i in range(self.ffns):
            chain.gemm(f"{i}.up", self.inter, narrow, shard="column", bias=True)
            chain.pointwise(f"{i}.act", self.inter, 1.0, fused=True)
            chain.gemm(f"{i}.down", narrow, self.inter, shard="row", bias=True)
            stream = self._add(chain, f"{i}.norm", narrow, stream)
        chain.gemm("output_bottleneck", self.hidden, narrow, bias=True)
        self._add(chain, "output_norm", self.hidden, entry)

    def _projection(self, chain: Chain, name: str, n: int, k: int, inputs: tuple[str, ...] = ()) -> str:
        chain.gemm(name, n, k, bias=True, inputs=inputs)
        return self._scale(chain, f"{name}_norm", n)

    def _scale(self, chain: Chain, name: str, width: int) -> str:
        return chain.pointwise(name, width, SCALE_FLOP, shard="", parameters=2.0 * width, fused=True)

    def _add(self, chain: Chain, name: str, width: int, other: str) -> str:
        inputs = (chain.last, other)
        return chain.pointwise(name, width, SCALE_FLOP + 1, operands=2, shard="", inputs=inputs, parameters=2.0 * width)
