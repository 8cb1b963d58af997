"""A manifest as its reader leaves it: rows of text cells under our names of the columns."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

from callsheet.errors import Problem, without_login
from callsheet.wording import listed, number_of
from manifests.columns import COLUMN, FileName, Text, canonical

CELL_LIMIT_BYTES = 1 << 20
"""A cell longer than 1 MiB is not a prompt, and one CSV quote forgotten makes a cell of a whole file."""

LONGEST_SHOWN = 80
ROWS_MAX = 1_000_000
"""Rows of one manifest file, and jobs that a matrix may make of all of them."""

COLUMNS_MAX = 16_384
"""As many as a sheet of Excel has."""

CELLS_MAX = 20_000_000
HEADER_ROWS = 10
"""A header below a title is looked for in so many rows."""

MAX_BYTES = 256 << 20
"""The largest CSV or JSONL file that is read unless a setting says otherwise: it is held in memory whole."""

# Line breaks and tabs are text; the other control characters are damage or an attack on a terminal.
UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


class WrittenNumber(str):
    """A number as its file has it: nothing is converted before the rule of its column or key bounds it."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How manifests are read.

    `renamed` maps headers to our names of columns. `header_row` is where the header stands in CSV and XLSX,
    counted from 1; None looks for it. `skip_hidden` leaves out hidden and filtered rows of a workbook.
    `allow_private` allows addresses inside the network. `max_bytes` bounds CSV and JSONL files. The local
    pictures of a Parquet file are looked for from `pictures_from`; None is where it lies.
    """

    renamed: Mapping[str, str] = field(default_factory=dict)
    header_row: int | None = None
    skip_hidden: bool = False
    allow_private: bool = False
    max_bytes: int = MAX_BYTES
    pictures_from: Path | None = None

    def column_of(self, header: str) -> str:
        """Return our name for a header."""
        return self.renamed.get(header) or canonical(header)

    def known(self, cells: Iterable[str]) -> int:
        """Return how many columns that are ours or renamed these cells would be the headers of."""
        names = {cell.strip() for cell in cells}
        return len(
            {self.column_of(name) for name in names if name in self.renamed or canonical(name) in COLUMN}
        )


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
class Table:
    """Everything one manifest file holds.

    `header` holds the columns' names in the file, `columns` ours. `numbers` and `cells` have one entry a row;
    a row has a cell for every column. `problems` and `warnings` are those of the file, not of its values.
    `campaign` is whose the rows are, where a run wrote the file; "" for any other.
    """

    file: str
    folder: Path
    header: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    numbers: Sequence[int] = ()
    cells: Sequence[Sequence[str]] = ()
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    campaign: str = ""

    @property
    def count(self) -> int:
        """How many rows there are."""
        return len(self.numbers)

    def rows(self) -> Iterator[Row]:
        """Yield every row."""
        for number, cells in zip(self.numbers, self.cells, strict=True):
            yield Row(self.file, self.folder, number, dict(zip(self.columns, cells, strict=True)))


@dataclass(slots=True)
class Sheet:
    """Rows of cells as a spreadsheet shows them, blank ones left out; the reader fills in what it finds.

    `rows` are numbered from 1. `padded` says that cells may be missing at a row's end. `hidden` gathers the
    numbers of hidden rows, `above` those of a title that only one header below it tells from a shot, and
    `problems` what could not be read, while the rows are taken.
    """

    file: str
    folder: Path
    rows: Iterator[tuple[int, list[str]]]
    padded: bool = False
    hidden: set[int] = field(default_factory=set)
    above: list[int] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def wrong(self, row: int, column: str, found: str, message: str) -> None:
        """Note something that cannot be read."""
        self.problems.append(Problem(self.file, row, shown(column), shown(found), printable(message)))

    def table(self, options: ReadOptions) -> Table:
        """Find the header and name the columns; rows under a header that cannot be used are left out."""
        at, header, below = self._header(options)
        numbers: list[int] = []
        cells: list[list[str]] = []
        left_out = 0
        prompt = next(
            (place for place, name in enumerate(header) if options.column_of(name) == "prompt"), None
        )
        for number, row in below:
            if options.skip_hidden and number in self.hidden:
                left_out += 1
                continue
            if len(numbers) == ROWS_MAX or len(numbers) * len(header) > CELLS_MAX:
                self.wrong(number, "", "", too_many(CELLS_MAX // max(len(header), 1)))
                return Table(self.file, self.folder, problems=tuple(self.problems))
            if self._fits(number, row, header) and not _is_unticked(row, prompt):
                numbers.append(number)
                cells.append(row)
        for each in cells:
            each.extend([""] * (len(header) - len(each)))
        self.complete([options.column_of(name) for name in header], numbers, cells)
        kept = self._named(at, header, numbers, cells)
        if len(kept) < len(header):
            cells = [[row[place] for place in kept] for row in cells]
            header = [header[place] for place in kept]
        if len(header) > COLUMNS_MAX:
            return Table(
                self.file, self.folder, problems=(*self.problems, too_wide(self.file, at, len(header)))
            )
        columns, twice = named_columns(header, options, self.file, at)
        problems = (*self.problems, *twice)
        if any(problem.row == at for problem in problems) and at:
            numbers, cells = [], []
        hidden = [] if left_out else [number for number in numbers if number in self.hidden]
        warnings = [_hidden_warning(self.file, hidden)] if hidden else []
        warnings += [_title_warning(self.file, self.above, at)] if self.above else []
        return Table(
            self.file, self.folder, tuple(header), columns, numbers, cells, problems, tuple(warnings)
        )

    def complete(self, columns: Sequence[str], numbers: Sequence[int], cells: Sequence[list[str]]) -> None:
        """Change cells by what else a reader knows of them; `columns` are our names of all columns."""

    def _header(self, options: ReadOptions) -> tuple[int, list[str], Iterator[tuple[int, list[str]]]]:
        """Return where the header stands, its cells, and the rows below it."""
        first: list[tuple[int, list[str]]] = []
        last = options.header_row or HEADER_ROWS
        for number, row in self.rows:
            first.append((number, row))
            if number >= last:
                break
        if options.header_row is not None:
            which = next((at for at, (number, _) in enumerate(first) if number == options.header_row), None)
            if which is None:
                if not self.problems:
                    self.wrong(options.header_row, "", "", "header_row names this row, and it is empty")
                return 0, [], iter(())
        else:
            which, is_sure = _header_among([row for _, row in first], options)
            if not is_sure:
                self.above = [number for number, _ in first[:which]]
        if not first:
            return 0, [], iter(())
        at, cells = first[which]
        return at, [cell.strip() for cell in cells], itertools.chain(first[which + 1 :], self.rows)

    def _fits(self, number: int, row: list[str], header: list[str]) -> bool:
        """Whether a row has the cells that the header asks for; what is blank behind them is cut off."""
        if len(row) > len(header):
            if not any(map(str.strip, row[len(header) :])):
                del row[len(header) :]
            elif self.padded:
                header += [""] * (len(row) - len(header))
            else:
                self.wrong(number, "", number_of(len(row), "cell"), _ragged(len(header)))
                return False
        if len(row) < len(header) and not self.padded and any(header[len(row) :]):
            self.wrong(number, "", number_of(len(row), "cell"), _ragged(len(header)))
            return False
        return True

    def _named(self, at: int, header: list[str], numbers: Sequence[int], cells: list[list[str]]) -> list[int]:
        """Return the places of the columns that have a name.

        One without a name must be empty, or number the rows as pandas does.
        """
        nameless = [place for place, name in enumerate(header) if not name]
        filled = [place for place in nameless if any(row[place].strip() for row in cells)]
        if filled == [0] and _counts(row[0] for row in cells):
            filled = []
        if filled:
            what = f"column{'s' if len(filled) > 1 else ''} {listed([place + 1 for place in filled])}"
            has = "have" if len(filled) > 1 else "has"
            message = f"{what} {has} no header. Is the header further down? Set header_row."
            number, text = next(
                (number, row[filled[0]].strip())
                for number, row in zip(numbers, cells, strict=True)
                if row[filled[0]].strip()
            )
            found = f"{what}; the first text in it is in row {number}: {text[:LONGEST_SHOWN]}"
            self.wrong(at, "", found, message[0].upper() + message[1:])
        return [place for place, name in enumerate(header) if name]


def _header_among(rows: Sequence[Sequence[str]], options: ReadOptions) -> tuple[int, bool]:
    """Return which of the first rows is the header, and whether at least two names or its place show that.

    Below a title of single cells, a header of ours may be the prompt's alone.
    """
    known = [options.known(row) for row in rows]
    if not known or known[0] >= 2:
        return 0, True
    if max(known) >= 2:
        return known.index(max(known)), True
    title = takewhile(lambda row: options.known(row) == 0 and sum(map(bool, map(str.strip, row))) == 1, rows)
    at = sum(1 for _ in title)
    has_prompt = at < len(rows) and "prompt" in (options.column_of(cell.strip()) for cell in rows[at])
    return (at, False) if at and has_prompt else (0, True)


def _counts(cells: Iterable[str]) -> bool:
    """Say whether cells are 0, 1, 2 and so on: the index of a DataFrame, which pandas writes unnamed."""
    return all(cell.strip() == str(number) for number, cell in enumerate(cells))


def _is_unticked(row: Sequence[str], prompt: int | None) -> bool:
    """Say whether nothing is in a row but boxes that are not ticked, which Google Sheets fills down.

    `prompt` is the place of the prompt; without one a row of them may be a job.
    """
    if prompt is None or (prompt < len(row) and row[prompt].strip()):
        return False
    return {cell.strip().lower() for cell in row} - {""} == {"false"}


def named_columns(
    header: Sequence[str], options: ReadOptions, file: str, row: int
) -> tuple[tuple[str, ...], tuple[Problem, ...]]:
    """Return our names for the columns of a file whose header stands in `row`, and what is wrong with them.

    Two must not claim one column of ours.
    """
    names = tuple(map(options.column_of, header))
    places: dict[str, int] = {}
    problems = [
        Problem(file, row, shown(name), f"columns {first + 1} and {at + 1}", two_claim(header[first], theirs))
        for at, (name, theirs) in enumerate(zip(names, header, strict=True))
        if (first := places.setdefault(name, at)) != at
    ]
    return names, tuple(problems)


def added_columns(
    partition: Mapping[str, str], columns: Iterable[str], options: ReadOptions
) -> dict[str, str]:
    """Return the columns of a file's folders that the file itself has not; it has `columns`, by our names."""
    there = set(columns)
    return {key: value for key, value in partition.items() if options.column_of(key) not in there}


