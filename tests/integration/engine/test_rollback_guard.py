"""A ledger restored from a copy: a run that is gone on with must not buy what the copy has forgotten."""

from __future__ import annotations

import json
import shlex
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from callsheet.cli.commands.runs import cancel
from callsheet.engine import rollback_guard
from callsheet.engine.cancel import cancel_pending
from callsheet.engine.job import render_job
from callsheet.engine.request import RunRequest
from callsheet.engine.rollback_guard import accept, continue_from_mark, mark_file, remember
from callsheet.engine.run import carry_out, open_context, open_plan
from callsheet.engine.scheduler import in_order, run_jobs
from callsheet.engine.stopping import StopSignal
from callsheet.errors import LedgerUnsafe, UsageError
from callsheet.ledger import Ledger, State, activity, admission, queries, runs, settlement
from manifests.planner import make_plan

pytestmark = pytest.mark.anyio


def marked(house: Any, ledger: Ledger) -> dict[str, Any]:
    """Return what the mark beside the runs says."""
    return dict(json.loads(mark_file(ledger, house.folder / "runs").read_text()))


async def test_a_run_is_not_gone_on_with_on_a_restored_ledger(house: Any) -> None:
    """Refused before the run is opened again, and the mark stays where it was."""
    run_id = house.open_run("a,A restored boat")
    copy = house.folder / "backup.sqlite"
    with Ledger.open(house.settings.ledger) as ledger:
        ledger.backup(copy)
    await house.work(run_id)
    with Ledger.open(house.settings.ledger) as ledger:
        ledger.do(runs.close_run, run_id)
        remember(ledger, house.folder / "runs", run_id)
        before = marked(house, ledger)
    house.changes["ledger_url"] = f"sqlite:///{copy}"
    with pytest.raises(LedgerUnsafe, match=r"0 entries of 3"):
        async with open_context(house.request(run_id), run_id, house.settings, StopSignal()):
            pass
    with Ledger.open(house.settings.ledger) as restored:
        assert marked(house, restored) == before
    assert len(house.accepted("A restored boat")) == 1


async def test_a_copy_that_has_as_many_entries_and_lacks_the_last_run_is_refused(house: Any) -> None:
    """A copy that went its own way may have any number of entries; what it never opened tells it apart."""
    copy, out = house.folder / "copy.sqlite", house.folder / "runs"
    with Ledger.open(house.settings.ledger) as ledger:
        ledger.backup(copy)
    run_id = house.open_run("a,A boat of the ledger")
    with Ledger.open(house.settings.ledger) as ledger:
        remember(ledger, out, run_id)
    house.changes["ledger_url"] = f"sqlite:///{copy}"
    with pytest.raises(LedgerUnsafe, match=f"0 entries of 0 and lacks the run {run_id}"):
        house.open_run("a,A boat of the copy")


async def test_a_session_moves_the_mark_before_it_buys(house: Any) -> None:
    """What a process bought that was then killed is in the mark as soon as the next one begins."""
    run_id = house.open_run("a,A marked session")
    await house.work(run_id)
    async with open_context(house.request(run_id), run_id, house.settings, StopSignal()) as ctx:
        assert (await ctx.do.call(lambda ledger: marked(house, ledger)))["entries"] == 3


