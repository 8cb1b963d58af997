"""The same list run again while its first run is not finished: nothing is bought twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from callsheet.cli.commands import runs as run_commands
from callsheet.engine.in_flight import BEGIN_WITHIN_MS
from callsheet.engine.open_run import Selection, open_run, select
from callsheet.engine.request import RunRequest
from callsheet.errors import Busy, InFlight, UsageError
from callsheet.ledger import Ledger, NewRun, State, queries, runs, transitions
from callsheet.ledger.database import wall_clock_ms
from manifests.planner import make_plan

pytestmark = pytest.mark.anyio


def opened(house: Any, selection: Selection | None = None, *, again: bool = False) -> str:
    """Open a run of the house's manifest once more."""
    plan = make_plan(str(house.folder / "spring.csv"))
    with Ledger.open(house.settings.ledger) as ledger:
        chosen = selection or select(ledger, plan, fit=False, again=again)
        return open_run(
            ledger, plan, chosen, out=house.folder / "runs", options=RunRequest(sandbox=True).kept
        )


async def test_a_file_not_fetched_yet_is_not_bought_again(house: Any) -> None:
    """What is rendered and paid for is refused by name; resumed, the first run has it."""
    shot = "a,A rendered boat"
    first = house.open_run(shot)
    house.arm("server_error", route="file", count=99)
    await house.work(first)
    house.faults.clear()
    assert house.row(first).state is State.RENDERED
    with pytest.raises(UsageError, match=f"run {first} has 1 of these in flight.*callsheet resume {first}"):
        house.open_run(shot)
    await house.work(first)
    second = house.open_run(shot)
    assert house.rows(second) == []
    assert len(house.accepted("A rendered boat")) == 1


@pytest.mark.parametrize("once", [True, False])
def test_a_refusal_says_the_whole_command(house: Any, once: bool) -> None:
    """A sandbox run is in a ledger of its own, so its commands need --sandbox; checked at both looks."""
    first = house.open_run("a,A boat of the sandbox")
    with pytest.raises(InFlight) as caught:
        opened(house, Selection((0,), ()) if once else None)
    for verb in ("resume", "cancel"):
        assert f"`callsheet {verb} {first} --sandbox`" in str(caught.value)


def test_a_run_that_was_just_opened_is_about_to_be_begun(house: Any) -> None:
    """Its own process begins it in a moment, so nobody else is told to resume it before five minutes."""
    house.open_run("a,A boat of this moment")
    with pytest.raises(InFlight, match="Another process has just opened it: wait until it has ended"):
        opened(house)
    plan = make_plan(str(house.folder / "spring.csv"))
    with (
        Ledger.open(house.settings.ledger, clock=lambda: wall_clock_ms() + BEGIN_WITHIN_MS) as ledger,
        pytest.raises(InFlight, match="Go on with it: `callsheet resume"),
    ):
        select(ledger, plan, fit=False)


async def test_what_nobody_knows_about_is_not_bought_again(house: Any) -> None:
    """A POST that may have arrived counts as in flight."""
    first = house.open_run("a,A doubtful boat")
    house.arm("close")
    await house.work(first)
    assert house.row(first).state is State.UNKNOWN
    with pytest.raises(UsageError, match="in flight"):
        house.open_run("a,A doubtful boat")


def test_what_waits_in_an_unfinished_run_is_not_opened_twice(house: Any) -> None:
    """Jobs that `resume` would buy are refused; with --again they are opened a second time."""
    first = house.open_run("a,A waiting boat", "b,A boat beside it")
    with pytest.raises(UsageError, match=f"run {first} has 2 of these in flight"):
        opened(house)
    assert opened(house, again=True) != first


def test_two_processes_that_planned_together_do_not_both_open(house: Any) -> None:
    """The look is repeated in the transaction that opens the run: the second one is refused whole."""
    first = house.open_run("a,A boat for two")
    with pytest.raises(UsageError, match="in flight"):
        opened(house, Selection((0,), ()))
    with Ledger.open(house.settings.ledger) as ledger:
        assert [run.run_id for run in ledger.do(queries.runs)] == [first]


@pytest.mark.parametrize("count", [1, runs.BATCH + 1], ids=["few jobs", "many jobs"])
def test_a_run_that_is_refused_leaves_no_folder(house: Any, count: int) -> None:
    """Another process opened the same a moment before: its folder stays, and it is the only one."""
    first = house.open_run(*(f"s{number},A boat of two desks {number}" for number in range(count)))
    with pytest.raises(InFlight):
        opened(house, Selection(tuple(range(count)), ()))
    assert [each.name for each in (house.folder / "runs").iterdir() if each.is_dir()] == [first]


def test_a_folder_with_a_video_outlives_a_refusal(house: Any, monkeypatch: Any) -> None:
    """Nothing is removed from a folder that holds anything of a run."""

    def refuse(ledger: Ledger, run: NewRun, *_: Any, **__: Any) -> None:
        (Path(run.out) / "media" / "a.mp4").write_bytes(b"film")
        raise Busy("another process was faster")

    monkeypatch.setattr(Ledger, "open_run", refuse)
    with pytest.raises(Busy):
        house.open_run("a,A boat with a film")
    (folder,) = (house.folder / "runs").iterdir()
    names = {each.name for each in folder.iterdir()}
    assert names == {"plan.json", "plan.rows.parquet", "manifest.parquet", "media"}


async def test_what_was_made_while_a_person_was_asked_is_not_bought(house: Any) -> None:
    """A run planned before another one finished is refused, and planned again it uses the file."""
    first = house.open_run("a,A quick boat")
    await house.work(first)
    with pytest.raises(UsageError, match=f"run {first} has made 1 of these meanwhile"):
        opened(house, Selection((0,), ()))
    assert house.rows(opened(house)) == []


def test_what_was_left_out_or_cancelled_is_not_in_flight(house: Any, monkeypatch: Any) -> None:
    """A run whose jobs were skipped, or that `cancel` ended, stands in nobody's way."""
    skipped = house.open_run("a,A dropped boat")
    with Ledger.open(house.settings.ledger) as ledger:
        ledger.do(transitions.skip, [house.row(skipped).job_id], why="not bought")
    second = opened(house)
    monkeypatch.setattr(run_commands, "run_settings", lambda **_: house.settings)
    run_commands.cancel(second)
    assert house.row(second).state is State.CANCELLED
    assert house.row(opened(house)).state is State.PENDING
