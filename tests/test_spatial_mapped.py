"""Who tiles on a spatial array: the rule, the best of all orders, or Gemmini's library; `predict` does as well."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

import archcast as ac
from costmodel.spatial.costs import STAGES
from costmodel.spatial.devices import machine_of, spatial_times
from costmodel.spatial.fixed import fixed_mapping
from costmodel.spatial.gemmini import gemmini_costs, gemmini_runs
from costmodel.spatial.layers import Layers, layers_of
from costmodel.spatial.mapped import GEMMINI_SPREAD, mapped
from costmodel.spatial.orders import best_mapping
from foundation.errors import BadValueError
from hardware_specs import load_device
from workloads.table import OpTable
from workloads.work import count_work

LAYERS = Layers(
    batch=np.ones(4), groups=np.array([1.0, 1.0, 32.0, 1.0]), k=np.array([64.0, 128.0, 1.0, 64.0]),
    c=np.array([64.0, 64.0, 1.0, 64.0]), oy=np.array([28.0, 0.0, 14.0, 28.0]), ox=np.array([28.0, 0.0, 14.0, 28.0]),
    fy=np.array([3.0, 1.0, 3.0, 3.0]), fx=np.array([3.0, 1.0, 3.0, 3.0]), stride=np.ones(4),
)  # fmt: skip
"""A convolution, a row without outputs, a depthwise layer, and the first again."""


def test_rows_without_work_cost_nothing_and_equal_rows_the_same() -> None:
    machine = machine_of(load_device("gemmini-16x16"))
    for mapping in ("best", "gemmini"):
        costs = mapped(LAYERS, replace(machine, mapping=mapping))
        cycles = np.broadcast_to(costs.cycles, (4,))
        assert cycles[1] == 0
        assert cycles[0] == cycles[3] > 0
        assert sum(costs.waterfall().values()) == pytest.approx(cycles)
        assert np.broadcast_to(costs.feasible, (4,)).all()


def test_each_mapping_is_that_of_its_own_model() -> None:
    machine = machine_of(load_device("gemmini-16x16"))
    one = Layers(batch=1.0, groups=1.0, k=64.0, c=64.0, oy=28.0, ox=28.0, fy=3.0, fx=3.0)
    expected = {
        "fixed": fixed_mapping(one, machine).cycles,
        "best": best_mapping(one, machine).cycles,
        "gemmini": gemmini_costs(gemmini_runs(one)).cycles,
    }
    for mapping, cycles in expected.items():
        found = mapped(LAYERS, replace(machine, mapping=mapping)).cycles
        assert np.ravel(found)[0] == pytest.approx(float(np.ravel(cycles)[0])), mapping


def test_the_best_is_never_slower_than_the_rule() -> None:
    machine = replace(machine_of(load_device("zigzag-tpu-like")), mapping="best")
    table = OpTable.from_columns(
        {"op": "gemm", "m": [49.0, 196.0, 784.0], "n": [512.0, 256.0, 128.0], "k": [512.0, 256.0, 128.0],
         "batch": 1.0, "dtype": "int8"}
    )  # fmt: skip
    layers = layers_of(table)
    best, rule = mapped(layers, machine), mapped(layers, replace(machine, mapping="fixed"))
    assert (best.cycles <= np.asarray(rule.cycles)).all()


def test_memory_that_delivers_more_in_a_cycle_is_never_slower() -> None:
    machine = replace(machine_of(load_device("zigzag-tpu-like")), mapping="best")
    one, four = (np.asarray(mapped(LAYERS, machine, 1.0, rate).cycles) for rate in (8.0, 32.0))
    assert (four <= one).all()
    assert np.asarray(mapped(LAYERS, machine).cycles) == pytest.approx(one)


def test_layers_of_equal_cycles_have_the_same_steps_whoever_tiles() -> None:
    # bound by the array or by memory, in full folds: first load, last store and one latency beside either
    machine = machine_of(load_device("gemmini-16x16"))
    table = OpTable.from_columns(
        {"op": "gemm", "m": [256.0, 16.0], "n": [256.0, 4096.0], "k": [256.0, 512.0], "batch": 1.0, "dtype": "int8"}
    )
    work = count_work(table)
    rule, best = (
        spatial_times(table, work, replace(machine, mapping=name), 1e-9, 1 / 16e9) for name in ("fixed", "best")
    )
    for step in ("ideal_s", "shape_s", "dram_bytes", "exposed_s"):
        assert np.asarray(getattr(best, step)) == pytest.approx(np.asarray(getattr(rule, step)), rel=1e-9), step
    for step in ("fill_s", "onchip_s"):  # orders leave out the load of the first 16 rows of weights
        assert np.asarray(getattr(best, step)) == pytest.approx(np.asarray(getattr(rule, step)), abs=16.1e-9), step
    assert (np.asarray(best.serial_s) <= np.asarray(rule.serial_s) + 1e-15).all()


def test_a_mapping_that_is_none_is_refused() -> None:
    with pytest.raises(BadValueError, match="fixed, best, gemmini"):
        mapped(LAYERS, replace(machine_of(load_device("gemmini-16x16")), mapping="worst"))


def test_predict_on_gemmini_is_the_sum_of_what_its_library_takes() -> None:
    estimate = ac.predict("resnet-18", on="gemmini-16x16")
    assert estimate.detail is not None
    assert estimate.latency_s is not None
    table, rates = estimate.detail.lowered.table, estimate.detail.rates
    layers = layers_of(table)
    work = np.asarray(layers.macs) > 0
    names = [field.name for field in fields(Layers)]
    some = Layers(**{name: np.broadcast_to(getattr(layers, name), (table.rows,))[work] for name in names})
    cycles = gemmini_costs(gemmini_runs(some, padding=some.pad_y / 2)).cycles
    counted = (estimate.detail.costs.latency_s - rates.launch_s[0])[work]
    plain = np.broadcast_to(count_work(table).vector_flop, (table.rows,))[work] == 0
    assert plain.sum() > 15
    # a product's compulsory bytes may exceed those that miss its caches
    assert counted[plain] == pytest.approx(cycles[plain] / 1e9, rel=6e-3)


def test_its_interval_is_the_one_that_rtl_runs_gave() -> None:
    estimate = ac.predict("resnet-50", on="gemmini-16x16")
    assert estimate.latency_s is not None
    assert estimate.latency_s.value / estimate.latency_s.lo == pytest.approx(GEMMINI_SPREAD, rel=0.05)
    assert estimate.latency_s.hi / estimate.latency_s.value == pytest.approx(GEMMINI_SPREAD, rel=0.05)


def test_stages_are_those_of_the_waterfall() -> None:
    costs = mapped(LAYERS, machine_of(load_device("gemmini-16x16")))
    assert tuple(costs.waterfall()) == STAGES
