"""Trees of a proxy: those of many designs are deep, may split every knob, and answer from a table of the space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archcast.searching.proxy import Proxy, boosting, fit_proxy, fitting, logs
from archcast.searching.proxy.boosting import DEEP, SETTINGS, Boosted, Lesson, boosted, flat, tried
from archcast.searching.ranges import Choice, Names
from archcast.searching.space import DesignSpace
from costmodel.trees import trees_from_json

SPACE = DesignSpace.of(
    rows=Choice([1, 2, 4, 8]), cols=Choice([1, 2, 4, 8]), kind=Names("a", "b", "c"), depth=Choice([1, 2, 3]),
    order=Names("in", "out"),
)  # fmt: skip


def guess(columns: Any) -> dict[str, Any]:
    """Return a closed form that knows one knob alone."""
    return {"time_s": 1.0 / columns["rows"]}


def lesson(count: int, seed: int = 0) -> Lesson:
    """Return designs of six two-valued knobs and a useless closed form, whose value is which of them are equal."""
    rng = np.random.default_rng(seed)
    knobs = rng.integers(0, 2, (count, 6)).astype(np.float32)
    values = (knobs[:, 0] != knobs[:, 1]) * 1.0 + (knobs[:, 2] != knobs[:, 3]) * (knobs[:, 4] != knobs[:, 5])
    features = np.column_stack((knobs, rng.normal(size=count))).astype(np.float32)
    return Lesson(features, 6, values, np.ones(count), np.ones(count), np.arange(count) % 3)


def every() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return all designs of the space, and a value without noise that several knobs decide together."""
    columns = SPACE.columns(SPACE.codes(np.arange(SPACE.size)))
    kind = np.asarray(columns["kind"], dtype=int)
    held = np.minimum(columns["rows"], np.where(kind == 1, columns["cols"], columns["depth"]))
    return columns, {"time_s": (1.0 + 0.5 * np.asarray(columns["order"], dtype=int)) / held}


@pytest.mark.parametrize("depth", [3, 9])
def test_trees_read_some_at_a_time_say_what_those_read_at_once_say(depth: int) -> None:
    some = lesson(300)
    model = boosted(some.features, some.values, some.counts, depth, 0.5, 2 * boosting.SLICE + 7, 0.3)
    at_once = Boosted(trees_from_json(bytes(model.save_raw("json"))))
    found = flat(model)
    assert found.trees.trees == at_once.trees.trees == 2 * boosting.SLICE + 7
    np.testing.assert_array_equal(found.predict(some.features[:200]), at_once.predict(some.features[:200]))
    np.testing.assert_array_equal(found.predict(some.features[:1]), at_once.predict(some.features[:1]))


def test_bare_trees_never_split_what_the_closed_form_says() -> None:
    some = lesson(400)
    bare = next(one for one in DEEP if one.bare)
    trees = flat(some.grown(bare, 20, 0.3))
    other = some.features.copy()
    other[:, 6] = 1e3
    np.testing.assert_array_equal(trees.predict(other), trees.predict(some.features))
    full = flat(some.grown(DEEP[0], 20, 0.3))
    assert (full.predict(other) != full.predict(some.features)).any()


def test_deep_trees_are_tried_of_many_designs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    few = tried(lesson(400))
    assert (few.depth, few.columns) in {(one.depth, one.columns) for one in SETTINGS}
    monkeypatch.setattr(boosting, "MANY", 400)
    many = tried(lesson(400))
    assert many.bare
    assert many.error < few.error


def test_of_designs_that_count_by_their_value_large_ones_are_known_better() -> None:
    rng = np.random.default_rng(2)
    features = rng.integers(0, 2, (2000, 1)).astype(np.float32)
    values = np.where(rng.random(2000) < 0.5, 0.0, 3.0)  # what no knob explains: the weighted mean is all there is
    worth = np.exp(values - 3.0)
    some = Lesson(features, 1, values, np.ones(2000), worth / worth.mean(), np.arange(2000) % 3)
    weighed = flat(some.grown(DEEP[0], 60, 0.3)).predict(features).mean()
    alike = flat(some.grown(SETTINGS[0], 60, 0.3)).predict(features).mean()
    assert weighed == pytest.approx((values * worth).sum() / worth.sum(), rel=0.02)
    assert alike == pytest.approx(values.mean(), rel=0.05)


def test_a_log_of_many_designs_makes_a_table_by_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    columns, values = every()
    some = np.random.default_rng(1).permutation(SPACE.size)[:200]
    log = {name: np.asarray(column)[some] for name, column in (columns | values).items()}
    asked: dict[str, Any] = {"space": SPACE, "values": ["time_s"], "closed_form": guess, "most_kriged": 0}
    assert fit_proxy(log, **asked).table is None
    for module in (boosting, fitting, logs):
        monkeypatch.setattr(module, "MANY", 200)
    made = fit_proxy(log, **asked)
    assert made.table is not None
    each = fit_proxy(log, **asked, table=False)
    assert each.table is None
    said = made.predict(columns).value["time_s"]
    np.testing.assert_allclose(said, each.predict(columns).value["time_s"], rtol=2e-5)
    unseen = np.setdiff1d(np.arange(SPACE.size), some)
    cheap = np.asarray(guess(columns)["time_s"])
    off, cheap_off = (np.abs(one - values["time_s"])[unseen].mean() for one in (said, cheap))
    assert off < 0.25 * cheap_off
    made.save(tmp_path / "made.npz")
    np.testing.assert_array_equal(Proxy.load(tmp_path / "made.npz").predict(columns).value["time_s"], said)
