"""Models of one's own: what a calibrate job made answers under the job's id, in process and over HTTP alike.

Both clients share one folder of jobs, as several services may, so that one calibration is asked through either.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from service_server import shared_server
from test_calibration import measured

import archcast as ac
from archcast.service.answers import Encoded
from archcast.service.cache import AnswerCache
from archcast.service.client import Client
from archcast.service.own_models import OwnModels
from costmodel.protocol import CostModel
from foundation.errors import ArchcastError, UnknownNameError

pytest.importorskip("xgboost")

OPS = {"op": "gemm", "dtype": "bf16", "m": np.array([64, 512, 4096]), "n": 512, "k": 4096, "software": "stack 1"}
QUESTION = {"workload": "llama-3.1-8b", "on": "h100-sxm", "prompt": 512, "generate": 64}
NO_JOB = "AAAAAAAAAAAAAAAAAAAAAA"


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("measured")
    measured(folder, groups=15, rows=4)
    return folder / "m.csv"


@pytest.fixture(scope="module")
def artefact(table: Path) -> Path:
    """What `archcast calibrate` makes of the same table."""
    ac.calibrate(table, out=table.parent / "model", seed=1)
    return table.parent / "model"


@pytest.fixture(scope="module")
def clients() -> Iterator[dict[str, Client]]:
    server = shared_server()
    with Client(data=server.folder.name) as here, Client(server.url) as there:
        yield {"in process": here, "over HTTP": there}


@pytest.fixture(params=["in process", "over HTTP"])
def client(request: pytest.FixtureRequest, clients: dict[str, Client]) -> Client:
    return clients[request.param]


@pytest.fixture(scope="module")
def made(clients: dict[str, Client], table: Path) -> str:
    """The id of a calibrate job that is done."""
    return calibrated(clients["over HTTP"], table)


def calibrated(client: Client, table: Path, **more: Any) -> str:
    name = client.upload(table)["name"]
    job = client.submit("calibrate", {"uploads": [name], "seed": 1, **more})["id"]
    ended(client, job)
    return str(job)


def ended(client: Client, job: str) -> dict[str, Any]:
    last = time.monotonic() + 60
    while (found := client.job(job))["state"] in ("queued", "running"):
        assert time.monotonic() < last
        time.sleep(0.1)
    assert found["state"] == "done", found["error"]
    return found


def value(document: dict[str, Any]) -> float:
    return float(document["latency_s"]["value"])


def test_the_model_of_a_job_answers_as_the_artefact_of_the_same_table(
    client: Client, made: str, artefact: Path
) -> None:
    found, known = (
        client.predict_ops(OPS, on="h100-sxm", model=made),
        ac.predict_ops(OPS, on="h100-sxm", model=artefact),
    )
    np.testing.assert_array_equal(found["latency_s"], known.latency_s)
    assert (found["latency_s"] != client.predict_ops(OPS, on="h100-sxm")["latency_s"]).all()
    one = client.predict(**QUESTION, model=made)
    expected = ac.predict(**QUESTION, model=artefact)  # type: ignore[arg-type]
    assert value(one) == expected.latency_s.value  # type: ignore[union-attr]
    assert one["versions"]["cost_model"] == expected.to_json()["versions"]["cost_model"]
    assert one["versions"]["cost_model"] != client.predict(**QUESTION)["versions"]["cost_model"]
    columns = client.predict_batch(**QUESTION, model=made)
    np.testing.assert_array_equal(
        columns["latency_s"], ac.predict_batch(**QUESTION, model=artefact)["latency_s"]  # type: ignore[arg-type]
    )  # fmt: skip


def test_rows_reports_and_the_oracle_take_it_too(client: Client, made: str, artefact: Path) -> None:
    rows = client.predict_rows([{**QUESTION, "model": name} for name in (made, "physics", "", NO_JOB)])
    assert value(rows[0]) == ac.predict(**QUESTION, model=artefact).latency_s.value  # type: ignore[arg-type, union-attr]
    assert len({value(row) for row in rows[:3]}) == 3
    assert "id of its calibrate job" in rows[3]["error"]["message"]
    report = client._answer("/v1/report", {**QUESTION, "model": made})
    assert value(report["estimate"]) == value(rows[0])
    curve = client.curve(QUESTION, "batch", [1, 4], model=made)
    assert curve["versions"]["cost_model"] == rows[0]["versions"]["cost_model"]
    known = ac.curve(QUESTION, "batch", [1, 4], model=artefact).to_json()
    assert {**curve, "versions": 0} == {**known, "versions": 0}


REFUSED = {
    "no such job": (lambda client, made: NO_JOB, r"Unknown cost model 'A+'\. Known: physics, shipped.*calibrate job"),
    "a path": (lambda client, made: "../" + made, "Unknown cost model"),
    "the folder": (lambda client, made: f"{made}/artefact", "Unknown cost model"),
    "another kind": (lambda client, made: other_kind(client), "is a simulate job, which makes no cost model"),
    "a failed one": (lambda client, made: failed(client), "has failed, so that there is no model of it: "),
}


def other_kind(client: Client) -> str:
    return str(client.submit("simulate", {"file": "overlap"}, key="another-kind", wait_s=15)["id"])


def failed(client: Client) -> str:
    text = "device,op,dtype,m,n,k,batch,latency_s\nh100-sxm,gemm,bf16,64,64,64,1,0.00001\n"
    here = Path(client.upload(written(text))["name"]).name
    return str(client.submit("calibrate", {"uploads": [here]}, key="fails", wait_s=15)["id"])


def written(text: str) -> Path:
    path = Path(tempfile.mkdtemp()) / "one.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_model_is_refused_in_one_sentence_alike(clients: dict[str, Client], made: str, what: str) -> None:
    name_of, sentence = REFUSED[what]
    name = name_of(clients["in process"], made)
    told = []
    for client in clients.values():
        for asked in (
            lambda c, n: c.predict(**QUESTION, model=n),
            lambda c, n: c.predict_ops(OPS, on="h100-sxm", model=n),
            lambda c, n: c.predict_batch(**QUESTION, model=n),
            lambda c, n: c.marginal(QUESTION, model=n),
        ):
            with pytest.raises(ArchcastError, match=sentence) as refused:
                asked(client, name)
            told.append((type(refused.value), str(refused.value).replace(name, "ID")))
    assert len({one for one, _ in told}) == 1
    assert "\n" not in told[0][1]
    assert "/tmp" not in told[0][1]


def test_a_job_that_runs_still_has_no_model_yet(client: Client, table: Path) -> None:
    first = client.submit("simulate", {"file": "cms-run5-pu200", "replications": 50})["id"]  # keeps a place busy
    job = client.submit("calibrate", {"uploads": [client.upload(table)["name"]], "seed": 2})["id"]
    try:
        with pytest.raises(ArchcastError, match=r"its model can be asked when it is done") as refused:
            client.predict(**QUESTION, model=job)
        assert getattr(refused.value, "status", 409) == 409
    finally:
        client.cancel(job)
        client.cancel(first)


def test_a_deleted_job_answers_no_more_though_its_answers_were_asked_before(
    clients: dict[str, Client], table: Path
) -> None:
    job = calibrated(clients["in process"], table, max_rows=50)
    asked = {**QUESTION, "batch": 3}
    for client in (*clients.values(), *clients.values()):
        assert value(client.predict(**asked, model=job)) > 0
        assert client.predict_ops(OPS, on="h100-sxm", model=job)["latency_s"][0] > 0
    clients["over HTTP"].forget(job)
    for client in clients.values():
        with pytest.raises(UnknownNameError, match="Unknown cost model"):
            client.predict(**asked, model=job)
        with pytest.raises(UnknownNameError, match="Unknown cost model"):
            client.predict_ops(OPS, on="h100-sxm", model=job)
        with pytest.raises(ArchcastError, match="There is no job"):
            client.job(job)


def test_the_result_of_a_calibration_names_its_model(client: Client, made: str) -> None:
    assert client.result(made)["model"] == made


def test_jobs_take_the_model_of_another_job(client: Client, made: str, artefact: Path) -> None:
    file = {
        "kind": "serving", "model": "llama-3.1-8b", "on": "h100-sxm", "replications": 1, "intervals": False,
        "policy": {"most_tokens": 512, "most_requests": 8}, "closed_loop": {"users": 1},
        "traffic": {"prompt": 256, "generate": 16, "requests": 5},
    }  # fmt: skip
    expected = ac.predict(**QUESTION, model=artefact).to_json()["versions"]["cost_model"]  # type: ignore[arg-type]
    asked = {"in-the-file": {"file": {**file, "cost_model": made}},
             "in-the-settings": {"file": file, "settings": {"cost_model": made}}}  # fmt: skip
    # at once, and each one time only: the other client finds the job of the same key
    jobs = [client.submit("simulate", request, key=key)["id"] for key, request in asked.items()]
    for job in jobs:
        ended(client, job)
        assert client.result(job)["versions"]["cost_model"] == expected
    with pytest.raises(ArchcastError, match="There is no job"):
        client.submit("simulate", {"file": {**file, "cost_model": NO_JOB}})
    assert client.submit("simulate", {"file": {"base": NO_JOB}})["kind"] == "simulate"  # there it is another key


def test_a_calibrate_job_starts_from_the_model_of_another(client: Client, made: str, table: Path) -> None:
    upload = client.upload(table)["name"]
    with pytest.raises(ArchcastError, match="The base artefact was calibrated on h100-sxm itself"):
        client.run("calibrate", {"uploads": [upload], "base": made}, key="from-a-base")
    with pytest.raises(ArchcastError, match="id of a calibrate job"):
        client.submit("calibrate", {"uploads": [upload], "base": "artefact"})
    with pytest.raises(ArchcastError, match="There is no job"):
        client.submit("calibrate", {"uploads": [upload], "base": NO_JOB})


def test_a_status_says_what_kind_of_refusal_it_is(made: str, clients: dict[str, Client]) -> None:
    url, there = shared_server().url, clients["over HTTP"]
    for name, status in ((NO_JOB, 422), (other_kind(there), 422), (failed(there), 409), ("x" * 101, 422)):
        ops = {"op": "gemm", "m": 64, "n": 64, "k": 64, "on": "h100-sxm"}
        assert httpx.post(f"{url}/v1/predict_ops", params={"model": name}, json=ops).status_code == status
        assert httpx.post(f"{url}/v1/predict", json={**QUESTION, "model": name}).status_code == status


def test_answers_of_a_model_of_ones_own_are_not_kept() -> None:
    cache, answer = AnswerCache(10_000, ("physics", "shipped")), Encoded(b"{}")
    kept = [
        ("/v1/predict", b"", b'{"workload": "x"}'), ("/v1/predict", b"", b'{"model" : "physics"}'),
        ("/v1/predict_ops", b"model=physics", b"{}"), ("/v1/predict_ops", b"model=", b"{}"),
    ]  # fmt: skip
    left = [
        ("/v1/predict", b"", b'{"model": "%s"}' % NO_JOB.encode()), ("/v1/predict", b"", b'{"mod\\u0065l": "x"}'),
        ("/v1/predict_rows", b"", b'{"rows": [{"model": "physics"}, {"model":"%s"}]}' % NO_JOB.encode()),
        ("/v1/predict_ops", b"model=" + NO_JOB.encode(), b"{}"), ("/v1/predict_ops", b"m%6fdel=x", b"{}"),
        ("/v1/predict", b"", b'{"model": "physics-of-mine"}'), ("/v1/predict_ops", b"model=physicsx", b"{}"),
    ]  # fmt: skip
    for key in (*kept, *left):
        cache.put(key, answer)
    assert [cache.get(key) is not None for key in (*kept, *left)] == [True] * len(kept) + [False] * len(left)


def test_models_are_loaded_once_and_few_are_kept(made: str, clients: dict[str, Client]) -> None:
    here = clients["in process"]
    store = here.transport._store()  # type: ignore[attr-defined]
    models = OwnModels(lambda: store, most=1)
    first: CostModel | None = models.find(made)
    assert models.find(made) is first
    assert len(models._loaded) == 1
    assert OwnModels(lambda: store, most=0).find(made) is not first
