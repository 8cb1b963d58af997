"""Plan many rows: read, check, price and store them batch by batch, on two cores."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from callsheet.files import TemporaryFolder
from manifests.campaign import Campaign
from manifests.columnar.arrow import by_word, is_filled, matches
from manifests.columnar.batches import Batch, Expander, batches_of
from manifests.columnar.check import Checker
from manifests.columnar.duplicates import RowKeys, Settler, changed
from manifests.columnar.job_store import JobStore, feed, identities_of, write_rows
from manifests.columnar.row_maker import PlanRows, RowMaker
from manifests.columns import COLUMN
from manifests.headers import Headers
from manifests.parse_cells import Context
from manifests.plan import JobKind, Summary, part_of
from manifests.plan_hash import RowsDigest
from manifests.plan_rows import rows_schema
from manifests.problems import Problems
from manifests.readers.parquet import Damaged, Manifest

_WORKERS = 2
_AHEAD = 3
"""Batches in work at a time: enough for both cores, few enough for the memory."""


_Worked = tuple[Batch, PlanRows, Problems]
"""A batch after its expansion, the rows that can be made, and what was found."""


class BulkPlanner:
    """Plans one manifest. Mistakes and warnings go into `notes`; with any mistakes there is no whole plan."""

    def __init__(
        self, campaign: Campaign, manifests: Sequence[Manifest], context: Context, notes: Problems
    ) -> None:
        self._campaign, self._manifests = campaign, manifests
        self._expander = Expander(campaign)
        self._context, self._notes = context, notes
        self._extras = tuple(sorted(_extra_columns(campaign, manifests)))
        self._checker = Checker(context)
        self._maker = RowMaker(context.naming, self._extras)
        self._keys = RowKeys()
        self._kinds: Counter[tuple[Any, ...]] = Counter()
        self._digest = RowsDigest(self._extras)
        self._numbers: list[Any] = []
        self._count = 0

    def plan(self) -> tuple[JobStore, Summary]:
        """Plan every row."""
        folder = TemporaryFolder()
        path = folder.path / "rows.parquet"
        schema = rows_schema(self._extras)
        write_rows(path, schema, (rows.columns for rows in self._rows()))
        jobs = JobStore(path, self._count, self._context.catalog, folder)
        jobs = self._settled(jobs, schema)
        part = part_of(self._kinds)
        return jobs, Summary(part.groups, part.sizes, self._digest.document())

    def _rows(self) -> Iterator[PlanRows]:
        headers = Headers(self._notes)
        for batch, rows, notes in _in_order(self._work, self._batches()):
            unseen = headers.unseen(batch.file, batch.header) if len(batch) else {}
            for name, shape in unseen.items():
                fits = partial(matches, pattern=shape) if shape else is_filled
                if by_word(batch.columns[name], fits).any():
                    headers.saw(batch.file, batch.header, name)
            self._notes.add_from(notes)
            if len(rows):
                self._keep(rows)
                yield rows
        headers.finish()

    def _batches(self) -> Iterator[Batch]:
        for manifest in self._manifests:
            try:
                yield from batches_of(manifest, self._campaign)
            except Damaged as error:
                self._notes.add(error.problem)

    def _work(self, batch: Batch) -> _Worked:
        notes = Problems()
        batch = self._expander.expand(batch, notes)
        return batch, self._maker.rows(self._checker.check(batch, notes), notes), notes

    def _keep(self, rows: PlanRows) -> None:
        self._count += len(rows)
        self._keys.add(rows)
        self._count_kinds(rows)
        # The hash numbers what rows share by its text, as it is first met.
        of_combos = [self._digest.combo_number(combo.text) for combo in rows.combos]
        self._numbers.append(np.array(of_combos, np.int32)[rows.places])
        if not self._notes.count:  # with any mistakes there is no plan to hash
            feed(self._digest, rows.columns, rows.hashed, self._numbers[-1])

    def _count_kinds(self, rows: PlanRows) -> None:
        # On one thread, kinds come in the order in which they are met.
        kinds = pa.table({name: rows.columns[name] for name in JobKind._fields}).group_by(
            list(JobKind._fields), use_threads=False
        )
        for *kind, count in zip(*kinds.aggregate([([], "count_all")]).to_pydict().values(), strict=True):
            self._kinds[tuple(kind)] += count

    def _settled(self, jobs: JobStore, schema: Any) -> JobStore:
        """Settle clashes; where that changes rows, write all of them again and take the hash anew."""
        suspects = self._keys.suspects()
        if not suspects.any():
            return jobs
        combos = np.concatenate(self._numbers)
        changes = Settler(jobs, self._context.naming, self._notes).settle(self._keys, suspects)
        if not changes or self._notes.count:
            return jobs
        before, self._digest = self._digest, RowsDigest(self._extras)
        for text in before.combos:
            self._digest.combo_number(text)
        path = jobs.path.with_name("settled.parquet")
        write_rows(path, schema, self._fed_again(changed(jobs, changes), combos))
        return JobStore(path, len(jobs), jobs.catalog, jobs.folder)

    def _fed_again(self, batches: Iterable[Any], combos: Any) -> Iterator[Mapping[str, Any]]:
        start = 0
        for batch in batches:
            columns = dict(zip(batch.schema.names, batch.columns, strict=True))
            end = start + batch.num_rows
            feed(self._digest, columns, identities_of(columns), combos[start:end])
            start = end
            yield columns


def _extra_columns(campaign: Campaign, manifests: Sequence[Manifest]) -> set[str]:
    """Return the columns that are not ours and are only carried to the results."""
    theirs = {name for each in manifests if each.count for name in each.columns}
    made = {*campaign.defaults, *campaign.templates, *campaign.matrix}
    return (theirs | made) - COLUMN.keys()


def _in_order(work: Callable[[Batch], _Worked], batches: Iterable[Batch]) -> Iterator[_Worked]:
    """Do the work of several batches at a time and yield the results in the batches' order."""
    with ThreadPoolExecutor(_WORKERS, thread_name_prefix="plan") as pool:
        waiting: deque[Future[_Worked]] = deque()
        try:
            for batch in batches:
                waiting.append(pool.submit(work, batch))
                if len(waiting) == _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for each in waiting:
                each.cancel()
