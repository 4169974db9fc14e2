"""The cases of `archcast validate`, as data: what is read, how it is split, what is fitted, beside what it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from archcast.validation.baselines import NEAREST, ROOFLINE
from archcast.validation.splits import Split

PEER = "aiconfigurator 0.12"
PEER_SIMUMAX = "SimuMax"
CLOSED_FORM, FACTOR, TREES = "closed form, nothing fitted", "one factor a device", "trees"
SHOTS, TERMS = "other devices, and shots of this one", "terms of the graph"
"""What is fitted on the train groups: nothing; the median of measured over closed form, one a device, stack and format;
the learned model of `archcast calibrate`; timings of other devices and a few of this one; coefficients of what a
network makes a device do."""

SHAPES = Split("shape", "unseen shapes: {}")
FOLDS = Split("group", "{} held out in five folds", folds=5, rounds=0)
EACH = Split("group", "each {} left out in turn", folds=0, rounds=0)


@dataclass(frozen=True)
class Case:
    """One comparison.

    `importer` reads `folder` of the data (`package` instead: an installed package, no folder), with `options`. Pieces
    of operators or of whole models are used, as `scorer` says; `ops` are the operators that count (empty = all).
    `quantity` is what is compared, a measured column. `split` names the groups; `unit` fills its text. `fitted` and
    `baselines` are names; `least_answered` is the share of test rows that must be answered for a line to count.
    `most_rows` bounds the rows that are used, by whole groups; `share` (in (0, 1]) thins a source of few, large groups
    as it is read: as much of each. `kin` are the columns that rows with one factor share. `devices` are those that are
    scored (empty = all).
    """

    name: str
    title: str
    importer: str
    folder: str
    scorer: str = "workloads"
    quantity: str = "latency_s"
    split: Split = FOLDS
    unit: str = "networks"
    fitted: str = CLOSED_FORM
    baselines: tuple[str, ...] = (ROOFLINE, NEAREST)
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    package: str = ""
    ops: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    peer: str = ""
    kin: tuple[str, ...] = ("device", "software", "dtype", "mode")
    least_answered: float = 0.95
    most_rows: int = 4000
    share: float = 1.0
    note: str = ""

    @property
    def split_text(self) -> str:
        """Say in words what is held out; nothing is where neither a fit nor a baseline sees other rows."""
        if self.scorer == "evaluation":
            return self.unit
        if self.fitted == CLOSED_FORM and NEAREST not in self.baselines:
            return "all rows"
        return self.split.text.format(self.unit)


def _operators(name: str, title: str, tables: str, unit: str, **changes: object) -> Case:
    """Return a case of aiconfigurator's tables: the thinned ones of the data, or all where `package` names it."""
    given: dict[str, object] = {
        "importer": "aiconfigurator", "folder": "aiconfigurator", "scorer": "operators", "split": SHAPES,
        "fitted": TREES, "options": {"tables": tables}, "most_rows": 60_000, **changes,
    }  # fmt: skip
    return Case(name, title, unit=unit, **given)  # type: ignore[arg-type]


def _evaluation(name: str, title: str, importer: str, folder: str, unit: str, fitted: str, baseline: str) -> Case:
    """Return a case of `archcast.validation.evaluated`: a method of its own."""
    return Case(name, title, importer, folder, "evaluation", unit=unit, fitted=fitted, baselines=(baseline,))


_AICONFIGURATOR: tuple[tuple[str, str, str, str], ...] = (
    ("gemm", "GEMM", "gemm_perf", "(n, k)"),
    ("attention", "attention", "context_attention_perf,generation_attention_perf",
     "(heads, kv_heads, head_dim, window)"),
    ("moe", "experts", "moe_perf", "(hidden, inter, experts, topk)"),
)  # fmt: skip
_LINKS = "nccl_perf,oneccl_perf,custom_allreduce_perf"
_WHEEL: dict[str, object] = {"package": "aiconfigurator_core", "folder": ""}
_WHEEL_SHARE = 0.02
"""Of the rows of each group: whole, the package's tables are 12.6 million rows in few, large groups."""

