"""Every device that a measured table names is in the catalogue, under the id that the table's file maps it to."""

from __future__ import annotations

import csv
import gzip
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from foundation.errors import BadFileError, UnknownNameError
from hardware_specs import device_ids, device_of, load_device, measured_devices, table_names
from hardware_specs.compile import FOLDER, compile_catalogue

COLUMNS: dict[str, list[tuple[str, str]]] = {
    "aiconfigurator": [("*.parquet", "system"), ("silicon_sample_e2e.csv.gz", "system")],
    "argonne_llm_inference_bench": [("*.csv*", "Hardware")],
    "dosa-gemmini-firesim": [("t*_data_*.csv", "arch.name"), ("t*_data_*.csv", "arch.pe")],
    "hailo": [("fps.csv.gz", "chip")],
    "ibm_llm_pilot": [("aggregate.csv", "gpu_type"), ("requests.parquet", "gpu_type")],
    "llm_edge": [("*.csv.gz", "system")],
    "llmservingsim": [("*layer*.csv.gz", "hardware"), ("v0_*.csv.gz", "hardware"), ("vllm_*.csv.gz", "hardware")],
    "ml_energy": [("v2_results.csv.gz", "GPU"), ("v3_configurations.csv.gz", "gpu_model")],
    "mlperf": [
        ("*.csv.gz", "sys_accelerator_model_name"),
        ("training_configs_v5.0.csv", "node_type"),
        ("*power*.csv", "system"),
    ],
    "mlperf_mobile": [("results.csv.gz", "system")],
    "mlperf_tiny": [("v1_2_summary.csv.gz", "BoardName"), ("v1_3_parsed.csv.gz", "system")],
    "neusight": [("*.csv*", "device")],
    "qualcomm_ai_hub": [("perf.csv.gz", "device"), ("llm_perf.csv.gz", "device")],
    "rknn": [("fps.csv.gz", "platform")],
    "splitwise_sim": [("perf_model.csv", "hardware")],
    "timm": [("benchmark.csv.gz", "config")],
    "vidur": [("mlp_ms.csv.gz", "gpu")],
    "zeus_nsdi23": [("power_limit_sweep.csv.gz", "gpu")],
    "zigzag": [("*.csv", "hardware")],
}
"""Where the names of devices stand: files of a set, and the column."""


def header_of_help(folder: Path) -> Iterator[str]:
    """Columns are devices with the batch size behind an underscore; the others describe the network."""
    for file in sorted(folder.glob("*_latency_ms.csv.gz")):
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            columns = next(csv.reader(lines))
        about_the_network = {"arch_idx", "arch_str", "ks", "expand", "depth", "resolution"}
        for name in set(columns) - about_the_network:
            yield re.sub(r"_(1|32|64|256)$", "", name) if name != "essential_ph_1" else name


def file_names_of_llmcompass(folder: Path) -> Iterator[str]:
    """Each file is one operator on one device: `matmul_A100.csv`."""
    for file in sorted(folder.glob("*.csv")):
        yield file.stem.split("_")[1]


def header_of_lowformer(folder: Path) -> Iterator[str]:
    """The column says the device, except those that are only named 'gpu'."""
    with (folder / "throughput.csv").open(encoding="utf-8") as lines:
        for name in next(csv.reader(lines)):
            if name.endswith(("_latency_ms", "_throughput_img_s")):
                yield name


ELSEWHERE: dict[str, Callable[[Path], Iterator[str]]] = {
    "help": header_of_help,
    "llmcompass_ae": file_names_of_llmcompass,
    "lowformer": header_of_lowformer,
}
"""Sets whose devices stand in the header or in the names of the files."""

