"""TFLite files (FlatBuffers) that strangers wrote: tables and vectors read with every offset checked, nothing executed.

A reader of its own rather than the generated one: that follows offsets without looking where they lead. Field numbers
are those of `tensorflow/compiler/mlir/lite/schema/schema.fbs` (TensorFlow, version 3a of the schema).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

from foundation.errors import BadFileError
from foundation.files import plain_file

MAX_FILE_BYTES = 2**31
MAX_ITEMS = 20_000_000
"""Table entries and vector items read in all; tables may share bytes, so the file's size does not bound them."""
MAX_ELEMENTS = 10**13
MAX_RANK = 32
NAME_BYTES = 200

_NAMES = """
ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE EMBEDDING_LOOKUP FLOOR
FULLY_CONNECTED HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D LOCAL_RESPONSE_NORMALIZATION LOGISTIC LSH_PROJECTION LSTM
MAX_POOL_2D MUL RELU RELU_N1_TO_1 RELU6 RESHAPE RESIZE_BILINEAR RNN SOFTMAX SPACE_TO_DEPTH SVDF TANH CONCAT_EMBEDDINGS
SKIP_GRAM CALL CUSTOM EMBEDDING_LOOKUP_SPARSE PAD UNIDIRECTIONAL_SEQUENCE_RNN GATHER BATCH_TO_SPACE_ND
SPACE_TO_BATCH_ND TRANSPOSE MEAN SUB DIV SQUEEZE UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE BIDIRECTIONAL_SEQUENCE_RNN
EXP TOPK_V2 SPLIT LOG_SOFTMAX DELEGATE BIDIRECTIONAL_SEQUENCE_LSTM CAST PRELU MAXIMUM ARG_MAX MINIMUM LESS NEG PADV2
GREATER GREATER_EQUAL LESS_EQUAL SELECT SLICE SIN TRANSPOSE_CONV SPARSE_TO_DENSE TILE EXPAND_DIMS EQUAL NOT_EQUAL LOG
SUM SQRT RSQRT SHAPE POW ARG_MIN FAKE_QUANT REDUCE_PROD REDUCE_MAX PACK LOGICAL_OR ONE_HOT LOGICAL_AND LOGICAL_NOT
UNPACK REDUCE_MIN FLOOR_DIV REDUCE_ANY SQUARE ZEROS_LIKE FILL FLOOR_MOD RANGE RESIZE_NEAREST_NEIGHBOR LEAKY_RELU
SQUARED_DIFFERENCE MIRROR_PAD ABS SPLIT_V UNIQUE CEIL REVERSE_V2 ADD_N GATHER_ND COS WHERE RANK ELU REVERSE_SEQUENCE
MATRIX_DIAG QUANTIZE MATRIX_SET_DIAG ROUND HARD_SWISH IF WHILE NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5
SCATTER_ND SELECT_V2 DENSIFY SEGMENT_SUM BATCH_MATMUL PLACEHOLDER_FOR_GREATER_OP_CODES CUMSUM CALL_ONCE BROADCAST_TO
RFFT2D CONV_3D IMAG REAL COMPLEX_ABS HASHTABLE HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_SIZE REDUCE_ALL
CONV_3D_TRANSPOSE VAR_HANDLE READ_VARIABLE ASSIGN_VARIABLE BROADCAST_ARGS RANDOM_STANDARD_NORMAL BUCKETIZE
RANDOM_UNIFORM MULTINOMIAL GELU DYNAMIC_UPDATE_SLICE RELU_0_TO_1 UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_MAX
UNSORTED_SEGMENT_SUM ATAN2 UNSORTED_SEGMENT_MIN SIGN BITCAST BITWISE_XOR RIGHT_SHIFT
"""
OPERATORS: tuple[str, ...] = tuple(_NAMES.split())
"""Built-in operators by number. Later ones (from 163 on: StableHLO inside TFLite) are named by their number."""

ELEMENTS: tuple[str, ...] = (
    "FLOAT", "FLOAT16", "INT32", "UINT8", "INT64", "STRING", "BOOL", "INT16", "COMPLEX64", "INT8", "DOUBLE",
    "COMPLEX128", "UINT64", "RESOURCE", "VARIANT", "UINT32", "UINT16", "INT4", "BFLOAT16",
)  # fmt: skip
"""Element types by number, by the names that ONNX gives them."""


@dataclass(frozen=True)
class LiteTensor:
    """A tensor; `constant` where the file holds its contents, `quantised` where it has a scale."""

    name: str
    element: str
    dims: tuple[int, ...]
    constant: bool
    quantised: bool


