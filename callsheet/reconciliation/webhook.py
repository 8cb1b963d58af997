"""fal's webhooks: where fal is asked to report, and what a report changes.

It names the request of a POST whose reply was lost, and nothing else. It is a hint: the request id is
recorded once fal's queue has confirmed that it has the request, as with an id that a broken reply brought.
Renders, results and costs are read from fal as always, never from a webhook. Receiving the same one again
changes nothing. One for an attempt that had ended without a request id (declared absent, written off,
refused) is kept and told, and never adopted.
"""

from __future__ import annotations

import logging
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass

from callsheet.errors import AccountError, IllegalTransition, LedgerError, QueueError, UsageError
from callsheet.files import part_file, usable_data_folder
from callsheet.ledger import JobRow, State, history, queries, transitions
from callsheet.provider.webhook_address import Token, WebhookAddress
from callsheet.reconciliation.account import AccountSession, is_local
from callsheet.settings import Secret, Settings

logger = logging.getLogger(__name__)

SECRET_FILE = "receive.secret"  # noqa: S105 -- a file's name
SECRET_MIN_CHARS = 16

WITHOUT_ID = frozenset({State.SUBMITTING, State.UNKNOWN})


def refuse_private_webhook(settings: Settings) -> None:
    """Raise UsageError for an address that fal does not call: without https://, or on this machine."""
    url = settings.webhook_url
    if not url or is_local(settings.queue_url):
        return
    if not url.startswith("https://") or is_local(url) or "?" in url or "#" in url:
        raise UsageError(
            f"CALLSHEET_WEBHOOK_URL (--public-url) is {url[:80]!r}; fal calls public https:// addresses only "
            "(and no query)"
        )


def webhook_address(settings: Settings) -> WebhookAddress | None:
    """Return what makes addresses for fal, None without CALLSHEET_WEBHOOK_URL. See `shared_secret`."""
    return WebhookAddress(settings.webhook_url, shared_secret(settings)) if settings.webhook_url else None


def shared_secret(settings: Settings) -> Secret:
    """Return CALLSHEET_RECEIVE_SECRET, else the one in the data folder, which is made where there is none.

    Raises UsageError for one that is too short, and where the data folder cannot be used.
    """
    if settings.receive_secret is not None:
        return _long_enough(settings.receive_secret, "CALLSHEET_RECEIVE_SECRET")
    path = usable_data_folder(settings) / SECRET_FILE
    if not path.exists():
        with part_file(path, mode=0o600) as part:
            part.write(secrets.token_hex(32).encode())
            os.fsync(part.descriptor)
            with suppress(FileExistsError):  # another process was quicker: its secret is everybody's
                os.link(part.path, path)
    return _long_enough(Secret(path.read_text("ascii").strip()), str(path))


def _long_enough(secret: Secret, name: str) -> Secret:
    if len(secret.reveal()) < SECRET_MIN_CHARS:
        raise UsageError(f"{name} is shorter than {SECRET_MIN_CHARS} characters")
    return secret


@dataclass(frozen=True, slots=True)
class Answer:
    """What fal is told: an HTTP status (503 asks it to come again) and one line for the log.

    `unclaimed` is the job that a request was sent for which no job claims: people are told.
    """

    status: int
    text: str
    unclaimed: JobRow | None = None


async def take_notice(
    account: AccountSession, address: WebhookAddress, token_text: str, request_id: str
) -> Answer:
    """Record the request id that fal's signed webhook names, where its attempt has none so far."""
    token = Token.read(token_text)
    if token is None:
        return Answer(404, "its address has no token of ours")
    try:
        row = await account.do(queries.job, token.job_id)
    except UsageError:
        return Answer(404, "its token names a job that this ledger does not have")
    sent = await account.do(history.given_up, token.job_id, token.attempt)
    if sent is not None and address.signed(token, sent):
        return await _claimed_too_late(account, row, token.attempt, request_id)
    if (answer := _nothing_to_do(address, token, row, request_id)) is not None:
        return answer
    if not account.speaks_for(row.submission):
        return Answer(503, f"{row.custom_id} was sent with another fal key: receive with that")
    return await _adopted(account, row, request_id)


async def _claimed_too_late(account: AccountSession, row: JobRow, attempt: int, request_id: str) -> Answer:
    """Keep a request that no job claims: its attempt had ended, and fal may have billed it."""
    if await account.do(history.known_requests, [request_id]):
        return Answer(200, f"{row.custom_id}: request {request_id} is known already")
    try:
        await account.do(history.note_orphan, row.job_id, attempt, request_id)
    except LedgerError as error:
        return Answer(503, f"{row.custom_id}: {error}")
    said = f"{row.label}: request {request_id} of attempt {attempt}, which had been given up"
    return Answer(200, f"{said}; `callsheet reconcile` lists it", unclaimed=row)


def _nothing_to_do(address: WebhookAddress, token: Token, row: JobRow, request_id: str) -> Answer | None:
    """Say why a webhook changes nothing; None where its attempt has no request id so far."""
    if token.attempt < row.attempt:
        return Answer(200, f"{row.custom_id}: attempt {token.attempt} is over")
    sent = row.submission.arguments_sha256 if row.submission else None
    if token.attempt > row.attempt or not address.signed(token, sent):
        return Answer(404, "its token was not made for this ledger")
    if row.ticket is not None:
        known = row.ticket.request_id
        text = f"{row.custom_id}: request {known} is known already"
        return Answer(200, text if known == request_id else f"{text}; the webhook names {request_id}")
    if row.state not in WITHOUT_ID:
        return Answer(200, f"{row.custom_id} is {row.state}: nothing is awaited")
    return None


async def _adopted(account: AccountSession, row: JobRow, request_id: str) -> Answer:
    try:
        ticket = account.queue.ticket(row.endpoint, request_id)
        await account.queue.status(ticket)
    except (QueueError, AccountError, UsageError) as error:
        return Answer(503, f"{row.custom_id}: fal's queue does not confirm request {request_id}: {error}")
    try:
        if row.state is State.UNKNOWN:
            why = "fal's webhook named the request, and its queue has it"
            await account.do(transitions.find, row.job_id, ticket, why=why, attempt=row.attempt)
        else:
            await account.do(transitions.accept, row.job_id, ticket, attempt=row.attempt)
    except IllegalTransition:  # its reply, another look or a person was quicker
        if await account.do(history.given_up, row.job_id, row.attempt) is not None:
            return await _claimed_too_late(account, row, row.attempt, request_id)
        return Answer(200, f"{row.custom_id} has moved on meanwhile")
    except LedgerError as error:
        return Answer(503, f"{row.custom_id}: {error}")
    return Answer(200, f"{row.custom_id}: request {request_id} is recorded")
