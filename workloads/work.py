"""What an operator has to do: FLOP, bytes, and its matrix view. Closed forms, no hardware, vectorised over rows.

One multiply-add is 2 FLOP. Bytes are compulsory traffic: each operand read once, each result written once, scale
factors included. How often a device really moves them is the cost model's business.

The matrix view (m, n, k, batch) satisfies matrix_flop = 2 m n k batch for every family with matrix work, so tile
and array quantisation need one rule only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from foundation.errors import BadValueError
from foundation.formats import FORMATS
from workloads.elementwise import ONE, ZERO, Entries, Value, choose, larger, lesser, times
from workloads.table import KINDS, OPS, Array, OpTable

WEIGHT_BYTES = Entries(np.array([f.weight_bits / 8 for f in FORMATS.values()]))
ACTIVATION_BYTES = Entries(np.array([f.activation_bits / 8 for f in FORMATS.values()]))
OUTPUT_BYTES = Entries(np.array([f.output_bits / 8 for f in FORMATS.values()]))

NORM_FLOP = 7.0
"""LayerNorm per element: mean 1, subtract 1, square 1, add 1, scale by 1/sigma 1, gain 1, bias 1 (RMSNorm has 4)."""
SOFTMAX_FLOP = 5.0
"""Per element: max, subtract, exp, add, divide."""
SCAN_FLOP = 6.0
"""Selective scan per (token, channel, state): a*h, dt*b*x (2), add, c*h, add (Gu & Dao 2023, eq. 2)."""
INDEX_BYTES = 8.0


@dataclass(frozen=True)
class OpWork:
    """Work of each row; every field is broadcastable to (rows,): columns, or scalars where the table has them.

    weight_bytes are operands that the model stores (parameters and KV cache), input_bytes and output_bytes are
    activations; link_bytes is what one rank must send. m, n, k, gemms: the matrix view. exponentials are those of the
    vector work (also counted in vector_flop as one FLOP each): special functions run at a rate of their own.
    masked: tiles of m that masks leave partly empty beside each full one (attention), in tiles.
    """

    matrix_flop: Array
    vector_flop: Array
    weight_bytes: Array
    input_bytes: Array
    output_bytes: Array
    link_bytes: Array
    m: Array
    n: Array
    k: Array
    gemms: Array
    exponentials: Array
    masked: Array

    @property
    def flop(self) -> Array:
        return self.matrix_flop + self.vector_flop

    @property
    def macs(self) -> Array:
        """Multiply-accumulates of the matrix work."""
        return self.matrix_flop / 2

    @property
    def bytes_moved(self) -> Array:
        """Compulsory traffic in bytes."""
        return self.weight_bytes + self.input_bytes + self.output_bytes


FIELDS: tuple[str, ...] = tuple(OpWork.__dataclass_fields__)


def count_work(table: OpTable) -> OpWork:
    """Return the work of every row of one instance each (the repeat count is not applied)."""
    ops: Value = table["op"]
    if ops.__class__ is int:  # one row: numbers, also of families that count in columns
        work = _FAMILIES[OPS[ops]](table)
        return work if OPS[ops] not in _IN_COLUMNS else _plain(work)
    if ops.ndim == 0:
        return _FAMILIES[OPS[int(ops)]](table)
    present = np.flatnonzero(np.bincount(ops, minlength=len(OPS)))
    if len(present) == 1:
        return _FAMILIES[OPS[int(present[0])]](table)
    columns = {name: np.zeros(table.rows) for name in FIELDS}
    for code in present:
        where = np.flatnonzero(ops == code)
        part = _FAMILIES[OPS[int(code)]](table.take(where))
        for name in FIELDS:
            columns[name][where] = getattr(part, name)
    return OpWork(**columns)


_IN_COLUMNS = ("moe", "collective")


def _plain(work: OpWork) -> OpWork:
    """Return the work of one row with plain numbers in place of columns."""
    values = (getattr(work, name) for name in FIELDS)
    return OpWork(*(value.item() or ZERO if isinstance(value, np.ndarray) else value for value in values))


def _work(
    *, matrix: Array = ZERO, vector: Array = ZERO, weights: Array = ZERO, reads: Array = ZERO, writes: Array = ZERO,
    link: Array = ZERO, view: tuple[Array, Array, Array, Array] = (ZERO,) * 4, exponentials: Array = ZERO,
    masked: Array = ZERO,
) -> OpWork:  # fmt: skip
    return OpWork(matrix, vector, weights, reads, writes, link, *view, exponentials, masked)


def _gemm(t: OpTable) -> OpWork:
    m, n, k, batch, fmt = t["m"], t["n"], t["k"], t["batch"], t["dtype"]
    rows, nk = times(m, batch), n * k
    return _work(
        matrix=2.0 * rows * nk, weights=times(nk, batch) * WEIGHT_BYTES[fmt], reads=rows * k * ACTIVATION_BYTES[fmt],
        writes=rows * n * OUTPUT_BYTES[fmt], view=(m, n, k, batch),
    )  # fmt: skip


def attention_span(t: OpTable) -> tuple[Array, Array]:
    """Return (query-key pairs, keys touched) of one head of one sequence.

    Causal: query i of q sees the last min(window, kv - q + i + 1) keys. Otherwise each sees min(window, kv).
    """
    q = t["q_len"]
    kv = larger(choose(t["kv_len"] > 0, t["kv_len"], q), choose(t["causal"] > 0, q, ONE))
    window = choose(t["window"] > 0, lesser(t["window"], kv), kv)
    first = kv - q + 1
    growing = lesser(larger(window - first + 1, ZERO), q)
    causal = growing * (2 * first + growing - 1) / 2 + (q - growing) * window
    pairs = choose(t["causal"] > 0, causal, q * window)
    touched = lesser(kv, window + q - 1)
    return pairs * t["density"], choose(q > 1, touched, touched * t["density"])


def _pair_view(
    group: Array, pairs: Array, touched: Array, depth: Array, gemms: Array
) -> tuple[Array, Array, Array, Array]:  # fmt: skip
    """Return the matrix view of attention: all keys across, and as many queries as fill the pairs.

    Both edges grow with queries and with keys; queries x mean keys would not (more queries see fewer keys each).
    """
    return group * pairs / touched, touched, depth, gemms


TILE_QUERIES = 128.0
"""Queries that an attention kernel takes at a time (FlashAttention-3, Shah et al. 2024, section 3)."""


def _masked_tiles(t: OpTable) -> Value:
    """Return the tiles that a block of queries computes beyond its pairs, by head.

    A causal block computes its whole diagonal tile, half of it in vain. The window of a block of queries slides by a
    block from first to last query, and it ends inside tiles: one and a half in vain.
    """
    block = lesser((t["q_len"] - 1) / TILE_QUERIES, ONE)
    return block * choose(t["window"] > 0, 1.5, choose(t["causal"] > 0, 0.5, 0.0))


def _attention(t: OpTable) -> OpWork:
    batch, q, heads, d = t["batch"], t["q_len"], t["heads"], t["head_dim"]
    kv_heads = choose(t["kv_heads"] > 0, t["kv_heads"], heads)
    v_dim = choose(t["v_dim"] > 0, t["v_dim"], d)
    pairs, touched = attention_span(t)
    kv_format = t["kv_dtype"] if "kv_dtype" in t.columns else t["dtype"]
    both = d + v_dim
    return _work(
        matrix=2.0 * pairs * heads * batch * both,
        vector=SOFTMAX_FLOP * pairs * heads * batch,
        weights=batch * touched * kv_heads * both * WEIGHT_BYTES[kv_format],
        reads=batch * q * heads * d * ACTIVATION_BYTES[t["dtype"]],
        writes=batch * q * heads * v_dim * OUTPUT_BYTES[t["dtype"]],
        view=_pair_view(heads / kv_heads, pairs, touched, both, batch * kv_heads),
        exponentials=pairs * heads * batch,
        masked=heads / kv_heads * _masked_tiles(t),
    )


def _mla(t: OpTable) -> OpWork:
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1).

    Decode runs absorbed: queries of size kv_rank + rope against the latent. Prefill expands keys and values to
    head_dim + rope and head_dim. The cache holds kv_rank + rope_dim per token either way.
    """
    batch, q, heads, rank, rope = t["batch"], t["q_len"], t["heads"], t["kv_rank"], t["rope_dim"]
    head = choose(t["head_dim"] > 0, t["head_dim"], 128)
    decode = t["phase"] == 2
    pairs, touched = attention_span(t)
    both = choose(decode, 2 * rank + rope, 2 * head + rope)
    kv_format = t["kv_dtype"] if "kv_dtype" in t.columns else t["dtype"]
    shared = choose(decode, 1, heads)  # absorbed: all heads read one latent
    return _work(
        matrix=2.0 * pairs * heads * batch * both,
        vector=SOFTMAX_FLOP * pairs * heads * batch,
        weights=batch * touched * (rank + rope) * WEIGHT_BYTES[kv_format],
        reads=batch * q * heads * choose(decode, rank + rope, head + rope) * ACTIVATION_BYTES[t["dtype"]],
        writes=batch * q * heads * choose(decode, rank, head) * OUTPUT_BYTES[t["dtype"]],
        view=_pair_view(heads / shared, pairs, touched, both, batch * shared),
        exponentials=pairs * heads * batch,
        masked=heads / shared * _masked_tiles(t),
    )


