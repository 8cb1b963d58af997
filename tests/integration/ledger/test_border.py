"""Whatever using a database fails with ends as an error of ours, in words, and without a secret in it."""

import secrets
import traceback
from contextlib import ExitStack
from pathlib import Path

import pytest

from callsheet.cli.commands.doctor import _ledger
from callsheet.errors import CallsheetError, LedgerError, LedgerUnavailable, LedgerUnsafe, UsageError
from callsheet.ledger import Ledger, admission, queries
from callsheet.settings import Settings
from tests.integration.ledger.conftest import end_sessions

BAD_URLS: dict[str, tuple[str, type[CallsheetError], str]] = {
    "nothing": ("", UsageError, "cannot be read"),
    "no URL": ("nonsense", UsageError, "cannot be read"),
    "another database": ("mysql://ada:hush@h/x", UsageError, "sqlite or postgresql"),
    "a driver that is not ours": ("postgresql+psycopg2://ada:hush@h/x", UsageError, "sqlite or postgresql"),
    "memory": ("sqlite://", LedgerUnsafe, "in memory"),
    "memory by name": ("sqlite:///:memory:", LedgerUnsafe, "in memory"),
    "memory by URI": ("sqlite:///file:x", LedgerUnsafe, "in memory"),
    "options of a file": ("sqlite:///{folder}/x?password=hush", UsageError, "no options"),
    "a folder": ("sqlite:///{folder}", UsageError, "is a folder"),
    "below a file": ("sqlite:///{folder}/file/x", LedgerError, "File exists"),
    "where no file can be": ("sqlite:////proc/nowhere/x", LedgerError, "No such file"),
    "a name that is too long": (f"sqlite:///{{folder}}/{'x' * 300}", LedgerError, "too long"),
    "a NUL": ("sqlite:///{folder}/a\0b", UsageError, "null"),
    "nobody's home": ("sqlite:///~nobody-at-all/x", UsageError, "home directory"),
    "no database": ("sqlite:///{folder}/text", LedgerError, "not a database"),
    "a server that is not there": ("postgresql://ada:hush@127.0.0.1:1/x", LedgerUnavailable, "refused"),
    "a name that is not there": ("postgresql://ada:hush@host.invalid/x", LedgerUnavailable, "resolve host"),
    "half of a character": ("postgresql://ada:hush@\udcff/x", LedgerError, "did not do it"),
    "a port that is none": ("postgresql://h:hush/x", UsageError, "cannot be read"),
    "a password with an at": ("postgresql://ada:hu@hush@127.0.0.1:1/x", UsageError, "%40"),
    "a password with at and slash": ("postgresql://ada:hu@x/hush@127.0.0.1:1/x", UsageError, "%40"),
    "half an address": ("postgresql://ada:hush@[::1/x", UsageError, "cannot be read"),
    "a password as an option": ("postgresql://127.0.0.1:1/x?password=hush", LedgerUnavailable, "refused"),
    "a port as an option": ("postgresql://h/x?port=hush", UsageError, "cannot be read"),
    "an option nobody has": ("postgresql://127.0.0.1:1/x?hushhush=hush", LedgerError, "invalid connection"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A private folder with a file in it that is no database."""
    tmp_path.chmod(0o700)
    (tmp_path / "file").touch()
    (tmp_path / "text").write_bytes(b"not a database" * 100)
    (tmp_path / "text").chmod(0o600)
    return tmp_path


@pytest.mark.parametrize(("url", "error", "said"), BAD_URLS.values(), ids=BAD_URLS.keys())
def test_a_ledger_that_cannot_be_opened_is_named_without_its_secrets(folder, url, error, said) -> None:
    """Each has its own sentence and its contract's error; none of it tells a password."""
    with pytest.raises(error, match=said) as refusal:
        Ledger.open(url.format(folder=folder))
    assert type(refusal.value) is error
    told = "".join(traceback.format_exception(refusal.value, limit=0))
    assert "hush" not in told.replace("hushhush", "")


@pytest.mark.parametrize("url", [each[0] for each in BAD_URLS.values()], ids=BAD_URLS.keys())
def test_doctor_names_a_broken_ledger_without_its_secrets(folder, url) -> None:
    """The command for when something is wrong tells all but the password."""
    is_fine, told = _ledger(Settings(data_dir=folder, ledger_url=url.format(folder=folder) or "nonsense"))
    assert not is_fine
    assert "hush" not in told.replace("hushhush", "")


@pytest.mark.postgres
def test_doctor_shows_a_ledger_that_works_without_its_options(postgres_url: str, tmp_path: Path) -> None:
    """Also where everything is well."""
    url = f"{postgres_url}&password=hush"
    is_fine, told = _ledger(Settings(data_dir=tmp_path, ledger_url=url))
    assert (is_fine, "hush" in told) == (True, False)


@pytest.mark.parametrize("limit_nano", [2**63, 10**30])
def test_an_amount_that_no_column_takes_is_refused(desk, limit_nano: int) -> None:
    """SQLite's driver raises an OverflowError of Python's own, PostgreSQL's a DataError."""
    before = desk.dump()
    with pytest.raises(LedgerError, match="did not do it"):
        desk.ledger.do(admission.set_cap, "campaign", "spring", "total", limit_nano)
    assert desk.dump() == before


def test_a_text_that_no_column_takes_is_refused(desk) -> None:
    """Half of a surrogate pair is no UTF-8; it comes out of broken file names."""
    before = desk.dump()
    with pytest.raises(LedgerError, match="did not do it"):
        desk.ledger.do(admission.set_cap, "campaign", "spr\udcff", "total", 1)
    assert desk.dump() == before


def test_when_every_connection_is_in_use_that_is_said(desk) -> None:
    """The pool's own error is no error of the database, and still the ledger's."""
    desk.ledger._engine.pool._timeout = 0.001
    with ExitStack() as held:
        for _ in range(15):
            held.enter_context(desk.ledger._read())
        with pytest.raises(LedgerError, match="QueuePool limit"):
            held.enter_context(desk.ledger._read())
    desk.run()


@pytest.mark.postgres
def test_a_connection_that_is_lost_in_mid_transaction_changes_nothing(
    postgres_url: str, open_desk, server: str
) -> None:
    """The verb raises, and the next one works on another connection."""
    name = f"border_{secrets.token_hex(8)}"
    desk = open_desk(f"{postgres_url}&application_name={name}")
    (job_id,) = desk.run()

    def cut() -> None:
        with desk.ledger._write() as connection:
            connection.exec_driver_sql("UPDATE job SET error = 'half done'")
            end_sessions(server, name)
            connection.exec_driver_sql("SELECT 1")

    with pytest.raises(LedgerUnavailable, match="cannot be reached"):
        cut()
    assert desk.ledger.do(queries.job, job_id).error == ""


def test_locks_that_cannot_be_made_are_the_ledgers_error(sqlite_url: str, open_desk) -> None:
    """A file stands where their folder should be."""
    desk = open_desk(sqlite_url)
    Path(f"{sqlite_url.removeprefix('sqlite:///')}.locks").touch()
    with pytest.raises(LedgerError, match="cannot be made: File exists"), desk.ledger.claim("r"):
        pass
