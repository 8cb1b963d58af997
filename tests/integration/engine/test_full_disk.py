"""Disks that are really full: a small one is mounted for the videos, or for the ledger."""

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from callsheet.engine import admit, submit
from callsheet.engine.results import write_report
from callsheet.engine.run import open_context
from callsheet.engine.stopping import StopSignal
from callsheet.errors import CallsheetError, DiskFull, LedgerError
from callsheet.files import free_bytes
from callsheet.ledger import Ledger, Run, State, admission, queries, verify
from callsheet.ledger.executor import LedgerExecutor

pytestmark = pytest.mark.anyio

PAGE_BYTES = 4096


@pytest.fixture
def small_disk() -> Iterator[Callable[[Path], None]]:
    """Mount a disk of two MiB on a folder. Skips loudly where this machine does not let us."""
    with ExitStack() as mounted:

        def mount(folder: Path) -> None:
            folder.mkdir(mode=0o700)
            command = ["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", str(folder)]
            try:
                done = subprocess.run(command, capture_output=True, text=True, check=False)
            except FileNotFoundError:
                pytest.skip("no `mount` here: a disk that is really full was not tried")
            if done.returncode:
                pytest.skip(f"a disk that is really full was not tried: {done.stderr.strip()}")
            mounted.callback(subprocess.run, ["umount", "--lazy", str(folder)], check=True)

        yield mount


def fill(folder: Path, *, but_pages: int = 0) -> Path:
    """Take all the room there is but so many pages; returns the file that takes it."""
    filler = folder / "filler"
    filler.write_bytes(b"\0" * (free_bytes(folder) - but_pages * PAGE_BYTES))
    assert free_bytes(folder) == but_pages * PAGE_BYTES
    return filler


@pytest.fixture
def no_spare(monkeypatch) -> None:
    """Buy although there is no room, as when somebody else fills the disk meanwhile."""
    monkeypatch.setattr(admit, "SPARE_BYTES", 0)
    monkeypatch.setattr(admit, "LEDGER_SPARE_BYTES", 0)


@pytest.mark.parametrize(
    ("place", "advice"), [("runs", "another output folder"), ("books", "move the ledger")]
)
async def test_without_room_for_videos_or_ledger_nothing_is_bought(house, small_disk, place, advice):
    """It is asked before the purchase, of both disks, and the folder is named."""
    small_disk(house.folder / place)
    house.changes["ledger_url"] = f"sqlite:///{house.folder / 'books' / 'ledger.sqlite'}"
    run_id = house.open_run(f"a,full disk one {place}")
    ctx = await house.work(run_id)
    assert isinstance(ctx.stop.reason, DiskFull)
    assert ctx.stop.reason.exit_code == 1
    assert str(house.folder / place) in str(ctx.stop.reason)
    assert advice in str(ctx.stop.reason)
    assert house.row(run_id).state is State.PENDING
    assert house.accepted(f"full disk one {place}") == []


@pytest.mark.usefixtures("no_spare")
async def test_videos_that_do_not_fit_stay_at_fal_until_there_is_room(house, small_disk):
    """Nothing of a half file stays, the buying stops, and the next look brings what is paid for."""
    small_disk(house.folder / "runs")
    names = [f"full disk two {number}" for number in range(3)]
    run_id = house.open_run(*(f"j{number},{name}" for number, name in enumerate(names)))
    house.changes["concurrency"] = 1
    filler = fill(house.folder / "runs", but_pages=2)
    ctx = await house.work(run_id)
    assert isinstance(ctx.stop.reason, DiskFull)
    assert "make room and resume" in str(ctx.stop.reason)
    assert list((house.folder / "runs" / run_id / "media").iterdir()) == []
    assert {row.state for row in house.rows(run_id)} == {State.RENDERED, State.PENDING}
    assert house.sound()

    filler.unlink()
    await house.work(run_id)
    assert {row.state for row in house.rows(run_id)} == {State.SUCCEEDED}
    assert [len(house.accepted(name)) for name in names] == [1, 1, 1]


@pytest.mark.usefixtures("no_spare")
async def test_a_run_cannot_be_opened_on_a_full_disk(house, small_disk):
    """That is no bad input: the exit code is 1, nothing was sent, and no run is left to go on with."""
    runs = house.folder / "runs"
    small_disk(runs)
    filler = fill(runs)
    with pytest.raises(DiskFull, match=f"no room is left in {runs}/.*; make room or name another") as full:
        house.open_run("a,full disk nine")
    assert full.value.exit_code == 1
    with closing(Ledger.open(house.settings.ledger)) as ledger:
        assert ledger.do(queries.unfinished, "spring") == []
    assert [path.name for path in runs.iterdir() if path.is_dir()] == []
    filler.unlink()
    await house.work(house.open_run("a,full disk nine"))
    assert len(house.accepted("full disk nine")) == 1


