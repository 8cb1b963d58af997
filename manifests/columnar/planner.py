"""Plan many rows: read, check, price and store them batch by batch, on two cores."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from manifests.campaign import Campaign
from manifests.columnar.arrow import Numbers, coded, combinations, numbers_of
from manifests.columnar.check import Checker, Combination
from manifests.columnar.duplicates import RowKeys, Settler, changed
from manifests.columnar.expand import Batch, Expander
from manifests.columnar.job_store import JobStore, Scratch, feed, identities_of, write_rows
from manifests.columnar.rows import PlanRows, RowMaker
from manifests.parse_cells import Context
from manifests.plan import Size, Summary, Total
from manifests.plan_hash import RowsDigest
from manifests.plan_rows import rows_schema
from manifests.problems import Problems
from manifests.table import Row
from manifests.validate import check_header

_WORKERS = 2
_AHEAD = 3
"""Batches in work at a time: enough for both cores, few enough for the memory."""


_Worked = tuple[Batch, PlanRows, Problems]
"""A batch after its expansion, the rows that can be made, and what was found."""


class BulkPlanner:
    """Plans one manifest. Mistakes and warnings go into `notes`; with any mistakes there is no whole plan."""

    def __init__(self, campaign: Campaign, context: Context, notes: Problems, extras: Iterable[str]) -> None:
        self._expander = Expander(campaign)
        self._context, self._notes = context, notes
        self._extras = tuple(sorted(extras))
        self._checker = Checker(context)
        self._maker = RowMaker(context.naming, self._extras)
        self._keys = RowKeys()
        self._totals = Totals()
        self._digest = RowsDigest(self._extras)
        self._numbers: list[Any] = []
        self._count = 0

    def plan(self, batches: Iterable[Batch]) -> tuple[JobStore, Summary]:
        """Plan every row."""
        folder = Scratch()
        path = folder.path / "rows.parquet"
        schema = rows_schema(self._extras)
        write_rows(path, schema, (rows.columns for rows in self._rows(batches)))
        jobs = JobStore(path, self._count, self._context.catalog, folder)
        jobs = self._settled(jobs, schema)
        summary = Summary(
            jobs=self._count,
            groups=self._totals.groups(),
            sizes=self._totals.sizes(),
            rows=self._digest.document(),
        )
        return jobs, summary

    def _rows(self, batches: Iterable[Batch]) -> Iterator[PlanRows]:
        headers: set[tuple[str, tuple[str, ...]]] = set()
        for batch, rows, notes in _in_order(self._work, batches):
            if len(batch) and (batch.file, batch.header) not in headers:
                headers.add((batch.file, batch.header))
                check_header(Row(batch.file, batch.folder, 0, dict.fromkeys(batch.header, "")), self._notes)
            self._notes.add_from(notes)
            if len(rows):
                self._keep(rows)
                yield rows

    def _work(self, batch: Batch) -> _Worked:
        notes = Problems()
        batch = self._expander.expand(batch, notes)
        return batch, self._maker.rows(self._checker.check(batch, notes), notes), notes

    def _keep(self, rows: PlanRows) -> None:
        self._count += len(rows)
        self._keys.add(rows)
        self._totals.add(rows.combos, rows.places, rows.columns["client"])
        # The hash numbers what rows share by its text, as it is first met.
        of_combos = [self._digest.combo_number(combo.text) for combo in rows.combos]
        self._numbers.append(np.array(of_combos, np.int32)[rows.places])
        if not self._notes.count:  # with any mistakes there is no plan to hash
            feed(self._digest, rows.columns, rows.hashed, self._numbers[-1])

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


class Totals:
    """Jobs and money by model and client, as rows come in."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str], list[int]] = {}
        self._sizes: dict[Size, list[int]] = {}

    def add(self, combos: Sequence[Combination], places: Numbers, clients: Any) -> None:
        """Add a batch. Counts are multiplied with whole nano-dollars; nothing is rounded."""
        encoded = coded(clients)
        names, of_rows = encoded.dictionary.to_pylist(), numbers_of(encoded.indices)
        first, which = combinations([of_rows, places], len(places))
        for at, count in zip(first.tolist(), np.bincount(which).tolist(), strict=True):
            combo = combos[places[at]]
            price, resolution = combo.price, combo.options["resolution"]
            size = Size(combo.endpoint.id, resolution, price.width_px * price.height_px, price.frames)
            group = self._groups.setdefault((combo.endpoint.model, names[of_rows[at]]), [0, 0, 0])
            for sums in (group, self._sizes.setdefault(size, [0, 0, 0])):
                sums[0] += count
                sums[1] += count * price.expected_nano
                sums[2] += count * price.maximum_nano

    def groups(self) -> dict[tuple[str, str], Total]:
        """Return the totals by model and client, in the order of the jobs."""
        return {key: Total(*sums) for key, sums in self._groups.items()}

    def sizes(self) -> dict[Size, Total]:
        """Return the totals by size."""
        return {key: Total(*sums) for key, sums in self._sizes.items()}


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