def two_claim(one: str, other: str) -> str:
    """Say that two columns have the same name."""
    if one == other:
        return "two columns have this name; rename or remove one"
    return f"{shown(one)!r} and {shown(other)!r} are the same column; rename or remove one"


def not_text(column: str, what: str) -> str:
    """Return what is wrong with a nested value in a column, "" where it may stand there."""
    kind = getattr(COLUMN.get(column), "kind", None)
    return f"this is {what}, not text" if isinstance(kind, Text | FileName) else ""


def too_many(rows: int) -> str:
    """Say how many rows are allowed."""
    return f"a manifest may have at most {min(rows, ROWS_MAX):,} rows like these; split the file"


def too_wide(file: str, row: int, columns: int) -> Problem:
    """Say how many columns are allowed."""
    return Problem(file, row, "", f"{columns:,} columns", f"at most {COLUMNS_MAX:,} are allowed")


def shown(text: str) -> str:
    """Return text fit for a message: short, no secret of an address, nothing that a terminal would obey."""
    text = without_login(text)
    if "://" in text:  # what follows a question mark may be a signature
        text = re.sub(r"(?<=\?)\S+", "[hidden]", text)
    short = text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}… ({len(text):,} characters)"
    return printable(short)


def printable(text: str) -> str:
    """Return text with everything written out that a terminal would obey or hide."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _ragged(width: int) -> str:
    return f"the header has {width}; is a separator or a quote missing?"


def _hidden_warning(file: str, hidden: Sequence[int]) -> Problem:
    rows = f"row {hidden[0]} is" if len(hidden) == 1 else f"{len(hidden):,} rows ({listed(hidden)}) are"
    message = f"{rows} hidden or filtered out, and planned like the others; --skip-hidden leaves them out"
    return Problem(file, hidden[0], "", "", message)


def _title_warning(file: str, above: Sequence[int], at: int) -> Problem:
    rows = f"rows {listed(above)} are " if len(above) > 1 else ""
    message = f"{rows}left out as the title above the header in row {at}"
    return Problem(file, above[0], "", "", message)
