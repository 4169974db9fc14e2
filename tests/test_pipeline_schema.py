"""Descriptions of pipelines: what a file may say, what is refused and how, and changes before anything is checked."""

import sys
from pathlib import Path
from subprocess import run
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import BadFileError, BadValueError, UnknownNameError
from foundation.overrides import copied, get_at, read_value, set_at
from foundation.yaml_file import parse_yaml
from hardware_specs.pipeline_schema import GIVEN, BeamSpec, PipelineSpec, value_of
from hardware_specs.pipelines import load_pipeline, read_pipeline
from simulator.queues.fill_patterns import lhc_trains

CHAIN = """kind: pipeline
beam: {crossing_rate_hz: 40 MHz, slots: 10, fill: [[3, 2]]}
detectors:
  - {name: Pixels, to: L1, size_bytes: 1.44 MB, link: {energy_per_bit_j: 22.2 pJ/bit}}
  - {name: Muons, to: L1, size_bytes: 10000, rate_hz: 20 MHz, count: 4}
stages:
  - name: L1
    kind: trigger
    reduction: 400
    operations: [0, 5e-7]
    energy_per_operation_j: 3 mJ/OP
    pipeline_crossings: 512
    rules: [{accepts: 1, crossings: 3}]
  - name: Farm
    kind: farm
    inputs: [L1]
    reduction: {value: 100, range: [50, 200], estimated: true}
    service: {time_s: 300 ms, law: gamma, cv: 0.5}
    servers: {value: 30000, range: [20000, 40000], estimated: true}
    buffer_bytes: 1 GB
    link: {bandwidth_bytes_per_s: 51 Tb/s, energy_per_bit_j: 25 pJ/bit}
  - {name: Disk, kind: storage, inputs: [Farm]}
events:
  - {name: farm, stages: [Farm], horizon_s: 10 s, warm_up_s: 1 s}
improvements:
  gpu: {stages.Farm.operations_factor: 0.5}
  small: {detectors.Pixels.size_bytes: 0.66 MB, stages.*.own_bytes: 1 kB}
"""


def read(text: str = CHAIN, settings: dict[str, Any] | None = None) -> PipelineSpec:
    return read_pipeline(parse_yaml(text, Path("chain.yaml")), settings)


def changed(old: str, new: str) -> str:
    assert CHAIN.count(old) == 1, old
    return CHAIN.replace(old, new)


def test_quantities_with_units_become_si_figures_and_a_bare_one_is_given() -> None:
    spec = read()
    pixels, muons = spec.detectors
    assert (pixels.size_bytes.value, pixels.size_bytes.source) == (1.44e6, GIVEN)
    assert pixels.link is not None
    assert value_of(pixels.link.energy_per_bit_j) == pytest.approx(22.2e-12)
    assert (muons.size_bytes.value, muons.count) == (10_000, 4)
    assert (spec.rate_of(pixels), spec.rate_of(muons)) == (40e6, 20e6)
    farm = spec.stage("Farm")
    assert farm.link is not None
    assert value_of(farm.link.bandwidth_bytes_per_s) == pytest.approx(51e12 / 8)
    assert farm.service is not None
    assert value_of(farm.service.time_s) == pytest.approx(0.3)
    assert farm.reduction is not None
    assert farm.reduction.interval == (100, 50, 200)
    assert spec.id == spec.name == "chain"


def test_a_whole_number_may_carry_its_range() -> None:
    farm = read().stage("Farm")
    assert farm.servers == 30_000
    assert farm.counts["servers"].interval == (30_000, 20_000, 40_000)
    assert read(settings={"stages.Farm.servers": 7}).stage("Farm").servers == 7


def test_a_polynomial_has_a_value_and_a_range() -> None:
    text = changed("[0, 5e-7]", "{coefficients: [1, 5e-7], range_factor: [0.5, 3], estimated: true}")
    operations = read(text).stage("L1").operations
    assert operations is not None
    assert operations.at(4e6) == pytest.approx((3.0, 1.5, 9.0))


def test_the_stages_come_after_their_inputs_in_any_order_of_the_file() -> None:
    document = parse_yaml(CHAIN, Path("chain.yaml"))
    document.data["stages"].reverse()
    assert [stage.name for stage in read_pipeline(document).in_order()] == ["L1", "Farm", "Disk"]


def test_a_fill_pattern_repeats_up_to_the_slots() -> None:
    beam = read().beam
    assert beam is not None
    assert "".join("x" if filled else "." for filled in beam.pattern()) == "xxx..xxx.."


