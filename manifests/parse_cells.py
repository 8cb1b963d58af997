"""Reading one cell: what it means, and what is wrong with it. The forms are in `manifests.spellings`."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from manifests.addresses import NEXT_ADDRESS
from manifests.campaign import Template
from manifests.columns import (
    MEDIA_WORDS,
    PICTURE_COLUMNS,
    Choice,
    Column,
    FileName,
    Flag,
    Frames,
    ModelName,
    Pictures,
    Seconds,
    Text,
    Whole,
)
from manifests.images import BadPicture, PictureFinder
from manifests.job import Image
from manifests.names import UNSAFE, is_safe, without_suffix
from manifests.problems import Problems
from manifests.spellings import (
    choice,
    flag,
    is_blank,
    is_failed_formula,
    is_odd,
    two_numbers,
    whole_number,
    whole_seconds,
)
from manifests.table import UNPRINTABLE, Row
from pricing.catalog import AUTO, Catalog, Endpoint
from pricing.units import FRAME_GRID_OFFSET, FRAME_GRID_STEP

_BETWEEN_ADDRESSES = re.compile(r"\s*(?:\n|\s\|\s|;\s*(?=https?://|data:)|;\s*$)\s*")
_BETWEEN_PATHS = re.compile(r"\s*(?:\n|\s\|\s|;)\s*")
_NEXT_ADDRESS = re.compile(NEXT_ADDRESS)


def picture_list(text: str) -> list[str]:
    """Split a cell of several files: a JSON list, or parts between line breaks, ` | ` or `;`.

    Empty parts are dropped. A `;` within an address is part of it: it separates only before another address,
    or where all parts are paths. Raises ValueError for what begins like a JSON list and is none of texts.
    """
    text = text.strip()
    if text.startswith("["):
        parts = json.loads(text)
        if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
            raise ValueError("not a list of texts")
        return [part.strip() for part in parts if part.strip()]
    has_addresses = "://" in text or "data:" in text
    between = _BETWEEN_ADDRESSES if has_addresses else _BETWEEN_PATHS
    return [part for part in between.split(text) if part]


@dataclass(frozen=True, slots=True)
class Context:
    """What rows are checked against; `naming` makes the file names of rows that bring none."""

    catalog: Catalog
    pictures: PictureFinder
    naming: Template | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """One row being read. `endpoints` is one, or more where the row names none: any may allow a value."""

    row: Row
    context: Context
    notes: Problems
    endpoints: tuple[Endpoint, ...]

    def text(self, column: Column) -> str:
        """Return the row's cell in a column, without spaces around it."""
        return self.row.cells.get(column.name, "").strip()

    def wrong(self, column: Column, message: str) -> None:
        """Note a mistake in a column."""
        self.notes.wrong(self.row, column.name, message)

    def allowed(self, field: str) -> tuple[Any, ...]:
        """Return every value that the endpoint lists in that field, in the catalog's order."""
        return tuple(
            dict.fromkeys(value for endpoint in self.endpoints for value in getattr(endpoint, field))
        )

    def having(self, field: str) -> str:
        """Return the models that have something, for a message: those that do the same, or else all."""
        having = [each for each in self.context.catalog.endpoints.values() if getattr(each, field)]
        tasks = {endpoint.task for endpoint in self.endpoints}
        return ", ".join(dict.fromkeys(e.model for e in [e for e in having if e.task in tasks] or having))

    def lacks(self, field: str) -> bool:
        """Whether no endpoint has what a field says; False without a field, or without endpoints."""
        return bool(field and self.endpoints) and not any(getattr(each, field) for each in self.endpoints)

    @property
    def needs_no_prompt(self) -> bool:
        """Whether the row's pictures or videos are enough for the model."""
        has_files = any(self.row.cells.get(name, "").strip() for name in PICTURE_COLUMNS)
        return has_files and bool(self.endpoints) and all(each.prompt_optional for each in self.endpoints)

    @property
    def name(self) -> str:
        """The endpoint for a message: the model's alias and the task, as ids are too long to type."""
        if len({endpoint.model for endpoint in self.endpoints}) > 1:
            return "any model"
        first = self.endpoints[0]
        return f"{first.model} {first.task}" if len(self.endpoints) == 1 else first.model


