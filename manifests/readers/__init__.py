"""Which reader a manifest needs, by its name and its first bytes. Rows in memory become a Parquet file."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from itertools import dropwhile
from pathlib import Path, PurePath, PurePosixPath
from typing import Any
from urllib.parse import unquote

from callsheet.errors import UsageError
from callsheet.files import naming_full_disk
from manifests.campaign import NAME_MAX_CHARS, is_name
from manifests.error_file import CAMPAIGN_COLUMN, without_marks
from manifests.readers.csv import read_csv
from manifests.readers.jsonl import read_jsonl
from manifests.readers.parquet import PARQUET_SUFFIXES, Manifest, ParquetFile, value_text
from manifests.readers.remote import fetched, is_remote
from manifests.readers.xlsx import read_xlsx
from manifests.table import ReadOptions, Table, added_columns, named_columns, printable, shown

_PARQUET, _XLSX = b"PAR1", b"PK\x03\x04"
_OLD_WORKBOOK = b"\xd0\xcf\x11\xe0"
XLSX_MAX_BYTES = 128 << 20
_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
_LOCK = "~$"
"""What Excel puts before the name of the file that it keeps beside an open workbook."""

_NO_PARTITION = "__HIVE_DEFAULT_PARTITION__"
"""How Hive and Spark name the folder of rows without a value."""


def open_manifests(pattern: str, folder: Path, options: ReadOptions) -> list[Manifest]:
    """Open the manifest, or every manifest that a glob pattern or a folder names, in the order of names.

    `pattern` is an address, or a path relative to `folder`; `#name` behind a workbook names one of its
    sheets; a folder stands for the Parquet files in it. Raises UsageError when there is no such file.
    """
    if is_remote(pattern):
        with fetched(pattern, allow_private=options.allow_private) as found:
            return [_open(each.path, options, name=each.name) for each in found]
    return [_open(path, options, sheet=sheet) for path, sheet in local_files(pattern, folder)]


def local_files(pattern: str, folder: Path) -> list[tuple[Path, str]]:
    """Return the files that a path names, each with the sheet that is meant, "" for none.

    Raises UsageError where there are none.
    """
    plain = folder / pattern
    try:
        if plain.is_file():
            return [(plain, "")]
        if plain.is_dir():
            return [(path, "") for path in _parquet_files(plain)]
        if (book := _book_of(str(plain))) is not None:
            return [book]
        paths = _matching(str(plain))
        if not paths:
            raise UsageError(_why_none(plain))
    except OSError as error:
        raise UsageError(f"cannot read {shown(error.filename or str(plain))}: {error.strerror}") from error
    return [(path, "") for path in paths]


def _book_of(place: str) -> tuple[Path, str] | None:
    """Return the file and the sheet that `book.xlsx#Sheet` names; either may have a `#` in its name."""
    for at in (at for at, char in enumerate(place) if char == "#"):
        if Path(place[:at]).is_file():
            return Path(place[:at]), place[at + 1 :]
    return None


def _matching(pattern: str) -> list[Path]:
    """Return the files of a pattern."""
    paths = map(Path, sorted(_places(pattern)))
    return _once(path for path in paths if path.is_file() and not path.name.startswith(_LOCK))


def _once(paths: Iterable[Path]) -> list[Path]:
    """Return the files; one that is found again behind a link is one file."""
    found: dict[tuple[Path, str], Path] = {}
    for path in paths:
        found.setdefault((path.resolve(), str(partition_of(str(path)))), path)
    return list(found.values())


def _places(pattern: str) -> Iterator[str]:
    """Yield what a pattern names. `**` enters each folder once: links may lead back to it."""
    parts = Path(pattern).parts
    if "**" not in parts:
        # Path.glob takes no absolute pattern; a campaign may name one.
        yield from glob.glob(pattern)  # noqa: PTH207
        return
    at = parts.index("**")
    rest = list(dropwhile("**".__eq__, parts[at:])) or ["*"]
    seen: set[tuple[int, int, str]] = set()
    for top in sorted(_places(str(Path(*parts[:at])))) if at else ["."]:
        for folder in _folders(Path(top), seen, frozenset()):
            yield from _places(str(Path(glob.escape(str(folder)), *rest)))


def _folders(
    folder: Path, seen: set[tuple[int, int, str]], above: frozenset[tuple[int, int]]
) -> Iterator[Path]:
    """Yield a folder and those below it, also behind links, but none inside itself or twice.

    `seen` are those so far, with the columns that their paths name; `above` are those that hold this one.
    """
    try:
        stat = folder.stat()
        names = sorted(each.name for each in folder.iterdir() if each.is_dir())
    except OSError:  # as glob does: what cannot be read matches nothing
        return
    folder_id = (stat.st_dev, stat.st_ino)
    key = (*folder_id, str(partition_of(str(folder / "_"))))
    if folder_id in above or key in seen:
        return
    seen.add(key)
    yield folder
    for name in names:
        if not name.startswith("."):
            yield from _folders(folder / name, seen, above | {folder_id})


def _parquet_files(folder: Path) -> list[Path]:
    """Return the Parquet files in a folder and below; names that begin with `_` or `.` are not data.

    Raises OSError for a folder that cannot be read: its rows would be missing without a word.
    """

    def refuse(error: OSError) -> None:
        raise error

    paths = sorted(
        path
        for parent, folders, names in os.walk(folder, onerror=refuse)
        for path in (Path(parent, name) for name in _data(folders, names))
        if path.suffix.lower() in PARQUET_SUFFIXES and path.is_file()
    )
    if not paths:
        raise UsageError(
            f"{folder} is a folder without Parquet files; name the manifest in it "
            f'(in a campaign file also "{folder / "*.csv"}")'
        )
    return _once(paths)


def _data(folders: list[str], names: list[str]) -> list[str]:
    """Return the names that may be data; the folders that are not are taken off the list."""
    no_data = ("_", ".", _LOCK)
    folders[:] = [name for name in folders if not name.startswith(no_data)]
    return [name for name in names if not name.startswith(no_data)]


def _why_none(path: Path) -> str:
    """Say why a path names no manifest, and what would."""
    if path.exists():
        return f"{path} is no regular file; write the rows to a CSV, Parquet, JSONL or XLSX file first"
    return f"there is no manifest {path}; give a CSV, Parquet, JSONL or XLSX file"


def _open(path: Path, options: ReadOptions, *, name: str = "", sheet: str = "") -> Manifest:
    """Open one manifest file; messages call it `name`. Raises UsageError where it cannot be read at all."""
    opened = _opened(path, options, name or str(path), sheet)
    return without_marks(as_table(opened)) if CAMPAIGN_COLUMN in opened.header else opened


def _opened(path: Path, options: ReadOptions, file: str, sheet: str) -> Manifest:
    refuse_bytes(file)
    partition = partition_of(file)
    if path.name.startswith(_LOCK):
        raise UsageError(
            f"{file} is the lock file that Excel keeps while {path.name[len(_LOCK) :]} is open; "
            "name the workbook itself"
        )
    try:
        with path.open("rb") as opened:
            start = opened.read(len(_XLSX))
        if start == _PARQUET:
            _refuse_header_row(options, file, "Parquet")
            return ParquetFile.open(path, file, options, partition)
        limit = XLSX_MAX_BYTES if start == _XLSX else options.max_bytes
        size = path.stat().st_size
        if size > limit:
            raise UsageError(_too_large(file, size, limit, is_text=start != _XLSX))
        if start == _XLSX:
            return _in_folders(read_xlsx(path, sheet, file, options), partition, options)
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from error
    if sheet:
        raise UsageError(f"{file} is no workbook, so it has no sheet {shown(sheet)}")
    folder = path.resolve().parent
    if _format_of(path, content, file) == "csv":
        return _in_folders(read_csv(content, file, folder, options), partition, options)
    _refuse_header_row(options, file, "JSONL")
    return _in_folders(read_jsonl(content, file, folder, options), partition, options)


def refuse_bytes(name: str) -> None:
    """Raise UsageError for a file name that is no text: no plan and no ledger could hold it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UsageError(f"the name {printable(name)} is not UTF-8; rename the file or its folder") from None


