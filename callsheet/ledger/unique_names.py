"""Unique file names for videos reused from earlier runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import PurePosixPath

from callsheet.ledger.records import JobRow
from callsheet.ledger.states import State

Order = Callable[[], Mapping[int, int]]
"""Gives, by job, a number that grows with the moment at which it was given its file."""


def unique_names(rows: Sequence[JobRow], own: Callable[[], Mapping[str, str]], order: Order) -> list[JobRow]:
    """Give every reused file a unique name in this run: `a.mp4`, and `a~2.mp4` for another `a`.

    The rows are those of one run in the plan's order, with all that are `already_made`; `own` gives the
    names of the files that the run made itself, each with its SHA-256. A name once given stays: the run's
    own files keep theirs, and the others get theirs in the order in which the run got them, because `retry`
    may add some later.
    """
    reused = [row for row in rows if row.state is State.ALREADY_MADE and row.output]
    taken = dict(own()) if reused else {}
    if all(taken.setdefault(path, sha256) == sha256 for path, sha256 in map(_file, reused)):
        return list(rows)
    taken, since = dict(own()), order()
    named = {
        row.job_id: _named(row, taken)
        for row in sorted(reused, key=lambda row: (since.get(row.job_id, 0), row.position))
    }
    return [named.get(row.job_id, row) for row in rows]


def _file(row: JobRow) -> tuple[str, str]:
    assert row.output is not None
    return row.output.path, row.output.sha256


def _named(row: JobRow, taken: dict[str, str]) -> JobRow:
    assert row.output is not None
    plain, sha256 = _file(row)
    path = next(name for name in _siblings(plain) if taken.setdefault(name, sha256) == sha256)
    return replace(row, output=replace(row.output, path=path))


def _siblings(path: str) -> Iterator[str]:
    yield path
    pure = PurePosixPath(path)
    for number in count(2):
        yield pure.with_name(f"{pure.stem}~{number}{pure.suffix}").as_posix()
