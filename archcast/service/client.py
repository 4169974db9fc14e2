"""`Client`: the verbs of archcast in this process, or of a service over HTTP, with the same answers and errors.

>>> from archcast.service.client import Client
>>> client = Client()  # or Client("http://127.0.0.1:8000", token="...")
>>> client.predict("resnet-50", on="h100-sxm")["verdict"]
'feasible'
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from foundation.errors import BadValueError, UnknownNameError, UnsupportedError
from workloads.table import Array

if TYPE_CHECKING:
    from archcast.service.transports import Transport

Columns = dict[str, Array]
Progress = Callable[[float, float, str], None]


class Client:
    """Asks this process (no `url`) or a service.

    Args:
        url: such as http://127.0.0.1:8000.
        token: where the service demands one.
        timeout_s: longest that one request may take.
        retry_s: how long in all what a busy service (503) refused is sent again; 0: never. A submission is only sent
            again where it has a key.
        data: in this process, the folder of jobs; by default one that is deleted with the client.

    Answers are JSON documents; those of many rows are columns, numpy arrays by name. What is refused is raised as the
    same ArchcastError with the same sentence either way.
    """

    def __init__(
        self, url: str = "", *, token: str = "", timeout_s: float = 60.0, retry_s: float = 15.0,
        data: str | Path | None = None,
    ) -> None:  # fmt: skip
        from archcast.service.transports import InProcess, OverHttp

        if url and data is not None:
            raise BadValueError("data is the folder of jobs in this process; a service has its own.")
        self.transport: Transport = OverHttp(url, token, timeout_s, retry_s) if url else InProcess(data)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:  # fmt: skip
        self.close()

    def close(self) -> None:
        """Close connections; in this process, end jobs."""
        self.transport.close()

    def predict(self, workload: Any, *, on: Any, **asked: Any) -> dict[str, Any]:
        """Return the document of `archcast predict --json`. Arguments are those of `archcast.predict`.

        A `Path` as workload or device is read here and sent as a document.
        """
        return self._answer("/v1/predict", {"workload": _inline(workload), "on": _inline(on), **asked})

    def predict_rows(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return a document for each question; one that cannot be answered has `error`."""
        found: list[dict[str, Any]] = self._answer("/v1/predict_rows", {"rows": list(rows)})["rows"]
        return found

    def predict_batch(self, *, model: str = "", **columns: Any) -> Columns:
        """Return columns of answers, a row a question, as `archcast.predict_batch`."""
        return as_columns(self._answer("/v1/predict_batch", columns, _model(model))["columns"])

    def predict_ops(self, table: Mapping[str, Any], *, on: str = "", model: str = "") -> Columns:
        """Return columns of costs, a row an operator; `table` has columns of the measurement table."""
        from archcast.operator_columns import refuse_infinite

        refuse_infinite(table)  # JSON has no infinity, and null is an empty cell
        asked = {**table, **({"on": on} if on else {})}
        return as_columns(self._answer("/v1/predict_ops", asked, _model(model))["columns"])

    def oracle(self, verb: str, **asked: Any) -> dict[str, Any]:
        """Return the answer of one of the allocator's verbs: cost_table, curve, marginal, max_within, ..."""
        from archcast.service.oracle_shapes import SHAPES

        if verb not in SHAPES:
            raise UnknownNameError("verb of the oracle", str(verb)[:100], SHAPES, f"Known: {', '.join(SHAPES)}.")
        return self._answer(f"/v1/oracle/{verb}", asked)

    def cost_table(self, items: Any, options: Any, **asked: Any) -> dict[str, Any]:
        """Return what every item costs by every option."""
        return self.oracle("cost_table", items=items, options=options, **asked)

    def curve(self, question: Any, knob: str, values: Any, **asked: Any) -> dict[str, Any]:
        """Return what a question costs at each value of a knob."""
        return self.oracle("curve", question=question, knob=knob, values=values, **asked)

    def marginal(self, question: Any, knob: str = "generate", **asked: Any) -> dict[str, Any]:
        """Return what one more of a knob costs."""
        return self.oracle("marginal", question=question, knob=knob, **asked)

    def max_within(self, question: Any, knob: str, budget: Mapping[str, Any], **asked: Any) -> dict[str, Any]:
        """Return the largest value of a knob within budgets."""
        return self.oracle("max_within", question=question, knob=knob, budget=dict(budget), **asked)

    def iso(self, x: Any, y: Any, **asked: Any) -> dict[str, Any]:
        """Return where two ways cost the same."""
        return self.oracle("iso", x=x, y=y, **asked)

    def break_even(self, **asked: Any) -> dict[str, Any]:
        """Return from when on one way is cheaper than another."""
        return self.oracle("break_even", **asked)

    def cost_of_pass(self, cost: Any, success: Any, **asked: Any) -> dict[str, Any]:
        """Return what a right answer costs."""
        return self.oracle("cost_of_pass", cost=cost, success=success, **asked)

    def scenarios(self, question: Any = None, **asked: Any) -> dict[str, Any]:
        """Return costs drawn together: of questions, or of `items` by `options`."""
        return self.oracle("scenarios", question=question, **asked)

    def reasoning_cost(self, question: Any, tokens: Any, **asked: Any) -> dict[str, Any]:
        """Return what answers of so many thinking tokens and samples cost."""
        return self.oracle("reasoning_cost", question=question, tokens=tokens, **asked)

    def sensitivities(self, question: Any, **asked: Any) -> dict[str, Any]:
        """Return what moves a cost most."""
        return self.oracle("sensitivities", question=question, **asked)

    def devices(self, **filters: str) -> list[dict[str, Any]]:
        """Return the devices of the catalogue."""
        found: list[dict[str, Any]] = self.transport.listed("devices", filters)["devices"]
        return found

    def device(self, name: str) -> dict[str, Any]:
        """Return one device with its figures and sources."""
        return self.transport.entry("devices", name)

    def workloads(self, **filters: str) -> list[dict[str, Any]]:
        """Return the networks of the catalogue."""
        found: list[dict[str, Any]] = self.transport.listed("workloads", filters)["workloads"]
        return found

    def workload(self, name: str) -> dict[str, Any]:
        """Return one network: parameters, MACs and knobs."""
        return self.transport.entry("workloads", name)

    def simulate(self, file: Any, *, progress: Progress | None = None, **asked: Any) -> dict[str, Any]:
        """Simulate a file (its content, a `Path`, or the name of an example) and wait for the end."""
        return self.run("simulate", {"file": _inline(file), **asked}, progress=progress)

    def search(self, file: Any, *, progress: Progress | None = None, **asked: Any) -> dict[str, Any]:
        """Search the space of a file and wait for the end."""
        return self.run("search", {"file": _inline(file), **asked}, progress=progress)

    def plan(self, file: Any, *, progress: Progress | None = None, **asked: Any) -> dict[str, Any]:
        """Plan capacity by a file and wait for the end."""
        return self.run("plan", {"file": _inline(file), **asked}, progress=progress)

    def allocate(self, file: Any, *, progress: Progress | None = None, **asked: Any) -> dict[str, Any]:
        """Allocate budgets by a file and wait for the end."""
        return self.run("allocate", {"file": _inline(file), **asked}, progress=progress)

    def calibrate(self, uploads: Sequence[str], *, progress: Progress | None = None, **asked: Any) -> dict[str, Any]:
        """Calibrate on uploaded measurements and wait for the end; `model` of the answer names what was fitted."""
        return self.run("calibrate", {"uploads": list(uploads), **asked}, progress=progress)

    def run(
        self, kind: str, request: Mapping[str, Any], *, key: str = "", name: str = "", progress: Progress | None = None
    ) -> dict[str, Any]:
        """Submit a job, wait for its end, and return its result. Raises what the job ended with."""
        job = self.submit(kind, request, key=key, name=name, wait_s=0.5)
        while "result" not in job and job["state"] in ("queued", "running"):
            if progress is not None:
                progress(job["done"], job["whole"], job["note"])
            time.sleep(0.2)
            job = self.job(job["id"])
        if job["state"] == "done":
            return dict(job["result"] if "result" in job else self.result(job["id"]))
        from archcast.service.faults import RefusedError, error_of

        if job["state"] == "failed":
            raise error_of({"kind": job["error_kind"], "message": job["error"], "status": 422})
        raise RefusedError(409, f"The job {job['id']} was cancelled.")

    def submit(
        self, kind: str, request: Mapping[str, Any], *, key: str = "", name: str = "", wait_s: float = 0.0
    ) -> dict[str, Any]:
        """Submit a long question; the same `key` twice is one job. With `wait_s` the answer may have the `result`.

        `name` is what lists of jobs tell people.
        """
        asked = {"kind": kind, "request": dict(request), "key": key, "wait_s": wait_s}
        return self.transport.submit({**asked, "name": name} if name else asked)

    def job(self, id: str) -> dict[str, Any]:
        """Return a job: its state, progress and note, and what it was asked (up to 64 KiB)."""
        return self.transport.job(id)

    def jobs(self, *, state: str = "", limit: int = 100) -> list[dict[str, Any]]:
        """Return jobs, the newest first."""
        return self.transport.jobs(state, limit)

    def result(self, id: str) -> dict[str, Any]:
        """Return the answer of a job that is done."""
        return self.transport.result(id)

    def cancel(self, id: str) -> dict[str, Any]:
        """Cancel a job."""
        return self.transport.cancel(id)

    def forget(self, id: str) -> None:
        """Delete a job that has ended, with its result and its model."""
        self.transport.forget(id)

    def upload(self, file: str | Path) -> dict[str, Any]:
        """Send a CSV, Parquet or ONNX file; the answer has the name under which jobs know it."""
        return self.transport.upload(Path(file))

    def _answer(
        self, route: str, document: Mapping[str, Any], query: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        return self.transport.answer(route, {k: v for k, v in document.items() if v is not None}, query or {})


def as_columns(columns: Mapping[str, list[Any]]) -> Columns:
    """Return columns of JSON as arrays: numbers as float64 with NaN for null, words as text."""
    found: Columns = {}
    for name, values in columns.items():
        words = any(isinstance(value, str) for value in values[:1])
        found[name] = np.array(values, dtype=str if words else np.float64)
    return found


def _model(name: str) -> dict[str, str]:
    return {"model": name} if name else {}


def _inline(value: Any) -> Any:
    """Return a name or a document as it is, and the content of a `Path`. Raises BadFileError, UnsupportedError."""
    if not isinstance(value, Path):
        return value
    if value.suffix.lower() == ".json":
        from workloads.importers.json_file import load_json

        return load_json(value).data
    if value.suffix.lower() not in (".yaml", ".yml"):
        raise UnsupportedError(f"{value}: a service is sent JSON and YAML files; upload others, or ask in process.")
    from foundation.yaml_file import load_yaml

    return load_yaml(value).data
