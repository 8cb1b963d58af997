"""Shards side by side: one that fails takes nobody with it unseen, and leaves nobody behind."""

import asyncio

import pytest

from callsheet.engine.books import Books
from callsheet.engine.session import studio_at
from callsheet.engine.stopping import StopSign
from callsheet.errors import LedgerError
from callsheet.ledger import Ledger
from tasks import artifacts
from tasks.rendering import together

pytestmark = pytest.mark.anyio


async def test_when_one_shard_fails_the_others_have_ended_before_it_is_said():
    """What a shard may not cut short is finished while the run is still ours."""
    ended = []
    begun = asyncio.Event()

    async def goes_on():
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("the other")

    async def fails():
        await begun.wait()
        raise LedgerError("the disk is gone")

    with pytest.raises(LedgerError, match="the disk is gone"):
        await together([goes_on(), fails()])
    assert ended == ["the other"]


@pytest.mark.parametrize("is_near", [False, True])
async def test_a_closed_ledger_is_said_and_not_waited_for(house, is_near):
    """A verb that comes too late raises at once, instead of waiting for a thread that has ended."""
    ledger = Ledger.open(house.settings.ledger)
    books = Books(ledger, is_near=is_near)
    books.close()
    ledger.close()
    for verb in (Ledger.runs, Ledger.open_jobs):
        with pytest.raises(LedgerError, match="closed already"):
            async with asyncio.timeout(5):
                await books(verb)


@pytest.mark.parametrize("broken", ["acreate_progress_artifact", "aupdate_progress_artifact"])
async def test_progress_that_cannot_be_shown_does_not_fail_a_shard(house, monkeypatch, broken):
    """A server that does not answer costs a remark; what is done inside is done."""
    run_id = house.open_run("a,shards three")
    asked = asyncio.Event()

    async def silent(*_, **__):
        asked.set()
        raise ConnectionError("no Prefect server")

    async def made(*_, **__):
        return artifacts.UUID(int=1)

    monkeypatch.setattr(artifacts, "PROGRESS_EVERY_S", 0)
    monkeypatch.setattr(artifacts, "acreate_progress_artifact", made)
    monkeypatch.setattr(artifacts, broken, silent)
    async with house.desk() as desk:
        studio = studio_at(desk, desk.ledger.run(run_id), StopSign())
        async with artifacts.progress_of(studio, 1, desk.ledger.jobs(run_id)):
            await asked.wait()
    assert studio.remarks == ["Prefect does not show the progress of shard 1: no Prefect server"]
