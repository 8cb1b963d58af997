"""XLSX sheets, read by a process of their own, so that a workbook made to do harm ends that process alone.

This module run by itself is that process, within bounds of memory and time. It writes one JSON document a
line: `{"row", "hidden", "cells"}` for every row that is not blank, with `links`, `formulas` and `pictures`
where it has some (`xlsx_pictures`), then `{"end": true}`, or `{"error"}` with a sentence. calamine reads the
values. What it does not tell (formulas that failed, hidden rows) is read from the sheet's XML here, which is
also counted before calamine makes a full rectangle of it.
"""

from __future__ import annotations

import io
import json
import posixpath
import re
import resource
import subprocess
import sys
import threading
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any
from xml.parsers import expat

from manifests.readers.parquet import value_text
from manifests.readers.xlsx_pictures import PictureSheet, Shown, shown_in
from manifests.table import CELLS_MAX, HEADER_ROWS, ReadOptions, Table

TIME_MAX_S = 300.0
TEXT_MAX_BYTES = 1 << 30
"""What a sheet may hold when every cell is written out: one text may stand in a million cells."""

MEMORY_MAX_BYTES = 2 << 30
PROCESSOR_MAX_S = 120
EXPANDED_MAX_BYTES = 1 << 30
RATIO_MAX = 200
"""Sheets of a hundred thousand equal rows reach about 60 to 1; a bomb reaches 1,000 to 1."""

_RATIO_FROM_BYTES = 8 << 20
MEMBERS_MAX = 10_000
_CHUNK_BYTES = 1 << 20
_PLACE = re.compile(r"([A-Za-z]{1,7})([0-9]{1,10})")
_ERRORS = ("", "#DIV/0!", "#N/A", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!")
"""The errors of formulas that calamine knows; it refuses a workbook that holds another one."""

_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    expat.ExpatError,
    NotImplementedError,
    RuntimeError,
    EOFError,
    OSError,
    KeyError,
    ValueError,
)


