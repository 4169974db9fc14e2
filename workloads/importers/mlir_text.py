"""MLIR text that strangers wrote, as JAX and others print it: functions of operators, pretty and generic forms alike.

One pass over the characters, one over the tokens; nothing is evaluated. Contents of dense constants are stepped over
(only a short one is kept: a trip count). Every bound is checked before its memory is spent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Union

from foundation.errors import BadFileError

MAX_BYTES = 256_000_000
MAX_TOKENS = 2_500_000
MAX_DEPTH = 60
"""Brackets and regions inside one another."""
KEPT_CHARACTERS = 60
"""Of a dense constant."""

Token = Union[str, int, "Group"]
"""A word, the number of the line that begins here, or what stands in brackets."""


@dataclass(slots=True)
class Group:
    """What stands between a pair of brackets; `bracket` is the opening one."""

    bracket: str
    items: list[Token]
    line: int
    size: int = 0
    """Words inside, those of inner brackets included."""


@dataclass(frozen=True, slots=True)
class TensorType:
    """Element type as MLIR writes it, and sizes; -1 is a size that the program leaves open."""

    element: str
    dims: tuple[int, ...]


@dataclass(slots=True)
class Region:
    """A body: the names and types of its arguments, and its operators."""

    arguments: list[str]
    types: list[TensorType | None]
    operators: list[Op]


@dataclass(slots=True)
class Op:
    """One operator. `tokens` is what stands between its name and its types; `results` has a name for each result."""

    name: str
    results: list[str]
    operands: list[str]
    tokens: Sequence[Token]
    result_types: list[TensorType | None]
    regions: list[Region]
    line: int
    size: int
    """Words of its text, bodies included."""


@dataclass(slots=True)
class Function:
    """A function of the module; the last operator of its body returns."""

    name: str
    body: Region


@dataclass(slots=True)
class Program:
    """The functions of a module by name; the entry is `main`, else the first."""

    path: Path
    functions: dict[str, Function] = field(default_factory=dict)

    @property
    def entry(self) -> Function:
        return self.functions.get("main") or next(iter(self.functions.values()))


_TOKEN = re.compile(
    r"(?P<blank>[ \t\r]+|//[^\n]*)|(?P<newline>\n)|(?P<dense>dense(?:_resource)?<)|(?P<string>\")|(?P<arrow>->)"
    r"|(?P<value>%[\w.$-]+(?:[:#][0-9]+)?)|(?P<symbol>@[\w.$-]*)|(?P<word>[\w.$?]+)|(?P<open>[(\[{<])"
    r"|(?P<close>[)\]}>])|(?P<other>[^\s])"
)
_NAME = re.compile(r"\"?[A-Za-z_][\w.$]*\"?")
_STRING = re.compile(r"[^\"\\\n]*(?:\\.[^\"\\\n]*)*\"")
_PAIRS = {")": "(", "]": "[", "}": "{", ">": "<"}
_CONTINUES = ("cond", "do", "reducer")


def parse_program(text: str, path: Path) -> Program:
    """Return the functions of a module.

    Raises:
        BadFileError: this is no MLIR text, is truncated, or is beyond a bound; the line is named.
    """
    program = Program(path)
    for statement, line in _statements(_tree(text, path)):
        _top(statement, line, program)
    if not program.functions:
        raise BadFileError(path, "this is not a StableHLO or MLIR module: it has no function.")
    return program


def _top(statement: list[Token], line: int, program: Program) -> None:
    """Take the functions of a module (nested modules too) from one of its statements."""
    words = [token for token in statement if isinstance(token, str)]
    first = words[0].strip('"') if words else ""
    if first in ("module", "builtin.module"):
        for group in _bodies(statement):
            for inner, at in _statements(group.items):
                _top(inner, at, program)
    elif first == "func.func":
        function = _function(statement, line, program.path)
        if function.name in program.functions:
            raise BadFileError(program.path, f"the function '{function.name}' stands twice.", line=line)
        program.functions[function.name] = function


def _tree(text: str, path: Path) -> list[Token]:
    """Return the tokens with brackets matched; line numbers stay only where a line can end a statement."""
    top: list[Token] = [1]
    stack: list[Group] = []
    items, line, count, at, end = top, 1, 0, 0, len(text)
    match = _TOKEN.match
    while at < end:
        found = match(text, at)
        if found is None:
            raise BadFileError(path, f"the character {text[at]!r} cannot stand here.", line=line)
        kind, word, at = found.lastgroup, found.group(), found.end()
        if kind == "blank":
            continue
        count += 1
        if count > MAX_TOKENS:
            raise BadFileError(path, f"the program has more than {MAX_TOKENS:,} words.", line=line)
        if kind == "newline":
            line += 1
            if not stack or stack[-1].bracket == "{":
                items.append(line)
        elif kind == "open":
            if len(stack) >= MAX_DEPTH:
                raise BadFileError(path, f"brackets are nested deeper than {MAX_DEPTH} levels.", line=line)
            group = Group(word, [], line, -count)
            items.append(group)
            stack.append(group)
            items = group.items
        elif kind == "close":
            if not stack or stack[-1].bracket != _PAIRS[word]:
                raise BadFileError(path, f"'{word}' closes nothing; the file is damaged.", line=line)
            stack.pop().size += count
            items = stack[-1].items if stack else top
        elif kind in ("dense", "string"):
            word, at = _literal(text, word, at, line, path)
            items.append(word)
        else:
            items.append(word)
    if stack:
        raise BadFileError(path, f"'{stack[-1].bracket}' is never closed; the file is truncated.", line=stack[-1].line)
    return top


def _literal(text: str, word: str, at: int, line: int, path: Path) -> tuple[str, int]:
    """Return a string or dense constant (shortened) from position `at`, and where it ends."""
    if word == '"':
        found = _STRING.match(text, at)
        if found is None:
            raise BadFileError(path, "a string is never closed; the file is truncated.", line=line)
        return '"' + found.group(), found.end()
    end = text.find(">", at)
    if end < 0:
        raise BadFileError(path, "a constant is never closed; the file is truncated.", line=line)
    return word + text[at : min(end, at + KEPT_CHARACTERS)] + ">", end + 1


def _statements(items: Sequence[Token]) -> Iterator[tuple[list[Token], int]]:
    """Yield the statements of a body and their lines: a line each, and what continues it (the bodies of a loop)."""
    statement: list[Token] = []
    line = begun = 1
    ended = False
    for token in items:
        if isinstance(token, int):
            line, ended = token, True
            continue
        if ended and statement and token not in _CONTINUES:
            yield statement, begun
            statement = []
        if not statement:
            begun = line
        statement.append(token)
        ended = False
    if statement:
        yield statement, begun


def _function(statement: list[Token], line: int, path: Path) -> Function:
    """Read `func.func @name(arguments) -> types { body }`, or its generic form."""
    named = next((word[1:] for word in statement if isinstance(word, str) and word.startswith("@")), "")
    if statement[0] == '"func.func"':
        named = str(_after(statement, "sym_name") or "").strip('"')
        bodies = list(_bodies(statement))
        region = _region(bodies[0], path) if bodies else Region([], [], [])
        return Function(named, region)
    arguments = next((token for token in statement if isinstance(token, Group) and token.bracket == "("), None)
    if arguments is None:
        raise BadFileError(path, f"the function '{named}' has no arguments in brackets.", line=line)
    body = statement[-1]
    for token in statement[statement.index(arguments) :]:
        if isinstance(token, Group) and token.bracket == "{":
            body = token
    if not isinstance(body, Group) or body.bracket != "{":
        return Function(named, Region([], [], []))  # a declaration
    region = _region(body, path)
    region.arguments, region.types = _arguments(arguments.items, path, line)
    return Function(named, region)


def _after(tokens: Sequence[Token], key: str) -> Token | None:
    """Return the token after `key =` among tokens and in the brackets between them, bodies apart."""
    found = next(assigned(tokens, key), None)
    return found[0] if found else None


def assigned(tokens: Sequence[Token], key: str) -> Iterator[list[Token]]:
    """Yield what follows `key =`, up to the next comma, wherever it stands in the attributes."""
    for i, token in enumerate(tokens):
        if isinstance(token, Group) and not _has_bodies(token):
            yield from assigned(token.items, key)
        elif token == key and i + 1 < len(tokens) and tokens[i + 1] == "=":
            rest = list(tokens[i + 2 : i + 12])
            yield rest[: rest.index(",")] if "," in rest else rest


def whole_numbers(token: Token | None) -> tuple[int, ...]:
    """Return the numbers in a bracket (`[1, 2]`, `array<i64: 1, 2>`), or of one word; () where it has none."""
    found: list[int] = []
    sign = 1
    for item in token.items if isinstance(token, Group) else [token]:
        if isinstance(item, Group):
            found += whole_numbers(item)
        elif isinstance(item, str) and item.isascii() and item.isdigit() and len(item) <= 18:
            found.append(sign * int(item))
        sign = -1 if item == "-" else 1
    return tuple(found)


def _has_bodies(group: Group) -> bool:
    return group.bracket == "(" and any(isinstance(item, Group) and item.bracket == "{" for item in group.items)


def _bodies(statement: Sequence[Token]) -> Iterator[Group]:
    """Yield the bodies of a statement: `({ ... }, { ... })`, and the braces after `cond`, `do`, `reducer`, `module`."""
    pretty = False
    for i, token in enumerate(statement):
        if isinstance(token, Group) and _has_bodies(token):
            yield from (item for item in token.items if isinstance(item, Group) and item.bracket == "{")
        elif isinstance(token, Group) and token.bracket == "{" and pretty and statement[i - 1] != "attributes":
            yield token
        elif token in _CONTINUES or token == "module":
            pretty = True


def _region(group: Group, path: Path) -> Region:
    region = Region([], [], [])
    for statement, line in _statements(group.items):
        if statement[0] == "^":
            label = next((token for token in statement if isinstance(token, Group)), None)
            if label is not None and not region.operators:
                region.arguments, region.types = _arguments(label.items, path, line)
        else:
            region.operators.append(_operator(statement, line, path))
    return region


def _arguments(items: Sequence[Token], path: Path, line: int) -> tuple[list[str], list[TensorType | None]]:
    names: list[str] = []
    types: list[TensorType | None] = []
    for i, token in enumerate(items):
        if isinstance(token, str) and token.startswith("%"):
            names.append(token)
            types += read_types(items[i + 2 : i + 4], path, line)[:1] or [None]
    return names, types


def read_types(tokens: Sequence[Token], path: Path, line: int) -> list[TensorType | None]:
    """Return the types in a list; None for one that is no tensor (a token, a tuple)."""
    if len(tokens) == 1 and isinstance(tokens[0], Group) and tokens[0].bracket == "(":
        return read_types(tokens[0].items, path, line)
    found: list[TensorType | None] = []
    begins = True
    for i, token in enumerate(tokens):
        if token == ",":
            begins = True
        elif begins:
            begins = False
            inner = tokens[i + 1] if i + 1 < len(tokens) else None
            is_tensor = token == "tensor" and isinstance(inner, Group)
            found.append(_tensor(inner, path, line) if is_tensor and isinstance(inner, Group) else None)
    return found


_DIMS = re.compile(r"(?:(?:[0-9]{1,13}|\?)x)*")


def _tensor(group: Group, path: Path, line: int) -> TensorType:
    words = [item for item in group.items if isinstance(item, str)]
    first = words[0] if words else ""
    found = _DIMS.match(first)
    sizes = found.group() if found else ""
    dims = tuple(-1 if size == "?" else int(size) for size in sizes.split("x")[:-1])
    element = first[len(sizes) :]
    inner = next((item for item in group.items if isinstance(item, Group)), None)
    if (element == "complex" or "quant.uniform" in words) and inner is not None:
        element += next((item for item in inner.items if isinstance(item, str)), "")
    if not element.isidentifier() or len(dims) > 32:
        text = "".join(words)[:60]
        raise BadFileError(path, f"the tensor type '{text}' cannot be read.", line=line)
    return TensorType(element, dims)


def _operator(statement: list[Token], line: int, path: Path) -> Op:
    """Read `%a, %b = name ...tokens... : types`, or the generic form `"name"(%x) <{...}> ({...}) : (...) -> ...`."""
    named: list[str] = []
    at = 0
    while at < len(statement) and isinstance(statement[at], str) and str(statement[at]).startswith(("%", ",")):
        if statement[at] != ",":
            named.append(str(statement[at]))
        at += 1
    if named:
        if at >= len(statement) or statement[at] != "=":
            raise BadFileError(path, "a result is followed by no operator; the file is damaged.", line=line)
        at += 1
    name = statement[at] if at < len(statement) else ""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadFileError(path, "there is no operator where one must stand; the file is damaged.", line=line)
    rest = statement[at + 1 :]
    colon = max((i for i, token in enumerate(rest) if token == ":"), default=len(rest))
    tokens, types = rest[:colon], rest[colon + 1 :]
    regions = [_region(group, path) for group in _bodies(rest)]
    stop = next((i for i, token in enumerate(types) if token in (*_CONTINUES, "loc")), len(types))
    types = types[:stop]
    if "->" in types:
        types = types[types.index("->") + 1 :]
    found = read_types(types, path, line)
    results = _result_names(named, len(found), path, line)
    if len(results) == 1:
        found = found[-1:] or [None]  # `select` has the condition's type first
    operands, carried = _operands(tokens)
    for region in regions if carried else ():
        region.arguments = carried
        region.types = list(found)
    words = sum(token.size if isinstance(token, Group) else 1 for token in statement)
    return Op(name.strip('"'), results, operands, tokens, found, regions, line, words)


def _result_names(named: list[str], types: int, path: Path, line: int) -> list[str]:
    """Return a name for each result: `%0:2` is `%0#0` and `%0#1`. There must be a type for each."""
    parts = [name.partition(":") for name in named]
    total = sum(int(count[:9]) if count else 1 for _, _, count in parts)
    if total > 1 and total != types:
        raise BadFileError(path, f"an operator has {total:,} results, but {types:,} types.", line=line)
    return [
        f"{name}#{i}" if count else name for name, _, count in parts for i in range(int(count) if count else 1)
    ]  # fmt: skip


def _operands(tokens: Sequence[Token]) -> tuple[list[str], list[str]]:
    """Return the values that an operator reads, and the names under which a loop's bodies know them."""
    found: list[str] = []
    carried: list[str] = []
    for token in tokens:
        if isinstance(token, Group) and token.bracket == "(" and not _has_bodies(token):
            for i, item in enumerate(token.items):
                if isinstance(item, str) and item.startswith("%"):
                    named = i + 1 < len(token.items) and token.items[i + 1] == "="
                    (carried if named else found).append(item)
        elif isinstance(token, str) and token.startswith("%"):
            found.append(token)
    return found, carried