@given(st.integers(1, 4000), st.data())
def test_a_synthetic_pattern_fills_exactly_what_is_asked_for(slots: int, data: st.DataObject) -> None:
    filled = data.draw(st.integers(1, slots))
    rate = {"value": 4e7, "source": "x"}
    pattern = BeamSpec.model_validate({"crossing_rate_hz": rate, "slots": slots, "filled_slots": filled}).pattern()
    assert (len(pattern), sum(pattern)) == (slots, filled)


REFUSED = [
    ("inputs: [L1]", "inputs: [Disk]", 16, "stages[1].inputs", "Farm -> Disk -> Farm form a cycle"),
    ("inputs: [L1]", "inputs: [Farm]", 16, "stages[1].inputs", "Farm -> Farm form a cycle"),
    ("inputs: [L1]", "inputs: [L2]", 16, "stages[1].inputs[0]", "unknown stage 'L2'. Nearest: L1"),
    ("Pixels, to: L1", "Pixels, to: Frm", 4, "detectors[0].to", "unknown stage 'Frm'. Nearest: Farm"),
    ("reduction: 400", "reduction: 0.5", 9, "stages[0].reduction", "outside what is possible here (1 to"),
    ("rate_hz: 20 MHz", "rate_hz: 41 MHz", 5, "detectors[1].rate_hz", "above the machine's crossing rate of 4e+07"),
    ("buffer_bytes: 1 GB", "servers_: 0", 20, "stages[1].servers_", "unknown key. Nearest: servers"),
    ("buffer_bytes: 1 GB", "parts: 0", 20, "stages[1].parts", "greater than or equal to 1"),
    ("buffer_bytes: 1 GB", "places: -1", 20, "stages[1].places", "greater than or equal to 0"),
    ("buffer_bytes: 1 GB", "buffer_bytes: -1 GB", 20, "stages[1].buffer_bytes", "the value -1e+09 B is outside"),
    ("buffer_bytes: 1 GB", "compression: 1.2", 20, "stages[1].compression", "(0 to 1)"),
    ("buffer_bytes: 1 GB", "share_down: -0.1", 20, "stages[1].share_down", "(0 to 1)"),
    ("buffer_bytes: 1 GB", "classifier: {kind: all}", 17, "stages[1].reduction", "of kind all says what passes"),
    ("buffer_bytes: 1 GB", "classifier: {kind: gaussian}", 20, "stages[1].classifier.skill", "gaussian needs skill"),
    ("buffer_bytes: 1 GB", "share_down: 1", 20, "stages[1].share_down", "no server is left"),
    ("buffer_bytes: 1 GB", "speeds: [1, 2]", 20, "stages[1].speeds", "2 speeds for 30000 servers"),
    ("{value: 30000, range: [20000, 40000], estimated: true}", "0", 19, "stages[1].servers", "or equal to 1"),
    ("{value: 30000,", "{value: 30000.5,", 19, "stages[1].servers.value", "30000.5 is not a whole number"),
    ("name: Disk", "name: Farm", 22, "stages[2].name", "the name 'Farm' stands twice"),
    ("name: Disk", "name: Muons", 22, "stages[2].name", "the name 'Muons' stands twice"),
    ("name: Muons", "name: Pixels", 5, "detectors[1].name", "the name 'Pixels' stands twice"),
    (", inputs: [Farm]", "", 22, "stages[2]", "nothing feeds the stage 'Disk'"),
    ("stages: [Farm]", "stages: [Form]", 24, "events[0].stages[0]", "unknown stage 'Form'. Nearest: Farm"),
    ("horizon_s: 10 s", "horizon_s: 1e8 s", 24, "events[0].horizon_s", "at most 9.2e+06 s, the picoseconds that 64"),
    ("warm_up_s: 1 s", "warm_up_s: 10 s", 24, "events[0].warm_up_s", "a warm-up of 10 s leaves nothing of 10 s"),
    ("time_s: 300 ms, law", "law", 18, "stages[1].service", "exactly one of time_s, polynomial and workload, not none"),
    ("law: gamma, cv: 0.5", "law: gamma", 18, "stages[1].service.law", "the law gamma needs a cv"),
    ("law: gamma, cv: 0.5", "law: erlang, cv: 1.5", 18, "stages[1].service.cv", "above 0 and at most 1, not 1.5"),
    ("accepts: 1", "accepts: 3", 13, "stages[0].rules[0].accepts", "3 accepts in 3 crossings is no restriction"),
    ("beam: {crossing_rate_hz: 40 MHz, slots: 10, fill: [[3, 2]]}", "year: 2024", 4, "detectors[0]", "is no beam"),
    ("fill: [[3, 2]]", "fill: [[0, 2]]", 2, "beam.fill", "no crossing is filled"),
    ("[0, 5e-7]", "[0, -1]", 10, "stages[0].operations.coefficients[1]", "the coefficient -1 is negative"),
    ("1.44 MB", "1.44 MHz", 4, "detectors[0].size_bytes", "is a frequency (hertz), but an amount of data"),
    ("1.44 MB", "1.44 Mb", 4, "detectors[0].size_bytes", "counts bits"),
    ("factor: 0.5", "factr: 0.5", 26, "improvements.gpu.stages.Farm.operations_factr", "Nearest: operations"),
    ("gpu: {stages.Farm", "gpu: {stages.Fram", 26, "improvements.gpu.stages.Fram", "'Fram' is not in the list"),
    ("size_bytes: 0.66 MB", "size_bytes: 3 s", 27, "improvements.small.detectors.Pixels", "is a time (seconds)"),
    ("kind: pipeline", "kind: run", 1, "kind", "expected kind: pipeline, not 'run'"),
    ("kind: pipeline", "improved_by: [gpuu]", 1, "improved_by[0]", "unknown improvement 'gpuu'. Nearest: gpu"),
]  # fmt: skip


