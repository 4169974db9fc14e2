"""Alignment of a trace with a workload graph: which row of the trace is which operator.

Blocks are written out as often as they repeat, and the graph as often as the trace holds it. Rows and operators of one
family and shape are aligned by a longest common subsequence (Hunt and McIlroy 1976) that prefers equal names, then
order. Between two such anchors are paired: products that one side joins (q, k and v as one), attention that the trace
computes as product, softmax and product, and, where the trace has no shapes, families of equal count in their order.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np

from costmodel.measured.trace_rows import Trace, TraceRow
from foundation.errors import BadValueError
from workloads.graph import Operator, Workload
from workloads.table import DEFAULTS, Array

LEAST_SHARE = 0.5
"""Below this share of the workload's products, convolutions and attentions, the trace is of another workload."""
MAX_CELLS = 40_000_000
MAX_OPERATORS = 300_000
MAX_REPEATS = 1000
SHAPE_SCORE, MAX_NAME_SCORE = 8, 3
WINDOW = 20
"""Rows by which branches may run out of the graph's order."""
HEAVY = frozenset({"gemm", "conv2d", "attention", "mla", "moe", "scan"})
"""Operators that tell one workload from another."""
LIGHT = frozenset({"elementwise", "norm", "softmax", "copy", "embedding"})
"""Operators that a kernel before them may have taken in."""

Key = tuple[Any, ...]


@dataclass(frozen=True)
class Placed:
    """An operator of the written-out graph: `place` is 'pass/block.repeat/operator', `run` the pass over the graph."""

    place: str
    operator: Operator
    run: int
    key: Key


@dataclass(frozen=True)
class Match:
    """Rows of the trace and operators of the graph that are the same work.

    `how`: `shape` (family and shape equal, in order), `moved` (the same, a little out of order, as branches run),
    `joined` (one side in several parts), `order` (family and place alone).
    `fused` are operators that ran inside the row as well.
    """

    rows: tuple[int, ...]
    operators: tuple[int, ...]
    how: str
    fused: tuple[int, ...] = ()


