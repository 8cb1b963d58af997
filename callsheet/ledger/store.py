"""The ledger: the truth about money, slots and outcomes.

Every verb is one transaction: it happens whole and is on disk when it returns, or it raises and nothing has
changed. What each verb may be called on stands in `callsheet.ledger.states`; a wrong one raises
IllegalTransition. All verbs raise LedgerError when the database itself fails.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from callsheet.ledger import (
    caps,
    in_flight,
    job_rows,
    lifecycle,
    opening,
    queries,
    retrying,
    turned_up,
    uploads,
    verify,
)
from callsheet.ledger.database import open_database
from callsheet.ledger.in_flight import Fingerprints
from callsheet.ledger.life import Clock, SubmissionVerbs, wall_clock_ms
from callsheet.ledger.records import (
    Account,
    Cap,
    Entry,
    EntryFilter,
    JobRow,
    NewCap,
    NewJob,
    NewRun,
    Overrun,
    Purchase,
    Recovered,
    RenderTime,
    Run,
    Settled,
    Tally,
)
from callsheet.ledger.scopes import AccountRef, Scope, WindowKind
from callsheet.ledger.states import HAS_OPEN_SUBMISSION, State
from manifests.diff import MadeJob

EVERYTHING = EntryFilter()
NOTHING_MADE: Mapping[int, int] = MappingProxyType({})


class Ledger(SubmissionVerbs):
    """An open ledger. A context manager; to be used from one thread at a time.

    `job_id` is the number that `jobs` gives. `attempt`, where a verb takes it, is the `number` of the
    submission that the caller works on: it fences off a process that was taken for dead and wakes up late.
    """

    @classmethod
    def open(cls, url: str, *, clock: Clock = wall_clock_ms) -> Ledger:
        """Open the ledger at `sqlite:///path` or `postgresql://...`, creating or migrating it where needed.

        Raises UsageError for another kind of URL, LedgerUnsafe for a database that does not keep what it
        acknowledges, LedgerError when it cannot be opened.
        """
        return cls(open_database(url), clock)

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
    def folder(self) -> Path | None:
        """The folder of a ledger that is a file; None on a server."""
        return self._database.file.parent if self._database.file else None

    def close(self) -> None:
        """Close every connection."""
        self._database.close()

    def is_being_written(self) -> bool:
        """Say, without waiting, whether somebody else writes into a ledger that is a file just now."""
        return self._database.is_being_written()

    def together(self) -> AbstractContextManager[None]:
        """Let the verbs that this thread calls meanwhile share one commit, which is what takes the time.

        What they return is true only once the context has ended: where it raises LedgerError, none of them
        has happened. A verb that raises has changed nothing, and the others go on.
        """
        return self._database.together()

    # -- runs ----------------------------------------------------------------------------------------------

    def open_run(
        self,
        run: NewRun,
        jobs: Iterable[NewJob],
        caps: Iterable[NewCap] = (),
        *,
        left: Collection[int] = (),
        made: Mapping[int, int] = NOTHING_MADE,
        once: bool = False,
    ) -> None:
        """Write a run, its jobs in the plan's order, and its caps. Raises UsageError for a run id in use.

        `left` are the positions of jobs that the budget does not reach, `made` those of jobs that get the
        file of an earlier one: {position: the job that made it}. `once` refuses with UsageError to buy what
        the campaign has or is buying.
        """
        with self._database.write() as connection:
            opening.open_run(connection, run, jobs, caps, self._clock(), left=left, made=made, once=once)

    def refuse_in_flight(self, campaign: str, wanted: Fingerprints) -> None:
        """Raise UsageError where an unfinished run of the campaign has some of these fingerprints to make."""
        with self._database.read() as connection:
            in_flight.refuse_in_flight(connection, campaign, wanted)

    def run(self, run_id: str) -> Run:
        """Return a run. Raises UsageError for an unknown one, naming the nearest."""
        with self._database.read() as connection:
            return queries.run(connection, run_id)

    def runs(self, *, limit: int = 50) -> list[Run]:
        """Return the newest runs, newest first."""
        with self._database.read() as connection:
            return queries.runs(connection, limit=limit)

    def latest_unfinished(self) -> Run | None:
        """Return the newest run that was not closed."""
        with self._database.read() as connection:
            return queries.latest_unfinished(connection)

    def request_stop(self, run_id: str) -> None:
        """Ask a run to stop: from now on `admit` raises RunStopping for its jobs, in every process."""
        with self._database.write() as connection:
            opening.mark(connection, run_id, stopping_ms=self._clock())

    def close_run(self, run_id: str) -> None:
        """Write down that there is nothing left to do for a run."""
        with self._database.write() as connection:
            opening.mark(connection, run_id, closed_ms=self._clock())

    def reopen_run(self, run_id: str) -> None:
        """Let a stopped or closed run admit again."""
        with self._database.write() as connection:
            opening.mark(connection, run_id, stopping_ms=None, closed_ms=None)

    def claim(self, run_id: str, *, part: str = "") -> AbstractContextManager[None]:
        """Own a run while the context is entered, or one `part` of it while others own other parts.

        The lock vanishes with the process. Raises Busy when somebody alive owns it. From here on every verb
        of this ledger raises ClaimLost, and changes nothing, once somebody else has claimed the same; `admit`
        and `send` also where the lock is gone and nobody has yet.
        """
        return self._database.claim(run_id, part)

    def recover(self, run_id: str, *, job_ids: Collection[int] | None = None) -> Recovered:
        """Put right what a dead owner left, in the whole run or in the given jobs; call it inside `claim`.

        `submitting` becomes `unknown` (hold and slot stay), `held` goes back to `pending`.
        """
        with self._database.write() as connection:
            return lifecycle.recover(connection, run_id, self._clock(), job_ids=job_ids)

    # -- reading -------------------------------------------------------------------------------------------

    def jobs(self, run_id: str, *, states: Collection[State] | None = None) -> list[JobRow]:
        """Return a run's jobs in the plan's order, or those that are in one of `states`."""
        with self._database.read() as connection:
            return list(job_rows.jobs(connection, run_id, states))

    def each_job(self, run_id: str) -> Iterator[JobRow]:
        """Yield a run's jobs in the plan's order, of one moment, and hold no more than a few of them."""
        with self._database.read() as connection:
            yield from job_rows.jobs(connection, run_id)

    def job(self, job_id: int) -> JobRow:
        """Return one job. Raises UsageError for an unknown one."""
        with self._database.read() as connection:
            return job_rows.job(connection, job_id)

    def open_jobs(self, *, states: Collection[State] = HAS_OPEN_SUBMISSION) -> list[JobRow]:
        """Return the jobs of every run whose submission is not over: what `reconcile` has to look at."""
        with self._database.read() as connection:
            return job_rows.open_jobs(connection, states)

    def lost_jobs(self, error_types: Collection[str], *, since_ms: int) -> list[int]:
        """Return every run's failed jobs with one of these errors that fal took at `since_ms` or later."""
        with self._database.read() as connection:
            return turned_up.lost_jobs(connection, error_types, since_ms=since_ms)

    def known_requests(self, request_ids: Collection[str]) -> dict[str, int]:
        """Return which of these request ids the ledger has, each with the job that it was bought for."""
        with self._database.read() as connection:
            return queries.known_requests(connection, request_ids)

    def purchases(self, *, since_ms: int) -> list[Purchase]:
        """Return every submission that fal accepted at `since_ms` or later, oldest first."""
        with self._database.read() as connection:
            return queries.purchases(connection, since_ms=since_ms)

    def tally(self, run_id: str) -> Tally:
        """Count a run's jobs by state, with its money. Cheap enough for a progress line."""
        with self._database.read() as connection:
            return queries.tally(connection, run_id)

    def already_made(self, campaign: str, fingerprints: Collection[str]) -> dict[str, JobRow]:
        """Return, by fingerprint, the campaign's newest succeeded job with a file."""
        with self._database.read() as connection:
            return job_rows.already_made(connection, campaign, fingerprints)

    def made_jobs(self, campaign: str) -> list[MadeJob]:
        """Return every job of the campaign that was made and whose file was kept, oldest first."""
        with self._database.read() as connection:
            return queries.made_jobs(connection, campaign)

    def payloads(self, job_ids: Collection[int]) -> dict[int, str]:
        """Return the engine's own texts of these jobs."""
        with self._database.read() as connection:
            return queries.payloads(connection, job_ids)

    def render_times(self, cell: str, *, limit: int = 50) -> list[RenderTime]:
        """Return how long the newest renders of a cell took, newest first."""
        with self._database.read() as connection:
            return queries.render_times(connection, cell, limit=limit)

    def settled(self, *, limit: int = 10_000) -> list[Settled]:
        """Return the newest renders whose cost fal has said, newest first."""
        with self._database.read() as connection:
            return queries.settled(connection, limit=limit)

    def entries(self, wanted: EntryFilter = EVERYTHING) -> Iterator[Entry]:
        """Yield the book's lines that are wanted, oldest first."""
        with self._database.read() as connection:
            yield from queries.entries(connection, wanted)

    def overruns(self, *, run_id: str | None = None, limit: int = 20) -> list[Overrun]:
        """Return the newest submissions that cost more than was held for them, newest first."""
        with self._database.read() as connection:
            return queries.overruns(connection, run_id=run_id, limit=limit)

    # -- money ---------------------------------------------------------------------------------------------

    def balances(self, *, scope: Scope | None = None, key: str | None = None) -> list[Account]:
        """Return the accounts of a scope and key, or all."""
        with self._database.read() as connection:
            return caps.balances(connection, scope=scope, key=key)

    def headroom(self, refs: Iterable[AccountRef]) -> dict[AccountRef, Account]:
        """Return each named account as it stands, also those that nothing counts in yet.

        `scopes.account_refs` names the accounts that a planned job would count in.
        """
        with self._database.read() as connection:
            return caps.headroom(connection, refs)

    def caps(self) -> list[Cap]:
        """Return every cap in force."""
        with self._database.read() as connection:
            return caps.caps(connection)

    def set_cap(self, scope: Scope, key: str, window: WindowKind, limit_nano: int | None) -> None:
        """Set a cap, or lift it with None. Raises UsageError for a scope or window that has none."""
        with self._database.write() as connection:
            caps.set_cap(connection, NewCap(scope=scope, key=key, window=window, limit_nano=limit_nano))

    def unfreeze(self) -> int:
        """Let accounts frozen by an overrun admit again; return how many there were."""
        with self._database.write() as connection:
            return caps.unfreeze(connection)

    def identity(self) -> tuple[str, int]:
        """Return the ledger's own id, made with it, and how many entries its book has."""
        with self._database.read() as connection:
            return queries.identity(connection)

    def verify(self) -> list[str]:
        """Return every broken invariant as a sentence; empty when the ledger is sound."""
        with self._database.read() as connection:
            return verify.verify(connection)

    def backup(self, path: Path) -> None:
        """Copy a SQLite ledger as it is now into a new file, readable by its owner alone.

        Raises UsageError when the file exists or the ledger is on a server (use pg_dump there).
        """
        verify.backup(self._database, path)

    # -- many jobs at once ---------------------------------------------------------------------------------

    def retry(self, job_ids: Collection[int], *, why: str = "", once: bool = False) -> Mapping[int, int]:
        """Let failed, cancelled or skipped jobs be admitted again: all of them, or none.

        With `once`, what the campaign has made since is used and not bought: returns {job: the job that made
        it}. Raises UsageError where another unfinished run of the campaign has one of them to make.
        """
        with self._database.write() as connection:
            return retrying.retry(connection, job_ids, self._clock(), why=why, once=once)

    def skip(self, job_ids: Collection[int], *, why: str = "") -> None:
        """Leave pending jobs out because the budget does not reach: all of them, or none."""
        with self._database.write() as connection:
            lifecycle.skip(connection, job_ids, self._clock(), why=why)

    def reuse(self, made_by: Mapping[int, int]) -> None:
        """Give pending jobs the file of a job that succeeded before: {job: the job that made it}."""
        with self._database.write() as connection:
            lifecycle.reuse(connection, made_by, self._clock())

    def reprice(self, run_id: str, amounts: Mapping[int, tuple[int, int]], *, prices: str) -> None:
        """Give pending jobs of a run other prices, {job: (expected, maximum)}, and pin `prices`: all or none.

        What has been held for a job is not touched: its price was that of the moment it was bought.
        Raises LedgerError where a job is not pending.
        """
        with self._database.write() as connection:
            opening.reprice(connection, run_id, amounts, prices)

    # -- uploads -------------------------------------------------------------------------------------------

    def uploaded(self, sha256: str, *, since_ms: int = 0) -> str | None:
        """Return where this picture was uploaded to, at `since_ms` or later."""
        with self._database.read() as connection:
            return queries.uploaded(connection, sha256, since_ms=since_ms)

    def remember_upload(self, sha256: str, url: str) -> None:
        """Remember where a picture was uploaded to, so that it is uploaded once."""
        with self._database.write() as connection:
            uploads.remember(connection, sha256, url, self._clock())