def read_cell(reading: Reading, column: Column) -> Any:
    """Return what a cell means, None where it says nothing; mistakes and warnings are noted."""
    # A model is checked before the other columns, and a picture is looked for, whatever it is called.
    if not isinstance(column.kind, ModelName | Pictures) and is_failed_formula(reading.text(column)):
        reading.wrong(column, "this formula failed in the spreadsheet; correct it, or empty the cell")
        return "" if isinstance(column.kind, Text | FileName) else None
    return _READERS[type(column.kind)](reading, column, column.kind)


def _read_text(reading: Reading, column: Column, kind: Text) -> str:
    text = reading.text(column)
    if column.required and is_blank(text):
        text = ""
        if column.name in reading.row.cells and not reading.needs_no_prompt:
            reading.wrong(column, "this cell must not be empty")
    elif len(text) > kind.max_chars:
        reading.wrong(column, f"at most {kind.max_chars:,} characters are allowed, here are {len(text):,}")
    elif not kind.lines and not text.isprintable():
        reading.wrong(column, "line breaks, tabs and invisible characters are not allowed here")
    elif is_odd(text, prompt=column.required):
        instead = "write the text" if column.required else "empty the cell"
        reading.wrong(column, f"this is a program's word for an empty cell, not a {column.name}; {instead}")
    return text


def _read_file_name(reading: Reading, column: Column, _kind: FileName) -> str:
    text = unicodedata.normalize("NFC", without_suffix(reading.text(column)))
    if text and not is_safe(text):
        reading.wrong(column, UNSAFE)
    return text


def _read_model(reading: Reading, column: Column, _kind: ModelName) -> None:
    """Warn of a deprecated model. It was read first (`manifests.validate`), as the other columns need it."""
    if len(reading.endpoints) == 1 and (instead := reading.endpoints[0].deprecated):
        message = f"{reading.endpoints[0].model} is deprecated at fal and may be gone any day; take {instead}"
        reading.notes.warn(reading.row, column.name, message)


def _read_choice(reading: Reading, column: Column, kind: Choice) -> str | None:
    allowed = reading.allowed(kind.allowed)
    text = choice(reading.text(column), allowed)
    if not text:
        return str(getattr(reading.endpoints[0], kind.default)) if kind.default else None
    text = next((each for each in allowed if each.lower() == text), text)
    if not allowed:
        takers = reading.having(kind.allowed)
        reading.wrong(column, f"{reading.name} takes no {column.name}; these do: {takers}")
    elif text not in allowed:
        reading.wrong(column, f"{reading.name} allows {', '.join(allowed)}")
    return text


def _read_seconds(reading: Reading, column: Column, _kind: Seconds) -> int | None:
    text = reading.text(column)
    seconds = whole_seconds(text)
    allowed = reading.allowed("durations_s")
    may_be_auto = any(endpoint.auto_duration for endpoint in reading.endpoints)
    if text and seconds not in allowed and not (may_be_auto and text.lower() == AUTO):
        reading.wrong(column, f"{reading.name} allows {'auto, ' * may_be_auto}{_in_words(allowed)}")
    if seconds is not None or len(reading.endpoints) > 1:
        return seconds
    if may_be_auto:
        message = f"the model chooses the length, so the price of {max(allowed)} s is reserved; give seconds"
        reading.notes.warn(reading.row, column.name, message)
    return reading.endpoints[0].default_duration_s


def _in_words(seconds: tuple[int, ...]) -> str:
    """Say which durations are allowed."""
    low, high = min(seconds), max(seconds)
    if len(seconds) == high - low + 1:
        return f"whole seconds from {low} to {high}, like 5 or 5s"
    return f"{', '.join(map(str, sorted(seconds)))} seconds"


