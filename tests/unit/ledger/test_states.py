import pytest

from callsheet.errors import IllegalTransition
from callsheet.ledger.states import (
    ARROWS,
    FINISHED,
    HAS_OPEN_SUBMISSION,
    HAS_REQUEST,
    HOLDS_SLOT,
    Event,
    State,
    next_state,
)

# Written down a second time, by hand and in another form, so that a slip in the table cannot pass.
DRAWN = """
pending     admit          held
pending     cancel         cancelled
pending     skip           skipped_budget
pending     reuse          already_made
held        send           submitting
held        release        pending
held        fail_inputs    failed
held        cancel         cancelled
submitting  accept         in_queue
submitting  not_sent       held
submitting  refuse         failed
submitting  lose           unknown
unknown     find           in_queue
unknown     declare_absent pending
unknown     write_off      failed
in_queue    start          in_progress
in_queue    render         rendered
in_queue    fail_render    failed
in_queue    cancel         cancelled
in_queue    misname        unknown
in_progress misname        unknown
in_progress render         rendered
in_progress fail_render    failed
in_progress cancel         cancelled
rendered    settle         rendered
rendered    fail_render    failed
rendered    collect        succeeded
rendered    fail_media     failed
failed      retry          pending
failed      take_up        rendered
cancelled   retry          pending
skipped_budget retry       pending
succeeded   finish         pending
"""
EXPECTED = {
    (State(a), Event(e)): State(b) for a, e, b in (line.split() for line in DRAWN.strip().splitlines())
}
ONLY_SETTLED = {Event.COLLECT, Event.FAIL_MEDIA}
ONLY_UNSETTLED = {Event.SETTLE, Event.FAIL_RENDER}


@pytest.mark.parametrize("booked", [False, True])
@pytest.mark.parametrize("event", list(Event))
@pytest.mark.parametrize("state", list(State))
def test_every_state_and_event_is_the_arrow_that_was_drawn_or_is_refused(
    state: State, event: Event, booked: bool
) -> None:
    """The table has the arrows of the drawing and no other."""
    wanted = EXPECTED.get((state, event))
    if state is State.RENDERED and event in (ONLY_UNSETTLED if booked else ONLY_SETTLED):
        wanted = None
    if event is Event.TAKE_UP and not booked:
        wanted = None
    if wanted is None:
        with pytest.raises(IllegalTransition):
            next_state(state, event, booked=booked)
    else:
        assert next_state(state, event, booked=booked) is wanted


def test_a_refusal_says_what_would_be_possible() -> None:
    """A person reading the error learns what they can do instead."""
    with pytest.raises(IllegalTransition, match="held; possible: send, release, fail_inputs, cancel"):
        next_state(State.HELD, Event.ACCEPT)


def test_every_state_can_be_reached_from_pending() -> None:
    """No state is written down that nothing leads to."""
    reached = {State.PENDING}
    while more := {to for state in reached for to in ARROWS[state].values()} - reached:
        reached |= more
    assert reached == set(State)


def test_every_event_is_on_some_arrow() -> None:
    """No event is written down that can never happen."""
    assert {event for arrows in ARROWS.values() for event in arrows} == set(Event)


def test_a_request_that_may_have_been_sent_is_never_sent_again_unresolved() -> None:
    """From `unknown` a new submission is reached only by somebody knowing that the old one is absent."""
    leads_back = {event for event, to in ARROWS[State.UNKNOWN].items() if to is State.PENDING}
    assert leads_back == {Event.DECLARE_ABSENT}
    assert Event.SEND not in ARROWS[State.UNKNOWN]
    assert Event.NOT_SENT not in ARROWS[State.UNKNOWN]


def test_a_slot_is_free_the_moment_the_render_ends() -> None:
    """`rendered` holds no slot, whatever is still to be booked and fetched."""
    assert State.RENDERED not in HOLDS_SLOT


def test_every_state_is_waiting_open_or_finished() -> None:
    """The groups of states are complete and do not overlap."""
    assert FINISHED.isdisjoint(HAS_OPEN_SUBMISSION)
    assert FINISHED | HAS_OPEN_SUBMISSION | {State.PENDING} == set(State)
    assert HAS_REQUEST - {State.SUCCEEDED} < HAS_OPEN_SUBMISSION
