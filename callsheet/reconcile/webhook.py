"""What a webhook of fal's changes: it names the request of a POST whose reply was lost, and nothing else.

It is a hint. The request id is recorded once fal's queue has confirmed that it has the request, as with an id
that a broken reply brought. Renders, results and costs are read from fal as always, never from a webhook.
Receiving the same one again changes nothing.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from callsheet.errors import AccountError, IllegalTransition, LedgerError, QueueError, UsageError
from callsheet.ledger import JobRow, State, queries, transitions
from callsheet.provider.webhook_address import Token, WebhookAddress
from callsheet.reconcile.account import AccountSession

logger = logging.getLogger(__name__)

WITHOUT_ID = frozenset({State.SUBMITTING, State.UNKNOWN})


@dataclass(frozen=True, slots=True)
class Answer:
    """What fal is told: an HTTP status (503 asks it to come again) and one line for the log."""

    status: int
    text: str


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
    if (answer := _nothing_to_do(address, token, row, request_id)) is not None:
        return answer
    if not account.speaks_for(row.submission):
        return Answer(503, f"{row.custom_id} was sent with another fal key: receive with that")
    return await _adopted(account, row, request_id)


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
    except IllegalTransition:  # its reply, or another look, was quicker
        return Answer(200, f"{row.custom_id} has moved on meanwhile")
    except LedgerError as error:
        return Answer(503, f"{row.custom_id}: {error}")
    return Answer(200, f"{row.custom_id}: request {request_id} is recorded")
