"""The open ledger: found by its URL, and what it does with more than one verb."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url

from callsheet.errors import Busy, CallsheetError, DiskFull, LedgerUnsafe, UsageError
from callsheet.ledger import postgres, queries, runs, schema, sqlite
from callsheet.ledger.database import Clock, Database, lacks_room
from callsheet.ledger.records import NewJob, NewRun, Run
from pricing.budgets import Cap

_POSTGRES_NAMES: Final = frozenset({"postgres", "postgresql", "postgresql+psycopg"})

_SHOWN_OPTIONS: Final = frozenset({"host", "port", "dbname"})
"""What of a URL's options is shown: the others may be a password."""


class Ledger(Database):
    """An open ledger: `Ledger.open(url)`. A context manager; to be used from one thread at a time."""

    @classmethod
    def open(cls, url: str, *, clock: Clock | None = None) -> Self:
        """Open the ledger at `sqlite:///path` or `postgresql://...`, creating it where there is none.

        Times are the database's: the server's clock, or this machine's for a file; `clock` replaces it.
        Raises UsageError for another kind of URL, LedgerUnsafe for a database that does not keep what it
        acknowledges or that another version wrote, LedgerError when it cannot be opened.
        """
        engine, label, file = _connected(_parsed(url))
        database = cls(engine, label=label, file=file, clock=clock)
        try:
            with database._errors_named():
                create_or_check(engine, label)
            database.note_origin()
        except BaseException:
            database.close()
            raise
        return database

    def open_run(
        self,
        run: NewRun,
        jobs: Sequence[NewJob],
        caps: Iterable[Cap] = (),
        *,
        left: Collection[int] = (),
        made: Mapping[int, int] = runs.NOTHING_MADE,
        once: bool = False,
        over: Mapping[str, int] = runs.NOTHING_SEEN,
    ) -> None:
        """Write a run as `runs.open_run` does; a large one in batches, so that others get their turn.

        The campaign is reserved first, and nothing of the run is admitted before all of it is written. Where
        this is broken off, the run counts as never opened, and the next one of the campaign discards it.
        Raises Busy while another run of the campaign is being opened.
        """
        self.discard_unopened(run.campaign)
        if len(jobs) <= runs.BATCH:
            self.do(runs.open_run, run, jobs, caps, left=left, made=made, once=once, over=over)
            return
        with self.claim(run.run_id):
            self.do(runs.reserve, run)
            try:
                if once:  # no other run of this campaign can be opened now: what is read stays true
                    wanted = runs.to_buy(jobs, left, made)
                    self.do(runs.refuse_in_flight, run.campaign, wanted, besides=run.run_id)
                    self.do(runs.refuse_made, run.campaign, wanted, over=over)
                first, size = 0, min(runs.FIRST_BATCH, runs.BATCH)
                while first < len(jobs):
                    batch, begun_s = jobs[first : first + size], time.monotonic()
                    self.do(runs.add_jobs, run.run_id, first, batch, left=left, made=made)
                    first += size
                    size = runs.next_batch(size, time.monotonic() - begun_s)
            except CallsheetError:
                self.do(runs.discard, run.run_id)
                raise
            self.do(runs.finish_opening, run.run_id, caps)

    def discard_unopened(self, campaign: str) -> None:
        """Close the runs of a campaign whose opening a dead process left behind."""
        for run_id in self.do(runs.being_opened, campaign):
            with suppress(Busy), self.claim(run_id):
                self.do(runs.discard, run_id)

    def find_run(self, run_id: str | None = None, *, latest_of_all: bool = False) -> Run:
        """Return a run by its id, or the latest unfinished one (with `latest_of_all`: the latest one).

        Raises UsageError where there is none.
        """
        if run_id is not None:
            return self.do(queries.run, run_id)
        newest = self.do(queries.runs, limit=1) if latest_of_all else [self.do(queries.latest_unfinished)]
        if newest and newest[0] is not None:
            return newest[0]
        what = "run" if latest_of_all else "unfinished run"
        advice = "" if self.is_sandbox else ". Sandbox runs have a ledger of their own: add --sandbox"
        raise UsageError(f"there is no {what} in the ledger {self.label}{advice}")

    def shown_run(self, run_id: str | None) -> Run:
        """Return the run to show where none is named: the latest unfinished one, else the latest."""
        unfinished = self.do(queries.latest_unfinished) if run_id is None else None
        return unfinished or self.find_run(run_id, latest_of_all=True)

    def backup(self, path: Path) -> None:
        """Copy a SQLite ledger as it is now into a new file (0600), whole or not at all.

        Raises UsageError when the file exists or the ledger is on a server (use pg_dump there), DiskFull when
        the copy does not fit.
        """
        if self.file is None:
            raise UsageError("this ledger is on a PostgreSQL server; back it up with pg_dump")
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            raise UsageError(f"{path} exists already; a backup never writes over a file") from None
        except OSError as error:
            raise UsageError(f"{path} cannot be made: {error.strerror}") from error
        try:
            with self._outside() as connection:
                connection.exec_driver_sql("VACUUM INTO ?", (str(path),))  # writes nothing but the copy
        except BaseException as error:
            path.unlink()  # half a copy must not be taken for one
            if lacks_room(getattr(error.__cause__, "orig", None)):
                raise DiskFull(
                    f"no room is left in {path.parent} for a copy of the ledger, which is as it was; "
                    "make room or name another file"
                ) from error
            raise


