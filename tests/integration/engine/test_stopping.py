"""A stop reaches what waits between two tries: nothing leaves after it, and nothing stays held."""

import asyncio
import os
import signal

import pytest

from callsheet.engine.admit import admit_and_send
from callsheet.engine.run import carry_out, open_context
from callsheet.engine.scheduler import in_order, run_jobs
from callsheet.engine.stopping import StopSignal, handlers_kept, signals_to, take_signals
from callsheet.errors import Interrupted, RunStopping, SlotsUnknown
from callsheet.ledger import Ledger, State, queries, recovery, runs, settlement

pytestmark = pytest.mark.anyio


class Watched(StopSignal):
    """Says when a job waits between two tries."""

    def __init__(self):
        super().__init__()
        self.pausing = asyncio.Event()

    async def pause(self, seconds):
        self.pausing.set()
        await super().pause(seconds)


@pytest.mark.parametrize("by", ["ctrl_c", "cancel"])
async def test_a_throttled_job_is_not_sent_after_the_stop(house, by):
    """Ctrl-C here, or `callsheet cancel` in another process, while a POST waits to be tried again."""
    word = f"stopping one {by}"
    run_id = house.open_run(f"a,{word}")
    house.arm("throttle", count=1, delay_s=30 if by == "ctrl_c" else 1)
    async with house.account() as account:
        ctx = house.context(account, run_id, Watched())

        going = asyncio.ensure_future(run_jobs(ctx, in_order(account.ledger.do(queries.jobs, run_id))))
        await ctx.stop.pausing.wait()
        assert house.row(run_id).state is State.HELD
        if by == "ctrl_c":
            ctx.stop.interrupt()
        else:
            with Ledger.open(house.settings.ledger) as other:
                other.do(runs.request_stop, run_id)
        await going
    assert house.accepted(word) == []
    assert house.row(run_id).state is State.PENDING
    assert isinstance(ctx.stop.reason, Interrupted if by == "ctrl_c" else RunStopping)
    assert house.sound()


class InTheMiddle(Watched):
    """Comes while the POST is under way, whose answer is then a 429."""

    async def pause(self, seconds):
        raise AssertionError("nobody waits any more")


@pytest.mark.parametrize("when", ["between two tries", "during the try"])
async def test_a_stop_at_once_leaves_nothing_held_that_was_not_sent(house, when):
    """SIGTERM, or a second Ctrl-C, around a POST that was throttled: hold and slot are free at once."""
    word = f"stopping at once {when}"
    run_id = house.open_run(f"a,{word}")
    house.arm("throttle", count=1, delay_s=30)
    sign = Watched() if when == "between two tries" else InTheMiddle()
    async with house.account() as account:
        ctx = house.context(account, run_id, sign)
        submit = ctx.queue.submit

        async def answered(*given, **more):
            try:
                return await submit(*given, **more)
            finally:
                if when == "during the try":
                    sign.stop(Interrupted("terminated"))
                    await asyncio.sleep(0)

        ctx.queue.submit = answered

        going = asyncio.ensure_future(run_jobs(ctx, in_order(account.ledger.do(queries.jobs, run_id))))
        if when == "between two tries":
            await sign.pausing.wait()
            sign.stop(Interrupted("terminated"))
        await going
    assert house.accepted(word) == []
    assert house.row(run_id).state is State.PENDING
    assert house.sound()


async def test_a_job_that_moved_on_since_the_list_was_read_is_left_alone(house):
    """A retried job that is cancelled while it waits must not follow its earlier request."""
    word = "stopping two"
    run_id = house.open_run(f"a,{word}")
    house.arm("render_failed", prompt_contains=word, count=1, status=422)
    await house.work(run_id)
    row = house.row(run_id)
    assert row.state is State.FAILED
    async with house.account() as account:
        account.ledger.do(recovery.retry, [row.job_id], why="again")
        rows = in_order(account.ledger.do(queries.jobs, run_id))
        account.ledger.do(settlement.cancel, row.job_id, why="cancelled by a person")
        ctx = house.context(account, run_id)

        await run_jobs(ctx, rows)
    assert house.row(run_id).state is State.CANCELLED
    assert len(house.accepted(word)) == 1
    assert house.sound()


