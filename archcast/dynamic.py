"""Dynamic networks: the distribution of what one input, or a batch of unequal inputs, costs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from archcast.fallback import as_run, costs_under_runtime
from archcast.question import Question
from costmodel.collectives import Fabric
from costmodel.estimate import Distribution, Estimate, PathCost, Quantity, compose
from costmodel.memory import MemoryReport
from costmodel.mixtures import Mixture, VariantCost, batch_sizes, mixture
from costmodel.protocol import CostModel
from hardware_specs.runtimes import RuntimeSpec
from workloads.composite import Composite
from workloads.lowering import lower
from workloads.mapping import Mapping
from workloads.paths import Variant, shares_of, variants
from workloads.table import Array

FULL = "Operators, the waterfall and bounds are those of full batches of each kind (regrouped)."


def with_paths(
    estimate: Estimate, question: Question, mapping: Mapping, cost_model: CostModel, fabric: Fabric | None,
    report: MemoryReport, runtime: RuntimeSpec | None, turns: int = 1,
) -> Estimate:  # fmt: skip
    """Return the estimate with the distributions of time and energy where inputs take different paths.

    Batches run compact: a part runs the inputs that need it, however few. Replicas and users in service keep the means.
    """
    model = question.model
    if not isinstance(model, Composite) or not model.paths or estimate.latency_s is None:
        return estimate
    if mapping.dp > 1 or question.concurrency:
        note = "Each input takes one of several paths; times and energies are means over them, with full batches."
        return replace(estimate, notes=(*estimate.notes, note))
    batch, asked = int(question.request.batch), dict(model.values)
    names = {**asked, "batch": batch, "prompt": model.prompt, "generate": model.generate}
    shares = shares_of(model.paths, names)
    price = _Pricing(question, mapping, cost_model, fabric, report, runtime, batch // turns)
    columns = [
        _costs(model, variant, price, batch_sizes(batch)) for variant in variants(model.parts, model.paths, names)
    ]
    times, joules = ([pair[i] for pair in columns] for i in range(2))
    spread, energy = mixture(times, shares, batch), mixture(joules, shares, batch)
    paths = tuple(
        PathCost(path.name, shares[i], _alone(times, i), _alone(joules, i)) for i, path in enumerate(model.paths)
    )
    latency_s = _distribution(spread)
    energy_j = _distribution(energy)
    rate_hz = Quantity(batch / latency_s.value, batch / latency_s.hi, batch / latency_s.lo)
    loss = {} if batch == 1 else {
        "regrouped_s": spread.regrouped, "compact_s": spread.mean[0], "padded_s": spread.padded,
        "compact_loss_share": 1 - spread.regrouped / spread.mean[0],
        "padded_loss_share": 1 - spread.regrouped / spread.padded,
    }  # fmt: skip
    power_w = estimate.power_w and Quantity(
        energy_j.value / latency_s.value, min(estimate.power_w.lo, energy_j.value / latency_s.value),
        max(estimate.power_w.hi, energy_j.value / latency_s.value),
    )  # fmt: skip
    notes = estimate.notes if batch == 1 else (*estimate.notes, FULL)
    scale = latency_s.value / estimate.latency_s.value
    cost_usd = estimate.cost_usd.scaled(scale) if estimate.cost_usd else None
    return replace(
        estimate,
        latency_s=latency_s,
        energy_j=energy_j,
        rate_hz=rate_hz,
        power_w=power_w,
        cost_usd=cost_usd,
        paths=paths,
        batching=loss,
        notes=notes,
    )


@dataclass(frozen=True)
class _Pricing:
    """What variants are priced with: the memory report is the whole network's, which is planned once for all paths.

    More inputs than `at_once` run in turns.
    """

    question: Question
    mapping: Mapping
    cost_model: CostModel
    fabric: Fabric | None
    report: MemoryReport
    runtime: RuntimeSpec | None
    at_once: int

    def totals(self, model: Composite, sizes: Array) -> tuple[Array, Array]:
        """Return (seconds, joules) of batches, shape (sizes, 3)."""
        if np.any(sizes > self.at_once):
            full, rest = np.divmod(np.asarray(sizes, dtype=int), self.at_once)
            known = np.unique(np.append(rest[rest > 0], self.at_once))
            at, last = np.searchsorted(known, rest), (rest > 0)[:, None]
            turns = self.totals(model, known)
            of_full = (full[:, None] * column[-1] for column in turns)
            of_rest = (np.where(last, column[np.minimum(at, len(known) - 1)], 0.0) for column in turns)
            seconds, joules = (a + b for a, b in zip(of_full, of_rest, strict=True))
            return seconds, joules
        if self.runtime is not None and len(sizes) > 1:  # how a runtime divides a network may differ from size to size
            found = [self.totals(model, sizes[i : i + 1]) for i in range(len(sizes))]
            seconds, joules = (np.concatenate(column) for column in zip(*found, strict=True))
            return seconds, joules
        request = replace(self.question.request, batch=sizes.astype(float))
        workload = as_run(model.workload(request), self.runtime)
        lowered = lower(workload.passes, self.mapping)
        costs, _ = costs_under_runtime(
            self.cost_model, workload, lowered, self.question.target, self.fabric, self.mapping, self.report,
            self.runtime,
        )  # fmt: skip
        totals = compose(workload, lowered, costs)
        return totals.latency_s, totals.energy_j


def _costs(model: Composite, variant: Variant, price: _Pricing, sizes: Array) -> tuple[VariantCost, VariantCost]:
    """Return (seconds, joules) of a variant with so many inputs; zeros for a part that these paths do not run."""
    part = variant.of, variant.paths
    values = {**model.values, **variant.values}
    seconds = joules = np.zeros((len(sizes), 3))
    if np.any(variant.part.runs({**values, "batch": 1.0, "prompt": model.prompt, "generate": model.generate})):
        seconds, joules = price.totals(replace(model, parts=(variant.part,), values=values, paths=()), sizes)
    return VariantCost(*part, sizes, seconds), VariantCost(*part, sizes, joules)


def _alone(found: list[VariantCost], path: int) -> Quantity:
    """Return what one input of a path costs by itself."""
    one = np.array(1)
    value, lo, hi = (sum(float(v.at(one, c)) for v in found if path in v.paths) for c in range(3))
    return Quantity(value, lo, hi)


def _distribution(spread: Mixture) -> Distribution:
    return Distribution(*spread.mean, spread.p50, spread.p90, spread.p99)