async def test_a_run_taken_up_on_a_full_disk_names_its_folder(house, small_disk):
    """The mark beside the runs is the first file that is written, and nothing was bought before it."""
    runs = house.folder / "runs"
    small_disk(runs)
    run_id = house.open_run("a,full disk five")
    next(runs.glob(".ledger-*.json")).unlink()  # it is behind, as after a kill
    filler = fill(runs)
    with pytest.raises(DiskFull, match=f"no room is left in {runs}; make room and resume"):
        async with open_context(house.request(run_id), run_id, house.settings, StopSignal()):
            pass
    assert house.accepted("full disk five") == []
    filler.unlink()
    await house.work(run_id)


async def said_at_work(house, run_id: str) -> str:
    """Work on a run; returns why it stopped or did not begin, "" where neither is so."""
    try:
        return str((await house.work(run_id)).stop.reason or "")
    except LedgerError as error:  # no room for the run's prices
        return str(error)


def files_of(run: Run) -> dict[Path, bytes]:
    """Return what stands in a run's folder, without its videos."""
    return {path: path.read_bytes() for path in Path(run.out).iterdir() if path.is_file()}


@pytest.mark.usefixtures("no_spare")
async def test_a_ledger_that_runs_full_anywhere_loses_nothing_and_buys_nothing_twice(
    house, small_disk, monkeypatch
):
    """With more pages each time another write is the first that fails: before the POST, or after it."""
    monkeypatch.setattr(submit, "ACCEPT_PAUSES_S", (0.0, 0.0))
    small_disk(house.folder / "books")
    house.changes["ledger_url"] = f"sqlite:///{house.folder / 'books' / 'ledger.sqlite'}"
    ended = set()
    for pages in (8, 28, 34, 40, 48, 64, 120):
        name = f"full disk three {pages}"
        run_id = house.open_run(f"a,{name}", campaign=f"c{pages}")
        with Ledger.open(house.settings.ledger) as ledger, ledger._outside() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        filler = fill(house.folder / "books", but_pages=pages)
        said = await said_at_work(house, run_id)
        filler.unlink()
        assert said == "" or "Free some space in" in said
        row = house.row(run_id)
        ended.add(row.state)
        assert len(house.accepted(name)) == (row.state not in (State.PENDING, State.HELD))
        assert house.sound()

        await house.settled()
        await house.work(run_id)
        assert house.row(run_id).state is State.SUCCEEDED
        assert len(house.accepted(name)) == 1
    assert {State.PENDING, State.SUCCEEDED} < ended  # and states in between


async def test_where_the_disk_is_full_in_the_middle_of_a_commit_nobody_hears_of_a_success(house, small_disk):
    """SQLite undoes all of it at the verb that found no room; the verbs before that one are told so too."""
    small_disk(house.folder / "books")
    house.changes["ledger_url"] = f"sqlite:///{house.folder / 'books' / 'ledger.sqlite'}"
    run_id = house.open_run(*(f"a{number},full disk six {number}" for number in range(30)))
    with Ledger.open(house.settings.ledger) as ledger, closing(LedgerExecutor(ledger)) as books:
        with ledger._outside() as connection:
            connection.exec_driver_sql("PRAGMA cache_size = 3")  # pages leave for the disk before the commit
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        jobs = [row.job_id for row in ledger.do(queries.jobs, run_id)]
        filler = fill(house.folder / "books", but_pages=16)
        asked = [books(admission.admit, job, slots=30) for job in jobs]
        said = await asyncio.gather(*asked, return_exceptions=True)
        filler.unlink()
        assert {type(each) for each in said} == {LedgerError}
        assert all("Free some space" in str(each) for each in said)
        assert {row.state for row in ledger.do(queries.jobs, run_id)} == {State.PENDING}


async def test_a_backup_that_does_not_fit_is_none(house, small_disk):
    """Half a copy is not left for somebody to find when the ledger is lost. The error is about its disk."""
    small_disk(house.folder / "copies")
    house.open_run("a,full disk five")
    copy = house.folder / "copies" / "ledger.sqlite"
    filler = fill(house.folder / "copies", but_pages=2)
    with Ledger.open(house.settings.ledger) as ledger:
        with pytest.raises(DiskFull, match=f"in {copy.parent} for a copy of the ledger, which is as it was"):
            ledger.backup(copy)
        assert not copy.exists()
        filler.unlink()
        ledger.backup(copy)
    with Ledger.open(f"sqlite:///{copy}") as restored:
        assert restored.do(verify.verify) == []


async def test_a_report_that_does_not_fit_leaves_the_old_one_and_says_how_to_write_it(
    house, small_disk, monkeypatch
):
    """The run is over and everything is there; only its page is to be written again."""
    small_disk(house.folder / "runs")
    house.changes["ledger_url"] = f"sqlite:///{house.folder / 'sandbox' / 'ledger.sqlite'}"
    run_id = house.open_run("a,full disk four")
    monkeypatch.setattr(admit, "SPARE_BYTES", 0)
    await house.work(run_id)
    with Ledger.open(house.settings.ledger) as ledger:
        run = ledger.do(queries.run, run_id)
        write_report(ledger, run)
        before = files_of(run)
        filler = fill(house.folder / "runs")
        with pytest.raises(DiskFull, match=f"then run `callsheet report {run_id} --sandbox`") as full:
            write_report(ledger, run)
        assert isinstance(full.value, CallsheetError)
        assert files_of(run) == before
        filler.unlink()
        write_report(ledger, run)
