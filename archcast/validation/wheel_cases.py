"""Cases of aiconfigurator's operator tables: those of the data folder (two GPUs), and the package's (ten devices)."""

from __future__ import annotations

from archcast.validation.baselines import NEAREST, PLAIN, ROOFLINE
from archcast.validation.case import DEVICES, SHAPES, TREES, Case
from archcast.validation.splits import Split

ATTENTION = "context_attention_perf,generation_attention_perf"
LINKS = "nccl_perf,oneccl_perf,custom_allreduce_perf"
KINDS: tuple[tuple[str, str, str, str, int], ...] = (
    ("gemm", "GEMM", "gemm_perf", "(n, k)", 600),
    ("attention", "attention", ATTENTION, "(heads, kv_heads, head_dim, window)", 600),
    ("moe", "experts", "moe_perf", "(hidden, inter, experts, topk)", 240),
)
"""Name, title, tables, shape groups, and rows of each kernel that are read; half where devices are left out."""
UNSEEN = ("h200-sxm", "gb300", "rtx-pro-6000", "l40s", "a100-sxm-80gb", "arc-pro-b60")
SHOTS = (0, 10, 20)
LINK = Split("link", "unseen {}")


def _case(name: str, title: str, tables: str, unit: str, **changes: object) -> Case:
    given: dict[str, object] = {
        "importer": "aiconfigurator", "folder": "", "package": "aiconfigurator_core", "scorer": "operators",
        "split": SHAPES, "fitted": TREES, "options": {"tables": tables}, "baselines": (ROOFLINE, NEAREST, PLAIN),
        **changes,
    }  # fmt: skip
    return Case(name, title, unit=unit, **given)  # type: ignore[arg-type]


def _left_out(name: str, title: str, tables: str, **changes: object) -> Case:
    return _case(name, title, tables, "device", scorer="devices", split=DEVICES, baselines=(ROOFLINE, PLAIN), **changes)


WHEEL_CASES: tuple[Case, ...] = (
    _case("wheel-gemm-one-stack", "GEMM, H200 and H100, bf16, vLLM 0.24", "gemm_perf", "(n, k)",
          reads=("h200-sxm", "h100-sxm"), stack="vllm 0.24.0", dtype="bf16", kernel_rows=16_000),
    *(_case(f"wheel-{name}", f"{title}, ten devices, all formats and stacks", tables, unit, kernel_rows=rows)
      for name, title, tables, unit, rows in KINDS),
    _case("wheel-collectives-sizes", "collectives, ten devices", LINKS, "(kind, ranks, bytes)"),
    _case("wheel-collectives-links", "collectives, ten devices", LINKS, "(device, kind, ranks)", split=LINK),
    _left_out("wheel-collectives-device", "collectives, a device never seen", LINKS),
    _left_out("unseen-gemm-bf16", "GEMM, bf16, vLLM: H200 from H100, A100 and L40S; L40S from H200, H100 and A100",
              "gemm_perf", reads=("h200-sxm", "h100-sxm", "a100-sxm-80gb", "l40s"), stack="vllm", dtype="bf16",
              kernel_rows=4000, devices=("h200-sxm", "l40s")),
    *(_left_out(f"unseen-{name}", f"{title}, a device never seen, then with a few of its rows", tables,
                kernel_rows=rows // 2, devices=UNSEEN, shots=SHOTS)
      for name, title, tables, _, rows in KINDS),
)  # fmt: skip
"""Further cases of one table read what the first one read: the same rows of each kernel."""

_FOLDER: dict[str, object] = {"folder": "aiconfigurator", "package": "", "baselines": (ROOFLINE, NEAREST)}
AICONFIGURATOR_CASES: tuple[Case, ...] = (
    *(_case(f"aic-{name}", f"{title}, H200 and B200 with measured power", tables, unit, kernel_rows=1200, **_FOLDER)
      for name, title, tables, unit, _ in KINDS),
    _case("aic-collectives", "collectives, nine devices", LINKS, "(device, kind, ranks)", split=LINK, **_FOLDER),
    _case("aic-energy", "energy of GEMM", "gemm_perf", "(n, k)", quantity="energy_j", kernel_rows=1200,
          **{**_FOLDER, "baselines": (NEAREST,)}),
)  # fmt: skip
