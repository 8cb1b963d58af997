"""The receiver of fal's webhooks, an ASGI application. See `callsheet.reconciliation.webhook`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from callsheet.engine.announce import tell_unclaimed
from callsheet.errors import CallsheetError, Unavailable
from callsheet.provider.webhook_address import WebhookAddress
from callsheet.provider.webhooks import MAX_BYTES, BadWebhook, PublishedKeys, checked
from callsheet.reconciliation.account import AccountSession
from callsheet.reconciliation.webhook import Answer, take_notice

logger = logging.getLogger(__name__)


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
        return await take_notice(account, address, request.url.path.rpartition("/")[2], request_id)
    except BadWebhook as error:
        return Answer(401, str(error))
    except Unavailable as error:
        return Answer(503, f"fal's keys: {error}")
    except CallsheetError as error:  # the ledger is away
        return Answer(503, str(error))
