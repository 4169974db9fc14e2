"""`calibrate --networks`: a device that timed ten networks, from devices that timed all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from archcast.cli import calibrate  # noqa: F401  adds its command
from archcast.cli.app import app
from archcast.network_transfer import transfer_networks
from foundation.errors import BadFileError, BadValueError
from workloads.table import Array
from workloads.workload_measurements import (
    read_workload_measurements,
    workload_measurements,
    write_workload_measurements,
)

NETWORKS, SHOTS = 60, 10


def timed(device: str, compute: float, traffic: float, which: Array, noise: float = 0.01) -> dict[str, Array]:
    """Return rows of a device whose time is arithmetic and traffic at rates of its own, and a launch overhead."""
    random = np.random.default_rng(0)
    work = np.exp(random.normal(0, 1.2, (NETWORKS, 2)))
    seconds = 1e-3 * (compute * work[:, 0] + traffic * work[:, 1] + 0.05)
    seconds *= np.exp(noise * np.random.default_rng(len(device)).standard_normal(NETWORKS))
    return {
        "device": np.array([device] * len(which), dtype=object), "batch": np.ones(len(which)),
        "workload": np.array([f"network-{i}" for i in which], dtype=object), "latency_s": seconds[which],
    }  # fmt: skip


def write(path: Path, *parts: dict[str, Array]) -> Path:
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    write_workload_measurements(path, workload_measurements("test", columns))
    return path


@pytest.fixture
def tables(tmp_path: Path) -> tuple[Path, Path]:
    every = np.arange(NETWORKS)
    rates = {"a": (1.0, 1.0), "bb": (0.5, 2.0), "ccc": (2.0, 0.4), "dddd": (0.2, 0.5), "eeeee": (3.0, 2.0)}
    sources = write(tmp_path / "sources.csv", *(timed(name, *rate, every) for name, rate in rates.items()))
    return write(tmp_path / "new.csv", timed("new", 0.8, 0.6, every[::6])), sources


def test_the_other_networks_of_a_device_are_predicted_from_ten(tables: tuple[Path, Path], tmp_path: Path):
    report = transfer_networks(tables[0], sources=tables[1], out=tmp_path / "out")
    assert (report.device, report.shots, report.rows) == ("new", SHOTS, NETWORKS)
    found = read_workload_measurements(tmp_path / "out" / "networks.csv")
    truth = timed("new", 0.8, 0.6, np.arange(NETWORKS), noise=0.0)
    order = np.argsort([int(str(name).split("-")[1]) for name in found.workload])
    learned = found.raw["source"][order] == "learned"
    error = np.abs(found.value("latency_s")[order] / truth["latency_s"] - 1)
    assert learned.sum() == NETWORKS - SHOTS
    assert error[learned].mean() < 0.1


def test_intervals_hold_on_average_over_devices(tables: tuple[Path, Path], tmp_path: Path):
    inside = []
    every = np.arange(NETWORKS)
    for compute, traffic in ((0.8, 0.6), (1.5, 1.5), (0.3, 1.0), (2.5, 0.7), (1.0, 3.0), (0.5, 0.5)):
        new = write(tmp_path / "one.csv", timed("new", compute, traffic, every[::6]))
        transfer_networks(new, sources=tables[1], out=tmp_path / "out")
        found = read_workload_measurements(tmp_path / "out" / "networks.csv")
        order = np.argsort([int(str(name).split("-")[1]) for name in found.workload])
        truth = timed("new", compute, traffic, every, noise=0.0)["latency_s"]
        lo, hi = (found.raw[name].astype(float)[order] for name in ("latency_lo_s", "latency_hi_s"))
        learned = found.raw["source"][order] == "learned"
        inside.append(((lo <= truth) & (truth <= hi))[learned].mean())
    assert np.mean(inside) >= 0.8


def test_the_report_says_how_well_the_sources_predict_each_other(tables: tuple[Path, Path], tmp_path: Path):
    report = transfer_networks(tables[0], sources=tables[1], out=tmp_path / "out")
    assert set(report.source_mape) == {"a", "bb", "ccc", "dddd", "eeeee"}
    assert 0 < report.mape < 0.3
    assert "10 measured" in report.text()
    assert report.to_json()["mape"] == report.mape


def test_a_network_that_no_source_ran_is_named(tables: tuple[Path, Path], tmp_path: Path):
    shown = timed("new", 0.8, 0.6, np.arange(12))
    shown["workload"][3] = "never-seen"
    report = transfer_networks(write(tmp_path / "few.csv", shown), sources=tables[1], out=tmp_path / "out")
    assert report.unknown == ("never-seen",)
    assert report.shots == 11


def test_two_devices_in_one_table_are_refused(tables: tuple[Path, Path], tmp_path: Path):
    with pytest.raises(BadFileError, match="5 devices"):
        transfer_networks(tables[1], sources=tables[1], out=tmp_path / "out")


def test_two_sources_or_two_shots_are_too_few(tables: tuple[Path, Path], tmp_path: Path):
    every = np.arange(NETWORKS)
    two = write(tmp_path / "two.csv", timed("a", 1.0, 1.0, every), timed("bb", 0.5, 2.0, every))
    with pytest.raises(BadValueError, match="the sources hold 2"):
        transfer_networks(tables[0], sources=two, out=tmp_path / "out")
    few = write(tmp_path / "few.csv", timed("new", 0.8, 0.6, every[:2]))
    with pytest.raises(BadValueError, match="has 2 networks"):
        transfer_networks(few, sources=tables[1], out=tmp_path / "out")


def test_the_command_writes_the_table(tables: tuple[Path, Path], tmp_path: Path):
    asked = ["calibrate", "--networks", str(tables[0]), "--from-networks", str(tables[1]), "--out", str(tmp_path / "o")]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "o" / "networks.csv").is_file()
    alone = CliRunner().invoke(app, ["calibrate", "--networks", str(tables[0]), "--out", str(tmp_path / "o")])
    assert alone.exit_code != 0
