import pytest

from callsheet.errors import CallsheetError, IllegalTransition
from callsheet.ledger import Event, State, admission, queries, recovery, settlement, transitions
from callsheet.ledger.states import ARROWS, MUST_BE_BOOKED

STANDINGS = [(state, False) for state in State] + [(State.RENDERED, True)]


def legal(state: State, settled: bool) -> list[Event]:
    """Events that the table has there."""
    return [e for e in ARROWS[state] if MUST_BE_BOOKED.get((state, e), settled) == settled]


@pytest.mark.parametrize(("state", "settled"), STANDINGS)
def test_an_event_without_an_arrow_raises_and_changes_nothing(desk, state: State, settled: bool) -> None:
    """Not one row of any table differs after an illegal event; a second settlement is a replay."""
    (job_id,) = desk.run()
    desk.bring(job_id, state, settled=settled)
    made = desk.made_before()
    desk.made_before = lambda: made
    before = desk.dump()
    for event in set(Event) - set(legal(state, settled)):
        if (state, settled, event) == (State.RENDERED, True, Event.SETTLE):
            assert desk.do(event, job_id).replayed
        else:
            with pytest.raises(IllegalTransition):
                desk.do(event, job_id)
        assert desk.dump() == before, event


@pytest.mark.parametrize(("state", "settled"), STANDINGS)
def test_an_event_with_an_arrow_leads_where_the_table_says_and_is_written_down(
    desk, state: State, settled: bool
) -> None:
    """The job's new state and the last line of its history agree with the table."""
    for event in legal(state, settled):
        (job_id,) = desk.run()
        desk.bring(job_id, state, settled=settled)
        desk.do(event, job_id)
        assert desk.ledger.do(queries.job, job_id).state is ARROWS[state][event]
        last = max(row for row in desk.dump()["event"] if row[2] == job_id)
        assert last[4:7] == (event, state, ARROWS[state][event])


def test_a_late_owner_is_fenced_off(desk) -> None:
    """A process that was taken for dead cannot act on the submission that replaced its own."""
    (job_id,) = desk.run()
    first = desk.ledger.do(admission.admit, job_id, slots=1)
    desk.ledger.do(settlement.release, job_id)
    second = desk.ledger.do(admission.admit, job_id, slots=1)
    assert (first.number, second.number) == (1, 2)
    with pytest.raises(IllegalTransition, match="another process works on number 2"):
        desk.ledger.do(transitions.send, job_id, arguments_sha256="x", attempt=first.number)
    desk.ledger.do(transitions.send, job_id, arguments_sha256="x", attempt=second.number)
    for late in (
        lambda: desk.ledger.do(transitions.accept, job_id, desk.ticket(), attempt=1),
        lambda: desk.ledger.do(transitions.not_sent, job_id, attempt=1),
        lambda: desk.ledger.do(settlement.refuse, job_id, charged="no", attempt=1),
        lambda: desk.ledger.do(transitions.lose, job_id, attempt=1),
    ):
        with pytest.raises(IllegalTransition):
            late()
    assert desk.ledger.do(queries.job, job_id).state is State.SUBMITTING


def test_a_request_id_belongs_to_one_job_for_ever(desk) -> None:
    """The same request cannot be two jobs' purchase, and the refusal names the first."""
    one, two = desk.run(2)
    ticket = desk.ticket()
    for job_id in (one, two):
        desk.bring(job_id, State.SUBMITTING)
    desk.ledger.do(transitions.accept, one, ticket)
    before = desk.dump()
    with pytest.raises(CallsheetError, match=f"belongs to job {one} already"):
        desk.ledger.do(transitions.accept, two, ticket)
    assert desk.dump() == before


@pytest.mark.parametrize("verb", [transitions.skip, recovery.retry])
def test_many_jobs_move_together_or_not_at_all(desk, verb) -> None:
    """One job that cannot move keeps all the others where they were."""
    jobs = desk.run(3)
    desk.ledger.do(transitions.skip, jobs[:1] if verb is transitions.skip else jobs[:2])
    before = desk.dump()
    with pytest.raises(IllegalTransition):
        desk.ledger.do(verb, jobs)
    assert desk.dump() == before


def test_a_thousand_jobs_are_skipped_and_tried_again_in_one_go(desk) -> None:
    """Many jobs need no more parameters than an old SQLite takes in one statement."""
    jobs = desk.run(1100)
    desk.ledger.do(transitions.skip, jobs, why="too dear")
    assert desk.ledger.do(queries.tally, "run-0").counts == {State.SKIPPED_BUDGET: 1100}
    desk.ledger.do(recovery.retry, jobs)
    assert desk.ledger.do(queries.tally, "run-0").counts == {State.PENDING: 1100}


def test_attempts_count_what_may_have_arrived_and_purchases_what_was_accepted(desk) -> None:
    """A POST that provably never left is no attempt, and a lost one is no purchase until it is found."""
    (job_id,) = desk.run()
    seen = []
    for event in (
        *(Event.ADMIT, Event.SEND, Event.NOT_SENT, Event.SEND, Event.LOSE, Event.FIND),
        *(Event.FAIL_RENDER, Event.RETRY, Event.ADMIT, Event.SEND, Event.ACCEPT),
    ):
        desk.do(event, job_id)
        row = desk.ledger.do(queries.job, job_id)
        seen.append((row.attempts, row.purchases))
    assert seen == [(0, 0), (1, 0), (0, 0), (1, 0), (1, 0), (1, 1), (1, 1), (1, 1), (1, 1), (2, 1), (2, 2)]


def test_a_new_attempt_forgets_the_last_ones_failure_but_not_its_cost(desk) -> None:
    """After `retry` a job shows no error; what it spent so far stays."""
    (job_id,) = desk.run()
    desk.bring(job_id, State.IN_QUEUE)
    desk.ledger.do(
        settlement.fail_render, job_id, charged="unknown", error_type="content_policy_violation", error="no"
    )
    failed = desk.ledger.do(queries.job, job_id)
    assert (failed.charged, failed.error_type, failed.spent_nano) == (
        "unknown",
        "content_policy_violation",
        100,
    )
    desk.ledger.do(recovery.retry, [job_id])
    again = desk.ledger.do(queries.job, job_id)
    assert (again.charged, again.error_type, again.error, again.spent_nano) == ("", "", "", 100)
