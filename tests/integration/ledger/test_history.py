"""What was bought before is added up and looked up by SQL, however much of it there is."""

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from callsheet.ledger import (
    AT_FAL,
    EntryFilter,
    Event,
    Ledger,
    State,
    activity,
    admission,
    history,
    queries,
    recovery,
    runs,
    settlement,
    verify,
)
from pricing.money import usd_text
from tests.integration.ledger.conftest import COST_NANO, HOLD_NANO, NOON_MS, Desk, everyday_settlement

DAY_MS = 86_400_000


def lines(desk, *by: Any, **wanted: Any) -> list[tuple[Any, ...]]:
    """Return a statement's lines: the names that were asked for, then submissions, spent and held."""
    found = desk.ledger.do(history.spending, by, EntryFilter(**wanted))
    return [
        (*(getattr(each, name) for name in by), each.submissions, each.spent_nano, each.held_nano)
        for each in found
    ]


def test_a_statement_adds_up_what_is_held_and_spent(desk) -> None:
    """A hold, a cost, a refusal that cost nothing, a correction: by whatever it is cut."""
    held, spent, refused = desk.run(3, run_id="r")
    (other,) = desk.run(run_id="s", campaign="autumn", client="north", model="m2")
    desk.bring(held, State.HELD)
    desk.bring(spent, State.SUCCEEDED)
    desk.bring(refused, State.FAILED)
    desk.bring(other, State.SUCCEEDED)
    request = desk.ledger.do(queries.job, other).ticket.request_id
    desk.ledger.do(settlement.correct, request, cost_nano=70, cost_basis="billing_event")
    assert lines(desk, "campaign") == [("autumn", 1, 70, 0), ("spring", 1, 90, 100)]
    assert lines(desk, "client", "run") == [("acme", "r", 1, 90, 100), ("north", "s", 1, 70, 0)]
    assert lines(desk) == [(2, 160, 100)]
    assert lines(desk, "model", client=" ACME") == [("seedance-1.0-pro-fast", 1, 90, 100)]
    assert lines(desk, "run", campaign="nowhere") == []


def test_a_statement_counts_the_day_of_the_hold(desk) -> None:
    """What is held before midnight and settled after it counts in the first day, as its cap does."""
    (first,) = desk.run()
    desk.bring(first, State.RENDERED)
    desk.clock.now_ms += DAY_MS
    desk.do(Event.SETTLE, first)
    (second,) = desk.run()
    desk.bring(second, State.HELD)
    assert lines(desk, "day") == [("2026-11-21", 1, 90, 0), ("2026-11-22", 0, 0, 100)]
    midnight_ms = NOON_MS - NOON_MS % DAY_MS + DAY_MS
    assert lines(desk, "day", since_ms=midnight_ms) == [("2026-11-22", 0, 0, 100)]
    assert lines(desk, "day", until_ms=midnight_ms) == [("2026-11-21", 1, 90, 0)]


def test_a_statement_says_what_the_entries_say(desk) -> None:
    """Added up as it happens, or added up from the book: the same, to the nano-dollar."""
    for state in (State.HELD, State.FAILED, State.SUCCEEDED, State.UNKNOWN, State.RENDERED, State.CANCELLED):
        (job,) = desk.run()
        desk.bring(job, state)
    book = list(desk.ledger.stream(history.entries))
    ((_, spent, held),) = lines(desk)
    assert spent == sum(entry.amount_nano for entry in book if entry.kind == "settle")
    assert held == sum(entry.amount_nano for entry in book if entry.kind != "settle")


def test_a_statement_that_does_not_add_up_is_found(ledger_url: str, open_desk) -> None:
    """Its sums are a copy of what the submissions say, so `verify` compares them."""
    desk = open_desk(ledger_url)
    (job,) = desk.run()
    desk.bring(job, State.SUCCEEDED)
    desk.sql("UPDATE spending SET spent_nano = spent_nano + 1")
    assert ["spending of run" in each for each in desk.ledger.do(verify.verify)] == [True]


