"""Submissions whose outcome is unknown: found, absent, or still open with the time when it can be known.

    history  what was sent is looked for among everything that fal took, what other jobs claim included;
             what is found is adopted. Where another job has it that sent something else, fal named a wrong
             id: that job is unknown again and is found by its own body. Where that job's video is booked
             already, the request that has ended frees the slot, its hold counts as spent, and the sentence
             says which video is whose. A person decides where the history does not show the exact body
    lead     a broken reply named a request id that the history does not show, or not yet: the queue is asked
    absence  only after the deadline, by clocks that agree, and after two looks some time apart, each of them
             two whole reads without it that show another request of ours to the same endpoint, one whose
             history a real account has confirmed
    orphans  what was given up and is at fal after all is named: paid for, and no job claims it

A read that fails, or that is not whole, concludes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from callsheet.errors import (
    AccountError,
    IllegalTransition,
    LedgerError,
    QueueError,
    RenderFailed,
    UsageError,
)
from callsheet.ledger import (
    AT_FAL,
    JobRow,
    State,
    Submission,
    history,
    queries,
    recovery,
    settlement,
    transitions,
)
from callsheet.provider.platform_messages import HistoryItem, iso, result_of
from callsheet.reconciliation.account import (
    NOBODYS,
    AccountSession,
    Scope,
    attempt_of,
    sent_ms,
    submission_of,
)
from callsheet.reconciliation.evidence import (
    Answer,
    Attempt,
    Due,
    certain_now_ms,
    contradiction,
    fitting,
    is_exactly,
    match,
    wrong_id,
)
from callsheet.reconciliation.findings import Finding, finding

LOOK_BACK_MS = 3_600_000
"""How much more of the history is read than could matter: its `start` is not said to mean any one time."""

NOT_YET = "not in fal's history so far"
NO_CONTROL = (
    "not in fal's history, but the history shows no other request of this ledger to that endpoint in that "
    "time either, so it proves nothing (is it another account's key?)"
)
NOT_CONFIRMED = (
    "not in fal's history, but no real account has shown yet how the history lists this endpoint, so it "
    "proves nothing; look at fal's dashboard, then decide with --adopt, --assume-spent or --resubmit"
)
ONCE = "not in fal's history, read whole after its deadline; a second look some time later decides"

SortBy = Literal["ended_at", "duration"]

logger = logging.getLogger(__name__)


async def settle_unknown(
    account: AccountSession, rows: Sequence[JobRow], *, idle: Scope = NOBODYS
) -> list[Finding]:
    """Settle what can be settled of these jobs. They are `unknown`, and their runs are the caller's own.

    `idle` are jobs of the caller whose requests are not being followed at this moment.
    """
    if not rows:
        return []
    try:
        first = await _look(account, rows, "ended_at")
    except (QueueError, AccountError) as error:
        return [await _by_its_lead(account, row) or _still_unknown(account, row, str(error)) for row in rows]
    findings = [
        each
        for row in rows
        if row.job_id in first.answer.unseen | first.answer.hidden
        and not first.contradicts_lead(row)
        and (each := await _by_its_lead(account, row)) is not None
    ]
    decided = {each.job_id for each in findings}
    rest = [row for row in rows if row.job_id not in decided]
    second = await _second_look(account, rest, first) if rest else NOT_YET
    return findings + [await _settled(account, row, first, second, idle) for row in rest]


@dataclass(frozen=True, slots=True)
class _Look:
    """One whole read of the history and what it says.

    `taken` are requests that hold what an unknown submission sent and that another job claims, whose
    arguments they are not, each with that job. `controls` are endpoints to which the read shows a request
    that the ledger knows: where there is none, the read proves nothing about what it does not show.
    """

    answer: Answer
    server_ms: int | None
    shown: Mapping[str, HistoryItem]
    attempts: Mapping[int, Attempt]
    taken: Mapping[str, JobRow]
    controls: frozenset[str]

    def contradicts_lead(self, row: JobRow) -> bool:
        """Whether the request that a broken reply named is another job's: shown, and not what was sent."""
        item = self.shown.get(submission_of(row).lead_request_id or "")
        return item is not None and bool(contradiction(self.attempts[row.job_id], item))