NAMELESS = {
    "accelwattch_volta": "one GPU for the whole set, named in its title",
    "archgym-astrasim": "simulated clusters",
    "helm_idealized": "one kind of server for the whole set, named in the paper",
    "inferencex_token_position": "one node, whose GPU is not stated",
    "mec_offload": "parameters of an environment",
    "paper_claims": "claims of papers",
    "scalesim": "arrays given by rows, columns and dataflow",
    "simumax": "one node for the whole set",
    "systemflow": "detectors and farms",
    "traces": "arrivals of requests",
    "vtrain": "one node for the whole set",
}
"""Sets without a column of devices, and why."""


def values(file: Path, column: str) -> set[str]:
    """Return the distinct values of one column of a CSV (also gzip) or Parquet file; a file may lack the column."""
    if file.suffix == ".parquet":
        parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `data` reads Parquet")
        found = parquet.read_table(file, columns=[column])[column].unique().to_pylist()
        return {str(value) for value in found if value}
    with gzip.open(file, "rt", encoding="utf-8") if file.suffix == ".gz" else file.open(encoding="utf-8") as lines:
        rows = csv.reader(lines)
        head = next(rows)
        if column not in head:
            return set()
        place = head.index(column)
        return {row[place].strip() for row in rows if len(row) > place and row[place].strip()}


def names_in(data: Path, table: str) -> set[str]:
    if table in ELSEWHERE:
        return set(ELSEWHERE[table](data / table))
    found: set[str] = set()
    for pattern, column in COLUMNS[table]:
        for file in sorted((data / table).glob(pattern)):
            found |= values(file, column)
    return found


def test_every_set_of_measured_data_is_accounted_for(shared_data: Path) -> None:
    folders = {path.name for path in shared_data.iterdir() if path.is_dir()}
    assert folders == {*COLUMNS, *ELSEWHERE, *NAMELESS}


@pytest.mark.parametrize("table", sorted({*COLUMNS, *ELSEWHERE}))
def test_every_device_that_a_measured_table_names_has_an_entry(table: str, shared_data: Path) -> None:
    names = names_in(shared_data, table)
    assert names, "the set names no device where one is expected"
    unknown = []
    for name in sorted(names):
        try:
            load_device(device_of(table, name))
        except UnknownNameError:
            unknown.append(name)
    assert not unknown


@pytest.mark.parametrize("table", sorted(COLUMNS | ELSEWHERE))
def test_a_measured_table_names_devices_of_the_catalogue(table: str) -> None:
    assert table in table_names()
    assert set(measured_devices(table).values()) <= set(device_ids())


def test_names_resolve_as_they_are_written_or_nearly_so() -> None:
    assert device_of("rknn", "RK3566<br />RK3568") == "rk3568"
    assert device_of("hailo", "HAILO8L") == device_of("hailo", "hailo8l") == "hailo-8l"
    assert device_of("mlperf_tiny", "NUCLEO_U575ZI_Q") == "stm32u575"
    assert device_of("dosa-gemmini-firesim", "256") == "gemmini-16x16"


def test_an_unknown_name_or_table_offers_what_is_near() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown device of the table hailo 'HAILO9'\. Nearest: HAILO8"):
        device_of("hailo", "HAILO9")
    with pytest.raises(UnknownNameError, match=r"Unknown measured table 'hailoo'\. Nearest: hailo"):
        device_of("hailoo", "HAILO8")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("set: mine\ncolumn: gpu\ndevices:\n  A: gemmini-8x8\n", "devices.A'.*'gemmini-8x8' is not among"),
        ("set: yours\ndevices:\n  A: gemmini-16x16\n", "'yours' differs from the file's name"),
        ("set: mine\ndevices: {}\n", "without devices needs notes"),
        ("set: mine\nrows: 3\ndevices: {}\n", "unknown key"),
    ],
)
def test_a_table_of_names_that_cannot_be_right_is_refused(text: str, words: str, tmp_path: Path) -> None:
    for kind in ("devices", "tables"):
        (tmp_path / kind).mkdir()
    shutil.copy(FOLDER / "devices" / "gemmini-16x16.yaml", tmp_path / "devices")
    (tmp_path / "tables" / "mine.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(BadFileError, match=words):
        compile_catalogue(tmp_path)