@dataclass(frozen=True)
class Alignment:
    """How a trace and a workload fit.

    `repeats` is how often the trace holds the workload, `rows_alone` are rows without a partner and `operators_alone`
    operators without a measurement. Shares are in [0, 1]: `time_share` of the trace's time that is matched,
    `heavy_share` of the products, convolutions and attentions that are (of the workload's or of the trace's, whichever
    is less).
    """

    workload: str
    origin: str
    rows: tuple[TraceRow, ...] = field(repr=False)
    operators: tuple[Placed, ...] = field(repr=False)
    repeats: int
    matches: tuple[Match, ...] = field(repr=False)
    rows_alone: tuple[int, ...] = field(repr=False)
    operators_alone: tuple[int, ...] = field(repr=False)
    time_share: float
    heavy_share: float

    def trace_indices(self) -> set[int]:
        """Return the rows of the trace that are matched."""
        return {i for match in self.matches for i in match.rows}

    def latency_s(self) -> dict[str, float]:
        """Return the measured time of operators by place: the median over the runs of the graph.

        Operators that ran in one row, or that a row took in, stand together as 'a + b'.
        """
        times: dict[str, list[float]] = {}
        for match in self.matches:
            places = [self.operators[i].place for i in (*match.operators, *match.fused)]
            times.setdefault(" + ".join(places), []).append(sum(self.rows[i].latency_s for i in match.rows))
        return {place: median(group) for place, group in times.items()}

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain values."""
        alone = _by_time((self.rows[i].name, self.rows[i].latency_s) for i in self.rows_alone)
        return {
            "workload": self.workload, "trace": self.origin, "repeats": self.repeats,
            "rows": len(self.rows), "operators": len(self.operators),
            "matched": dict(Counter(match.how for match in self.matches)),
            "fused_operators": sum(len(match.fused) for match in self.matches),
            "time_share": self.time_share, "heavy_share": self.heavy_share,
            "rows_alone": [{"name": name, "rows": rows, "latency_s": time_s} for name, rows, time_s in alone],
            "operators_alone": [self.operators[i].place for i in self.operators_alone],
        }  # fmt: skip

    def text(self) -> str:
        """Return the report for people, a few lines."""
        told = Counter(match.how for match in self.matches)
        fused = sum(len(match.fused) for match in self.matches)
        runs = f", {self.repeats} runs of it" if self.repeats > 1 else ""
        lines = [
            f"{self.origin} against {self.workload}{runs}: {self.time_share:.0%} of the trace's time is explained",
            f"{len(self.trace_indices())} of {len(self.rows)} rows matched "
            f"({told['shape'] + told['moved']} by shape, {told['joined']} joined or split, {told['order']} by order); "
            f"{fused} operators ran inside the kernel of another",
        ]
        alone = _by_time((self.rows[i].name, self.rows[i].latency_s) for i in self.rows_alone)
        lines += [f"no operator for: {name}, {rows} rows, {time_s * 1e3:.3g} ms" for name, rows, time_s in alone[:8]]
        if self.operators_alone:
            places = [self.operators[i].place for i in self.operators_alone]
            more = f" and {len(places) - 8} more" if len(places) > 8 else ""
            lines.append(f"no measurement for: {', '.join(places[:8])}{more}")
        return "\n".join(lines)


def align(
    trace: Trace | Sequence[TraceRow], workload: Workload, *, repeats: int | None = None,
    least_share: float = LEAST_SHARE, origin: str = "",
) -> Alignment:  # fmt: skip
    """Return how the rows of a trace, in their order, fit a workload (its first scenario where it has several).

    Args:
        repeats: how often the trace holds the workload (default: from the counts of equal shapes).
        least_share: refuse where fewer of the products, convolutions and attentions of either side are matched.
        origin: what the trace is called in messages (default: its path).

    Raises:
        BadValueError: the trace is of another workload, or the two are too long to compare.
    """
    rows = tuple(trace.rows if isinstance(trace, Trace) else trace)
    origin = origin or (trace.path if isinstance(trace, Trace) else "the trace")
    keys = [row_key(row) for row in rows]
    once = _written_out(workload)
    runs = repeats or _repeats(keys, once)
    cells = len(rows) * len(once) * (1 if runs == 1 else 4 / runs)  # two runs at a time, and their graph
    if runs * len(once) > MAX_OPERATORS or cells > MAX_CELLS:
        raise BadValueError(
            f"{origin} has {len(rows):,} rows and {workload.name} {runs * len(once):,} operators, which is too long "
            "to align; profile one run, or give a smaller workload."
        )
    graph = [Placed(o.place, o.operator, run, o.key) for run in range(runs) for o in once]
    anchors = _anchors(keys, graph, [_plain(row.name) for row in rows], runs)
    matches = _filled(rows, keys, graph, anchors, _moved(keys, graph, anchors))
    matches, taken = _with_fused(graph, matches, rows)
    matched = {i for match in matches for i in match.rows}
    total_s = sum(row.latency_s for row in rows)
    time_share = sum(rows[i].latency_s for i in matched) / total_s if total_s > 0 else 0.0
    found = {i for match in matches for i in match.operators}
    shares = (
        _share({i for i, o in enumerate(graph) if o.operator.op in HEAVY}, found),
        _share({i for i, row in enumerate(rows) if (row.op or row.family) in HEAVY}, matched),
    )
    if min(shares) < least_share:
        raise BadValueError(_other_workload(origin, workload, rows, graph, shares, least_share))
    return Alignment(
        workload.name, origin, rows, tuple(graph), runs, tuple(matches),
        tuple(i for i in range(len(rows)) if i not in matched),
        tuple(i for i in range(len(graph)) if i not in found and i not in taken), time_share, min(shares),
    )  # fmt: skip


# --- what is compared ------------------------------------------------------------------------------------------------
def row_key(row: TraceRow) -> Key:
    """Return what makes a row the same work as an operator; () where its operator is not known."""
    return shape_key(row.op, row.shape) if row.op else ()


def shape_key(op: str, shape: Mapping[str, Any]) -> Key:
    """Return the family and the sizes that two descriptions of one operator share."""

    def size(name: str) -> int:
        value = np.ravel(shape.get(name, DEFAULTS[name]))
        return int(value[0]) if value.size else 0

    if op == "gemm":
        return op, size("batch"), size("m"), size("n"), size("k")
    if op == "attention":
        return op, size("batch") * size("heads"), size("q_len"), size("kv_len"), size("head_dim")
    if op == "conv2d":
        out = [
            size(f"out_{side}") or (size(side) + 2 * size("padding") - size(f"k{side}")) // max(1, size("stride")) + 1
            for side in "hw"
        ]
        names = ("batch", "c_in", "h", "w", "c_out", "kh", "kw", "groups")
        return op, *(size(name) for name in names), *out
    if op == "collective":
        return op, shape.get("kind", ""), size("bytes"), size("ranks")
    if op in ("mla", "moe", "scan"):
        return op, *(size(name) for name in ("batch", "tokens", "q_len", "heads", "hidden", "inter", "experts"))
    return op, size("rows") * size("hidden")


def _written_out(workload: Workload) -> list[Placed]:
    """Return the operators of one run in order, each block as often as it repeats."""
    found: list[Placed] = []
    for run in workload.passes:
        times = int(np.ravel(run.times)[0]) if np.size(run.times) == 1 else 1
        blocks = run.graph.blocks
        if max(1, times) * sum(block.count * len(block.operators) for block in blocks) > MAX_OPERATORS:
            raise BadValueError(f"{workload.name} has more than {MAX_OPERATORS:,} operators in one run; "
                                "align a shorter one.")  # fmt: skip
        for step in range(max(1, times)):
            named = f"{run.name}.{step}" if times > 1 else run.name
            for block in blocks:
                for repeat in range(block.count):
                    inside = f"{block.name}.{repeat}" if block.count > 1 else block.name
                    found += [Placed(f"{named}/{inside}/{o.name}", o, 0, shape_key(o.op, o.shape))
                              for o in block.operators]  # fmt: skip
    return found


def _repeats(keys: Sequence[Key], once: Sequence[Placed]) -> int:
    """Return how often a trace holds a graph: the median ratio of counts over the shapes of heavy operators."""
    rows = Counter(key for key in keys if key)
    graph = Counter(o.key for o in once if o.operator.op in HEAVY) or Counter(o.key for o in once)
    ratios = [rows[key] / count for key, count in graph.items() if rows[key]]
    return min(MAX_REPEATS, max(1, round(median(ratios)))) if ratios else 1


def _plain(name: str) -> frozenset[str]:
    """Return the words of a name that may tell its place: not those of frameworks."""
    return frozenset(re.findall(r"[a-z]+|\d+", name[:200].lower())) - {"aten", "kernel", "out", "nchwc", "act"}


# --- the common subsequence ------------------------------------------------------------------------------------------
def _anchors(
    keys: Sequence[Key], graph: Sequence[Placed], names: Sequence[frozenset[str]], runs: int
) -> list[tuple[int, int]]:
    """Return the common subsequence, taken run by run where all at once would be too large."""
    once, mean = len(graph) // runs, len(keys) / runs
    if len(keys) * len(graph) <= MAX_CELLS:
        return _common(keys, graph, names)
    group = max(1, int((MAX_CELLS / (max(1.0, mean) * once)) ** 0.5) - 1)
    found: list[tuple[int, int]] = []
    start = 0
    for run in range(0, runs, group):
        many = min(group, runs - run)
        more = min(many + 1, runs - run)  # the run that follows holds on to rows of its own
        # half a run to spare: with a whole one, a lost row would be made up for by skipping a run
        end = len(keys) if more == many else min(len(keys), start + int((many + 0.5) * mean))
        part = _common(keys[start:end], graph[run * once : (run + more) * once], names[start:end])
        part = [(start + i, run * once + j) for i, j in part if j < many * once]
        found += part
        start = part[-1][0] + 1 if part else end
    return found


def _common(keys: Sequence[Key], graph: Sequence[Placed], names: Sequence[frozenset[str]]) -> list[tuple[int, int]]:
    """Return pairs (row, operator) of equal keys in one order, the most of them, equal names first."""
    codes: dict[Key, int] = {}
    mine = np.array([codes.setdefault(key, len(codes)) if key else -1 for key in keys], dtype=np.int64)
    theirs = np.array([codes.get(o.key, -2) for o in graph], dtype=np.int64)
    named = _named(graph)
    best = np.zeros((len(keys) + 1, len(graph) + 1), dtype=np.int32)
    for i in range(len(keys)):
        score = np.where(theirs == mine[i], SHAPE_SCORE, 0) if mine[i] >= 0 else np.zeros(len(graph), dtype=np.int64)
        told = [named[word] for word in names[i] if word in named]
        if told and score.any():
            score = np.where(score > 0, score + np.minimum(np.sum(told, axis=0), MAX_NAME_SCORE), 0)
        step = np.where(score > 0, best[i, :-1] + score, best[i, 1:])
        best[i + 1, 1:] = np.maximum.accumulate(np.maximum(step, best[i, 1:]))
    pairs: list[tuple[int, int]] = []
    i, j = len(keys), len(graph)
    while i and j:  # where several are as good, the earliest rows and operators
        if best[i, j] == best[i - 1, j]:
            i -= 1
        elif best[i, j] == best[i, j - 1]:
            j -= 1
        else:
            i -= 1
            j -= 1
            pairs.append((i, j))
    return pairs[::-1]


def _named(graph: Sequence[Placed]) -> dict[str, Array]:
    """Return, for each word of the operators' names, which operators bear it."""
    found: dict[str, Array] = {}
    for j, placed in enumerate(graph):
        for word in _plain(placed.place.split("/", 1)[1]):
            found.setdefault(word, np.zeros(len(graph), dtype=np.int64))[j] = 1
    return found