async def _second_look(account: AccountSession, rows: Sequence[JobRow], first: _Look) -> _Look | str:
    """Read once more, in another order, where something is to be declared absent; or say why not.

    The list is paged by number and moves while it is read: a request that ends meanwhile may slip from a
    page that is still to come onto one that has been read. In the other order it does not.
    """
    now_ms = certain_now_ms(first.server_ms, account.now_ms())
    if now_ms is None:
        return "this machine's clock and fal's differ by more than two minutes"
    if all(row.job_id not in first.answer.unseen or _due(account, row).deadline_ms > now_ms for row in rows):
        return NOT_YET
    try:
        return await _look(account, rows, "duration")
    except (QueueError, AccountError) as error:
        return str(error)


async def _look(account: AccountSession, rows: Sequence[JobRow], sort_by: SortBy) -> _Look:
    start_ms = min(_sent_ms(row) for row in rows) - LOOK_BACK_MS
    endpoints = sorted({row.endpoint for row in rows})
    found = await account.platform.history(endpoints, start_ms=start_ms, sort_by=sort_by)
    # Asked after the read: whatever was accepted before it is known to the ledger or is in motion by now.
    wanted = {row.job_id for row in rows}
    others = [
        row
        for row in await account.do(queries.open_jobs, states={State.SUBMITTING, State.UNKNOWN})
        if row.job_id not in wanted
    ]
    claimed = await account.do(history.known_requests, [item.request_id for item in found.items])
    attempts = [await attempt_of(account, row) for row in rows]
    attempts += [await attempt_of(account, row, in_motion=True) for row in others]
    taken = await _wrongly_claimed(account, fitting(attempts, found.items), claimed)
    free = [item for item in found.items if item.request_id not in claimed or item.request_id in taken]
    return _Look(
        answer=match(attempts, free),
        server_ms=found.server_ms,
        shown={item.request_id: item for item in found.items},
        attempts={attempt.job_id: attempt for attempt in attempts},
        taken=taken,
        controls=frozenset(
            item.endpoint_id
            for item in found.items
            if item.request_id in claimed and item.sent_ms >= start_ms
        ),
    )


async def _wrongly_claimed(
    account: AccountSession, items: Sequence[HistoryItem], claimed: Mapping[str, int]
) -> dict[str, JobRow]:
    """Return which of these requests belong to a job that sent something else: a reply named a wrong id."""
    taken: dict[str, JobRow] = {}
    for item in items:
        if item.request_id not in claimed:
            continue
        owner = await account.do(queries.job, claimed[item.request_id])
        is_latest = owner.ticket is not None and owner.ticket.request_id == item.request_id
        if is_latest and contradiction(await attempt_of(account, owner), item):
            taken[item.request_id] = owner
    return taken


async def _settled(
    account: AccountSession, row: JobRow, first: _Look, second: _Look | str, idle: Scope
) -> Finding:
    """Write down what the looks say about one job."""
    for look in (first, second):
        if isinstance(look, _Look) and (decided := await _decided(account, row, look, idle)) is not None:
            return decided
    if isinstance(second, str):
        return _still_unknown(account, row, second)
    now_ms = certain_now_ms(second.server_ms, account.now_ms())
    due = _due(account, row)
    if now_ms is None or now_ms < due.deadline_ms:
        return _still_unknown(account, row, NOT_YET)
    if why := _proves_nothing(account, row, first.controls & second.controls):
        return _still_unknown(account, row, why)
    if first.server_ms is not None and due.is_absent(first.server_ms):
        looks = " and ".join(iso(each) for each in (due.first_look_ms, second.server_ms) if each is not None)
        why = f"not in fal's history, read whole {looks}; sent {iso(_sent_ms(row))}"
        await account.do(settlement.declare_absent, row.job_id, why=why, attempt=row.attempt)
        told = {"run": row.run_id, "job": row.custom_id}
        logger.info("job %d (%s): absent: %s", row.job_id, row.custom_id, why, extra=told)
        return finding("absent", row, why)
    if not due.had_first_look:
        await account.do(transitions.note_unseen, row.job_id, at_ms=second.server_ms, attempt=row.attempt)
        due = replace(due, first_look_ms=second.server_ms)
    return finding("unknown", row, ONCE, again_ms=due.again_ms)


