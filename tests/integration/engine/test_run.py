"""Two processes and one run: the second waits a little, then says who has it."""

import asyncio
from contextlib import ExitStack

import pytest

from callsheet.engine import run
from callsheet.errors import Busy, UsageError
from callsheet.ledger import Ledger
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
    async with run._claimed(account, run_id, ""):
        return "owned"


@pytest.mark.parametrize(("folder", "is_told"), [("sandbox", False), ("data", True)])
def test_the_sandbox_is_named_only_where_it_is_not_used_already(tmp_path, folder, is_told):
    """Without an unfinished run the advice to add --sandbox helps whoever asked about the other ledger."""
    with (
        Ledger.open(sqlite_url(tmp_path / folder / "ledger.sqlite")) as ledger,
        pytest.raises(UsageError) as said,
    ):
        ledger.find_run()
    assert ("add --sandbox" in str(said.value)) is is_told
