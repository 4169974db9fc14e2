"""The shapes of requests: msgspec structs, from which both the decoders and the OpenAPI document are made."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from archcast.batches import DEFAULTS as BATCH_DEFAULTS
from archcast.batches import whole_range
from archcast.question import MAX_BATCH, MAX_TOKENS
from archcast.service.settings import MAX_ROWS
from workloads.table import CATEGORIES
from workloads.table import DEFAULTS as OPERATOR_DEFAULTS

Name = Annotated[str, Meta(max_length=200)]
Document = Annotated[dict[str, Any], Meta(max_length=5000)]
Named = Annotated[
    Name | Document, Meta(description="A name of the catalogue, or the file itself as a JSON object.")
]  # fmt: skip
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Tokens = Annotated[int, Meta(ge=1, le=MAX_TOKENS)]
Knob = Annotated[int, Meta(ge=-(10**15), le=10**15)] | float | bool | Name | None | Annotated[
    list[float | Name], Meta(max_length=1000)
]  # fmt: skip
MODEL_NAMES = "'physics' for the closed form; the id of a calibrate job for its model; the artefact that is served for"
ModelName = Annotated[
    str, Meta(max_length=100, description=f"{MODEL_NAMES} ''"),
]  # fmt: skip


class Question(msgspec.Struct, forbid_unknown_fields=True):
    """The arguments of `archcast.predict`."""

    workload: Named
    on: Named
    batch: Annotated[int, Meta(ge=1, le=MAX_BATCH)] = 1
    prompt: Tokens | None = None
    generate: Tokens | None = None
    concurrency: Annotated[int, Meta(ge=1, le=MAX_BATCH)] | None = None
    dtype: Name = ""
    kv_dtype: Name = ""
    count: Count | None = None
    tp: Count = 1
    pp: Count = 1
    ep: Count = 1
    dp: Count = 1
    cp: Count = 1
    software: Name = ""
    mode: Literal["infer", "train"] = "infer"
    knobs: Annotated[dict[Name, Knob], Meta(max_length=200)] = {}
    model: ModelName = ""
    allow_fallback: bool = False
    explain: bool = False


class Questions(msgspec.Struct, forbid_unknown_fields=True):
    """Questions as rows, for people; machines send columns."""

    rows: Annotated[list[Question], Meta(min_length=1, max_length=1000)]


_Size = Annotated[float, Meta(ge=0, le=1e18)]
_Sizes = _Size | Annotated[list[_Size | None], Meta(max_length=MAX_ROWS)]
_Words = Name | Annotated[list[Name], Meta(max_length=MAX_ROWS)]
_Cells = Name | Annotated[list[Name | None], Meta(max_length=MAX_ROWS)]
"""Words of which a row may lack one: null is an empty cell, as NaN and None are in Python."""

Operators = msgspec.defstruct(
    "Operators",
    [
        ("op", _Cells),
        ("device", _Cells | None, None),
        ("on", Name, ""),
        ("software", _Cells | None, None),
        *((name, _Cells | None, None) for name in CATEGORIES if name != "op"),
        *((name, _Sizes | None, None) for name in OPERATOR_DEFAULTS),
    ],
    namespace={"__doc__": "Columns of the measurement table: one value for all rows, or a list with one a row."},
    forbid_unknown_fields=True,
    module=__name__,
)  # fmt: skip
"""Body of /v1/predict_ops."""


def _wholes(name: str) -> Any:
    """Return the shape of a column of sizes: the range that `predict_batch` takes."""
    low, high = whole_range(name)
    whole = Annotated[int, Meta(ge=low, le=high)]
    return whole | Annotated[list[whole], Meta(max_length=MAX_ROWS)]


Batch = msgspec.defstruct(
    "Batch",
    [
        ("workload", _Words),
        ("on", _Words),
        *(
            (name, _Words if isinstance(value, str) else _wholes(name), value)
            for name, value in BATCH_DEFAULTS.items()
        ),
    ],
    namespace={"__doc__": "Columns of `archcast.predict_batch`: one value for all rows, or a list with one a row."},
    forbid_unknown_fields=True,
    module=__name__,
)  # fmt: skip
"""Body of /v1/predict_batch."""

COLUMNAR = frozenset({Operators, Batch})
"""Bodies of many rows, in which a key that stands twice is not looked for."""


class JobRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A long question. The same `key` twice is one job; `wait_s` answers directly where the job ends in time.

    `name` is what people are told of the job.
    """

    kind: Name
    request: Document
    key: Annotated[str, Meta(max_length=200)] = ""
    name: Annotated[str, Meta(max_length=1000)] = ""
    wait_s: Annotated[float, Meta(ge=0, le=3600)] = 0.0
