"""A part of a plan: the rows that a filter takes, or the jobs that fit a budget."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from callsheet.errors import Problem
from manifests.plan import Plan, StoredJobs
from manifests.plan_rows import rows_table
from manifests.row_filter import RowFilter


def filtered(plan: Plan, rows: RowFilter, renamed: Mapping[str, str]) -> Plan:
    """Return the part of a plan that a filter takes, its jobs as they are in the whole plan.

    `renamed` maps headers of the manifest to our names. Where no row is left, or none has a value that was
    asked for, a warning says so. Raises UsageError for a column that is not there.
    """
    if not rows or not plan.total.jobs:
        return plan
    positions: Sequence[int] = range(plan.total.jobs)
    told: list[str] = []
    if rows.where:
        cells = _cells(plan)
        has_values = rows.matching(cells, renamed)
        told = [f"no row has --where {pair}" for pair in rows.unseen(cells, renamed)]
        positions = [at for at in positions if has_values[at]]
    if rows.first is not None or rows.sample is not None:
        prints = [fingerprint for fingerprint, _ in plan.identities()]
        places = _places(plan)
        taken = rows.taken((places[at], prints[at]) for at in positions)
        positions = [at for at in positions if places[at] in taken]
    if rows.only is not None:
        ids = [custom_id for _, custom_id in plan.identities()]
        positions = [at for at in positions if ids[at] in rows.only]
    part = part_at(plan, positions)
    if not positions and rows.only is None:
        told = [f"no row is left by {rows}, so there is nothing to make"]
    warnings = (Problem(str(plan.source), 0, "", "", text) for text in told)
    return replace(part, warnings=(*part.warnings, *warnings))


def fitting(plan: Plan, left: Collection[int]) -> Plan:
    """Return a plan without the jobs at the positions `left`; a plan file of it lists the other jobs' ids."""
    left = frozenset(left)
    ids = frozenset(custom_id for at, (_, custom_id) in enumerate(plan.identities()) if at not in left)
    rows = replace(plan.options.rows, only=ids)
    part = part_at(plan, [at for at in range(plan.total.jobs) if at not in left])
    return replace(part, options=replace(plan.options, rows=rows))


def part_at(plan: Plan, positions: Sequence[int]) -> Plan:
    """Return a plan of the jobs at these positions (ascending), each as it is in the whole."""
    if len(positions) == plan.total.jobs:
        return plan
    if not isinstance(plan.jobs, StoredJobs):
        return replace(plan, jobs=tuple(plan.jobs[at] for at in positions))
    jobs, counted = plan.jobs.part(positions)
    return replace(plan, jobs=jobs, counted=counted)


def _cells(plan: Plan) -> dict[str, list[str]]:
    from manifests.columnar.cells import cells_table

    if isinstance(plan.jobs, StoredJobs):
        table = plan.jobs.cells_table()
    else:
        table = cells_table(rows_table(plan.jobs).to_batches())
    return {name: table[name].to_pylist() for name in table.column_names}


def _places(plan: Plan) -> list[tuple[str, int]]:
    """Return the file and row that each job comes from."""
    if isinstance(plan.jobs, StoredJobs):
        return list(plan.jobs.values("file", "row"))
    return [(planned.file, planned.job.row) for planned in plan.jobs]
