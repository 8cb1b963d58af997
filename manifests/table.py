"""A manifest as its reader leaves it: rows of text cells, each knowing where it stands in its file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, overload

from callsheet.errors import Problem

CELL_LIMIT_BYTES = 1 << 20
"""A cell longer than 1 MiB is not a prompt, and one CSV quote forgotten makes a cell of a whole file."""

LONGEST_SHOWN = 80

# Line breaks and tabs are text; the other control characters are damage or an attack on a terminal, and a
# lone surrogate (JSON can spell one) is no text at all: it could not be written to any file of ours.
UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")

_LOGIN = re.compile(r"//[^/@\s]+@")
"""A name and password in an address: mistakes are printed, logged and mailed."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row. `cells` holds text by column name, "" where the cell is empty; `row` counts as Problem does.

    `folder` is where the manifest lies: local pictures are looked for from there.
    """

    file: str
    folder: Path
    row: int
    cells: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Grid(Sequence[tuple[int, Mapping[str, str]]]):
    """Row numbers with their cells, of which every row has as many as there are columns.

    A row becomes a mapping when it is asked for: very many are read as columns. Text that came out of UTF-8.
    """

    columns: tuple[str, ...]
    numbers: Sequence[int]
    cells: Sequence[Sequence[str]]

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[tuple[int, Mapping[str, str]]]:
        for number, cells in zip(self.numbers, self.cells, strict=True):
            yield number, dict(zip(self.columns, cells, strict=True))

    @overload
    def __getitem__(self, index: int) -> tuple[int, Mapping[str, str]]: ...
    @overload
    def __getitem__(self, index: slice) -> Grid: ...
    def __getitem__(self, index: int | slice) -> tuple[int, Mapping[str, str]] | Grid:
        if isinstance(index, slice):
            return Grid(self.columns, self.numbers[index], self.cells[index])
        return self.numbers[index], dict(zip(self.columns, self.cells[index], strict=True))


@dataclass(frozen=True, slots=True)
class Rows(Sequence[Row]):
    """The rows of one file, made of its records as they are asked for."""

    file: str
    folder: Path
    records: Sequence[tuple[int, Mapping[str, str]]]

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Row]:
        for number, cells in self.records:
            yield Row(self.file, self.folder, number, cells)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Rows: ...
    def __getitem__(self, index: int | slice) -> Row | Rows:
        if isinstance(index, slice):
            return Rows(self.file, self.folder, self.records[index])
        return Row(self.file, self.folder, *self.records[index])


@dataclass(frozen=True, slots=True)
class Table:
    """Everything one manifest file holds. `problems` are those of the file itself, not of its values."""

    file: str
    folder: Path
    columns: tuple[str, ...]
    rows: Rows
    problems: tuple[Problem, ...] = ()

    @property
    def count(self) -> int:
        """How many rows there are."""
        return len(self.rows)


class Flaw(NamedTuple):
    """What a reader could not read: a Problem that does not know its file yet."""

    row: int
    column: str
    found: str
    message: str


@dataclass(frozen=True, slots=True)
class Records:
    """What one format's reader found: the columns, row numbers with their cells, and the flaws."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[int, Mapping[str, str]]]
    flaws: tuple[Flaw, ...] = ()


def shown(text: str) -> str:
    """Return text fit for a message: short, and with nothing a terminal would obey."""
    text = _LOGIN.sub("//[hidden]@", text)
    short = text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}… ({len(text):,} characters)"
    return printable(short)


def printable(text: str) -> str:
    """Return text with everything written out that a terminal would obey or hide."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def header_flaws(columns: tuple[str, ...], row: int) -> list[Flaw]:
    """Name columns without a name and names that stand twice; `row` is where the header stands."""
    unnamed = [
        Flaw(row, "", f"column {at}", "this column has no name in the header; name it or remove it")
        for at, name in enumerate(columns, 1)
        if not name
    ]
    first: dict[str, int] = {}
    twice = [
        Flaw(row, name, f"columns {first[name]} and {at}", "two columns have this name; rename or remove one")
        for at, name in enumerate(columns, 1)
        if name and first.setdefault(name, at) != at
    ]
    return unnamed + twice
