"""A network divided between an accelerator and its host: which operators run where, and how often that changes.

Repeats of a block are written out (indices only, by numpy), so that parts have their true lengths: a compiler that cuts
a network once leaves the first repeat of a block on the accelerator and the others on the host.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np

from costmodel.costs import OpCosts
from costmodel.rates import Rates
from foundation.errors import UnsupportedError
from foundation.formats import FORMAT_CODES, FORMATS
from hardware_specs.runtimes import Kernel, RuntimeSpec
from workloads.elementwise import occurring
from workloads.lowering import Lowered
from workloads.table import OP_CODES, Array, OpTable

KERNELS: tuple[str, ...] = get_args(Kernel)

MOST_STEPS = 20_000_000
"""Operators of a network written out, repeats and scenarios included, that are divided at a time."""

WORDS: frozenset[str] = frozenset(
    ("relu", "relu6", "leaky", "silu", "sigmoid", "tanh", "hard-sigmoid", "hard-swish", "gelu", "mish")
)
"""Activations by the last word of an operator's name: `conv.hard-swish`, `gelu`."""

FORMAT_REASON = "the format"
"""What the reason begins with where an operator is refused for its format."""

_NORM_OF_FLOP = {2.0: "batch", 4.0: "rms"}
"""Kind of a normalisation by its FLOP an element (`workloads.builders.vision.layers`); else `layer`."""
QUANTISED_BITS = 8.5
"""A network that has weights of at most so many bits, scales included, is a quantised one."""


def activation_word(label: str) -> str:
    """Return the activation that an operator is by its name, '' for another operator."""
    word = label.rpartition(".")[2]
    return word if word in WORDS else ""


def norm_kind(flop_per_element: float) -> str:
    """Return the kind of a normalisation: `batch`, `rms`, or `layer`."""
    return _NORM_OF_FLOP.get(float(flop_per_element), "layer")


def refusals(table: OpTable, runtime: RuntimeSpec) -> Array:
    """Return why the accelerator does not take each row, '' where it does; texts, shape (rows,)."""
    why = np.full(table.rows, "", dtype=object)
    ops, dtypes = table.full("op"), table.full("dtype")
    words, of_row = np.unique(np.array(table.labels or ("",) * table.rows), return_inverse=True)
    words = np.array([activation_word(str(word)) for word in words], dtype=object)[of_row]
    plain = words == ""
    for name, code in OP_CODES.items():
        if name not in (*runtime.operators, "collective", "norm"):
            why[plain & (ops == code)] = name
    norms = ops == OP_CODES["norm"]
    kinds = np.array([norm_kind(flop) for flop in table.full("flop_per_element")[norms]], dtype=object)
    why[np.flatnonzero(norms)[~np.isin(kinds, runtime.norms)]] = "norm"
    for word in set(words[~plain]) - set(runtime.activations):
        why[words == word] = word
    if any(f.weight_bits <= QUANTISED_BITS for f in (list(FORMATS.values())[int(c)] for c in occurring(dtypes))):
        for name in runtime.float_only:
            rows = words == name if name in WORDS else plain & (ops == OP_CODES[name])
            why[rows] = f"{name} in a quantised network"
    taken = np.isin(dtypes, [FORMAT_CODES[name] for name in runtime.formats])
    for code in occurring(dtypes[~taken]):
        why[(dtypes == code) & (why == "")] = f"{FORMAT_REASON} {list(FORMATS)[int(code)]}"
    for limit in runtime.limits:
        beyond = (ops == OP_CODES[limit.operator]) & (table.full(limit.size) > limit.most)
        why[beyond & (why == "")] = f"{limit.operator} with {limit.size} above {limit.most:g}"
    return why


def kernel_of(table: OpTable) -> Array:
    """Return what the kernel of each row does, as indices into `KERNELS`."""
    ops = table.full("op")
    conv, grouped = ops == OP_CODES["conv2d"], table.full("groups") > 1
    window = table.full("kh") * table.full("kw") > 1
    cases = [conv & grouped, conv & window, conv, ops == OP_CODES["gemm"]]
    return np.select(cases, [KERNELS.index(name) for name in ("depthwise", "conv", "pointwise", "dense")],
                     KERNELS.index("other"))  # fmt: skip


def paced(costs: OpCosts, table: OpTable, runtime: RuntimeSpec) -> OpCosts:
    """Return costs with kernels as fast as the runtime's; the energy above idle grows with the time."""
    if not runtime.pace:
        return costs
    figures = np.ones((len(KERNELS), 3))
    for name, figure in runtime.pace.items():
        figures[KERNELS.index(name)] = figure.interval
    factors = figures[kernel_of(table)].T
    names = (("latency_s", "energy_j"), ("latency_lo_s", "energy_lo_j"), ("latency_hi_s", "energy_hi_j"))
    columns: dict[str, Any] = {name: getattr(costs, name) * factors[i] for i, pair in enumerate(names) for name in pair}
    return replace(costs, **columns)


