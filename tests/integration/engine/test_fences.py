"""A run whose process is late: taken over by another one, or suspended before its POST left."""

import shutil
from pathlib import Path

import pytest

from callsheet.engine import admit, submit
from callsheet.engine.run import finish
from callsheet.engine.scheduler import run_jobs, waiting_jobs
from callsheet.errors import ClaimLost, NotSent
from callsheet.ledger import Ledger, State, transitions
from callsheet.ledger.transaction import write
from callsheet.provider.client import SEND_WITHIN_S
from manifests.job import decode_job

pytestmark = pytest.mark.anyio


async def test_a_run_that_was_taken_over_buys_nothing_and_ends(house):
    """The late process sends nothing, waits for nothing and says why; the new owner buys each job once."""
    names = [f"fences one {number}" for number in range(3)]
    run_id = house.open_run(*(f"j{number},{name}" for number, name in enumerate(names)))
    async with house.account() as account:
        ctx = house.context(account, run_id)
        with account.ledger.claim(run_id):
            shutil.rmtree(Path(f"{house.folder / 'ledger.sqlite'}.locks"))
            with Ledger.open(house.settings.ledger) as other, other.claim(run_id):
                await run_jobs(ctx, await waiting_jobs(ctx))
    assert isinstance(ctx.stop.reason, ClaimLost)
    assert ctx.stop.reason.exit_code == 130
    assert [house.accepted(name) for name in names] == [[], [], []]
    await house.work(run_id)
    assert [len(house.accepted(name)) for name in names] == [1, 1, 1]


@pytest.mark.parametrize("noticed", [True, False])
async def test_a_run_that_was_taken_over_writes_no_results(house, noticed):
    """It ends in one way, with ClaimLost, whether the loss is noticed by a job or only at the end."""
    run_id = house.open_run(f"a,fences results {noticed}")
    folder = Path(house.settings.out) / run_id
    async with house.account() as account:
        ctx = house.context(account, run_id)
        with account.ledger.claim(run_id):
            if not noticed:
                await run_jobs(ctx, await waiting_jobs(ctx))
            shutil.rmtree(Path(f"{house.folder / 'ledger.sqlite'}.locks"))
            before = set(folder.rglob("*"))
            with Ledger.open(house.settings.ledger) as other, other.claim(run_id):
                if noticed:
                    await run_jobs(ctx, await waiting_jobs(ctx))
                with pytest.raises(ClaimLost, match=f"run {run_id} was taken over by another process"):
                    await finish(ctx)
    assert set(folder.rglob("*")) == before
    assert not (folder / "results.csv").exists()


async def test_a_follower_whose_run_was_taken_over_waits_for_nothing_more(house, monkeypatch):
    """What it learns is refused, and the run ends at once: the next owner follows the same request."""
    run_id = house.open_run("a,fences two")
    taken_over = ClaimLost("run was taken over")

    @write()
    def refused(_tx, *_more, **_named):
        raise taken_over

    monkeypatch.setattr(transitions, "render", refused)
    async with house.account() as account:
        ctx = house.context(account, run_id)
        await run_jobs(ctx, await waiting_jobs(ctx))
    assert (ctx.stop.phase, ctx.stop.reason) == ("stopped", taken_over)
    assert len(house.accepted("fences two")) == 1


async def test_a_post_does_not_leave_after_the_machine_slept_on_its_intent(house, monkeypatch):
    """From the intent on the time counts, suspended or not: somebody else may have the job by now."""
    run_id = house.open_run("a,fences three")
    row = house.row(run_id)
    async with house.account() as account:
        ctx = house.context(account, run_id)
        order = admit.order_of(ctx, decode_job(row.payload, account.catalog), row, {})
        asleep_s = 0.0
        monkeypatch.setattr(account.queue, "_since_boot", lambda: 1000.0 + asleep_s)
        intent = await admit.admit(ctx, row, order)
        asleep_s = SEND_WITHIN_S + 1
        outcome = await submit._send_once(ctx, order, intent, again=False)
        assert isinstance(outcome, NotSent)
        assert house.row(run_id).state is State.HELD
        assert house.accepted("fences three") == []
        ticket = await submit._send_once(ctx, order, intent, again=True)
        assert ticket.request_id
    assert len(house.accepted("fences three")) == 1
