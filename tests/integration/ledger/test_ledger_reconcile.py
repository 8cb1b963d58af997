"""What reconciling reads from a ledger, on both databases."""

from callsheet.ledger import State

NEVER = "00000000-0000-4000-8000-00000000dead"


def brought(desk, state):
    """Return a new job that has come into that state."""
    (job_id,) = desk.run(1)
    desk.bring(job_id, state)
    return job_id


def test_known_requests_are_told_with_their_jobs(desk):
    """Of many request ids exactly those come back that a submission has."""
    taken = brought(desk, State.IN_QUEUE)
    request_id = desk.ledger.job(taken).ticket.request_id
    asked = [request_id, NEVER, *(f"{NEVER}-{number}" for number in range(1200))]
    assert desk.ledger.known_requests(asked) == {request_id: taken}
    assert desk.ledger.known_requests([]) == {}


def test_purchases_are_what_fal_accepted_since_then(desk):
    """Accepted submissions come back in order, whatever became of them; others and older ones do not."""
    first = brought(desk, State.SUCCEEDED)
    brought(desk, State.UNKNOWN)
    since_ms = desk.clock.now_ms = desk.clock.now_ms + 1000
    second = brought(desk, State.IN_QUEUE)
    every = desk.ledger.purchases(since_ms=0)
    assert [each.job_id for each in every] == [first, second]
    assert [each.cost_nano is None for each in every] == [False, True]
    assert [each.job_id for each in desk.ledger.purchases(since_ms=since_ms)] == [second]


def test_a_decision_stands_in_the_lines_that_it_wrote(desk):
    """A write-off's lines carry its reason, the hold before it and other jobs' lines none."""
    brought(desk, State.SUCCEEDED)
    lost = brought(desk, State.UNKNOWN)
    desk.ledger.write_off(lost, why="seen in the dashboard")
    lines = [(line.kind, line.why) for line in desk.ledger.entries() if line.job_id == lost]
    assert lines == [("hold", ""), ("release", "seen in the dashboard"), ("settle", "seen in the dashboard")]
    assert {line.why for line in desk.ledger.entries() if line.job_id != lost} == {""}
