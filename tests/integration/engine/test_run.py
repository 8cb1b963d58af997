"""Two processes and one run: the second waits a little, then says who has it."""

import asyncio
from contextlib import ExitStack

import pytest

from callsheet.engine import run
from callsheet.engine.request import RunRequest
from callsheet.engine.stopping import StopSignal
from callsheet.errors import Busy, UsageError
from callsheet.ledger import Ledger, parts, runs
from callsheet.settings import sqlite_url

pytestmark = pytest.mark.anyio


async def test_a_run_is_waited_for_while_another_process_looks_after_it(house):
    """Looking after what a dead process left is quick, so `resume` does not fail for it."""
    run_id = house.open_run("a,claims one")
    async with house.account() as account:
        with Ledger.open(house.settings.ledger) as other, ExitStack() as theirs:
            theirs.enter_context(other.claim(run_id))
            waiting = asyncio.ensure_future(_own(account, run_id))
            await asyncio.sleep(0)
            assert not waiting.done()
            theirs.close()
            assert await waiting == "owned"


async def test_a_run_that_somebody_works_on_is_left_to_them(house, monkeypatch):
    """Where the other one goes on, the error says so."""
    monkeypatch.setattr(run, "CLAIM_PAUSE_S", 0.0)
    run_id = house.open_run("a,claims two")
    async with house.account() as account:
        with (
            Ledger.open(house.settings.ledger) as other,
            other.claim(run_id),
            pytest.raises(Busy, match="being worked on by another process"),
        ):
            await _own(account, run_id)


async def _own(account, run_id: str) -> str:
    async with run.claimed_soon(account.ledger, run_id):
        return "owned"


async def test_a_run_that_is_left_alone_keeps_why_it_was_stopped(house):
    """A process that was not asked for finds it stopped: it changes nothing."""
    run_id = house.open_run("a,stopped before")
    with Ledger.open(house.settings.ledger) as ledger:
        ledger.do(runs.request_stop, run_id)
        ledger.do(parts.note_stop, run_id, "", "a person cancelled it")
        with pytest.raises(Busy, match="only a person goes on with it"):
            await _taken_up(house, run_id)
        assert ledger.do(parts.stops, [run_id]) == {run_id: "a person cancelled it"}


async def test_a_run_that_is_taken_up_whole_forgets_why_its_parts_were_stopped(house):
    """Nobody asked for it, and it goes on: an earlier part's reason holds no more."""
    run_id = house.open_run("a,split before", "b,split before too")
    with Ledger.open(house.settings.ledger) as ledger:
        (part, _) = ledger.do(parts.split, run_id, 1)
        ledger.do(parts.note_stop, run_id, part.name, "the key was refused")
        await _taken_up(house, run_id)
        assert ledger.do(parts.stops, [run_id]) == {}


async def _taken_up(house, run_id: str) -> None:
    request = house.request(run_id)
    async with run.open_context(request, run_id, house.settings, StopSignal(), is_asked=False):
        pass


@pytest.mark.parametrize("source", [None, ""])
async def test_a_request_that_names_nothing_is_refused(source, tmp_path, monkeypatch):
    """A flow run that was started in Prefect without parameters must not plan the folder of its worker."""
    monkeypatch.setenv("CALLSHEET_DATA_DIR", str(tmp_path))
    with pytest.raises(UsageError, match="names nothing to run"):
        async with run.opened(RunRequest(source=source)):
            pass


@pytest.mark.parametrize(("folder", "is_told"), [("sandbox", False), ("data", True)])
def test_the_sandbox_is_named_only_where_it_is_not_used_already(tmp_path, folder, is_told):
    """Without an unfinished run the advice to add --sandbox helps whoever asked about the other ledger."""
    with (
        Ledger.open(sqlite_url(tmp_path / folder / "ledger.sqlite")) as ledger,
        pytest.raises(UsageError) as said,
    ):
        ledger.find_run()
    assert ("add --sandbox" in str(said.value)) is is_told
