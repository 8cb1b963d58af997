"""Names of files that a run has from earlier ones: two of them may have had one name in two folders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import PurePosixPath

from callsheet.ledger.records import JobRow
from callsheet.ledger.submission import State


def named_here(rows: Iterable[JobRow]) -> Iterator[JobRow]:
    """Give every file of earlier runs a name of its own in this run: `a.mp4`, and `a~2.mp4` for another `a`.

    The rows are those of one run in the plan's order, with all that are `already_made`: these never change
    again, so that the names stay the same.
    """
    taken: dict[str, str] = {}
    for row in rows:
        yield _named(row, taken) if row.state is State.ALREADY_MADE else row


def _named(row: JobRow, taken: dict[str, str]) -> JobRow:
    output = row.output
    if output is None:
        return row
    path = next(name for name in _siblings(output.path) if taken.get(name, output.sha256) == output.sha256)
    taken[path] = output.sha256
    return replace(row, output=replace(output, path=path))


def _siblings(path: str) -> Iterator[str]:
    yield path
    pure = PurePosixPath(path)
    for number in count(2):
        yield pure.with_name(f"{pure.stem}~{number}{pure.suffix}").as_posix()