def _proves_nothing(account: AccountSession, row: JobRow, controls: frozenset[str]) -> str:
    """Say why a history that does not show a job proves nothing about it; "" where it does."""
    if row.endpoint not in controls:
        return NO_CONTROL
    endpoint = account.catalog.endpoints.get(row.endpoint)
    return "" if endpoint and endpoint.history_confirmed else NOT_CONFIRMED


async def _decided(account: AccountSession, row: JobRow, look: _Look, idle: Scope) -> Finding | None:
    """Return what one look knows of a job; None where it did not see it."""
    answer = look.answer
    if row.job_id in answer.found:
        request_id = answer.found[row.job_id]
        owner = look.taken.get(request_id)
        if owner is not None and not await _taken_back(account, row, owner, look.shown[request_id], idle):
            return await _mismatched(account, row, owner, look)
        try:
            return await _adopted(account, row, request_id, "found in fal's request history")
        except LedgerError as error:  # another process was quicker: with this job, or with this request
            return _still_unknown(account, row, str(error))
    if row.job_id not in answer.unseen:
        await note_seen(account, row)
    for tangle in answer.tangled:
        if row.job_id in tangle.job_ids:
            return finding("ambiguous", row, _tangled(tangle.job_ids), request_ids=tangle.request_ids)
    if row.job_id in answer.hidden:
        return _still_unknown(account, row, "fal's history hides the inputs of requests that it may be among")
    return None


async def note_seen(account: AccountSession, row: JobRow) -> None:
    """Take back an earlier look that did not show a request: it is there, or may be there, after all."""
    if submission_of(row).unseen_ms is not None:
        await account.do(transitions.note_unseen, row.job_id, at_ms=None, attempt=row.attempt)


async def _taken_back(
    account: AccountSession, row: JobRow, owner: JobRow, item: HistoryItem, idle: Scope
) -> bool:
    """Take the request that is `row`'s from the job that has it. False where a person has to decide.

    The evidence is exact: the history shows the very body that `row` sent, with its random seed, and the
    owner sent another one. The owner is unknown again, with its hold, and is found by its own body. Not where
    the ledger has the end of the owner's render already, and not while its request is being followed.
    """
    sent = submission_of(row).arguments_sha256
    if owner not in idle or owner.state not in AT_FAL or not is_exactly(item, sent):
        return False
    why = wrong_id(item, row.job_id)
    try:
        await account.do(transitions.misname, owner.job_id, why=why, attempt=owner.attempt)
    except IllegalTransition:  # it has ended since it was read
        return False
    return True


async def _by_its_lead(account: AccountSession, row: JobRow) -> Finding | None:
    """Ask the queue about the id that a broken reply brought; None where that leads nowhere."""
    lead = submission_of(row).lead_request_id
    if lead is None:
        return None
    try:
        await account.queue.status(account.queue.ticket(row.endpoint, lead))
        return await _adopted(account, row, lead, "the broken reply named the request, and fal has it")
    except (QueueError, AccountError, UsageError, LedgerError):
        return None


async def _adopted(account: AccountSession, row: JobRow, request_id: str, why: str) -> Finding:
    ticket = account.queue.ticket(row.endpoint, request_id)
    await account.do(transitions.find, row.job_id, ticket, why=why, attempt=row.attempt)
    told = {"run": row.run_id, "job": row.custom_id, "request_id": request_id}
    logger.info("job %d (%s): request %s: %s", row.job_id, row.custom_id, request_id, why, extra=told)
    return finding("found", row, why, request_ids=(request_id,), was_found=True)


def _still_unknown(account: AccountSession, row: JobRow, why: str) -> Finding:
    return finding("unknown", row, why, again_ms=_due(account, row).again_ms)


