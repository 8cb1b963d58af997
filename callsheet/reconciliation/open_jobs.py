"""A ledger's open submissions settled: what fal accepted is asked about, so that its slots come free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from callsheet.errors import AccountError, QueueError, RenderFailed, Unavailable
from callsheet.ledger import (
    AT_FAL,
    HOLDS_SLOT,
    JobRow,
    State,
    Submission,
    history,
    queries,
    recovery,
    settlement,
    transitions,
)
from callsheet.provider.messages import Completed, InProgress, Status
from callsheet.provider.platform_messages import HistoryItem, iso
from callsheet.reconciliation.account import (
    NOBODYS,
    AccountSession,
    Scope,
    attempt_of,
    claimed_work,
    request_id_of,
    sent_ms,
    submission_of,
)
from callsheet.reconciliation.evidence import Due, certain_now_ms, digest, fitting, is_exactly, wrong_id
from callsheet.reconciliation.findings import Finding, Findings, Outcome, finding
from callsheet.reconciliation.unknown import find_orphans, note_seen, settle_unknown


async def is_misnamed(account: AccountSession, row: JobRow) -> bool:
    """Say whether a job's request is another job's, whose reply was lost; the job is then unknown again.

    A lost reply and a wrong id come together where fal mixes up two replies. So the history is asked only
    while a submission to that endpoint has no reply that left before this one's reply came, when a render has
    ended and nothing is booked yet. It decides only where it shows exactly the body of that other submission,
    with its random seed.
    """
    without_reply = {State.SUBMITTING, State.UNKNOWN}
    replied_ms = row.submission.submitted_ms if row.submission else None
    waiting = await account.do(queries.open_jobs, states=without_reply, sent_until_ms=replied_ms)
    sent = {
        each.submission.arguments_sha256: each
        for each in waiting
        if each.submission is not None and each.endpoint == row.endpoint
    }
    if not sent:
        return False
    try:
        item, _ = await remembered(account, row)
    except (QueueError, AccountError):
        return False
    if item is None or item.input is None or is_exactly(item, submission_of(row).arguments_sha256):
        return False
    other = sent.get(digest(item.input))
    if other is None:
        return False
    why = wrong_id(item, other.job_id)
    await account.do(transitions.misname, row.job_id, why=why, attempt=row.attempt)
    return True


LOOK_BACK_MS = 86_400_000
"""How long before its acceptance a request is looked for in the history."""

GONE = "neither fal's queue nor its history holds the request any more"


async def look_at_open(account: AccountSession, rows: Sequence[JobRow]) -> list[Finding]:
    """Ask once about each of these jobs. They are at fal, and their runs are the caller's own."""
    return [await _look(account, row) for row in rows if row.ticket is not None]


async def _look(account: AccountSession, row: JobRow) -> Finding:
    try:
        seen = await account.queue.status(account.queue.ticket(row.endpoint, request_id_of(row)))
    except (QueueError, AccountError) as error:
        if isinstance(error, Unavailable) and error.gone:
            return await _gone(account, row)
        return _found(row, "rendering", str(error))
    return await _written(account, row, seen)


def _found(row: JobRow, outcome: Outcome, why: str, *more_ids: str, again_ms: int | None = None) -> Finding:
    """Make the finding of a job at fal: it names the job's request, and others if there are any."""
    return finding(outcome, row, why, request_ids=(request_id_of(row), *more_ids), again_ms=again_ms)


async def _written(account: AccountSession, row: JobRow, seen: Status) -> Finding:
    await note_seen(account, row)
    if isinstance(seen, Completed):
        await account.do(transitions.render, row.job_id, attempt=row.attempt)
        return _found(row, "rendered", "the render has ended")
    if isinstance(seen, InProgress) and row.state is State.IN_QUEUE:
        await account.do(transitions.start, row.job_id, attempt=row.attempt)
    why = "it renders" if isinstance(seen, InProgress) else "it waits in fal's queue"
    return _found(row, "rendering", why)


async def _gone(account: AccountSession, row: JobRow) -> Finding:
    """The queue no longer holds the request: the history does, or it is lost once it must have ended.

    As with what is unknown, two looks decide, after the deadline by both clocks and some time apart; and the
    queue is asked for the result itself, which a mistake about the status does not hide.
    """
    try:
        item, server_ms = await remembered(account, row)
        if (item is not None and item.ended_ms is not None) or await _has_result(account, row):
            await note_seen(account, row)
            await account.do(transitions.render, row.job_id, attempt=row.attempt)
            return _found(row, "rendered", "the render has ended")
    except (QueueError, AccountError) as error:
        return _found(row, "rendering", str(error))
    if item is not None:
        await note_seen(account, row)
        why = "the queue no longer holds it; the history does not say yet that it has ended"
        return _found(row, "rendering", why)
    return await _not_seen(account, row, server_ms)


async def _not_seen(account: AccountSession, row: JobRow, server_ms: int | None) -> Finding:
    """Write down a look that showed the request nowhere; the second one decides."""
    try:
        other = await _instead(account, row)
    except (QueueError, AccountError) as error:
        return _found(row, "rendering", f"{GONE}; {error}")
    if other is not None:
        return other
    wait = await another_look(account, row, _due(account, submission_of(row)), server_ms)
    if wait is not None:
        return _found(row, "rendering", f"{GONE}{wait.why}", again_ms=wait.again_ms)
    why = f"{GONE}; its hold counts as spent"
    await account.do(
        settlement.fail_render,
        row.job_id,
        charged="unknown",
        error_type="lost_at_provider",
        error=why,
        attempt=row.attempt,
    )
    return _found(row, "lost", why)