MAX_EXPERTS = 1_000_000
_LOAD_CELLS = 500_000
"""Rows x experts evaluated at a time."""


def expert_load(t: OpTable) -> tuple[Array, Array]:
    """Return (token rows, distinct experts hit) on the busiest of the `ep` devices.

    Loads follow p_i ~ i^-skew (0 = uniform). Experts are dealt so that devices are as even as the largest expert
    allows: the busiest has max(1/ep, p_1) of the rows. A token picks an expert with probability min(1, topk p_i),
    independently of other tokens, so an expert is hit with probability 1 - (1 - topk p_i)^tokens.
    """
    tokens, experts, topk, ep = (np.atleast_1d(t.full(c)) for c in ("tokens", "experts", "topk", "ep"))
    skew = np.atleast_1d(t.full("skew"))
    share, hit = np.empty(t.rows), np.empty(t.rows)
    kinds, kind_of = np.unique(np.stack((experts, skew), axis=1), axis=0, return_inverse=True)
    for kind, (count, exponent) in enumerate(kinds):
        where = np.flatnonzero(kind_of.ravel() == kind)
        if exponent == 0 or count <= 1:
            share[where] = 1 / ep[where]
            miss = 1 - np.minimum(1.0, topk[where] / count)
            hit[where] = count * (1 - miss ** tokens[where]) / ep[where]
            continue
        if count > MAX_EXPERTS:
            raise BadValueError(
                f"{count:g} experts with skewed loads are too many; at most {MAX_EXPERTS:,} are counted."
            )
        p = np.arange(1, int(count) + 1, dtype=np.float64) ** -exponent
        p /= p.sum()
        share[where] = np.maximum(1 / ep[where], p[0])
        step = max(1, _LOAD_CELLS // len(p))
        for part in (where[i : i + step] for i in range(0, len(where), step)):
            miss = 1 - np.minimum(1.0, topk[part, None] * p)
            hit[part] = (1 - miss ** tokens[part, None]).sum(axis=1) / ep[part]
    rows = tokens * topk * share
    return rows, np.maximum(np.minimum(hit, rows), np.minimum(1.0, rows))


def _moe(t: OpTable) -> OpWork:
    rows, hit = expert_load(t)
    hidden, inter, fmt = t["hidden"], t["inter"] / t["tp"], t["dtype"]
    matrices = choose(t["gated"] > 0, 3.0, 2.0)
    return _work(
        matrix=2.0 * rows * hidden * inter * matrices,
        vector=rows * inter * (matrices + 1),
        weights=hit * hidden * inter * matrices * WEIGHT_BYTES[fmt],
        reads=rows * hidden * ACTIVATION_BYTES[fmt],
        writes=rows * hidden * OUTPUT_BYTES[fmt],
        view=(rows / hit, matrices * inter, hidden, hit),
    )


def conv_output(t: OpTable) -> tuple[Array, Array]:
    """Return output height and width: floor((size + 2 padding - kernel) / stride) + 1 or 0, unless given."""
    out_h = np.maximum(np.floor((t["h"] + 2 * t["padding"] - t["kh"]) / t["stride"]) + 1, 0)
    out_w = np.maximum(np.floor((t["w"] + 2 * t["padding"] - t["kw"]) / t["stride"]) + 1, 0)
    return np.where(t["out_h"] > 0, t["out_h"], out_h), np.where(t["out_w"] > 0, t["out_w"], out_w)


def _conv2d(t: OpTable) -> OpWork:
    """Convolution as the GEMM of its im2col form, one a group (no im2col traffic: direct or implicit kernels)."""
    batch, c_in, c_out, groups, fmt = t["batch"], t["c_in"], t["c_out"], t["groups"], t["dtype"]
    out_h, out_w = conv_output(t)
    pixels = batch * out_h * out_w
    depth, filters = c_in / groups * t["kh"] * t["kw"], c_out / groups
    return _work(
        matrix=2.0 * pixels * depth * c_out,
        weights=depth * c_out * WEIGHT_BYTES[fmt],
        reads=batch * c_in * t["h"] * t["w"] * ACTIVATION_BYTES[fmt],
        writes=pixels * c_out * (ACTIVATION_BYTES[fmt]),
        view=(pixels, filters, depth, groups),
    )


def _pointwise(own_flop: float, stored: float = 0.0) -> Callable[[OpTable], OpWork]:
    """Operators on rows x hidden elements: `own_flop` each unless the row says, `stored` parameters a column."""

    def family(t: OpTable) -> OpWork:
        size, act = t["rows"] * t["hidden"], ACTIVATION_BYTES[t["dtype"]]
        flop = choose(t["flop_per_element"] > 0, t["flop_per_element"], own_flop)
        exponentials = size if own_flop == SOFTMAX_FLOP else ZERO
        weights = stored * t["hidden"] * WEIGHT_BYTES[t["dtype"]]
        reads = size * t["operands"] * act
        return _work(vector=size * flop, weights=weights, reads=reads, writes=size * act, exponentials=exponentials)

    return family


def _embedding(t: OpTable) -> OpWork:
    size, fmt = t["rows"] * t["hidden"], t["dtype"]
    return _work(weights=size * WEIGHT_BYTES[fmt], reads=t["rows"] * INDEX_BYTES, writes=size * ACTIVATION_BYTES[fmt])


def _scan(t: OpTable) -> OpWork:
    """State-space or linear-attention recurrence; a decode step reads and writes the whole state once."""
    batch, q, heads, d, state = t["batch"], t["q_len"], t["heads"], t["head_dim"], t["state"]
    act = ACTIVATION_BYTES[t["dtype"]]
    channels = batch * q * heads * d
    return _work(
        vector=SCAN_FLOP * channels * state,
        exponentials=channels * state,
        weights=2 * batch * heads * d * state * act,
        reads=(2 * channels + 2 * batch * q * state) * act,
        writes=channels * act,
    )


def _collective(t: OpTable) -> OpWork:
    """Bytes that one rank sends under a bandwidth-optimal algorithm (Thakur et al. 2005, table of section 4)."""
    ranks = np.maximum(t.full("ranks"), 1)
    part = (ranks - 1) / ranks
    factor = np.stack(np.broadcast_arrays(0 * part, 2 * part, part, part, part, np.minimum(ranks - 1, 1)))
    kind = np.broadcast_to(t["kind"], factor.shape[1:])
    sent = t["bytes"] * np.take_along_axis(factor, kind[None].astype(np.intp), axis=0)[0]
    reduced = np.isin(kind, (KINDS.index("all_reduce"), KINDS.index("reduce_scatter"))) * part * t["bytes"]
    return _work(vector=reduced / OUTPUT_BYTES[t["dtype"]], reads=sent, writes=sent, link=sent)


_FAMILIES: dict[str, Callable[[OpTable], OpWork]] = {
    "gemm": _gemm, "attention": _attention, "mla": _mla, "moe": _moe, "collective": _collective, "conv2d": _conv2d,
    "norm": _pointwise(NORM_FLOP, stored=1.0), "elementwise": _pointwise(1.0), "softmax": _pointwise(SOFTMAX_FLOP),
    "embedding": _embedding, "scan": _scan, "copy": _pointwise(0.0),
}  # fmt: skip
