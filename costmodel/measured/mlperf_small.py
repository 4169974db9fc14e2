"""MLPerf Tiny and Mobile: latency and energy on microcontrollers, small NPUs and phones (MLCommons, Apache-2.0).

Derived and unverified use of MLPerf results. Traps of tiny: the clock is text, and a board may run below its own clock:
of each device only the rows at its highest clock are kept; energy is µJ an inference, in rows of its own in v1.3; one
energy row in three lacks a latency. Traps of mobile: times in ns; laptops on battery are slower and left out; the
tables do not state formats (whole-number 8 bit is what the apps ship). Sizes of inputs are those of the benchmarks'
rules: visual wake words 96 pixels, MobileNet v4 384, edge 224, MobileBERT 384 tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from costmodel.measured.base import ImportRequest
from costmodel.measured.data_files import (
    Columns,
    by_timm_name,
    device_id,
    drop,
    each,
    read_file,
    set_folder,
    whole_models,
    workload_id,
)
from costmodel.measured.data_files import texts as blank_texts
from workloads.table import Array
from workloads.workload_measurements import WorkloadMeasurements, params_text

SOURCE = "MLPerf {} (Apache-2.0), derived, unverified"
TINY = {"vww": "mobilenetv1-100", "kws": "ds-cnn", "ic": "resnet-8", "ad": "ad-autoencoder", "sww": "sww-1d"}
TINY_PARAMS = {"vww": params_text(image=96, width=0.25, classes=2)}
MOBILE = {"mobilenetV4": "mobilenetv4_conv_large", "mobilenetEdgeTPU": "mobilenet_edgetpu_100"}
MOBILE_NAMED = {"mobileBERT": "mobilebert", "mobiledetSSD": "ssd-mobiledet", "EDSR": "edsr", "mosaic": "mosaic"}
MOBILE_PARAMS = {"mobilenetV4": params_text(image=384), "mobilenetEdgeTPU": params_text(image=224)}
MOBILE_TOKENS = {"mobileBERT": 384.0}
CLOCK_SLACK = 0.98
_CLOCK = re.compile(r"([\d.]+)\s*([MG])Hz", re.IGNORECASE)


def clock_hz(text: str) -> float:
    """Return the first clock of a text such as '30.7 MHz' or 'up to 3.4Ghz'; NaN where there is none."""
    found = _CLOCK.search(text)
    return float(found[1]) * (1e6 if found[2] in "mM" else 1e9) if found else float("nan")


def load_tiny(request: ImportRequest) -> Iterator[WorkloadMeasurements]:
    """Yield a table of v1.2 and one of v1.3. Raises BadFileError."""
    request.check_options()
    folder = set_folder(request, "mlperf_tiny")
    old = read_file(
        folder / "v1_2_summary.csv.gz", ("Result", "Power"),
        ("BoardName", "MlperfModel", "HostProcessorFrequency", "AcceleratorFrequency", "InferenceFramework"),
    )  # fmt: skip
    new = read_file(
        folder / "v1_3_parsed.csv.gz", ("throughput_inf_s", "energy_uj_per_inf"),
        ("system", "benchmark", "processor_freq", "accelerator_freq", "framework"),
    )  # fmt: skip
    names = ("board", "benchmark", "clock", "accelerator_clock", "software", "rate_hz", "energy_uj")
    rounds = {
        "v1.2": (old, ("BoardName", "MlperfModel", "HostProcessorFrequency", "AcceleratorFrequency",
                       "InferenceFramework", "Result", "Power")),
        "v1.3": (new, ("system", "benchmark", "processor_freq", "accelerator_freq", "framework", "throughput_inf_s",
                       "energy_uj_per_inf")),
    }  # fmt: skip
    for version, (found, own) in rounds.items():
        table = _tiny(request, version, {name: found[column] for name, column in zip(names, own, strict=True)})
        if table is not None:
            yield table


def _tiny(request: ImportRequest, version: str, found: Columns) -> WorkloadMeasurements | None:
    request.report.read += len(found["board"])
    found = drop(request, found, ~((found["rate_hz"] > 0) | (found["energy_uj"] > 0)), "nothing was measured")
    device = each(found["board"], lambda name: device_id("mlperf_tiny", name))
    texts = np.where(found["accelerator_clock"] != "", found["accelerator_clock"], found["clock"])
    clock = np.fmax(each(texts, clock_hz), each(found["board"], clock_hz))
    slow = np.zeros(len(device), dtype=bool)
    for name in set(device.tolist()):
        here = device == name
        slow |= here & (clock < CLOCK_SLACK * np.nanmax(np.append(clock[here], 0.0)))
    found, device = drop(request, found, slow, "a clock below the device's own"), device[~slow]
    workload = each(found["benchmark"], lambda name: workload_id(TINY.get(name, "")))
    rate_hz = np.where(found["rate_hz"] > 0, found["rate_hz"], np.nan)
    return whole_models(
        request, f"MLPerf Tiny {version}",
        {
            "device": device, "source": SOURCE.format(f"Tiny {version}"), "software": found["software"],
            "workload": workload, "dtype": "int8", "batch": 1.0,
            "params": each(found["benchmark"], lambda name: TINY_PARAMS.get(name, "")), "latency_s": 1 / rate_hz,
            "energy_j": np.where(found["energy_uj"] > 0, found["energy_uj"] * 1e-6, np.nan),
        },
        unknown=found["benchmark"],
    )  # fmt: skip


def load_mobile(request: ImportRequest) -> Iterator[WorkloadMeasurements]:
    """Yield one table: latency of single streams, rates of offline runs. Raises BadFileError."""
    request.check_options()
    numbers = ("mean_latency_ns", "samples_per_s")
    found = read_file(
        set_folder(request, "mlperf_mobile") / "results.csv.gz", numbers, ("round", "system", "benchmark", "scenario")
    )  # fmt: skip
    request.report.read += len(found["system"])
    found = drop(request, found, each(found["system"], lambda name: float(name.endswith("_DC"))) == 1, "on battery")
    single = found["scenario"] == "SingleStream"
    table = whole_models(
        request, "MLPerf Mobile",
        {
            "device": each(found["system"], lambda name: device_id("mlperf_mobile", name)),
            "source": each(found["round"], lambda name: SOURCE.format(f"Mobile {name}")),
            "software": blank_texts(len(single), "mlperf mobile app"), "workload": _mobile(found["benchmark"]),
            "dtype": "int8", "batch": np.where(single, 1.0, np.nan),
            "prompt": each(found["benchmark"], lambda name: MOBILE_TOKENS.get(name, float("nan"))),
            "params": each(found["benchmark"], lambda name: MOBILE_PARAMS.get(name, "")),
            "latency_s": np.where(single, found["mean_latency_ns"] * 1e-9, np.nan),
            "rate_hz": np.where(single, np.nan, found["samples_per_s"]),
        },
        unknown=found["benchmark"],
    )  # fmt: skip
    if table is not None:
        yield table


def _mobile(benchmark: Array) -> Array:
    timm = by_timm_name()
    return each(
        benchmark, lambda name: timm.get(MOBILE.get(name, ""), "") or workload_id(MOBILE_NAMED.get(name, ""))
    )  # fmt: skip