async def _instead(account: AccountSession, row: JobRow) -> Finding | None:
    """Return what the endpoint's whole history shows in place of a request that is nowhere.

    What holds this job's own body is its request: it is unknown again and is matched as such.
    None where it shows other requests of this ledger and none that this job can have sent: only then does
    it prove that the request is gone. Raises Unavailable or AccountError where it could not be read.
    """
    attempt = await attempt_of(account, row)
    found = await account.platform.history([row.endpoint], start_ms=attempt.sent_ms - LOOK_BACK_MS)
    claimed = await account.do(history.known_requests, [item.request_id for item in found.items])
    free = [item for item in found.items if item.request_id not in claimed]
    if ours := fitting([attempt], free):
        named = [item.request_id for item in ours]
        why = f"{GONE}; what this job sent is request {', '.join(named)} in the history: fal named a wrong id"
        await account.do(transitions.misname, row.job_id, why=why, attempt=row.attempt)
        return _found(row, "unknown", why, *named)
    if not claimed:
        return _found(row, "rendering", f"{GONE}; {NO_CONTROL}")
    return None


NO_CONTROL = "the history shows no other request of this ledger either, so it proves nothing"


@dataclass(frozen=True, slots=True)
class Wait:
    """Why one more look is needed, as the end of a sentence, and from when on it counts (Unix ms)."""

    why: str
    again_ms: int | None = None


async def another_look(account: AccountSession, row: JobRow, due: Due, server_ms: int | None) -> Wait | None:
    """Write down a whole look that showed nothing; None where it is the second one, and so decides.

    `server_ms` is fal's own time of the look.
    """
    now_ms = certain_now_ms(server_ms, account.now_ms())
    if now_ms is None:
        return Wait(", but this machine's clock and fal's differ by more than two minutes")
    if now_ms >= due.deadline_ms:
        if due.is_absent(now_ms):
            return None
        if not due.had_first_look:
            await account.do(transitions.note_unseen, row.job_id, at_ms=server_ms, attempt=row.attempt)
            due = replace(due, first_look_ms=server_ms)
    return Wait(f"; from {iso(due.again_ms)} on another look decides", due.again_ms)


def _due(account: AccountSession, submission: Submission) -> Due:
    """Return what has to have happened before it may count as lost; it counts from when it was taken."""
    taken_ms = max(submission.submitted_ms or 0, sent_ms(submission))
    return replace(account.due(submission), deadline_ms=taken_ms + account.window_ms(submission))


async def _has_result(account: AccountSession, row: JobRow) -> bool:
    """Whether the queue still answers for the result, well or badly. Raises where it cannot be known."""
    try:
        await account.queue.result(account.queue.ticket(row.endpoint, request_id_of(row)))
    except RenderFailed:
        return True
    except Unavailable as error:
        if error.gone:
            return False
        raise
    return True


async def remembered(account: AccountSession, row: JobRow) -> tuple[HistoryItem | None, int | None]:
    """Ask fal's history about a job's request. Raises Unavailable or AccountError where it is not read.

    Returns the request, None where a whole read does not list it; and fal's time of the read (Unix ms).
    """
    start_ms, request_id = sent_ms(submission_of(row)) - LOOK_BACK_MS, request_id_of(row)
    found = await account.platform.history([row.endpoint], start_ms=start_ms, request_id=request_id)
    item = next((item for item in found.items if item.request_id == request_id), None)
    return item, found.server_ms


async def settle_ledger(account: AccountSession, *, owned: Scope = NOBODYS) -> Findings:
    """Settle every unknown submission, and ask about every open one.

    What another process works on is left alone, and so is what was sent with another key; `owned` is the
    caller's, claimed and recovered already, and its open submissions are not asked about: the caller follows
    them itself. A caller that owns nothing looks for requests that no job claims as well. Without anything to
    settle this is two questions to the ledger and none to fal.
    """
    findings = Findings()
    if owned == NOBODYS:
        findings.take(await find_orphans(account))
    held = await account.do(queries.open_jobs, states=HOLDS_SLOT)
    if not held:
        return findings
    with claimed_work(account.ledger, held, owned=owned) as (taken, mine):
        # Not in what the caller owns: there a request that is under way is alive.
        for run_id in sorted(taken.runs):
            await account.do(recovery.recover, run_id)
        for run_id, within in taken.parts:
            await account.do(recovery.recover, run_id, within=within)
        findings.busy = tuple(sorted({row.run_id for row in held if row not in mine}))
        settled: set[int] = set()
        asked: set[str] = set()
        for _ in range(2):  # that an id is wrong may turn out only when its request is asked about
            while await _settle_new(account, findings, settled, mine=mine, idle=taken):
                pass
            at_fal = [
                row
                for row in await account.do(queries.open_jobs, states=AT_FAL)
                if row in taken
                and account.speaks_for(row.submission)
                and row.ticket is not None
                and row.ticket.request_id not in asked
            ]
            asked.update(row.ticket.request_id for row in at_fal if row.ticket is not None)
            findings.take(await look_at_open(account, at_fal))
    return findings


async def _settle_new(
    account: AccountSession, findings: Findings, settled: set[int], *, mine: Scope, idle: Scope
) -> bool:
    """Settle the unknown submissions that were not looked at so far; False where there are none.

    Each is looked at once, but those that become unknown meanwhile, because fal named a wrong id, are new.
    """
    unknown = await account.do(queries.open_jobs, states={State.UNKNOWN})
    ours = [row for row in unknown if row in mine and account.speaks_for(row.submission)]
    findings.unknown_elsewhere = len(unknown) - len(ours)
    new = [row for row in ours if row.job_id not in settled]
    settled.update(row.job_id for row in new)
    findings.take(await settle_unknown(account, new, idle=idle))
    return bool(new)
