"""JSON Lines: one object a line. Numbers are kept as they are written, so none is ever converted twice."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from callsheet.errors import Problem
from manifests.table import (
    CELLS_MAX,
    COLUMNS_MAX,
    ROWS_MAX,
    UNPRINTABLE,
    ReadOptions,
    Table,
    WrittenNumber,
    not_text,
    printable,
    shown,
    too_many,
    too_wide,
    two_claim,
)

LIST_SEPARATOR = "\n"
DEPTH_MAX = 64
"""How deep lists and objects may lie in one another: below this, nothing that writes JSON out can fail."""


class _BadLine(ValueError):
    """JSON that Python would accept and we do not; `column` is "" where it is about the whole line."""

    def __init__(self, message: str, column: str = "", found: str = "") -> None:
        self.column, self.found = column, found
        super().__init__(message)


def read_jsonl(content: bytes, file: str, folder: Path, options: ReadOptions) -> Table:
    """Read one JSON object a line. Blank lines are skipped but counted; a bad line is named and passed over.

    Keys that stand twice, NaN and Infinity are refused. Lists become lines of text, objects JSON text.
    """
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        content = content.decode("utf-16", "replace").encode()
    places: dict[str, int] = {}
    header: dict[str, str] = {}
    numbers: list[int] = []
    rows: list[list[str]] = []
    problems: list[Problem] = []
    for number, line in enumerate(io.BytesIO(content.removeprefix(b"\xef\xbb\xbf")), 1):
        if not line.strip():
            continue
        if len(rows) == ROWS_MAX or len(rows) * len(places) > CELLS_MAX:
            message = too_many(CELLS_MAX // max(len(places), 1))
            return Table(
                file, folder, problems=(Problem(file, number, "", f"{len(places):,} columns", message),)
            )
        try:
            cells = _cells(line, options, header)
        except _BadLine as error:
            found = error.found or line[:40].decode("utf-8", "replace").strip()
            problems.append(Problem(file, number, shown(error.column), shown(found), printable(str(error))))
            continue
        row = [""] * len(places)
        for name, cell in cells.items():
            if places.setdefault(name, len(places)) == len(row):
                row.append("")
            row[places[name]] = cell
        if len(places) > COLUMNS_MAX:
            return Table(file, folder, problems=(too_wide(file, number, len(places)),))
        numbers.append(number)
        rows.append(row)
    for cells_of_row in rows:
        cells_of_row.extend([""] * (len(places) - len(cells_of_row)))
    named = tuple(header[name] for name in places)
    return Table(file, folder, named, tuple(places), numbers, rows, tuple(problems))


def _cells(line: bytes, options: ReadOptions, header: dict[str, str]) -> dict[str, str]:
    """Return a line's cells by our names; `header` learns how the file calls each."""
    cells: dict[str, str] = {}
    theirs: dict[str, str] = {}
    for key, value in _object(line).items():
        name = options.column_of(key)
        if name in theirs:
            raise _BadLine(two_claim(theirs[name], key), name, key)
        theirs[name] = key
        header.setdefault(name, key)
        if isinstance(value, dict | list):
            wrong = not_text(name, "an object" if isinstance(value, dict) else "a list")
            if wrong:
                raise _BadLine(wrong, name, cell_text(value))
        cells[name] = cell_text(value)
        if _has_surrogate(key) or _has_surrogate(cells[name]):
            raise _BadLine("this text is not valid Unicode (half of a surrogate pair)", name, cells[name])
    return cells


def _has_surrogate(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= each[0] <= "\udfff" for each in UNPRINTABLE.findall(text))


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(
            line.decode("utf-8"),
            object_pairs_hook=_without_twins,
            parse_constant=_no_constant,
            parse_int=WrittenNumber,
            parse_float=WrittenNumber,
        )
    except json.JSONDecodeError as error:
        raise _BadLine(f"this line is not JSON: {error.msg} at character {error.pos + 1}") from None
    except UnicodeDecodeError:
        raise _BadLine("this line is not UTF-8; save the file as UTF-8") from None
    except RecursionError:
        raise _BadLine(_TOO_DEEP) from None
    if not isinstance(value, dict):
        raise _BadLine('this line is not an object like {"prompt": "..."}')
    return _without_twins([(key.strip(), cell) for key, cell in value.items()])


_TOO_DEEP = f"this line is nested too deeply; at most {DEPTH_MAX} levels are allowed"


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twin = next(name for name in names if names.count(name) > 1)
        raise _BadLine(f"the key {twin!r} stands twice in one object")
    return found


def _no_constant(name: str) -> None:
    raise _BadLine(f"{name} is not a JSON number")


def cell_text(value: Any) -> str:
    """Write any JSON value as a cell: null as nothing, a list one item a line, an object as JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and all(not isinstance(item, list | dict) for item in value):
        return LIST_SEPARATOR.join(cell_text(item) for item in value)
    return _json(value, 1)


def _json(value: Any, depth: int) -> str:
    """Write JSON, with numbers as they were written. Raises _BadLine below `DEPTH_MAX` levels."""
    if depth > DEPTH_MAX:
        raise _BadLine(_TOO_DEEP)
    if isinstance(value, WrittenNumber):
        return str(value)
    if isinstance(value, dict):
        inner = (f"{_json(key, depth)}:{_json(item, depth + 1)}" for key, item in value.items())
        return "{" + ",".join(inner) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_json(item, depth + 1) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)
