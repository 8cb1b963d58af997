"""The open ledger, which executes each verb in a transaction of its own (see `callsheet.ledger.transaction`).

The verbs are functions in `admission`, `transitions`, `settlement`, `recovery`, `finishing`, `runs`, `parts`,
`queries`, `history`, `activity`, `reviews` and `verify`. All raise LedgerError when the
database itself fails.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ParamSpec, Self, TypeVar

from callsheet.errors import Busy, CallsheetError, UsageError
from callsheet.ledger import queries, runs
from callsheet.ledger.database import Database
from callsheet.ledger.records import NewJob, NewRun, Run
from callsheet.ledger.transaction import Verb
from pricing.budgets import Cap

P = ParamSpec("P")
T = TypeVar("T")


class Ledger(Database):
    """An open ledger: `Ledger.open(url)`. A context manager; to be used from one thread at a time."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    @property
    def folder(self) -> Path | None:
        """The folder of a ledger that is a file; None on a server."""
        return self.file.parent if self.file else None

    @property
    def is_sandbox(self) -> bool:
        """Whether it is the sandbox's own file, which commands find with `--sandbox`."""
        return self.folder is not None and self.folder.name == "sandbox"

    def do(self, verb: Verb[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Execute a verb in a transaction as it declares it.

        Raises ClaimLost, and changes nothing, where a run that is claimed here was taken over. A verb that
        returns an iterator is executed with `stream`.
        """
        with self.transaction(verb.declared) as tx:
            return verb(tx, *args, **kwargs)

    def stream(self, verb: Verb[P, Iterator[T]], *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        """Yield what a reading verb returns, all of one moment, without holding all of it in memory."""
        with self.transaction(verb.declared) as tx:
            yield from verb(tx, *args, **kwargs)

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

        Raises UsageError when the file exists or the ledger is on a server (use pg_dump there).
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
                connection.exec_driver_sql("VACUUM INTO ?", (str(path),))
        except BaseException:
            path.unlink()  # half a copy must not be taken for one
            raise
