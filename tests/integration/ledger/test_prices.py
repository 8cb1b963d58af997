"""What plans and prices ask of a ledger, on both databases."""

import pytest

from callsheet.errors import LedgerError
from callsheet.ledger import State, history, queries, runs, settlement


def test_pending_jobs_get_another_price_with_its_pin(desk):
    """Both amounts and the pin change together; what is held next is the new maximum."""
    (job_id,) = desk.run()
    row = desk.ledger.do(queries.job, job_id)
    desk.ledger.do(runs.reprice, row.run_id, {job_id: (110, 120)}, prices="[1]")
    assert desk.ledger.do(queries.run, row.run_id).prices == "[1]"
    assert desk.bring(job_id, State.HELD).submission.hold_nano == 120


def test_a_price_alone_leaves_the_pins_that_another_process_has_added(desk):
    """A job gets the price that holds by now; which prices hold is not for it to say."""
    (job_id,) = desk.run()
    run_id = desk.ledger.do(queries.job, job_id).run_id
    desk.ledger.do(runs.reprice, run_id, {}, prices="[1, 2]")
    desk.ledger.do(runs.reprice, run_id, {job_id: (110, 120)})
    assert desk.ledger.do(queries.run, run_id).prices == "[1, 2]"
    assert desk.ledger.do(queries.job, job_id).maximum_nano == 120


def test_a_price_of_what_is_bought_stays_and_nothing_else_changes(desk):
    """One job that is no longer pending refuses the whole change, pin and all."""
    waiting, sent = desk.run(2)
    desk.bring(sent, State.SUBMITTING)
    before = [desk.ledger.do(queries.job, job_id) for job_id in (waiting, sent)]
    with pytest.raises(LedgerError, match=f"job {sent} is no pending job"):
        desk.ledger.do(runs.reprice, before[0].run_id, {waiting: (1, 2), sent: (1, 2)}, prices="[1]")
    assert [desk.ledger.do(queries.job, job_id) for job_id in (waiting, sent)] == before
    assert desk.ledger.do(queries.run, before[0].run_id).prices == ""


def test_a_price_must_cover_what_is_expected(desk):
    """The database itself refuses a maximum below the expected cost."""
    (job_id,) = desk.run()
    with pytest.raises(LedgerError):
        desk.ledger.do(
            runs.reprice, desk.ledger.do(queries.job, job_id).run_id, {job_id: (3, 2)}, prices="[1]"
        )


def test_what_was_made_comes_back_by_campaign(desk):
    """Finished jobs with a file, oldest first; not those of another campaign, and not what is under way."""
    desk.made_before()
    made, other = desk.run(2)
    desk.bring(made, State.SUCCEEDED)
    desk.bring(other, State.IN_QUEUE)
    row = desk.ledger.do(queries.job, made)
    (found,) = desk.ledger.do(queries.made_by_name, "spring", ["shot-0", "shot-1"]).values()
    assert (found.job_id, found.fingerprint, found.paid_nano) == (made, row.fingerprint, row.spent_nano)
    assert desk.ledger.do(queries.payloads, [made, other, 10**6]) == {
        job_id: desk.ledger.do(queries.job, job_id).payload for job_id in (made, other)
    }


def test_only_bills_of_fals_own_teach_a_rate(desk):
    """A cost that is our own arithmetic would only teach us what we believe already."""
    made, guessed = desk.run(2)
    desk.bring(made, State.SUCCEEDED)
    desk.bring(guessed, State.SUCCEEDED)
    requests = [desk.ledger.do(queries.job, job_id).ticket.request_id for job_id in (made, guessed)]
    desk.ledger.do(settlement.correct, requests[0], cost_nano=77, cost_basis="billing_event")
    desk.ledger.do(settlement.correct, requests[1], cost_nano=78, cost_basis="expected")
    assert [each.cost_nano for each in desk.ledger.do(history.settled)] == [77]
