"""Trying again what a later run has made meanwhile, or is making: nothing is bought a second time."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from callsheet.cli.commands import runs as command
from callsheet.engine.results import result_rows
from callsheet.engine.run import open_context
from callsheet.engine.stopping import StopSignal
from callsheet.errors import UsageError
from callsheet.ledger import Ledger, State, queries, recovery, settlement, transitions, verify


@pytest.fixture
def typed(house: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Type `callsheet retry` up to where its flow would begin; returns what was said."""
    for name in ("run_settings", "settings_for"):
        monkeypatch.setattr(command, name, lambda *_, **__: house.settings)
    monkeypatch.setattr(command, "run_to_its_end", lambda request, *_, **__: house.asked.append(request) or 0)
    house.asked = []

    def typed(run_id: str, **options: bool) -> str:
        command.retry(run_id, sandbox=True, **options)
        return capsys.readouterr().err

    return typed


def give_up(house: Any, job_id: int) -> None:
    """Let the file of a finished job never have been fetched."""
    with closing(sqlite3.connect(house.folder / "ledger.sqlite")) as ledger, ledger:
        ledger.execute("UPDATE job SET state = 'failed', error_type = 'file_unreached', output_id = NULL")
        ledger.execute("DELETE FROM output")
        ledger.execute(
            "INSERT INTO event (at_ms, job_id, number, event, from_state, to_state, why) "
            "VALUES (1, ?, 1, 'x', 'x', 'failed', '')",
            (job_id,),
        )


def test_what_was_given_up_is_bought_only_where_fal_says_that_it_is_gone(house: Any, typed: Any) -> None:
    """Not where fal cannot be asked, and not where it has the file: that is fetched."""
    run_id = house.open_run("a,A boat given up")
    asyncio.run(house.work(run_id))
    row = house.row(run_id)
    give_up(house, row.job_id)
    house.arm("server_error", route="file", count=99)
    assert "could not ask fal for its video" in typed(run_id, all=True)
    assert house.row(run_id).state is State.FAILED
    house.faults.clear()
    assert "with the video: downloaded, not bought" in typed(run_id, all=True)
    assert house.row(run_id).state is State.RENDERED
    with Ledger.open(house.settings.ledger) as ledger:
        ledger.do(transitions.fail_media, row.job_id, error_type="file_unreached", error="again")
    house.arm("not_found", route="file", count=99)
    assert "not retried: a (row 2), file_unreached" in typed(run_id)
    assert house.row(run_id).state is State.FAILED
    assert "1 to retry" in typed(run_id, all=True)
    assert house.row(run_id).state is State.PENDING


def test_what_the_run_has_not_bought_so_far_is_said_with_its_price(house: Any, typed: Any) -> None:
    """A stopped run is gone on with: its other jobs are bought besides those that are tried again."""
    run_id = house.open_run("a,A boat left out", "b,A boat not sent")
    with Ledger.open(house.settings.ledger) as ledger:
        ledger.do(transitions.skip, [house.rows(run_id)[0].job_id], why="not bought")
    said = typed(run_id)
    assert "1 job of the run not bought so far: bought now, for at most $0.0219" in said
    assert "1 to retry, for at most $0.0219" in said


def test_only_all_and_again_together_buy_without_asking_fal(house: Any, typed: Any) -> None:
    """`--again` is about what other runs have made: a video that fal still has is downloaded all the same."""
    run_id = house.open_run("a,A boat asked about")
    asyncio.run(house.work(run_id))
    give_up(house, house.row(run_id).job_id)
    assert "with the video: downloaded, not bought" in typed(run_id, again=True)
    assert house.row(run_id).state is State.RENDERED


def test_what_another_run_has_paid_for_and_not_fetched_is_not_bought(house: Any, typed: Any) -> None:
    """The run that has it is named. Once that has the video, it is used; `--again` buys on purpose."""
    prompt = "A boat paid elsewhere"
    first = house.open_run(f"a,{prompt}")
    with Ledger.open(house.settings.ledger) as ledger:
        ledger.do(settlement.cancel, house.row(first).job_id)
    payer = house.open_run(f"a,{prompt}")
    asyncio.run(house.work(payer))
    with closing(sqlite3.connect(house.folder / "ledger.sqlite")) as ledger, ledger:
        (fetched,) = ledger.execute("SELECT output_id FROM job WHERE run_id = ?", (payer,)).fetchone()
        ledger.execute(
            "UPDATE job SET state = 'failed', error_type = 'file_unreached', output_id = NULL "
            "WHERE run_id = ?",
            (payer,),
        )
    said = typed(first, all=True)
    assert f"a (row 2): run {payer} has paid for it; `callsheet retry {payer}`" in said
    assert house.row(first).state is State.CANCELLED
    with closing(sqlite3.connect(house.folder / "ledger.sqlite")) as ledger, ledger:
        ledger.execute(
            "UPDATE job SET state = 'succeeded', error_type = '', output_id = ? WHERE run_id = ?",
            (fetched, payer),
        )
    assert "used at no cost" in typed(first)
    assert len(house.accepted(prompt)) == 1


