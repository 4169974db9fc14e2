"""A user's own YAML file: read once to SI, or refused in one sentence that names file, line, key and remedy."""

from pathlib import Path

import pytest

from foundation.errors import BadFileError
from hardware_specs import load_device, load_link, load_node

CATALOGUE = Path(__file__).parent.parent / "hardware_specs" / "catalogue"
DEVICE = (CATALOGUE / "devices" / "h100-sxm.yaml").read_text(encoding="utf-8")


def refusal(tmp_path: Path, old: str, new: str) -> str:
    """Return the error after one change to the text of a good file, and check that it names the file and a line."""
    assert DEVICE.count(old) >= 1
    file = tmp_path / "mine.yaml"
    file.write_text(DEVICE.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(BadFileError) as caught:
        load_device(file)
    line = DEVICE[: DEVICE.index(old)].count("\n") + 1
    assert caught.value.line is not None
    assert abs(caught.value.line - line) <= 1
    assert str(caught.value).startswith(f"{file}:{caught.value.line}, key '{caught.value.key}': ")
    return str(caught.value)


def test_a_file_reads_like_the_catalogue_entry(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(DEVICE, encoding="utf-8")
    assert load_device(str(file)) == load_device("h100-sxm")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("3.35 TB/s", "3.35 TB", ["memory[0].bandwidth_bytes_per_s", "an amount of data", "a data rate"]),
        ("3.35 TB/s", "3.35 Tb/s", ["counts bits"]),
        ("value: 80 GiB", "value: 3.35 Tb", ["memory[0].capacity_bytes", "counts bits"]),
        ("3.35 TB/s", "3350 TB/s", ["3.35e+15 B/s is outside", "1e+06 to 1e+14 B/s"]),
        ("value: 700 W", "value: 700", ["power.limit_w.value", "has no unit", "'700 W'"]),
        ("value: 700 W", "value: -700 W", ["power.limit_w", "outside what is possible"]),
        ("value: 700 W", "value: 0 W", ["power.limit_w", "outside what is possible"]),
        ("value: 700 W", "value: .nan", ["not a usable number"]),
        ("value: 700 W", "value: nan W", ["is not a number with a unit"]),
        ("limit_w:", "limits_w:", ["power.limits_w", "unknown key. Nearest: limit_w"]),
        ("bf16: {value: 989.4", "bf61: {value: 989.4", ["units[0].peak_flop_per_s.bf61"]),
        ("{value: 700 W, source: datasheet}", "700 W", ["neither a source nor a range"]),
        ("{value: 700 W, source: datasheet}", "{value: 700 W}", ["needs a source, or estimated: true"]),
        ("{value: 700 W, source: datasheet}", "{value: 700 W, estimated: true}", ["needs a range"]),
        ("{value: 700 W, source: datasheet}", "{value: 700 W, source: rumour}", ["'rumour' is not in the table"]),
        ("{value: 700 W, source: datasheet}", "{value: 700 W, sauce: datasheet}", ["power.limit_w.sauce", "source"]),
        ("{value: 700 W, source: datasheet}", "{source: datasheet}", ["'value' is missing"]),
        ("{value: 700 W, source: datasheet}", "{value: 7 W, source: datasheet}", ["idle power is not below"]),
        ("range: [60 W, 130 W]", "range: [90 W, 130 W]", ["75 lies outside its range [90, 130]"]),
        ("range: [60 W, 130 W]", "range: 60 W", ["expected [low, high]"]),
        ("count: 132", "count: 0", ["units[0].count"]),
        ("count: 132", "count: 1.5", ["units[0].count"]),
        ("kind: gpu", "kind: toaster", ["'toaster'", "'gpu'"]),
        ("released: 2022-09-20", "released: last year", ["is not a date"]),
        ("name: l2", "name: dram", ["memory[1].name", "'dram' stands twice"]),
        ("kind: gpu", "kind: &bomb gpu\nvendor2: *bomb", ["aliases are not accepted"]),
    ],
)
def test_a_fault_is_named_with_its_line_and_key(tmp_path: Path, old: str, new: str, words: list[str]) -> None:
    if "aliases" in words[0] or "usable" in words[0]:
        file = tmp_path / "mine.yaml"
        file.write_text(DEVICE.replace(old, new, 1), encoding="utf-8")
        with pytest.raises(BadFileError) as caught:
            load_device(file)
        message = str(caught.value)
    else:
        message = refusal(tmp_path, old, new)
    assert all(word in message for word in words), message


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("\n".join(row for row in DEVICE.splitlines() if not row.startswith("vendor:")), encoding="utf-8")
    with pytest.raises(BadFileError, match="the key 'vendor' is missing"):
        load_device(file)


@pytest.mark.parametrize(
    "text", ["", "3", "[1, 2]", "units: 3", "units: [3]", "memory: {dram: 3}", "power: null", "{{{"]
)
def test_what_is_no_description_is_refused_in_a_sentence(tmp_path: Path, text: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(BadFileError):
        load_device(file)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadFileError, match="no such file"):
        load_device(tmp_path / "none.yaml")


def test_a_link_in_bits_per_second_is_read_in_bytes(tmp_path: Path) -> None:
    text = (CATALOGUE / "links" / "infiniband-ndr.yaml").read_text(encoding="utf-8")
    file = tmp_path / "mine.yaml"
    file.write_text(text.replace("400 Gb/s", "800 Gb/s"), encoding="utf-8")
    assert load_link(file).bandwidth_bytes_per_s.value == 100e9


def test_a_node_finds_its_device_beside_its_own_file(tmp_path: Path) -> None:
    text = (CATALOGUE / "nodes" / "hgx-h100-8.yaml").read_text(encoding="utf-8")
    (tmp_path / "node.yaml").write_text(text.replace("device: h100-sxm", "device: mine.yaml"), encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(DEVICE.replace("700 W", "650 W"), encoding="utf-8")
    node = load_node(tmp_path / "node.yaml")
    assert load_device(node.device).power.limit_w.value == 650
    assert node.intra_link == "nvlink4"


def test_the_worked_example_of_the_page_is_a_device_and_its_error_is_the_one_shown(tmp_path: Path) -> None:
    page = (CATALOGUE.parent.parent / "docs" / "hardware.md").read_text(encoding="utf-8")
    example = page.split("```yaml\n")[1].split("```")[0]
    file = tmp_path / "my-npu.yaml"
    file.write_text(example, encoding="utf-8")
    device = load_device(file)
    assert device.unit("matrix").peak_flop_per_s["int8"].value == pytest.approx(2 * 1024 * 2 * 0.8e9, rel=2e-3)
    assert device.dram.energy_per_byte_j.value == pytest.approx(48e-12)
    file.write_text(example.replace("12.8 GB/s", "12.8 GB"), encoding="utf-8")
    with pytest.raises(BadFileError) as caught:
        load_device(file)
    assert str(caught.value).replace(f"{tmp_path}/", "") in page