def test_what_was_made_is_looked_up_by_what_is_asked_for(desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest one with a file, of this campaign only; more than fit into one statement."""
    monkeypatch.setattr(queries, "LOOK_UP_AT_ONCE", 2)
    desk.made_before()
    made, under_way, gone = desk.run(3)
    desk.bring(made, State.SUCCEEDED)
    desk.bring(under_way, State.IN_QUEUE)
    desk.bring(gone, State.FAILED)
    (again,) = desk.run()
    desk.bring(again, State.SUCCEEDED)
    prints = [f"print-{number}" for number in range(5)]
    found = desk.ledger.do(queries.made_by_fingerprint, "spring", prints)
    assert {name: each.job_id for name, each in found.items()} == {"print-0": again}
    named = desk.ledger.do(queries.made_by_name, "spring", [f"shot-{number}" for number in range(5)])
    assert {name: each.job_id for name, each in named.items()} == {"shot-0": again}
    assert desk.ledger.do(queries.made_by_fingerprint, "winter", prints) == {}


GROWING = ("job", "submission", "output", "entry", "event")
SMALL_INDEXES = ("submission_open", "submission_overrun", "submission_unseen", "job_in_slot", "job_by_error")
"""Indexes of the few rows that something is wrong with, or going on."""


def looks_through_all(step: str) -> bool:
    """Say whether a step of a query plan reads a whole table, or a whole index of one."""
    words = step.split()
    return words[0] == "SCAN" and words[1] in GROWING and not any(name in step for name in SMALL_INDEXES)


READS = {
    "open jobs": lambda ledger: ledger.do(queries.open_jobs, states=AT_FAL),
    "open work": lambda ledger: ledger.do(activity.open_work),
    "lost jobs": lambda ledger: ledger.do(recovery.lost_jobs, ["gone"], since_ms=0),
    "known requests": lambda ledger: ledger.do(history.known_requests, ["a"]),
    "overruns": lambda ledger: ledger.do(history.overruns),
    "new overruns": lambda ledger: ledger.do(history.overruns, since_release=True),
    "statement": lambda ledger: ledger.do(history.spending, ["client"]),
    "tally": lambda ledger: ledger.do(queries.tally, "r"),
    "render times": lambda ledger: ledger.do(history.render_times, "a kind"),
    "made": lambda ledger: ledger.do(queries.made_by_fingerprint, "spring", ["a", "b"]),
    "in flight": lambda ledger: ledger.do(runs.refuse_in_flight, "spring", ["a"]),
    "all in flight": lambda ledger: ledger.do(runs.in_flight, "spring", ["a"]),
    "pending": lambda ledger: ledger.do(runs.pending, "r"),
    "made meanwhile": lambda ledger: ledger.do(runs.refuse_made, "spring", ["a"]),
    "jobs of a run": lambda ledger: ledger.do(queries.jobs, "r"),
    "caps and accounts": lambda ledger: ledger.do(admission.balances),
}


@pytest.mark.parametrize("read", READS)
def test_no_read_of_a_run_looks_through_the_history(sqlite_url: str, open_desk, read: str) -> None:
    """SQLite's own plan of each statement uses an index wherever there may be a million rows."""
    plans = plans_of(open_desk(sqlite_url), READS[read])
    assert plans
    assert [step for step in plans if looks_through_all(step)] == []


def test_what_was_paid_for_is_looked_up_by_its_fingerprint(sqlite_url: str, open_desk) -> None:
    """And not among all the jobs of the campaign's runs: a night asks for a hundred thousand rows."""
    plans = plans_of(open_desk(sqlite_url), lambda ledger: ledger.do(queries.paid_for, "spring", ["a"]))
    jobs = [step for step in plans if step.startswith("SEARCH job ")]
    assert jobs
    assert [step for step in jobs if "(fingerprint=?" not in step] == []


def plans_of(desk: Desk, read: Callable[[Ledger], object]) -> list[str]:
    """Return the steps of SQLite's plans of what a read asks."""
    desk.bring(desk.run(run_id="r")[0], State.HELD)
    asked: list[tuple[str, Any]] = []

    def note(_connection, _cursor, statement: str, parameters: Any, *_more: object) -> None:
        if statement.lstrip().startswith("SELECT"):
            asked.append((statement, parameters))

    engine = desk.ledger._engine
    sa.event.listen(engine, "after_cursor_execute", note)
    read(desk.ledger)
    sa.event.remove(engine, "after_cursor_execute", note)
    with desk.ledger._read() as connection:
        return [
            step[3]
            for statement, parameters in asked
            for step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        ]


def test_a_late_figure_of_a_reply_does_not_replace_fals_own_bill(desk) -> None:
    """What was written off and billed by fal stays at fal's figure when its result turns up."""
    (job,) = desk.run()
    desk.bring(job, State.UNKNOWN)
    desk.do(Event.FIND, job)
    desk.ledger.do(
        settlement.fail_render, job, charged="yes", error_type="gone", cost_nano=80, cost_basis="expected"
    )
    request = desk.ledger.do(queries.job, job).ticket.request_id
    desk.ledger.do(settlement.correct, request, cost_nano=77, cost_basis="billing_event")
    desk.do(Event.TAKE_UP, job)
    booking = desk.ledger.do(recovery.settle_found, job, everyday_settlement(95))
    row = desk.ledger.do(queries.job, job)
    assert (booking.cost_nano, booking.cost_basis, booking.replayed) == (77, "billing_event", True)
    assert (row.submission.cost_nano, row.spent_nano, row.submission.result_json) == (77, 77, '{"a": 1}')


def test_a_render_that_came_to_nothing_is_not_charged(desk) -> None:
    """A settlement of 0 says `no`; a correction to a cost says `yes`, and back."""
    (job,) = desk.run()
    desk.bring(job, State.RENDERED)
    desk.ledger.do(settlement.settle, job, everyday_settlement(0))
    assert desk.ledger.do(queries.job, job).charged == "no"
    request = desk.ledger.do(queries.job, job).ticket.request_id
    for cost_nano, charged in ((5, "yes"), (0, "no")):
        desk.ledger.do(settlement.correct, request, cost_nano=cost_nano, cost_basis="billing_event")
        assert desk.ledger.do(queries.job, job).charged == charged


def test_a_new_attempt_clears_the_last_failure(desk) -> None:
    """Whatever a pending job carries, what is bought anew begins without an error."""
    (job,) = desk.run()
    desk.sql("UPDATE job SET error_type = 'x', error = 'old', charged = 'unknown'")
    desk.do(Event.ADMIT, job)
    row = desk.ledger.do(queries.job, job)
    assert (row.error_type, row.error, row.charged) == ("", "", "")


def test_paid_steps_are_logged_with_run_job_and_money(desk, caplog: pytest.LogCaptureFixture) -> None:
    """One line each, with the request id, and nothing that a person wrote."""
    caplog.set_level("INFO", logger="callsheet.ledger")
    (job,) = desk.run(run_id="r")
    desk.bring(job, State.SUCCEEDED)
    request = desk.ledger.do(queries.job, job).ticket.request_id
    said = [record.getMessage() for record in caplog.records]
    assert [line.split(": ", 1)[0] for line in said] == [f"run r job {job} attempt 1"] * 4
    assert [line.split(": ", 1)[1].split(",")[0].split(" at ")[0] for line in said] == [
        "admitted",
        "about to be sent",
        "accept",
        "booked",
    ]
    assert request in said[2]


def test_paid_steps_carry_their_facts_as_fields(desk, caplog: pytest.LogCaptureFixture) -> None:
    """As `--log-json` and `--verbose` write them: run, custom_id, request id and dollars."""
    caplog.set_level("INFO", logger="callsheet.ledger")
    (job,) = desk.run(run_id="r")
    desk.bring(job, State.SUCCEEDED)
    row = desk.ledger.do(queries.job, job)
    fields = ("run", "job", "request_id", "usd")
    known = [[getattr(record, name, None) for name in fields] for record in caplog.records]
    request = row.ticket.request_id
    assert known == [
        ["r", row.custom_id, None, usd_text(HOLD_NANO)],
        ["r", row.custom_id, None, None],
        ["r", row.custom_id, request, None],
        ["r", row.custom_id, request, usd_text(COST_NANO)],
    ]