@pytest.mark.parametrize("when", ["before it is admitted", "between two tries"])
async def test_a_job_that_is_cancelled_from_outside_ends_nothing_by_mistake(house, when):
    """`callsheet cancel` beside a run: it drains as a stopped run does, and buys nothing."""
    word = f"stopping cancelled {when}"
    run_id = house.open_run(f"a,{word}")
    house.arm("throttle", count=1, delay_s=1)
    async with house.account() as account:
        ctx = house.context(account, run_id, Watched())

        def cancelled():
            with Ledger.open(house.settings.ledger) as other:
                other.do(runs.request_stop, run_id)
                other.do(
                    settlement.cancel, other.do(queries.jobs, run_id)[0].job_id, why="cancelled by a person"
                )

        if when == "before it is admitted":
            plain = account.ledger.do

            def do(verb, *more, **named):
                if verb is admit_and_send:
                    cancelled()
                return plain(verb, *more, **named)

            account.ledger.do = do

        going = asyncio.ensure_future(run_jobs(ctx, in_order(account.ledger.do(queries.jobs, run_id))))
        if when == "between two tries":
            await ctx.stop.pausing.wait()
            cancelled()
        await going
    assert isinstance(ctx.stop.reason, RunStopping)
    assert (house.row(run_id).state, house.accepted(word)) == (State.CANCELLED, [])
    assert house.sound()


async def test_slots_that_nobody_can_free_end_the_run(house, monkeypatch):
    """With unknown requests of another run in every slot, the run ends by itself and says what settles it."""
    monkeypatch.setattr("callsheet.engine.admit.SLOT_LOOK_S", 0)
    monkeypatch.setattr("callsheet.engine.admit.STUCK_S", 0)
    house.with_an_ordinary_key()
    house.changes["concurrency"] = 1
    first = house.open_run("a,stopping three")
    house.arm("close")
    await house.work(first)
    house.faults.clear()
    assert house.row(first).state is State.UNKNOWN
    second = house.open_run("b,stopping three two", campaign="other")
    async with asyncio.timeout(30):
        ctx = await house.work(second)
    assert isinstance(ctx.stop.reason, SlotsUnknown)
    assert ctx.stop.reason.exit_code == 7
    assert "`callsheet reconcile --sandbox`" in str(ctx.stop.reason)
    assert house.row(second).state is State.PENDING
    assert house.accepted("stopping three two") == []


@pytest.mark.parametrize("canary", [None, 1])
async def test_a_run_that_is_stopped_before_it_begins_ends_with_a_summary(house, canary):
    """It buys nothing, also where a canary would go first; everything stays pending for `resume`."""
    run_id = house.open_run("a,stopped before it began")
    request = house.request(run_id).model_copy(update={"canary": canary})
    stop = StopSignal()
    stop.stop(Interrupted("terminated"))
    async with open_context(request, run_id, house.settings, stop) as ctx:
        summary = await carry_out(ctx)
    assert (summary["stopped_by"], summary["exit_code"]) == ("terminated", 130)
    assert house.row(run_id).state is State.PENDING
    assert house.accepted("stopped before it began") == []


async def test_signals_are_the_callers_again_after_a_run():
    """A flow that goes on after its subflow could not be ended by Ctrl-C, nor by SIGTERM."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    with handlers_kept():
        take_signals(StopSignal())
        assert [signal.getsignal(number) for number in numbers] != before
    assert [signal.getsignal(number) for number in numbers] == before


async def test_a_run_in_another_thread_takes_no_signals():
    """Python lets only the main one have them: a flow in a thread of a service failed."""
    before = signal.getsignal(signal.SIGTERM)

    async def begin():
        with handlers_kept():
            take_signals(StopSignal())

    await asyncio.to_thread(asyncio.run, begin())
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("before", [signal.SIG_DFL, signal.SIG_IGN], ids=["in a terminal", "under nohup"])
async def test_a_terminal_that_is_closed_ends_a_run_except_under_nohup(before):
    """The run is stopped at once, and not on purpose: the next one goes on with it."""
    was = signal.signal(signal.SIGHUP, before)
    try:
        stop = StopSignal()
        with signals_to(stop):
            os.kill(os.getpid(), signal.SIGHUP)
            if before is signal.SIG_IGN:
                assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            else:
                await stop.wait_stopped()
                assert type(stop.reason) is Interrupted
        assert signal.getsignal(signal.SIGHUP) is before
    finally:
        signal.signal(signal.SIGHUP, was)