def _read_whole(reading: Reading, column: Column, kind: Whole) -> int | None:
    text = reading.text(column)
    if not text:
        return kind.default
    number = whole_number(text)
    if number is None or not kind.low <= number <= kind.high:
        reading.wrong(column, _not_whole(text, kind.low, kind.high))
        return number
    number = None if number == kind.same_as_empty else number
    where = kind.where
    if number is not None and reading.lacks(where):
        reading.wrong(
            column,
            f"{reading.name} takes no {column.name}; leave it empty, and set take to tell variants apart. "
            f"With {column.name}: {reading.having(where)}",
        )
    return number


def _not_whole(text: str, low: int, high: int) -> str:
    return two_numbers(text) or f"a whole number from {low} to {high} is allowed"


def _read_frames(reading: Reading, column: Column, _kind: Frames) -> int | None:
    text = reading.text(column)
    if not text:
        return None
    bounds = [endpoint.num_frames for endpoint in reading.endpoints if endpoint.num_frames is not None]
    number = whole_number(text)
    if not bounds:
        reading.wrong(column, f"{reading.name} takes no {column.name}; give duration")
    elif number is None or not any(low <= number <= high for low, high in bounds):
        reading.wrong(column, _not_whole(text, *bounds[0]))
    elif (number - FRAME_GRID_OFFSET) % FRAME_GRID_STEP:
        message = (
            f"Seedance counts frames as {FRAME_GRID_OFFSET} + {FRAME_GRID_STEP} x n; fal may choose another"
        )
        reading.notes.warn(reading.row, column.name, message)
    return number


def _read_flag(reading: Reading, column: Column, kind: Flag) -> bool | None:
    text = reading.text(column)
    value = flag(text) if text else None
    if text and value is None:
        reading.wrong(column, "allowed are true and false (or yes and no, 1 and 0)")
    where = kind.where
    if reading.lacks(where):
        if value not in (None, kind.elsewhere):
            lacks = "makes no sound; with sound" if where == "audio" else f"takes no {column.name}; these do"
            reading.wrong(column, f"{reading.name} {lacks}: {reading.having(where)}")
        return None
    return kind.default if value is None else value


def _read_pictures(reading: Reading, column: Column, kind: Pictures) -> tuple[Image, ...]:
    text = reading.text(column)
    if not text or UNPRINTABLE.search(text):
        return ()
    try:
        parts = picture_list(text) if kind.bounds else [text]
    except ValueError:
        reading.wrong(column, 'this is not a JSON list of texts, like ["a.png", "b.png"]')
        return ()
    _check_they_go_here(reading, column, kind, len(parts))
    found = []
    for part in parts:
        if _NEXT_ADDRESS.search(part):
            one = "separate files with ';'" if kind.bounds else "one is allowed"
            reading.wrong(column, f"here are several addresses; {one}")
            continue
        try:
            image = reading.context.pictures.find(part, reading.row.folder, kind.media)
        except BadPicture as error:
            reading.wrong(column, _NO_PICTURE if is_failed_formula(part) else str(error))
            continue
        found.append(image)
        doubt = reading.context.pictures.doubt(image)
        if doubt:
            reading.notes.warn(reading.row, column.name, doubt, found=image.identity)
    return tuple(found)


_NO_PICTURE = (
    "this formula failed in the spreadsheet, or the picture is placed in the cell; "
    "put the file's address or name there instead"
)


def _check_they_go_here(reading: Reading, column: Column, kind: Pictures, count: int) -> None:
    if reading.lacks(kind.where):
        reading.wrong(
            column, f"{reading.name} takes no {column.name}; these do: {reading.having(kind.where)}"
        )
    bounds = [b for e in reading.endpoints if kind.bounds and (b := getattr(e, kind.bounds)) is not None]
    if bounds and not any(low <= count <= high for low, high in bounds):
        what = MEDIA_WORDS[kind.media]
        reading.wrong(column, f"here are {count} {what}s; {bounds[0][0]} to {bounds[0][1]} are allowed")


_READERS: dict[type, Callable[[Reading, Column, Any], Any]] = {
    Text: _read_text,
    FileName: _read_file_name,
    ModelName: _read_model,
    Choice: _read_choice,
    Seconds: _read_seconds,
    Whole: _read_whole,
    Frames: _read_frames,
    Flag: _read_flag,
    Pictures: _read_pictures,
}
