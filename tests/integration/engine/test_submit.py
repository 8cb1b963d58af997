"""What a run tells whoever watches it while nothing can be sent."""

from dataclasses import dataclass, replace
from typing import Any

import pytest

from callsheet.engine import outage, submit
from callsheet.engine.scheduler import run_jobs, waiting_jobs
from callsheet.errors import IllegalTransition, LedgerUnavailable, OutcomeUnknown
from callsheet.ledger import State, admission, recovery, settlement, transitions
from callsheet.reconciliation.unknown import find_orphans
from callsheet.ticket import Ticket

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    """Free tries follow each other at once."""
    monkeypatch.setattr(submit, "backoff_s", lambda *_: 0.0)


async def told_at_work(house, run_id: str, trouble: str = "") -> tuple[list[str], str]:
    """Work on a run that has this trouble at first. Return what was told, and the trouble at its end."""
    told: list[str] = []
    async with house.account() as account:
        ctx = replace(house.context(account, run_id), tell=told.append)
        ctx.state.trouble = trouble
        await run_jobs(ctx, await waiting_jobs(ctx))
        return told, ctx.state.trouble


async def test_a_queue_that_is_not_reached_is_told_by_its_address(house):
    """Nobody listens there: the job waits, nothing is bought, and it is said which address it is."""
    house.changes["queue_url"] = "http://127.0.0.1:9"
    run_id = house.open_run("a,no queue listens")
    told, trouble = await told_at_work(house, run_id)
    assert told[0].startswith("not sent to http://127.0.0.1:9 so far, trying again: ")
    assert trouble == told[-1]
    assert house.row(run_id).state is State.PENDING


async def test_trouble_is_over_when_a_job_was_sent(house):
    """A throttled request is tried again, and once it is taken nothing is told any more."""
    house.arm("throttle")
    run_id = house.open_run("a,throttled once")
    told, trouble = await told_at_work(house, run_id, "something from before")
    assert (told[-1], trouble) == ("submitting again", "")
    assert house.row(run_id).state is State.SUCCEEDED


@pytest.mark.parametrize("give_up", [settlement.declare_absent, settlement.write_off])
async def test_a_reply_that_comes_after_its_attempt_was_given_up_is_not_forgotten(house, give_up):
    """A person decided about it meanwhile; the reply that names its request makes it a finding."""
    async with house.account() as account:
        ctx = await given_up(house, account, give_up)
        with pytest.raises(IllegalTransition, match=TICKET.request_id):
            await submit._accept(ctx, JOB, 1, TICKET)
        (orphan,) = await find_orphans(account)
    assert (orphan.outcome, orphan.request_ids) == ("orphan", (TICKET.request_id,))


TICKET = Ticket("00000000-0000-4000-8000-000000000007", "e", "s", "r", "c")
JOB = 1


async def given_up(house, account, give_up=settlement.declare_absent):
    """Give up the attempt of a run's one job. Returns the run's context."""
    run_id = house.open_run("a,A late boat")
    assert house.row(run_id).job_id == JOB
    await account.do(admission.admit, JOB, slots=10)
    await account.do(transitions.send, JOB, arguments_sha256="x")
    await account.do(transitions.lose, JOB, why="its process stood still")
    await account.do(give_up, JOB, why="a person said so")
    return house.context(account, run_id)


@dataclass
class Away:
    """The ledger, which is away at the first notes of a request."""

    do: Any
    times: int

    async def __call__(self, verb: Any, *args: Any, **kwargs: Any) -> Any:
        if verb is recovery.note_orphan and self.times:
            self.times -= 1
            raise LedgerUnavailable("the server restarts")
        return await self.do(verb, *args, **kwargs)


@pytest.mark.parametrize("lost", [False, True])
async def test_the_request_of_an_attempt_that_was_given_up_is_noted_however_long_the_ledger_is_away(
    house, monkeypatch, *, lost
):
    """Also where only a reply that could not be read named it."""
    monkeypatch.setattr(submit, "ACCEPT_PAUSES_S", (0.0, 0.0))
    async with house.account() as account:
        ctx = await given_up(house, account)
        ctx = replace(ctx, account=replace(account, do=Away(account.do, times=2)))
        unread = OutcomeUnknown("no whole reply", lead_request_id=TICKET.request_id)
        late = submit._lost(ctx, JOB, 1, unread) if lost else submit._accept(ctx, JOB, 1, TICKET)
        with pytest.raises(IllegalTransition):
            await late
        assert await account.do(recovery.orphans, since_ms=0) == [(JOB, 1, TICKET.request_id)]


