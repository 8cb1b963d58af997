"""One row per job: its result, in the columns that people's scripts read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import PurePath, PurePosixPath
from typing import Literal, TypeVar

from callsheet.ledger.records import JobRow, Output, Review, Run, Submission
from callsheet.ledger.states import State
from callsheet.report.error_table import advice_text
from manifests.job import Job
from manifests.look import flags_text
from manifests.retakes import RETAKE_OF, shot_of
from pricing.money import usd_text
from pricing.quotes import Quote

P = TypeVar("P", bound=PurePath)
Value = str | int | float | bool | None

GONE = frozenset({"file_gone", "result_lost", "lost_at_provider"})
"""Errors of paid videos that fal says it no longer has."""

ENDED_WITHOUT_FINISH = frozenset({State.FAILED, State.CANCELLED, State.SKIPPED_BUDGET})
"""States of a draft's job in which `retry` may still finish it."""

SUCCESSES = frozenset({"succeeded", "already_made"})
SKIPPED = frozenset({"skipped_budget"})
MEDIA, THUMBNAILS = "media", "posters"
"""Folders of a run: its videos, and a thumbnail of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRow:
    """The result of one job.

    Amounts are nano-dollars, times Unix milliseconds, sizes pixels and bytes; None where it has not happened
    or is not known. `actual_nano` is what is booked, `held_nano` what is still held. `output_path` is
    relative to the run's folder and may lead to an earlier run's. A failed row has an `output_url` only
    where its file is paid for and may still be had. `render_s` is how long the render took at fal, in
    seconds. `draft_nano` and `finish_nano` are the parts of `actual_nano` of a draft and its finish, and
    `finish_until_ms` is until when a draft can be finished. `job_id` is the ledger's number of the job that
    made the clip, `folder` where that job's run is, seen from this run's folder (`../r0/`, "" for this), and
    `draft_path` the draft's file beside its finish. `reviews` is what people said of it, oldest first.
    `other_run` is the run whose job it is, where that is not this one and made nothing.
    """

    job: Job
    model: str
    status: str
    expected_nano: int
    maximum_nano: int
    price_book: str
    error_type: str = ""
    error: str = ""
    charged: str = ""
    request_id: str = ""
    attempts: int = 0
    actual_nano: int | None = None
    held_nano: int = 0
    cost_basis: str = ""
    billable_units: str = ""
    output_path: str = ""
    output_url: str = ""
    sha256: str = ""
    bytes: int | None = None
    width_px: int | None = None
    height_px: int | None = None
    fps: float | None = None
    duration_s: float | None = None
    has_audio: bool | None = None
    seed_used: int | None = None
    submitted_ms: int | None = None
    started_ms: int | None = None
    render_s: float | None = None
    finished_ms: int | None = None
    retake_of: str = ""
    verdict: str = ""
    review_note: str = ""
    flags: str = ""
    draft_id: str = ""
    draft_nano: int | None = None
    finish_nano: int | None = None
    finish_until_ms: int | None = None
    job_id: int = 0
    folder: str = ""
    draft_path: str = ""
    reviews: tuple[Review, ...] = ()
    other_run: str = ""

    @property
    def poster_path(self) -> str:
        """The path of the clip's thumbnail, relative to the run's folder; "" without a file."""
        return self.folder + thumbnail_of(self.output_path[len(self.folder) :]) if self.output_path else ""

    @property
    def review(self) -> Review | None:
        """What counts of what people said of the clip."""
        return self.reviews[-1] if self.reviews else None

    @property
    def is_fetchable(self) -> bool:
        """Whether the job failed although its paid file may still be had, for free."""
        return self.status == "failed" and bool(self.output_url)

    @property
    def custom_id(self) -> str:
        """The job's name."""
        return self.job.custom_id

    @property
    def shot(self) -> str:
        """The name that the takes of a shot share."""
        return shot_of(self.custom_id, self.job.take)


def result_row(row: JobRow, job: Job, run: Run, *, output_path: str | None = None) -> ResultRow:
    """Make the row of a job from the ledger's.

    `output_path` is given where the file is elsewhere than its own run says: that of an `already_made` job
    is in the folder of the run that made it.
    """
    result = ResultRow(
        job=job,
        model=row.model,
        status=row.state.value,
        expected_nano=row.expected_nano + row.draft_expected_nano,
        maximum_nano=row.maximum_nano + row.draft_maximum_nano,
        price_book=run.price_book,
        error_type=row.error_type,
        error=_error_text(row),
        charged=row.charged or "",
        attempts=row.attempts,
        actual_nano=row.spent_nano,
        finished_ms=row.finished_ms,
        retake_of=job.extra.get(RETAKE_OF, ""),
        job_id=row.job_id,
    )
    if row.submission is not None:
        result = _with_submission(result, row.submission)
        if row.draft:
            result = _with_draft(result, row, row.submission)
    if row.error_type in GONE:
        result = replace(result, output_url="")
    if row.output is None:
        return result
    made = _with_output(result, row.output, output_path)
    is_failed_finish = row.is_finish and row.state is State.FAILED  # the file is the draft's, the address not
    return replace(made, output_url=result.output_url) if is_failed_finish else made


