"""Proxies from logs of searches, and searches on proxies."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archcast.searching.adaptive import run_adaptive
from archcast.searching.proxy import ProblemGuess, Proxy, ProxyProblem, fit_proxy
from archcast.searching.proxy.card import scores
from archcast.searching.run import search
from archcast.searching.search_file import Study, read_search
from foundation.errors import BadFileError, BadValueError

FILE: dict[str, Any] = {
    "kind": "search", "design": "dram-controller", "method": "random", "fidelity": "events", "evaluations": 160,
    "space": {
        "PagePolicy": ["Open", "Closed"], "Scheduler": ["Fifo", "FrFcfs"], "RequestBufferSize": [2, 4, 8, 16, 32],
        "PowerDownPolicy": ["NoPowerDown", "Staggered"], "Arbiter": ["Simple", "Fifo"],
        "MaxActiveTransactions": [1, 4, 16, 64], "SchedulerBuffer": "Shared",
    },
    "when": {"MaxActiveTransactions": {"Arbiter": "Fifo"}},
    "fixed": {"requests": 60}, "objectives": ["latency_s", "power_w"],
}  # fmt: skip


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the log of a search that simulated every design it drew."""
    file = tmp_path_factory.mktemp("proxy") / "log.csv"
    search(FILE, log=file, seed=3)
    return file


@pytest.fixture(scope="module")
def proxy(log: Path) -> Proxy:
    return fit_proxy(log, FILE)


@pytest.fixture(scope="module")
def study() -> Study:
    return read_search(FILE)


def test_a_log_of_a_search_makes_a_proxy_that_knows_the_other_designs(proxy: Proxy, study: Study) -> None:
    space = study.problem.space
    every = space.canonical(space.codes(np.arange(space.size)))
    unseen = space.columns(np.unique(every.T, axis=0)[::4].T)
    true = study.problem.stages[0](unseen).values["latency_s"]
    cheap = ProblemGuess(study.cheap)(unseen)["latency_s"] if study.cheap else None
    found = scores(proxy.predict(unseen).value["latency_s"], true)
    assert found["spearman"] > 0.95
    assert cheap is not None
    assert found["mape"] < 0.5 * scores(np.asarray(cheap), true)["mape"]


def test_any_method_searches_on_a_proxy(proxy: Proxy, study: Study) -> None:
    assert study.cheap is not None
    on_proxy = ProxyProblem(study.cheap, proxy)
    asked = Study(**{**study.__dict__, "problem": on_proxy, "method": "nsga2", "cheap": None})
    run = run_adaptive(asked, 1)
    values = run.arrays["values"]
    columns = on_proxy.space.columns(run.arrays["codes"])
    np.testing.assert_allclose(values[:, 0], proxy.predict(columns).value["latency_s"], rtol=1e-12)
    best = int(values[:, 0].argmin())
    shown = on_proxy.details(run.arrays["codes"][:, best : best + 1])[0]
    assert shown["latency_s"]["lo"] <= shown["latency_s"]["value"] <= shown["latency_s"]["hi"]
    assert shown["unlike_log"] is False
    assert any("proxy" in note for note in on_proxy.notes)


def test_a_proxy_of_another_space_is_refused(proxy: Proxy) -> None:
    other = read_search({**FILE, "space": {**FILE["space"], "RequestBufferSize": [2, 4]}})
    assert other.cheap is not None
    with pytest.raises(BadValueError, match="another space"):
        ProxyProblem(other.cheap, proxy)


def test_hostile_logs_are_refused_in_one_sentence(log: Path, tmp_path: Path) -> None:
    text = log.read_text().splitlines()
    cases = {
        "absent.csv": None, "odd.txt": "a", "empty.csv": "", "torn.csv": "\n".join([*text[:50], "1,2"]),
        "no_knob.csv": "latency_s,power_w\n1,2", "strange.csv": "\n".join(text).replace("FrFcfs", "Best"),
    }  # fmt: skip
    for name, content in cases.items():
        if content is not None:
            (tmp_path / name).write_text(content)
        with pytest.raises((BadFileError, BadValueError)) as caught:
            fit_proxy(tmp_path / name, FILE)
        assert "\n" not in str(caught.value)
    with pytest.raises(BadValueError, match="needs a space"):
        fit_proxy(log)


