"""Dates as years: 2027-07 is 2027.5."""

from __future__ import annotations

import re

from foundation.errors import BadValueError

_DATE = re.compile(r"(\d{4})(?:-(\d{1,2}))?(?:-(\d{1,2}))?")


def year_of(name: str, value: object) -> float:
    """Return a date (YYYY, YYYY-MM or YYYY-MM-DD) in years. Raises BadValueError."""
    found = _DATE.fullmatch(str(value))
    month, day = (int(found[i] or 1) for i in (2, 3)) if found else (0, 0)
    if not found or isinstance(value, bool) or not 1 <= month <= 12 or not 1 <= day <= 31 or int(found[1]) < 1990:
        raise BadValueError(f"{name} must be a date such as 2027-01, not {value!r}.")
    return int(found[1]) + (month - 1) / 12 + (day - 1) / 365


def month_text(year: float) -> str:
    """Return a date in years as e.g. `2027-07`."""
    months = round(year * 12)
    return f"{months // 12}-{months % 12 + 1:02d}"
