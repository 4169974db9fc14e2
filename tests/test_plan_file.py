"""Plan files: wrong input is refused in a sentence that names the key; a demand that no fleet meets is an answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_runner import archcast, refused
from plan_samples import SMALL, small

from archcast.cli import plan as _command  # noqa: F401  adds the command
from archcast.planning.engines import policy_of
from archcast.planning.run import plan
from foundation.errors import InputError

SLO = SMALL["slo"]
TRAFFIC = SMALL["traffic"]

BAD: list[tuple[str, dict[str, Any], str]] = [
    ("no objective", {"slo": None}, "a plan needs an objective to keep"),
    ("ttft of 0", {"slo": {"ttft_s": 0}}, "ttft_s must be a finite number above 0, not 0"),
    ("tpot below 0", {"slo": {**SLO, "tpot_s": -1}}, "tpot_s must be a finite number above 0"),
    ("ttft not a number", {"slo": {"ttft_s": float("nan")}}, "ttft_s must be a finite number above 0, not nan"),
    ("percentile 100", {"slo": {**SLO, "percentile": 100}}, "percentile must be a finite number"),
    ("goodput over 1", {"slo": {**SLO, "goodput_share": 1.5}}, "goodput_share must be a finite number"),
    ("rate of 0", {"traffic": {**TRAFFIC, "rate_hz": 0}}, "rate_hz must be a finite number above 0, not 0"),
    ("rate not a number", {"traffic": {**TRAFFIC, "rate_hz": float("nan")}}, "rate_hz must be a finite number"),
    ("rate beyond reach", {"traffic": {**TRAFFIC, "rate_hz": 1e6, "requests": None}}, "plan for a part of the demand"),
    ("no demand", {"traffic": None}, "there is no demand"),
    ("two demands", {"trace": "trace.csv"}, "give traffic or trace, not both"),
    ("absent trace", {"traffic": None, "trace": "absent.csv"}, "there is no such file"),
    ("unknown traffic", {"traffic": {"name": "azur-2023-conv", "rate_hz": 1}}, "Nearest: azure-2023-conv"),
    ("no device", {"devices": []}, "a list of at least one device"),
    ("unknown device", {"devices": ["h100sxm"]}, "'devices[0]': Unknown device 'h100sxm'. Nearest: h100-sxm"),
    ("device not listed", {"prices": {"a100-pcie": 1.0}}, "It is not among the plan's devices."),
    ("unknown model", {"model": "llama-3.1-9b"}, "Unknown workload 'llama-3.1-9b'"),
    ("model without tokens", {"model": "resnet-50"}, "generates no tokens one by one"),
    ("unknown key", {"policys": []}, "unknown key 'policys'. Nearest: policies"),
    ("unknown key of the policy", {"policies": [{"most_token": 1}]}, "Nearest: most_tokens"),
    ("policy of 0", {"policies": [{"most_tokens": 0}]}, "most_tokens must be a whole number"),
    ("unknown format", {"formats": ["fp9"]}, "Unknown number format 'fp9'"),
    ("unknown objective", {"objective": "speed"}, "Unknown objective 'speed'"),
    ("carbon without a grid", {"objective": "carbon", "carbon": None}, "carbon needs the intensity of the grid"),
    ("pue below 1", {"carbon": {"pue": 0.9}}, "pue must be a finite number at least 1"),
    ("no budget", {"limits": {"usd_per_hour": 0}}, "usd_per_hour must be a finite number above 0"),
    ("another kind", {"kind": "serving"}, "a plan file has 'kind: plan'"),
    ("another kind with keys of its own", {"kind": "edge", "policy": "greedy"}, "`archcast simulate` runs files of"),
]


@pytest.mark.parametrize(("changes", "words"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_wrong_input_is_refused_in_a_sentence(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as error:
        plan(small(**changes), seed=1)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def written(folder: Path, **changes: Any) -> Path:
    file = folder / "plan.yaml"
    file.write_text(yaml.safe_dump(small(**changes)))
    return file


def test_a_fault_names_file_and_line(tmp_path: Path) -> None:
    file = written(tmp_path, objective="speed")
    line = 1 + file.read_text().splitlines().index("objective: speed")
    assert f"plan.yaml:{line}, key 'objective': Unknown objective" in refused("plan", file)


def test_not_a_number_is_refused_in_a_file_and_on_the_command_line(tmp_path: Path) -> None:
    file = written(tmp_path)
    assert "is not a usable number" in refused("plan", file, "--set", "slo.ttft_s=.nan")
    file.write_text(file.read_text().replace("ttft_s: 0.6", "ttft_s: .inf"))
    assert "is not a usable number" in refused("plan", file)


def test_an_override_that_is_wrong_is_named_as_one(tmp_path: Path) -> None:
    said = refused("plan", written(tmp_path), "--set", "slo.tpot_s=0")
    assert "key 'slo.tpot_s': tpot_s must be a finite number above 0, not 0. An override gave this value." in said


def test_the_command_prints_the_answer_as_one_document(tmp_path: Path) -> None:
    ended = archcast("plan", written(tmp_path), "--seed", 1, "--json", "--html", tmp_path / "plan.html")
    assert (ended.code, ended.stderr) == (0, "")
    document = ended.json()
    assert document["verdict"] == "feasible"
    assert document["chosen"]["instances"] >= 1
    assert (tmp_path / "plan.html").read_text().startswith("<!doctype html>")


INFEASIBLE: list[tuple[str, dict[str, Any], str, str]] = [
    ("memory", {"model": "llama-3.1-405b"}, "memory", "on the fullest device of"),
    ("ttft alone", {"slo": {"ttft_s": 0.001}}, "ttft_alone", "p99 TTFT of requests that are alone on the instance is"),
    ("tpot alone", {"slo": {"tpot_s": 0.0005}}, "tpot_alone", "p99 TPOT of requests that are alone on the instance is"),
    ("money", {"limits": {"usd_per_hour": 1.5}}, "price", "at 2.99 $/h, over 1.50 $/h"),
    ("devices", {"limits": {"available": {"l40s": 1, "h100-sxm": 0}}}, "devices", "are available"),
]


@pytest.mark.parametrize(
    ("changes", "binding", "words"), [row[1:] for row in INFEASIBLE], ids=[row[0] for row in INFEASIBLE]
)
def test_a_demand_that_no_fleet_meets_says_what_binds(changes: dict[str, Any], binding: str, words: str) -> None:
    answer = plan(small(**changes), seed=1)
    document = answer.to_json()
    assert document["verdict"] == "infeasible"
    assert document["chosen"] is None
    assert document["binding"]["constraint"] == binding
    assert document["binding"]["ratio"] > 1
    assert answer.nearest is not None
    assert answer.nearest.label in answer.summary
    assert any(words in one["reason"] for one in document["cannot"])


def test_an_infeasible_plan_ends_well_on_the_command_line(tmp_path: Path) -> None:
    ended = archcast("plan", written(tmp_path, slo={"ttft_s": 0.001}), "--html", tmp_path / "plan.html")
    assert ended.code == 0
    assert ended.stdout.startswith("No fleet of l40s, h100-sxm serves llama-3.1-8b at 12.0 requests/s within p99 TTFT")
    assert "Infeasible." in (tmp_path / "plan.html").read_text()


def test_a_small_step_takes_fewer_requests_where_the_file_does_not_say_how_many() -> None:
    assert policy_of({"most_tokens": 128}).most_requests == 128
    assert policy_of({"most_tokens": 2048}).most_requests == 256
    assert policy_of({"most_requests": 64}).most_requests == 64
    answer = plan(small(policies=[{"most_tokens": 128}], devices=["h100-sxm"], instance_devices=[1]), seed=1)
    assert answer.chosen is not None
    with pytest.raises(InputError, match="most_tokens=128 is less than most_requests=256"):
        plan(small(policies=[{"most_tokens": 128, "most_requests": 256}]), seed=1)


def test_what_would_serve_without_the_limits_is_said() -> None:
    answer = plan(small(limits={"usd_per_hour": 2.0}), seed=1)
    assert answer.beyond is not None
    assert answer.beyond.meets
    assert answer.beyond.usd_per_hour == pytest.approx(2.99)
    assert "Without limits on devices and money 1 instance of 1 x h100-sxm" in answer.summary


def test_a_limit_on_one_type_gives_the_other() -> None:
    answer = plan(small(limits={"available": {"h100-sxm": 0}}), seed=1)
    assert answer.chosen is not None
    assert answer.chosen.outcome.candidate.site.id == "l40s"


def test_a_device_without_a_price_is_left_out_of_a_plan_for_money() -> None:
    answer = plan(small(devices=["a30", "h100-sxm"]), seed=1)
    assert {r.binding.constraint for r in answer.rejected if r.device == "a30"} == {"unpriced"}
    assert answer.chosen is not None
    cool = plan(small(devices=["a30"], objective="power"), seed=1)
    assert cool.chosen is not None
    assert cool.to_json()["chosen"]["usd_per_hour"] == {"value": None, "lo": None, "hi": None}
