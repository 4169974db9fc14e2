"""TFLite files for tests, written without the library: tables as dicts of field numbers (schema.fbs of TensorFlow)."""

from __future__ import annotations

import struct
from typing import Any

CODES = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 4, "FULLY_CONNECTED": 9, "ADD": 0, "AVERAGE_POOL_2D": 1, "SOFTMAX": 25,
         "RESHAPE": 22, "CUSTOM": 32, "WHILE": 119, "RELU": 19, "TRANSPOSE_CONV": 67}  # fmt: skip
TYPES = {"FLOAT32": 0, "INT32": 2, "UINT8": 3, "INT8": 9, "INT16": 7, "INT4": 17}


def flatbuffer(root: dict[int, Any], mark: bytes = b"TFL3") -> bytes:
    """Return a buffer: dicts are tables, lists vectors (of tables or 32-bit numbers), tuples (struct code, number)."""
    data = bytearray(b"\0\0\0\0" + mark)
    place = _write(data, root)
    struct.pack_into("<I", data, 0, place)
    return bytes(data)


def _write(data: bytearray, value: Any) -> int:
    data += b"\0" * (-len(data) % 8)
    if isinstance(value, dict):
        return _table(data, value)
    at = len(data)
    if isinstance(value, bytes | str):
        raw = value.encode() if isinstance(value, str) else value
        data += struct.pack("<I", len(raw)) + raw + b"\0"
    else:
        data += struct.pack("<I", len(value))
        start = len(data)
        data += b"".join(struct.pack("<i", item if isinstance(item, int) else 0) for item in value)
        for i, item in enumerate(value):
            if isinstance(item, dict):
                struct.pack_into("<I", data, start + 4 * i, _write(data, item) - start - 4 * i)
    return at


def _table(data: bytearray, fields: dict[int, Any]) -> int:
    count = max(fields, default=-1) + 1
    slots = {number: 4 + 8 * i for i, number in enumerate(sorted(fields))}
    data += struct.pack("<HH", 4 + 2 * count, 4 + 8 * len(fields))
    data += b"".join(struct.pack("<H", slots.get(number, 0)) for number in range(count))
    data += b"\0" * (-len(data) % 4)
    at = len(data)
    vtable = at - (4 + 2 * count) - (-(4 + 2 * count) % 4)
    data += struct.pack("<i", at - vtable) + b"\0" * (8 * len(fields))
    for number, slot in slots.items():
        value = fields[number]
        if isinstance(value, int):
            struct.pack_into("<i", data, at + slot, value)
        elif isinstance(value, tuple):
            struct.pack_into(f"<{value[0]}", data, at + slot, value[1])
        else:
            struct.pack_into("<I", data, at + slot, _write(data, value) - at - slot)
    return at


def tensor(dims: list[int], kind: str = "FLOAT32", *, buffer: int = 0, scale: bool = False) -> dict[int, Any]:
    """Return a tensor; `buffer` 1 is the one with contents."""
    found: dict[int, Any] = {0: dims, 1: ("b", TYPES[kind]), 2: ("I", buffer), 3: f"t{dims}"}
    return found | ({4: {2: [1]}} if scale else {})


def operator(
    code: int, inputs: list[int], outputs: list[int], options: dict[int, Any] | None = None
) -> dict[int, Any]:  # fmt: skip
    return {0: ("I", code), 1: inputs, 2: outputs} | ({4: options} if options is not None else {})


def network(
    kinds: list[str], tensors: list[dict[int, Any]], operators: list[dict[int, Any]], inputs: list[int],
    outputs: list[int], *, more: list[dict[int, Any]] | None = None,
) -> dict[int, Any]:  # fmt: skip
    """Return the tables of a model of one graph (and `more`); operators name kinds by place."""
    codes = [{0: ("b", min(CODES[kind], 127)), 1: "my_op", 3: CODES[kind]} for kind in kinds]
    graph = {0: tensors, 1: inputs, 2: outputs, 3: operators}
    return {0: 3, 1: codes, 2: [graph, *(more or [])], 4: [{}, {0: b"\1\2\3\4"}]}


def small_cnn(weights: str = "INT8", data: str = "INT8", bias: str = "INT32") -> dict[int, Any]:
    """Return a network: 3x3 convolution 3 to 8 of stride 2, depthwise 3x3, mean, linear to 10, softmax; batch 2."""
    quantised = data != "FLOAT32"

    def stored(dims: list[int], kind: str) -> dict[int, Any]:
        return tensor(dims, kind, buffer=1, scale=kind != "FLOAT32")

    def moved(dims: list[int]) -> dict[int, Any]:
        return tensor(dims, data, scale=quantised)

    tensors = [
        moved([2, 16, 16, 3]), stored([8, 3, 3, 3], weights), stored([8], bias), moved([2, 8, 8, 8]),
        stored([1, 3, 3, 8], weights), stored([8], bias), moved([2, 8, 8, 8]), moved([2, 1, 1, 8]), moved([2, 8]),
        stored([10, 8], weights), stored([10], bias), moved([2, 10]), moved([2, 10]),
    ]  # fmt: skip
    kinds = ["CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D", "RESHAPE", "FULLY_CONNECTED", "SOFTMAX"]
    operators = [
        operator(0, [0, 1, 2], [3], {1: 2, 2: 2}), operator(1, [3, 4, 5], [6], {1: 1, 2: 1, 3: 1}),
        operator(2, [6], [7], {3: 8, 4: 8}), operator(3, [7], [8]), operator(4, [8, 9, 10], [11]),
        operator(5, [11], [12]),
    ]  # fmt: skip
    return network(kinds, tensors, operators, [0], [12])