async def _mismatched(account: AccountSession, row: JobRow, owner: JobRow, look: _Look) -> Finding:
    """Name a request that another job has. Free the slot where it is beyond doubt that its render has ended.

    That is so where the history shows the exact body of `row` with its end, and the owner's bill is booked.
    No money is freed: the hold counts as spent.
    """
    request_id = look.answer.found[row.job_id]
    item = look.shown[request_id]
    why = (
        f"request {request_id} holds what this job sent, but job {owner.job_id} ({owner.custom_id}, run "
        f"{owner.run_id}) has it, which sent something else: a reply of fal's named a wrong id"
    )
    sent = submission_of(row).arguments_sha256
    if item.ended_ms is None or not owner.booked or not is_exactly(item, sent):
        why += ". Check both videos, then decide with --assume-spent or --resubmit"
        return finding("mismatch", row, why, request_ids=(request_id,))
    theirs = submission_of(owner).arguments_sha256
    named = [each.request_id for each in look.shown.values() if is_exactly(each, theirs)]
    why += (
        f". That job's file is this job's video; its own is {f'request {named[0]}' if named else 'not found'}"
        " at fal. The render has ended: the slot is free, and the hold counts as spent"
    )
    await account.do(settlement.write_off, row.job_id, why=why, error_type="misnamed", attempt=row.attempt)
    return finding("mismatch", row, why, request_ids=(request_id, *named[:1]))


def _tangled(job_ids: Sequence[int]) -> str:
    many = f"jobs {', '.join(map(str, job_ids))} and" if len(job_ids) > 1 else "more than one of"
    return f"{many} these requests fit each other; decide with --adopt, --assume-spent or --resubmit"


def _sent_ms(row: JobRow) -> int:
    return sent_ms(submission_of(row))


def _due(account: AccountSession, row: JobRow) -> Due:
    return account.due(submission_of(row))


KEPT_MS = 30 * 86_400_000
"""How long fal's history shows a request, in milliseconds (fal.ai/docs, headers)."""


async def find_orphans(account: AccountSession) -> list[Finding]:
    """Name fal's requests that hold what a submission sent which was given up in the last 30 days.

    It was declared absent, or assumed spent. Also those that a webhook or a late reply of fal's has named.
    Any key may read them. Without a submission that was given up fal is asked nothing.
    """
    since_ms = account.now_ms() - KEPT_MS
    lost = await account.do(queries.given_up, since_ms=since_ms)
    seen = await _searched(account, lost, since_ms) if lost else []
    named = {request_id for each in seen for request_id in each.request_ids}
    reported = await _reported(account, since_ms)
    return [*seen, *(each for each in reported if each.request_ids[0] not in named)]


async def _reported(account: AccountSession, since_ms: int) -> list[Finding]:
    """Name the requests that webhooks and late replies have named since, whatever fal's history shows."""
    return [
        finding(
            "orphan",
            await account.do(queries.job, job_id),
            f"fal named it for attempt {attempt}, which does not have it, and no job claims it: fal may have "
            "billed it",
            request_ids=(request_id,),
        )
        for job_id, attempt, request_id in await account.do(recovery.orphans, since_ms=since_ms)
    ]


async def _searched(account: AccountSession, lost: Sequence[Submission], since_ms: int) -> list[Finding]:
    rows = [replace(await account.do(queries.job, each.job_id), submission=each) for each in lost]
    attempts = [await attempt_of(account, row) for row in rows]
    start_ms = max(since_ms, min(map(sent_ms, lost)) - LOOK_BACK_MS)
    try:
        found = await account.platform.history(sorted({row.endpoint for row in rows}), start_ms=start_ms)
    except (QueueError, AccountError) as error:
        logger.warning("fal's history was not searched for requests that no job claims: %s", error)
        return []
    claimed = await account.do(history.known_requests, [item.request_id for item in found.items])
    free = [item for item in found.items if item.request_id not in claimed]
    return [_orphan(_sender(attempts, rows, item), item) for item in fitting(attempts, free)]


def _sender(attempts: Sequence[Attempt], rows: Sequence[JobRow], item: HistoryItem) -> JobRow:
    return next(row for attempt, row in zip(attempts, rows, strict=True) if fitting([attempt], [item]))


def _orphan(row: JobRow, item: HistoryItem) -> Finding:
    why = "its attempt was given up, but fal made and billed it, and no job claims it"
    try:
        why += f"; its video: {result_of(item).video_url}"
    except (RenderFailed, QueueError) as error:
        why += f"; {error}"
    return finding("orphan", row, why, request_ids=(item.request_id,))
