"""The client: the same answers, columns and errors from this process and over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from service_server import Server, shared_server

import archcast as ac
from archcast.service.client import Client
from archcast.service.faults import RefusedError
from archcast.service.jobs import NoSuchJobError
from foundation.errors import ArchcastError, BadFileError, BadValueError, UnknownNameError

NAN = float("nan")
CHAT = {"workload": "llama-3.1-8b", "on": "h100-sxm", "prompt": 512, "generate": 64}
OPS = {"op": "gemm", "dtype": "bf16", "m": np.array([64, 128, 4096]), "n": 512, "k": np.array([64, 64, 4096])}


@pytest.fixture(scope="module")
def in_process() -> Iterator[Client]:
    with Client() as client:
        yield client


@pytest.fixture(scope="module")
def over_http() -> Iterator[Client]:
    with Client(shared_server().url) as client:
        yield client


@pytest.fixture(params=["in_process", "over_http"])
def client(request: pytest.FixtureRequest) -> Client:
    found: Client = request.getfixturevalue(request.param)
    return found


def test_predict_answers_as_the_function(client: Client) -> None:
    found = client.predict("resnet-50", on="h100-sxm", batch=4)
    known = ac.predict("resnet-50", on="h100-sxm", batch=4)
    assert known.latency_s is not None
    assert found["latency_s"] == {"value": known.latency_s.value, "lo": known.latency_s.lo, "hi": known.latency_s.hi}
    assert found["versions"]["archcast"] == ac.__version__


def test_empty_cells_of_operators_are_read_as_by_the_function(client: Client) -> None:
    asked: dict[str, Any] = {
        "op": ["gemm", "gemm", "attention"], "dtype": ["bf16"] * 3, "m": np.array([64, 8, NAN]), "n": [64, 8, None],
        "k": [64, 8, NAN], "batch": [1, NAN, 2], "q_len": [NAN, NAN, 4], "heads": [NAN, None, 8],
        "head_dim": [NAN, NAN, 64], "phase": ["", None, "prefill"], "software": ["", None, "vllm 0.19.0"],
        "device": ["h100-sxm"] * 3, "groups": NAN,
    }  # fmt: skip
    np.testing.assert_array_equal(client.predict_ops(asked)["latency_hi_s"], ac.predict_ops(asked).latency_hi_s)
    with pytest.raises(BadValueError, match="Row 2: column 'm': gemm needs m above 0, found nothing"):
        client.predict_ops({**asked, "m": [64, NAN, NAN]})
    with pytest.raises(BadValueError, match="Row 2: no device is named"):
        client.predict_ops({**asked, "device": ["h100-sxm", None, "h100-sxm"]})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"m": [64, float("inf")]}, "Row 2: Column 'm' holds NaN or infinity."),
        ({"m": [1.5, 64]}, "Row 1: m must be a whole number, found 1.5."),
        ({"m": [64, 1e13]}, "Row 2: m must be from 0 to 1000000000000, found 1e+13."),
        ({"software": ["", "vlllm"], "m": [64, 64]}, "Row 2: Unknown software 'vlllm'."),
    ],
)
def test_operators_are_refused_in_the_words_of_the_function(client: Client, change: Any, said: str) -> None:
    asked = {"op": "gemm", "dtype": "bf16", "m": 64, "n": 64, "k": 64, **change}
    for ask in (client.predict_ops, ac.predict_ops):
        with pytest.raises(BadValueError) as refused:
            ask(asked, on="h100-sxm")
        assert str(refused.value).startswith(said)


@pytest.mark.parametrize(
    "change", [{"workload": ["resnet-50", "resnet-51"]}, {"on": ["l40s", "l40x"]}, {"software": ["", "vlllm"]}]
)
def test_an_unknown_name_in_a_batch_is_refused_as_a_whole(client: Client, change: dict[str, Any]) -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown (workload|device|software)"):
        client.predict_batch(**{"workload": "resnet-50", "on": "h100-sxm", **change})
    found = ac.predict_batch(**{"workload": "resnet-50", "on": "h100-sxm", **change})  # names may be files there
    assert found["verdict"].tolist() == ["feasible", "infeasible"]
    assert "Unknown" in found["reason"][1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"batch": [1, -1]}, "batch[1]: expected int >= 1."), ({"batch": 0}, "batch: expected int >= 1."),
        ({"batch": 10**8}, "batch: expected int <= 10000000."), ({"prompt": [-1]}, "prompt[0]: expected int >= 0."),
        ({"tp": 0}, "tp: expected int >= 1."), ({"count": 10**7}, "count: expected int <= 1000000."),
    ],
)  # fmt: skip
def test_sizes_of_a_batch_are_refused_with_the_range_that_is_taken(
    client: Client, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadValueError) as refused:
        client.predict_batch(**{"workload": "resnet-50", "on": "h100-sxm", **change})
    assert str(refused.value) == said


def test_predict_batch_answers_as_the_function(client: Client) -> None:
    asked = {"workload": "resnet-50", "on": ["h100-sxm", "a100-sxm", "rtx-4090"], "batch": np.array([1, 8, 64])}
    found, known = client.predict_batch(**asked), ac.predict_batch(**asked)
    assert set(found) == set(known)
    np.testing.assert_array_equal(found["latency_s"], known["latency_s"])
    np.testing.assert_array_equal(found["energy_hi_j"], known["energy_hi_j"])
    assert found["verdict"].tolist() == known["verdict"].tolist()


def test_a_row_without_an_answer_is_nan_with_a_reason(client: Client) -> None:
    found = client.predict_batch(workload="llama-3.1-8b", on=["h100-sxm", "gap8"])
    assert np.isfinite(found["latency_s"][0])
    assert np.isnan(found["latency_s"][1])
    assert found["verdict"].tolist() == ["feasible", "infeasible"]
    assert found["reason"][1]


@pytest.mark.parametrize("model", ["", "physics"])
def test_predict_ops_answers_as_the_function(client: Client, model: str) -> None:
    found = client.predict_ops(OPS, on="h100-sxm", model=model)
    known = ac.predict_ops(OPS, on="h100-sxm", model=model or None)
    for name in ("latency_s", "latency_lo_s", "energy_hi_j", "dram_bytes"):
        np.testing.assert_array_equal(found[name], getattr(known, name))
    assert found["bound"].tolist() == known.bounds()
    assert found["source"].tolist() == known.sources()


def test_a_column_of_devices_prices_each_row_on_its_own(client: Client) -> None:
    mixed = client.predict_ops({**OPS, "device": ["h100-sxm", "a100-sxm", "h100-sxm"]})
    alone = client.predict_ops(OPS, on="a100-sxm")
    assert mixed["latency_s"][1] == pytest.approx(alone["latency_s"][1], rel=1e-12)
    assert mixed["latency_s"][2] != alone["latency_s"][2]


def test_rows_are_answered_one_by_one(client: Client) -> None:
    rows = client.predict_rows([CHAT, {**CHAT, "on": "nowhere"}])
    assert rows[0]["latency_s"]["value"] > 0
    assert rows[1]["error"]["kind"] == "UnknownNameError"


VERBS: dict[str, dict[str, Any]] = {
    "cost_table": {"items": [CHAT], "options": [{"on": "h100-sxm"}, {"on": "a100-sxm"}]},
    "curve": {"question": CHAT, "knob": "batch", "values": [1, 2, 4]},
    "marginal": {"question": CHAT},
    "max_within": {"question": CHAT, "knob": "batch", "budget": {"latency_s": 2.0}},
    "iso": {"x": CHAT, "y": {**CHAT, "on": "a100-sxm"}},
    "break_even": {"fixed": 100, "per_use": 1, "other_per_use": [2, 1.5, 2.5]},
    "cost_of_pass": {"cost": [1, 2], "success": [0.5, 0.9]},
    "scenarios": {"question": CHAT, "n": 20},
    "sensitivities": {"question": CHAT, "knobs": ["dram_bytes_per_s", "launch_s"]},
    "reasoning_cost": {"question": CHAT, "tokens": [100, 1000], "samples": [1, 4]},
}


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_a_verb_of_the_oracle_answers_the_same_either_way(verb: str, in_process: Client, over_http: Client) -> None:
    mine, theirs = (getattr(client, verb)(**VERBS[verb]) for client in (in_process, over_http))
    assert mine == theirs
    assert mine["versions"]["service"]


def test_the_catalogue_is_the_same_either_way(in_process: Client, over_http: Client) -> None:
    assert in_process.devices(kind="npu") == over_http.devices(kind="npu")
    assert in_process.workloads(kind="vision") == over_http.workloads(kind="vision")
    assert in_process.device("h100-sxm") == over_http.device("h100-sxm")
    assert in_process.workload("gpt-2") == over_http.workload("gpt-2")


WRONG: dict[str, Any] = {
    "workload": lambda c: c.predict("resnet-51", on="h100-sxm"),
    "device": lambda c: c.predict("resnet-50", on="/etc/passwd"),
    "nan": lambda c: c.predict("resnet-50", on="h100-sxm", batch=float("nan")),
    "negative": lambda c: c.predict("resnet-50", on="h100-sxm", batch=-1),
    "unknown key": lambda c: c.predict("resnet-50", on="h100-sxm", bacth=1),
    "config": lambda c: c.predict({"model_type": "llama"}, on="h100-sxm"),
    "size": lambda c: c.predict_ops({"op": "gemm"}, on="h100-sxm"),
    "mapping": lambda c: c.predict("llama-3.1-8b", on="h100-sxm", tp=3),
    "model": lambda c: c.predict_ops(OPS, on="h100-sxm", model="mine"),
    "columns": lambda c: c.predict_batch(workload=["resnet-50"] * 2, on="h100-sxm", batch=[1, 2, 3]),
    "knob": lambda c: c.curve(CHAT, "widht", [1]),
    "verb": lambda c: c.cost_of_pass([1], [2]),
    "entry": lambda c: c.device("nope"),
    "filter": lambda c: c.devices(kind="gpus"),
    "job": lambda c: c.job("nope"),
    "kind": lambda c: c.submit("dream", {}),
    "request": lambda c: c.submit("simulate", {"file": "../../etc/passwd"}),
    "upload": lambda c: c.run("calibrate", {"uploads": ["nope"]}),
}


@pytest.mark.parametrize("name", sorted(WRONG))
def test_an_error_has_the_same_class_and_sentence_either_way(name: str, in_process: Client, over_http: Client) -> None:
    found = []
    for client in (in_process, over_http):
        with pytest.raises(ArchcastError) as caught:
            WRONG[name](client)
        found.append((type(caught.value), str(caught.value), caught.value.exit_code))
    assert found[0] == found[1]
    assert found[0][2] == 2


def test_errors_are_of_archcasts_classes(client: Client) -> None:
    with pytest.raises(UnknownNameError) as caught:
        client.predict("resnet-51", on="h100-sxm")
    assert "resnet-50" in caught.value.nearest
    with pytest.raises(BadFileError):
        client.predict({"model_type": "llama"}, on="h100-sxm")
    with pytest.raises(NoSuchJobError):
        client.job("nope")


def test_a_file_of_mine_is_read_here_and_sent(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "net.yaml"
    file.write_text("family: decoder\nknobs: {layers: 2, hidden: 256, heads: 4, vocab: 1000, inter: 512}\n")
    found = client.predict(file, on="h100-sxm", prompt=16, generate=4)
    known = ac.predict(str(file), on="h100-sxm", prompt=16, generate=4)
    assert known.latency_s is not None
    assert found["latency_s"]["value"] == known.latency_s.value


def test_a_simulation_is_a_job_whose_result_comes_back(client: Client) -> None:
    found = client.simulate("overlap", seed=3)
    assert found["seed"] == 3
    assert found["makespan_s"] > 0
    assert any(job["kind"] == "simulate" and job["state"] == "done" for job in client.jobs())


def test_the_same_key_is_one_job(client: Client) -> None:
    first = client.submit("simulate", {"file": "overlap", "seed": 5}, key=f"once-{id(client)}")
    again = client.submit("simulate", {"file": "overlap", "seed": 5}, key=f"once-{id(client)}")
    assert first["id"] == again["id"]
    client.cancel(first["id"])


def test_a_failed_job_raises_what_it_failed_of(client: Client) -> None:
    with pytest.raises(ArchcastError, match=r"nonsense|kind"):
        client.simulate({"nonsense": 1})


def test_a_service_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(RefusedError, match="does not answer"):
        Client("http://127.0.0.1:9", timeout_s=2).predict("resnet-50", on="h100-sxm")


def test_a_token_is_sent_and_a_wrong_one_is_refused_the_same_for_all() -> None:
    server = Server("--no-log", "--job-workers", "0", token="a-token-of-sixteen-or-more")
    try:
        right = Client(server.url, token="a-token-of-sixteen-or-more")
        assert right.predict("resnet-50", on="h100-sxm")["verdict"] == "feasible"
        wrong = Client(server.url, token="another-token-of-sixteen")
        sentences = set()
        for ask in (lambda: wrong.predict("resnet-50", on="h100-sxm"), lambda: wrong.job("nope"), lambda: wrong.jobs()):
            with pytest.raises(RefusedError) as caught:
                ask()
            sentences.add((caught.value.status, str(caught.value)))
        assert len(sentences) == 1
    finally:
        assert server.stop() == 0


def test_a_folder_of_jobs_is_of_this_process_only() -> None:
    with pytest.raises(BadValueError, match="data"):
        Client("http://127.0.0.1:1", data="/nowhere")
