"""Proxies learned from logged designs: as good as they say, deterministic, and honest about what they do not know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archcast.searching.proxy import Proxy
from archcast.searching.proxy.card import scores
from archcast.searching.proxy.conformal import Interval
from archcast.searching.ranges import Choice, Names, Real
from archcast.searching.space import DesignSpace
from foundation.errors import BadFileError, BadValueError

SPACE = DesignSpace.of(
    when={"depth": ("kind", ["b", "c"])}, rows=Choice([1, 2, 4, 8, 16]), cols=Choice([1, 2, 4, 8]),
    kind=Names("a", "b", "c"), depth=Choice([1, 2, 3]), rate=Real(0.1, 10.0, log=True),
)  # fmt: skip
LISTED = DesignSpace(SPACE.knobs[:4], SPACE.conditions)


def guess(columns: Any) -> dict[str, Any]:
    """Return a closed form that is off by factors."""
    return {"time_s": 1.0 / (columns["rows"] * columns["cols"]) + 0.01}


def values(columns: Any, noise: Any = 0.0) -> dict[str, Any]:
    """Return two values; the first is the closed form's times what a proxy has to learn."""
    slow = np.array([1.0, 1.5, 0.7])[np.asarray(columns["kind"], dtype=int)]
    time_s = guess(columns)["time_s"] * slow * (1 + 0.3 * np.log2(columns["rows"])) * np.exp(noise)
    return {"time_s": time_s, "power_w": columns["rows"] * slow + columns.get("rate", 1.0) * columns["depth"]}


def designs(count: int, seed: int, space: DesignSpace = SPACE) -> dict[str, Any]:
    return space.columns(space.decode(np.random.default_rng(seed).random((count, len(space.knobs)))))


@pytest.fixture(scope="module")
def proxy() -> Proxy:
    columns = designs(200, 1)
    return Proxy.fit(SPACE, columns, values(columns), guess, most_kriged=400)


def nearest(train: Any, told: Any, columns: Any) -> Any:
    """Return the value of the nearest design on the unit cube."""
    points, others = (SPACE.encode(SPACE.codes_of(one)) for one in (train, columns))
    return told[((others[:, None] - points) ** 2).sum(axis=2).argmin(axis=1)]


def test_a_proxy_beats_the_nearest_design_and_a_line_on_designs_that_it_never_saw(proxy: Proxy) -> None:
    columns, train = designs(400, 2), designs(200, 1)
    true = values(columns)["time_s"]
    mine = scores(proxy.predict(columns).value["time_s"], true)["rmse_over_mean"]
    told = values(train)["time_s"]
    near = scores(nearest(train, told, columns), true)["rmse_over_mean"]
    points, others = (
        np.column_stack([np.ones(len(c["rows"])), *map(np.asarray, c.values())]) for c in (train, columns)
    )
    line = scores(np.exp(others @ np.linalg.lstsq(points, np.log(told), rcond=None)[0]), true)["rmse_over_mean"]
    assert mine < 0.5 * near
    assert mine < 0.5 * line


def test_the_card_says_what_unseen_designs_confirm(proxy: Proxy) -> None:
    columns = designs(400, 3)
    said = proxy.card["left_out"]["time_s"]
    found = scores(proxy.predict(columns).value["time_s"], values(columns)["time_s"])
    assert proxy.card["designs"] == 200
    assert proxy.card["runs"] == 200
    assert 0.4 * said["mape"] < found["mape"] < 1.6 * said["mape"]
    assert 0.5 < proxy.card["front_recall"] <= 1.0


def test_intervals_cover_runs_of_designs_that_were_left_out() -> None:
    rng = np.random.default_rng(4)
    columns, unseen = designs(600, 4), designs(1500, 5)
    wide = 0.05 + 0.2 * (np.asarray(columns["kind"]) == 1), 0.05 + 0.2 * (np.asarray(unseen["kind"]) == 1)
    told = {"time_s": values(columns, wide[0] * rng.normal(size=600))["time_s"]}
    made = Proxy.fit(SPACE, columns, told, most_kriged=0)
    true = values(unseen, wide[1] * rng.normal(size=1500))["time_s"]
    found = made.predict(unseen)
    inside = (true >= found.lo["time_s"]) & (true <= found.hi["time_s"])
    assert 0.86 < inside[~found.outside].mean() < 0.96
    noisy = np.asarray(unseen["kind"]) == 1
    width = np.log(found.hi["time_s"] / found.lo["time_s"])
    assert np.nanmedian(width[noisy]) > 1.5 * np.nanmedian(width[~noisy])


def test_runs_of_one_design_count_as_one_and_tell_the_noise() -> None:
    once = designs(120, 6)
    columns = {name: np.repeat(column, 3) for name, column in once.items()}
    noise = 0.1 * np.random.default_rng(6).normal(size=360)
    made = Proxy.fit(SPACE, columns, {"time_s": values(columns, noise)["time_s"]}, guess, most_kriged=0)
    assert made.card["designs"] <= 120 < made.card["runs"]
    assert 0.04 < made.card["left_out"]["time_s"]["noise_over_mean"] < 0.25


