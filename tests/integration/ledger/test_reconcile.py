"""What reconciling reads from a ledger, on both databases."""

import pytest

from callsheet.errors import IllegalTransition, LedgerError
from callsheet.ledger import Event, State, admission, history, queries, settlement, transitions

NEVER = "00000000-0000-4000-8000-00000000dead"


def brought(desk, state):
    """Return a new job that has come into that state."""
    (job_id,) = desk.run(1)
    desk.bring(job_id, state)
    return job_id


def test_known_requests_are_told_with_their_jobs(desk):
    """Of many request ids exactly those come back that a submission has."""
    taken = brought(desk, State.IN_QUEUE)
    request_id = desk.ledger.do(queries.job, taken).ticket.request_id
    asked = [request_id, NEVER, *(f"{NEVER}-{number}" for number in range(1200))]
    assert desk.ledger.do(history.known_requests, asked) == {request_id: taken}
    assert desk.ledger.do(history.known_requests, []) == {}


def test_a_wrong_id_is_no_purchase(desk):
    """What fal accepted once is counted once, also where its first id was another job's."""
    job_id = brought(desk, State.IN_QUEUE)
    desk.ledger.do(transitions.misname, job_id, why="another job's")
    assert desk.ledger.do(queries.job, job_id).purchases == 0
    desk.ledger.do(transitions.find, job_id, desk.ticket())
    assert desk.ledger.do(queries.job, job_id).purchases == 1


def test_purchases_are_what_fal_accepted_since_then(desk):
    """Accepted submissions come back in order, whatever became of them; others and older ones do not."""
    first = brought(desk, State.SUCCEEDED)
    brought(desk, State.UNKNOWN)
    since_ms = desk.clock.now_ms = desk.clock.now_ms + 1000
    second = brought(desk, State.IN_QUEUE)
    every = list(desk.ledger.stream(history.purchases, since_ms=0))
    assert [each.job_id for each in every] == [first, second]
    assert [each.cost_nano is None for each in every] == [False, True]
    later = desk.ledger.stream(history.purchases, since_ms=since_ms)
    assert [each.job_id for each in later] == [second]
    last = [desk.ledger.do(history.has_purchases, since_ms=since_ms + each) for each in (0, 1)]
    assert last == [True, False]


def test_the_wait_for_a_start_is_kept_with_what_was_sent(desk):
    """It is the submission's own, in seconds, and has to be above zero."""
    first, second = desk.run(2)
    for job_id in (first, second):
        desk.ledger.do(admission.admit, job_id, slots=10)
    desk.ledger.do(transitions.send, first, arguments_sha256="x", start_timeout_s=900)
    assert desk.ledger.do(queries.job, first).submission.start_timeout_s == 900
    with pytest.raises(LedgerError):
        desk.ledger.do(transitions.send, second, arguments_sha256="x", start_timeout_s=0)
    assert desk.ledger.do(queries.job, second).state is State.HELD


@pytest.mark.parametrize("state", [State.UNKNOWN, State.IN_QUEUE, State.IN_PROGRESS, State.RENDERED])
def test_only_what_is_open_can_be_unseen(desk, state):
    """The first look without it is noted and taken back; once the job has ended there is none."""
    job_id = brought(desk, state)
    for at_ms in (123, None):
        desk.ledger.do(transitions.note_unseen, job_id, at_ms=at_ms)
        assert desk.ledger.do(queries.job, job_id).submission.unseen_ms == at_ms
    ended = brought(desk, State.SUCCEEDED)
    with pytest.raises(IllegalTransition):
        desk.ledger.do(transitions.note_unseen, ended, at_ms=123)


def test_who_found_it_stands_in_the_lines_that_follow(desk):
    """After an adoption its reason stands beside the cost, and not beside the hold before it."""
    job_id = brought(desk, State.UNKNOWN)
    desk.ledger.do(transitions.find, job_id, desk.ticket(), why="adopted by ada: the seed is ours")
    desk.do(Event.RENDER, job_id)
    desk.do(Event.SETTLE, job_id)
    lines = [(line.kind, line.why) for line in desk.ledger.stream(history.entries)]
    why = "adopted by ada: the seed is ours"
    assert lines == [("hold", ""), ("release", why), ("settle", why)]


def test_a_decision_stands_in_the_lines_that_it_wrote(desk):
    """A write-off's lines carry its reason, the hold before it and other jobs' lines none."""
    brought(desk, State.SUCCEEDED)
    lost = brought(desk, State.UNKNOWN)
    desk.ledger.do(settlement.write_off, lost, why="seen in the dashboard")
    lines = [(line.kind, line.why) for line in desk.ledger.stream(history.entries) if line.job_id == lost]
    assert lines == [("hold", ""), ("release", "seen in the dashboard"), ("settle", "seen in the dashboard")]
    assert {line.why for line in desk.ledger.stream(history.entries) if line.job_id != lost} == {""}


def test_an_absent_request_keeps_the_time_at_which_it_was_first_not_seen(desk) -> None:
    """That is fal's time of the first reading; declaring it absent happens later."""
    (job_id,) = desk.run()
    desk.bring(job_id, State.UNKNOWN)
    desk.ledger.do(transitions.note_unseen, job_id, at_ms=123)
    desk.do(Event.DECLARE_ABSENT, job_id)
    assert desk.ledger.do(queries.job, job_id).submission.unseen_ms == 123
