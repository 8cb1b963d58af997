"""What reconciling works with: one ledger, one account at fal, whose runs it owns, and what was sent."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from callsheet.errors import Busy, CallsheetError
from callsheet.ledger import JobRow, Ledger, Range, Submission, history, parts, wall_clock_ms
from callsheet.ledger.executor import LedgerExecutor
from callsheet.ledger.locks import WHOLE
from callsheet.media.decoders import Decode, decode_here
from callsheet.provider.client import FalQueue
from callsheet.provider.platform import FalPlatform
from callsheet.reconciliation import evidence
from callsheet.reconciliation.evidence import Attempt, Due, digest
from callsheet.settings import Settings
from manifests.job import decode_job
from pricing.catalog import Catalog

NO_ARGUMENTS = "0" * 64
"""A hash that no arguments have, for submissions of which none is kept."""


def _prepare_nothing() -> None:
    """What is decoded in this process needs no workers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountSession:
    """One ledger, one account at fal, one clock (Unix milliseconds), and how finished files are decoded.

    `prepare_decoding` is called when the first file is to be expected soon.
    """

    settings: Settings
    catalog: Catalog
    ledger: Ledger
    do: LedgerExecutor
    queue: FalQueue
    platform: FalPlatform
    now_ms: Callable[[], int] = wall_clock_ms
    decode: Decode = decode_here
    prepare_decoding: Callable[[], None] = _prepare_nothing

    def speaks_for(self, submission: Submission | None) -> bool:
        """Say whether this key and queue are those a submission was sent with: others know nothing of it.

        A sandbox on this machine may have another port each time.
        """
        if submission is None:
            return True
        ours, theirs = self.settings.queue_url, submission.queue_url
        same_queue = theirs in ("", ours) or (is_local(ours) and is_local(theirs))
        return same_queue and submission.account in ("", self.settings.account)

    def window_ms(self, submission: Submission) -> int:
        """Return for how long after it was sent a submission may still turn up, in milliseconds."""
        return evidence.window_ms(self.settings, submission)

    def due(self, submission: Submission) -> Due:
        """Return what has to have happened before it may count as absent."""
        return Due(
            deadline_ms=sent_ms(submission) + self.window_ms(submission),
            gap_ms=evidence.gap_ms(self.settings),
            first_look_ms=submission.unseen_ms,
        )


def is_local(url: str) -> bool:
    """Say whether an address is on this machine."""
    return urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")


def submission_of(row: JobRow) -> Submission:
    """Return the last submission of a job that was admitted."""
    assert row.submission is not None, "a job that was never admitted has sent nothing"
    return row.submission


def request_id_of(row: JobRow) -> str:
    """Return the request id of a job that fal has."""
    assert row.ticket is not None, "a job at fal has a ticket"
    return row.ticket.request_id


def sent_ms(submission: Submission) -> int:
    """Return when the POST was about to leave; for one that did not come so far, when it was admitted."""
    return submission.sent_ms if submission.sent_ms is not None else submission.admitted_ms


@dataclass(frozen=True, slots=True)
class Scope:
    """Jobs that a caller may work on: whole runs, and parts of runs."""

    runs: frozenset[str] = frozenset()
    parts: tuple[tuple[str, Range], ...] = ()

    @classmethod
    def of(cls, run_id: str, within: Range | None) -> Scope:
        """Return one run, or one part of it."""
        return cls(frozenset({run_id})) if within is None else cls(parts=((run_id, within),))

    def __contains__(self, row: object) -> bool:
        if not isinstance(row, JobRow):
            return False
        return row.run_id in self.runs or any(
            row.run_id == run_id and row.position in within for run_id, within in self.parts
        )

    def __add__(self, other: Scope) -> Scope:
        return Scope(self.runs | other.runs, self.parts + other.parts)


NOBODYS = Scope()


@contextmanager
def claimed_work(
    ledger: Ledger, rows: Collection[JobRow], *, owned: Scope = NOBODYS
) -> Iterator[tuple[Scope, Scope]]:
    """Own, while entered, what no living process works on of these jobs' runs; gives that, and all of ours.

    It is whole runs, and the unowned parts of a run that others work on.
    """
    with ExitStack() as held:
        taken = Scope()
        others = [row for row in rows if row not in owned]
        for run_id in sorted({row.run_id for row in others} - {run_id for run_id, _ in owned.parts}):
            if _is_taken(ledger, held, run_id):
                taken += Scope.of(run_id, None)
        rest = [row for row in others if row not in taken]
        for run_id in sorted({row.run_id for row in rest}):
            for within in ledger.do(parts.ranges, run_id):
                part = Scope.of(run_id, within)
                if any(row in part for row in rest) and _is_taken(ledger, held, run_id, within.name):
                    taken += part
        yield taken, owned + taken


def _is_taken(ledger: Ledger, held: ExitStack, run_id: str, part: str = WHOLE) -> bool:
    """Own a run, or a part of it, until `held` is closed; False where a living process owns it."""
    try:
        held.enter_context(ledger.claim(run_id, part=part))
    except Busy:
        return False
    return True


@contextmanager
def claimed(ledger: Ledger, run_ids: Collection[str]) -> Iterator[frozenset[str]]:
    """Own, while entered, those of the runs that no living process works on; gives their ids."""
    with ExitStack() as held:
        yield frozenset(run_id for run_id in sorted(set(run_ids)) if _is_taken(ledger, held, run_id))


async def attempt_of(account: AccountSession, row: JobRow, *, in_motion: bool = False) -> Attempt:
    """Return what is known about a job's last POST."""
    submission = submission_of(row)
    sha256 = submission.arguments_sha256 or NO_ARGUMENTS
    return Attempt(
        job_id=row.job_id,
        endpoint=row.endpoint,
        sent_ms=sent_ms(submission),
        until_ms=account.due(submission).deadline_ms,
        arguments_sha256=sha256,
        arguments=await _arguments(account, row, sha256),
        in_motion=in_motion,
    )


async def _arguments(account: AccountSession, row: JobRow, sha256: str) -> dict[str, object] | None:
    """Return the body that was sent, if what is made of the job again is exactly that body."""
    try:
        job = decode_job(row.payload, account.catalog)
    except (CallsheetError, ValueError, KeyError, TypeError):
        return None
    addresses: dict[str, str] = {}
    for image in job.images:
        url = image.value if image.sha256 is None else await account.do(history.uploaded, image.sha256)
        if url is None:
            return None
        addresses[image.identity] = url
    arguments = job.arguments(addresses, seed=row.submission.seed if row.submission else None)
    return arguments if digest(arguments) == sha256 else None