def _moved(keys: Sequence[Key], graph: Sequence[Placed], anchors: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return pairs of equal keys that are out of order by a few rows: branches that run the other way round."""
    if not anchors:
        return []
    used_rows, used = {i for i, _ in anchors}, {j for _, j in anchors}
    free: dict[Key, list[int]] = {}
    for i, key in enumerate(keys):
        if key and i not in used_rows:
            free.setdefault(key, []).append(i)
    known = np.array(anchors, dtype=np.float64)
    expected = np.interp(np.arange(len(graph)), known[:, 1], known[:, 0])
    found = []
    for j, placed in enumerate(graph):
        if j in used or not free.get(placed.key):
            continue
        near = min(free[placed.key], key=lambda i: abs(i - expected[j]))
        if abs(near - expected[j]) <= WINDOW:
            free[placed.key].remove(near)
            found.append((near, j))
    return found


# --- between the anchors ---------------------------------------------------------------------------------------------
def _filled(
    rows: Sequence[TraceRow], keys: Sequence[Key], graph: Sequence[Placed], anchors: Sequence[tuple[int, int]],
    moved: Sequence[tuple[int, int]],
) -> list[Match]:  # fmt: skip
    """Return the anchors as matches, with those found in the gaps between heavy ones, in the order of the graph."""
    matches = [Match((i,), (j,), "shape") for i, j in anchors] + [Match((i,), (j,), "moved") for i, j in moved]
    heavy = [(i, j) for i, j in anchors if graph[j].operator.op in HEAVY]
    used_rows, used = {i for i, _ in (*anchors, *moved)}, {j for _, j in (*anchors, *moved)}
    before = (-1, -1)
    for after in (*heavy, (len(rows), len(graph))):
        free = [i for i in range(before[0] + 1, after[0]) if i not in used_rows]
        wanted = [j for j in range(before[1] + 1, after[1]) if j not in used]
        if free and wanted:
            for match in (*_joined(keys, graph, free, wanted), *_composed(keys, graph, free, wanted)):
                if not used_rows.intersection(match.rows) and not used.intersection(match.operators):
                    matches.append(match)
                    used_rows.update(match.rows)
                    used.update(match.operators)
            left = [i for i in free if i not in used_rows and not rows[i].op and rows[i].family]
            matches += _in_order(rows, graph, left, [j for j in wanted if j not in used])
        before = after
    return sorted(matches, key=lambda match: (match.operators, match.rows))


def _joined(keys: Sequence[Key], graph: Sequence[Placed], free: list[int], wanted: list[int]) -> list[Match]:
    """Return products that one side has in parts: rows of equal m and k whose n make the operator's, or the reverse."""
    mine = [(i, keys[i]) for i in free if keys[i] and keys[i][0] == "gemm"]
    theirs = [(j, graph[j].key) for j in wanted if graph[j].key[0] == "gemm"]
    found = [Match(parts, (j,), "joined") for j, key in theirs if (parts := _parts(key, mine))]
    used = {i for match in found for i in match.rows}
    alone = [(j, key) for j, key in theirs if all(j not in match.operators for match in found)]
    found += [Match((i,), parts, "joined") for i, key in mine if i not in used and (parts := _parts(key, alone))]
    return found


def _parts(whole: Key, candidates: list[tuple[int, Key]]) -> tuple[int, ...]:
    """Return neighbours among the candidates that make up `whole` along n, () where none do."""
    _, batch, m, n, k = whole
    for start in range(len(candidates)):
        total, parts = 0, []
        for index, key in candidates[start:]:
            if (key[1], key[2], key[4]) != (batch, m, k) or total >= n:
                break
            total += key[3]
            parts.append(index)
        if total == n and len(parts) > 1:
            return tuple(parts)
    return ()


def _composed(keys: Sequence[Key], graph: Sequence[Placed], free: list[int], wanted: list[int]) -> list[Match]:
    """Return attentions that the trace computes in parts: scores, softmax, values, and what lies between."""
    found: list[Match] = []
    for j in wanted:
        if graph[j].key[0] != "attention":
            continue
        _, heads, q_len, kv_len, size = graph[j].key
        first = next((i for i in free if keys[i] == ("gemm", heads, q_len, kv_len, size)), None)
        last = next((i for i in free if first is not None and i > first and keys[i] == (
            "gemm", heads, q_len, size, kv_len)), None)  # fmt: skip
        if first is None or last is None:
            continue
        within = [i for i in free if first <= i <= last]
        total = ("softmax", heads * q_len * kv_len)
        if any(keys[i] == total for i in within):
            found.append(Match(tuple(within), (j,), "joined"))
            free = [i for i in free if i > last]
    return found


def _in_order(rows: Sequence[TraceRow], graph: Sequence[Placed], left: list[int], wanted: list[int]) -> list[Match]:
    """Return pairs of rows without shapes and operators, family by family, where there are as many of both."""
    found: list[Match] = []
    for family in sorted({rows[i].family for i in left}):
        mine = [i for i in left if rows[i].family == family]
        theirs = [j for j in wanted if graph[j].operator.op == family]
        needed = [j for j in theirs if not graph[j].operator.fused]
        theirs = needed if len(needed) == len(mine) else theirs
        if len(mine) == len(theirs):
            found += [Match((i,), (j,), "order") for i, j in zip(mine, theirs, strict=True)]
    return found


def _with_fused(
    graph: Sequence[Placed], matches: list[Match], rows: Sequence[TraceRow]
) -> tuple[list[Match], set[int]]:
    """Return the matches with the operators that their row took in, and all operators so taken.

    That are those that the graph calls fused, and light ones behind a matched operator where the trace has no row of
    their family between the rows around them.
    """
    owner = {j: at for at, match in enumerate(matches) for j in match.operators}
    matched_rows = {i for match in matches for i in match.rows}
    last: int | None = None
    gained: dict[int, list[int]] = {}
    starts = {at: max(match.rows) for at, match in enumerate(matches)}
    following = _next_starts(graph, owner, matches, len(rows))
    for j, placed in enumerate(graph):
        if j in owner:
            last = owner[j]
            continue
        if last is None or placed.operator.op not in LIGHT:
            continue
        between = range(starts[last] + 1, following[j])
        own = any(i not in matched_rows and (rows[i].op or rows[i].family) == placed.operator.op for i in between)
        if placed.operator.fused or not own:
            gained.setdefault(last, []).append(j)
    merged = [Match(m.rows, m.operators, m.how, tuple(gained.get(at, ()))) for at, m in enumerate(matches)]
    return merged, {j for group in gained.values() for j in group}


def _next_starts(graph: Sequence[Placed], owner: Mapping[int, int], matches: Sequence[Match], end: int) -> list[int]:
    """Return, for each operator, the first row of the next matched operator."""
    found = [end] * len(graph)
    for j in range(len(graph) - 1, -1, -1):
        found[j] = end
        if j in owner:
            end = min(matches[owner[j]].rows)
    return found


# --- what is said ----------------------------------------------------------------------------------------------------
def _share(heavy: set[int], matched: set[int]) -> float:
    return len(heavy & matched) / len(heavy) if heavy else 1.0


def _other_workload(
    origin: str, workload: Workload, rows: Sequence[TraceRow], graph: Sequence[Placed], shares: tuple[float, float],
    least: float,
) -> str:  # fmt: skip
    """Return the sentence for a trace of another workload."""
    hint = "Check the workload, its batch and its lengths."
    if not any(row.op for row in rows):
        hint = "No row of the trace has a shape; record them (PyTorch: record_shapes=True)."
    else:
        mine = Counter(_scale(row.op, row.shape) for row in rows if row.op in HEAVY)
        theirs = Counter(_scale(o.operator.op, o.operator.shape) for o in graph if o.operator.op in HEAVY)
        (op, had), (other, want) = mine.most_common(1)[0][0] if mine else ("", 0), theirs.most_common(1)[0][0]
        if op == other and had != want:
            what = "rows of products (batch x tokens)" if op == "gemm" else "a batch"
            hint = f"Most of the trace has {what} of {had:,}, the workload {want:,}: check batch and lengths."
    of, share = ("its", shares[0]) if shares[0] <= shares[1] else ("the trace's", shares[1])
    return (
        f"{origin} does not look like {workload.name}: at best {share:.0%} of {of} products, convolutions and "
        f"attentions find a partner of their shape, and {least:.0%} are needed. {hint}"
    )


def _scale(op: str, shape: Mapping[str, Any]) -> tuple[str, int]:
    """Return the family and the size that grows with the batch."""
    name = "m" if op == "gemm" else "tokens" if op == "moe" else "batch"
    return op, int(np.ravel(shape.get(name, 1))[0])


def _by_time(rows: Any) -> list[tuple[str, int, float]]:
    """Return (name, how many, seconds) of rows, the longest first."""
    times: dict[str, list[float]] = {}
    for name, time_s in rows:
        times.setdefault(name, []).append(time_s)
    return sorted(((name, len(group), sum(group)) for name, group in times.items()), key=lambda entry: -entry[2])
