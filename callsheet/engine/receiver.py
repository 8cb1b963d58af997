"""The receiver of fal's webhooks, an ASGI application, and what a webhook changes.

It names the request of a POST whose reply was lost, and nothing else. It is a hint: the request id is
recorded once fal's queue has confirmed that it has the request, as with an id that a broken reply brought.
Renders, results and costs are read from fal as always, never from a webhook. Receiving the same one again
changes nothing. One for an attempt that awaits none (declared absent, written off, refused, or with another
request id already) is kept and told, and never adopted.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from callsheet.engine.announce import tell_unclaimed
from callsheet.errors import (
    AccountError,
    CallsheetError,
    IllegalTransition,
    LedgerError,
    QueueError,
    Unavailable,
    UsageError,
)
from callsheet.ledger import JobRow, State, history, queries, recovery, transitions
from callsheet.provider.webhooks import MAX_BYTES, BadWebhook, PublishedKeys, checked
from callsheet.reconciliation.account import AccountSession
from callsheet.reconciliation.webhook_address import Token, WebhookAddress
from callsheet.wording import command

logger = logging.getLogger(__name__)

WITHOUT_ID = frozenset({State.SUBMITTING, State.UNKNOWN})


@dataclass(frozen=True, slots=True)
class Answer:
    """What fal is told: an HTTP status (503 asks it to come again) and one line for the log.

    `unclaimed` is the job that a request was sent for which no job claims: people are told.
    """

    status: int
    text: str
    unclaimed: JobRow | None = None


def receiver_app(
    account: AccountSession, address: WebhookAddress, now_s: Callable[[], float] = time.time
) -> Starlette:
    """Return the application. It takes a POST at any path that ends with a token; `/health` answers 200."""
    keys = PublishedKeys(account.queue.webhook_keys)

    async def receive(request: Request) -> PlainTextResponse:
        answer = await _answered(account, address, keys, request, now_s())
        level = logging.INFO if answer.status == 200 else logging.WARNING
        level = logging.WARNING if answer.unclaimed else level
        logger.log(level, "webhook answered with %d: %s", answer.status, answer.text)
        if answer.unclaimed:
            await tell_unclaimed(account, answer.unclaimed, answer.text)
        return PlainTextResponse("ok\n" if answer.status == 200 else "not accepted\n", answer.status)

    async def health(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("ok\n")

    return Starlette(
        routes=[
            Route("/health", health, methods=["GET"]),
            Route("/{path:path}", receive, methods=["POST"]),
        ]
    )


async def _answered(
    account: AccountSession, address: WebhookAddress, keys: PublishedKeys, request: Request, now_s: float
) -> Answer:
    """Check what came, and take notice of it. What is not fal's is refused before the ledger is asked."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BYTES:
            return Answer(413, f"its body is larger than {MAX_BYTES:,} bytes")
    try:
        request_id = await checked(request.headers, body, keys, now_s)
        return await _take_notice(account, address, request.url.path.rpartition("/")[2], request_id)
    except BadWebhook as error:
        return Answer(401, str(error))
    except Unavailable as error:
        return Answer(503, f"fal's keys: {error}")
    except CallsheetError as error:  # the ledger is away
        return Answer(503, str(error))


async def _take_notice(
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
    sent = await account.do(recovery.given_up, token.job_id, token.attempt)
    is_over = sent is not None and address.signed(token, sent)
    if not is_over and (answer := _nothing_to_do(address, token, row)) is not None:
        return answer
    if is_over or row.state not in WITHOUT_ID:
        return await _unclaimed(account, row, token.attempt, request_id)
    if not account.speaks_for(row.submission):
        return Answer(503, f"{row.custom_id} was sent with another fal key: receive with that")
    return await _adopted(account, row, request_id)


async def _unclaimed(account: AccountSession, row: JobRow, attempt: int, request_id: str) -> Answer:
    """Keep a request that no job claims, and that fal may have billed: its attempt awaits none."""
    if await account.do(history.known_requests, [request_id]):
        return Answer(200, f"{row.custom_id}: request {request_id} is known already")
    try:
        await account.do(recovery.note_orphan, row.job_id, attempt, request_id)
    except LedgerError as error:
        return Answer(503, f"{row.custom_id}: {error}")
    why = "which had been given up"
    if attempt == row.attempt and row.ticket is not None:
        why = f"which has request {row.ticket.request_id}"
    elif attempt == row.attempt and row.state is State.HELD:
        why = "whose request was taken for one that was not accepted"
    lists = command("reconcile", sandbox=account.ledger.is_sandbox)
    said = f"{row.label}: request {request_id} of attempt {attempt}, {why}; `{lists}` lists it"
    return Answer(200, said, unclaimed=row)


def _nothing_to_do(address: WebhookAddress, token: Token, row: JobRow) -> Answer | None:
    """Say why a webhook changes nothing; None where it was made for the latest attempt."""
    if token.attempt < row.attempt:
        return Answer(200, f"{row.custom_id}: attempt {token.attempt} is over")
    sent = row.submission.arguments_sha256 if row.submission else None
    if token.attempt > row.attempt or not address.signed(token, sent):
        return Answer(404, "its token was not made for this ledger")
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
        if await account.do(recovery.given_up, row.job_id, row.attempt) is not None:
            return await _unclaimed(account, row, row.attempt, request_id)
        return Answer(200, f"{row.custom_id} has moved on meanwhile")
    except LedgerError as error:
        return Answer(503, f"{row.custom_id}: {error}")
    return Answer(200, f"{row.custom_id}: request {request_id} is recorded")
