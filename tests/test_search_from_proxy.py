"""Searches on a proxy of a log: whose values they are, where it only guides, what the answer says, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from cli_runner import archcast, refused

from archcast.render.search import search_page
from archcast.render.search_text import search_text
from archcast.searching.adaptive import batch_size
from archcast.searching.evaluations import about_of
from archcast.searching.from_proxy import with_proxy
from archcast.searching.proxy import Proxy
from archcast.searching.run import search
from archcast.searching.search_file import read_search
from foundation.errors import BadFileError, BadValueError

FILE: dict[str, Any] = {
    "kind": "search", "design": "dram-controller", "method": "bayesian", "fidelity": "events", "evaluations": 24,
    "space": {
        "PagePolicy": ["Open", "Closed"], "Scheduler": ["Fifo", "FrFcfs"], "RequestBufferSize": [2, 8, 32],
        "PowerDownPolicy": ["NoPowerDown", "Staggered"], "Arbiter": ["Simple", "Fifo"],
        "MaxActiveTransactions": [1, 4, 16], "SchedulerBuffer": "Shared",
    },
    "fixed": {"requests": 60}, "objectives": ["latency_s", "power_w"],
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a search that simulated 60 designs drawn at random; it holds `evaluations.parquet`."""
    place = tmp_path_factory.mktemp("logged") / "kept"
    search(FILE, method="random", evaluations=60, seed=3, resume=place)
    return place


@pytest.fixture(scope="module")
def proxy(folder: Path) -> Proxy:
    learned = with_proxy(read_search(FILE), folder).learned
    assert learned is not None
    return learned.proxy


def test_without_simulation_values_are_those_of_the_proxy_with_its_ends(folder: Path, proxy: Proxy) -> None:
    answer = search(FILE, method="nsga2", evaluations=80, fidelity="proxy", proxy_from=folder, seed=1)
    assert answer.run is not None
    said = proxy.predict(answer.study.problem.space.columns(answer.codes))
    for k, name in enumerate(answer.objectives):
        np.testing.assert_allclose(answer.values[:, k], said.value[name], rtol=1e-12)
    found = answer.to_json()
    assert found["fidelity"] == "proxy"
    assert (found["proxy"]["values"], found["proxy"]["designs"]) == ("proxy", 60)
    said_by = [set(one) - {"knobs", "binds", "design", "unlike_log"} for one in found["front"]]
    assert all(names == {"latency_s", "power_w", "closed_form"} for names in said_by)
    assert all(set(one["closed_form"]) == {"energy_j", "duration_s"} for one in found["front"])
    assert [note.split(" is ")[0].split(" are ")[0] for note in found["notes"][:2]] == [
        "Values", "What it does not know",
    ]  # fmt: skip
    assert found["proxy"]["unlike_log"] == sum(one["unlike_log"] for one in found["front"])
    for one, low, high in zip(found["front"], said.lo["latency_s"], said.hi["latency_s"], strict=True):
        if not one["unlike_log"]:
            assert (one["latency_s"]["lo"], one["latency_s"]["hi"]) == (low, high)
            assert low < one["latency_s"]["value"] < high
    for words in (search_text(answer), search_page(answer)):
        assert "Nothing was simulated" in words
        assert "a proxy&#x27;s" in words or "a proxy's" in words
    json.dumps(found, allow_nan=False)


def test_a_grid_on_a_proxy_finds_the_front_of_all_its_values(folder: Path, proxy: Proxy, tmp_path: Path) -> None:
    every_one = {key: value for key, value in FILE.items() if key != "evaluations"} | {"method": "grid"}
    answer = search(every_one, fidelity="proxy", proxy_from=folder)
    space = answer.study.problem.space
    every = proxy.predict(space.columns(space.codes(np.arange(space.size)).astype(float)))
    assert answer.tally.designs == space.size
    for k, name in enumerate(answer.objectives):
        assert answer.values[:, k].min() == pytest.approx(every.value[name].min(), rel=1e-12)
    assert any(answer.binds)
    kept = search(every_one, fidelity="proxy", proxy_from=folder, resume=tmp_path / "kept")
    assert np.array_equal(kept.values, answer.values)


