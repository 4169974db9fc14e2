"""Bad plan files of a pipeline's farm: each fault names the file, the key, and what to do."""

from pathlib import Path
from typing import Any

import pytest
from pipeline_plan_samples import small

from archcast.planning.run import plan
from foundation.errors import BadFileError

CHOICES = {"servers": {"from": 1, "to": 80}, "places": [0, 10]}


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        ({"stage": "Fram"}, "stage", "Nearest: Farm"),
        ({"stage": "Disk"}, "stage", "has no service"),
        ({"stage": None}, "stage", "needs the key 'stage'"),
        ({"choices": {**CHOICES, "servers": 0}}, "choices.servers", "whole number from 1"),
        ({"choices": {**CHOICES, "servers": {"from": 9, "to": 3}}}, "choices.servers.to", "before it begins"),
        ({"choices": {**CHOICES, "servers": []}}, "choices.servers", "empty"),
        ({"choices": {"places": 3}}, "choices", "neither servers nor parts"),
        ({"choices": {**CHOICES, "places": -1}}, "choices.places", "from 0"),
        ({"choices": {"servers": 3, "buffer_bytes": "-1 GB"}}, "choices.buffer_bytes", "at least 0"),
        ({"choices": {"servers": 3, "buffer_bytes": "1 GHz"}}, "choices.buffer_bytes", "amount of data"),
        ({"choices": {**CHOICES, "buffer_bytes": 3}}, "choices.places", "not both"),
        ({"choices": {**CHOICES, "nodes": 3}}, "choices.nodes", "unknown key"),
        ({"choices": {"servers": {"from": 1, "to": 99}, "parts": [1, 2], "places": 1}}, "choices.servers", "64"),
        ({"limits": {"loss": 0}}, "limits.loss", "above 0"),
        ({"limits": {"loss": 1}}, "limits.loss", "below 1"),
        ({"limits": {"loss": -1e-6}}, "limits.loss", "above 0"),
        ({"limits": {"latency_p999_s": "3 W"}}, "limits.latency_p999_s", "a time"),
        ({"failing": 1}, "failing", "below 1"),
        ({"failing": -0.1}, "failing", "at least 0"),
        ({"failures": {"mtbf_s": "1 h"}}, "failures", "mttr_s"),
        ({"rate_hz": "2 kHz"}, "rate_hz", "more than the machine's"),
        ({"objective": "carbon"}, "objective", "Known: servers, price, power"),
        ({"objective": "price"}, "objective", "no price_usd"),
        ({"objective": "power"}, "objective", "no power"),
        ({"limits": {"power_w": "1 W"}}, "limits.power_w", "no power of a server, so power cannot be limited"),
        ({"limits": {"price_usd": 5}}, "limits.price_usd", "no price_usd of a server, so price cannot be limited"),
        ({"confirm": {"engine": "simpy"}}, "confirm.engine", "Unknown engine"),
        ({"confirm": {"replications": 1}}, "confirm.replications", "from 3"),
        ({"pipeline": 3}, "pipeline", "a name of the catalogue"),
        ({"pipeline": "cms-run5-pu201"}, "pipeline", "cms-run5-pu200"),
        ({"settings": {"stages.Fram.servers": 3}}, "pipeline", "Farm"),
        ({"stge": "Farm"}, "stge", "unknown key"),
    ],
)
def test_a_fault_names_its_key(changes: dict[str, Any], key: str, words: str) -> None:
    with pytest.raises(BadFileError) as caught:
        plan(small(**changes))
    assert caught.value.key == key
    assert words in str(caught.value)


def test_a_fault_in_an_inline_pipeline_names_its_line(tmp_path: Path) -> None:
    file = tmp_path / "farm.yaml"
    file.write_text(
        "kind: plan\nstage: Farm\nchoices: {servers: [1, 2], places: 3}\npipeline:\n"
        "  detectors: [{name: D, to: Farm, size_bytes: 1 kB, rate_hz: 1 kHz}]\n  stages:\n"
        "    - name: Farm\n      kind: farm\n      servers: 0\n",
        encoding="utf-8",
    )
    with pytest.raises(BadFileError) as caught:
        plan(file)
    assert caught.value.line == 9


def test_a_setting_of_the_pipeline_may_stand_on_the_command_line() -> None:
    quick = plan(small(), settings={"settings.stages.Farm.service.time_s": "5 ms"}).to_json()
    slow = plan(small()).to_json()
    assert quick["demand"]["service_time_s"]["value"] == 0.005
    assert quick["chosen"]["servers"] < slow["chosen"]["servers"]
