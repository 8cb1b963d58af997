"""Days as a person types them, as moments: `2026-11-21`, in UTC."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

from callsheet.errors import UsageError

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def first_ms(text: str | None, option: str) -> int | None:
    """Return the first millisecond (Unix) of that day. Raises UsageError for anything that is no day."""
    return None if text is None else _ms(_day(text, option))


def end_ms(text: str | None, option: str) -> int | None:
    """Return the first millisecond after that day. Raises UsageError for anything that is no day."""
    return None if text is None else _ms(_day(text, option) + timedelta(days=1))


def _day(text: str, option: str) -> date:
    try:
        day = date.fromisoformat(text) if _DAY.fullmatch(text) else None
    except ValueError:
        day = None
    if day is None or not 1970 <= day.year <= 9998:
        raise UsageError(f"{option} is {text[:40]!r}; it must be a day (UTC) like 2026-11-21")
    return day


def _ms(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000
