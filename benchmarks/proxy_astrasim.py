"""ArchGym's AstraSim designs (1,792 x 34): as columns of a space, with a closed form of our own for what two dimensions move.

Data: ArchGym, proxy-pipeline/data (Apache-2.0), where ARCHCAST_DATA or ../shared/data has `archgym-astrasim`.
"""  # noqa: E501

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import numpy as np

from archcast.searching.ranges import Choice, Real, made_space
from archcast.searching.space import Columns, DesignSpace
from workloads.table import Array

FOLDER = "archgym-astrasim"
MOST_LISTED = 12


def folder() -> Path | None:
    """Return where the data are, or None."""
    root = Path(os.environ.get("ARCHCAST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    return root / FOLDER if (root / FOLDER / "actions_feasible.csv").exists() else None


def read(where: Path) -> tuple[DesignSpace, dict[str, Array], Array, Array]:
    """Return the space, columns of designs, and the observations 1 and 5."""
    with (where / "actions_feasible.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    with (where / "observations_feasible.csv").open() as stream:
        found = list(csv.DictReader(stream))
    knobs: dict[str, Any] = {}
    columns: dict[str, Array] = {}
    for name in rows[0]:
        texts = [row[name] for row in rows]
        if len(set(texts)) == 1:
            continue
        try:
            numbers = np.array([float(text) for text in texts])
        except ValueError:
            knobs[name] = Choice(sorted(set(texts)))
            columns[name] = np.array(texts)
            continue
        few = len(set(texts)) <= MOST_LISTED
        knobs[name] = (
            Choice(sorted(set(numbers.tolist()))) if few else Real(numbers.min(), numbers.max(), numbers.min() > 0)
        )
        columns[name] = numbers
    space = made_space(knobs, {})
    columns = space.columns(space.codes_of(columns))
    one, five = (np.array([float(row[f"observation-{k}"]) for row in found]) for k in (1, 5))
    return space, columns, one, five


def moved(space: DesignSpace) -> Any:
    """Return a closed form: what each dimension's links and memory take for a share of the data, by kind of collective.

    A ring or direct collective over n units moves (n - 1) / n of the data over each unit's links; a tree all of it; one
    logical dimension takes all units over the slower links. What is sent is read and written in memory. Units are free:
    it only has to rank.
    """

    def found(columns: Columns) -> dict[str, Array]:
        names = [str(one) for one in space.knobs[space.places["all-gather-implementation"]].values]
        kind = np.array(names)[np.asarray(columns["all-gather-implementation"], dtype=int)]
        n1, n2 = columns["units-count-1"], columns["units-count-2"]
        b1, b2 = columns["link-bandwidth-1"], columns["link-bandwidth-2"]
        m1, m2 = columns["hbm-bandwidth-1"], columns["hbm-bandwidth-2"]
        first, second, whole = (n1 - 1) / n1, (n2 - 1) / (n1 * n2), (n1 * n2 - 1) / (n1 * n2)
        tree = np.char.startswith(kind, "doubleBinaryTree")
        one = np.char.startswith(kind, "one")
        links1 = np.maximum(columns["links-count-1"], 1.0)
        t1, t2 = np.where(tree, 1.0, first) / b1, np.where(tree, 1.0 / n1, second) / b2
        logical = whole / np.minimum(b1, b2)
        return {
            "t1": t1, "t2": t2, "links": np.where(one, logical, t1 + t2),
            "slower": np.where(one, logical, np.maximum(t1, t2)),
            "shared": np.where(one, logical, t1 / links1 + t2 / np.maximum(columns["links-count-2"], 1.0)),
            "memory": first / m1 + second / m2, "both": np.where(one, logical, t1 + t2) + first / m1,
            "steps": n1 * columns["link-latency-1"] + n2 * columns["link-latency-2"], "units": n1 * n2,
        }  # fmt: skip

    return found


def report() -> list[dict[str, Any]]:
    """Print errors of observation 1 on the authors' split and by topology; nothing where the data are absent."""
    from archcast.searching.proxy import Proxy
    from archcast.searching.proxy.card import scores

    where = folder()
    if where is None:
        print(f"\n## AstraSim: skipped, there is no folder {FOLDER} under ARCHCAST_DATA or ../shared/data")
        return []
    space, columns, one, _ = read(where)
    order = np.random.RandomState(123).permutation(len(one))
    last = -(-len(one) // 5)
    cuts = {"80/20, seed 123": (order[last:], order[:last])}
    groups = np.asarray(columns["topologies-per-dim-1"], dtype=int)
    print(f"\n## AstraSim of ArchGym: {len(one):,} designs, {len(space.knobs)} knobs that vary, observation 1\n")
    print("| split | model | MAPE | median | RMSE/mean | Spearman | in 90 % | flagged |\n" + "|---" * 8 + "|")
    rows = []
    for label, (train, test) in cuts.items():
        rows += _scored(label, space, columns, one, train, test)
    said, low, high, flagged = (np.full(len(one), np.nan) for _ in range(4))
    for group in np.unique(groups):  # a topology that no training design has
        train, test = np.flatnonzero(groups != group), np.flatnonzero(groups == group)
        made = Proxy.fit(space, _cut(columns, train), {"one": one[train]}, moved(space))
        found = made.predict(_cut(columns, test))
        said[test], flagged[test] = found.value["one"], found.outside
        low[test], high[test] = found.lo["one"], found.hi["one"]
    known = flagged == 0
    result = scores(said, one) | {"flagged": float(flagged.mean())}
    result["coverage_90"] = float(((one >= low) & (one <= high))[known].mean()) if known.any() else float("nan")
    rows.append({"split": "by topology of the first dimension (3 folds)", "model": "proxy", **result})
    _show(rows[-1])
    return rows


def _cut(columns: Columns, at: Array) -> dict[str, Array]:
    return {name: column[at] for name, column in columns.items()}


def _scored(
    label: str, space: DesignSpace, columns: Columns, one: Array, train: Array, test: Array
) -> list[dict[str, Any]]:  # fmt: skip
    """Return the proxy's row and those of the usual recipes, on one split."""
    import xgboost

    from archcast.searching.proxy import Proxy
    from archcast.searching.proxy.card import scores

    rows = []
    made = Proxy.fit(space, _cut(columns, train), {"one": one[train]}, moved(space))
    found = made.predict(_cut(columns, test))
    result = scores(found.value["one"], one[test])
    inside = (one[test] >= found.lo["one"]) & (one[test] <= found.hi["one"])
    extra = {"coverage_90": float(inside[~found.outside].mean()), "flagged": float(found.outside.mean())}
    rows.append({"split": label, "model": "proxy", **result, **extra})
    _show(rows[-1])
    table = _one_hot(space, columns)
    data = xgboost.DMatrix(table[train], np.log(one[train]), nthread=1)
    trees = xgboost.train({"nthread": 1, "eta": 0.3, "max_depth": 6}, data, 100)
    rows.append({"split": label, "model": "XGBoost, logarithm, as it comes",
                 **scores(np.exp(trees.predict(xgboost.DMatrix(table[test]))), one[test])})  # fmt: skip
    _show(rows[-1])
    try:
        from sklearn.ensemble import RandomForestRegressor
    except ImportError:
        print("random forest (ArchGym's recipe): skipped, scikit-learn is not installed")
        return rows
    forest = RandomForestRegressor(100, random_state=123, n_jobs=1).fit(table[train], one[train])
    rows.append({"split": label, "model": "random forest of 100 (ArchGym's recipe)",
                 **scores(forest.predict(table[test]), one[test])})  # fmt: skip
    _show(rows[-1])
    return rows


def _one_hot(space: DesignSpace, columns: Columns) -> Array:
    found = []
    for knob in space.knobs:
        column = np.asarray(columns[knob.name], dtype=float)
        found += [column == code for code in range(len(knob.values))] if knob.category else [column]
    return np.stack(found, axis=1).astype(float)


def _show(row: dict[str, Any]) -> None:
    shown = [f"{row[name]:.1%}" for name in ("mape", "median", "rmse_over_mean")] + [f"{row['spearman']:.3f}"]
    shown += [f"{row[name]:.1%}" if name in row else "" for name in ("coverage_90", "flagged")]
    print(f"| {row['split']} | {row['model']} | " + " | ".join(shown) + " |", flush=True)
