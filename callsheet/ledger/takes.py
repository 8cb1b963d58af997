"""Other takes of a shot, and files of a job besides its last one."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import select

from callsheet.ledger import schema
from callsheet.ledger.job_rows import as_job, job_query
from callsheet.ledger.queries import runs_of
from callsheet.ledger.records import JobRow
from callsheet.ledger.steps import chunks
from callsheet.ledger.transaction import Transaction, read


@read()
def by_name(tx: Transaction, campaign: str, custom_ids: Collection[str]) -> dict[str, JobRow]:
    """Return, by name, the newest job of the campaign, or the newest that was made where one was."""
    found: dict[str, JobRow] = {}
    job, ours = schema.job, runs_of(tx, campaign)
    for piece in chunks(set(custom_ids)):
        query = job_query().where(job.c.custom_id.in_(piece)).order_by(job.c.job_id)
        for row in map(as_job, tx.execute(query)):
            last = found.get(row.custom_id)
            if row.run_id in ours and (last is None or row.is_made or not last.is_made):
                found[row.custom_id] = row
    return found


@read()
def output_paths(tx: Transaction, output_ids: Collection[int]) -> dict[int, str]:
    """Return where these files are in the folder of the run that made them, by output."""
    table = schema.output
    found: dict[int, str] = {}
    for piece in chunks(output_ids):
        rows = tx.execute(select(table.c.output_id, table.c.path).where(table.c.output_id.in_(piece)))
        found.update((output_id, path) for output_id, path in rows)
    return found
