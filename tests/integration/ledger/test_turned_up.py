"""Admission, where fal has named a request of an attempt that was given up."""

import pytest

from callsheet.errors import TurnedUp
from callsheet.ledger import Event, State, admission, queries, recovery
from tests.integration.ledger.conftest import Desk

E = Event
ABSENT = (E.ADMIT, E.SEND, E.LOSE, E.DECLARE_ABSENT)
WRITTEN_OFF = (E.ADMIT, E.SEND, E.LOSE, E.WRITE_OFF)
SUCCEEDED = (E.ADMIT, E.SEND, E.ACCEPT, E.START, E.RENDER, E.SETTLE, E.COLLECT)


def brought(desk: Desk, *events: Event) -> int:
    """Open a run whose job these things happen to, and note a request of its first attempt."""
    (job_id,) = desk.run()
    for event in events:
        desk.do(event, job_id)
    desk.ledger.do(recovery.note_orphan, job_id, 1, "turned-up")
    return job_id


@pytest.mark.parametrize(
    "events",
    [
        ABSENT,
        (*ABSENT, E.ADMIT, E.RELEASE),
        (*ABSENT, E.ADMIT, E.FAIL_INPUTS, E.RETRY),
        (*ABSENT, *ABSENT),
    ],
)
def test_a_job_is_not_admitted_while_nothing_is_booked_for_its_request(
    desk: Desk, events: tuple[Event, ...]
) -> None:
    """Whatever came to nothing since; the refusal names the request and holds nothing."""
    job_id = brought(desk, *events)
    with pytest.raises(TurnedUp, match="turned-up"):
        desk.ledger.do(admission.admit, job_id, slots=1000)
    assert desk.ledger.do(queries.job, job_id).state is State.PENDING
    assert (desk.account("run", "run-0"), desk.slots()) == ((0, 0), 0)


@pytest.mark.parametrize(
    "events", [(*WRITTEN_OFF, E.RETRY), (*ABSENT, *SUCCEEDED, E.FINISH), (E.ADMIT, E.RELEASE)]
)
def test_a_job_is_admitted_where_its_request_is_accounted_for(desk: Desk, events: tuple[Event, ...]) -> None:
    """It was written off as spent and retried; its video was made since; a submission has the request."""
    job_id = brought(desk, *events)
    if events == (E.ADMIT, E.RELEASE):
        desk.sql("UPDATE submission SET request_id = 'turned-up'")
    desk.do(E.ADMIT, job_id)
    assert desk.ledger.do(queries.job, job_id).state is State.HELD


def test_another_jobs_request_is_nothing_to_it(desk: Desk) -> None:
    """The job beside it is admitted."""
    brought(desk, *ABSENT)
    (other,) = desk.run()
    desk.do(E.ADMIT, other)
    assert desk.ledger.do(queries.job, other).state is State.HELD
