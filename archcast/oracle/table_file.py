"""A cost table as a file: items, options, and which quantities."""

from __future__ import annotations

from typing import Any

from archcast.cost_models import AnyModel
from archcast.oracle.checks import check_names
from archcast.oracle.questions import as_questions, key_of
from archcast.oracle.table import ALLOCATED, CostTable, cost_table
from foundation.errors import BadFileError, InputError, nearest_names
from foundation.yaml_file import YamlDocument, load_yaml

KEYS = ("kind", "items", "options", "quantities")
MOST_ENTRIES = 5000


def read_cost_table(path: str, model: AnyModel = None) -> CostTable:
    """Return the table that a YAML file asks for (docs/oracle.md).

    Raises:
        BadFileError: the file cannot be used; the place and the key are named.
    """
    document = load_yaml(path)
    data = document.data
    if not isinstance(data, dict):
        raise document.fault((), "a cost table is a mapping with items and options.")
    for key in data:
        if key not in KEYS:
            near = nearest_names(str(key), KEYS)
            raise document.fault((str(key),), f"unknown key '{key}'.", f"Nearest: {', '.join(near)}." if near else "")
    if data.get("kind", "cost-table") != "cost-table":
        raise document.fault(("kind",), f"the kind must be cost-table, not {data['kind']!r}.")
    items, options = (_entries(document, key) for key in ("items", "options"))
    quantities = data.get("quantities", list(ALLOCATED))
    if not isinstance(quantities, list):
        raise document.fault(("quantities",), "quantities are a list of names.")
    try:
        return cost_table(items, options, quantities, model)
    except BadFileError:
        raise
    except InputError as error:
        raise BadFileError(path, str(error)) from None


def _entries(document: YamlDocument, key: str) -> list[dict[str, Any]]:
    """Return the mappings below a key. Raises BadFileError: none, too many, or one with a key that does not exist."""
    found = document.data.get(key)
    if not isinstance(found, list) or not found:
        raise document.fault((key,), f"'{key}' must be a list of at least one mapping.")
    if len(found) > MOST_ENTRIES:
        raise document.fault((key,), f"{len(found):,} {key} are more than {MOST_ENTRIES:,}.")
    seen: set[str] = set()
    for i, one in enumerate(found):
        if not isinstance(one, dict):
            raise document.fault((key, i), f"each of the {key} must be a mapping, not {one!r}.")
        for name in one:
            try:
                key_of(str(name))
                word = repr((name, one[name]))
                if word not in seen:  # what many entries say is looked up once
                    check_names(as_questions({name: one[name]}, key.removesuffix("s")))
                seen.add(word)
            except InputError as error:
                raise document.fault((key, i, str(name)), str(error)) from None
    return found