@dataclass(frozen=True)
class LiteOperator:
    """An operator: its tensors by number (-1 is absent), and its options' whole numbers by field."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Table | None = field(repr=False)


@dataclass(frozen=True)
class LiteGraph:
    """One subgraph; the first is the entry."""

    tensors: tuple[LiteTensor, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    operators: tuple[LiteOperator, ...]


class Table:
    """A FlatBuffers table: fields by number, absent ones with a default."""

    def __init__(self, file: _Bytes, at: int) -> None:
        self._file, self._at = file, at
        self._fields = at - file.unpack("<i", at)
        self._count = (file.unpack("<H", self._fields) - 4) // 2
        file.spend(1)

    def _place(self, number: int) -> int:
        if not 0 <= number < self._count:
            return 0
        offset = self._file.unpack("<H", self._fields + 4 + 2 * number)
        return self._at + offset if offset else 0

    def number(self, number: int, code: str, default: int = 0) -> int:
        """Return a whole number of the struct code `code` (b, B, i, I, q, Q)."""
        place = self._place(number)
        return self._file.unpack(f"<{code}", place) if place else default

    def table(self, number: int) -> Table | None:
        place = self._place(number)
        return Table(self._file, place + self._file.unpack("<I", place)) if place else None

    def tables(self, number: int) -> list[Table]:
        start, length = self.vector(number, 4)
        return [Table(self._file, at + self._file.unpack("<I", at)) for at in range(start, start + 4 * length, 4)]

    def numbers(self, number: int, limit: int) -> tuple[int, ...]:
        """Return a vector of 32-bit numbers of at most `limit` items."""
        start, length = self.vector(number, 4)
        if length > limit:
            raise self._file.fault(f"a list of {length:,} items stands where at most {limit:,} can")
        return struct.unpack_from(f"<{length}i", self._file.data, start)

    def text(self, number: int) -> str:
        start, length = self.vector(number, 1)
        return self._file.data[start : start + min(length, NAME_BYTES)].decode("utf-8", "replace")

    def vector(self, number: int, size: int) -> tuple[int, int]:
        """Return where a vector's items begin, and how many there are."""
        place = self._place(number)
        if not place:
            return 0, 0
        start = place + self._file.unpack("<I", place)
        length = self._file.unpack("<I", start)
        if start + 4 + length * size > len(self._file.data):
            raise self._file.fault("a list reaches beyond the end of the file")
        self._file.spend(length if size > 1 else 1)
        return start + 4, length


class _Bytes:
    """The bytes of a file; whatever is taken from them is inside them."""

    def __init__(self, path: Path, data: bytes) -> None:
        self.path, self.data = path, data
        self._left = MAX_ITEMS

    def unpack(self, code: str, at: int) -> int:
        if at < 0:
            raise self.fault("an offset leads before the beginning of the file")
        try:
            return int(struct.unpack_from(code, self.data, at)[0])
        except struct.error:
            raise self.fault("an offset leads beyond the end of the file") from None

    def spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise self.fault(f"its tables have more than {MAX_ITEMS:,} entries")

    def fault(self, problem: str) -> BadFileError:
        return BadFileError(self.path, f"{problem}; it is truncated or damaged.")


def read_tflite(path: Path) -> tuple[LiteGraph, ...]:
    """Return the subgraphs of a file.

    Raises:
        BadFileError: absent, truncated, no TFLite file, or with impossible tables.
    """
    file = plain_file(path, MAX_FILE_BYTES)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise BadFileError(path, f"cannot be read ({error.strerror}).") from None
    if len(data) < 8 or data[4:8] != b"TFL3":
        raise BadFileError(path, "this is not a TFLite file: the mark TFL3 is missing.")
    source = _Bytes(path, data)
    model = Table(source, source.unpack("<I", 0))
    codes = [_operator_name(code) for code in model.tables(1)]
    filled = [buffer.vector(0, 1)[1] > 0 or buffer.number(2, "Q") > 1 for buffer in model.tables(4)]
    graphs = tuple(_graph(table, codes, filled, source) for table in model.tables(2))
    if not graphs:
        raise BadFileError(path, "the file has no graph.")
    return graphs


def _operator_name(code: Table) -> str:
    number = max(code.number(0, "b"), code.number(3, "i"))
    name = OPERATORS[number] if 0 <= number < len(OPERATORS) else f"BUILTIN_{number}"
    return f"CUSTOM:{code.text(1)[:60]}" if name == "CUSTOM" else name


def _graph(table: Table, codes: list[str], filled: list[bool], source: _Bytes) -> LiteGraph:
    tensors = tuple(_tensor(entry, filled, source) for entry in table.tables(0))
    operators = []
    for entry in table.tables(3):
        code = entry.number(0, "I")
        if code >= len(codes):
            raise source.fault(f"an operator is of kind {code}, of which there is none")
        reads, writes = entry.numbers(1, 10_000), entry.numbers(2, 10_000)
        if any(not -1 <= number < len(tensors) for number in (*reads, *writes)):
            raise source.fault(f"an operator ({codes[code]}) names a tensor that does not exist")
        operators.append(LiteOperator(codes[code], reads, writes, entry.table(4)))
    inputs, outputs = table.numbers(1, 100_000), table.numbers(2, 100_000)
    if any(not 0 <= number < len(tensors) for number in (*inputs, *outputs)):
        raise source.fault("an input or output names a tensor that does not exist")
    return LiteGraph(tensors, inputs, outputs, tuple(operators))


def _tensor(table: Table, filled: list[bool], source: _Bytes) -> LiteTensor:
    dims = table.numbers(0, MAX_RANK)
    elements = 1
    for size in dims:
        elements *= size
        if size < 0 or elements > MAX_ELEMENTS:
            raise source.fault(f"a tensor has the impossible shape {list(dims)[:8]}")
    kind, buffer = table.number(1, "b"), table.number(2, "I")
    if buffer >= len(filled) > 0:
        raise source.fault(f"a tensor is in buffer {buffer}, of which there is none")
    scales = table.table(4)
    return LiteTensor(
        table.text(3), ELEMENTS[kind] if 0 <= kind < len(ELEMENTS) else "INT4", dims,
        bool(filled) and filled[buffer] and not table.number(5, "B"),
        scales is not None and scales.vector(2, 4)[1] > 0,
    )  # fmt: skip
