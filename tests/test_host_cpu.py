"""`host-cpu` is read off the system's files: cores, instruction set, caches, clock and memory; always the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_runner import archcast

from costmodel.rates import compile_rates
from hardware_specs import load_device
from hardware_specs.host import HostFacts, Lanes, describe, detect, host_device, lanes_of, usable_threads

ZEN4 = "fpu sse2 avx avx2 fma avx512f avx512_vnni avx512_bf16"
CPUINFO = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model name\t: AMD EPYC 9654 96-Core Processor
cpu MHz\t\t: {mhz}
flags\t\t: {flags}
bogomips\t: 4800.00

processor\t: 1
model name\t: another
"""


def machine(
    root: Path, *, flags: str = ZEN4, mhz: str = "3712.1", cores: int = 4, boost_khz: int | None = None
) -> Path:
    """Write the /proc and /sys of a machine whose pairs of cores share an L3."""
    (root / "proc").mkdir(parents=True)
    (root / "proc/cpuinfo").write_text(CPUINFO.format(flags=flags, mhz=mhz))
    (root / "proc/meminfo").write_text("MemTotal:       16000000 kB\nMemFree:  1 kB\n")
    for core in range(cores):
        pair = f"{core // 2 * 2}-{core // 2 * 2 + 1}"
        levels = [("1", "Data", "32K", f"{core}"), ("1", "Instruction", "32K", f"{core}"),
                  ("2", "Unified", "1024K", f"{core}"), ("3", "Unified", "32M", pair)]  # fmt: skip
        for index, (level, kind, size, shared) in enumerate(levels):
            folder = root / f"sys/devices/system/cpu/cpu{core}/cache/index{index}"
            folder.mkdir(parents=True)
            for name, text in (("level", level), ("type", kind), ("size", size), ("shared_cpu_list", shared)):
                (folder / name).write_text(text + "\n")
    if boost_khz:
        folder = root / "sys/devices/system/cpu/cpu0/cpufreq"
        folder.mkdir(parents=True)
        (folder / "cpuinfo_max_freq").write_text(f"{boost_khz}\n")
    return root


def facts(**changes: object) -> HostFacts:
    """Return the facts of an AVX2 machine with changes."""
    plain: dict[str, object] = {
        "model": "A processor", "vendor": "GenuineIntel", "family": 6, "machine": "x86_64",
        "flags": frozenset(["avx", "avx2", "fma"]), "cores": 4, "all_cores": 8, "clock_hz": 2e9, "boost_hz": 4e9,
        "memory_bytes": 16 * 2**30, "caches": (),
    }  # fmt: skip
    return HostFacts(**plain | changes)  # type: ignore[arg-type]


def test_cores_caches_clock_and_memory_are_those_of_the_system_files(tmp_path: Path) -> None:
    found = detect(machine(tmp_path), cores=(0, 1, 2, 3))
    assert found.model == "AMD EPYC 9654 96-Core Processor"
    assert found.cores == 4
    assert found.memory_bytes == 16_000_000 * 1024
    # four L1 of 32 KiB, four L2 of 1 MiB, two L3 of 32 MiB that two cores share each; instruction caches hold no data
    assert {c.level: c.capacity_bytes for c in found.caches} == {1: 4 * 2**15, 2: 4 * 2**20, 3: 2 * 2**25}
    assert found.clock_hz == 2.4e9  # half of the BogoMIPS: the time-stamp counter


def test_a_process_on_two_cores_has_the_caches_of_those_two(tmp_path: Path) -> None:
    found = detect(machine(tmp_path), cores=(2, 3))
    assert {c.level: c.capacity_bytes for c in found.caches} == {1: 2 * 2**15, 2: 2 * 2**20, 3: 2**25}
    assert describe(found).unit("matrix").count == 2


