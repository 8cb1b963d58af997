import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.ledger.records import JobRow, Output, Run, Submission
from callsheet.ledger.states import State
from callsheet.report.rows import RESULT_COLUMNS, RESULT_NAMES, ResultRow, carried_names, iso_utc, result_row
from callsheet.ticket import Ticket

MakeRow = Callable[..., ResultRow]

CONTRACT = (
    "custom_id, status, error_type, error, charged, request_id, endpoint, attempts, expected_usd, "
    "maximum_usd, actual_usd, cost_basis, billable_units, price_book, output_path, output_url, sha256, "
    "bytes, width, height, fps, duration_s, has_audio, seed_used, submitted_at, started_at, finished_at, "
    "take, retake_of, verdict, review_note, flags, draft_id, draft_usd, finish_usd"
)

SUBMISSION = Submission(
    submission_id=1,
    job_id=1,
    number=1,
    hold_nano=103_818_000,
    admitted_ms=1_000,
    submitted_ms=2_000,
    started_ms=3_000,
    rendered_ms=44_500,
    ticket=Ticket("req-1", "e", "https://q/s", "https://q/r", "https://q/c"),
)
BOOKED = replace(
    SUBMISSION,
    cost_nano=102_960_000,
    cost_basis="billable_units",
    billable_units="102.96",
    seed_used=9,
    booked_ms=45_000,
    closed_ms=46_000,
)
OUTPUT = Output(
    path="media/a.mp4",
    url="https://v3.fal.media/a.mp4",
    sha256="ab",
    bytes=10,
    width_px=1248,
    height_px=704,
    fps=24.0,
    duration_s=5.04,
    has_audio=False,
)
IN_LEDGER = JobRow(
    job_id=1,
    run_id="r1",
    position=0,
    row=2,
    custom_id="a",
    take=1,
    priority=0,
    client="",
    endpoint="fal-ai/bytedance/seedance/v1/pro/fast/text-to-video",
    model="seedance-1.0-pro-fast",
    output_name="a",
    render_kind="",
    fingerprint="f",
    payload="{}",
    expected_nano=102_960_000,
    maximum_nano=103_818_000,
    spent_nano=0,
    state=State.PENDING,
    attempts=0,
    purchases=0,
    error_type="",
    error="",
    charged="",
)
RUN = Run(
    run_id="r1",
    campaign="c",
    plan_hash="",
    price_book="2026-11-21",
    out="runs/r1",
    options="",
    created_ms=0,
    stopping_ms=None,
    closed_ms=None,
)


def cells(row: ResultRow) -> dict[str, object]:
    """Give the result columns of a row by name."""
    return {column.name: column.value(row) for column in RESULT_COLUMNS}


def test_columns_are_the_contract() -> None:
    """Scripts depend on these names in this order."""
    assert ", ".join(RESULT_NAMES) == CONTRACT


def test_a_finished_job_tells_everything(make_row: MakeRow) -> None:
    """Money is exact text, times are ISO 8601 in UTC, sizes are numbers."""
    got = cells(make_row())
    assert (got["expected_usd"], got["maximum_usd"], got["actual_usd"]) == ("0.10296", "0.103818", "0.10296")
    assert got["started_at"] == "2026-11-18T11:06:41.500Z"
    assert (got["width"], got["height"], got["fps"], got["has_audio"]) == (1248, 704, 24.0, False)


def test_what_is_not_known_stays_empty(make_row: MakeRow) -> None:
    """A job that has not begun has no numbers: nothing is shown as 0 that is not known to be 0."""
    got = cells(make_row("pending"))
    assert got["actual_usd"] == got["submitted_at"] == got["sha256"] == ""
    assert got["bytes"] is got["width"] is got["has_audio"] is got["seed_used"] is None