def on_cores(rates: Rates, cores: int) -> Rates:
    """Return the rates of some of a device's units: their share of arithmetic, buffers and power above idle.

    Device memory and what the device idles at are shared by all, and stay.
    """
    share = cores / rates.units
    return replace(
        rates, units=cores, peak_flop_per_s=rates.peak_flop_per_s * share,
        vector_flop_per_s=rates.vector_flop_per_s * share, cache_bytes=rates.cache_bytes * share,
        cache_bytes_per_s=max(rates.cache_bytes_per_s * share, rates.dram_bytes_per_s),
        limit_w=rates.idle_w[0] + (rates.limit_w - rates.idle_w[0]) * share,
    )  # fmt: skip


@dataclass(frozen=True)
class Partition:
    """How a network is divided. All arrays have shape (rows,); shares and counts are means over a row's repeats.

    `host_share` of its instances runs on the host; in front of an instance execution moves `to_host` and `to_device`
    times. Behind an instance a run `leaves` the accelerator so often, where what it answers must cross. `parts` is how
    many parts the accelerator runs in one pass over the network (the most of any pass).
    """

    host_share: Array
    to_host: Array
    to_device: Array
    leaves: Array
    parts: int

    @property
    def switches(self) -> Array:
        return np.asarray(self.to_host + self.to_device + self.leaves)


def divide(
    lowered: Lowered, taken: Array, repeats: Array, runtime: RuntimeSpec, apart: bool = False
) -> Partition:  # fmt: skip
    """Return where the rows run.

    Args:
        taken: whether the accelerator takes a row, shape (rows,).
        repeats: how often the block of a row is repeated in one run of its pass, shape (rows,).
        apart: the accelerator is behind a link, so that inputs and answers of every run cross as well.

    Raises:
        UnsupportedError: the network written out is too long.
    """
    order, run = written_out(lowered, repeats)
    rows = len(taken)
    here = taken[order]
    starts = np.flatnonzero(np.append(True, run[1:] != run[:-1])) if len(run) else np.zeros(0, int)
    if runtime.divides == "head":
        refused = np.append(0, np.cumsum(~here))
        here = refused[1:] - np.repeat(refused[starts], np.diff(np.append(starts, len(here)))) == 0
    else:
        here = _kept(here, run, runtime)
    times = np.bincount(order, minlength=rows)
    first = np.zeros(len(here), dtype=bool)
    first[starts] = True
    changed = (np.append(False, here[1:] != here[:-1]) & ~first) | (first & here & apart)
    last = np.append(first[1:], True) & here & apart

    def per_instance(mask: Array) -> Array:
        return np.bincount(order[mask], minlength=rows) / np.maximum(times, 1)

    opened = here & (first | changed)
    parts = np.bincount(run[opened], minlength=1).max() if opened.any() else 0
    return Partition(
        per_instance(~here), per_instance(changed & ~here), per_instance(changed & here), per_instance(last), int(parts)
    )


def written_out(lowered: Lowered, repeats: Array) -> tuple[Array, Array]:
    """Return (row of each step, run of each step): the order of execution, a run being one pass of one scenario.

    Raises:
        UnsupportedError: more than `MOST_STEPS` steps.
    """
    place = np.stack((lowered.pass_index, lowered.scenario, lowered.block_index, lowered.operator_index))
    order = np.lexsort(place[::-1])
    place = place[:, order]
    edges = np.flatnonzero(np.append(True, np.any(place[:3, 1:] != place[:3, :-1], axis=0)))
    lengths = np.diff(np.append(edges, len(order)))
    times = repeats[order][edges].astype(np.int64)
    sizes = lengths * times
    if sizes.sum() > MOST_STEPS:
        raise UnsupportedError(
            f"The network has {sizes.sum():,} operators with its repeats; at most {MOST_STEPS:,} are divided between "
            "an accelerator and its host. Leave --software out, or ask for fewer repeats."
        )
    begins = np.repeat(np.cumsum(sizes) - sizes, sizes)
    within = (np.arange(int(sizes.sum())) - begins) % np.repeat(lengths, sizes)
    runs = np.cumsum(np.append(False, np.any(place[:2, 1:] != place[:2, :-1], axis=0)))
    return order[np.repeat(edges, sizes) + within], np.repeat(runs[edges], sizes)


def _kept(here: Array, run: Array, runtime: RuntimeSpec) -> Array:
    """Return which steps stay on the accelerator: parts that are too short, or too many, run on the host."""
    if (runtime.fewest_operators <= 1 and runtime.most_parts is None) or not len(here):
        return here
    edges = np.flatnonzero(np.append(True, (here[1:] != here[:-1]) | (run[1:] != run[:-1])))
    lengths = np.diff(np.append(edges, len(here)))
    keep = here[edges] & (lengths >= runtime.fewest_operators)
    if runtime.most_parts is not None:
        ranked = np.lexsort((edges, -lengths, ~keep, run[edges]))
        owner = run[edges][ranked]
        starts = np.flatnonzero(np.append(True, owner[1:] != owner[:-1]))
        rank = np.arange(len(ranked)) - np.repeat(starts, np.diff(np.append(starts, len(ranked))))
        keep[ranked[rank >= runtime.most_parts]] = False
    return np.repeat(keep, lengths)
