"""The client of fal's queue: exactly one POST for a paid job, and free reads to follow it.

No call retries by itself, except uploads, which are free. No call follows redirects. The key is put into a
request just before it goes out, and only towards the configured queue and REST hosts.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, Self

import httpx

from callsheet import failpoints
from callsheet.errors import AccountError, NotSent, Unavailable
from callsheet.provider.hosts import Hosts
from callsheet.provider.media import (
    UPLOAD_DEADLINE_S,
    UPLOAD_TRIES,
    Download,
    bytes_of,
    open_file,
    parse_upload,
    parse_upload_token,
    upload_headers,
)
from callsheet.provider.messages import (
    CancelAnswer,
    Completed,
    Rendered,
    Status,
    failure_of_post,
    parse_cancel,
    parse_result,
    parse_status,
    parse_submit,
    read_object,
    submit_body,
    submit_headers,
    submit_url,
    ticket_for,
)
from callsheet.provider.outcomes import outcome_of_failure
from callsheet.provider.polling import PollSchedule
from callsheet.provider.replies import Reply, server_time_ms
from callsheet.provider.transport import (
    CONNECT_TIMEOUT_S,
    Departure,
    Hearing,
    SecretAuth,
    exchange,
    key_auth,
    open_client,
    read,
    retried,
    since_boot_s,
)
from callsheet.settings import Settings
from callsheet.ticket import Ticket

REFUSALS = 3
"""How often in a row a poll must be refused (401, 402, 403) until the key counts as refused. One refusal may
be a mistake of fal's, and the render behind it is paid for."""

SEND_WITHIN_S = 15.0
"""How long after its intent was written down the paid POST may still leave, in seconds."""


KEYS_PATH = "/.well-known/jwks.json"


def quiet_http_logs() -> None:
    """Keep httpx and httpcore from writing every address they call into the log."""
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)


