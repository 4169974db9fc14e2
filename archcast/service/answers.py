"""What each route answers, as bytes from bytes: the one core of the server, of its helper process and of the client."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import orjson

from archcast.service.faults import ShapeError
from archcast.service.names import cost_model_name, device_name, device_of, workload_name, workload_of
from archcast.service.reading import check_document, read
from archcast.service.settings import Limits
from archcast.service.shapes import Batch, Operators, Question, Questions
from archcast.service.versions import versions, versions_of
from costmodel.costs import BOUNDS, NUMERIC, SOURCES
from foundation.errors import ArchcastError, InputError, UnknownNameError

if TYPE_CHECKING:
    from costmodel.costs import OpCosts
    from costmodel.estimate import Estimate

Query = Mapping[str, str]
Labels = tuple[list[str], list[str]]

NUMPY = orjson.OPT_SERIALIZE_NUMPY
_READ_QUESTION = msgspec.json.Decoder(Question)
_READ_QUESTIONS = msgspec.json.Decoder(Questions)
_READ_OPERATORS: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Operators)
_READ_BATCH: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Batch)
_READ_DOCUMENT = msgspec.json.Decoder(dict[str, Any])
_OPERATOR_FIELDS = tuple(Operators.__struct_fields__)
_BATCH_FIELDS = tuple(Batch.__struct_fields__)
_BOUNDS, _SOURCES = np.array(BOUNDS, dtype=object), np.array(SOURCES, dtype=object)


class Encoded(NamedTuple):
    """One answer: JSON, and how many rows it has, for the counts."""

    body: bytes
    rows: int = 1


class Operations(NamedTuple):
    """One question about operators: columns, one device for all rows or '' (then a column names them), a model.

    `rows` is how many there are (1 where no column is a list; their lengths are checked when they are priced). `like`
    is what questions share that may be one table; those whose columns have unequal lengths stay alone.
    """

    body: bytes
    query: Query
    columns: dict[str, Any]
    on: str
    model: Any
    rows: int
    like: tuple[Any, ...]


def _priced(columns: dict[str, Any], on: str, model: Any) -> OpCosts:
    from archcast.operators import price_columns

    return price_columns(columns, on, model)  # the body's shape has seen that sizes are numbers


def _labels(costs: OpCosts) -> Labels:
    """Return the names of `bound` and `source`, one a row."""
    return _BOUNDS[costs.bound].tolist(), _SOURCES[costs.source].tolist()


def _joined(asked: Sequence[Operations]) -> dict[str, Any]:
    """Return the columns of questions one below the other; a word that is the same in all of them stays one."""
    whole: dict[str, Any] = {}
    sized = any(type(values) is not str for values in asked[0].columns.values())  # else a column must tell the rows
    for name, first in asked[0].columns.items():
        if type(first) is str and (sized or name != "op") and all(one.columns[name] == first for one in asked):
            whole[name] = first
        else:
            whole[name] = list(chain.from_iterable(_listed(one.columns[name], one.rows) for one in asked))
    return whole


def _listed(values: Any, rows: int) -> list[Any]:
    return values if isinstance(values, list) else [values] * rows


@dataclass(frozen=True)
class Answers:
    """The answers within some limits. A method takes the bytes of a body and the query; errors are ArchcastErrors."""

    limits: Limits

    @cached_property
    def routes(self) -> dict[str, Callable[[bytes, Query], Encoded]]:
        """Return route -> what answers it."""
        from archcast.service.oracle_answers import oracle_routes

        return {
            "/v1/predict": self.predict, "/v1/predict_rows": self.predict_rows, "/v1/predict_ops": self.predict_ops,
            "/v1/predict_batch": self.predict_batch, "/v1/report": self.report, **oracle_routes(self.limits),
        }  # fmt: skip

    def predict(self, body: bytes, query: Query) -> Encoded:
        """Answer one question with the document of `archcast predict --json`."""
        no_query(query)
        return encoded(self.answered(read(_READ_QUESTION, body)))

    def predict_rows(self, body: bytes, query: Query) -> Encoded:
        """Answer a list of questions; one that cannot be answered has an `error` in its place."""
        no_query(query)
        rows = read(_READ_QUESTIONS, body).rows
        found = []
        for row in rows:
            try:
                found.append(self.answered(row))
            except InputError as error:
                from archcast.service.faults import fault

                found.append({"error": fault(error)})
        return encoded({"rows": found, "versions": versions()}, len(rows))

    def answered(self, question: Question) -> dict[str, Any]:
        """Return the document of one question."""
        from archcast.edge import edge_report
        from archcast.question import find_target

        estimate = self.estimate(question)
        document = estimate.to_json()
        if question.explain and estimate.latency_s is not None:
            document["explain"] = estimate.explain().to_json()
        if report := edge_report(estimate, find_target(device_of(question.on, self.limits)).spec):
            document["edge"] = report.to_json()
        document["versions"] = {**versions(), **document.get("versions", {})}
        return document

    def estimate(self, question: Question) -> Estimate:
        """Return the estimate of a question whose names were looked up."""
        from archcast.prediction import predict

        asked = {name: getattr(question, name) for name in question.__struct_fields__ if name != "explain"}
        asked["workload"] = workload_of(question.workload, self.limits)
        asked["on"] = device_of(question.on, self.limits)
        asked["model"] = cost_model_name(question.model)
        try:
            return predict(**asked)
        except MemoryError:
            raise too_much_memory() from None

    def report(self, body: bytes, query: Query) -> Encoded:
        """Answer one question with the cards of its page, as HTML fragments, beside the document."""
        no_query(query)
        from archcast.service.page import sections
        from hardware_specs import load_device

        question = read(_READ_QUESTION, body)
        estimate = self.estimate(question)
        on = device_of(question.on, self.limits)
        document = estimate.to_json()
        document["versions"] = {**versions(), **document.get("versions", {})}
        html = sections(estimate, load_device(on) if isinstance(on, str) else on)
        return encoded({"html": html, "estimate": document, "versions": document["versions"]})

    def predict_ops(self, body: bytes, query: Query) -> Encoded:
        """Answer columns of operators with columns of costs, in the same order."""
        asked = self.operations(body, query)
        costs = _priced(asked.columns, asked.on, asked.model)
        return self._costs(asked, costs, _labels(costs), 0, len(costs.bound))

    def operations(self, body: bytes, query: Query) -> Operations:
        """Return columns of operators whose names were looked up."""
        asked = read(_READ_OPERATORS, body)
        columns: dict[str, Any] = {
            name: value for name in _OPERATOR_FIELDS if (value := getattr(asked, name)) is not None and value != ""
        }
        on = columns.pop("on", "")
        one = _checked_devices(columns, on)
        from archcast.cost_models import find_cost_model

        lengths = {len(values) for values in columns.values() if type(values) is list}
        like = (one, query.get("model", ""), *columns) if len(lengths) < 2 else (id(columns),)
        model = find_cost_model(_model_of(query))
        return Operations(body, query, columns, one, model, max(lengths, default=1), like)

    def priced_together(self, asked: Sequence[Operations]) -> list[Encoded]:
        """Answer questions that are `like` each other, all priced as one table."""
        costs = _priced(_joined(asked), asked[0].on, asked[0].model)
        labels = _labels(costs)
        found, start = [], 0
        for one in asked:
            found.append(self._costs(one, costs, labels, start, start + one.rows))
            start += one.rows
        return found

    def _costs(self, asked: Operations, costs: OpCosts, labels: Labels, start: int, stop: int) -> Encoded:
        """Return the costs of rows, which are those of one question."""
        found: dict[str, Any] = {name: getattr(costs, name)[start:stop] for name in NUMERIC}
        found["bound"], found["source"] = labels[0][start:stop], labels[1][start:stop]
        rows = stop - start
        self._check_rows(rows, self.limits.rows)
        return encoded({"rows": rows, "columns": found, "versions": versions_of(asked.model)}, rows)

    def predict_batch(self, body: bytes, query: Query) -> Encoded:
        """Answer columns of questions with columns of answers, in the same order."""
        from archcast.batches import predict_batch
        from archcast.cost_models import find_cost_model
        from archcast.software import check_software

        asked = read(_READ_BATCH, body)
        columns = {name: getattr(asked, name) for name in _BATCH_FIELDS}
        rows = max((len(v) for v in columns.values() if isinstance(v, list)), default=1)
        self._check_rows(rows, self.limits.questions)
        for name in _words(columns["workload"]):
            workload_name(name)
        for name in _words(columns["on"]):
            device_name(name)
        model = find_cost_model(_model_of(query))
        for name in _words(columns["software"]):
            check_software(name, model)
        try:
            found = predict_batch(model=model, **columns)
        except MemoryError:
            raise too_much_memory() from None
        found["verdict"], found["reason"] = found["verdict"].tolist(), found["reason"].tolist()
        return encoded({"rows": rows, "columns": found, "versions": versions_of(model)}, rows)

    def _check_rows(self, rows: int, most: int) -> None:
        if rows > most:
            raise ShapeError(f"{rows:,} rows; at most {most:,} are taken at once.")


def encoded(document: Any, rows: int = 1) -> Encoded:
    """Return a document as JSON; NaN, which JSON lacks, is null."""
    return Encoded(orjson.dumps(document, default=_plain, option=NUMPY), rows)


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


def read_document(body: bytes, limits: Limits) -> dict[str, Any]:
    """Return a body whose shape is checked by what it is for. Raises ShapeError: not an object, too deep, too large."""
    try:
        document = _READ_DOCUMENT.decode(body)
    except msgspec.ValidationError as error:
        raise ShapeError(f"The body: {str(error).replace('`', '').replace(' - at $', ', at ')}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ShapeError(
            f"The body is not JSON: {str(error).removeprefix('JSON is malformed: ')}.", status=400
        ) from None
    except RecursionError:
        raise ShapeError("The body is nested too deeply.") from None
    check_document("The body", document, depth=limits.depth, values=limits.values)
    return document


def no_query(query: Query) -> None:
    """Refuse a query where a route takes none. Raises ShapeError."""
    for name in query:
        raise ShapeError(f"Unknown query parameter '{name[:100]}'; this route takes none.", name[:100])


def too_much_memory() -> ArchcastError:
    """Return the error of a question that needs more memory than there is."""
    return ShapeError("The sizes asked for need more memory than the service has; ask for smaller ones.")


def _model_of(query: Query) -> Any:
    for name in query:
        if name != "model":
            raise UnknownNameError("query parameter", name[:100], ["model"])
    return cost_model_name(query.get("model", ""))


def _words(values: Any) -> set[str]:
    return {values} if isinstance(values, str) else set(values)


def _checked_devices(columns: dict[str, Any], on: str) -> str:
    """Look all devices up; one for all rows leaves the columns and is returned."""
    named = columns.get("device")
    if named is None:
        if on:
            device_name(on)
        return on
    words = _words(named)
    for name in words:
        if name:
            device_name(name)
    if len(words) == 1 and (word := next(iter(words))):
        if isinstance(named, list):
            _same_length(columns, len(named))
        del columns["device"]
        return word
    return ""


def _same_length(columns: dict[str, Any], rows: int) -> None:
    """Refuse a list of devices whose length is not that of the other columns. Raises ShapeError."""
    for name, values in columns.items():
        if isinstance(values, list) and len(values) != rows:
            raise ShapeError(f"The column 'device' has {rows} values where '{name}' has {len(values)}.", "device")
    if not any(isinstance(values, list) for name, values in columns.items() if name != "device"):
        columns["op"] = [columns["op"]] * rows
