"""`host-cpu`: the processor that this process runs on, as far as the system tells, as a device like any other.

Nothing is timed here, so that the description (and its digest) is the same in every run on one machine: what the
system does not tell (the bandwidth of the memory, the boost clock of a virtual machine) is estimated with a range, and
calibration on rows of `archcast measure` puts what the machine really does in its place.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hardware_specs.catalogue import HOST_CPU
from hardware_specs.schema import DeviceSpec

SOURCES: dict[str, str] = {
    "proc": "/proc/cpuinfo and /proc/meminfo of this machine",
    "sysfs": "/sys/devices/system/cpu of this machine",
    "affinity": "the cores that this process may use (sched_getaffinity, cgroup cpu.max)",
    "isa": "lanes and issue width of the instruction set x cores x clock; uops.info and the vendors' guides",
}

_RESERVED_SHARE, _MOST_RESERVED_BYTES = 0.1, 2.0 * 2**30
"""What the system keeps of the memory (estimated, a quarter to twice of it)."""


@dataclass(frozen=True)
class Cache:
    """One level of data cache: bytes of all instances that the usable cores have."""

    level: int
    capacity_bytes: int


@dataclass(frozen=True)
class HostFacts:
    """What the system says of its processor. `boost_hz` is 0 where it does not say; `flags` are in lower case."""

    model: str
    vendor: str
    family: int
    machine: str
    flags: frozenset[str]
    cores: int
    all_cores: int
    clock_hz: float
    boost_hz: float
    memory_bytes: int
    caches: tuple[Cache, ...]


@dataclass(frozen=True)
class Lanes:
    """FLOP a clock and core: (value, lo, hi) by format, a name, the year of the set, and the block of a product."""

    name: str
    year: int
    flop: dict[str, tuple[float, float, float]]
    tile: tuple[int, int, int]


def host_device() -> DeviceSpec:
    """Return this machine's processor as a device; the same object in every call."""
    return _this_machine()


@cache
def _this_machine() -> DeviceSpec:
    return describe(detect())


