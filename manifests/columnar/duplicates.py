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

from manifests.columnar.arrow import Mask, Numbers, keys_of, rows_of
from manifests.columnar.job_store import FINGERPRINTED, JobStore, fingerprints_of
from manifests.columnar.rows import PlanRows
from manifests.names import (
    BY_ID,
    Entry,
    clashes,
    cleaned_name,
    folded,
    is_safe,
    made_name,
    note_equal,
    note_same_id,
    note_same_name,
    note_unsafe,
    safe_part,
    settled_ids,
    settled_names,
    settled_takes,
    slug,
)
from manifests.plan_rows import MADE_ID, MADE_NAME, planned_of
from manifests.problems import Problems
from manifests.table import Row
from manifests.template import Template


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
        takes, equal_to = settled_takes(rows.contents, rows.takes)
        ids = settled_ids(
            ["" if is_made else name for name, is_made in zip(rows.ids, rows.id_is_made, strict=True)],
            list(map(slug, rows.prompts)),
            rows.contents,
            takes,
        )
        given = ["" if is_made else name for name, is_made in zip(rows.names, rows.name_is_made, strict=True)]
        names, same = settled_names(given, lambda at: self._made_name(rows, at, ids[at], takes[at]), ids)
        for at, first in equal_to.items():
            note_equal(rows.row(at, prompt=True), rows.row(first), takes[at], notes)
        for at, first in clashes(ids).items():
            note_same_id(rows.row(at), rows.row(first), ids[at], notes)
        for at, first in same.items():
            note_same_name(rows.row(at), rows.row(first), names[at], notes)
        found = zip(rows.positions, ids, takes, names, rows.ids, rows.takes, rows.names, strict=True)
        changes = {
            position: Change(custom_id, take, name)
            for position, custom_id, take, name, *before in found
            if [custom_id, take, name] != before
        }
        for at, position in enumerate(rows.positions):
            if position in changes and not given[at] and not is_safe(names[at]):
                note_unsafe(rows.row(at), names[at], notes)
        return changes

    def _made_name(self, rows: _Suspects, at: int, custom_id: str, take: int) -> str:
        if custom_id == rows.ids[at] and (take == rows.takes[at] or "take" not in self._naming.columns):
            return rows.names[at]
        if self._naming == BY_ID:
            return cleaned_name(safe_part(custom_id), custom_id)
        job, _, cells, file = planned_of(rows.values(at), self._jobs.catalog)
        named = replace(job, custom_id=custom_id, take=take)
        return made_name(self._naming, Entry(named, "", "", Row(file, Path(), job.row, cells)))


@dataclass(slots=True)
class _Suspects:
    """The rows that may clash, as lists."""

    positions: list[int]
    table: Any
    contents: list[str]
    ids: list[str]
    takes: list[int]
    names: list[str]
    prompts: list[str]
    id_is_made: list[bool]
    name_is_made: list[bool]
    files: list[str]
    numbers: list[int]

    @classmethod
    def read(cls, jobs: JobStore, suspects: Mask) -> _Suspects:
        pieces, start = [], 0
        for batch in jobs.batches():
            pieces.append(rows_of(batch, np.flatnonzero(suspects[start : start + batch.num_rows])))
            start += batch.num_rows
        table = pa.Table.from_batches(pieces)
        columns = {name: table[name].to_pylist() for name in _LOOKED_AT}
        made = [text.split() for text in columns["made"]]
        content = {name: table[name].combine_chunks() for name in FINGERPRINTED}
        return cls(
            positions=np.flatnonzero(suspects).tolist(),
            table=table,
            contents=list(fingerprints_of(content, [1] * len(table))),
            ids=columns["custom_id"],
            takes=columns["take"],
            names=columns["output_name"],
            prompts=columns["prompt"],
            id_is_made=[MADE_ID in words for words in made],
            name_is_made=[MADE_NAME in words for words in made],
            files=columns["file"],
            numbers=columns["row"],
        )

    def row(self, at: int, *, prompt: bool = False) -> Row:
        """Return as much of a row as a message needs."""
        cells = {"prompt": self.prompts[at]} if prompt else {}
        return Row(self.files[at], Path(), self.numbers[at], cells)

    def values(self, at: int) -> dict[str, Any]:
        """Return a row of the table."""
        (row,) = self.table.slice(at, 1).to_pylist()
        return dict(row)


_LOOKED_AT = ("custom_id", "take", "output_name", "made", "file", "row", "prompt")


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