def _in_folders(table: Table, partition: Mapping[str, str], options: ReadOptions) -> Table:
    """Return a table with the columns that its folders name."""
    added = added_columns(partition, table.columns, options)
    if not added or not table.header or table.problems:
        return table
    header = (*table.header, *added)
    columns, problems = named_columns(header, options, table.file, 0)
    cells = [[*row, *added.values()] for row in table.cells]
    return replace(table, header=header, columns=columns, cells=cells, problems=problems)


def as_table(manifest: Manifest) -> Table:
    """Return a manifest whole."""
    return manifest if isinstance(manifest, Table) else manifest.table()


def partition_of(name: str) -> dict[str, str]:
    """Return the columns that the folders of a path name, as Hive writes them: `client=acme/part.parquet`."""
    pairs = (part.partition("=") for part in PurePosixPath(name).parts[:-1])
    return {
        unquote(key): "" if value == _NO_PARTITION else unquote(value)
        for key, equals, value in pairs
        if key and equals
    }


def _refuse_header_row(options: ReadOptions, file: str, kind: str) -> None:
    if options.header_row is not None:
        raise UsageError(f"{file} is {kind} and has no header row; leave header_row out")


def _too_large(file: str, size: int, limit: int, *, is_text: bool) -> str:
    raise_it = ", or raise CALLSHEET_MANIFEST_MAX_MB" if is_text else ""
    return (
        f"{file} has {size >> 20:,} MiB, and at most {limit >> 20:,} MiB are read in this format; "
        f"make it a Parquet file{raise_it}"
    )


def _format_of(path: Path, content: bytes, name: str) -> str:
    """Let the content decide where it is unmistakable, then the name."""
    if content.startswith(_OLD_WORKBOOK):
        raise UsageError(
            f"{name} is an old workbook (.xls) or one with a password; save it as .xlsx without one"
        )
    if content.startswith(b"\x1f\x8b"):
        raise UsageError(f"{name} is compressed; unpack it first")
    suffix = path.suffix.lower()
    if suffix in PARQUET_SUFFIXES:
        raise UsageError(f"{name} is not a Parquet file: it does not begin like one; write it again")
    if suffix in (".xlsx", ".xlsm"):
        raise UsageError(f"{name} is not an XLSX workbook: it does not begin like one; save it again")
    start = content[:64].removeprefix(b"\xef\xbb\xbf").lstrip(b"\xff\xfe\0 \t\r\n")[:1]
    return _SUFFIXES.get(suffix, "jsonl" if start == b"{" else "csv")


