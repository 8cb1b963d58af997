"""Rows that are the same purchase, or have the same id or file name: found by keys, settled by their content.

Only rows whose keys occur more than once are read again; a manifest without duplicates pays for a sort.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from manifests.campaign import Template
from manifests.columnar.arrow import Mask, Numbers, keys_of, rows_of
from manifests.columnar.job_store import FINGERPRINTED, JobStore, fingerprints_of
from manifests.columnar.row_maker import PlanRows
from manifests.names import BY_ID, RowNames, file_part, folded, made_name, settled
from manifests.plan_rows import MADE_ID, MADE_NAME, planned_of
from manifests.problems import Problems
from manifests.table import Row


@dataclass(slots=True)
class RowKeys:
    """The keys of every row so far, batch by batch (`arrow.keys_of`)."""

    ids: list[Numbers] = field(default_factory=list)
    names: list[Numbers] = field(default_factory=list)
    content: list[Numbers] = field(default_factory=list)
    takes: list[Numbers] = field(default_factory=list)

    def add(self, rows: PlanRows) -> None:
        """Add a batch's."""
        self.ids.append(rows.ids)
        self.names.append(rows.names)
        self.content.append(rows.content)
        self.takes.append(rows.takes)

    def suspects(self) -> Mask:
        """Say which rows may clash with another one."""
        content, takes = _joined(self.content), _joined(self.takes)
        suspect = _repeated(_joined(self.ids)) | _repeated(_joined(self.names))
        if (takes == 1).all():
            return suspect | _repeated(content)
        equal = content[_repeated(keys_of(content.tolist(), takes.tolist()))]
        # The number of a new take depends on all takes of the same content.
        return suspect | np.isin(content, equal)

    def having(self, ids: list[str], names: list[str]) -> Mask:
        """Say which rows may have one of these ids, or one of these names."""
        mask: Mask = np.isin(_joined(self.ids), keys_of(ids))
        mask |= np.isin(_joined(self.names), keys_of(list(map(folded, names))))
        return mask


def _joined(parts: list[Numbers]) -> Numbers:
    """Return all parts as one, which takes their place: they need not be in memory twice."""
    if len(parts) != 1:
        parts[:] = [np.concatenate([np.empty(0, np.int64), *parts])]
    return parts[0]


def _repeated(keys: Numbers) -> Mask:
    """Say which keys stand more than once."""
    ordered = np.sort(keys)
    mask: Mask = np.isin(keys, ordered[1:][ordered[1:] == ordered[:-1]])
    return mask


@dataclass(frozen=True, slots=True)
class Change:
    """What settling a clash makes of a row."""

    custom_id: str
    take: int
    output_name: str


class Settler:
    """Settles clashes by the rules of `manifests.names`. Problems and warnings go into `notes`.

    Two keys can be equal by chance; the rules look at what the rows hold, so that changes nothing.
    """

    def __init__(self, jobs: JobStore, naming: Template | None, notes: Problems) -> None:
        self._jobs, self._notes = jobs, notes
        self._naming = naming or BY_ID

    def settle(self, keys: RowKeys, suspects: Mask) -> dict[int, Change]:
        """Return the rows that are changed, by position; `suspects` are the rows that may clash."""
        while suspects.any():
            notes = Problems()
            changes = self._settled(suspects, notes)
            # A name that was made anew may be another row's, which nothing spoke against before.
            met = keys.having(
                [change.custom_id for change in changes.values()],
                [change.output_name for change in changes.values()],
            )
            if not (met & ~suspects).any():
                self._notes.add_from(notes)
                return changes
            suspects |= met
        return {}

    def _settled(self, suspects: Mask, notes: Problems) -> dict[int, Change]:
        rows = _Suspects.read(self._jobs, suspects)
        given = RowNames(
            rows.takes,
            ["" if MADE_ID in made else name for name, made in zip(rows.ids, rows.made, strict=True)],
            ["" if MADE_NAME in made else name for name, made in zip(rows.names, rows.made, strict=True)],
        )

        def made(at: int, custom_id: str, take: int) -> str:
            return self._made_name(rows, at, custom_id, take)

        now = settled(given, rows.contents, rows.prompts, made, rows.row, notes)
        before = zip(rows.ids, rows.takes, rows.names, strict=True)
        after = zip(now.ids, now.takes, now.names, strict=True)
        positions = np.flatnonzero(suspects).tolist()
        return {
            position: Change(*new)
            for position, old, new in zip(positions, before, after, strict=True)
            if old != new
        }

    def _made_name(self, rows: _Suspects, at: int, custom_id: str, take: int) -> str:
        if custom_id == rows.ids[at] and (take == rows.takes[at] or "take" not in self._naming.columns):
            return rows.names[at]
        if self._naming == BY_ID:
            return file_part(custom_id)
        (row,) = rows.table.slice(at, 1).to_pylist()
        job, _, cells, _ = planned_of(row, self._jobs.catalog)
        return made_name(self._naming, replace(job, custom_id=custom_id, take=take), cells)


@dataclass(slots=True)
class _Suspects:
    """The rows that may clash, as lists."""

    table: Any
    contents: list[str]
    ids: list[str]
    takes: list[int]
    names: list[str]
    prompts: list[str]
    made: list[list[str]]
    files: list[str]
    numbers: list[int]

    @classmethod
    def read(cls, jobs: JobStore, suspects: Mask) -> _Suspects:
        pieces, start = [], 0
        for batch in jobs.batches():
            pieces.append(rows_of(batch, np.flatnonzero(suspects[start : start + batch.num_rows])))
            start += batch.num_rows
        table = pa.Table.from_batches(pieces)
        content = {name: table[name].combine_chunks() for name in FINGERPRINTED}
        return cls(
            table=table,
            contents=list(fingerprints_of(content, [1] * len(table))),
            ids=table["custom_id"].to_pylist(),
            takes=table["take"].to_pylist(),
            names=table["output_name"].to_pylist(),
            prompts=table["prompt"].to_pylist(),
            made=[text.split() for text in table["made"].to_pylist()],
            files=table["file"].to_pylist(),
            numbers=table["row"].to_pylist(),
        )

    def row(self, at: int) -> Row:
        """Return as much of a row as a message needs."""
        return Row(self.files[at], Path(), self.numbers[at], {})


def changed(jobs: JobStore, changes: Mapping[int, Change]) -> Iterator[Any]:
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
        pa.array(cells[each.name], each.type) if each.name in cells else batch.column(each.name)
        for each in batch.schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=batch.schema)
