"""Bills against the book, and decisions of people."""

import asyncio
import json
import shutil
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from callsheet.engine.canary import render_canaries
from callsheet.engine.scheduler import render_here
from callsheet.errors import CanaryDisagrees, ClaimLost, UsageError
from callsheet.ledger import EntryFilter, Ledger, State, admission, history, queries, settlement, transitions
from callsheet.provider.platform_messages import MAX_NANO
from callsheet.reconciliation import billing
from callsheet.reconciliation.billing import compare_bills
from callsheet.reconciliation.decisions import assume_spent, resubmit
from callsheet.settings import ApiKey
from callsheet.ticket import Ticket
from tests.integration.conftest import LITE

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


def bill(house, costs):
    """Let fal bill these amounts for these requests, each a list of nano-dollars, and nothing else."""

    def answer(request):
        events = [
            {
                "request_id": request_id,
                "endpoint_id": LITE,
                "timestamp": "2026-11-29T12:00:00Z",
                "cost_estimate_nano_usd": cost_nano,
            }
            for request_id, amounts in costs.items()
            for cost_nano in amounts
            if LITE in request.url.params.get_list("endpoint_id")
        ]
        body = json.dumps({"billing_events": events, "next_cursor": None, "has_more": False}).encode()
        return httpx.Response(200, stream=httpx.ByteStream(body))

    house.transport = lambda: httpx.MockTransport(answer)


async def test_a_bill_that_cannot_be_booked_keeps_no_other_one_back(house):
    """One is too large for any ledger, one for what is spent already; the others are booked, and freeze."""
    run_id = house.open_run(*(f"{name},A boat among absurd bills {name}" for name in "abcde"))
    await house.work(run_id)
    requests = {row.custom_id: row.ticket.request_id for row in house.rows(run_id)}
    before = {row.custom_id: row.spent_nano for row in house.rows(run_id)}
    over_nano = max(row.maximum_nano for row in house.rows(run_id)) + 1
    amounts = {"a": [MAX_NANO] * 2, "b": [MAX_NANO], "c": [MAX_NANO], "d": [over_nano], "e": [before["e"]]}
    bill(house, {requests[name]: amounts[name] for name in amounts})

    bills = await compared(house)

    refused = {each.purchase.custom_id: each for each in bills.refused}
    (large,) = {"b", "c"} & set(refused)
    assert set(refused) == {"a", large}
    assert "implausible" in refused["a"].why
    corrected = {each.purchase.custom_id for each in bills.corrected}
    assert corrected == {"b", "c", "d"} - {large}
    assert bills.agreed == 1
    after = {row.custom_id: row.spent_nano for row in house.rows(run_id)}
    assert after == before | {"d": over_nano, ({"b", "c"} - {large}).pop(): MAX_NANO}
    with Ledger.open(house.settings.ledger) as ledger:
        assert all(account.frozen for account in ledger.do(admission.balances, scope="run", key=run_id))
    assert house.sound()
    assert [each["request_id"] for each in bills.document()["billed_but_not_booked"]] == [
        each.purchase.request_id for each in bills.refused
    ]


async def test_a_run_that_was_taken_over_books_no_bills(house):
    """A late owner changes nothing and hears that its claim is lost; no bill counts as refused for it."""
    run_id = house.open_run("a,A boat taken over before its bill")
    await house.work(run_id)
    before = house.row(run_id)
    bill(house, {before.ticket.request_id: [before.spent_nano + 1]})
    async with house.account() as account:
        with account.ledger.claim(run_id):
            shutil.rmtree(Path(f"{house.folder / 'ledger.sqlite'}.locks"))
            with Ledger.open(house.settings.ledger) as other, other.claim(run_id), pytest.raises(ClaimLost):
                await compare_bills(account, days=30)
    assert house.row(run_id).spent_nano == before.spent_nano


async def test_others_get_their_turn_between_two_commits_of_bills(house, monkeypatch):
    """What is asked of the ledger while bills are booked waits for one commit, not for all of them."""
    run_id = house.open_run("a,A boat in the first commit", "b,A boat in the second commit")
    await house.work(run_id)
    monkeypatch.setattr(billing, "BOOKED_AT_ONCE", 1)
    order, waiting, together = [], [], Ledger.together
    loop = asyncio.get_running_loop()
    async with house.account() as account:

        def ask():
            waiting.append(asyncio.ensure_future(account.do.call(lambda _ledger: order.append("another"))))

        def noted(ledger):
            order.append("bills")
            loop.call_soon_threadsafe(ask)
            return together(ledger)

        monkeypatch.setattr(Ledger, "together", noted)
        bills = await compare_bills(account, days=30)
        await asyncio.gather(*waiting)
    assert bills.agreed == 2
    assert order == ["bills", "another"] * 2


async def test_a_canary_whose_bill_cannot_be_booked_does_not_agree(house):
    """Nothing freezes for a bill that is not booked, so the rest of the run waits for a person."""
    run_id = house.open_run("a,A canary with an absurd bill")
    house.changes["admin_key"] = ApiKey(house.address.key)
    costs = {}
    bill(house, costs)

    async def render(ctx, row):
        await render_here(ctx, row)
        costs[house.row(run_id).ticket.request_id] = [MAX_NANO] * 2

    async with house.account() as account:
        ctx = house.context(account, run_id)
        ctx = replace(ctx, request=ctx.request.model_copy(update={"canary": 1}))
        await render_canaries(ctx, render)
    assert isinstance(ctx.stop.reason, CanaryDisagrees)
    assert "implausible" in str(ctx.stop.reason)


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