def earlier_row(row: JobRow, job: Job, price: Quote, run: Run, *, output_path: str | None) -> ResultRow:
    """Make the row of a manifest's job that another run of the campaign paid for, or is to make.

    `row` is that run's job, `job` and `price` are the manifest's. It costs this run nothing. What is not
    finished keeps the other job's status and its address.
    """
    made = row.is_made
    result = ResultRow(
        job=job,
        model=row.model,
        status=State.ALREADY_MADE.value if made else row.state.value,
        expected_nano=price.expected_nano,
        maximum_nano=price.maximum_nano,
        price_book=run.price_book,
        error_type="" if made else row.error_type,
        error="" if made else _error_text(row),
        charged="" if made else row.charged or "",
        actual_nano=0,
        retake_of=job.extra.get(RETAKE_OF, ""),
        job_id=row.job_id,
        other_run="" if made else row.run_id,
    )
    if row.output is not None:
        return _with_output(result, row.output, output_path)
    return replace(result, output_url=result_row(row, job, run).output_url)


def with_reviews(row: ResultRow, reviews: Sequence[Review]) -> ResultRow:
    """Return the row with what people said of the clip, oldest first."""
    if not reviews:
        return row
    last = reviews[-1]
    return replace(row, reviews=tuple(reviews), verdict=last.verdict, review_note=last.note)


def _error_text(row: JobRow) -> str:
    """Return what went wrong, and for a failed job whether to try again and what that rests on."""
    if row.state is not State.FAILED:
        return row.error
    advice = advice_text(row.error_type, row.charged, row.purchases)
    return f"{row.error.rstrip('. ')}. {advice}" if row.error else advice


def _with_submission(result: ResultRow, submission: Submission) -> ResultRow:
    held_nano = 0 if submission.booked else submission.hold_nano
    return replace(
        result,
        request_id=submission.ticket.request_id if submission.ticket else "",
        actual_nano=None if held_nano and not result.actual_nano else result.actual_nano,
        held_nano=held_nano,
        cost_basis=submission.cost_basis or "",
        billable_units=submission.billable_units or "",
        seed_used=submission.seed_used,
        output_url=_paid_url(submission),
        submitted_ms=submission.submitted_ms,
        started_ms=submission.started_ms,
        render_s=_render_s(submission),
    )


def _with_draft(result: ResultRow, row: JobRow, submission: Submission) -> ResultRow:
    """Tell the draft's bill from its finish's, and say until when it can be finished."""
    if not row.is_finish:
        may_finish = row.state is State.SUCCEEDED and submission.draft_id
        return replace(
            result,
            draft_id=submission.draft_id,
            draft_nano=result.actual_nano,
            finish_until_ms=submission.finish_until_ms if may_finish else None,
        )
    finish_nano = row.spent_nano - row.draft_nano
    is_booked = submission.endpoint == row.endpoint and submission.booked
    return replace(
        result,
        draft_id=result.job.draft_id,
        draft_nano=row.draft_nano,
        finish_nano=finish_nano if finish_nano or is_booked else None,
        finish_until_ms=result.job.finish_until_ms if row.state in ENDED_WITHOUT_FINISH else None,
    )


def _paid_url(submission: Submission) -> str:
    """Return the address of a paid video as fal's result names it, "" where there is none."""
    try:
        url = json.loads(submission.result_json or "{}")["video"]["url"]
    except (ValueError, KeyError, TypeError):
        return ""
    return url if isinstance(url, str) else ""


def _render_s(submission: Submission) -> float | None:
    """Return how long the render took at fal, in seconds."""
    if submission.started_ms is None or submission.rendered_ms is None:
        return None
    return (submission.rendered_ms - submission.started_ms) / 1000


def _with_output(result: ResultRow, output: Output, output_path: str | None) -> ResultRow:
    return replace(
        result,
        output_path=output_path or output.path,
        folder=(output_path or "").removesuffix(output.path),
        output_url=output.url,
        sha256=output.sha256,
        bytes=output.bytes,
        width_px=output.width_px,
        height_px=output.height_px,
        fps=output.fps,
        duration_s=output.duration_s,
        has_audio=output.has_audio,
        flags=flags_text(output.flags),
    )


def thumbnail_of(output_path: str) -> str:
    """Return the path of a clip's thumbnail: `media/a/b.mp4` has `posters/a/b.jpg`."""
    parts = list(PurePosixPath(output_path).parts)
    if MEDIA in parts:
        parts[parts.index(MEDIA)] = THUMBNAILS
    return str(PurePosixPath(*parts).with_suffix(".jpg"))


