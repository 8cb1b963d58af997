"""What nobody foresaw: the run says so, buys nothing more, and keeps what is paid for."""

import shutil
from pathlib import Path

import pytest

from callsheet.engine import submit
from callsheet.engine.job import render_job
from callsheet.engine.scheduler import run_jobs, waiting_jobs
from callsheet.errors import DiskFull, LedgerError
from callsheet.ledger import Ledger, State, queries, transitions
from callsheet.ledger.transaction import write

pytestmark = pytest.mark.anyio


async def test_a_folder_that_cannot_be_written_stops_the_buying(house):
    """The first file that has no place is the last one bought; it stays at fal for `resume`."""
    names = [f"mistakes one {number}" for number in range(4)]
    run_id = house.open_run(*(f"j{number},{name}" for number, name in enumerate(names)))
    house.changes["concurrency"] = 1
    with Ledger.open(house.settings.ledger) as ledger:
        media = Path(ledger.do(queries.run, run_id).out) / "media"
    shutil.rmtree(media)
    media.write_text("not mounted")
    ctx = await house.work(run_id)
    assert isinstance(ctx.stop.reason, DiskFull)
    assert "cannot be written" in str(ctx.stop.reason)
    assert sum(len(house.accepted(name)) for name in names) < len(names)
    assert State.PENDING in {row.state for row in house.rows(run_id)}


async def test_a_ledger_that_is_busy_for_a_moment_still_gets_the_request_id(house, monkeypatch):
    """What has been paid for is written down at the second try."""
    real, asked = transitions.accept, []

    @write(fenced=False, short=True)
    def accept(tx, *more, **named):
        asked.append(more)
        if len(asked) == 1:
            raise LedgerError("database is locked")
        return real(tx, *more, **named)

    monkeypatch.setattr(transitions, "accept", accept)
    run_id = house.open_run("a,mistakes two")
    await house.work(run_id)
    assert house.row(run_id).state is State.SUCCEEDED
    assert len(house.accepted("mistakes two")) == 1


async def test_a_commit_whose_answer_is_lost_is_no_mistake(house, monkeypatch):
    """The server has it although the connection broke: the job goes on, and so does the buying."""
    real, asked = Ledger.do, []

    def do(self, verb, *more, **named):
        done = real(self, verb, *more, **named)
        if verb is transitions.accept:
            asked.append(more)
            raise LedgerError("the connection was lost")
        return done

    monkeypatch.setattr(Ledger, "do", do)
    run_id = house.open_run("a,mistakes four a", "b,mistakes four b")
    ctx = await house.work(run_id)
    assert {row.state for row in house.rows(run_id)} == {State.SUCCEEDED}
    assert (len(asked), ctx.state.unfinished, ctx.stop.reason) == (2, [], None)


async def test_a_mistake_in_a_job_ends_the_run_and_is_named(house, monkeypatch):
    """The run must not go on buying over it; job and request are named, and its task hears of it."""

    @write(fenced=False, short=True)
    def locked(_tx, *_more, **_named):
        raise LedgerError("database is locked")

    run_id = house.open_run("a,mistakes three a", "b,mistakes three b")
    house.changes["concurrency"] = 1
    monkeypatch.setattr(transitions, "accept", locked)
    monkeypatch.setattr(submit, "ACCEPT_PAUSES_S", (0.0, 0.0))

    async with house.account() as account:
        ctx = house.context(account, run_id)
        raised = []

        async def render(ctx, row):
            try:
                await render_job(ctx, row.job_id)
            except LedgerError as error:
                raised.append(str(error))
                raise

        await run_jobs(ctx, await waiting_jobs(ctx), render)
    assert raised == ["database is locked"]
    assert ctx.stop.reason.exit_code == 1
    job = f"job {house.rows(run_id)[0].job_id}"
    (request_id,) = (each["id"] for each in house.accepted("mistakes three a"))
    assert ctx.state.unfinished == [
        f"{job}: fal accepted it as request {request_id}; the ledger does not have it: database is locked",
        f"{job}: LedgerError: database is locked",
    ]
    assert ctx.state.unfinished[1] in str(ctx.stop.reason)
    assert [row.state for row in house.rows(run_id)] == [State.SUBMITTING, State.PENDING]