def written_rows(rows: Any, name: str, folder: Path) -> Path:
    """Write rows to `<name>.parquet` in a folder.

    They are a pyarrow Table, a DataFrame, another table with Arrow's PyCapsule interface, or mappings. Raises
    UsageError for rows that are no table, and for a name that cannot be a campaign's: it could name a place
    outside of the folder; DiskFull where there is no room for them.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not is_name(name):
        raise UsageError(
            f"campaign: found {shown(name)}; allowed are 1 to {NAME_MAX_CHARS} printable characters "
            "without / and \\"
        )
    try:
        if isinstance(rows, pa.Table):
            table = rows
        elif hasattr(rows, "to_parquet"):
            table = _table_of_frame(rows)
        elif hasattr(rows, "__arrow_c_stream__"):
            table = pa.table(rows)
        else:
            rows = _mappings(rows)
            names = dict.fromkeys(name for row in rows for name in row)
            table = pa.table({name: _array(name, [row.get(name) for row in rows]) for name in names})
    except (pa.ArrowException, AttributeError, TypeError, ValueError) as error:
        said = printable(": ".join(map(str, error.args)))
        raise UsageError(f"the rows are no table: {said}") from error
    path = folder / f"{name}.parquet"
    try:
        with naming_full_disk(folder, "make room, or name another temporary folder with TMPDIR"):
            pq.write_table(_as_shown(table), path)
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"the rows cannot be kept as Parquet: {error}") from error
    return path


def _mappings(rows: Any) -> list[Mapping[str, Any]]:
    """Return rows that are mappings as a list: an iterator could be read once only. Raises UsageError."""
    kind = type(rows).__name__
    if isinstance(rows, Iterable):
        found = list(rows)
        others = [type(row).__name__ for row in found if not isinstance(row, Mapping)]
        if not others:
            return found
        kind = f"{kind} of {others[0]}"
    raise UsageError(
        f"the rows are no table: found {kind}; give a path, a DataFrame, a table of pyarrow or Polars, or a "
        "list of dicts"
    )


def _table_of_frame(frame: Any) -> Any:
    """Return a DataFrame of pandas as an Arrow table; an index that has a name is a column as well."""
    import pyarrow as pa

    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    try:
        return pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        mixed = [name for name, column in frame.items() if column.dtype == object]
        rest = pa.Table.from_pandas(frame.drop(columns=mixed), preserve_index=False)
        return pa.table(
            {
                str(name): _array(name, frame[name].tolist()) if name in mixed else rest[str(name)]
                for name in frame.columns
            }
        )


def _as_shown(table: Any) -> Any:
    """Return an Arrow table with the periods and intervals of pandas as text: Parquet has their numbers."""
    import pyarrow as pa

    for at, each in enumerate(table.schema):
        kind = each.type.value_type if pa.types.is_dictionary(each.type) else each.type
        if isinstance(kind, pa.BaseExtensionType) and kind.extension_name.startswith("pandas."):
            column = table.column(at)
            if kind is not each.type:  # a Categorical: its words and their places
                column = pa.chunked_array([one.dictionary.take(one.indices) for one in column.chunks], kind)
            table = table.set_column(at, each.name, _array(each.name, column.to_pandas().tolist()))
    return table


_WRITTEN = (str, int, float, Decimal, PurePath)

_MISSING = ("NAType", "NaTType")
"""The types of what pandas calls missing."""

_SHOWN = ("Period", "Interval")
"""The types of pandas that are written as pandas shows them."""


def _array(name: str, values: list[Any]) -> Any:
    """Return values as an Arrow array: numbers beside text, and paths, become text.

    Raises UsageError for other kinds.
    """
    import numpy as np
    import pyarrow as pa

    try:
        return pa.array(values, from_pandas=True)  # what pandas calls missing is no value
    except UnicodeEncodeError as error:
        said = f"the rows are no table: column {shown(name)} holds half of a surrogate pair, which is no text"
        raise UsageError(said) from error
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        times = np.datetime64 | np.timedelta64  # `item` makes numbers of these
        values = [
            value.item() if isinstance(value, np.generic) and not isinstance(value, times) else value
            for value in values
        ]
        values = [None if type(value).__name__ in _MISSING else value for value in values]
        values = [str(value) if type(value).__name__ in _SHOWN else value for value in values]
        if not all(value is None or isinstance(value, _WRITTEN) for value in values):
            kinds = {type(value).__name__ for value in values if value is not None}
            found = "values of different kinds" if len(kinds) > 1 else f"values of the kind {kinds.pop()}"
            raise UsageError(f"column {name} holds {found}: {error}") from error
        return pa.array([None if value is None else value_text(value) for value in values])