def usable_cores() -> tuple[int, ...]:
    """Return the numbers of the cores that this process may use (0 to n - 1 where the system does not say)."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def usable_threads(root: Path = Path("/")) -> int:
    """Return how many threads can run at once: the cores, or fewer where a container limits the processor time."""
    quota = _read(root / "sys/fs/cgroup/cpu.max").split()
    cores = len(usable_cores())
    if len(quota) == 2 and quota[0].isdigit() and quota[1].isdigit() and int(quota[1]):
        return max(1, min(cores, round(int(quota[0]) / int(quota[1]))))
    return cores


def detect(root: Path = Path("/"), cores: tuple[int, ...] | None = None) -> HostFacts:
    """Return what the system says; `root` is where its /proc and /sys are. Unknown figures take cautious values."""
    mine = usable_cores() if cores is None else cores
    info = _cpuinfo(root / "proc/cpuinfo")
    clock_hz, boost_hz = _clocks(root, info, mine)
    memory = _number(_field(_read(root / "proc/meminfo"), "MemTotal"), 1024) or _system_memory()
    return HostFacts(
        model=info.get("model name") or info.get("hardware") or platform.processor() or "processor of this machine",
        vendor=info.get("vendor_id") or info.get("cpu implementer") or "unknown",
        family=int(info["cpu family"]) if info.get("cpu family", "").isdigit() else 0,
        machine=platform.machine().lower(),
        flags=frozenset((info.get("flags") or info.get("features") or "").lower().split()),
        cores=usable_threads(root) if cores is None else len(mine), all_cores=os.cpu_count() or len(mine),
        clock_hz=clock_hz, boost_hz=boost_hz, memory_bytes=_limited(root, memory), caches=_caches(root, mine),
    )  # fmt: skip


def describe(facts: HostFacts) -> DeviceSpec:
    """Return the device that these facts make; pure, so equal facts give equal digests."""
    lanes = lanes_of(facts)
    note = (
        f"Detected: {facts.cores} of {facts.all_cores} cores, {lanes.name}. `released` is the year of the instruction "
        "set. Bandwidths are estimates until rows of `archcast measure` calibrate them."
    )
    return DeviceSpec.model_validate({
        "id": HOST_CPU, "name": f"{facts.model} ({facts.cores} cores of this machine)", "vendor": facts.vendor,
        "kind": "cpu", "released": str(lanes.year), "notes": note, "sources": SOURCES,
        "units": [_unit("matrix", facts, lanes, (0.75, 0.4, 0.95)), _unit("vector", facts, lanes, (0.5, 0.2, 0.85))],
        "memory": _memory(facts), "power": _power(facts),
        "launch_overhead_s": _estimate(3e-6, 1e-6, 1e-5),
    })  # fmt: skip


def lanes_of(facts: HostFacts) -> Lanes:
    """Return what the instruction set does in a clock on one core.

    Two fused multiply-adds a clock on the full vectors, except: AMD family 25 (Zen 4) and Intel's small servers run
    512-bit vectors on 256-bit pipes or one pipe. AMX: 2048 FLOP of bf16 and 4096 of int8 a clock (Intel 248966).
    """
    flags = facts.flags
    if "avx512f" in flags:
        one_pipe = facts.vendor == "AuthenticAMD" and facts.family < 26
        fp32 = (32.0, 32.0, 32.0) if one_pipe else (64.0, 32.0, 64.0)
        flop = {"fp64": _times(fp32, 0.5), "fp32": fp32, "int8": _times(fp32, 4.0 if "avx512_vnni" in flags else 2.0)}
        if "avx512_bf16" in flags:
            flop["bf16"] = _times(fp32, 2.0)
        if "avx512_fp16" in flags:
            flop["fp16"] = _times(fp32, 2.0)
        if "amx_tile" in flags:
            flop |= {"bf16": (2048.0, 1024.0, 2048.0), "int8": (4096.0, 2048.0, 4096.0)}
            return Lanes("AVX-512 and AMX", 2023, flop, (16, 16, 32))
        return Lanes("AVX-512", 2020 if "avx512_vnni" in flags else 2017, flop, (14, 32, 1))
    if "avx2" in flags:
        fp32 = (32.0, 16.0, 32.0) if "fma" in flags else (16.0, 8.0, 16.0)
        vnni = 4.0 if "avx_vnni" in flags else 2.0
        flop = {"fp64": _times(fp32, 0.5), "fp32": fp32, "int8": (fp32[0] * vnni, fp32[1], fp32[2] * 4)}
        return Lanes("AVX2", 2013, flop, (6, 16, 1))
    if facts.machine in ("aarch64", "arm64"):
        fp32 = (32.0 if "sve" in flags else 16.0, 8.0, 32.0)
        flop = {"fp64": _times(fp32, 0.5), "fp32": fp32, "int8": _times(fp32, 4.0 if "asimddp" in flags else 2.0)}
        if "asimdhp" in flags or "fphp" in flags:
            flop["fp16"] = _times(fp32, 2.0)
        if "bf16" in flags:
            flop["bf16"] = (fp32[0] * 2, fp32[1], fp32[2] * 4)
        return Lanes("NEON", 2012, flop, (8, 12, 1))
    fp32 = (16.0, 8.0, 16.0) if "avx" in flags else (8.0, 2.0, 16.0)
    flop = {"fp64": _times(fp32, 0.5), "fp32": fp32, "int8": (fp32[0], fp32[1], fp32[2] * 2)}
    return Lanes("AVX" if "avx" in flags else "128-bit vectors", 2011 if "avx" in flags else 2001, flop, (4, 8, 1))


def _times(flop: tuple[float, float, float], factor: float) -> tuple[float, float, float]:
    return flop[0] * factor, flop[1] * factor, flop[2] * factor


def _clock(facts: HostFacts) -> tuple[float, float, float]:
    """Return the clock under load: what the system names as the highest, else 1.4 times the nominal (1 to 1.7)."""
    if facts.boost_hz > facts.clock_hz:
        return facts.boost_hz, facts.clock_hz, facts.boost_hz
    return 1.4 * facts.clock_hz, facts.clock_hz, 1.7 * facts.clock_hz


def _unit(name: str, facts: HostFacts, lanes: Lanes, efficiency: tuple[float, float, float]) -> dict[str, Any]:
    clock = _clock(facts)
    peaks = {
        fmt: _estimate(*(flop * hertz * facts.cores for flop, hertz in zip(rate, clock, strict=True)))
        for fmt, rate in lanes.flop.items()
        if name == "matrix" or fmt not in ("bf16", "fp16")
    }
    # some 5 W a core at full rate, spread over its FLOP (estimated, 2 to 12 W)
    energy = {fmt: _energy(peak["value"] / facts.cores) for fmt, peak in peaks.items()}
    m, n, k = lanes.tile
    unit = {
        "name": name, "count": facts.cores, "clock_hz": _estimate(*clock), "efficiency": _estimate(*efficiency),
        "peak_flop_per_s": peaks, "energy_per_flop_j": energy,
    }  # fmt: skip
    return unit | ({"tile": {"m": m, "n": n, "k": k}} if name == "matrix" else {})


def _energy(core_flop_per_s: float) -> dict[str, Any]:
    return _estimate(*(watts / core_flop_per_s for watts in (5.0, 2.0, 12.0)))


def _memory(facts: HostFacts) -> list[dict[str, Any]]:
    """Return the levels outermost first. A core moves 24 (L3), 48 (L2), 96 (L1) bytes a clock (estimated)."""
    clock = _clock(facts)[0] * facts.cores
    reserved = min(_RESERVED_SHARE * facts.memory_bytes, _MOST_RESERVED_BYTES)
    dram = {
        "name": "dram", "capacity_bytes": _exact(facts.memory_bytes, "proc"),
        "reserved_bytes": _estimate(reserved, reserved / 4, 2 * reserved),
        "bandwidth_bytes_per_s": _dram_rate(facts.cores), "efficiency": _estimate(0.8, 0.5, 1.0),
        "energy_per_byte_j": _estimate(1.4e-10, 8e-11, 2.4e-10),
    }  # fmt: skip
    per_clock = {1: (96.0, 32.0, 192.0), 2: (48.0, 16.0, 64.0), 3: (24.0, 8.0, 32.0)}
    joules = {1: (6e-11, 2e-11, 1.5e-10), 2: (1.5e-10, 6e-11, 3e-10), 3: (3.8e-10, 1.5e-10, 7.5e-10)}
    levels = [
        {
            "name": f"l{c.level}", "capacity_bytes": _exact(c.capacity_bytes, "sysfs"),
            "reserved_bytes": _exact(0, "sysfs"),
            "bandwidth_bytes_per_s": _estimate(*(b * clock for b in per_clock[min(c.level, 3)])),
            "efficiency": _estimate(0.8, 0.5, 1.0),
            "energy_per_byte_j": _estimate(*(j / 10 for j in joules[min(c.level, 3)])),
        }
        for c in sorted(facts.caches, key=lambda c: -c.level)
    ]  # fmt: skip
    return [dram, *levels]


def _dram_rate(cores: int) -> dict[str, Any]:
    """Return the rate that so many cores draw from memory: 15 GB/s each (4 to 40), at most 300 GB/s (estimated)."""
    return _estimate(min(15e9 * cores, 3e11), min(4e9 * cores, 2e10), min(40e9 * cores, 6e11))


def _power(facts: HostFacts) -> dict[str, Any]:
    """Return what the usable cores draw: 2 W idle and 8 W at full load each (estimated)."""
    n = facts.cores
    return {"idle_w": _estimate(2.0 * n, 0.5 * n, 5.0 * n), "limit_w": _estimate(8.0 * n, 5.5 * n, 20.0 * n)}


def _estimate(value: float, lo: float, hi: float) -> dict[str, Any]:
    return {"value": value, "lo": min(value, lo), "hi": max(value, hi), "estimated": True}


def _exact(value: float, source: str) -> dict[str, Any]:
    return {"value": float(value), "source": source}


def _read(path: Path) -> str:
    """Return the text of a system file, '' where it is absent or closed to us."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")[:4_000_000]
    except OSError:
        return ""


