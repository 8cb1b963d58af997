"""The ledger from the event loop: who asks at the same moment shares a commit, and is answered after it."""

import asyncio
import threading
from contextlib import contextmanager
from contextvars import ContextVar

import pytest
import sqlalchemy as sa

from callsheet.errors import IllegalTransition, LedgerError
from callsheet.ledger import Ledger, State, admission, queries, transitions
from callsheet.ledger.executor import LedgerExecutor

pytestmark = pytest.mark.anyio


@pytest.fixture
def books(house):
    """The ledger behind its thread, with five jobs in it."""
    run_id = house.open_run(*(f"shot-{number},number {number}" for number in range(5)))
    ledger = Ledger.open(house.settings.ledger)
    books = LedgerExecutor(ledger)
    books.jobs = [row.job_id for row in ledger.do(queries.jobs, run_id)]
    books.ledger = ledger
    yield books
    books.close()
    ledger.close()


@pytest.fixture
def commits(books):
    """Every commit of the ledger, as it happens."""
    seen = []
    sa.event.listen(books.ledger._engine, "commit", lambda _connection: seen.append("commit"))
    return seen


async def test_short_verbs_that_wait_together_share_a_commit(books, commits):
    """Five jobs that wait behind a long call are admitted by one commit, each with its own hold."""
    busy, go_on = threading.Event(), threading.Event()

    def occupy(_ledger):
        busy.set()
        go_on.wait()

    occupying = asyncio.ensure_future(books.call(occupy))
    await asyncio.to_thread(busy.wait)
    asked = [asyncio.ensure_future(books(admission.admit, job, slots=10)) for job in books.jobs]
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(occupying, *asked)
    assert commits == ["commit"]
    assert {books.ledger.do(queries.job, job).state for job in books.jobs} == {State.HELD}


async def test_each_hears_of_his_own_verb(books):
    """One that is not possible raises for him who asked; the others are done."""
    first, second, *_ = books.jobs
    asked = [books(admission.admit, first, slots=10), books(transitions.start, second)]
    done, refused = await asyncio.gather(*asked, return_exceptions=True)
    assert not isinstance(done, BaseException)
    assert isinstance(refused, IllegalTransition)
    assert [books.ledger.do(queries.job, job).state for job in (first, second)] == [State.HELD, State.PENDING]


async def test_where_the_commit_fails_everybody_hears_it_and_nothing_has_happened(books, monkeypatch):
    """Nobody may go on with what the disk does not have."""
    together = Ledger.together

    @contextmanager
    def failing(ledger):
        with together(ledger):
            yield
            raise LedgerError("the disk is full")

    monkeypatch.setattr(Ledger, "together", failing)
    blocker = asyncio.ensure_future(books(queries.open_jobs))  # so that the thread finds all of them waiting
    asked = [books(admission.admit, job, slots=10) for job in books.jobs]
    said = await asyncio.gather(*asked, return_exceptions=True)
    await blocker
    heard = [each for each in said if isinstance(each, LedgerError)]
    held = [job for job in books.jobs if books.ledger.do(queries.job, job).state is State.HELD]
    assert len(heard) + len(held) == len(books.jobs)
    assert heard


async def test_a_verb_whose_asker_is_cancelled_is_finished_first(books):
    """Nobody may be left not knowing what the ledger holds."""
    asked = asyncio.ensure_future(books(admission.admit, books.jobs[0], slots=10))
    await asyncio.sleep(0)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert books.ledger.do(queries.job, books.jobs[0]).state is State.HELD


async def test_the_loop_goes_on_while_another_process_writes(books, house):
    """A large run that is opened beside this one: replies of paid requests and Ctrl-C are heard meanwhile."""
    with Ledger.open(house.settings.ledger) as other:
        with other.together():
            asked = [asyncio.ensure_future(books(admission.admit, job, slots=10)) for job in books.jobs]
            for _ in range(5):
                await asyncio.sleep(0)
            assert not any(each.done() for each in asked)
        await asyncio.gather(*asked)
    assert {books.ledger.do(queries.job, job).state for job in books.jobs} == {State.HELD}


async def test_a_closed_ledger_is_said_and_not_waited_for(books):
    """A verb that comes too late raises at once, instead of waiting for a thread that has ended."""
    books.close()
    for verb in (queries.runs, queries.open_jobs):
        with pytest.raises(LedgerError, match="the ledger is closed"):
            async with asyncio.timeout(5):
                await books(verb)
    books.close = lambda: None


async def test_a_verb_is_executed_in_the_context_of_its_caller(books):
    """Prefect knows by it which flow run and task a log line belongs to."""
    caller = ContextVar("caller", default="nobody")

    async def asked_by(name):
        caller.set(name)
        return await books.call(lambda _ledger: caller.get())

    assert await asyncio.gather(asked_by("first"), asked_by("second")) == ["first", "second"]