def test_chance_that_runs_share_is_in_the_interval_where_groups_are_told() -> None:
    columns = designs(400, 12)
    stream = np.repeat(np.arange(20), 20)
    shared = 0.2 * np.random.default_rng(3).normal(size=20)
    told = {"time_s": values(columns, shared[stream])["time_s"]}
    unseen = designs(400, 13)
    other = 0.2 * np.random.default_rng(4).normal(size=(400,))
    true = values(unseen, other)["time_s"]
    made = Proxy.fit(SPACE, columns, told, guess, most_kriged=0, groups=stream)
    assert made.card["folds_of"] == "groups of runs"
    found = made.predict(unseen)
    inside = (true >= found.lo["time_s"]) & (true <= found.hi["time_s"])
    assert 0.8 < inside[~found.outside].mean() < 0.98


@pytest.mark.parametrize(("groups", "said"), [(np.zeros(200), "1 groups"), (np.arange(7), "7 groups for 200")])
def test_groups_that_cannot_be_left_out_in_turn_are_refused(groups: Any, said: str) -> None:
    columns = designs(200, 1)
    with pytest.raises(BadValueError, match=said):
        Proxy.fit(SPACE, columns, values(columns), guess, most_kriged=0, groups=groups)


def test_a_closed_form_that_says_nothing_of_some_designs_flags_none_of_them() -> None:
    def half(of: Any) -> dict[str, Any]:
        return {"time_s": guess(of)["time_s"], "loss": np.where(of["rows"] > 4, of["rows"] / 100.0, 0.0)}

    columns, unseen = designs(400, 14), designs(200, 15)
    found = Proxy.fit(SPACE, columns, {"time_s": values(columns)["time_s"]}, half, most_kriged=0).predict(unseen)
    assert found.outside.mean() < 0.05
    always = {name: column[columns["rows"] > 4] for name, column in columns.items()}
    made = Proxy.fit(SPACE, always, {"time_s": values(always)["time_s"]}, half, most_kriged=0)
    assert made.predict(unseen).outside[unseen["rows"] <= 4].all()


def test_the_same_log_gives_the_same_bits_and_equal_designs_equal_values(proxy: Proxy) -> None:
    columns = designs(200, 1)
    again = Proxy.fit(SPACE, columns, values(columns), guess, most_kriged=400)
    unseen = designs(50, 7)
    one, other = proxy.predict(unseen), again.predict(unseen)
    for name in proxy.names:
        np.testing.assert_array_equal(one.value[name], other.value[name])
        np.testing.assert_array_equal(one.hi[name], other.hi[name])
    alone = proxy.predict({name: column[7:8] for name, column in unseen.items()})
    many = proxy.predict({name: np.tile(column[7:8], 300) for name, column in unseen.items()})
    for name in proxy.names:
        assert alone.value[name][0] == one.value[name][7]
        assert (many.value[name] == one.value[name][7]).all()


def test_designs_of_values_that_no_log_had_are_flagged_and_have_no_interval() -> None:
    columns = designs(500, 8)
    keep = (columns["rows"] < 16) & ~((columns["cols"] == 8) & (columns["kind"] == 2))
    columns = {name: column[keep] for name, column in columns.items()}
    made = Proxy.fit(SPACE, columns, {"power_w": values(columns)["power_w"]}, most_kriged=0)
    unseen = designs(300, 9)
    found = made.predict(unseen)
    strange = (unseen["rows"] == 16) | ((unseen["cols"] == 8) & (unseen["kind"] == 2))
    assert found.outside[strange].all()
    assert found.outside[~strange].mean() < 0.02
    assert np.isnan(found.lo["power_w"][found.outside]).all()
    assert np.isfinite(found.value["power_w"]).all()


def test_a_saved_proxy_answers_as_before_to_the_bit(proxy: Proxy, tmp_path: Path) -> None:
    proxy.save(tmp_path / "one.npz")
    back = Proxy.load(tmp_path / "one.npz", guess)
    unseen = designs(400, 10)
    one, other = proxy.predict(unseen), back.predict(unseen)
    for name in proxy.names:
        np.testing.assert_array_equal(one.value[name], other.value[name])
        np.testing.assert_array_equal(one.lo[name], other.lo[name])
        np.testing.assert_array_equal(one.hi[name], other.hi[name])
    assert back.card == proxy.card
    with pytest.raises(BadValueError, match="closed form"):
        Proxy.load(tmp_path / "one.npz")


def test_a_table_has_what_the_proxy_says(proxy: Proxy, tmp_path: Path) -> None:
    every = LISTED.columns(LISTED.codes(np.arange(LISTED.size)))
    made = Proxy.fit(LISTED, every, {"time_s": values(every)["time_s"]}, guess, most_kriged=400)
    table = made.tabulated()
    one, other = made.predict(every), table.predict(every)
    for name in made.names:
        np.testing.assert_allclose(other.value[name], one.value[name], rtol=2e-5)
        np.testing.assert_allclose(other.hi[name], one.hi[name], rtol=2e-5)
    table.save(tmp_path / "table.npz")
    back = Proxy.load(tmp_path / "table.npz")  # a table needs no closed form
    np.testing.assert_array_equal(back.predict(every).value["time_s"], other.value["time_s"])
    with pytest.raises(BadValueError, match="ranges of numbers"):
        proxy.tabulated()


