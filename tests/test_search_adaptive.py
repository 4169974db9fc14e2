"""Files with an adaptive method: keys, open ranges, conditions, budgets, the answer, its page, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from cli_runner import archcast, refused
from search_samples import small, small_search

from archcast.render.search import search_page
from archcast.render.search_text import search_text
from archcast.searching.adaptive import batch_size, sampler_options
from archcast.searching.evaluating import ProblemPrior, found_columns
from archcast.searching.run import search
from archcast.searching.search_file import read_search
from foundation.errors import BadFileError, BadValueError

OPEN: dict[str, Any] = {
    "space_rows": {"from": 4, "to": 64, "scale": "log"}, "space_cores": [1, 2, 4], "space_shared_bytes": [0, 2**18],
    "space_dram_bandwidth_bytes_per_s": {"from": 4e9, "to": 32e9}, "when": {"shared_bytes": {"cores": [2, 4]}},
}  # fmt: skip


def opened(**changes: Any) -> dict[str, Any]:
    """Return the small search over open ranges, with a memory that matters for more than one core."""
    return small(**{"method": "nsga2", "evaluations": 120, **OPEN, **changes})


def test_a_method_finds_most_of_what_the_grid_does_with_a_fifth_of_its_designs() -> None:
    found = search(small(method="nsga2", evaluations=86), seed=1)
    assert found.run is not None
    assert found.run.evaluations == 86 == found.tally.designs
    whole = small_search()
    known = {tuple(row) for row in whole.values}
    assert len(found.front) > 10
    best = found.values.min(axis=0) / whole.values.min(axis=0)
    assert (best >= 1).all()
    assert (best < 1.3).all()
    assert sum(tuple(row) in known for row in found.values) >= len(found.front) // 3


def test_open_ranges_give_any_number_and_conditions_switch_knobs_off() -> None:
    answer = search(opened(), seed=2)
    assert answer.run is not None
    codes = answer.run.arrays["codes"]
    place = answer.study.problem.space.places
    assert not np.isin(codes[place["rows"]], [8, 16, 32]).all()
    one_core = codes[place["cores"]] == 0
    assert one_core.any()
    assert (codes[place["shared_bytes"]][one_core] == 0).all()
    json.dumps(answer.to_json(), allow_nan=False)
    assert answer.to_json()["space"]["rows"] == {"from": 4, "to": 64, "scale": "log"}
    shown = [one["knobs"]["shared_bytes"] for one in answer.front if one["knobs"]["cores"] == 1]
    assert shown == [None] * len(shown)


def test_the_answer_says_how_it_got_there() -> None:
    answer = search(opened(), seed=2)
    course = answer.to_json()["convergence"]
    assert course["evaluations"][-1] == 120
    assert all(np.diff(course["hypervolume_share"]) >= 0)
    assert course["hypervolume_share"][-1] == pytest.approx(answer.hypervolume)
    assert all(np.diff([x for x in course["best"]["latency_s"] if x is not None]) <= 0)
    assert "by nsga2" in search_text(answer)
    assert "Volume by evaluations" in search_text(answer)
    page = search_page(answer)
    for words in ("Course of the search", "Volume against evaluations", "Best so far against time", "Front"):
        assert words in page
    assert "Course of the search" not in search_page(small_search())


def test_the_same_file_and_seed_give_the_same_answer_but_for_times() -> None:
    def plain(answer: Any) -> Any:
        found = answer.to_json()
        return {**found, "wall_s": 0, "convergence": {**found["convergence"], "wall_s": []}}

    assert plain(search(opened(), seed=5)) == plain(search(opened(), seed=5))
    assert plain(search(opened(), seed=5)) != plain(search(opened(), seed=6))


def test_arguments_replace_the_keys_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "npu.yaml"
    file.write_text(yaml.safe_dump(small()))
    found = archcast("search", file, "--method", "sobol", "--evaluations", 32, "--json").json()
    assert (found["method"], found["designs"], found["fidelity"]) == ("sobol", 32, "closed_form")
    assert "pops" in refused("search", file, "--method", "pops")
    assert "--shard" in refused("search", file, "--method", "random", "--shard", "1/2")


def test_seconds_end_a_run_early() -> None:
    answer = search(opened(evaluations=10**7, seconds=0.3, batch_size=50))
    assert 50 <= answer.tally.designs < 10**6


def test_a_space_smaller_than_its_budget_is_used_up() -> None:
    answer = search(small(method="random", evaluations=1000))
    assert answer.tally.designs == 432
    assert np.array_equal(answer.values, small_search().values)


def test_batches_and_populations_follow_the_size_of_the_run() -> None:
    study = read_search(opened(evaluations=4000))
    assert (batch_size(study), sampler_options(study)) == (200, {"population": 200})
    given = read_search(opened(batch_size=7, initial=20, options={"mutation": 2}))
    assert (batch_size(given), sampler_options(given)) == (7, {"population": 20, "mutation": 2})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"method": "nsga3"}, "Nearest: nsga2"), ({"fidelity": "events"}, "closed_form"),
        ({"evaluations": 0}, "evaluations"),
        ({"seconds": -1}, "seconds"), ({"batch_size": 1.5}, "batch_size"), ({"when": {"rows": "ws"}}, "is a mapping"),
        ({"when": {"rows": {"colz": 8}}}, "Nearest: cols"), ({"when": {"cols": {"dataflow": "xs"}}}, "Nearest: ws"),
        ({"when": {"cols": {"rows": 8}}}, "listed values"), ({"method": "grid"}, "a grid evaluates every design"),
        ({"space_rows": {"from": 0.5, "to": 8}}, "at least 1"), ({"options": [1]}, "must be a mapping"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(BadFileError, match=words):
        read_search(opened(**change))


def test_an_option_that_the_method_lacks_is_refused() -> None:
    with pytest.raises(Exception, match="Unknown option of nsga2 'pool'"):
        search(opened(options={"pool": 100}))


def test_a_space_without_an_allowed_design_says_so() -> None:
    with pytest.raises(BadValueError, match="no design keeps the limits on knobs"):
        search(opened(constraints={"max": {"rows * cols": 1}}))


def test_what_is_off_is_more_off_for_what_fails_earlier_and_by_more() -> None:
    study = read_search(small(constraints={"max": {"area_mm2": 2, "rows * cols": 1024}}))
    space = study.problem.space
    codes = space.codes(np.arange(space.size))
    found = found_columns(study.problem, space.columns(codes))
    stands = found["reason"] == ""
    assert (found["violation"][stands] == 0).all()
    assert (found["violation"][~stands] > 0).all()
    by = {reason: found["violation"][found["reason"] == reason] for reason in set(found["reason"][~stands])}
    assert by["rows * cols above 1024"].min() > by["area_mm2 above 2"].max()
    guess = ProblemPrior(study.problem)(space.columns(codes))
    assert np.array_equal(np.isfinite(guess).all(axis=1), stands)


def test_a_space_at_its_events_starts_from_the_closed_form() -> None:
    from archcast.searching.problems import gpu_serving

    study = read_search({
        "kind": "search", "design": "gpu-serving", "workload": gpu_serving.WORKLOAD, "space": gpu_serving.SPACE,
        "fidelity": "events", "method": "bayesian", "objectives": list(gpu_serving.OBJECTIVES),
    })  # fmt: skip
    assert study.cheap is not None
    assert study.budget.evaluations == 150
    assert batch_size(study) == 8


def test_the_reference_lies_beyond_the_front_for_values_below_zero_too() -> None:
    from dataclasses import replace

    answer = small_search()
    shifted = np.stack([answer.values[:, 0], -answer.values[::-1, 1], answer.values[:, 2]], axis=1)
    assert (replace(answer, values=shifted).reference > shifted.max(axis=0)).all()
    assert answer.reference == pytest.approx(1.1 * answer.values.max(axis=0))