async def test_a_request_that_no_ledger_takes_is_named_in_what_the_run_did_not_finish(house, monkeypatch):
    """The ledger stays away: the last place that knows the request is what people are told."""
    monkeypatch.setattr(submit, "ACCEPT_PAUSES_S", (0.0,))
    async with house.account() as account:
        ctx = await given_up(house, account)
        ctx = replace(ctx, account=replace(account, do=Away(account.do, times=9)))
        with pytest.raises(LedgerUnavailable):
            await submit._accept(ctx, JOB, 1, TICKET)
    assert [TICKET.request_id in told for told in ctx.state.unfinished] == [True]


@dataclass
class LostAtLose:
    """The ledger, which is lost when it is told that an outcome is unknown; `meanwhile` happens then."""

    do: Any
    meanwhile: Any
    is_lost: bool = False

    async def __call__(self, verb: Any, *args: Any, **kwargs: Any) -> Any:
        if verb is not transitions.lose or self.is_lost:
            return await self.do(verb, *args, **kwargs)
        self.is_lost = True
        await self.meanwhile(verb, *args, **kwargs)
        raise LedgerUnavailable("the server restarts")

    async def call(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        return await self.do.call(function, *args, **kwargs)


@pytest.mark.parametrize("lead", [None, TICKET.request_id])
async def test_an_unknown_outcome_is_recorded_once_although_the_ledger_is_lost_then(house, monkeypatch, lead):
    """The server had committed it, with the id that the unreadable reply named."""
    monkeypatch.setattr(outage, "PAUSES_S", (0.0,))
    run_id = house.open_run("a,A lost boat")
    async with house.account() as account:
        await account.do(admission.admit, JOB, slots=10)
        await account.do(transitions.send, JOB, arguments_sha256="x")
        ledger = LostAtLose(account.do, account.do)
        ctx = house.context(replace(account, do=ledger), run_id)
        assert await submit._lost(ctx, JOB, 1, OutcomeUnknown("no whole reply", lead_request_id=lead)) is None
        assert await account.do(recovery.orphans, since_ms=0) == []
    assert house.row(run_id).submission.lead_request_id == lead


async def test_the_request_of_an_attempt_given_up_in_an_outage_is_noted(house, monkeypatch):
    """A person decided while the server was away: what the unreadable reply named becomes a finding."""
    monkeypatch.setattr(outage, "PAUSES_S", (0.0,))
    run_id = house.open_run("a,A late boat")
    async with house.account() as account:
        await account.do(admission.admit, JOB, slots=10)
        await account.do(transitions.send, JOB, arguments_sha256="x")

        async def decided(*_: Any, **__: Any) -> None:
            await account.do(transitions.lose, JOB, why="its process stood still")
            await account.do(settlement.declare_absent, JOB, why="a person said so")

        ctx = house.context(replace(account, do=LostAtLose(account.do, decided)), run_id)
        unread = OutcomeUnknown("no whole reply", lead_request_id=TICKET.request_id)
        with pytest.raises(IllegalTransition):
            await submit._lost(ctx, JOB, 1, unread)
        assert await account.do(recovery.orphans, since_ms=0) == [(JOB, 1, TICKET.request_id)]


@pytest.fixture
def sent(house, monkeypatch):
    """Of each request as it leaves: how many jobs are being sent, and how many fal has accepted."""
    found: list[tuple[int, int]] = []
    send = submit._send_once

    async def watched(ctx, order, intent, *, again):
        rows = house.rows(ctx.run.run_id)
        submitting = sum(row.state is State.SUBMITTING for row in rows)
        found.append((submitting, sum(row.ticket is not None for row in rows)))
        return await send(ctx, order, intent, again=again)

    monkeypatch.setattr(submit, "_send_once", watched)
    return found


async def test_the_first_request_of_an_endpoint_goes_alone(house, sent):
    """A process that dies before it left holds one slot; once it was accepted, the others go together."""
    await house.work(house.open_run(*(f"shot-{number},number {number}" for number in range(5))))
    assert sent[0] == (1, 0)
    assert all(accepted for _, accepted in sent[1:])
    assert len(sent) == 5


async def test_requests_go_one_at_a_time_until_one_is_accepted(house, sent):
    """One without a reply and one that is refused prove nothing about those that follow."""
    house.arm("close")
    house.arm("answer", route="submit", status=422, body="{}")
    await house.work(house.open_run(*(f"shot-{number},number {number}" for number in range(5))))
    assert sent[:3] == [(1, 0)] * 3
    assert all(accepted for _, accepted in sent[3:])
    assert len(sent) == 5


async def test_a_queue_that_takes_nothing_does_not_hold_up_the_others_one_by_one(house, sent):
    """What cannot be sent arrives nowhere: the others try at the same time."""
    house.changes["queue_url"] = "http://127.0.0.1:9"
    await house.work(house.open_run(*(f"shot-{number},number {number}" for number in range(3))))
    assert max(submitting for submitting, _ in sent) == 2