def strip_of(poster: P) -> P:
    """Return the path of a clip's strip of pictures beside its thumbnail: `a.jpg` has `a~strip.jpg`.

    No clip is called so: names have no `~`, and a number follows it where two files had one name.
    """
    return poster.with_name(f"{poster.stem}~strip.jpg")


def iso_utc(unix_ms: int | None) -> str:
    """Write a time as ISO 8601 in UTC with milliseconds; empty text for None."""
    if unix_ms is None:
        return ""
    seconds, milliseconds = divmod(unix_ms, 1000)
    moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=milliseconds * 1000)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def minute_utc(unix_ms: int) -> str:
    """Write a time to the minute, `2026-12-05 14:00 UTC`. It is cut, so that no deadline is too late."""
    return f"{datetime.fromtimestamp(unix_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"


@dataclass(frozen=True, slots=True)
class ResultColumn:
    """One column of the results: its name, what its cells are, and where they come from."""

    name: str
    kind: Literal["text", "int", "float", "bool"]
    value: Callable[[ResultRow], Value]


def _usd(nano: int | None) -> str:
    return "" if nano is None else usd_text(nano)


RESULT_COLUMNS = (
    ResultColumn("custom_id", "text", lambda row: row.custom_id),
    ResultColumn("status", "text", lambda row: row.status),
    ResultColumn("error_type", "text", lambda row: row.error_type),
    ResultColumn("error", "text", lambda row: row.error),
    ResultColumn("charged", "text", lambda row: row.charged),
    ResultColumn("request_id", "text", lambda row: row.request_id),
    ResultColumn("endpoint", "text", lambda row: row.job.endpoint.id),
    ResultColumn("attempts", "int", lambda row: row.attempts),
    ResultColumn("expected_usd", "text", lambda row: _usd(row.expected_nano)),
    ResultColumn("maximum_usd", "text", lambda row: _usd(row.maximum_nano)),
    ResultColumn("actual_usd", "text", lambda row: _usd(row.actual_nano)),
    ResultColumn("cost_basis", "text", lambda row: row.cost_basis),
    ResultColumn("billable_units", "text", lambda row: row.billable_units),
    ResultColumn("price_book", "text", lambda row: row.price_book),
    ResultColumn("output_path", "text", lambda row: row.output_path),
    ResultColumn("output_url", "text", lambda row: row.output_url),
    ResultColumn("sha256", "text", lambda row: row.sha256),
    ResultColumn("bytes", "int", lambda row: row.bytes),
    ResultColumn("width", "int", lambda row: row.width_px),
    ResultColumn("height", "int", lambda row: row.height_px),
    ResultColumn("fps", "float", lambda row: row.fps),
    ResultColumn("duration_s", "float", lambda row: row.duration_s),
    ResultColumn("has_audio", "bool", lambda row: row.has_audio),
    ResultColumn("seed_used", "int", lambda row: row.seed_used),
    ResultColumn("submitted_at", "text", lambda row: iso_utc(row.submitted_ms)),
    ResultColumn("started_at", "text", lambda row: iso_utc(row.started_ms)),
    ResultColumn("finished_at", "text", lambda row: iso_utc(row.finished_ms)),
    ResultColumn("take", "int", lambda row: row.job.take),
    ResultColumn("retake_of", "text", lambda row: row.retake_of),
    ResultColumn("verdict", "text", lambda row: row.verdict),
    ResultColumn("review_note", "text", lambda row: row.review_note),
    ResultColumn("flags", "text", lambda row: row.flags),
    ResultColumn("draft_id", "text", lambda row: row.draft_id),
    ResultColumn("draft_usd", "text", lambda row: _usd(row.draft_nano)),
    ResultColumn("finish_usd", "text", lambda row: _usd(row.finish_nano)),
)
"""The contract: these names in this order, after the manifest's own columns."""

RESULT_NAMES = tuple(column.name for column in RESULT_COLUMNS)
_GIVEN = frozenset({"custom_id", "take", "retake_of"})
"""Columns of a manifest that are also a result's, with the same value."""


def carried_names(manifest_columns: tuple[str, ...]) -> Mapping[str, str]:
    """Return the name in the results of each manifest column that is carried there, in order.

    `custom_id`, `take` and `retake_of` appear once, among the result columns. Where a manifest column has
    the name of another result column (an errors.csv that is run again has some), the result keeps the name
    and the manifest's column becomes `input_<name>`.
    """
    taken = {*manifest_columns, *RESULT_NAMES}
    names: dict[str, str] = {}
    for column in manifest_columns:
        if column in _GIVEN:
            continue
        name = column
        while name in RESULT_NAMES or (name != column and name in taken):
            name = f"input_{name}"
        taken.add(name)
        names[column] = name
    return names
