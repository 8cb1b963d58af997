"""Parquet, of any column types: every value becomes the text a person would have typed."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from callsheet.errors import Problem
from manifests.columns import COLUMN
from manifests.table import (
    COLUMNS_MAX,
    ROWS_MAX,
    UNPRINTABLE,
    ReadOptions,
    Table,
    added_columns,
    named_columns,
    not_text,
    printable,
    shown,
    too_many,
    too_wide,
)

PARQUET_SUFFIXES = (".parquet", ".pq")
_ROWS_AT_ONCE = 1 << 14
CODED_FROM_ROWS = 1 << 14
CODED_BYTES_MAX = 3
"""A place takes two bytes at most where words are few; text by itself takes four for its length alone."""

PIECE_MAX_BYTES = 64 << 20
"""Text of the rows that are handed on at a time: a dictionary may hold one long text for a million rows."""

TEXT_MAX_BYTES = 2 << 30
"""Text of all rows together: a million prompts of 2,000 characters."""

_LARGE_BYTES = 1 << 30
_MOSTLY_WORDS = 0.5

_EXACT_FLOAT = 2.0**53
"""Below this a float that is whole is exactly the integer it looks like."""


_UNREADABLE = (ValueError, OverflowError, LookupError, RecursionError)
"""What Python raises for bytes that are no text, dates out of range, and time zones it does not know."""


class Damaged(Exception):
    """A file that opened well and then could not be read; `problem` says why."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem.message)