@pytest.mark.parametrize(
    ("in_ledger", "actual", "held"),
    [
        (IN_LEDGER, 0, 0),
        (replace(IN_LEDGER, state=State.IN_QUEUE, submission=SUBMISSION), None, 103_818_000),
        (replace(IN_LEDGER, state=State.UNKNOWN, submission=SUBMISSION, spent_nano=5), 5, 103_818_000),
        (replace(IN_LEDGER, state=State.RENDERED, submission=BOOKED, spent_nano=102_960_000), 102_960_000, 0),
        (replace(IN_LEDGER, state=State.SKIPPED_BUDGET), 0, 0),
    ],
    ids=["pending", "open", "open after a paid attempt", "booked", "left out"],
)
def test_money_is_held_or_booked(make_row: MakeRow, in_ledger: JobRow, actual: int | None, held: int) -> None:
    """While a submission is open its cost is unknown and its hold stands; booked, it is the other way."""
    got = result_row(in_ledger, make_row().job, RUN)
    assert (got.actual_nano, got.held_nano) == (actual, held)


def test_the_ledgers_row_becomes_a_result(make_row: MakeRow) -> None:
    """Everything that the ledger knows of a finished job arrives in its column."""
    made = replace(
        IN_LEDGER, state=State.SUCCEEDED, attempts=1, submission=BOOKED, output=OUTPUT, spent_nano=102_960_000
    )
    got = result_row(made, make_row().job, RUN)
    assert got.render_s == 41.5
    shown = cells(got)
    assert shown["status"] == "succeeded"
    assert (shown["request_id"], shown["billable_units"], shown["seed_used"]) == ("req-1", "102.96", 9)
    assert (shown["submitted_at"], shown["finished_at"]) == (iso_utc(2_000), iso_utc(46_000))
    assert (shown["output_path"], shown["output_url"]) == (OUTPUT.path, OUTPUT.url)


def test_a_failed_row_keeps_the_address_of_its_paid_file(make_row: MakeRow) -> None:
    """A failed job whose file may still be had keeps the address; that is what tells it from the others."""
    reply = json.dumps({"video": {"url": OUTPUT.url}})
    paid = replace(BOOKED, result_json=reply)
    failed = replace(IN_LEDGER, state=State.FAILED, error_type="not_mp4", charged="yes", submission=paid)
    kept = result_row(failed, make_row().job, RUN)
    gone = result_row(replace(failed, error_type="file_gone"), make_row().job, RUN)
    assert (kept.output_url, kept.is_fetchable) == (OUTPUT.url, True)
    assert (gone.output_url, gone.is_fetchable) == ("", False)


def test_a_file_of_another_run_has_its_own_path(make_row: MakeRow) -> None:
    """The file of a job that was made before lies where the caller says."""
    reused = replace(IN_LEDGER, state=State.ALREADY_MADE, output=OUTPUT, output_run_id="r0")
    got = result_row(reused, make_row().job, RUN, output_path="../r0/media/a.mp4")
    assert got.output_path == "../r0/media/a.mp4"


@pytest.mark.parametrize(
    ("columns", "carried"),
    [
        (("custom_id", "prompt", "Shot"), {"prompt": "prompt", "Shot": "Shot"}),
        (("status", "prompt"), {"status": "input_status", "prompt": "prompt"}),
        (("status", "input_status"), {"status": "input_input_status", "input_status": "input_status"}),
        (("input_error", "error"), {"input_error": "input_error", "error": "input_input_error"}),
    ],
)
def test_a_results_name_wins(columns: tuple[str, ...], carried: dict[str, str]) -> None:
    """A manifest column with a result's name is kept under another one, and `custom_id` stands once."""
    assert carried_names(columns) == carried


@given(st.lists(st.sampled_from([*RESULT_NAMES, "input_status", "input_input_status", "x"]), unique=True))
def test_no_column_is_lost_or_doubled(columns: list[str]) -> None:
    """Whatever a manifest calls its columns, the results have each of them once."""
    carried = carried_names(tuple(columns))
    assert set(carried) == set(columns) - {"custom_id", "take", "retake_of"}
    every = [*carried.values(), *RESULT_NAMES]
    assert len(every) == len(set(every))


@pytest.mark.parametrize(
    ("unix_ms", "text"),
    [(None, ""), (0, "1970-01-01T00:00:00.000Z"), (1_795_000_001_999, "2026-11-18T11:06:41.999Z")],
)
def test_times_are_utc_to_the_millisecond(unix_ms: int | None, text: str) -> None:
    """No millisecond is rounded away, and the zone is always said."""
    assert iso_utc(unix_ms) == text
