"""A job as it is read: its row, its last submission and its file, by one query."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, Select, and_, case, cast, func, select

from callsheet.ledger import schema
from callsheet.ledger.records import JobRow, Output, Submission
from callsheet.ledger.states import State
from callsheet.ticket import Ticket
from manifests.look import read_flags

_JOB = [column for column in schema.job.c if column.name not in ("submissions", "output_id")]
_OF_SUBMISSION = [column for column in schema.submission.c if column.name != "spending_id"]
SUBMISSION = [column.label(f"s_{column.name}") for column in _OF_SUBMISSION]
"""The columns of a submission, as `as_submission` reads them."""

_draft, _bought = schema.output.alias(), schema.submission.alias()
_draft_submission = (
    select(_draft.c.submission_id)
    .where(_draft.c.output_id == schema.job.c.draft_output_id)
    .correlate(schema.job)
    .scalar_subquery()
)
_draft_cost = (
    select(cast(func.coalesce(func.sum(_bought.c.cost_nano), 0), schema.INT))
    .where(_bought.c.job_id == schema.job.c.job_id, _bought.c.submission_id <= _draft_submission)
    .correlate(schema.job)
    .scalar_subquery()
)
_DRAFT_NANO = case((schema.job.c.draft_output_id.is_(None), 0), else_=_draft_cost).label("draft_nano")
_OUTPUT = [column.label(f"o_{column.name}") for column in schema.output.c]


def job_query() -> Select[Any]:
    """Return the query of all jobs, to be narrowed down."""
    job, submission, output = schema.job, schema.submission, schema.output
    last = and_(submission.c.job_id == job.c.job_id, submission.c.number == job.c.submissions)
    return (
        select(*_JOB, _DRAFT_NANO, *SUBMISSION, *_OUTPUT)
        .outerjoin_from(job, submission, last)
        .outerjoin(output, output.c.output_id == job.c.output_id)
    )


def as_job(row: Row[Any]) -> JobRow:
    """Read one row of `job_query`."""
    values: dict[str, Any] = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's documented name
    own = {column.name: values[column.name] for column in _JOB}
    own |= {"state": State(own["state"]), "draft": bool(own["draft"])}
    return JobRow(
        **own,
        draft_nano=values["draft_nano"],
        submission=as_submission(values),
        output=_as_output(values),
        output_run_id=values["o_run_id"],
        output_path_there=values["o_path"],
    )


_TICKET = ("request_id", "status_url", "response_url", "cancel_url")


def as_submission(values: dict[str, Any]) -> Submission | None:
    """Read the columns of `SUBMISSION`; None where there is no submission."""
    if values["s_submission_id"] is None:
        return None
    names = [column.name for column in _OF_SUBMISSION if column.name not in _TICKET]
    ticket = None
    if values["s_request_id"] is not None:
        ticket = Ticket(endpoint_id=values["s_endpoint"], **{name: values[f"s_{name}"] for name in _TICKET})
    return Submission(ticket=ticket, **{name: values[f"s_{name}"] for name in names})


def _as_output(values: dict[str, Any]) -> Output | None:
    if values["o_output_id"] is None:
        return None
    names = ("path", "url", "sha256", "bytes", "width_px", "height_px", "fps", "duration_s")
    return Output(
        has_audio=bool(values["o_has_audio"]),
        flags=read_flags(values["o_flags"]),
        **{name: values[f"o_{name}"] for name in names},
    )
