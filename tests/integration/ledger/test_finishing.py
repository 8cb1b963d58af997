"""A draft's finish is the second purchase of the draft's job: ordered once, paid once, both bills kept."""

from dataclasses import replace

import pytest

from callsheet.errors import CapReached, IllegalTransition, UsageError
from callsheet.ledger import (
    State,
    admission,
    finishing,
    queries,
    recovery,
    runs,
    settlement,
    transitions,
    verify,
)
from callsheet.ledger.states import Event
from pricing.quotes import DRAFT_KEPT_MS
from tests.integration.ledger.conftest import (
    COST_NANO,
    FILE,
    HOLD_NANO,
    NOON_MS,
    everyday_settlement,
    new_finish,
)

TO_THE_FILE = (Event.ADMIT, Event.SEND, Event.ACCEPT, Event.RENDER, Event.SETTLE, Event.COLLECT)


def made(desk, job_id: int):
    """Make a draft, and order its finish."""
    draft = desk.bring(job_id, State.SUCCEEDED)
    desk.ledger.do(finishing.finish, draft.run_id, [new_finish(job_id)])
    assert (draft.purchases, desk.ledger.do(queries.job, job_id).purchases) == (1, 0)  # each is retried anew
    return draft


def test_a_finish_is_the_same_job_with_both_bills(desk):
    """Name, place, fingerprint and the draft's file stay; the hold is the finish's; the bills add up."""
    (job_id,) = desk.run()
    draft = made(desk, job_id)
    waiting = desk.ledger.do(queries.job, job_id)
    assert waiting.state is State.PENDING
    assert (waiting.custom_id, waiting.position, waiting.fingerprint) == (
        draft.custom_id,
        draft.position,
        draft.fingerprint,
    )
    assert (waiting.output, waiting.draft_nano) == (draft.output, COST_NANO)

    for event in (Event.ADMIT, Event.SEND, Event.ACCEPT, Event.RENDER):
        desk.do(event, job_id)
    assert desk.account() == (3 * HOLD_NANO, COST_NANO)
    desk.ledger.do(settlement.settle, job_id, everyday_settlement(250))
    desk.ledger.do(transitions.collect, job_id, replace(FILE, path="media/a-1080p.mp4"))

    row = desk.ledger.do(queries.job, job_id)
    assert (row.state, row.attempt, row.spent_nano, row.draft_nano) == (
        State.SUCCEEDED,
        2,
        COST_NANO + 250,
        COST_NANO,
    )
    assert (row.output.path, row.ticket.endpoint_id) == ("media/a-1080p.mp4", new_finish(job_id).endpoint)
    assert desk.ledger.do(verify.verify) == []


def test_a_finish_is_ordered_once(desk):
    """While it is on its way, after it failed and after it was made, a second order changes nothing."""
    (job_id,) = desk.run()
    run_id = made(desk, job_id).run_id
    for events in ((), (Event.ADMIT, Event.SEND, Event.REFUSE), (Event.RETRY, *TO_THE_FILE)):
        for event in events:
            desk.do(event, job_id)
        before = desk.dump()
        with pytest.raises(IllegalTransition, match="finishes its draft already"):
            desk.ledger.do(finishing.finish, run_id, [new_finish(job_id)])
        assert desk.dump() == before


def test_finishes_are_ordered_all_or_none(desk):
    """One job that did not succeed, that is no draft, or that is another run's, and nothing is ordered."""
    first, second = desk.run(2)
    (plain,) = desk.run(draft=False)
    draft = desk.bring(first, State.SUCCEEDED)
    desk.bring(plain, State.SUCCEEDED)
    for other, error in ((second, IllegalTransition), (plain, UsageError)):
        before = desk.dump()
        with pytest.raises(error):
            desk.ledger.do(finishing.finish, draft.run_id, [new_finish(first), new_finish(other)])
        assert desk.dump() == before


