"""The open ledger: where verbs are executed.

`ledger.do(admission.admit, job_id, slots=10)` runs a verb in one transaction: it happens whole and is on disk
when it returns, or it raises and nothing has changed. The verbs are functions in `admission`, `transitions`,
`settlement`, `recovery`, `runs`, `queries`, `history`, `reviews` and `verify`. All raise LedgerError when the
database itself fails.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from callsheet.errors import Busy, CallsheetError, UsageError
from callsheet.ledger import activity, parts, queries, runs
from callsheet.ledger.activity import RunOverview
from callsheet.ledger.database import Clock, Database, file_locks, open_database
from callsheet.ledger.records import NewJob, NewRun, OpenWork, PartWork, Run
from callsheet.ledger.transaction import Verb
from pricing.budgets import Cap

P = ParamSpec("P")
T = TypeVar("T")


class Ledger:
    """An open ledger. A context manager; to be used from one thread at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, url: str, *, clock: Clock | None = None) -> Ledger:
        """Open the ledger at `sqlite:///path` or `postgresql://...`, creating it where there is none.

        Times are the database's: the server's clock, or this machine's for a file; `clock` replaces it.
        Raises UsageError for another kind of URL, LedgerUnsafe for a database that does not keep what it
        acknowledges or that another version wrote, LedgerError when it cannot be opened.
        """
        return cls(open_database(url, clock))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def label(self) -> str:
        """What the ledger is called in messages: its file, or its URL without the password."""
        return self._database.label

    @property
    def id(self) -> str:
        """The random id that the ledger was given when it was made."""
        return self._database.origin.ledger_id

    @property
    def folder(self) -> Path | None:
        """The folder of a ledger that is a file; None on a server."""
        return self._database.file.parent if self._database.file else None

    @property
    def is_sandbox(self) -> bool:
        """Whether it is the sandbox's own file, which commands find with `--sandbox`."""
        return self.folder is not None and self.folder.name == "sandbox"

    def close(self) -> None:
        """Close every connection."""
        self._database.close()

    def do(self, verb: Verb[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Execute a verb in a transaction as it declares it.

        Raises ClaimLost, and changes nothing, where a run that is claimed here was taken over. A verb that
        returns an iterator is executed with `stream`.
        """
        with self._database.transaction(verb.declared) as tx:
            return verb(tx, *args, **kwargs)

    def stream(self, verb: Verb[P, Iterator[T]], *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        """Yield what a reading verb returns, all of one moment, without holding all of it in memory."""
        with self._database.transaction(verb.declared) as tx:
            yield from verb(tx, *args, **kwargs)

    def together(self) -> AbstractContextManager[None]:
        """Let the verbs that this thread executes meanwhile share one commit, which is what takes the time.

        What they return is true only once the context has ended: where it raises LedgerError, none of them
        has happened. A verb that raises has changed nothing, and the others go on.
        """
        return self._database.together()

    def claim(self, run_id: str, *, part: str = "") -> AbstractContextManager[None]:
        """Own a run while the context is entered, or one `part` of it while others own other parts.

        Raises Busy if a living process owns it. From here on every verb of this ledger raises ClaimLost, and
        changes nothing, once another process has claimed the same. See `callsheet.ledger.locks`.
        """
        return self._database.claim(run_id, part)

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

    def renew(self) -> None:
        """Make sure of every claim after the server was away. See `callsheet.ledger.locks`.

        Raises LedgerUnavailable while the server cannot be reached, ClaimLost where a run was taken over.
        """
        self._database.renew()

    def open_work(self) -> list[OpenWork]:
        """Return the runs with submissions that are not over, their slots, and whose they are."""
        found = self.do(activity.open_work)
        if self._database.file is None:
            return found
        locks = file_locks(self._database.file)
        return [replace(each, alive=not locks.is_free(each.run_id)) for each in found]

    def overview(self, *, campaign: str | None = None, limit: int = 20) -> list[RunOverview]:
        """Return the newest runs with their jobs, their money and whose they are. See `activity.overview`."""
        found = self.do(activity.overview, campaign=campaign, limit=limit)
        if self._database.file is None:
            return found
        locks = file_locks(self._database.file)
        return [
            replace(each, alive=each.run.closed_ms is None and not locks.is_free(each.run.run_id))
            for each in found
        ]

    def parts(self, run_id: str) -> list[PartWork]:
        """Return the parts of a run with what is left of each and whose it is, the whole if never split."""
        found = self.do(parts.work, run_id)
        if self._database.file is None:
            return found
        return [replace(each, alive=not self._is_free(run_id, each.part)) for each in found]

    def has_coordinator(self, run_id: str) -> bool:
        """Say whether a living process starts the shards of a run."""
        if self._database.file is None:
            return self.do(parts.has_coordinator, run_id)
        return not self._is_free(run_id, parts.COORDINATOR)

    def _is_free(self, run_id: str, part: str) -> bool:
        """Say whether a part could be claimed now. For a ledger that is a file."""
        assert self._database.file is not None
        with file_locks(self._database.file).holding(run_id, part) as free:
            return free

    def require_same_ledger(self) -> None:
        """Raise LedgerUnsafe where the open file was deleted or replaced. Every purchase checks it, too."""
        with self._database.read() as connection:
            self._database.require_same_ledger(connection)

    def backup(self, path: Path) -> None:
        """Copy a SQLite ledger as it is now into a new file (0600), whole or not at all.

        Raises UsageError when the file exists or the ledger is on a server (use pg_dump there).
        """
        if self._database.file is None:
            raise UsageError("this ledger is on a PostgreSQL server; back it up with pg_dump")
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            raise UsageError(f"{path} exists already; a backup never writes over a file") from None
        except OSError as error:
            raise UsageError(f"{path} cannot be made: {error.strerror}") from error
        try:
            with self._database.outside() as connection:
                connection.exec_driver_sql("VACUUM INTO ?", (str(path),))
        except BaseException:
            path.unlink()  # half a copy must not be taken for one
            raise
