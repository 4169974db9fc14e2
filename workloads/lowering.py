"""Lowering: passes over workload graphs become the `OpTable` of what one device executes under a mapping.

Tensor parallelism follows Megatron-LM (Shoeybi et al. 2019, section 3): column-parallel, then row-parallel with one
all-reduce; attention by heads. Experts are spread over `ep` ranks with an all-to-all before and after. Pipeline
stages run one after the other for one batch, with a send between them. Data parallelism: the sizes are those of one
replica; only experts, which are spread over the replicas, see the tokens of all. Context parallelism: see
`workloads.context_parallel`. Neighbouring devices are tensor-parallel ranks, then context, data, and pipeline stages.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import chain, repeat
from typing import Any

import numpy as np

from foundation.errors import BadValueError, MappingError
from workloads.context_parallel import Context, context_of
from workloads.exchanges import collective, element_bytes
from workloads.graph import Block, Operator, Pass, Size
from workloads.mapping import ONE_DEVICE, Mapping
from workloads.table import CATEGORIES, DEFAULTS, Array, OpTable, category_code


@dataclass(frozen=True)
class Lowered:
    """An `OpTable` and where each row came from.

    All arrays have shape (rows,): `pass_index`, `block_index` and `operator_index` into passes, blocks and that
    block's lowered operators, `scenario` into the scenarios of that pass. `table["count"]` is how often the row runs
    in all: block count x pass times. `operators[p][b]` are the operators after sharding, collectives included.
    """

    table: OpTable
    pass_index: Array
    block_index: Array
    operator_index: Array
    scenario: Array
    operators: tuple[tuple[tuple[Operator, ...], ...], ...]


_Row = tuple[Operator, dict[str, Any], Array, tuple[int, int, int]]
"""An operator, its sizes, how often it runs, and its (pass, block, operator) place."""


def lower(passes: Iterable[Pass], mapping: Mapping = ONE_DEVICE) -> Lowered:
    """Return the rows that one device executes.

    Raises:
        MappingError: a parallel size that the graph cannot have.
    """
    rows: list[_Row] = []
    sharded: list[tuple[tuple[Operator, ...], ...]] = []
    for p, run in enumerate(passes):
        _check_stages(run, mapping)
        context = context_of(run, mapping)
        blocks = []
        for b, block in enumerate(run.graph.blocks):
            local = _local(block, mapping, context)
            blocks.append(local)
            for i, o in enumerate(local):
                if not o.fused:
                    rows.append((o, dict(o.shape), np.asarray(block.count * np.asarray(run.times, float)), (p, b, i)))
        if mapping.pp > 1 and np.any(run.graph.boundary_elements):
            send = _stage_send(run, mapping, context)
            blocks.append((send,))
            times = np.asarray((mapping.pp - 1) * np.asarray(run.times, float))
            rows.append((send, dict(send.shape), times, (p, len(blocks) - 1, 0)))
        sharded.append(tuple(blocks))
    return _assemble(rows, tuple(sharded))


def _local(block: Block, mapping: Mapping, context: Context | None) -> tuple[Operator, ...]:
    """Return what one rank runs of a block."""
    if context is not None:
        return context.divided(block, lambda o: shard(o, mapping))
    return tuple(part for o in block.operators for part in shard(o, mapping))


def _check_stages(run: Pass, mapping: Mapping) -> None:
    """Refuse a stage without a layer. Raises MappingError."""
    layers = sum(block.count for block in run.graph.blocks)
    if mapping.pp > layers and np.any(run.graph.boundary_elements):
        raise MappingError(
            f"pp={mapping.pp} stages are more than the {layers} blocks of '{run.graph.name}'; use at most that many."
        )


def _assemble(
    rows: list[_Row],
    operators: tuple[tuple[tuple[Operator, ...], ...], ...],
) -> Lowered:
    """Stack operators x scenarios, operator-major, with one numpy call a column.

    Every row of a pass has the scenarios of that pass, also where its own sizes are the same in all of them.
    """
    numeric = sorted({key for _, shape, _, _ in rows for key in shape if key in DEFAULTS})
    widths = _pass_widths(rows)
    spread = np.repeat(np.arange(len(rows)), widths)
    starts = np.cumsum(widths) - widths
    columns = {
        key: _stack([shape.get(key, DEFAULTS[key]) for _, shape, _, _ in rows], starts, widths) for key in numeric
    }
    columns["count"] = _stack([times for _, _, times, _ in rows], starts, widths)
    for key in CATEGORIES:
        codes = np.array([_code(key, o, shape) for o, shape, _, _ in rows], dtype=np.int16)
        columns[key] = codes[spread]
    where = np.array([place for *_, place in rows], dtype=np.intp).reshape(-1, 3)[spread]
    scenario = np.arange(len(spread)) - np.repeat(starts, widths)
    labels = tuple(chain.from_iterable(repeat(o.name, w) for (o, *_), w in zip(rows, widths.tolist(), strict=True)))
    table = OpTable(len(spread), columns, labels)
    return Lowered(table, where[:, 0], where[:, 1], where[:, 2], scenario, operators)


def _pass_widths(rows: list[_Row]) -> Array:
    """Return the number of scenarios of each row: all rows of a pass have as many as its widest size.

    Raises:
        BadValueError: sizes of a pass are arrays of different lengths.
    """
    widest: dict[int, int] = {}
    for o, shape, times, (p, _, _) in rows:
        sizes = [v.size for v in (*shape.values(), times) if isinstance(v, np.ndarray) and v.ndim]
        for size in sizes:
            known = widest.get(p, 1)
            if size != known and 1 not in (size, known):
                raise BadValueError(f"Operator '{o.name}' has sizes for {size} scenarios where its pass has {known}.")
            widest[p] = max(known, size)
    return np.array([widest.get(p, 1) for *_, (p, _, _) in rows], dtype=np.intp)


def _stack(values: list[Any], starts: Array, widths: Array) -> Array:
    """Return one column: a number stands in all rows of its operator, an array gives one value a scenario."""
    wide = [i for i, v in enumerate(values) if isinstance(v, np.ndarray) and v.ndim]
    column = np.repeat([0.0 if isinstance(v, np.ndarray) and v.ndim else float(v) for v in values], widths)
    for i in wide:
        column[starts[i] : starts[i] + widths[i]] = values[i]
    return column


def _code(category: str, o: Operator, shape: dict[str, Any]) -> int:
    if category == "op":
        return category_code("op", o.op)
    if category == "dtype":
        return category_code("dtype", o.dtype)
    if category == "kv_dtype":
        return category_code("kv_dtype", o.kv_dtype or o.dtype)
    return category_code(category, shape.get(category, ""))


def shard(o: Operator, mapping: Mapping) -> list[Operator]:
    """Return what one rank runs in place of `o`, collectives included; the last one bears `o`'s name.

    Of context parallelism, only what the rank keeps is divided here; what it computes depends on the pass.
    """
    if mapping.cp > 1 and np.any(o.state_elements):
        o = replace(o, state_elements=np.asarray(o.state_elements, float) / mapping.cp)
    if o.shard == "experts":
        return _shard_experts(o, mapping)
    if o.shard in ("gradients", "ranks"):
        return _shard_training(o, mapping)
    tp = mapping.tp
    if tp == 1 or not o.shard:
        return [o]
    shape, local = dict(o.shape), o.parameters / tp
    if o.shard in ("column", "logits", "row"):
        key = "k" if o.shard == "row" else "n"
        shape[key] = _split(shape[key], tp)
    elif o.shard == "heads":
        shape.update(_split_heads(o, tp))
    elif o.shard == "hidden":
        shape["hidden"] = _split(shape["hidden"], tp)
    part = replace(o, shape=shape, parameters=local, active_parameters=_share(o.active_parameters, tp))
    part = replace(part, state_elements=o.state_elements / max(1.0, min(tp, o.state_shards)))
    if o.shard not in ("row", "vocab", "logits"):
        return [part]
    kind = "all_gather" if o.shard == "logits" else "all_reduce"
    return [
        replace(part, name=f"{o.name}.{o.shard}"),
        collective(o, kind, tp, _output_bytes(o), f"{o.name}.{o.shard}"),
    ]


def _shard_training(o: Operator, mapping: Mapping) -> list[Operator]:
    """Work on parameters, gradients and optimizer state: divided over at most `state_shards` of the tp ranks.

    `gradients`: a collective over the dp replicas, dropped where there is one. `ranks`: an operator that the replicas
    divide among themselves as well (ZeRO), by `hidden` or, for a gemm, by `batch`.
    """
    parts = max(1.0, min(mapping.tp, o.state_shards))
    if o.shard == "gradients":
        ranks = {"ranks": float(mapping.dp), "stride": float(mapping.tp * mapping.cp)}  # replicas lie side by side
        shape = dict(o.shape) | {"bytes": o.shape["bytes"] / parts} | ranks
        return [replace(o, shape=shape)] if mapping.dp > 1 else []
    key = "batch" if o.op == "gemm" else "hidden"
    return [replace(o, shape=dict(o.shape) | {key: np.ceil(np.asarray(o.shape[key]) / (parts * mapping.dp))})]


def _split(size: Size, parts: int) -> Size:
    return np.ceil(np.asarray(size) / parts) if np.ndim(size) else float(-(-int(size) // parts))


def _share(count: float | None, parts: float) -> float | None:
    return None if count is None else count / parts


def _split_heads(o: Operator, tp: int) -> dict[str, Size]:
    if o.op == "gemm":  # one multiplication a head
        return {"batch": _split_heads(replace(o, op="mla", shape={"heads": o.shape["batch"]}), tp)["heads"]}
    heads, kv_heads = float(o.shape["heads"]), float(o.shape.get("kv_heads", 0) or o.shape["heads"])
    if heads % tp:
        near = [d for d in range(1, int(heads) + 1) if heads % d == 0]
        raise MappingError(f"tp={tp} does not divide the {heads:g} heads of '{o.name}'; it can be one of {near}.")
    if max(kv_heads, tp) % min(kv_heads, tp):
        raise MappingError(
            f"tp={tp} neither divides nor is a multiple of the {kv_heads:g} key-value heads of '{o.name}'."
        )
    return {"heads": heads / tp, "kv_heads": max(1.0, kv_heads / tp)}


def _shard_experts(o: Operator, mapping: Mapping) -> list[Operator]:
    """Grouped GEMM of the routed experts: sizes stay global, `tp` and `ep` columns divide them."""
    experts = float(o.shape["experts"])
    if experts % mapping.ep:
        raise MappingError(f"ep={mapping.ep} does not divide the {experts:g} experts of '{o.name}'.")
    ranks = mapping.tp * mapping.dp
    if ranks == 1:
        return [o]
    tokens = np.asarray(o.shape["tokens"], float) * mapping.dp
    shape = dict(o.shape) | {"tokens": tokens, "tp": float(mapping.expert_tp), "ep": float(mapping.ep)}
    part = replace(
        o, shape=shape, parameters=o.parameters / ranks, active_parameters=_share(o.active_parameters, ranks)
    )
    hidden_bytes = np.asarray(o.shape["hidden"], float) * element_bytes(o)
    if mapping.ep == 1:
        part = replace(part, name=f"{o.name}.row")
        return [part, collective(o, "all_reduce", mapping.expert_tp, tokens * hidden_bytes, part.name)]
    routed = tokens / mapping.ep * np.minimum(o.shape["topk"], mapping.ep) * hidden_bytes
    apart = mapping.expert_tp * (mapping.cp if mapping.dp > 1 else 1)
    dispatch = collective(o, "all_to_all", mapping.ep, routed, "", apart)
    dispatch = replace(dispatch, name=f"{o.name}.dispatch", inputs=o.inputs)
    compute = replace(part, name=f"{o.name}.experts", inputs=(dispatch.name,))
    parts = [dispatch, compute]
    if mapping.expert_tp > 1:
        parts.append(
            replace(collective(o, "all_reduce", mapping.expert_tp, routed, compute.name), name=f"{o.name}.row")
        )
    return [*parts, collective(o, "all_to_all", mapping.ep, routed, parts[-1].name, apart)]


def _output_bytes(o: Operator) -> Any:
    rows, columns = ("m", "n") if o.op == "gemm" else ("rows", "hidden")
    return o.shape[rows] * np.asarray(o.shape[columns] * np.asarray(o.shape.get("batch", 1)), float) * element_bytes(o)


def _stage_send(run: Pass, mapping: Mapping, context: Context | None) -> Operator:
    last = run.graph.blocks[-1].operators[-1]
    elements = run.graph.boundary_elements if context is None else context.share(run.graph.boundary_elements)
    size = np.asarray(elements, float) * element_bytes(last)
    # the same rank of the next stage stands a whole stage further
    shape = {"kind": "send_recv", "bytes": size, "ranks": 2.0, "stride": float(mapping.devices // mapping.pp)}
    if "phase" in last.shape:
        shape["phase"] = last.shape["phase"]
    return Operator("stage.send", "collective", shape, dtype=last.dtype)
