"""Physics: relevant and other events through the classifiers, precision, recall, F1, relevant events per joule."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.pipelines.classifiers import Selection, classifier_of
from simulator.pipelines.rates_ranges import ONE, Range, exactly, spanning
from simulator.pipelines.rates_results import Yield

if TYPE_CHECKING:
    from hardware_specs.pipeline_schema import PipelineSpec, StageSpec


@dataclass(frozen=True, slots=True)
class Truth:
    """Share of relevant events in a flow, and share of all relevant events that are still in it."""

    relevant_share: float
    kept: float = 1.0


def relevant_fraction(spec: PipelineSpec, end: int = 0) -> float:
    """Return the share of relevant events at the detectors: as given, or 1 over the product of the reductions."""
    if spec.relevant_fraction is not None:
        return spec.relevant_fraction.interval[end]
    other_end = (0, 2, 1)[end]
    return 1 / math.prod(stage.reduction.interval[other_end] for stage in spec.stages if stage.reduction is not None)


def select(stage: StageSpec, truth: Truth, end: int = 0, *, as_published: bool = True) -> Selection | None:
    """Return what a stage passes, its classifier taken at a value or an end of its ranges; None: everything.

    Raises:
        ReductionError: the classifier cannot give the reduction.
    """
    if stage.classifier is None and stage.reduction is None:
        return None
    reduction = 1.0 if stage.reduction is None else stage.reduction.interval[(0, 2, 1)[end]]
    return classifier_of(stage.classifier, end=end, as_published=as_published).select(reduction, truth.relevant_share)


def passed(truth: Truth, selection: Selection | None) -> Truth:
    """Return the truth of what a selection passes."""
    if selection is None:
        return truth
    if math.isinf(selection.reduction):
        return Truth(0.0, 0.0)
    share = min(truth.relevant_share * selection.relevant_pass * selection.reduction, 1.0)
    return Truth(share, truth.kept * selection.relevant_pass)


def tells_apart(spec: PipelineSpec) -> bool:
    """Say whether any stage tells relevant events from others."""
    return any(stage.classifier is not None and stage.classifier.kind != "all" for stage in spec.stages)


def physics_yield(
    spec: PipelineSpec, truths: Mapping[int, Truth], survived: Range, rate_out_hz: Range, power_w: Range
) -> Yield | None:
    """Return the physics yield from the truth at the output, by end of the ranges; None without classifiers.

    Args:
        survived: share of events that the losses leave, which takes from recall alone.

    `relevant_per_joule` is F1 x output rate / power (metrics of system_flow), not relevant rate / power.
    """
    if not tells_apart(spec):
        return None
    ends = [truths[end] for end in sorted(truths)]
    precision = spanning(*(truth.relevant_share for truth in ends))
    recall = (spanning(*(truth.kept for truth in ends)) * survived).at_most(ONE)
    f1 = Range(*(_f1(p, r) for p, r in zip(_parts(precision), _parts(recall), strict=True)))
    per_joule = f1 * rate_out_hz / power_w if power_w.value > 0 else exactly(math.inf)
    return Yield(precision, recall, f1, precision * rate_out_hz, per_joule)


def _f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def _parts(value: Range) -> tuple[float, float, float]:
    return value.value, value.lo, value.hi
