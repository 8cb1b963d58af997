"""What a key of a catalog file may hold, and how a mistake in it is told."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pricing.money import MAX_USD
from pricing.units import KNOWN_UNITS, parse_unit


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads a value: `read` returns what it means, None where it is not allowed; `allowed` says what is."""

    read: Callable[[Any], Any]
    allowed: str


def reads(allowed: str) -> Callable[[Callable[[Any], Any]], Reader]:
    """Make a reader of a function."""
    return lambda read: Reader(read, allowed)


REQUIRED = object()
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9._-]+)*", re.ASCII)
_AMOUNT = re.compile(r"\d{1,7}(\.\d{1,9})?", re.ASCII)
SHOWN = 60


@reads("text on one line")
def text(value: Any) -> Any:
    """Read text."""
    return value if isinstance(value, str) and value and value.isprintable() else None


@reads("letters, digits, '.', '_', '-' and '/'")
def name(value: Any) -> Any:
    """Read an endpoint's id or a model's alias."""
    return value if isinstance(value, str) and len(value) <= 200 and _NAME.fullmatch(value) else None


@reads("a list of texts, each once")
def texts(value: Any) -> Any:
    """Read a list of texts."""
    if not isinstance(value, list) or len(set(map(str, value))) < len(value):
        return None
    return tuple(value) if all(text.read(each) for each in value) else None


@reads("true or false")
def flag(value: Any) -> Any:
    """Read true or false."""
    return value if isinstance(value, bool) else None


@reads("a list of whole seconds from 1 to 3600, the shortest first")
def seconds(value: Any) -> Any:
    """Read durations."""
    if not isinstance(value, list) or not value or any(type(each) is not int for each in value):
        return None
    is_right = value == sorted(set(value)) and value[0] > 0 and value[-1] <= 3600
    return tuple(value) if is_right else None


@reads("two whole numbers, the lower first")
def bounds(value: Any) -> Any:
    """Read inclusive bounds."""
    if not isinstance(value, list) or len(value) != 2 or any(type(each) is not int for each in value):
        return None
    return (value[0], value[1]) if 0 <= value[0] <= value[1] <= 10**6 else None


@reads("dollars as text like 0.014, above 0, with at most nine decimals")
def amount(value: Any) -> Any:
    """Read dollars; they are text, because a number of TOML would be a float."""
    if not isinstance(value, str) or not _AMOUNT.fullmatch(value):
        return None
    return value if value.strip("0.") and int(value.partition(".")[0]) <= MAX_USD else None


@reads(KNOWN_UNITS)
def unit(value: Any) -> Any:
    """Read a unit."""
    return parse_unit(value) if isinstance(value, str) else None


@reads("a day like 2026-11-21")
def day(value: Any) -> Any:
    """Read a day; returns it as ISO text."""
    if isinstance(value, str):
        try:
            value = dt.date.fromisoformat(value)
        except ValueError:
            return None
    is_day = isinstance(value, dt.date) and not isinstance(value, dt.datetime)
    return value.isoformat() if is_day else None


def one_of(*allowed: str) -> Reader:
    """Return a reader of one of these texts."""
    return Reader(lambda value: value if value in allowed else None, f"one of {', '.join(allowed)}")


def whole(low: int, high: int) -> Reader:
    """Return a reader of whole numbers from `low` to `high`."""
    return Reader(
        lambda value: value if type(value) is int and low <= value <= high else None,
        f"a whole number from {low} to {high}",
    )


class TableCheck:
    """Takes the keys of one table; what is wrong goes into `problems`, which the tables of a file share."""

    def __init__(
        self, file: str, where: str, row: Mapping[str, Any], problems: list[str] | None = None, key: str = ""
    ) -> None:
        self._file, self._where = file, where
        self.rest = dict(row)
        self.key = key
        self._known: list[str] = []
        self.problems = [] if problems is None else problems

    def take(self, key: str, reader: Reader, default: Any) -> Any:
        """Return what a key holds, its default where it is missing, None where it is wrong."""
        self._known.append(key)
        if key not in self.rest:
            if default is REQUIRED:
                self.wrong(key, None, f"it is missing; it must be {reader.allowed}")
                return None
            return default
        value = self.rest.pop(key)
        read = reader.read(value)
        if read is None:
            self.wrong(key, value, f"it must be {reader.allowed}")
        return read

    def wrong(self, key: str, found: Any, message: str) -> None:
        """Note a mistake."""
        shown = f"found {str(found)[:SHOWN]!r}; " if found is not None else ""
        self.problems.append(f"{self._file}: {self._where}, {key}: {shown}{message}")

    def tables(self, key: str) -> list[TableCheck]:
        """Return the tables of an array, `[[key]]`."""
        self._known.append(key)
        rows = self.rest.pop(key, [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            self.wrong(key, rows, f"tables are allowed, each under [[{key}]]")
            return []
        return [
            TableCheck(self._file, f"[[{key}]] {number}", row, self.problems)
            for number, row in enumerate(rows, 1)
        ]

    def named_tables(self, key: str) -> Iterator[TableCheck]:
        """Yield the tables in a table, `[key.NAME]`."""
        self._known.append(key)
        tables = self.rest.pop(key, {})
        if not isinstance(tables, dict) or not all(isinstance(row, dict) for row in tables.values()):
            self.wrong(key, tables, f"tables are allowed, each under [{key}.NAME]")
            return
        for named, row in tables.items():
            yield TableCheck(self._file, f"[{key}.{named}]", row, self.problems, key=named)

    def done(self) -> None:
        """Note the keys that were not taken."""
        for key, value in self.rest.items():
            self.wrong(key, value, f"no such key; allowed are {', '.join(sorted(self._known))}")