def test_the_digest_does_not_change_with_the_clock_of_the_moment(tmp_path: Path) -> None:
    one = describe(detect(machine(tmp_path / "a", mhz="1500.000"), cores=(0, 1)))
    other = describe(detect(machine(tmp_path / "b", mhz="3700.123"), cores=(0, 1)))
    assert one.digest() == other.digest()
    assert compile_rates(one).digest() == compile_rates(other).digest()


def test_the_highest_clock_of_the_system_sets_the_peak(tmp_path: Path) -> None:
    spec = describe(detect(machine(tmp_path, boost_khz=3_700_000), cores=(0, 1)))
    peak = spec.unit("matrix").peak_flop_per_s["fp32"]
    assert peak.value == pytest.approx(2 * 32 * 3.7e9)  # two cores, 32 FLOP a clock on Zen 4
    assert peak.lo == pytest.approx(2 * 32 * 2.4e9)


@pytest.mark.parametrize(
    ("changes", "fp32", "int8"),
    [
        ({"flags": frozenset(["avx", "avx2", "fma"])}, 32, 64),
        ({"flags": frozenset(["avx", "avx2", "fma", "avx_vnni"])}, 32, 128),
        ({"flags": frozenset(["avx512f", "avx512_vnni"])}, 64, 256),
        ({"flags": frozenset(["avx512f", "avx512_vnni", "amx_tile"])}, 64, 4096),
        ({"flags": frozenset(ZEN4.split()), "vendor": "AuthenticAMD", "family": 25}, 32, 128),
        ({"flags": frozenset(ZEN4.split()), "vendor": "AuthenticAMD", "family": 26}, 64, 256),
        ({"flags": frozenset(["asimd", "asimddp"]), "machine": "aarch64"}, 16, 64),
        ({"flags": frozenset(["sse2"])}, 8, 8),
    ],
)
def test_the_instruction_set_gives_the_flop_of_a_clock(changes: dict[str, object], fp32: float, int8: float) -> None:
    lanes: Lanes = lanes_of(facts(**changes))
    assert lanes.flop["fp32"][0] == fp32
    assert lanes.flop["int8"][0] == int8
    for value, lo, hi in lanes.flop.values():
        assert lo <= value <= hi


def test_a_system_that_says_nothing_still_makes_a_device(tmp_path: Path) -> None:
    spec = describe(detect(tmp_path, cores=(0,)))
    assert spec.id == "host-cpu"
    assert spec.unit("matrix").peak_flop_per_s["fp32"].value > 0
    assert spec.dram.capacity_bytes.value > 0


def test_a_container_limit_on_time_and_memory_counts(tmp_path: Path) -> None:
    root = machine(tmp_path)
    group = root / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "cpu.max").write_text("100000 100000\n")
    (group / "memory.max").write_text(f"{2**30}\n")
    assert usable_threads(root) == 1
    assert detect(root, cores=(0, 1)).memory_bytes == 2**30


def test_every_figure_has_a_source_or_a_range() -> None:
    for place, figure in host_device().figures():
        assert figure.source or figure.lo < figure.hi or figure.value == 0, place


def test_host_cpu_works_where_a_catalogue_id_does() -> None:
    assert load_device("host-cpu") is load_device("host-cpu")
    shown = archcast("devices", "host-cpu", "--json").json()
    assert shown["id"] == "host-cpu"
    assert shown["kind"] == "cpu"
    assert load_device("Host CPU") is load_device("host-cpu")
    assert "host-cpu" in archcast("devices", "hots-cpu").stderr
    answer = archcast("predict", "resnet-18", "--on", "host-cpu", "--json").json()
    assert answer["verdict"] == "feasible"
    # networks of 16-bit floats run in fp32 on a processor, and the answer says so
    assert answer["request"]["dtype"] == "fp32"
    asked = archcast("predict", "resnet-18", "--on", "host-cpu", "--dtype", "fp16", "--json").json()
    assert asked["request"]["dtype"] == "fp16"
