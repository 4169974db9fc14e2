"""The compiled closed form equals the numpy one, row by row, on every device that it serves."""

from __future__ import annotations

import numpy as np
import pytest

from costmodel import physics, physics_numba
from costmodel.costs import COLUMNS
from costmodel.kernels import kernels_of
from costmodel.rates import compile_rates
from hardware_specs import device_ids, load_device
from workloads.table import CATEGORIES, DEFAULTS, NEEDED, OpTable

pytest.importorskip("numba")

ROWS = 3_000


def mixed_table(seed: int) -> OpTable:
    """Every family that the compiled path serves, in every number format, at random sizes."""
    rng = np.random.default_rng(seed)
    sizes = sorted({name for needed in NEEDED.values() for name in needed} | {"kv_len", "kv_heads", "window"})
    columns = {name: rng.integers(1, 9 if DEFAULTS[name] == 1 else 3_000, ROWS).astype(float) for name in sizes}
    columns["experts"] += 8
    columns["h"] += columns["kh"]
    columns["w"] += columns["kw"]
    names = {c: rng.integers(c in ("kind",), len(words), ROWS) for c, words in CATEGORIES.items()}
    plain = np.flatnonzero(kernels_of("gpu").plain)
    return OpTable.from_columns({**columns, **names, "op": rng.choice(plain, ROWS), "topk": 4})


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Take the compiled path from the first row on; the list counts its calls."""
    calls: list[int] = []
    real = physics_numba.fill

    def counted(*given: object) -> None:
        calls.append(1)
        real(*given)  # type: ignore[arg-type]

    physics_numba.kernel()
    monkeypatch.setattr(physics_numba, "ROWS", 0)
    monkeypatch.setattr(physics_numba, "fill", counted)
    monkeypatch.setattr(physics, "CHUNK", 1_024)
    return calls


@pytest.mark.parametrize("device", device_ids())
def test_every_column_is_equal(device: str, compiled: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    rates, table = compile_rates(load_device(device)), mixed_table(3)
    fast = physics.predict_physics(table, rates)
    taken = len(compiled)
    monkeypatch.setattr(physics_numba, "ROWS", 10**9)
    slow = physics.predict_physics(table, rates)
    arrays = rates.array is not None or rates.spatial is not None
    served = not arrays and all(edge in (1, 2, 4, 8, 16, 32, 64, 128, 256) for edge in rates.tile)
    assert taken == (3 if served else 0)
    assert len(compiled) == taken
    for name in COLUMNS:
        np.testing.assert_allclose(getattr(fast, name), getattr(slow, name), rtol=1e-12, atol=0, err_msg=name)


@pytest.mark.parametrize("uniform", [("dtype",), ("m", "dtype"), ("op", "dtype", "m", "n", "k")])
def test_one_value_for_all_rows_is_the_same_as_many_equal_ones(uniform: tuple[str, ...], compiled: list[int]) -> None:
    rates = compile_rates(load_device("h100-sxm"))
    whole = {"op": np.zeros(ROWS, dtype=int), "dtype": np.full(ROWS, 3), "m": np.full(ROWS, 96.0)}
    whole |= {"n": np.arange(1.0, ROWS + 1), "k": np.full(ROWS, 4_096.0)}
    short = {name: values[0] if name in uniform and name != "n" else values for name, values in whole.items()}
    a = physics.predict_physics(OpTable.from_columns(whole), rates)
    b = physics.predict_physics(OpTable.from_columns(short), rates)
    assert compiled
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def test_a_tile_that_is_no_power_of_two_is_left_to_numpy() -> None:
    physics_numba.kernel()
    assert physics_numba.worth_it(10**7, (128, 128, 64))
    assert not physics_numba.worth_it(10**7, (96, 128, 64))
    assert not physics_numba.worth_it(100, (128, 128, 64))


def test_families_of_several_kernels_stay_on_the_numpy_path(compiled: list[int]) -> None:
    attention = {
        "op": "attention",
        "dtype": "bf16",
        "batch": 1,
        "q_len": 128,
        "heads": 8,
        "head_dim": np.full(2_000, 64.0),
    }
    physics.predict_physics(OpTable.from_columns(attention), compile_rates(load_device("h100-sxm")))
    assert not compiled
