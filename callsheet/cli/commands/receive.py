"""`callsheet receive`: the receiver of fal's webhooks."""

from __future__ import annotations

import asyncio
import signal
import socket
from dataclasses import replace
from typing import Annotated

import uvicorn

from callsheet.cli.options import Sandbox, option, require_port
from callsheet.cli.output import flush, note, result
from callsheet.engine.context import open_account
from callsheet.engine.receiver import receiver_app
from callsheet.engine.request import RunRequest, settings_for
from callsheet.listener import listening, place_of
from callsheet.reconciliation.webhook_address import WebhookAddress, refuse_private_webhook, shared_secret
from callsheet.settings import Settings

DEFAULT_PORT = 8791
"""Not the default of `callsheet review`: both run side by side."""

GOODBYE_S = 5

Host = Annotated[str, option("RECEIVE_HOST", "The address to listen on")]
Port = Annotated[int, option("RECEIVE_PORT", "The port; 0 picks a free one")]
PublicUrl = Annotated[
    str | None, option("WEBHOOK_URL", "Where fal reaches it: https://, without a query", "--public-url")
]


def receive(
    *,
    host: Host = "127.0.0.1",
    port: Port = DEFAULT_PORT,
    public_url: PublicUrl = None,
    sandbox: Sandbox = False,
) -> int:
    """Receive fal's webhooks, which name requests whose replies were lost.

    Runs that are started with CALLSHEET_WEBHOOK_URL ask fal to report
    here. fal calls public https:// addresses only: put a proxy with a
    certificate before it, and give its address as --public-url. Only what
    fal has signed counts, and it never books money. One for each ledger.

    Example: callsheet receive --public-url https://hooks.example/callsheet
    """
    require_port("--port", port)
    settings = settings_for(RunRequest(sandbox=sandbox))
    public_url = (public_url or "").rstrip("/")
    refuse_private_webhook(replace(settings, webhook_url=public_url))
    # uvicorn raises the signals that it caught again once it has stopped; then they must do nothing.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    with listening(host, port) as listener:
        asyncio.run(_serve(settings, listener, public_url))
    return 0


async def _serve(settings: Settings, listener: socket.socket, public_url: str) -> None:
    async with open_account(settings) as account:
        app = receiver_app(account, WebhookAddress(public_url, shared_secret(settings)))
        result(f"receiving at http://{place_of(listener)}")
        if public_url:
            note(f"for runs: export CALLSHEET_WEBHOOK_URL={public_url}")
        else:
            note("for runs, set CALLSHEET_WEBHOOK_URL to the address at which fal reaches this")
        flush()
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            lifespan="off",
            ws="none",
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=GOODBYE_S,
        )
        await uvicorn.Server(config).serve(sockets=[listener])