REFUSED += [
    ("rules: [{accepts: 1, crossings: 3}]", "duty: {on_s: 0 s, period_s: 1 s}", 13, "stages[0].duty", "never serves"),
    ("rules: [{accepts: 1, crossings: 3}]", "duty: {on_s: 1 ns, period_s: 9 ns}", 13, "stages[0].duty", "least 1 us"),
    ("accepts: 1, crossings: 3", "accepts: 10001, crossings: 20000", 13, "stages[0].rules", "at most 10,000 accepts"),
    ("accepts: 1, crossings: 3", "accepts: 1, crossings: 1000001", 13, "stages[0].rules", "1,000,000 crossings"),
    ("pipeline_crossings: 512", "events_per_packet: 1000001", 12, "stages[0].events_per_packet", "at most 1,000,000"),
    ("pipeline_crossings: 512", "batch: {size: 1000001}", 12, "stages[0].batch", "at most 1,000,000 events"),
    ("buffer_bytes: 1 GB", "places: 7\n    batch: {size: 8}", 20, "stages[1].places", "a batch of 8 never fills"),
    ("buffer_bytes: 1 GB", "failures: {mtbf_s: 0.5 ms, mttr_s: 1 s}", 20, "stages[1].failures", "at least 1 ms"),
    ("kind: pipeline", "improved_by: [[gpu]]", 1, "improved_by[0]", "unknown improvement"),
    ("kind: pipeline", "improved_by: [gpu, gpu]", 1, "improved_by[1]", "'gpu' stands twice"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "line", "key", "words"), REFUSED)
def test_what_cannot_be_is_refused_with_line_and_key(old: str, new: str, line: int, key: str, words: str) -> None:
    with pytest.raises(BadFileError) as refused:
        read(changed(old, new))
    assert refused.value.line == line
    assert refused.value.key.startswith(key)
    assert words in str(refused.value)


def test_an_empty_list_of_stages_is_refused_in_a_sentence() -> None:
    with pytest.raises(BadFileError, match="needs at least one of its stages; the list is empty"):
        read("kind: pipeline\ndetectors: [{name: a, to: b, size_bytes: 1, rate_hz: 1}]\nstages: []\n")


def test_a_batch_may_be_larger_than_its_places_if_it_does_not_wait_for_ever() -> None:
    text = changed("buffer_bytes: 1 GB", "places: 7\n    batch: {size: 8, max_wait_s: 1 s}")
    assert read(text).stage("Farm").places == 7


def test_the_nominal_numbers_of_the_lhc_give_its_nominal_scheme() -> None:
    beam = BeamSpec.model_validate({"crossing_rate_hz": {"value": 40e6, "source": GIVEN}, "filled_slots": 2808})
    assert tuple(slot for slot, filled in enumerate(beam.pattern()) if filled) == lhc_trains().filled


@given(st.integers(1, 5000).flatmap(lambda slots: st.tuples(st.just(slots), st.integers(1, slots))))
def test_a_pattern_of_trains_has_the_slots_and_filled_ones_that_it_was_asked_for(numbers: tuple[int, int]) -> None:
    slots, filled = numbers
    figure = {"value": 40e6, "source": GIVEN}
    pattern = BeamSpec.model_validate({"crossing_rate_hz": figure, "slots": slots, "filled_slots": filled}).pattern()
    assert (len(pattern), sum(pattern)) == (slots, filled)


def test_trains_of_other_numbers_stand_in_groups() -> None:
    figure = {"value": 40e6, "source": GIVEN}
    pattern = BeamSpec.model_validate({"crossing_rate_hz": figure, "filled_slots": 2748}).pattern()
    gaps = [len(gap) for gap in "".join("x" if filled else "." for filled in pattern).split("x") if gap]
    assert (gaps.count(8), len(gaps), gaps[-1]) == (27, 39, 124)  # 12 groups; the abort gap, 119 + 5
    assert set(gaps[:-1]) == {8, 43, 44}


