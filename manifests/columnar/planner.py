"""Very many rows planned: read, checked, priced and written down batch by batch, on two cores."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from manifests.campaign import Campaign
from manifests.columnar.arrow import coded, distinct, numbers_of
from manifests.columnar.batches import Batch
from manifests.columnar.checking import Checked, Checker
from manifests.columnar.expanding import Expander
from manifests.columnar.gathering import Gathered, Gatherer
from manifests.columnar.rereading import identities_of
from manifests.columnar.setups import Setup, Setups
from manifests.columnar.spool import Scratch, SpooledJobs, feed, schema_for, write_rows
from manifests.columnar.twins import RowKeys, Settler, changed
from manifests.parse_cells import Context
from manifests.plan import Size, Summary, Total
from manifests.plan_hash import RowsDigest
from manifests.problems import Problems
from manifests.table import Row
from manifests.validate import check_header

_WORKERS = 2
_AHEAD = 3
"""Batches in work at a time: enough for both cores, few enough for the memory."""


_Worked = tuple[Problems, Checked, Gathered]
"""A batch expanded and checked: what the expansion found, and what the check did."""


class BulkPlanner:
    """Plans one manifest. Mistakes and warnings go into `notes`; with any mistakes there is no whole plan."""

    def __init__(self, campaign: Campaign, context: Context, notes: Problems, extras: Iterable[str]) -> None:
        self._expander = Expander(campaign)
        self._context, self._notes = context, notes
        self._extras = tuple(sorted(extras))
        self._setups = Setups(context)
        self._checker = Checker(self._setups)
        self._gatherer = Gatherer(self._setups, context.naming, self._extras)
        self._keys = RowKeys()
        self._totals = Totals(self._setups.all)
        self._digest = RowsDigest(self._extras)
        self._numbers: list[Any] = []
        self._count = 0

    def plan(self, batches: Iterable[Batch]) -> tuple[SpooledJobs, Summary]:
        """Plan every row."""
        folder = Scratch()
        path = folder.path / "rows.parquet"
        schema = schema_for(self._extras)
        write_rows(path, schema, (gathered.columns for gathered in self._gathered(batches)))
        jobs = SpooledJobs(path, self._count, self._context.catalog, folder)
        jobs = self._settled(jobs, schema)
        summary = Summary(
            jobs=self._count,
            groups=self._totals.groups(),
            sizes=self._totals.sizes(),
            rows=self._digest.document(),
        )
        return jobs, summary

    def _gathered(self, batches: Iterable[Batch]) -> Iterator[Gathered]:
        headers: set[tuple[str, tuple[str, ...]]] = set()
        for notes, checked, gathered in _in_order(self._work, batches):
            self._notes.add_from(notes)
            batch = checked.batch
            if (len(batch) or batch.unwritable) and (batch.file, batch.header) not in headers:
                headers.add((batch.file, batch.header))
                check_header(Row(batch.file, batch.folder, 0, dict.fromkeys(batch.header, "")), self._notes)
            self._notes.add_all((*checked.problems, *gathered.problems))
            for each in checked.warnings:
                self._notes.add_warning(each.warning, each.count)
            if len(gathered):
                self._keep(gathered)
                yield gathered

    def _work(self, batch: Batch) -> _Worked:
        notes = Problems()
        checked = self._checker.check(self._expander.expand(batch, notes))
        return notes, checked, self._gatherer.gather(checked)

    def _keep(self, gathered: Gathered) -> None:
        self._count += len(gathered)
        self._keys.add(gathered.ids, gathered.names, gathered.content, gathered.takes)
        self._totals.add(gathered.setups, gathered.columns["client"])
        self._numbers.append(self._setup_numbers(gathered.setups))
        if not self._notes.count:  # with any mistakes there is no plan to hash
            feed(self._digest, gathered.columns, gathered.hashed, self._numbers[-1])

    def _setup_numbers(self, setups: Any) -> Any:
        """Number what rows share as the hash does: by its text, as it is first met."""
        met, _, places = distinct(setups, int(setups.max()) + 1)
        texts = (self._setups.all[int(number)].text for number in met)
        return np.array([self._digest.setup_number(text) for text in texts], np.int32)[places]

    def _settled(self, jobs: SpooledJobs, schema: Any) -> SpooledJobs:
        """Settle clashes; where that changes rows, write all of them again and take the hash anew."""
        suspects = self._keys.suspects()
        if not suspects.any():
            return jobs
        setups = np.concatenate(self._numbers)
        changes = Settler(jobs, self._context.naming, self._notes).settle(self._keys, suspects)
        if not changes or self._notes.count:
            return jobs
        before, self._digest = self._digest, RowsDigest(self._extras)
        for text in before.setups:
            self._digest.setup_number(text)
        path = jobs.path.with_name("settled.parquet")
        write_rows(path, schema, self._fed_again(changed(jobs, changes), setups))
        return SpooledJobs(path, len(jobs), jobs.catalog, jobs.folder)

    def _fed_again(self, batches: Iterable[Any], setups: Any) -> Iterator[Mapping[str, Any]]:
        start = 0
        for batch in batches:
            columns = dict(zip(batch.schema.names, batch.columns, strict=True))
            end = start + batch.num_rows
            feed(self._digest, columns, identities_of(columns), setups[start:end])
            start = end
            yield columns


class Totals:
    """Jobs and money by model and client, as rows come in."""

    def __init__(self, setups: Sequence[Setup]) -> None:
        self._setups = setups
        self._groups: dict[tuple[str, str], list[int]] = {}
        self._sizes: dict[Size, list[int]] = {}

    def add(self, setups: Any, clients: Any) -> None:
        """Add a batch. Counts are multiplied with whole nano-dollars; nothing is rounded."""
        encoded = coded(clients)
        width = int(setups.max()) + 1
        names = encoded.dictionary.to_pylist()
        met, _, places = distinct(numbers_of(encoded.indices) * width + setups, width * len(names))
        for key, count in zip(met.tolist(), np.bincount(places).tolist(), strict=True):
            client, which = divmod(key, width)
            self._add(self._setups[which], names[client], count)

    def _add(self, setup: Setup, client: str, count: int) -> None:
        assert setup.endpoint is not None
        assert setup.price is not None
        price = setup.price
        pixels = price.width_px * price.height_px
        size = Size(setup.endpoint.id, setup.values["resolution"], pixels, price.frames)
        group = self._groups.setdefault((setup.endpoint.model, client), [0, 0, 0])
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
