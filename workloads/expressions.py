"""Small arithmetic in files: `2 * draft + 1`, `ceil(prompt / 512)`. Numbers, names, operators and a few functions.

Nothing is executed: the text is parsed and its tree is walked. Values may be arrays, one entry a request.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from foundation.errors import BadValueError, UnknownNameError
from workloads.graph import Size

MAX_LENGTH = 300
MAX_DEPTH = 30
MAX_POWER = 64.0

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}  # fmt: skip
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "min": np.minimum, "max": np.maximum, "ceil": np.ceil, "floor": np.floor, "sqrt": np.sqrt, "log2": np.log2,
}  # fmt: skip


def evaluate(text: Size | str, names: Mapping[str, Size]) -> Size:
    """Return the value of an expression over `names`; a number is its own value.

    Raises:
        BadValueError: not an expression, or its value is not finite.
        UnknownNameError: a name that stands for nothing.
    """
    if not isinstance(text, str):
        return text
    with np.errstate(all="ignore"):
        try:
            value = _walk(_parsed(text), names, text)
        except (ZeroDivisionError, OverflowError, TypeError) as error:
            raise BadValueError(f"'{text}' cannot be computed ({error}).") from None
    if not np.all(np.isfinite(value)):
        raise BadValueError(f"'{text}' is not finite for these values.")
    return value if np.ndim(value) else float(value)


def names_in(text: Size | str) -> set[str]:
    """Return the names that an expression reads. Raises BadValueError."""
    if not isinstance(text, str):
        return set()
    called = {id(n.func) for n in ast.walk(_parsed(text)) if isinstance(n, ast.Call)}
    return {n.id for n in ast.walk(_parsed(text)) if isinstance(n, ast.Name) and id(n) not in called}


@lru_cache(maxsize=4096)
def _parsed(text: str) -> ast.expr:
    if len(text) > MAX_LENGTH:
        raise BadValueError(f"an expression has at most {MAX_LENGTH} characters, this one {len(text)}.")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise BadValueError(f"'{text}' is not a number or an expression such as 2 * draft + 1.") from None
    if _depth(tree) > MAX_DEPTH:
        raise BadValueError(f"'{text[:40]}...' is nested too deeply.")
    return tree


def _depth(tree: ast.AST) -> int:
    deepest, level = 0, [tree]
    while level and deepest <= MAX_DEPTH:
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        deepest += 1
    return deepest


def _walk(node: ast.expr, names: Mapping[str, Size], text: str) -> Any:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return float(node.value)  # type: ignore[arg-type]
    if isinstance(node, ast.Name):
        if node.id not in names:
            raise UnknownNameError(f"name in '{text}'", node.id, sorted(names))
        return names[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_walk(node.operand, names, text)
    if isinstance(node, ast.BinOp):
        left, right = _walk(node.left, names, text), _walk(node.right, names, text)
        if isinstance(node.op, ast.Pow):
            if np.any(np.abs(right) > MAX_POWER):
                raise BadValueError(f"'{text}' has an exponent above {MAX_POWER:g}.")
            return np.power(np.asarray(left, float), right)
        if type(node.op) in _BINARY:
            return _BINARY[type(node.op)](left, right)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        if node.func.id not in _FUNCTIONS:
            raise UnknownNameError(f"function in '{text}'", node.func.id, sorted(_FUNCTIONS))
        return _FUNCTIONS[node.func.id](*(_walk(argument, names, text) for argument in node.args))
    raise BadValueError(f"'{text}' has something other than numbers, names, + - * / // ** and {', '.join(_FUNCTIONS)}.")
