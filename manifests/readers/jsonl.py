"""JSON Lines: one object a line. Numbers are kept as they are written, so none is ever converted twice."""

from __future__ import annotations

import json
from typing import Any

from manifests.table import Flaw, Records

LIST_SEPARATOR = "\n"


class _Number(str):
    """A JSON number as it was written: read by the column's own rule, never by the parser."""

    __slots__ = ()


class _Unreadable(ValueError):
    """JSON that Python would accept and we do not."""


def read_jsonl(content: bytes) -> Records:
    """Read one JSON object a line. Blank lines are skipped but counted; a bad line is named and passed over.

    Keys that stand twice, NaN and Infinity are refused. Lists become lines of text, objects JSON text.
    """
    columns: dict[str, None] = {}
    rows: list[tuple[int, dict[str, str]]] = []
    flaws: list[Flaw] = []
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            cells = {key: cell_text(value) for key, value in _object(line).items()}
        except _Unreadable as error:
            flaws.append(Flaw(number, "", line[:40].decode("utf-8", "replace"), str(error)))
            continue
        columns.update(dict.fromkeys(cells))
        rows.append((number, cells))
    return Records(tuple(columns), tuple(rows), tuple(flaws))


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(
            line.decode("utf-8"),
            object_pairs_hook=_without_twins,
            parse_constant=_no_constant,
            parse_int=_Number,
            parse_float=_Number,
        )
    except json.JSONDecodeError as error:
        raise _Unreadable(f"this line is not JSON: {error.msg} at character {error.pos + 1}") from None
    except UnicodeDecodeError:
        raise _Unreadable("this line is not UTF-8; save the file as UTF-8") from None
    except RecursionError:
        raise _Unreadable("this line is nested too deeply") from None
    if not isinstance(value, dict):
        raise _Unreadable('this line is not an object like {"prompt": "..."}')
    return _without_twins([(key.strip(), cell) for key, cell in value.items()])


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twin = next(name for name in names if names.count(name) > 1)
        raise _Unreadable(f"the key {twin!r} stands twice in one object")
    return found


def _no_constant(name: str) -> None:
    raise _Unreadable(f"{name} is not a JSON number")


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
    return _json(value)


def _json(value: Any) -> str:
    """Write JSON, with numbers as they were written."""
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{_json(key)}:{_json(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_json(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)
