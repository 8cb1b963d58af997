"""Rows that clash: the same purchase, the same id, the same file. Found by keys, settled by what they hold.

Only rows whose keys stand more than once are looked at again, so a manifest without twins pays for a sort.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from manifests.bulk.spool import SpooledJobs
from manifests.bulk.arrow import Mask, Numbers, number_array, texts_of
from manifests.bulk.texts import Keys, mixed, repeated
from manifests.identity import BY_ID, Entry, identified
from manifests.notes import Notes
from manifests.plan import PlannedJob
from manifests.plan_rows import MADE_ID, MADE_NAME, planned_of
from manifests.table import Row
from manifests.template import Template


@dataclass(slots=True)
class RowKeys:
    """The keys of every row so far, batch by batch."""

    ids: list[Keys] = field(default_factory=list)
    names: list[Keys] = field(default_factory=list)
    content: list[Keys] = field(default_factory=list)
    takes: list[Numbers] = field(default_factory=list)

    def add(self, ids: Keys, names: Keys, content: Keys, takes: Numbers) -> None:
        """Add a batch's. What is the same twice, or says nothing, is kept once or not at all."""
        self.ids.append(ids)
        self.names.append(names)
        self.content.append(content)
        self.takes.append(takes.astype(np.int32) if (takes != 1).any() else np.empty(0, np.int32))

    def suspects(self) -> Mask:
        """Say which rows may clash with another one."""
        ids = _joined(self.ids)
        suspect = _is_repeated(ids)
        if any(name is not id_ for name, id_ in zip(self.names, self.ids, strict=True)):
            suspect |= _is_repeated(_joined(self.names))
        del ids
        content = _joined(self.content)
        if any(len(takes) for takes in self.takes):
            takes = _joined([
                takes.astype(np.uint64) if len(takes) else np.ones(len(keys), np.uint64)
                for takes, keys in zip(self.takes, self.content, strict=True)
            ])
            twins = _is_repeated(mixed(content, takes))
            # The number of a new take depends on all takes of the same content.
            return suspect | np.isin(content, content[twins])
        return suspect | _is_repeated(content)


def _joined(parts: list[Keys]) -> Keys:
    return np.concatenate(parts) if parts else np.empty(0, np.uint64)


def _is_repeated(keys: Keys) -> Mask:
    twice = repeated(keys)
    return np.isin(keys, twice) if len(twice) else np.zeros(len(keys), bool)


@dataclass(frozen=True, slots=True)
class Change:
    """What settling a clash makes of a row."""

    custom_id: str
    take: int
    output_name: str


def settle(jobs: SpooledJobs, suspects: Mask, naming: Template | None, notes: Notes) -> dict[int, Change]:
    """Settle clashes by the rules of single rows; returns the rows that are changed, by position.

    Two keys can be equal by chance; the rules look at the rows themselves, so that changes nothing.
    """
    positions: list[int] = []
    pairs: list[tuple[Row, Any]] = []
    given: list[PlannedJob] = []
    for position, (planned, row) in _suspected(jobs, suspects):
        positions.append(position)
        given.append(planned)
        pairs.append((row, _as_written(planned, row)))
    entries = identified(pairs, notes, naming or BY_ID)
    return {
        position: Change(entry.job.custom_id, entry.job.take, entry.job.output_name)
        for position, entry, before in zip(positions, entries, given, strict=True)
        if _names(entry) != (before.job.custom_id, before.job.take, before.job.output_name)
    }


def _names(entry: Entry) -> tuple[str, int, str]:
    return entry.job.custom_id, entry.job.take, entry.job.output_name


def _as_written(planned: PlannedJob, row: Row) -> Any:
    """Return the job as it was before names were made."""
    job = planned.job
    made_id = not row.cells.get("custom_id", "").strip()
    made_name = not row.cells.get("output_name", "").strip().removesuffix(".mp4")
    return replace(
        job,
        custom_id="" if made_id else job.custom_id,
        output_name="" if made_name else job.output_name,
    )


def _suspected(jobs: SpooledJobs, suspects: Mask) -> Iterator[tuple[int, tuple[PlannedJob, Row]]]:
    start = 0
    for batch in jobs.batches():
        mine = np.flatnonzero(suspects[start : start + batch.num_rows])
        if len(mine):
            rows = batch.take(number_array(mine)).to_pylist()
            for at, values in zip(mine.tolist(), rows, strict=True):
                yield start + at, _read(values, jobs)
        start += batch.num_rows


def _read(values: Mapping[str, Any], jobs: SpooledJobs) -> tuple[PlannedJob, Row]:
    job, price, cells, file = planned_of(values, jobs.catalog)
    # As names are made from cells, a made name must not be found in them again.
    made = values["made"].split()
    cells |= {"custom_id": ""} if MADE_ID in made else {}
    cells |= {"output_name": ""} if MADE_NAME in made else {}
    return PlannedJob(job, price, "", cells, file), Row(file, Path(), job.row, cells)


def changed(jobs: SpooledJobs, changes: Mapping[int, Change]) -> Iterator[Any]:
    """Yield the rows again as record batches, with the changes made."""
    order = np.array(sorted(changes), np.int64)
    start = 0
    for batch in jobs.batches():
        mine = order[np.searchsorted(order, start) : np.searchsorted(order, start + batch.num_rows)]
        yield _changed(batch, start, [(int(at), changes[int(at)]) for at in mine]) if len(mine) else batch
        start += batch.num_rows


def _changed(batch: Any, start: int, changes: list[tuple[int, Change]]) -> Any:
    cells = {name: batch.column(name).to_pylist() for name in ("custom_id", "take", "output_name")}
    for at, change in changes:
        cells["custom_id"][at - start] = change.custom_id
        cells["take"][at - start] = change.take
        cells["output_name"][at - start] = change.output_name
    arrays = [
        number_array(np.array(cells[name], np.int64))
        if name == "take"
        else texts_of(cells[name])
        if name in cells
        else batch.column(name)
        for name in batch.schema.names
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=batch.schema)