class FalQueue:
    """fal's queue, spoken to with one key: `async with FalQueue(settings) as queue`.

    `transport` replaces the network (tests), `now` is a monotonic clock in seconds, `since_boot` one that
    also counts the time in which the machine was suspended, `sleep` waits, and `jitter` returns numbers in
    [0, 1).
    """

    def __init__(
        self,
        settings: Settings,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        now: Callable[[], float] = time.monotonic,
        since_boot: Callable[[], float] = since_boot_s,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        failpoints.only_here(settings.queue_url)
        self._settings = settings
        self._hosts = Hosts(settings)
        self._transport = transport
        self._now = now
        self._since_boot = since_boot
        self._sleep = sleep
        self._jitter = jitter
        self._stack = AsyncExitStack()
        self._clients: tuple[httpx.AsyncClient, httpx.AsyncClient, httpx.AsyncClient] | None = None

    async def __aenter__(self) -> Self:
        urls = (self._settings.queue_url, self._settings.rest_url, self._settings.cdn_url)
        clients = [
            open_client(transport=self._transport, keep_alive=keep_alive, urls=urls)
            for keep_alive in (False, True, True)
        ]
        post, api, cdn = [await self._stack.enter_async_context(each) for each in clients]
        self._clients = (post, api, cdn)
        return self

    async def __aexit__(self, *raised: object) -> None:
        self._clients = None
        await self._stack.aclose()

    def latest_departure_s(self) -> float:
        """Return until when a POST that is decided on now may leave, for `submit`'s `send_before_s`."""
        return self._since_boot() + SEND_WITHIN_S

    async def submit(
        self,
        endpoint_id: str,
        arguments: Mapping[str, Any],
        *,
        deadline_s: float = 60.0,
        start_timeout_s: int | None = None,
        send_before_s: float | None = None,
        webhook_url: str | None = None,
    ) -> Ticket:
        """Send the paid POST, exactly once, on a connection of its own, and return the accepted job's ticket.

        `deadline_s` bounds the whole call in seconds; `start_timeout_s` (default: the settings') and
        `webhook_url`, where fal reports the end, are sent to fal. The POST does not leave after
        `send_before_s`, a moment that `latest_departure_s` gave when the intent was written down (default:
        the one it gives now).

        Every ending has a name: NotSent, Throttled, Refused and AccountError (nothing was enqueued), or
        OutcomeUnknown. That includes a cancellation while it is under way: it raises NotSent where no byte
        of the request was written, else OutcomeUnknown, instead of CancelledError, so that the caller always
        learns what to write down; `asyncio.current_task().cancelling()` still tells that it was cancelled.
        To let the POST come to its end, run it as a task and await it through `asyncio.shield`.
        UsageError (an endpoint id or arguments that cannot be sent) is raised before anything is sent.
        """
        client, auth = self._opened()[0], self._auth()
        timeout_s = self._settings.start_timeout_s if start_timeout_s is None else start_timeout_s
        latest_s = self.latest_departure_s() if send_before_s is None else send_before_s
        departure = Departure(latest_s, self._since_boot)
        request = client.build_request(
            "POST",
            self._hosts.may_have_key(submit_url(self._settings.queue_url, endpoint_id)),
            content=submit_body(arguments),
            params=None if webhook_url is None else {"fal_webhook": webhook_url},
            headers=submit_headers(timeout_s),
            # TCP and TLS both end before the deadline: httpcore closes a connection that times out, but
            # leaves one that is cancelled during TLS to the garbage collector.
            timeout=httpx.Timeout(deadline_s, connect=min(CONNECT_TIMEOUT_S, deadline_s / 3)),
            extensions={"trace": departure},
        )
        reply = await _sent_once(client, request, auth, departure, deadline_s)
        return self._hosts.pinned(parse_submit(reply, endpoint_id))

    def ticket(self, endpoint_id: str, request_id: str) -> Ticket:
        """Return the ticket of a job of which only the ids are known. Raises UsageError for bad ids."""
        return ticket_for(self._settings.queue_url, endpoint_id, request_id)

    async def status(self, ticket: Ticket) -> Status:
        """Ask once how far a job is. Raises Unavailable, AccountError or UntrustedHost."""
        return parse_status(await self._read("GET", ticket.status_url), ticket.request_id)

    async def result(self, ticket: Ticket) -> Rendered:
        """Fetch a completed job's result. Raises RenderFailed, Unavailable, AccountError or UntrustedHost."""
        return parse_result(await self._read("GET", ticket.response_url))

    async def cancel(self, ticket: Ticket) -> CancelAnswer:
        """Ask fal to drop a job. Raises Unavailable, AccountError or UntrustedHost.

        "removed" means that it will not run; "requested" that it may still run to its end and be charged.
        """
        return parse_cancel(await self._read("PUT", ticket.cancel_url))

    async def watch(self, ticket: Ticket, schedule: PollSchedule) -> AsyncGenerator[Status, None]:
        """Yield every status seen, until Completed, asking when the schedule says.

        Failed reads are waited out. Raises Unavailable with `gone` where the queue no longer holds the
        request; AccountError when the key is refused `REFUSALS` times in a row; UntrustedHost at once.
        """
        wait_s, refusals = schedule.first_wait_s(self._now()), 0
        while True:
            await self._sleep(wait_s)
            try:
                seen = await self.status(ticket)
            except AccountError as error:
                refusals += 1
                if refusals == REFUSALS:
                    raise
                wait_s = schedule.wait_after_error_s(Unavailable(str(error)))
                continue
            except Unavailable as error:
                wait_s = schedule.wait_after_error_s(error)
                continue
            seen_s, refusals = self._now(), 0
            yield seen
            if isinstance(seen, Completed):
                return
            wait_s = schedule.next_wait_s(seen, seen_s)

    async def upload(self, content: Path | bytes, *, content_type: str, file_name: str) -> str:
        """Put a file on fal's CDN and return its address. Tries three times: uploads are free.

        Raises Unavailable, Refused, AccountError, UntrustedHost, or UsageError for a file that is too large.
        """
        data = await bytes_of(content)
        once = partial(self._upload_once, data, upload_headers(content_type, file_name))
        return await retried(once, tries=UPLOAD_TRIES, sleep=self._sleep, jitter=self._jitter)

    async def _upload_once(self, data: bytes, headers: Mapping[str, str]) -> str:
        """Fetch a token with the key, and give the file to the CDN with the token alone."""
        _, api, cdn = self._opened()
        url = self._hosts.may_have_key(f"{self._settings.rest_url}/storage/auth/token")
        ask = api.build_request("POST", url, params={"storage_type": "fal-cdn-v3"}, json={})
        token, base_url = parse_upload_token(await read(api, ask, self._auth(), who="fal's storage"))
        if base_url is not None:
            self._hosts.may_hold_media(base_url)  # raises for a host that the picture must not go to
        target = self._hosts.may_hold_media(f"{self._settings.cdn_url}/files/upload")
        put = cdn.build_request("POST", target, content=data, headers=headers)
        auth = SecretAuth(token)
        reply = await read(cdn, put, auth, who="fal's storage", deadline_s=UPLOAD_DEADLINE_S)
        address = parse_upload(reply)
        self._hosts.may_hold_media(address)
        return address

    def open_download(self, url: str) -> AbstractAsyncContextManager[Download]:
        """Open a file on fal's CDN: `async with queue.open_download(url) as (headers, chunks)`.

        No key is sent. Opening and reading raise Unavailable (`gone` for 404 and 410) or UntrustedHost.
        Length, total time and what the bytes are is the reader's to check.
        """
        return open_file(self._opened()[2], self._hosts, url)

    async def webhook_keys(self) -> bytes:
        """Return the document of fal's public keys for webhooks. Raises Unavailable or AccountError."""
        reply = await self._read("GET", f"{self._settings.rest_url}{KEYS_PATH}")
        read_object(reply, "fal's list of keys")
        return reply.body

    async def clock_ms(self) -> int | None:
        """Return fal's clock by the Date of a reply (Unix ms, whole seconds); None where it has none."""
        return server_time_ms(await self._read("GET", f"{self._settings.rest_url}{KEYS_PATH}"))

    async def _read(self, method: str, url: str) -> Reply:
        client, auth = self._opened()[1], self._auth()
        request = client.build_request(method, self._hosts.may_have_key(url))
        return await read(client, request, auth, who="fal's queue")

    def _opened(self) -> tuple[httpx.AsyncClient, httpx.AsyncClient, httpx.AsyncClient]:
        if self._clients is None:
            raise RuntimeError("FalQueue is used outside its `async with` block")
        return self._clients

    def _auth(self) -> SecretAuth:
        return key_auth(self._settings.key)


async def _sent_once(
    client: httpx.AsyncClient,
    request: httpx.Request,
    auth: SecretAuth,
    departure: Departure,
    deadline_s: float,
) -> Reply:
    hearing = Hearing()
    try:
        async with asyncio.timeout(deadline_s):
            return await exchange(client, request, auth, hearing)
    except NotSent:
        raise
    except (Exception, asyncio.CancelledError) as error:
        # Whatever it was: between here and fal there is money, so it must end in a name the caller knows.
        name = type(error).__name__
        lead = hearing.head.headers.get("x-fal-request-id") if hearing.head else None
        raise failure_of_post(outcome_of_failure(name, sent=departure.left), name, lead) from error
