"""Which reader a manifest needs, by its name and its first bytes."""

from __future__ import annotations

import glob
from pathlib import Path

from callsheet.errors import Problem, UsageError
from manifests.readers.csv import read_csv
from manifests.readers.jsonl import read_jsonl
from manifests.readers.parquet import ParquetFile
from manifests.readers.remote import fetched, is_remote
from manifests.readers.xlsx import read_xlsx
from manifests.table import Records, Rows, Table, printable, shown

_READERS = {"csv": read_csv, "jsonl": read_jsonl}
_PARQUET, _XLSX = b"PAR1", b"PK\x03\x04"
_OLD_WORKBOOK = b"\xd0\xcf\x11\xe0"
TEXT_MAX_BYTES = 1 << 30
"""Text is read whole. Parquet is read piece by piece and may be of any size."""

_LIMITS_BYTES = {_XLSX: 128 << 20}
_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}


Manifest = Table | ParquetFile
"""A manifest that was read, or one that is only open: Parquet is read piece by piece where it is large."""


def open_manifests(pattern: str, folder: Path, *, allow_private: bool = False) -> list[Manifest]:
    """Open the manifest, or every manifest that a glob pattern names, in the order of their names.

    `pattern` is an address, or a path relative to `folder`; `#name` behind a workbook names one of its
    sheets. `allow_private` allows addresses inside the network. Raises UsageError when there is no such file.
    """
    if is_remote(pattern):
        with fetched(pattern, allow_private=allow_private) as found:
            return [open_manifest(each.path, name=each.name) for each in found]
    plain = folder / pattern
    if plain.is_file():
        return [open_manifest(plain)]
    book, _, sheet = str(plain).rpartition("#")
    if book and Path(book).is_file():
        return [open_manifest(Path(book), sheet=sheet)]
    # Path.glob takes no absolute pattern; a campaign may name one.
    names = sorted(glob.glob(str(plain), recursive=True))  # noqa: PTH207
    paths = [path for path in map(Path, names) if path.is_file()]
    if not paths:
        raise UsageError(_why_none(plain))
    return [open_manifest(path) for path in paths]


def _why_none(path: Path) -> str:
    """Say why a path names no manifest, and what would."""
    if path.is_dir():
        return f'{path} is a folder; name the manifest in it (in a campaign file also "{path / "*.csv"}")'
    if path.exists():
        return f"{path} is no regular file; write the rows to a CSV, Parquet, JSONL or XLSX file first"
    return f"there is no manifest {path}; give a CSV, Parquet, JSONL or XLSX file"


def open_manifest(path: Path, *, name: str = "", sheet: str = "") -> Manifest:
    """Open one manifest file; messages call it `name`. Raises UsageError where it cannot be read at all."""
    name = name or str(path)
    try:
        with path.open("rb") as file:
            start = file.read(len(_XLSX))
        if start == _PARQUET:
            opened = ParquetFile.open(path, name)
            return table_of(opened, name, path) if isinstance(opened, Records) else opened
        size = path.stat().st_size
        if size > _LIMITS_BYTES.get(start, TEXT_MAX_BYTES):
            raise UsageError(f"{name} has {size:,} bytes, too many for its format; make it a Parquet file")
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror}") from error
    if start == _XLSX:
        return table_of(read_xlsx(content, sheet), name, path)
    if sheet:
        raise UsageError(f"{name} is no workbook, so it has no sheet {shown(sheet)}")
    return table_of(_READERS[_format_of(path, content, name)](content), name, path)


def as_table(manifest: Manifest) -> Table:
    """Return a manifest whole."""
    if isinstance(manifest, Table):
        return manifest
    return table_of(manifest.records(), manifest.file, Path(manifest.folder, "manifest"))


def read_tables(pattern: str, folder: Path) -> list[Table]:
    """Read every manifest that a pattern names; see `open_manifests`."""
    return [as_table(manifest) for manifest in open_manifests(pattern, folder)]


def read_table(path: Path) -> Table:
    """Read one manifest file. Raises UsageError where the file itself cannot be read."""
    return as_table(open_manifest(path))


def table_of(records: Records, file: str, path: Path) -> Table:
    """Say of a reader's records where they come from, and what is wrong with the file."""
    folder = path.resolve().parent
    problems = [
        Problem(file, row, shown(column), shown(found), printable(text))
        for row, column, found, text in records.flaws
    ]
    if not problems and not records.rows:
        problems.append(Problem(file, 0, "", "", "the manifest has no rows"))
    return Table(file, folder, records.columns, Rows(file, folder, records.rows), tuple(problems))


def _format_of(path: Path, content: bytes, name: str) -> str:
    """Let the content decide where it is unmistakable, then the name."""
    if content.startswith(_OLD_WORKBOOK):
        raise UsageError(
            f"{name} is an old workbook (.xls) or one with a password; save it as .xlsx without one"
        )
    if content.startswith(b"\x1f\x8b"):
        raise UsageError(f"{name} is compressed; unpack it first")
    suffix = path.suffix.lower()
    if suffix in (".parquet", ".pq"):
        raise UsageError(f"{name} is no Parquet file: it does not begin like one; write it again")
    if suffix in (".xlsx", ".xlsm"):
        raise UsageError(f"{name} is no XLSX workbook: it does not begin like one; save it again")
    start = content.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    return _SUFFIXES.get(suffix, "jsonl" if start == b"{" else "csv")