@pytest.mark.parametrize("accept_prices", [False, True])
def test_retry_brings_what_a_later_run_made_and_hands_on_what_prices_a_person_accepted(
    house: Any, typed: Any, *, accept_prices: bool
) -> None:
    """The video of the later run is free, also where its error alone was not worth a purchase."""
    prompt = f"A boat at prices {accept_prices}"
    first = asyncio.run(failed_run(house, f"a,{prompt}", failing=prompt))
    asyncio.run(house.work(house.open_run(f"a,{prompt}")))
    said = typed(first, accept_prices=accept_prices)
    assert "1 made by another run since, used at no cost" in said
    assert house.row(first).state is State.ALREADY_MADE
    assert [request.accept_prices for request in house.asked] == [accept_prices]


def test_a_video_of_a_later_run_whose_file_is_gone_is_not_bought_again(house: Any, typed: Any) -> None:
    """Where fal no longer has it either, it is named with its place; `--again` buys it."""
    first = asyncio.run(failed_run(house, "a,A boat cleaned up", failing="cleaned up"))
    later = house.open_run("a,A boat cleaned up")
    asyncio.run(house.work(later))
    with Ledger.open(house.settings.ledger) as ledger:
        (Path(ledger.do(queries.run, later).out) / "media/a.mp4").unlink()
    house.arm("not_found", route="file", count=None)
    assert "its file is gone" in typed(first, all=True)
    assert house.row(first).state is State.FAILED
    typed(first, all=True, again=True)
    assert house.row(first).state is State.PENDING


def test_a_video_of_a_later_run_whose_file_is_gone_is_downloaded_again(house: Any, typed: Any) -> None:
    """While fal has it, it is free: nothing is bought, and the file is where it was."""
    prompt = "A boat tidied away"
    first = asyncio.run(failed_run(house, f"a,{prompt}", failing=prompt))
    later = house.open_run(f"a,{prompt}")
    asyncio.run(house.work(later))
    bought = len(house.accepted(prompt))
    with Ledger.open(house.settings.ledger) as ledger:
        path = Path(ledger.do(queries.run, later).out) / "media/a.mp4"
    path.unlink()
    said = typed(first)
    assert "downloaded again, for free: the files of a" in said
    assert (house.row(first).state, path.is_file()) == (State.ALREADY_MADE, True)
    assert len(house.accepted(prompt)) == bought


async def failed_run(house: Any, *shots: str, failing: str) -> str:
    """Open and work a run of which one job fails at the provider."""
    run_id = house.open_run(*shots)
    house.arm("render_failed", prompt_contains=failing, count=1, status=422)
    await house.work(run_id)
    house.faults.clear()
    return str(run_id)


def failed_ids(house: Any, run_id: str) -> list[int]:
    """Return the failed jobs of a run."""
    return [row.job_id for row in house.rows(run_id) if row.state is State.FAILED]


@pytest.mark.anyio
async def test_what_a_later_run_made_is_used_and_not_bought(house: Any) -> None:
    """The results name the file in the folder of the run that made it."""
    first = await failed_run(house, "a,A boat made first", "b,A boat made later", failing="made later")
    await house.work(house.open_run("a,A boat made later"))
    with Ledger.open(house.settings.ledger) as ledger:
        made = ledger.do(recovery.retry, failed_ids(house, first), once=True)
    assert len(made) == 1
    async with open_context(house.request(first), first, house.settings, StopSignal()):
        pass
    rows = house.rows(first)
    assert [row.state for row in rows] == [State.SUCCEEDED, State.ALREADY_MADE]
    with Ledger.open(house.settings.ledger) as ledger:
        run = ledger.do(queries.run, first)
        told = result_rows(ledger, run)
        assert ledger.do(verify.verify) == []
    for row, line in zip(rows, told, strict=True):
        data = (Path(run.out) / line.output_path).read_bytes()
        assert hashlib.sha256(data).hexdigest() == row.output.sha256
    assert len(house.accepted("A boat made later")) == 2


@pytest.mark.anyio
async def test_what_a_later_run_has_in_flight_is_not_bought_beside_it(house: Any) -> None:
    """The run that has it is named and nothing changes; with `--again` it is bought on purpose."""
    first = await failed_run(house, "a,A boat in flight", failing="in flight")
    later = house.open_run("a,A boat in flight")
    with Ledger.open(house.settings.ledger) as ledger:
        with pytest.raises(UsageError, match=later):
            ledger.do(recovery.retry, failed_ids(house, first), once=True)
        assert house.row(first).state is State.FAILED
        assert ledger.do(recovery.retry, failed_ids(house, first)) == {}
    assert house.row(first).state is State.PENDING