@dataclass(frozen=True, slots=True)
class ParquetFile:
    """A Parquet file that is open and whose header can be used; its `count` rows are read when asked for.

    `partition` holds the columns that its folders name (`client=acme/part.parquet`), with their values.
    """

    file: str
    folder: Path
    header: tuple[str, ...]
    columns: tuple[str, ...]
    count: int
    _reader: Any
    _coded: frozenset[int] = frozenset()
    _counted_first: tuple[str, ...] = ()
    partition: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path, file: str, options: ReadOptions, partition: Mapping[str, str]) -> Manifest:
        """Open a file; where it cannot be used, return a table without rows that says why.

        `file` is what messages call it.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        folder = options.pictures_from or path.resolve().parent
        try:
            reader = pq.ParquetFile(path, pre_buffer=False)
            schema, metadata = reader.schema_arrow, reader.metadata
            names = [name.strip() for name in schema.names]
            few, swelling = _coded_columns(metadata, schema)
            if few or swelling:
                coded = sorted(few | swelling)
                reader = pq.ParquetFile(path, read_dictionary=coded, metadata=metadata, pre_buffer=False)
        except (pa.ArrowException, OSError, ValueError) as error:
            return Table(file, folder, problems=(_not_whole(file, error),))
        added = added_columns(partition, map(options.column_of, names), options)
        header = (*names, *added)
        columns, twice = named_columns(header, options, file, 0)
        problems = [*twice, *_footer_problems(file, metadata), *_nested(file, schema, columns)]
        problems += [
            Problem(file, 0, f"column {at}", "", f"column {at} has no name")
            for at, name in enumerate(names, 1)
            if not name
        ]
        if problems:
            return Table(file, folder, header, columns, problems=tuple(problems))
        kept = frozenset(
            at for at, each in enumerate(schema) if each.name in few or pa.types.is_dictionary(each.type)
        )
        return cls(
            file, folder, header, columns, metadata.num_rows, reader, kept, tuple(swelling | few), added
        )

    def batches(self, rows: int) -> Iterator[Any]:
        """Yield Arrow record batches of at most so many rows, by our names.

        Every column holds whole numbers, true and false, or valid text, of which a batch holds at most
        `PIECE_MAX_BYTES`. Raises Damaged where the file cannot be read, naming the column if it is one.
        """
        import pyarrow as pa

        first = 1
        size = 0
        try:
            if self._counted_first:
                self._check_size()
            for batch in self._reader.iter_batches(batch_size=rows):
                for piece in _pieces(batch):
                    size = self._counted(size, piece)
                    yield self._readable(piece, first)
                    first += piece.num_rows
        except (pa.ArrowException, OSError, ValueError) as error:
            raise Damaged(_not_whole(self.file, error)) from error

    def _check_size(self) -> None:
        """Count the text of columns that may swell, before any of it is written out."""
        size = 0
        for batch in self._reader.iter_batches(batch_size=_ROWS_AT_ONCE, columns=list(self._counted_first)):
            size = self._counted(size, batch)

    def _counted(self, size: int, batch: Any) -> int:
        size += _text_bytes(batch)
        if size > TEXT_MAX_BYTES:
            message = f"its rows hold more than {TEXT_MAX_BYTES >> 20:,} MiB of text; split the file"
            raise Damaged(Problem(self.file, 0, "", "", message))
        return size

    def _readable(self, batch: Any, first: int) -> Any:
        import pyarrow as pa

        found = []
        for at, (name, column) in enumerate(zip(self.columns, batch.columns, strict=False)):
            column = _text_of_bytes(column) if name in COLUMN else column  # noqa: PLW2901
            try:
                found.append(_readable(column, coded=at in self._coded))
            except (*_UNREADABLE, pa.ArrowException) as error:
                row = first + _first_unreadable(column)
                message = f"this value cannot be read as text: {str(error).splitlines()[0]}"
                raise Damaged(Problem(self.file, row, shown(name), "", printable(message))) from error
        for value in self.partition.values():
            places = pa.repeat(pa.scalar(0, pa.int32()), batch.num_rows)
            found.append(pa.DictionaryArray.from_arrays(places, pa.array([value], pa.string())))
        return pa.RecordBatch.from_arrays(found, names=list(self.columns))

    def table(self) -> Table:
        """Read all rows as text. Missing values and NaN (pandas' word for them) become empty cells."""
        cells: list[tuple[str, ...]] = []
        problems: tuple[Problem, ...] = ()
        try:
            for batch in self.batches(_ROWS_AT_ONCE):
                texts = [[value_text(value) for value in column.to_pylist()] for column in batch.columns]
                cells += zip(*texts, strict=True)
        except Damaged as error:
            problems, cells = (error.problem,), []
        numbers = range(1, len(cells) + 1)
        return Table(self.file, self.folder, self.header, self.columns, numbers, cells, problems)


Manifest = Table | ParquetFile
"""A manifest that was read, or one that is only open: Parquet is read piece by piece where it is large."""


def _coded_columns(metadata: Any, schema: Any) -> tuple[set[str], set[str]]:
    """Return the columns of few words, and those whose words may be too long to write out for every row.

    Both are read as words and their places, as the file keeps them; the first are handed on so, where the
    groups of rows are large.
    """
    import pyarrow as pa

    texts = {each.name for each in schema if pa.types.is_string(each.type)}
    few: set[str] = set()
    sizes: dict[str, list[int]] = {}
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        is_large_group = group.num_rows >= min(CODED_FROM_ROWS, metadata.num_rows)
        for chunk in map(group.column, range(group.num_columns)):
            name = chunk.path_in_schema
            if name in texts and chunk.has_dictionary_page:
                if is_large_group and chunk.total_uncompressed_size < CODED_BYTES_MAX * chunk.num_values:
                    few.add(name)
                words = chunk.data_page_offset - (chunk.dictionary_page_offset or chunk.data_page_offset)
                sums = sizes.setdefault(name, [0, 0, 0])
                sums[0] += words
                sums[1] += chunk.total_compressed_size
                sums[2] += chunk.num_values * chunk.total_uncompressed_size
    swelling = {
        name
        for name, (words, compressed, at_worst) in sizes.items()
        if words > _MOSTLY_WORDS * compressed and at_worst > _LARGE_BYTES
    }
    return few, swelling


def _footer_problems(file: str, metadata: Any) -> Iterator[Problem]:
    """Yield what the footer says against reading the file at all."""
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    size = sum(group.total_byte_size for group in groups)
    if metadata.num_rows > ROWS_MAX:
        yield Problem(file, 0, "", f"{metadata.num_rows:,} rows", too_many(ROWS_MAX))
    elif metadata.num_columns > COLUMNS_MAX:
        yield too_wide(file, 0, metadata.num_columns)
    elif size > TEXT_MAX_BYTES:
        message = f"the file expands to more than {TEXT_MAX_BYTES:,} bytes; split it"
        yield Problem(file, 0, "", f"{size:,} bytes", message)


def _nested(file: str, schema: Any, names: tuple[str, ...]) -> Iterator[Problem]:
    """Yield the columns of ours that hold objects or lists where text belongs."""
    import pyarrow as pa

    for name, each in zip(names, schema, strict=False):
        if pa.types.is_nested(each.type):
            is_list = pa.types.is_list(each.type) or pa.types.is_large_list(each.type)
            message = not_text(name, "a list" if is_list else "an object")
            if message:
                yield Problem(file, 0, name, shown(str(each.type)), message)


def _pieces(batch: Any) -> Iterator[Any]:
    """Cut a batch until the text of each piece is small enough, or it is one row."""
    if batch.num_rows <= 1 or _text_bytes(batch) <= PIECE_MAX_BYTES:
        yield batch
        return
    half = batch.num_rows // 2
    yield from _pieces(batch.slice(0, half))
    yield from _pieces(batch.slice(half))


def _text_bytes(batch: Any) -> int:
    """Return how many bytes the texts of a batch have when they are written out for every row."""
    import pyarrow as pa
    import pyarrow.compute as pc

    size = 0
    for column in batch.columns:
        if pa.types.is_dictionary(column.type) and pa.types.is_string(column.type.value_type):
            lengths = pc.binary_length(column.dictionary).cast(pa.int64())
            size += pc.sum(lengths.take(column.indices)).as_py() or 0
        elif pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            size += pc.sum(pc.binary_length(column).cast(pa.int64())).as_py() or 0
    return size


def _readable(column: Any, *, coded: bool = False) -> Any:  # noqa: PLR0911  # one for each family of types
    """Return a column as whole numbers, true and false, or valid text; `coded` keeps words and their places.

    Raises ValueError, OverflowError, LookupError or ArrowException where a value cannot be written as text.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if isinstance(kind, pa.BaseExtensionType) and not isinstance(kind, pa.UuidType):
        return _readable(column.storage, coded=coded)
    if pa.types.is_run_end_encoded(kind):
        return _readable(pc.run_end_decode(column))
    if pa.types.is_dictionary(kind):
        if not (coded and pa.types.is_string(kind.value_type)):
            return _readable(column.dictionary_decode())
        column.dictionary.validate(full=True)
        return column
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind):
        return column
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        column.validate(full=True)
        return column.cast(pa.string())
    texts = pa.array([_scalar_text(scalar) for scalar in column], pa.string())
    texts.validate(full=True)
    return texts


def _text_of_bytes(column: Any) -> Any:
    """Return bytes as the text that they are meant to be, unchecked; any other column is unchanged."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_dictionary(kind):
        return column if pa.types.is_string(kind.value_type) else _text_of_bytes(column.dictionary_decode())
    tests = (
        pa.types.is_binary,
        pa.types.is_large_binary,
        pa.types.is_binary_view,
        pa.types.is_fixed_size_binary,
    )
    if not any(test(kind) for test in tests):
        return column
    return column.cast(pa.binary()).cast(options=pc.CastOptions(pa.string(), allow_invalid_utf8=True))


def _scalar_text(scalar: Any) -> str:
    """Write a value of any type; dates and times that Python cannot hold are their number and their type."""
    import pyarrow as pa

    try:
        return value_text(scalar.as_py())
    except _UNREADABLE:
        if not pa.types.is_temporal(scalar.type):
            raise
        return f"{scalar.value} ({scalar.type})"


def _first_unreadable(column: Any) -> int:
    """Return the place of the first value that cannot be written as text, 0 where it is not known."""
    import pyarrow as pa

    for at, scalar in enumerate(column):
        try:
            value_text(scalar.as_py())
        except (*_UNREADABLE, pa.ArrowException):
            return at
    return 0


def _not_whole(file: str, error: Exception) -> Problem:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return Problem(file, 0, "", "", printable(f"this is not a whole Parquet file: {reason}"))


def value_text(value: Any) -> str:
    """Write one value as the text a person would have typed: 5 for 5.0, true for True, "" for none."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float_text(value)
    if isinstance(value, list):
        return "\n".join(value_text(item) for item in value)
    return _other_text(value)


def _float_text(value: float) -> str:
    if math.isnan(value):
        return ""
    return str(int(value)) if value.is_integer() and abs(value) < _EXACT_FLOAT else repr(value)


def _other_text(value: Any) -> str:
    if isinstance(value, Decimal):
        # Warehouses write whole numbers as 5.000000000.
        return f"{value:.0f}" if value.is_finite() and value == value.to_integral_value() else f"{value:f}"
    if isinstance(value, dt.date | dt.time | dt.datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        text = value.decode("utf-8", "backslashreplace")
        return "".join(ascii(each)[1:-1] if UNPRINTABLE.match(each) else each for each in text)
    if isinstance(value, dict):
        return json.dumps(_plain(value), ensure_ascii=False)
    return str(value)


def _plain(value: Any) -> Any:
    """Return objects and lists with text in them, as JSON takes them."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value_text(value)