def hostile(path: Path, **changes: Any) -> Path:
    with np.load(path, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    np.savez(path, **(arrays | changes))
    return path


def test_hostile_files_are_refused_in_one_sentence(proxy: Proxy, tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    text = tmp_path / "text.npz"
    text.write_text("kind: search")
    proxy.save(path)
    about = path.read_bytes()
    cases: list[Path] = [tmp_path / "absent.npz", text, tmp_path]
    for number, changes in enumerate([
        {"about": np.array(["x"], dtype=object)}, {"about": np.frombuffer(b"[1, 2]", np.uint8)},
        {"0.scale.leaves": np.full(3, np.nan, np.float32)}, {"0.scale.f0": np.full(60, 60000, np.uint16)},
        {"middle": np.zeros(5)}, {"seen": np.zeros((2, 2), bool)}, {"table": np.zeros((1, 3, 4), np.float32)},
    ]):  # fmt: skip
        one = tmp_path / f"bad{number}.npz"
        one.write_bytes(about)
        cases.append(hostile(one, **changes))
    torn = tmp_path / "torn.npz"
    torn.write_bytes(about[: len(about) // 2])
    flipped = tmp_path / "flipped.npz"
    flipped.write_bytes(about[:2000] + bytes(b ^ 255 for b in about[2000:2100]) + about[2100:])
    for case in [*cases, torn, flipped]:
        with pytest.raises(BadFileError) as caught:
            Proxy.load(case, guess)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 500


def test_logs_without_designs_or_with_one_value_are_refused() -> None:
    few = designs(20, 1)
    with pytest.raises(BadValueError, match="a proxy needs 40"):
        Proxy.fit(SPACE, few, values(few))
    many = designs(100, 1)
    with pytest.raises(BadValueError, match="nothing to learn"):
        Proxy.fit(SPACE, many, {"time_s": np.ones(100)})
    with pytest.raises(BadValueError, match="3 values for 100 runs"):
        Proxy.fit(SPACE, many, {"time_s": np.ones(3)})


def test_a_share_with_zeros_stays_one_and_its_errors_are_finite(tmp_path: Path) -> None:
    columns, unseen = designs(200, 16), designs(400, 17)

    def lost(of: Any) -> dict[str, Any]:
        return {"loss": np.clip(1.2 - 0.2 * of["rows"] * of["depth"] ** 0.5, 0.0, 1.0)}

    made = Proxy.fit(SPACE, columns, lost(columns), most_kriged=200)
    made.save(tmp_path / "loss.npz")
    for one in (made, Proxy.load(tmp_path / "loss.npz")):
        found = one.predict(unseen)
        for part in (found.value["loss"], found.lo["loss"][~found.outside], found.hi["loss"][~found.outside]):
            assert 0.0 <= part.min() <= part.max() <= 1.0
    said = made.card["left_out"]["loss"]
    assert 0.2 < said["zeros"] < 0.8
    assert np.isfinite([said["mape"], said["median"], said["width"]]).all()


def test_no_end_lies_further_than_left_out_runs_allow_whatever_scale_trees_say() -> None:
    columns, unseen = designs(60, 18), designs(2000, 19)
    worst = columns["rows"] == 16  # where a few runs are far off, trees may say any scale
    noise = np.where(worst, 1.5, 1e-4) * np.random.default_rng(18).normal(size=60)
    interval = (
        Proxy.fit(SPACE, columns, {"time_s": values(columns, noise)["time_s"]}, most_kriged=60).outputs[0].interval
    )
    assert np.isfinite([interval.least, interval.most]).all()
    wide = Interval(interval.scale, 1e3 * interval.low, 1e3 * interval.high, interval.least, interval.most)
    features = np.random.default_rng(1).random((len(unseen["rows"]), interval.scale.trees.width)).astype(np.float32)
    for one in (interval, wide):
        below, above = one.ends(features)
        assert below.min() >= interval.least
        assert above.max() <= interval.most


def test_a_file_with_huge_weights_is_refused_or_answers_with_numbers(proxy: Proxy, tmp_path: Path) -> None:
    proxy.save(tmp_path / "sound.npz")
    with np.load(tmp_path / "sound.npz", allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    for name in (one for one in arrays if one.endswith((".leaves", ".weights"))):
        for huge in (np.inf, 3e38):
            np.savez(tmp_path / "huge.npz", **(arrays | {name: np.full_like(arrays[name], huge)}))
            try:
                back = Proxy.load(tmp_path / "huge.npz", guess)
            except BadFileError:
                continue
            assert huge < np.inf, name
            found = back.predict(designs(50, 20))
            for part in (found.value, found.lo, found.hi):
                assert all(np.isfinite(column[~found.outside]).all() for column in part.values()), name
