"""The file of an open ledger is deleted or replaced: nothing more is bought, what was bought is finished."""

import shutil
from pathlib import Path

import pytest

from callsheet.errors import LedgerUnsafe
from callsheet.ledger import Event, Ledger, State, queries, verify
from callsheet.settings import Settings
from tests.integration.ledger.conftest import Desk


def deleted(path: Path) -> None:
    """Unlink it, as a cleaning job does."""
    path.unlink()


def replaced(path: Path) -> None:
    """Put another file in its place, as a restore does."""
    copy = path.with_name("copy.sqlite")
    shutil.copy(path, copy)
    copy.replace(path)


def moved(path: Path) -> None:
    """Rename it."""
    path.rename(path.with_name("elsewhere.sqlite"))


@pytest.mark.parametrize("harm", [deleted, replaced, moved])
def test_nothing_is_bought_into_a_file_that_is_not_there_any_more(sqlite_url: str, open_desk, harm) -> None:
    """A hold that only an unlinked file knows would be forgotten with the process."""
    desk: Desk = open_desk(sqlite_url)
    pending, held, at_fal = desk.run(3)
    desk.bring(held, State.HELD)
    desk.bring(at_fal, State.IN_QUEUE)
    harm(Path(sqlite_url.removeprefix("sqlite:///")))
    for event, job in ((Event.ADMIT, pending), (Event.SEND, held)):
        with pytest.raises(LedgerUnsafe, match="deleted or replaced"):
            desk.do(event, job)
    with pytest.raises(LedgerUnsafe):
        desk.ledger.require_same_ledger()
    assert [desk.ledger.do(queries.job, job).state for job in (pending, held)] == [State.PENDING, State.HELD]
    for event in (Event.RENDER, Event.SETTLE, Event.COLLECT):  # what is paid for is still followed to its end
        desk.do(event, at_fal)


def test_another_ledger_under_the_same_connection_is_noticed(desk) -> None:
    """Each ledger has an id of its own, also one that was copied over this one."""
    (job,) = desk.run()
    before = desk.ledger.id
    desk.sql("UPDATE ledger_head SET ledger_id = 'another'")
    with pytest.raises(LedgerUnsafe, match="another ledger"):
        desk.do(Event.ADMIT, job)
    desk.sql(f"UPDATE ledger_head SET ledger_id = '{before}'")
    desk.do(Event.ADMIT, job)


@pytest.mark.parametrize("name", ["what?now", "100% sure", "50%3F", "a#b", "ünï"])
def test_a_data_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    """Its ledger lies in it, private to its owner, and the sandbox's is another file."""
    folder = tmp_path / name
    settings = Settings(data_dir=folder)
    with Ledger.open(settings.ledger) as ledger:
        assert ledger.do(verify.verify) == []
        assert ledger.folder == folder
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