_CREATE_LOCK: Final = 0x63616C6C73686565  # "callshee": this number is ours on whatever server


def create_or_check(engine: sa.Engine, label: str) -> None:
    """Create the tables in an empty database, in one transaction; refuse those of another version.

    Two processes may try at once: the second one waits and finds it done. Raises LedgerUnsafe.
    """
    with engine.execution_options(reads=True).connect() as connection:
        if engine.dialect.name == "postgresql":
            postgres.refuse_unsafe(connection)
        if _has_tables(connection, label):
            return
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_CREATE_LOCK)))
        if not _has_tables(connection, label):
            schema.metadata.create_all(connection, checkfirst=False)
            # An output folder can tell a ledger from its older copy or from another one by its id.
            head = {"id": 1, "schema_version": schema.VERSION, "ledger_id": secrets.token_hex(16)}
            connection.execute(schema.ledger_head.insert(), {**head, "entries": 0, "head": ""})


def _has_tables(connection: sa.Connection, label: str) -> bool:
    """Whether the ledger exists. Raises LedgerUnsafe for tables that this version cannot use."""
    names = set(sa.inspect(connection).get_table_names())
    if "ledger_head" not in names:
        if {"gate", "entry"} <= names:
            raise LedgerUnsafe(_other_version(label, "an earlier development version of Callsheet"))
        if taken := names & set(schema.metadata.tables):
            raise LedgerUnsafe(f"{label} has tables that are not Callsheet's: {', '.join(sorted(taken))}")
        return False
    version = connection.exec_driver_sql("SELECT schema_version FROM ledger_head").scalar_one()
    if version > schema.VERSION:
        raise LedgerUnsafe(
            f"the ledger {label} was written by a newer Callsheet (schema {version}); update Callsheet"
        )
    if version < schema.VERSION:
        raise LedgerUnsafe(_other_version(label, f"an earlier Callsheet (schema {version})"))
    return True


def _other_version(label: str, writer: str) -> str:
    return (
        f"the ledger {label} was written by {writer}, which this one cannot read; nothing was changed. "
        "Finish its runs with that version, then keep the old ledger and name a new one with "
        "CALLSHEET_LEDGER_URL"
    )


def _connected(url: URL) -> tuple[sa.Engine, str, Path | None]:
    """Return the engine, which connects when it is used, the name in messages, and the file if it is one."""
    if url.drivername == "sqlite":
        file = sqlite.ledger_file(url)
        return sqlite.engine_for(file), str(file), file
    shown = {name: value for name, value in url.query.items() if name in _SHOWN_OPTIONS}
    try:
        engine = postgres.engine_for(url)
    except (sa.exc.ArgumentError, ValueError):
        raise UsageError(_UNREADABLE) from None
    return engine, url.set(query=shown).render_as_string(hide_password=True), None


_UNREADABLE: Final = (  # neither the URL nor what refused it is shown: they may hold a password
    "the ledger's URL cannot be read; use sqlite:////path or postgresql://..., and write @ as %40 within a "
    "password"
)


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise UsageError(_UNREADABLE) from None
    if "@" in f"{parsed.host}{parsed.database}" and parsed.drivername != "sqlite":
        raise UsageError(_UNREADABLE)  # the rest of a password would be shown as the host
    if parsed.drivername != "sqlite" and parsed.drivername not in _POSTGRES_NAMES:
        raise UsageError(f"a ledger is kept in sqlite or postgresql, not in {parsed.drivername!r}")
    return parsed
