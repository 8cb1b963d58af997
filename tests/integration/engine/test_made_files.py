"""What earlier runs made: it is neither bought nor copied again, and every run's results name it."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from callsheet.engine import made_files
from callsheet.engine.made_files import not_stored, refetch_gone
from callsheet.engine.results import absent_earlier, result_rows, write_report
from callsheet.ledger import JobRow, Ledger, Run, queries
from callsheet.reconciliation.account import AccountSession

pytestmark = pytest.mark.anyio


def run_of(house: Any, run_id: str) -> Run:
    """Return a run of the house's ledger."""
    with Ledger.open(house.settings.ledger) as ledger:
        return ledger.do(queries.run, run_id)


async def gone_earlier(account: AccountSession, run: Run) -> list[JobRow]:
    """Return the jobs whose files a run uses and that are nowhere any more."""
    absent = await account.do.call(absent_earlier, run)
    return [await account.do(queries.job, file.job_id) for file in not_stored(absent)]


async def test_only_new_rows_become_jobs_and_the_results_have_every_row(house: Any) -> None:
    """Made rows are looked up: no job, no link, no copy; their paths lead into the run that made them."""
    for prompt in ("A boat in port", "A boat at sea"):
        await house.work(house.open_run(f"a,{prompt}"))
    run_id = house.open_run("a,A boat at sea", "b,A boat in port", "c,A boat that is new")
    assert [(row.position, row.custom_id) for row in house.rows(run_id)] == [(2, "c")]
    await house.work(run_id)
    run = run_of(house, run_id)
    with Ledger.open(house.settings.ledger) as ledger:
        summary = write_report(ledger, run)
    assert summary["statuses"] == {"already_made": 2, "succeeded": 1}
    assert (summary["expected_usd"], summary["actual_usd"]) == ("0.021141", "0.021141")
    told = list(csv.DictReader((Path(run.out) / "results.csv").read_text().splitlines()))
    assert [(line["custom_id"], line["status"]) for line in told] == [
        ("a", "already_made"),
        ("b", "already_made"),
        ("c", "succeeded"),
    ]
    for line in told:
        data = (Path(run.out) / line["output_path"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == line["sha256"]
    assert [path.name for path in (Path(run.out) / "media").glob("*.mp4")] == ["c.mp4"]


async def test_a_night_without_new_rows_adds_a_run_and_no_job(house: Any) -> None:
    """The ledger grows by one run; the results are those of every row."""
    await house.work(house.open_run("a,A boat of yesterday"))
    run_id = house.open_run("a,A boat of yesterday")
    assert house.rows(run_id) == []
    with Ledger.open(house.settings.ledger) as ledger:
        (row,) = result_rows(ledger, run_of(house, run_id))
    assert (row.status, row.actual_nano, row.custom_id) == ("already_made", 0, "a")


async def test_a_file_that_is_gone_is_fetched_again_for_free(house: Any) -> None:
    """It comes back to where it was, and is the very same file; nothing is bought."""
    prompt = "A boat that went missing"
    first = house.open_run(f"a,{prompt}")
    await house.work(first)
    path = Path(run_of(house, first).out) / "media/a.mp4"
    content = path.read_bytes()
    path.unlink()
    run = run_of(house, house.open_run(f"a,{prompt}"))
    async with house.account() as account:
        earlier = await gone_earlier(account, run)
        assert [each.custom_id for each in earlier] == ["a"]
        refetched = await refetch_gone(account, earlier)
    assert (refetched.again, refetched.lost) == (("a (row 2)",), ())
    assert path.read_bytes() == content
    assert len(house.accepted(prompt)) == 1


async def test_files_that_are_gone_are_fetched_some_at_a_time(house: Any, monkeypatch: Any) -> None:
    """Several downloads go on together, and never more than the bound."""
    shots = [f"s{number},A boat of many {number}" for number in range(7)]
    first = house.open_run(*shots)
    await house.work(first)
    for path in (Path(run_of(house, first).out) / "media").glob("*.mp4"):
        path.unlink()
    run = run_of(house, house.open_run(*shots))
    at_once: list[int] = []
    going: set[str] = set()
    async with house.account() as account:
        earlier = await gone_earlier(account, run)
        real = account.queue.open_download

        @asynccontextmanager
        async def counted(url: str) -> AsyncIterator[Any]:
            going.add(url)
            at_once.append(len(going))
            async with real(url) as download:
                yield download
            going.remove(url)

        monkeypatch.setattr(account.queue, "open_download", counted)
        refetched = await refetch_gone(account, earlier)
    assert (len(refetched.again), refetched.lost) == (7, ())
    assert max(at_once) == made_files.AT_ONCE


async def test_a_file_that_is_gone_everywhere_is_named(house: Any) -> None:
    """Where fal no longer has it, the job is named and nothing is bought."""
    prompt = "A boat that is nowhere"
    first = house.open_run(f"a,{prompt}")
    await house.work(first)
    (Path(run_of(house, first).out) / "media/a.mp4").unlink()
    house.arm("not_found", route="file", count=99)
    run = run_of(house, house.open_run(f"a,{prompt}"))
    async with house.account() as account:
        refetched = await refetch_gone(account, await gone_earlier(account, run))
    assert (refetched.again, refetched.lost) == ((), ("a (row 2)",))
    assert len(house.accepted(prompt)) == 1


async def test_another_file_in_the_place_of_one_that_is_gone_is_not_taken(house: Any) -> None:
    """What fal serves now must be the very file that the ledger knows."""
    prompt = "A boat that was exchanged"
    first = house.open_run(f"a,{prompt}")
    await house.work(first)
    path = Path(run_of(house, first).out) / "media/a.mp4"
    path.unlink()
    run = run_of(house, house.open_run(f"a,{prompt}"))
    async with house.account() as account:
        (row,) = await gone_earlier(account, run)
        other = replace(row, output=replace(row.output, sha256="0" * 64))
        refetched = await refetch_gone(account, [other])
    assert (refetched.again, refetched.lost, path.exists()) == ((), ("a (row 2)",), False)