def test_where_the_file_simulates_the_proxy_guides_and_all_values_are_simulated(folder: Path) -> None:
    answer = search(FILE, proxy_from=folder, seed=2)
    plain = read_search(FILE).problem
    space = plain.space
    true = plain.stages[0](space.columns(answer.codes)).values
    for k, name in enumerate(answer.objectives):
        np.testing.assert_array_equal(answer.values[:, k], true[name])
    about = answer.to_json()["proxy"]
    assert answer.to_json()["fidelity"] == "events"
    assert (about["values"], about["of"]) == ("simulated", 24)
    assert 0.0 <= about["simulated"]["latency_s"]["within"] <= 1.0
    assert about["simulated"]["power_w"]["median"] < 0.05
    assert "all values are simulated" in search_text(answer)


def test_workers_and_a_stop_change_nothing_where_the_proxy_guides(folder: Path, tmp_path: Path) -> None:
    whole = search(FILE, proxy_from=folder, seed=2)
    search(FILE, proxy_from=folder, seed=2, evaluations=12, resume=tmp_path / "kept", workers=2)
    later = search(FILE, proxy_from=folder, seed=2, resume=tmp_path / "kept")
    assert np.array_equal(whole.values, later.values)
    with pytest.raises(BadFileError, match="another search"):
        search(FILE, seed=2, resume=tmp_path / "kept")  # the same file without the proxy asks for other designs


def test_a_proxy_is_asked_in_batches_as_a_closed_form_is(folder: Path) -> None:
    study = with_proxy(read_search(FILE, None, {"fidelity": "closed_form", "method": "nsga2"}), folder)
    assert (study.quick, batch_size(study)) == (True, 1)
    assert not read_search(FILE).quick


def test_a_log_of_something_else_is_refused_in_one_sentence(folder: Path, tmp_path: Path) -> None:
    log = folder / "evaluations.parquet"
    if log.exists():
        assert about_of(log)["design"] == "dram-controller"
        other = {"kind": "search", "design": "soc", "space": {"big_cores": [1, 2]}, "method": "random"}
        with pytest.raises(BadFileError, match="of another design: 'dram-controller', not 'soc'"):
            search(other, proxy_from=log)
        learned = tmp_path / "learned.parquet"
        search(FILE, method="random", evaluations=50, fidelity="proxy", proxy_from=folder, log=learned)
        with pytest.raises(BadFileError, match="a proxy's own"):
            search(FILE, proxy_from=learned)
    narrow = {**FILE, "space": {**FILE["space"], "RequestBufferSize": [2, 8]}}
    with pytest.raises(BadFileError, match="a value of RequestBufferSize is none of those listed"):
        search(narrow, proxy_from=folder)
    with pytest.raises(BadFileError, match=r"neither evaluations\.parquet nor evaluations\.csv"):
        search(FILE, proxy_from=tmp_path)
    with pytest.raises(BadFileError):
        search(FILE, proxy_from=tmp_path / "absent.csv")
    few = tmp_path / "few.csv"
    search(FILE, method="random", evaluations=10, log=few)
    with pytest.raises(BadFileError, match="has 10 designs that stand; a proxy needs 40"):
        search(FILE, proxy_from=few)
    cheap = tmp_path / "cheap.csv"
    search(FILE, method="random", evaluations=50, fidelity="closed_form", log=cheap)
    with pytest.raises(BadFileError, match="the closed form's own"):
        search(FILE, proxy_from=cheap)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"method": "nsga2"}, "a proxy guides the method bayesian, not nsga2"),
        ({"fidelity": "proxy", "method": "nsga2", "workers": 2}, "leave out --workers"),
        ({"shard": "1/2"}, "--shard does not go with --proxy-from"),
    ],
)  # fmt: skip
def test_what_a_proxy_cannot_do_is_refused(folder: Path, asked: dict[str, Any], words: str) -> None:
    with pytest.raises(BadValueError, match=words):
        search(FILE, proxy_from=folder, **asked)


def test_the_fidelity_proxy_without_a_log_names_what_is_missing() -> None:
    with pytest.raises(BadValueError, match="name one with --proxy-from"):
        search(FILE, fidelity="proxy")


def test_the_command_takes_a_log(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "dram.yaml"
    file.write_text(yaml.safe_dump(FILE))
    found = archcast("search", file, "--proxy-from", folder, "--evaluations", 12, "--json").json()
    assert (found["designs"], found["proxy"]["log"]) == (12, "kept")
    assert "--proxy-from LOG" in refused("search", file, "--fidelity", "proxy")
    assert "--merge does not go" in refused("search", file, "--proxy-from", folder, "--merge", "first.json")
