"""`archcast devices` lists the pipelines of the catalogue, and shows one with the source of each figure."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from archcast.cli.app import app
from hardware_specs.pipelines import pipeline_ids


def asked(*words: str) -> str:
    result = CliRunner().invoke(app, ["devices", *words])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_list_of_pipelines_has_all_of_the_catalogue() -> None:
    rows = json.loads(asked("--kind", "pipeline", "--json"))["pipelines"]
    assert [row["id"] for row in rows] == pipeline_ids()
    cms = next(row for row in rows if row["id"] == "cms-run5-pu200")
    assert cms["rate_in_hz"] == 40e6
    assert {"gpu", "l1_tracks", "smart_pixels", "uled"} <= set(cms["improvements"])
    assert all(name in asked("--kind", "pipeline") for name in pipeline_ids())


@pytest.mark.parametrize("name", ["cms-run5-pu200", "dune-fd"])
def test_a_pipeline_is_shown_with_the_source_of_each_figure(name: str) -> None:
    spec = json.loads(asked(name, "--json"))
    assert spec["id"] == name
    text = asked(name)
    assert "estimated" in text
    assert all(stage["name"] in text for stage in spec["stages"])


def test_a_name_that_is_neither_device_nor_pipeline_is_refused_with_the_nearest() -> None:
    result = CliRunner().invoke(app, ["devices", "h100-sxmm"])
    assert result.exit_code == 2
    assert "h100-sxm" in result.output
