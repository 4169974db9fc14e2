"""`scenarios`: costs drawn together, so that sums and comparisons of cells have the spread that they should.

Each cell's draws follow a two-sided log-normal whose median is the value and whose 5 % and 95 % quantiles are `lo` and
`hi`. Between cells a Gaussian copula holds what the cost model knows of its errors (`costmodel.error_parts`):

    z = sqrt(shared) (sqrt(c) Z + sqrt(1 - c) sum_f w_f Z[device, software, f]) + sqrt(1 - shared) e[cell]

f runs over operator families, w_f is the family's part of the cell's deviation (sum of w_f^2 = 1), Z are standard
normal and one for all cells, e is the cell's own. So two cells on one device go together as far as their error is
shared and of the same families; cells of different devices only by c, the part that all devices have in common.

Every Z is a stream of its own, named by what it is of (device, software, family), every e by the question itself:
adding an item, an option or a device changes no other cell's draws (common random numbers), and the same question gets
the same draws wherever it stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from archcast.batches import QUANTITIES
from archcast.cost_models import AnyModel
from archcast.oracle.cells import Cells, pick_quantities, price
from archcast.oracle.checks import check_names
from archcast.oracle.curves import Curve
from archcast.oracle.names import cell_normals, cell_words, device_names
from archcast.oracle.questions import Question, Questions, as_questions
from archcast.oracle.table import CostTable
from archcast.oracle.words import UNITS, number_text, text_table
from foundation.checks import finite_number, whole_number
from foundation.errors import BadValueError
from simulator.streams import DEFAULT_SEED, RandomStreams
from workloads.table import OPS, Array

COVERAGE = 0.9
NORMAL_95 = 1.6448536269514722
"""The 95 % quantile of the standard normal distribution: an interval of 90 % ends there on both sides."""
MOST_DRAWS = 100_000_000
MOST_CELLS = 20
"""That people read."""
TIMES = ("latency_s", "ttft_s", "tpot_s")


@dataclass(frozen=True)
class Scenarios:
    """Draws: shape (n, items, options, quantities) of a table, (n, rows, quantities) of questions or a curve.

    Without the last axis where one quantity was named as text. NaN where a cell is not feasible.
    """

    values: Array
    quantities: tuple[str, ...]
    seed: int
    common: float
    single: bool = False
    cells: tuple[str, ...] = ()
    """Name of each cell (item and option, value of a curve's knob) where people read it."""

    @property
    def n(self) -> int:
        return len(self.values)

    def of(self, quantity: str) -> Array:
        """Return the draws of one quantity, without the last axis."""
        at = self.quantities.index(quantity)
        return self.values if self.single else np.asarray(self.values[..., at])

    def quantile(self, level: float | Sequence[float]) -> Array:
        """Return quantiles over the draws of every cell."""
        return np.asarray(np.quantile(self.values, level, axis=0))

    def total(self, choice: Sequence[int] | Array, quantity: str) -> Array:
        """Return the draws of the sum over items, each by the option chosen for it (-1: none), shape (n,).

        Raises:
            BadValueError: these are no draws of a table, or the choice does not name an option of each item.
        """
        draws, chosen = self.of(quantity), np.asarray(choice, dtype=int)
        if draws.ndim != 3 or chosen.shape != (draws.shape[1],) or np.any(chosen >= draws.shape[2]):
            raise BadValueError("A choice names one option (or -1) for each item of a cost table.")
        items = np.flatnonzero(chosen >= 0)
        return np.asarray(draws[:, items, chosen[items]].sum(axis=1))

    def to_json(self) -> dict[str, Any]:
        ends = {f"p{int(level * 100)}": _plain(self.quantile(level)) for level in (0.05, 0.5, 0.95)}
        return {"n": self.n, "seed": self.seed, "common": self.common, "quantities": list(self.quantities),
                "shape": list(self.values.shape), **ends, "values": _plain(self.values)}  # fmt: skip

    def text(self) -> str:
        """Return quantiles of the sum of all feasible cells, and of the first cells."""
        flat = self.values.reshape(self.n, -1, len(self.quantities))
        lines = []
        for k, name in enumerate(self.quantities):
            for cell in range(min(flat.shape[1], MOST_CELLS)):
                if not np.isnan(flat[0, cell, k]):
                    q = np.quantile(flat[:, cell, k], (0.05, 0.5, 0.95))
                    words = [number_text(float(x), UNITS.get(name, "")) for x in q]
                    lines.append([self.cells[cell] if self.cells else f"cell {cell + 1}", name, *words])
        return text_table(["", "quantity", "p5", "p50", "p95"], lines)


def scenarios(
    what: CostTable | Curve | Question | Sequence[Question], n: int = 1000, seed: int = DEFAULT_SEED,
    quantities: Sequence[str] | str | None = None, common: float = 0.0, model: AnyModel = None,
) -> Scenarios:  # fmt: skip
    """Return costs drawn together.

    Args:
        what: a cost table, a curve, or questions (which are priced first, by `model`).
        quantities: some of the table's, as a list, or one as text (then without the last axis).
        common: the share of the shared error that all devices have in common, from 0 to 1. What ships knows none:
            its shared part is by device and software, so the default is 0; 1 is the pessimist's.

    Raises:
        BadValueError: n below 1, `common` outside 0 to 1, or more draws than one call makes.
    """
    n = whole_number("n", n, high=10**7)
    common = finite_number("common", common, high=1.0)
    if isinstance(what, (CostTable, Curve)):
        cells, questions, names = what.cells, what.questions, what.quantities
        shape = what.shape if isinstance(what, CostTable) else (cells.value.shape[0],)
    else:
        questions = as_questions(what)
        check_names(questions)
        cells, _ = price(questions, model)
        names, shape = QUANTITIES, (questions.rows,)
    single = isinstance(quantities, str)
    names = pick_quantities([quantities] if isinstance(quantities, str) else quantities or names)
    if n * questions.rows * len(names) > MOST_DRAWS:
        raise BadValueError(
            f"{n:,} draws of {questions.rows:,} cells x {len(names)} quantities are more than {MOST_DRAWS:,}."
        )
    drawn = draw(cells, questions, names, n, RandomStreams(seed), common)
    return Scenarios(drawn[..., 0].reshape(n, *shape) if single else drawn.reshape(n, *shape, len(names)), names,
                     seed, common, single, _cell_names(what))  # fmt: skip


def _cell_names(what: object) -> tuple[str, ...]:
    if isinstance(what, CostTable):
        return tuple(f"{item}, {option}" for item in what.items[:MOST_CELLS] for option in what.options)[:MOST_CELLS]
    if isinstance(what, Curve):
        return tuple(f"{what.knob} {value:g}" for value in what.values[:MOST_CELLS].tolist())
    return ()


def draw(
    cells: Cells, questions: Questions, names: Sequence[str], n: int, streams: RandomStreams, common: float
) -> Array:  # fmt: skip
    """Return draws of rows, shape (n, rows, quantities)."""
    copula = _Copula(cells, questions, n, streams, common)
    out = np.empty((n, questions.rows, len(names)))
    for k, name in enumerate(names):
        value, lo, hi = cells.of(name)
        out[..., k] = _quantile(copula.normals(name), value, lo, hi)
        out[:, ~cells.feasible, k] = np.nan
    return out


def _quantile(z: Array, value: Array, lo: Array, hi: Array) -> Array:
    """Return the draws of a two-sided log-normal whose ends are at 5 % and 95 %; linear where `lo` is (nearly) 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        up, down = np.log(hi / value) / NORMAL_95, np.log(value / lo) / NORMAL_95
        below = np.where(
            lo > 1e-6 * value, value * np.exp(z * down), np.maximum(value + z * (value - lo) / NORMAL_95, 0)
        )
        return np.asarray(np.where(value == 0, 0.0, np.where(z > 0, value * np.exp(z * up), below)))


@dataclass(frozen=True)
class _Copula:
    cells: Cells
    questions: Questions
    n: int
    streams: RandomStreams
    common: float

    def normals(self, name: str) -> Array:
        """Return standard normal draws of a quantity, shape (n, rows).

        Energy is power times time with independent log errors (`costmodel.power`), money time times a price.
        """
        if name == "memory_bytes":
            return self._by_device("memory")
        time = self._errors("latency_s", "time")
        if name in TIMES:
            return time
        if name == "energy_j":
            part = self._part_of_time(name)
            return np.asarray(part * time + np.sqrt(1 - part**2) * self._errors("energy_j", "power"))
        part = self._part_of_time(name, added=True)
        return np.asarray(part * time + np.sqrt(1 - part**2) * self._by_device("price"))

    def _part_of_time(self, name: str, added: bool = False) -> Array:
        """Return the correlation with time that the log widths say; `added` where those of the factors add up."""
        _, lo, hi = self.cells.of("latency_s")
        _, whole_lo, whole_hi = self.cells.of(name)
        with np.errstate(divide="ignore", invalid="ignore"):
            time, whole = np.log(hi / lo), np.log(whole_hi / whole_lo)
            part = time / np.hypot(time, np.maximum(whole - time, 0.0)) if added else time / whole
        return np.clip(np.where(np.isfinite(part), part, 1.0), 0.0, 1.0)

    def _errors(self, name: str, purpose: str) -> Array:
        at = self.cells.quantities.index(name)
        weights = self.cells.families[:, at]
        norm = np.linalg.norm(weights, axis=1, keepdims=True)
        weights = np.divide(weights, norm, out=np.full_like(weights, len(OPS) ** -0.5), where=norm > 0)
        share = np.nan_to_num(self.cells.shared[:, at], nan=1.0)
        together = np.empty((self.n, self.questions.rows))
        for device, where in self._places():
            names = [f"oracle/{purpose}/{device}/{family}" for family in OPS]
            used = np.flatnonzero(weights[where].any(axis=0))
            z = np.stack([self._stream(names[f]) for f in used], axis=1)
            together[:, where] = z @ weights[np.ix_(where, used)].T
        if self.common > 0:
            everywhere = self._stream(f"oracle/{purpose}/all devices")[:, None]
            together = np.sqrt(self.common) * everywhere + np.sqrt(1 - self.common) * together
        together *= np.sqrt(share)
        alone = np.flatnonzero(share < 1)
        if len(alone):
            words = cell_words(self.questions.take(alone), purpose, self.streams.seed)
            together[:, alone] += np.sqrt(1 - share[alone]) * cell_normals(words, self.n)
        return together

    def _by_device(self, purpose: str) -> Array:
        """Return normals that all cells of a device share, shape (n, rows)."""
        found = np.empty((self.n, self.questions.rows))
        for device, where in self._places(software=False):
            found[:, where] = self._stream(f"oracle/{purpose}/{device}")[:, None]
        return found

    def _places(self, software: bool = True) -> list[tuple[str, Array]]:
        labels = device_names(self.questions, software)
        found, back = np.unique(labels, return_inverse=True)
        return [(str(name), np.flatnonzero(back == i)) for i, name in enumerate(found)]

    def _stream(self, name: str) -> Array:
        """Return the first `n` numbers of a stream, the same however often they are asked for."""
        return RandomStreams(self.streams.seed).get(name).standard_normal(self.n)


def _plain(values: Array) -> Any:
    """Return nested lists with null for NaN."""
    as_objects = values.astype(object)
    as_objects[np.isnan(values)] = None
    return as_objects.tolist()