async def test_what_a_killed_process_bought_is_in_the_mark(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both marks rise with the first purchase of a second and not with each; the run's end adds the rest."""
    monkeypatch.setattr(rollback_guard, "RISE_EVERY_S", 3600)
    run_id = house.open_run(*(f"{name},A boat marked {name}" for name in "abc"))
    async with open_context(house.request(run_id), run_id, house.settings, StopSignal()) as ctx:
        written: dict[Path, list[int]] = {house.folder: [], house.folder / "runs": []}
        write = rollback_guard.write_text_atomically

        def noted(path: Any, text: str) -> None:
            written[path.parent].append(json.loads(text)["entries"])
            write(path, text)

        monkeypatch.setattr(rollback_guard, "write_text_atomically", noted)

        await run_jobs(ctx, in_order(await ctx.do(queries.jobs, run_id)))
        assert [len(each) for each in written.values()] == [1, 1]
        entries = (await ctx.do.call(lambda ledger: marked(house, ledger)))["entries"]
        assert entries == written[house.folder / "runs"][0] >= 1
    assert [each[1:] for each in written.values()] == [[9], [9]]


async def test_two_writers_at_once_leave_the_higher_mark(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has read the old mark and is slow does not write over what another one wrote meanwhile."""
    folder, run_id = house.folder / "runs", house.open_run("a,A boat of two writers")
    write, others = rollback_guard.write_text_atomically, []

    def slow(path: Any, text: str) -> None:
        if not others:
            others.append(threading.Thread(target=quick))
            others[0].start()
            others[0].join(timeout=0.5)  # one that need not wait for us is done by then
        write(path, text)

    def quick() -> None:
        with Ledger.open(house.settings.ledger) as ledger:
            ledger.do(settlement.release, job_id)
            remember(ledger, folder, run_id)

    monkeypatch.setattr(rollback_guard, "write_text_atomically", slow)
    with Ledger.open(house.settings.ledger) as ledger:
        (job_id,) = (row.job_id for row in ledger.do(queries.jobs, run_id))
        ledger.do(admission.admit, job_id, slots=10)
        remember(ledger, folder, run_id)
        others[0].join()
        assert marked(house, ledger)["entries"] == ledger.do(activity.extent).entries == 2


async def test_a_mark_is_never_lowered(house: Any) -> None:
    """Neither an older ledger nor the end of an earlier run takes anything from it."""
    folder = house.folder / "runs"
    first = house.open_run("a,A first boat", campaign="one")
    last = house.open_run("a,A last boat", campaign="two")
    with Ledger.open(house.settings.ledger) as ledger:
        continue_from_mark(ledger, folder, first)
        assert marked(house, ledger) == {"entries": 0, "run_id": last, "ledger": ledger.label}
        mark_file(ledger, folder).write_text(json.dumps({"entries": 9, "run_id": last}))
        remember(ledger, folder, first)
        assert marked(house, ledger) == {"entries": 9, "run_id": last}


DAMAGES = ["deleted", "emptied", "older copy"]


def damage(house: Any, how: str) -> None:
    """Do to the ledger's file what a person or a sync program does."""
    file = house.folder / "ledger.sqlite"
    for name in (file.name, f"{file.name}-wal", f"{file.name}-shm"):
        (house.folder / name).unlink(missing_ok=True)
    if how == "emptied":
        file.touch(0o600)
    if how == "older copy":
        shutil.copy(house.folder / "backup.sqlite", file)


async def night(house: Any, out: Path) -> str:
    """Open and carry out a run of what the manifest holds; return its id."""
    plan = make_plan(house.folder / "night.csv")
    request = RunRequest(sandbox=True, speed=5000, out=str(out))
    run_id = await open_plan(plan, request, house.settings)
    async with open_context(house.request(run_id), run_id, house.settings, StopSignal()) as ctx:
        await carry_out(ctx)
    return run_id


@pytest.mark.parametrize("place", ["runs", "another folder"])
@pytest.mark.parametrize("how", DAMAGES)
async def test_a_ledger_that_is_not_the_newest_buys_nothing_until_a_person_accepts_it(
    house: Any, how: str, place: str
) -> None:
    """Also where the new run goes to another folder: what was bought before would be bought again."""
    prompt = f"A boat {how} {place}"
    (house.folder / "night.csv").write_text(
        f"custom_id,prompt,model,resolution,num_frames\na,{prompt},seedance-1.0-lite,480p,29\n"
    )
    house.open_run("x,A boat from before", campaign="before")
    with Ledger.open(house.settings.ledger) as ledger:
        ledger.backup(house.folder / "backup.sqlite")
    first = await night(house, house.folder / "runs")
    assert len(house.accepted(prompt)) == 1

    damage(house, how)
    out = house.folder / place
    with pytest.raises(LedgerUnsafe, match=f"`callsheet ledger accept {shlex.quote(str(out))}`") as refused:
        await night(house, out)
    assert first in str(refused.value)
    assert len(house.accepted(prompt)) == 1

    with Ledger.open(house.settings.ledger) as ledger:
        for run_id in ledger.do(queries.unsent):
            cancel_pending(ledger, run_id, "not in the copy")
        said = accept(ledger, out)
    assert (said.run_id, said.entries) == (first, 3)
    second = await night(house, out)
    assert house.row(second).state is State.SUCCEEDED
    assert len(house.accepted(prompt)) == 2


async def test_a_copy_with_jobs_to_send_is_not_accepted(house: Any) -> None:
    """They may have been bought since the copy, and the next run of the campaign would buy them first."""
    run_id = house.open_run("a,A boat that the copy would buy", campaign="night")
    copy, out = house.folder / "backup.sqlite", house.folder / "runs"
    with Ledger.open(house.settings.ledger) as ledger:
        ledger.backup(copy)
    await house.work(run_id)
    with Ledger.open(house.settings.ledger) as ledger:
        remember(ledger, out, run_id)
    with Ledger.open(f"sqlite:///{copy}") as restored:
        with pytest.raises(UsageError, match=rf"\(1\) .* End their runs first: `callsheet cancel {run_id}`"):
            accept(restored, out)
        with pytest.raises(LedgerUnsafe):
            continue_from_mark(restored, out, run_id)
        cancel_pending(restored, run_id, "not in the copy")
        assert accept(restored, out).entries == 3
        continue_from_mark(restored, out, run_id)
    assert len(house.accepted("A boat that the copy would buy")) == 1


async def test_a_job_that_was_held_in_the_copy_is_not_bought_again(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy may be made while pictures are sent: what it holds was perhaps bought a moment later."""
    run_id = house.open_run("a,A boat held in the copy", campaign="night")
    copy, out = house.folder / "backup.sqlite", house.folder / "runs"
    with Ledger.open(house.settings.ledger) as ledger:
        (row,) = ledger.do(queries.jobs, run_id)
        ledger.do(admission.admit, row.job_id, slots=10)
        ledger.backup(copy)
        ledger.do(settlement.release, row.job_id)
    await house.work(run_id)
    with Ledger.open(house.settings.ledger) as ledger:
        remember(ledger, out, run_id)
    refused = pytest.raises(UsageError, match=r"would still send \(1\)")
    with Ledger.open(f"sqlite:///{copy}") as restored, refused:
        accept(restored, out)
    monkeypatch.setenv("CALLSHEET_LEDGER_URL", f"sqlite:///{copy}")
    monkeypatch.setenv("CALLSHEET_DATA_DIR", str(house.folder))
    assert cancel(run_id, sandbox=True) == 0
    with Ledger.open(f"sqlite:///{copy}") as restored:
        accept(restored, out)
        assert restored.do(queries.jobs, run_id)[0].state is State.CANCELLED


def test_a_mark_that_cannot_be_read_asks_for_no_cancellation(house: Any) -> None:
    """It does not say that the ledger is older; ending good runs would not help."""
    house.open_run("a,A boat with a broken mark", campaign="night")
    with Ledger.open(house.settings.ledger) as ledger:
        mark_file(ledger, house.folder / "runs").write_text("")
        with pytest.raises(LedgerUnsafe, match="cannot be read"):
            accept(ledger, house.folder / "runs")


async def test_a_new_ledger_in_a_new_place_is_no_replaced_one(house: Any) -> None:
    """Two ledgers may run into one folder: only one that stands where another one stood is refused."""
    (house.folder / "night.csv").write_text(
        "custom_id,prompt,model,resolution,num_frames\na,A boat of two books,seedance-1.0-lite,480p,29\n"
    )
    await night(house, house.folder / "runs")
    (house.folder / "elsewhere").mkdir()
    house.changes["ledger_url"] = f"sqlite:///{house.folder / 'elsewhere' / 'ledger.sqlite'}"
    second = await night(house, house.folder / "runs")
    assert house.row(second).state is State.SUCCEEDED


@pytest.mark.parametrize("how", DAMAGES)
async def test_a_run_whose_ledger_disappears_in_the_middle_stops_buying(house: Any, how: str) -> None:
    """What is at fal is collected; the next job is not bought, and the run says what to do."""
    words = [f"A boat lost {how} {number}" for number in range(3)]
    run_id = house.open_run(*(f"j{number},{word}" for number, word in enumerate(words)))
    house.changes["concurrency"] = 1
    with Ledger.open(house.settings.ledger) as ledger:
        ledger.backup(house.folder / "backup.sqlite")
    async with house.account() as account:
        ctx = house.context(account, run_id)

        async def render(ctx: Any, row: Any) -> None:
            await render_job(ctx, row.job_id)
            damage(house, how)

        await run_jobs(ctx, in_order(await ctx.do(queries.jobs, run_id)), render)
    assert isinstance(ctx.stop.reason, LedgerUnsafe)
    assert "was deleted or replaced while this process used it" in str(ctx.stop.reason)
    assert [len(house.accepted(word)) for word in words] == [1, 0, 0]
    assert (house.folder / "runs" / run_id / "media" / "j0.mp4").is_file()