def _cpuinfo(path: Path) -> dict[str, str]:
    """Return the fields of the first processor of /proc/cpuinfo, keys in lower case."""
    found: dict[str, str] = {}
    for line in _read(path).splitlines():
        key, colon, value = line.partition(":")
        if colon:
            found.setdefault(key.strip().lower(), value.strip())
    return found


def _field(text: str, name: str) -> str:
    return next((line.split(":", 1)[1] for line in text.splitlines() if line.startswith(name + ":")), "")


def _number(text: str, unit: int) -> int:
    """Return the number that a text starts with, times the unit; 0 where there is none."""
    word = (text.split() or [""])[0]
    return int(word) * unit if word.isdigit() else 0


def _clocks(root: Path, info: dict[str, str], cores: tuple[int, ...]) -> tuple[float, float]:
    """Return (nominal, highest or 0) in hertz. The clock of the moment is never used: it changes between runs.

    The time-stamp counter of x86 ticks at the nominal clock, and BogoMIPS is twice that.
    """
    folder = root / f"sys/devices/system/cpu/cpu{cores[0] if cores else 0}/cpufreq"
    base = _number(_read(folder / "base_frequency"), 1000)
    boost = _number(_read(folder / "cpuinfo_max_freq"), 1000)
    bogomips = info.get("bogomips", "")
    if not base and bogomips and ("flags" in info):
        base = round(float(bogomips) / 2) * 10**6
    if not base:
        base = boost or 2_000_000_000
    return float(base), float(boost)


def _caches(root: Path, cores: tuple[int, ...]) -> tuple[Cache, ...]:
    """Return the data caches of the usable cores: an instance that several share counts once."""
    seen: dict[tuple[int, str], int] = {}
    for core in cores:
        for index in range(8):
            folder = root / f"sys/devices/system/cpu/cpu{core}/cache/index{index}"
            level, size = _number(_read(folder / "level"), 1), _cache_bytes(_read(folder / "size"))
            if not level or not size or _read(folder / "type").strip() == "Instruction":
                continue
            seen[level, _read(folder / "shared_cpu_list").strip() or str(core)] = size
    levels = sorted({level for level, _ in seen})
    found = tuple(Cache(level, sum(size for (of, _), size in seen.items() if of == level)) for level in levels)
    return found or (Cache(1, 32 * 1024 * len(cores)), Cache(2, 512 * 1024 * len(cores)))


def _cache_bytes(text: str) -> int:
    text = text.strip()
    unit = {"K": 1024, "M": 1024**2, "G": 1024**3}.get(text[-1:], 1)
    digits = text.rstrip("KMG")
    return int(digits) * unit if digits.isdigit() else 0


def _limited(root: Path, memory: int) -> int:
    """Return the memory, or what a container's limit leaves of it."""
    limit = _number(_read(root / "sys/fs/cgroup/memory.max"), 1)
    return min(memory, limit) if limit else memory


def _system_memory() -> int:
    """Return the memory in bytes as POSIX tells it; 4 GiB where it does not."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 4 * 2**30
