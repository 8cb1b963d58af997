"""Plan many rows: read, check, price and store them batch by batch, on two cores."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from manifests.campaign import Campaign
from manifests.columnar.arrow import coded, distinct, numbers_of
from manifests.columnar.check import Checked, Checker
from manifests.columnar.combos import Combination, Combinations
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


_Worked = tuple[Problems, Checked, PlanRows]
"""A batch expanded and checked: what the expansion found, and what the check did."""


class BulkPlanner:
    """Plans one manifest. Mistakes and warnings go into `notes`; with any mistakes there is no whole plan."""

    def __init__(self, campaign: Campaign, context: Context, notes: Problems, extras: Iterable[str]) -> None:
        self._expander = Expander(campaign)
        self._context, self._notes = context, notes
        self._extras = tuple(sorted(extras))
        self._combos = Combinations(context)
        self._checker = Checker(self._combos)
        self._maker = RowMaker(self._combos, context.naming, self._extras)
        self._keys = RowKeys()
        self._totals = Totals(self._combos.all)
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
        for notes, checked, rows in _in_order(self._work, batches):
            self._notes.add_from(notes)
            batch = checked.batch
            if len(batch) and (batch.file, batch.header) not in headers:
                headers.add((batch.file, batch.header))
                check_header(Row(batch.file, batch.folder, 0, dict.fromkeys(batch.header, "")), self._notes)
            self._notes.add_all((*checked.problems, *rows.problems))
            for each in checked.warnings:
                self._notes.add_warning(each.warning, each.count)
            if len(rows):
                self._keep(rows)
                yield rows

    def _work(self, batch: Batch) -> _Worked:
        notes = Problems()
        checked = self._checker.check(self._expander.expand(batch, notes))
        return notes, checked, self._maker.rows(checked)

    def _keep(self, rows: PlanRows) -> None:
        self._count += len(rows)
        self._keys.add(rows)
        self._totals.add(rows.combos, rows.columns["client"])
        self._numbers.append(self._combo_numbers(rows.combos))
        if not self._notes.count:  # with any mistakes there is no plan to hash
            feed(self._digest, rows.columns, rows.hashed, self._numbers[-1])

    def _combo_numbers(self, combos: Any) -> Any:
        """Number what rows share as the hash does: by its text, as it is first met."""
        met, _, places = distinct(combos)
        texts = (self._combos.all[int(number)].text for number in met)
        return np.array([self._digest.combo_number(text) for text in texts], np.int32)[places]

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

    def __init__(self, combos: Sequence[Combination]) -> None:
        self._combos = combos
        self._groups: dict[tuple[str, str], list[int]] = {}
        self._sizes: dict[Size, list[int]] = {}

    def add(self, combos: Any, clients: Any) -> None:
        """Add a batch. Counts are multiplied with whole nano-dollars; nothing is rounded."""
        encoded = coded(clients)
        width = int(combos.max()) + 1
        names = encoded.dictionary.to_pylist()
        met, _, places = distinct(numbers_of(encoded.indices) * width + combos)
        for key, count in zip(met.tolist(), np.bincount(places).tolist(), strict=True):
            client, which = divmod(key, width)
            self._add(self._combos[which], names[client], count)

    def _add(self, combo: Combination, client: str, count: int) -> None:
        assert combo.endpoint is not None
        assert combo.price is not None
        price = combo.price
        pixels = price.width_px * price.height_px
        size = Size(combo.endpoint.id, combo.values["resolution"], pixels, price.frames)
        group = self._groups.setdefault((combo.endpoint.model, client), [0, 0, 0])
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