def test_a_failed_finish_keeps_the_draft_and_is_tried_again_as_a_finish(desk):
    """The draft counts as made, so it is not bought anew, and `retry` leads to the finish alone."""
    (job_id,) = desk.run()
    draft = made(desk, job_id)
    for event in (Event.ADMIT, Event.SEND, Event.REFUSE):
        desk.do(event, job_id)
    failed = desk.ledger.do(queries.job, job_id)
    assert (failed.state, failed.output, failed.is_made) == (State.FAILED, draft.output, True)
    prints = [draft.fingerprint]
    assert set(desk.ledger.do(queries.made_by_fingerprint, "spring", prints)) == set(prints)
    assert set(desk.ledger.do(queries.already_made, "spring", prints)) == set(prints)
    with pytest.raises(UsageError, match="has made 1 of these"):
        desk.ledger.do(runs.refuse_made, "spring", prints)

    assert desk.ledger.do(recovery.retry, [job_id], once=True) == {}
    again = desk.ledger.do(queries.job, job_id)
    assert (again.state, again.output, again.endpoint) == (
        State.PENDING,
        draft.output,
        new_finish(job_id).endpoint,
    )


def test_a_cap_that_the_finish_would_pass_refuses_it(desk):
    """The finish obeys the caps that the draft obeyed, and a run's cap can be set with the order."""
    (job_id,) = desk.run()
    draft = desk.bring(job_id, State.SUCCEEDED)
    desk.ledger.do(
        finishing.finish, draft.run_id, [new_finish(job_id)], run_cap_nano=COST_NANO + 3 * HOLD_NANO - 1
    )
    with pytest.raises(CapReached):
        desk.do(Event.ADMIT, job_id)
    desk.ledger.do(admission.set_cap, "run", draft.run_id, "total", COST_NANO + 3 * HOLD_NANO)
    desk.do(Event.ADMIT, job_id)


def test_a_closed_run_admits_again_once_a_finish_is_ordered(desk):
    """The order and the opening of the run are one transaction: `resume` finds it after a crash."""
    (job_id,) = desk.run()
    run_id = desk.bring(job_id, State.SUCCEEDED).run_id
    desk.ledger.do(runs.close_run, run_id)
    desk.ledger.do(finishing.finish, run_id, [new_finish(job_id)])
    assert desk.ledger.do(queries.latest_unfinished).run_id == run_id


def test_a_late_bill_of_the_draft_is_the_drafts(desk):
    """Fal's own bill of the draft moves `draft_nano`, also when the finish is made already."""
    (job_id,) = desk.run()
    request_id = made(desk, job_id).ticket.request_id
    for event in TO_THE_FILE:
        desk.do(event, job_id)
    desk.ledger.do(settlement.correct, request_id, cost_nano=95, cost_basis="billing_event")
    row = desk.ledger.do(queries.job, job_id)
    assert (row.draft_nano, row.spent_nano) == (95, 95 + COST_NANO)
    assert desk.ledger.do(verify.verify) == []


def test_open_drafts_and_the_share_that_was_kept(desk):
    """The clock counts from when a draft was sent; the share counts runs of which something was finished."""
    first, second, third = desk.run(3, run_id="r")
    (other,) = desk.run(run_id="s")
    for job_id in (first, second, third, other):
        desk.bring(job_id, State.SUCCEEDED)
    assert desk.ledger.do(finishing.finished_share, ["seedance-1.0-pro-fast"]) == (0, 0)
    desk.ledger.do(finishing.finish, "r", [new_finish(first)])
    assert desk.ledger.do(finishing.open_drafts) == {"r": [NOON_MS, NOON_MS], "s": [NOON_MS]}
    assert desk.ledger.do(finishing.finished_share, ["seedance-1.0-pro-fast"]) == (1, 3)
    assert desk.ledger.do(queries.job, second).submission.finish_until_ms == NOON_MS + DRAFT_KEPT_MS
