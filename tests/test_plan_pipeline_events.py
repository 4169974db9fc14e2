"""Events confirm plans of a pipeline's farm: counts, bursts, what moves a plan, and the answer in all its forms."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_runner import archcast
from pipeline_plan_samples import answer, small

from archcast.planning.pipeline_answer import PipelinePlan
from archcast.planning.pipeline_confirm import Counted, Ratio, dispersion_of, fits_of, levels_of, live_part
from archcast.planning.pipeline_farm import sites_of
from archcast.planning.pipeline_file import read_farm_plan
from archcast.planning.pipeline_loss import Part
from archcast.planning.pipeline_search import Searcher
from archcast.planning.pipeline_words import share
from foundation.yaml_file import YamlDocument
from simulator.queues.closed_finite import mmck

QUICK: dict[str, Any] = {"confirm": {"engine": "callbacks", "events": 60_000, "replications": 4}}
EVEN: dict[str, Any] = {
    "choices": {"parts": {"from": 8, "to": 30}, "servers": 2, "places": [2, 8]}, "limits": {"loss": 1e-5}, **QUICK
}  # fmt: skip


def test_events_of_an_exact_farm_agree_and_do_not_move_it() -> None:
    found = answer(**QUICK)
    assert found.chosen is not None
    assert found.confirmation is not None
    assert found.confirmation.verdict in ("shown", "consistent")
    assert not found.confirmation.moved
    assert found.seen(found.chosen).exact
    seen = [one for one in found.confirmation.ratio.levels if one.losses >= 20]
    assert len(seen) >= 2
    for one in seen:
        servers, room = one.part.servers, one.part.room
        exact = mmck(one.part.arrival_hz, 0.01, servers, servers + room).loss
        assert one.loss == pytest.approx(exact, rel=5 * math.sqrt(one.dispersion / one.losses))


def test_a_farm_of_parts_is_confirmed_by_levels_and_stays_within_their_upper_end() -> None:
    found = answer(**EVEN)
    assert found.chosen is not None
    assert found.confirmation is not None
    seen = found.seen(found.chosen)
    assert seen.lo <= seen.value <= seen.hi <= 1e-5
    assert found.confirmation.counted.upper >= found.confirmation.counted.upper_if_single
    assert found.chosen.farm.total >= found.confirmation.first.farm.total


def _counted(closed: float, loss: float, part: Part, events: int = 100_000) -> Counted:
    each = round(events * loss)
    farm = None
    return Counted(farm, part, (events,) * 4, (each, each + 2, each, each - 2), closed, "callbacks", 1.0, 0.1, "")  # type: ignore[arg-type]


def test_events_that_lose_ten_times_as_much_move_the_plan_up() -> None:
    part = Part(10, 5, 9.0, 1.0)
    levels = tuple(_counted(closed, 10 * closed, part) for closed in (1e-2, 2e-3, 4e-4))
    ratio = Ratio(levels, fits_of(levels))
    assert ratio.loss(1e-6) == pytest.approx(1e-5, rel=0.1)
    assert ratio.upper(1e-6) >= ratio.loss(1e-6)
    study = read_farm_plan(
        YamlDocument(
            Path("plan"), small(limits={"loss": 1e-6}, choices={"servers": {"from": 1, "to": 80}, "places": 5})
        )
    )
    sites = sites_of(study)
    closed, moved = Searcher(study, sites).search().best, Searcher(study, sites, ratio.upper).search().best
    assert closed is not None
    assert moved is not None
    assert moved.farm.total > closed.farm.total
    assert ratio.upper(moved.closed_loss) <= 1e-6


def test_too_few_losses_say_nothing_of_the_closed_form() -> None:
    part = Part(10, 5, 9.0, 1.0)
    ratio = Ratio((_counted(1e-5, 0.0, part),), fits_of((_counted(1e-5, 1e-9, part),)))
    assert not ratio.known
    assert ratio.upper(1e-6) == 1e-6


def test_levels_of_a_farm_lose_what_is_asked_for() -> None:
    part = Part(32, 2000, 31.5, 1.0, "lognormal", 1.0)
    rooms = [one.room for one in levels_of(None, part)]  # type: ignore[arg-type]
    assert rooms == sorted(rooms)
    assert 0 < rooms[0] < rooms[-1] < 2000
    bare = Part(400, 0, 300.0, 1.0, "exponential", 1.0)
    assert all(one.arrival_hz > 300.0 for one in levels_of(None, bare))  # type: ignore[arg-type]


def test_losses_in_bursts_widen_the_bound() -> None:
    assert dispersion_of((10, 10, 10, 10)) == 1.0
    assert dispersion_of((0, 0, 40, 0)) == pytest.approx(400 / 10)
    assert dispersion_of((0, 0, 0)) == 1.0


def test_the_live_part_has_the_load_of_a_degraded_farm() -> None:
    found = answer(**EVEN)
    assert found.chosen is not None
    farm = found.chosen.farm
    left = farm.parts - math.ceil(0.1 * farm.parts)
    part = live_part(farm, found.study)
    assert part.load == pytest.approx(1000.0 * 0.01 / (left * 2))
    assert found.confirmation is not None
    assert found.confirmation.counted.part == part


def test_equal_seeds_give_equal_answers() -> None:
    first, second = answer(**EVEN).to_json(), answer(**EVEN).to_json()
    assert first == second
    assert first["confirmation"]["chosen"]["trace_hash"]


def test_the_answer_has_intervals_and_suffixed_names() -> None:
    found = answer(**EVEN).to_json()
    json.dumps(found, allow_nan=False)
    chosen = found["chosen"]
    assert set(chosen["loss_share"]) == {"value", "lo", "hi"}
    assert chosen["servers"] == chosen["parts"] * chosen["servers_per_part"]
    assert set(found["demand"]["service_time_s"]) == {"value", "lo", "hi"}
    assert found["verdict"] == "feasible"
    assert {one["one_below_in"] for one in found["one_smaller"]} <= {"parts", "buffer"}
    assert found["confirmation"]["events"] > 30_000


def test_the_page_shows_both_pictures_and_the_events() -> None:
    page = answer(**EVEN).page()
    assert page.count('class="farm"') == 2
    for words in (
        "Loss against servers",
        "Servers against buffer",
        "What events show",
        "How far it holds",
        "Occupancy over time",
        "The chain",
        "limit 1e-05",
    ):
        assert words in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_the_command_prints_writes_and_refuses(tmp_path: Path) -> None:
    file = tmp_path / "farm.yaml"
    file.write_text(yaml.safe_dump(small()), encoding="utf-8")
    page = tmp_path / "farm.html"
    ended = archcast("plan", str(file), "--html", str(page))
    assert ended.code == 0
    assert ended.stdout.startswith("The smallest farm for 1.00 kHz at Farm of small is")
    assert "One smaller fails" in ended.stdout
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    bad = archcast("plan", str(file), "--set", "failing=1.5")
    assert bad.code == 2
    assert "key 'failing'" in bad.stderr


def _of(parts: Any, places: Any, limit: float) -> PipelinePlan:
    return answer(choices={"parts": parts, "servers": 2, "places": places}, limits={"loss": limit}, **QUICK)


def test_what_events_leave_open_is_said_first() -> None:
    closed = _of(12, 8, 0.5)
    assert closed.chosen is not None
    seen = closed.seen(closed.chosen)
    limit = math.sqrt(max(seen.closed, seen.value) * seen.hi)  # between what is thought and its upper end
    found = _of(12, 8, limit)
    assert found.confirmation is not None
    assert found.verdict == found.confirmation.verdict == "open"
    assert found.summary.startswith("Open: the smallest farm")
    assert "Events leave it open: their upper end" in found.summary
    assert found.to_json()["verdict"] == "open"
    assert "<b>Open.</b>" in found.page()


def test_the_headline_says_that_losses_are_continued_from_smaller_buffers() -> None:
    found = answer(**EVEN)
    assert "by events at smaller buffers, continued (" in found.summary
    assert "as events say" not in found.summary


def test_a_farm_is_told_alike_as_the_only_choice_and_as_the_one_that_was_left() -> None:
    wide = _of({"from": 8, "to": 60}, 8, 2e-4)
    assert wide.confirmation is not None
    assert wide.confirmation.moved
    first = wide.confirmation.first
    alone = _of(first.farm.parts, 8, 2e-4)
    assert alone.chosen is not None
    mine, theirs = alone.seen(alone.chosen), wide.seen(first)
    assert (mine.value, mine.lo, mine.hi) == (theirs.value, theirs.lo, theirs.hi)
    assert mine.hi > 2e-4
    assert alone.verdict == "open"
    assert f"the loss would be {share(mine.hi)} (upper end)" in wide.why


def test_a_farm_that_moved_keeps_what_levels_said_before_where_its_own_lose_too_few() -> None:
    found = _of({"from": 8, "to": 30}, 4, 1e-4)
    assert found.chosen is not None
    assert found.confirmation is not None
    assert found.confirmation.ratio.known
    assert math.isfinite(found.seen(found.chosen).hi)