CASES: tuple[Case, ...] = (
    *(
        _operators(f"aic-{name}", f"aiconfigurator, measured power part: {title}", tables, unit)
        for name, title, tables, unit in _AICONFIGURATOR
    ),
    _operators(
        "aic-collectives", "aiconfigurator: collectives", _LINKS, "(device, kind, ranks)",
        split=Split("link", "unseen {}"),
    ),
    _operators(
        "aic-energy", "aiconfigurator: energy of GEMM", "gemm_perf", "(n, k)", quantity="energy_j",
        baselines=(NEAREST,), most_rows=20_000,
    ),
    *(
        _operators(
            f"wheel-{name}", f"package aiconfigurator-core: {title}", tables, unit, **_WHEEL, share=_WHEEL_SHARE,
        )
        for name, title, tables, unit in _AICONFIGURATOR
    ),
    _operators(
        "wheel-collectives", "package aiconfigurator-core: collectives", _LINKS, "(device, kind, ranks)", **_WHEEL,
        split=Split("link", "unseen {}"),
    ),
    Case(
        "neusight-ops", "NeuSight operators, FP32", "neusight", "neusight", "operators", split=SHAPES,
        unit="sizes", fitted=TREES, most_rows=60_000,
    ),
    Case(
        "neusight-new", "NeuSight operators, FP32, GPUs never seen", "neusight", "neusight", "operators",
        split=Split("device", "each {} left out in turn", folds=0, rounds=0), unit="device",
        devices=("h100-sxm", "l4"), fitted=TREES, baselines=(ROOFLINE,), most_rows=60_000,
    ),
    Case(
        "neusight-e2e", "NeuSight whole models, FP32", "neusight", "neusight",
        split=Split("device", "each {} left out in turn", folds=0, rounds=0), unit="device", fitted=FACTOR,
        baselines=(ROOFLINE,),
    ),
    Case(
        "vidur", "Vidur: operators under tensor parallelism", "vidur", "vidur", "operators", split=SHAPES,
        unit="sizes", fitted=TREES, most_rows=60_000, ops=("gemm", "norm", "elementwise", "embedding"),
    ),
    Case(
        "served-tpot", "served language models, TPOT", "silicon_sample", "aiconfigurator", quantity="tpot_s",
        split=FOLDS, unit="model, system, precision and ranks", peer="aiconfigurator", baselines=(ROOFLINE, PEER),
    ),
    Case("timm", "timm: image networks, large batches", "timm", "timm", unit="families", fitted=FACTOR,
         least_answered=0.6),
    Case("help", "HELP: networks of search spaces", "help", "help", unit="classes of cells", fitted=FACTOR,
         kin=("device", "workload", "batch"), most_rows=3000),
    Case("ai-hub", "Qualcomm AI Hub: NPUs", "qualcomm_ai_hub", "qualcomm_ai_hub", fitted=FACTOR),
    Case("ai-hub-tpot", "Qualcomm AI Hub: language models, TPOT", "qualcomm_ai_hub", "qualcomm_ai_hub",
         quantity="tpot_s", fitted=FACTOR),
    Case("hailo", "Hailo: pipelined rates", "hailo", "hailo", quantity="rate_hz", fitted=FACTOR,
         note="rates of a pipeline over the chip, which one pass after the other does not reach"),
    Case("rknn", "Rockchip: rates", "rknn", "rknn", quantity="rate_hz", split=EACH, unit="network",
         note="some rows ran on one core of the NPU, the catalogue's devices have all"),
    Case("mlperf-tiny", "MLPerf Tiny", "mlperf_tiny", "mlperf_tiny", split=EACH, unit="benchmark",
         baselines=(ROOFLINE,)),
    Case("mlperf-tiny-energy", "MLPerf Tiny: energy", "mlperf_tiny", "mlperf_tiny", quantity="energy_j", split=EACH,
         unit="benchmark", baselines=()),
    Case("mlperf-mobile", "MLPerf Mobile", "mlperf_mobile", "mlperf_mobile", split=EACH, unit="benchmark",
         baselines=(ROOFLINE,)),
    Case("llm-edge", "small systems: decode of language models", "llm_edge", "llm_edge", quantity="tpot_s",
         split=Split("device", "each {} left out in turn", folds=0, rounds=0), unit="device"),
    Case("helm-ttft", "HELM idealised runtimes: prompt", "helm", "helm_idealized", quantity="ttft_s", split=EACH,
         unit="curve", fitted=FACTOR),
    Case("helm-tpot", "HELM idealised runtimes: token", "helm", "helm_idealized", quantity="tpot_s", split=EACH,
         unit="curve", fitted=FACTOR),
    Case("ml-energy", "ML.ENERGY: energy of a request", "ml_energy", "ml_energy", quantity="energy_j",
         split=EACH, unit="model", baselines=(NEAREST,),
         note="lengths of prompts are not stated; the model's default is asked"),
    Case("simumax", "SimuMax: training steps", "simumax", "simumax", split=EACH, unit="model and ranks",
         peer="simumax", baselines=(ROOFLINE, PEER_SIMUMAX)),
    Case("simumax-memory", "SimuMax: peak memory of training", "simumax", "simumax", quantity="memory_bytes",
         split=EACH, unit="model and ranks", peer="simumax", baselines=(PEER_SIMUMAX,)),
    Case("vtrain", "vTrain: training steps", "vtrain", "vtrain", unit="model shapes", fitted=FACTOR),
    _evaluation("shots-nasbench201", "HELP, NAS-Bench-201: devices never seen, from few networks", "help", "help",
                "a device left out, half of the classes of cells scored", SHOTS, "PCA-ridge"),
    _evaluation("shots-fbnet", "HELP, FBNet: devices never seen, from few networks", "help", "help",
                "a device left out, half of the networks scored", SHOTS, "PCA-ridge"),
    _evaluation("shots-ai-hub", "Qualcomm AI Hub: a device never seen, from ten networks", "qualcomm_ai_hub",
                "qualcomm_ai_hub", "a device left out, half of the families scored", SHOTS, "best source"),
    _evaluation("terms-helm", "HELM idealised runtimes, terms of the graph", "helm", "helm_idealized",
                "each curve left out in turn", TERMS, "roofline"),
    _evaluation("terms-archgym", "ArchGym's AstraSim proxy (a simulator's output)", "archgym", "archgym-astrasim",
                "each topology left out, and the authors' random split", TERMS, "XGBoost on raw knobs"),
)  # fmt: skip