def test_improvements_come_before_settings() -> None:
    on = read(settings={"improved_by": "[gpu, small]"})
    assert value_of(on.stage("Farm").operations_factor) == 0.5
    assert on.detectors[0].size_bytes.value == 0.66e6
    assert [value_of(stage.own_bytes) for stage in on.stages] == [1e3] * 3
    assert on.improved_by == ("gpu", "small")
    both = read(settings={"stages.Farm.operations_factor": 0.25, "improved_by": "gpu"})
    assert value_of(both.stage("Farm").operations_factor) == 0.25
    assert read().stage("Farm").operations_factor is None


def test_a_setting_may_have_a_unit_or_be_in_that_of_its_key() -> None:
    with_unit = read(settings={"detectors.*.link.energy_per_bit_j": "2 pJ/bit"})
    plain = read(settings={"detectors.*.link.energy_per_bit_j": 2e-12})
    for spec in (with_unit, plain):
        assert [d.link and value_of(d.link.energy_per_bit_j) for d in spec.detectors] == pytest.approx([2e-12, 2e-12])


def test_a_setting_can_take_a_part_away() -> None:
    assert read(settings={"stages.Farm.link": "null"}).stage("Farm").link is None


def test_a_fault_of_a_setting_names_the_setting() -> None:
    with pytest.raises(BadFileError, match=r"key 'stages.Farm.reduction': .* A setting gave this value."):
        read(settings={"stages.Farm.reduction": 0.1})
    with pytest.raises(BadValueError, match=r"'Frm' is not in the list\. Nearest: Farm"):
        read(settings={"stages.Frm.reduction": 2})
    with pytest.raises(BadFileError, match=r"unknown key\. Nearest: stages"):
        read(settings={"stage.Farm.reduction": 2})


def test_a_source_that_is_not_in_the_table_is_refused() -> None:
    with pytest.raises(BadFileError, match="the source 'tdr' is not in the table of sources"):
        read(changed("1.44 MB", "{value: 1.44 MB, source: tdr}"))


def test_a_file_is_read_by_its_path_and_a_name_by_the_catalogue(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(CHAIN)
    assert load_pipeline(path).id == "mine"
    with pytest.raises(UnknownNameError, match="cms-run3"):
        load_pipeline("cms-run-3x")


def test_plain_data_reads_like_a_file_and_stays_as_it_was() -> None:
    data = parse_yaml(CHAIN, Path("chain.yaml")).data
    before = copied(data)
    assert read_pipeline(data, {"id": "x", "improved_by": ["gpu"]}).digest() != read_pipeline(data).digest()
    assert data == before


def test_a_catalogue_pipeline_with_settings_needs_neither_pint_nor_yaml(repository: Path) -> None:
    code = """
import sys
from hardware_specs.pipelines import load_pipeline
load_pipeline("cms-run5-pu200", {"improved_by": ["gpu"], "stages.HLT.servers": 3})
print([name for name in ("pint", "yaml") if name in sys.modules])
"""
    done = run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_path_may_name_items_with_dots_and_numbers() -> None:
    data = {"tasks": [{"name": "a.b", "x": 1}, {"name": "c", "x": 2}]}
    assert set_at(data, "tasks.a.b.x", 5) == [("tasks", 0, "x")]
    assert set_at(data, "tasks.1.x", 6) == [("tasks", 1, "x")]
    assert set_at(data, "tasks.*.y.z", 7) == [("tasks", 0, "y"), ("tasks", 1, "y")]
    assert data == {"tasks": [{"name": "a.b", "x": 5, "y": {"z": 7}}, {"name": "c", "x": 6, "y": {"z": 7}}]}


@pytest.mark.parametrize(
    ("key", "words"),
    [("", "empty part"), ("a..b", "empty part"), ("a.b.c", "is 3, no mapping"), ("l.9", "'9' is not in the list")],
)
def test_a_path_that_leads_nowhere_is_refused(key: str, words: str) -> None:
    with pytest.raises(BadValueError, match=words):
        set_at({"a": {"b": 3}, "l": [1]}, key, 0)
    with pytest.raises(BadValueError, match="has no value"):
        read_value("a", " ")


@given(st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=4), st.integers())
def test_what_is_set_at_a_path_is_found_there(parts: list[str], value: int) -> None:
    data: dict[str, Any] = {}
    set_at(data, ".".join(parts), value)
    assert get_at(data, tuple(parts)) == value
