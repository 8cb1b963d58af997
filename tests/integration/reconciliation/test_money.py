"""Bills against the book, and decisions of people."""

import pytest

from callsheet.errors import UsageError
from callsheet.ledger import EntryFilter, Ledger, State, admission, history, queries, settlement, transitions
from callsheet.reconciliation.billing import compare_bills
from callsheet.reconciliation.decisions import assume_spent, resubmit
from callsheet.ticket import Ticket

pytestmark = pytest.mark.anyio


async def compared(house):
    """Compare the bills of the last days."""
    async with house.account() as account:
        return await compare_bills(account, days=30)


async def test_an_equal_bill_is_agreed_and_becomes_the_basis(house):
    """The billing event says the same: no money moves, and the cost now rests on it."""
    run_id = house.open_run("a,A cheap boat")
    await house.work(run_id)
    before = house.row(run_id)

    bills = await compared(house)

    after = house.row(run_id)
    assert (bills.agreed, bills.corrected, bills.not_read) == (1, (), "")
    assert after.spent_nano == before.spent_nano
    assert (before.submission.cost_basis, after.submission.cost_basis) == ("billable_units", "billing_event")
    assert house.sound()


async def test_a_cost_that_was_only_expected_is_corrected_to_the_bill(house):
    """A result from the history names no units; the bill then puts the cost right."""
    run_id = house.open_run("a,A boat at list price")
    house.arm("reset")
    house.arm("overbill", factor=0.5)
    await house.work(run_id)
    (truth,) = await house.ended("A boat at list price")
    house.arm("not_found", route="result", count=None)
    await house.settled()
    assert house.row(run_id).submission.cost_basis == "expected"

    bills = await compared(house)

    (corrected,) = bills.corrected
    assert (corrected.cost_nano, corrected.overrun_nano) == (truth["cost_nano"], 0)
    assert house.row(run_id).spent_nano == truth["cost_nano"]
    assert house.sound()


async def test_a_bill_above_its_hold_is_booked_in_full_and_freezes(house):
    """What is spent is spent: the whole bill is booked, told as an overrun, and nothing more is admitted."""
    run_id = house.open_run("a,A dear boat")
    house.arm("reset")
    house.arm("overbill", factor=3)
    await house.work(run_id)
    (truth,) = await house.ended("A dear boat")
    house.arm("not_found", route="result", count=None)
    await house.settled()

    bills = await compared(house)

    (corrected,) = bills.corrected
    assert corrected.overrun_nano == truth["cost_nano"] - house.row(run_id).maximum_nano > 0
    with Ledger.open(house.settings.ledger) as ledger:
        assert all(account.frozen for account in ledger.do(admission.balances, scope="run", key=run_id))
    assert house.sound()


async def test_bills_that_are_not_ours_and_purchases_without_a_bill_are_named(house):
    """Both directions: a bill without a submission, and a booked cost without a bill."""
    house.ago_ms = 101 * 60_000
    run_id = house.open_run("a,A boat off the books")
    house.arm("nginx_error")
    await house.work(run_id)
    request_id = "00000000-0000-4000-8000-000000000009"
    with Ledger.open(house.settings.ledger, clock=house.now_ms) as ledger:
        job_id = house.row(run_id).job_id
        ledger.do(transitions.find, job_id, Ticket(request_id, "", "", "", ""))
        ledger.do(settlement.fail_render, job_id, charged="unknown", error_type="lost_at_provider")
    house.ago_ms = 0
    stranger = house.buy_by_hand({"prompt": "A boat by hand", "resolution": "480p", "num_frames": 29})
    (truth,) = await house.ended("A boat by hand")

    bills = await compared(house)

    assert [each.request_id for each in bills.unbilled] == [request_id]
    assert (stranger, truth["cost_nano"]) in {(each.request_id, each.cost_nano) for each in bills.strangers}


async def test_without_an_admin_key_nothing_is_compared_and_that_is_said(house):
    """An ordinary key reads the history but no bills."""
    run_id = house.open_run("a,A boat for members")
    await house.work(run_id)
    house.with_an_ordinary_key()
    bills = await compared(house)
    assert "FAL_ADMIN_KEY" in bills.not_read
    assert house.row(run_id).submission.cost_basis == "billable_units"


@pytest.mark.parametrize(
    ("decide", "state", "word"),
    [(assume_spent, State.FAILED, "assumed spent"), (resubmit, State.PENDING, "resubmitted")],
)
async def test_a_decision_is_kept_with_its_reason(house, decide, state, word):
    """The entries that a decision wrote show who decided what, and why."""
    run_id = house.open_run("a,A disputed boat")
    house.arm("nginx_error")
    await house.work(run_id)
    with Ledger.open(house.settings.ledger) as ledger:
        decide(ledger, "a", reason="seen in fal's dashboard")
        row = ledger.do(queries.jobs, run_id)[0]
        lines = [line.why for line in ledger.stream(history.entries, EntryFilter(run_id=run_id))]
    assert row.state is state
    assert row.spent_nano == (row.maximum_nano if state is State.FAILED else 0)
    assert lines[0] == ""
    assert all(word in why and "seen in fal's dashboard" in why for why in lines[1:])
    assert len(lines) == (3 if state is State.FAILED else 2)
    assert house.sound()


@pytest.mark.parametrize(
    ("name", "reason", "said"),
    [
        ("a", "  ", "--reason"),
        ("a", "x" * 501, "500"),
        ("a", "ding\a", "printable"),
        ("nobody", "because", "1 (a)"),
        ("2", "because", "1 (a)"),
    ],
)
async def test_a_decision_that_makes_no_sense_is_refused(house, name, reason, said):
    """Without a reason, or about something that is not unknown, nothing is changed."""
    run_id = house.open_run("a,A boat without reason")
    house.arm("nginx_error")
    await house.work(run_id)
    with Ledger.open(house.settings.ledger) as ledger, pytest.raises(UsageError, match=_literal(said)):
        assume_spent(ledger, name, reason=reason)
    assert house.row(run_id).state is State.UNKNOWN


async def test_a_name_that_two_submissions_have_must_be_a_number(house):
    """Two runs with the same custom_id: the decision names which one it means."""
    runs = []
    for campaign in ("one", "two"):
        runs.append(house.open_run("a,A namesake", campaign=campaign))
        house.arm("nginx_error")
        await house.work(runs[-1])
    with Ledger.open(house.settings.ledger) as ledger:
        with pytest.raises(UsageError, match="by number"):
            assume_spent(ledger, "a", reason="because")
        assume_spent(ledger, str(house.row(runs[1]).job_id), reason="because")
    assert [house.row(run_id).state for run_id in runs] == [State.UNKNOWN, State.FAILED]


def _literal(text):
    return text.replace("(", r"\(").replace(")", r"\)")