def test_logs_of_the_same_designs_are_replications_of_them(log: Path) -> None:
    made = fit_proxy([log] * 5, FILE, most_kriged=0)
    assert made.card["runs"] == 5 * fit_proxy(log, FILE, most_kriged=0).card["runs"]
    assert made.card["folds_of"] == "designs"
    empty = columns_of(log) | {"power_w": np.full(160, np.nan)}  # a log of which nothing stands is no group
    assert fit_proxy([log, log, log, log, empty], FILE, most_kriged=0).card["dropped"] == 160


def test_the_closed_form_of_a_file_is_there_whatever_its_fidelity(proxy: Proxy, study: Study) -> None:
    assert study.closed_form is study.cheap
    closed = read_search({**FILE, "fidelity": "closed_form"})
    assert closed.closed_form is closed.problem
    assert ProxyProblem(closed.closed_form, proxy).objectives == ("latency_s", "power_w")
    columns = study.problem.space.columns(study.problem.space.codes(np.arange(2)))
    assert set(ProblemGuess(closed.closed_form)(columns)) > {"power_w"}


def columns_of(log: Path) -> dict[str, Any]:
    with log.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def test_runs_without_values_are_counted_and_values_below_0_are_refused_with_their_run(log: Path) -> None:
    table = columns_of(log)
    odd = table["power_w"].copy()
    odd[[3, 5]] = "nan", "inf"
    stands = table["feasible"].astype("U5")
    stands[[5, 8]] = "False"
    made = fit_proxy({**table, "power_w": odd, "feasible": stands}, FILE, most_kriged=0)
    assert (made.card["runs"], made.card["dropped"]) == (len(odd) - 3, 3)
    odd[6] = "-0.5"
    with pytest.raises(BadValueError, match=r"run 7 of the log has power_w -0\.5"):
        fit_proxy({**table, "power_w": odd}, FILE)
    with pytest.raises(BadValueError, match="'latency_s' of the log has 3 runs, and 'PagePolicy' 160"):
        fit_proxy(
            {**{name: column for name, column in table.items() if name != "feasible"}, "latency_s": [1, 2, 3]}, FILE
        )
    with pytest.raises(BadValueError, match="0 designs that stand"):
        fit_proxy({**table, "feasible": np.zeros(len(odd), dtype=bool)}, FILE)


def test_values_of_the_closed_form_itself_teach_nothing(log: Path, study: Study) -> None:
    space = study.problem.space
    columns = space.columns(space.codes(np.arange(0, space.size, 2)))
    own = ProblemGuess(study.closed_form)(columns)
    kind = {"PagePolicy", "Scheduler", "PowerDownPolicy", "Arbiter", "SchedulerBuffer"}
    named = {name: np.array(space.knobs[space.places[name]].values)[np.asarray(column, dtype=int)] if name in kind
             else column for name, column in columns.items()}  # fmt: skip
    with pytest.raises(BadValueError, match="the closed form's own"):
        fit_proxy({**named, "latency_s": own["latency_s"], "power_w": own["power_w"]}, FILE)


@pytest.mark.parametrize(("asked", "said"), [
    ({"seed": -1}, "seed"), ({"seed": 0.5}, "seed"), ({"most_kriged": "x"}, "most_kriged"),
    ({"most_kriged": -5}, "most_kriged"), ({"values": ["RequestBufferSize"]}, "is a knob of the space"),
    ({"values": "none"}, "no column 'none'"),
])  # fmt: skip
def test_settings_that_mean_nothing_are_refused(log: Path, asked: Any, said: str) -> None:
    with pytest.raises(BadValueError, match=said):
        fit_proxy(log, FILE, **asked)
