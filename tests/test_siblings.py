"""Devices that resemble each other share their trees, and do not vouch for one another."""

from __future__ import annotations

import numpy as np

from costmodel.adaptation import KinTable, prior_of
from costmodel.kin import kin_ratios, siblings
from costmodel.knowledge import Scope, model_name
from costmodel.rates import compile_rates
from hardware_specs import load_device

MEASURED = (
    "a100-sxm-80gb", "arc-pro-b60", "b200", "b300", "gb200", "gb300", "h100-sxm", "h200-sxm", "l40s", "rtx-pro-6000",
)  # fmt: skip


def test_devices_of_one_generation_share_their_trees() -> None:
    rates = [compile_rates(load_device(name)) for name in MEASURED]
    found = siblings({r.device: kin_ratios(r) for r in rates}, {r.device: r.kind for r in rates})
    assert set(found.values()) == {
        "a100-sxm-80gb", "arc-pro-b60", "b200+b300+gb200+gb300", "h100-sxm+h200-sxm", "l40s+rtx-pro-6000",
    }  # fmt: skip
    assert all(name in pool.split("+") for name, pool in found.items())


def test_the_order_of_devices_changes_no_pool_and_another_kind_joins_none() -> None:
    ratios: dict[str, tuple[float, ...]] = {"a": (0.0,), "b": (0.1,), "c": (0.2,), "far": (5.0,)}
    kinds = dict.fromkeys(ratios, "gpu") | {"c": "npu"}
    found = siblings(ratios, kinds)
    assert found == {"a": "a+b", "b": "a+b", "c": "c", "far": "far"}
    assert siblings(dict(reversed(ratios.items())), kinds) == found


def test_a_chain_of_neighbours_is_not_one_pool() -> None:
    found = siblings({"a": (0.0,), "b": (0.5,), "c": (1.0,)}, dict.fromkeys("abc", "gpu"))
    assert found == {"a": "a+b", "b": "a+b", "c": "c"}


def test_every_sibling_finds_the_trees_it_shares() -> None:
    ends = ((0.0,), (1.0,))
    names = [model_name("gemm", "x+y", "bf16"), model_name("moe", "x", ""), model_name("collective", "x", "")]
    scope = Scope(("x", "y"), (), (), dict.fromkeys(names, ends))
    assert scope.model_of("gemm", "x", "bf16") == scope.model_of("gemm", "y", "bf16") == "gemm/x+y/bf16"
    assert scope.model_of("moe", "x", "") == "moe/x"
    assert scope.model_of("moe", "y", "") is None
    assert scope.model_of("collective", "y", "") == "collective"


def test_siblings_that_say_nothing_of_a_device_have_no_share_in_its_answer() -> None:
    factor = np.array([[0.1, np.nan, 0.3], [np.nan, 0.2, 0.3], [0.4, 0.4, 0.5]])  # x and y share their trees
    nothing = np.zeros(3)
    table = KinTable(("x", "y", "z"), np.arange(3), nothing, nothing, nothing, np.zeros((3, 4)), nothing, factor)
    kinship = {"x": (0.0,), "y": (0.01,), "z": (1.0,)}
    assert prior_of(table, kinship, "x", kinship["x"], 1.0).tolist() == [0.0, 0.0, 1.0]
    assert prior_of(table, kinship, "z", kinship["z"], 1.0)[:2].min() > 0.4
