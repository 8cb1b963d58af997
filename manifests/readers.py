"""Which reader a manifest needs, by its name and its first bytes."""

from __future__ import annotations

import glob
from pathlib import Path

from callsheet.errors import Problem, UsageError
from manifests.csv_reader import read_csv
from manifests.jsonl_reader import read_jsonl
from manifests.parquet_reader import ParquetFile
from manifests.table import Records, Row, Table, printable, shown

_READERS = {"csv": read_csv, "jsonl": read_jsonl}
_PARQUET = b"PAR1"
_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}


Manifest = Table | ParquetFile
"""A manifest that was read, or one that is only open: Parquet is read piece by piece where it is large."""


def open_manifests(pattern: str, folder: Path) -> list[Manifest]:
    """Open the manifest, or every manifest that a glob pattern names, in the order of their names.

    `pattern` is relative to `folder`. Raises UsageError when there is no such file.
    """
    if "://" in pattern:
        raise UsageError(f"{pattern} is not on this machine; copy the manifest here and name the copy")
    plain = folder / pattern
    if plain.is_file():
        return [open_manifest(plain)]
    # Path.glob takes no absolute pattern; a campaign may name one.
    names = sorted(glob.glob(str(plain), recursive=True))  # noqa: PTH207
    paths = [path for path in map(Path, names) if path.is_file()]
    if not paths:
        raise UsageError(f"there is no manifest {plain}; give a CSV, Parquet or JSONL file")
    return [open_manifest(path) for path in paths]


def open_manifest(path: Path) -> Manifest:
    """Open one manifest file. Raises UsageError where the file itself cannot be read."""
    try:
        with path.open("rb") as file:
            if file.read(len(_PARQUET)) == _PARQUET:
                opened = ParquetFile.open(path)
                return table_of(opened, path) if isinstance(opened, Records) else opened
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    return table_of(_READERS[_format_of(path, content)](content), path)


def as_table(manifest: Manifest) -> Table:
    """Return a manifest whole."""
    if isinstance(manifest, Table):
        return manifest
    return table_of(manifest.records(), Path(manifest.file))


def read_tables(pattern: str, folder: Path) -> list[Table]:
    """Read every manifest that a pattern names; see `open_manifests`."""
    return [as_table(manifest) for manifest in open_manifests(pattern, folder)]


def read_table(path: Path) -> Table:
    """Read one manifest file. Raises UsageError where the file itself cannot be read."""
    return as_table(open_manifest(path))


def table_of(records: Records, path: Path) -> Table:
    """Say of a reader's records where they come from, and what is wrong with the file."""
    file, folder = str(path), path.resolve().parent
    problems = [
        Problem(file, row, shown(column), shown(found), printable(text))
        for row, column, found, text in records.flaws
    ]
    if not problems and not records.rows:
        problems.append(Problem(file, 0, "", "", "the manifest has no rows"))
    return Table(file, folder, records.columns, _rows(records, file, folder), tuple(problems))


def _rows(records: Records, file: str, folder: Path) -> tuple[Row, ...]:
    return tuple(Row(file, folder, number, cells) for number, cells in records.rows)


def _format_of(path: Path, content: bytes) -> str:
    """Let the content decide where it is unmistakable, then the name."""
    if content.startswith(b"PK\x03\x04"):
        raise UsageError(f"{path} is a workbook or an archive; save the sheet as “CSV UTF-8” and give that")
    if content.startswith(b"\x1f\x8b"):
        raise UsageError(f"{path} is compressed; unpack it first")
    if path.suffix.lower() in (".parquet", ".pq"):
        raise UsageError(f"{path} is no Parquet file: it does not begin like one; write it again")
    start = content.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    return _SUFFIXES.get(path.suffix.lower(), "jsonl" if start == b"{" else "csv")