def read_xlsx(path: Path, sheet: str, file: str, options: ReadOptions) -> Table:
    """Read one sheet of a workbook: the one of that name, or the only one that is visible and not empty.

    Numbers, dates and times become the text that a person would have typed; a formula that failed is its
    error (`#N/A`); a merged cell stands in each of its rows. Blank rows are skipped but counted.
    """
    found = PictureSheet(file, path.resolve().parent, iter(()), padded=True)
    # -P: modules that lie in the working directory must not stand in for the library's.
    command = [sys.executable, "-P", "-m", "manifests.readers.xlsx", str(path), sheet]
    with subprocess.Popen(  # noqa: S603  # no shell, and the paths are arguments of their own
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as worker:
        deadline = threading.Timer(TIME_MAX_S, worker.kill)
        deadline.start()
        try:
            assert worker.stdout is not None
            found.rows = _said(worker.stdout, found)
            return found.table(options)
        finally:
            deadline.cancel()
            worker.kill()


def _said(lines: IO[bytes], sheet: PictureSheet) -> Iterator[tuple[int, list[str]]]:
    """Yield rows as the process writes them; its own death is a problem of the workbook."""
    size = 0
    error = (
        f"this workbook is damaged, or needs more than {MEMORY_MAX_BYTES >> 20:,} MiB of memory; "
        "save the rows as CSV"
    )
    for line in lines:
        size += len(line)
        said = json.loads(line)
        if size > TEXT_MAX_BYTES:
            error = f"the sheet holds more than {TEXT_MAX_BYTES >> 20:,} MiB of text; save the rows as CSV"
            break
        if "end" in said:
            return
        if "error" in said:
            error = said["error"]
            break
        number = said["row"]
        if said["hidden"]:
            sheet.hidden.add(number)
        if "links" in said:
            sheet.links[number] = said["links"]
        if "formulas" in said:
            sheet.formulas[number] = said["formulas"]
        if "pictures" in said:
            sheet.pictures[number] = said["pictures"]
        yield number, said["cells"]
    sheet.wrong(0, "", "", error)


class _BadWorkbook(Exception):
    """The workbook cannot be read; the message says why and what to do."""


@dataclass(slots=True)
class _Sheet:
    """What a sheet's XML says: how far its cells reach, failed formulas, hidden rows and merged cells.

    Places are (row, column), both from 1. `merged` holds the top, bottom and left of each merged range,
    `uncalculated` is the first cell whose formula has no result in the file.
    """

    height: int = 0
    width: int = 0
    failed: dict[tuple[int, int], str] = field(default_factory=dict)
    hidden: set[int] = field(default_factory=set)
    merged: list[tuple[int, int, int]] = field(default_factory=list)
    uncalculated: tuple[int, int] | None = None
    shown: Shown = field(default_factory=Shown)


def main(path: str, sheet: str) -> None:
    """Write the rows of one sheet to stdout."""
    try:
        for row in _read(Path(path).read_bytes(), sheet, Path(path).name):
            _say(row)
        _say({"end": True})
    except _BadWorkbook as error:
        _say({"error": str(error)})
    except BrokenPipeError:  # the other process has read enough
        sys.stderr.close()


def _say(document: Mapping[str, Any]) -> None:
    sys.stdout.write(f"{json.dumps(document)}\n")


def _known(rows: Iterable[Mapping[str, Any]]) -> int:
    """Return how many of our columns the likeliest header of a sheet has."""
    options = ReadOptions()
    return max((options.known(row["cells"]) for row in islice(rows, HEADER_ROWS)), default=0)


def _read(content: bytes, wanted: str, file: str) -> Iterator[dict[str, Any]]:
    import python_calamine as calamine

    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _measure(archive, len(content))
            parts, calculates = _parts(archive)
            names = [wanted] if wanted else [name for name, (_, visible) in parts.items() if visible]
            if wanted and wanted not in parts:
                raise _BadWorkbook(f"there is no sheet {wanted!r}; there are {', '.join(map(repr, parts))}")
            sheets = {name: _sheet(archive, parts[name][0], calculates=calculates) for name in names}
        book = calamine.CalamineWorkbook.from_filelike(io.BytesIO(content))
        filled = [name for name in names if any(_rows(book.get_sheet_by_name(name), sheets[name]))]
    except (*_DAMAGED, calamine.CalamineError) as error:
        raise _BadWorkbook(f"this is not a whole XLSX workbook: {error}") from None
    if len(filled) > 1:
        listed = ", ".join(map(repr, filled))
        best = max(filled, key=lambda name: _known(_rows(book.get_sheet_by_name(name), sheets[name])))
        raise _BadWorkbook(f"several sheets are filled ({listed}); name one like this: {file}#{best}")
    if not filled and (
        hidden := [name for name, (_, visible) in parts.items() if not visible and not wanted]
    ):
        listed = ", ".join(map(repr, hidden))
        raise _BadWorkbook(
            f"no visible sheet has rows; hidden are {listed}; name one like this: {file}#{hidden[0]}"
        )
    for name in filled:
        if (place := sheets[name].uncalculated) is not None:
            raise _BadWorkbook(
                f"row {place[0]}, column {place[1]}: the file holds no result of this formula; "
                "open it in a spreadsheet program and save it"
            )
        yield from _rows(book.get_sheet_by_name(name), sheets[name])


def _measure(archive: zipfile.ZipFile, packed: int) -> None:
    """Refuse what expands too far, by what the archive says of itself; memory is bounded beside it."""
    members = archive.infolist()
    if len(members) > MEMBERS_MAX:
        raise _BadWorkbook(f"the workbook holds {len(members):,} files; {MEMBERS_MAX:,} are allowed")
    limit = min(EXPANDED_MAX_BYTES, max(_RATIO_FROM_BYTES, RATIO_MAX * packed))
    if sum(member.file_size for member in members) > limit:
        raise _BadWorkbook(
            f"the workbook expands to more than {limit:,} bytes from {packed:,}; save the rows as CSV"
        )


def _parts(archive: zipfile.ZipFile) -> tuple[dict[str, tuple[str, bool]], bool]:
    """Return where in the archive each worksheet lies, by its name, and whether it is visible.

    The second value says whether all formulas are to be calculated when the workbook is opened.
    """
    targets: dict[str, str] = {}
    found: dict[str, tuple[str, bool]] = {}
    calculates = False

    def link(name: str, given: Mapping[str, str]) -> None:
        if name == "Relationship" and given.get("Type", "").endswith("/worksheet"):
            targets[given["Id"]] = posixpath.normpath(posixpath.join("/xl", given["Target"])).lstrip("/")

    def sheet(name: str, given: Mapping[str, str]) -> None:
        nonlocal calculates
        if name == "calcPr":
            calculates = given.get("fullCalcOnLoad") in ("1", "true")
        if name == "sheet":
            target = targets.get(next((value for key, value in given.items() if key.endswith(" id")), ""))
            if target:
                found[given["name"]] = (target, given.get("state", "visible") == "visible")

    try:
        _parse(archive, "xl/_rels/workbook.xml.rels", link)
        _parse(archive, "xl/workbook.xml", sheet)
    except KeyError:
        raise _BadWorkbook(
            "this is not an XLSX workbook; save it as .xlsx in the program it was made with"
        ) from None
    return found, calculates


def _parse(archive: zipfile.ZipFile, member: str, start: Any, end: Any = None, text: Any = None) -> None:
    """Parse a member; `start` is called with each element's name, without its namespace, and attributes."""
    parser = expat.ParserCreate(namespace_separator=" ")

    def refuse(*_: object) -> None:
        raise _BadWorkbook("the workbook declares XML entities; save the rows as CSV")

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = lambda name, given: start(name.rpartition(" ")[2], given)
    if end is not None:
        parser.EndElementHandler = lambda name: end(name.rpartition(" ")[2])
        parser.CharacterDataHandler = text
    with archive.open(member) as file:
        while chunk := file.read(_CHUNK_BYTES):
            parser.Parse(chunk, False)  # noqa: FBT003  # expat takes it by place
        parser.Parse(b"", True)  # noqa: FBT003


def _sheet(archive: zipfile.ZipFile, member: str, *, calculates: bool) -> _Sheet:  # noqa: C901  # one handler an element
    """Read what calamine does not tell of a sheet. Raises _BadWorkbook where it reaches too far.

    `calculates` says that a spreadsheet program is to calculate all formulas when it opens the workbook.
    """
    sheet = _Sheet()
    row = column = 0
    kind = ""
    in_value = is_formula = has_result = False
    value: list[str] = []

    def start(name: str, given: Mapping[str, str]) -> None:
        nonlocal row, column, kind, in_value, is_formula, has_result
        if name == "row":
            row, column = int(given.get("r", row + 1)), 0
            if given.get("hidden") in ("1", "true"):
                sheet.hidden.add(row)
        elif name == "c":
            row, column = _place(given["r"]) if "r" in given else (row, column + 1)
            sheet.height, sheet.width = max(sheet.height, row), max(sheet.width, column)
            kind, is_formula, has_result = given.get("t", ""), False, False
        elif name == "mergeCell":
            first, _, last = given["ref"].partition(":")
            (top, left), (bottom, _) = _place(first), _place(last or first)
            sheet.merged.append((top, bottom, left))
        is_formula = is_formula or name == "f"
        in_value = name == "v" and (is_formula or kind == "e")

    def end(name: str) -> None:
        nonlocal in_value, has_result
        if name == "c" and is_formula and not has_result:
            sheet.uncalculated = sheet.uncalculated or (row, column)
        if name == "v" and in_value:
            result = "".join(value)
            if kind == "e":
                sheet.failed[row, column] = result or "#ERROR!"
                if result not in _ERRORS:
                    raise _BadWorkbook(
                        f"row {row}, column {column}: this formula failed with {result}; "
                        "correct it, or empty the cell"
                    )
            # A text may be empty. Programs that calculate nothing write no result, or 0 for every formula.
            has_result = kind in ("e", "str") or result not in ("", "0" if calculates else "")
        in_value = False
        value.clear()

    def text(data: str) -> None:
        if in_value:
            value.append(data)

    _parse(archive, member, start, end, text)
    if sheet.width * sheet.height > CELLS_MAX:
        raise _BadWorkbook(
            f"{member} reaches to column {sheet.width:,} and row {sheet.height:,}; "
            "delete what stands far outside the table, or save the rows as CSV"
        )
    sheet.shown = shown_in(archive, member, _parse, _place)
    sheet.shown.merge(sheet.merged, sheet.height)
    return sheet


def _place(reference: str) -> tuple[int, int]:
    match = _PLACE.fullmatch(reference.replace("$", ""))
    if match is None:
        raise ValueError(f"{reference[:20]!r} is no cell")
    column = 0
    for letter in match[1].upper():
        column = column * 26 + ord(letter) - ord("A") + 1
    return int(match[2]), column


def _rows(values: Any, sheet: _Sheet) -> Iterator[dict[str, Any]]:
    """Yield the rows that are not blank, as text, with failed formulas and merged cells written in."""
    standing: dict[int, tuple[int, str]] = {}
    merged: dict[int, list[tuple[int, int]]] = {}
    for top, bottom, left in sheet.merged:
        merged.setdefault(top, []).append((bottom, left - 1))
    failed: dict[int, list[tuple[int, str]]] = {}
    for (number, column), text in sheet.failed.items():
        failed.setdefault(number, []).append((column - 1, text))
    # calamine leaves out empty columns before the first filled one, but no rows.
    before = [""] * (values.start or (0, 0))[1]
    shown = sheet.shown.by_row()
    for number, row in enumerate(values.iter_rows(), 1):
        cells = before + [value_text(value) for value in row]
        for column, text in failed.get(number, ()):
            cells += [""] * (column + 1 - len(cells))
            cells[column] = text
        if any(map(str.strip, cells)):
            standing = {column: each for column, each in standing.items() if number <= each[0]}
            for column, (_, text) in standing.items():
                if not (column < len(cells) and cells[column].strip()):
                    cells += [""] * (column + 1 - len(cells))
                    cells[column] = text
            row_shown = shown.get(number, {})
            yield {
                "row": number,
                "hidden": number in sheet.hidden,
                "cells": _trimmed(list(cells)),
                **row_shown,
            }
        for bottom, column in merged.get(number, ()):
            if column < len(cells):
                standing[column] = (bottom, cells[column])


def _trimmed(cells: list[str]) -> list[str]:
    while cells and not cells[-1].strip():
        cells.pop()
    return cells


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX_BYTES, MEMORY_MAX_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_MAX_S, PROCESSOR_MAX_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main(*sys.argv[1:])
