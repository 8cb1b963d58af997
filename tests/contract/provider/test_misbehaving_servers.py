"""The client against real TCP servers that misbehave after they have taken the job."""

import asyncio
import json
import socket
import struct
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from callsheet.errors import (
    AccountError,
    NotSent,
    OutcomeUnknown,
    QueueError,
    Refused,
    Throttled,
    UntrustedHost,
)
from callsheet.provider.client import FalQueue
from callsheet.settings import ApiKey, Settings
from tests.contract.clock import pass_time

KEY = "canary-key-id:canary-secret-0123456789"
SECRETS = (KEY, KEY.partition(":")[2])
ENDPOINT = "fal-ai/bytedance/seedance/v1/pro/text-to-video"
ID = "0b9f3c1e-7a34-4a55-9b1e-1f0a8a1f7c11"
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Counts connections and whole requests, keeps what came, then behaves as told."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.connections = 0
        self.requests: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lower = head.lower()
                length = lower.partition(b"content-length:")[2].split()[:1] or [b"0"]
                self.requests.append(head + await reader.readexactly(int(length[0])))
                await self.answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    @property
    def posts(self) -> int:
        return sum(request.startswith(b"POST") for request in self.requests)

    @property
    def seen(self) -> bytes:
        return b"".join(self.requests)


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[tuple[Server, str]]:
    """Serve on a free port of this machine, and yield the server and its address."""
    server = Server(answer)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    try:
        yield server, f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()


def settings(url: str) -> Settings:
    """Return settings with the canary key and every host at `url`."""
    return Settings(data_dir=Path(), key=ApiKey(KEY), queue_url=url, rest_url=url, cdn_url=url)


def whole(status: str, body: bytes, *headers: str) -> bytes:
    """Return a whole reply as bytes."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def says(raw: bytes, *, then: str = "stay") -> Answer:
    """Return an answer that writes `raw`, and then stays, closes or resets."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()
        if then == "close":
            writer.close()
        if then == "reset":
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    return answer


async def hangs(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Take the job and let the caller's minute pass."""
    pass_time(61)
    await reader.read()


async def drips(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer a byte a second: no single read is slow."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n")
    for _byte in range(4000):
        writer.write(b" ")
        await writer.drain()
        pass_time(1)
        await asyncio.sleep(0.001)


OK = json.dumps({"request_id": ID}).encode()
NGINX = b"<html>nginx</html>"
LEAD = f"x-fal-request-id: {ID}"
CASES = {
    "never answers": (hangs, OutcomeUnknown),
    "closes": (says(b"", then="close"), OutcomeUnknown),
    "resets": (says(b"", then="reset"), OutcomeUnknown),
    "truncates": (says(whole("200 OK", OK)[:-8], then="close"), OutcomeUnknown),
    "half a head": (says(b"HTTP/1.1 200 OK\r\nContent-Le", then="close"), OutcomeUnknown),
    "not http": (says(b"SSH-2.0-x\r\n", then="close"), OutcomeUnknown),
    "nginx 502": (says(whole("502 Bad Gateway", NGINX)), OutcomeUnknown),
    "nginx 503": (says(whole("503 Unavailable", NGINX)), OutcomeUnknown),
    "nginx 504": (says(whole("504 Time-out", NGINX)), OutcomeUnknown),
    "json 500": (says(whole("500 E", b'{"detail":"x","error_type":"internal_error"}')), OutcomeUnknown),
    "408": (says(whole("408 T", b"{}")), OutcomeUnknown),
    "409": (says(whole("409 C", b"{}")), OutcomeUnknown),
    "429": (says(whole("429 T", b'{"detail":"slow"}', "Retry-After: 3")), Throttled),
    "broken json": (says(whole("200 OK", b'{"request')), OutcomeUnknown),
    "no id": (says(whole("200 OK", b"{}")), OutcomeUnknown),
    "encoded": (says(whole("200 OK", b"\x1f\x8b", "Content-Encoding: gzip")), OutcomeUnknown),
    "drips": (drips, OutcomeUnknown),
    "422": (says(whole("422 U", b'{"detail":[{"msg":"m","type":"missing"}]}')), Refused),
    "echoes the key": (says(whole("401 U", json.dumps({"detail": f"bad key {KEY}"}).encode())), AccountError),
}


@pytest.mark.parametrize("case", CASES)
def test_one_submit_is_one_post(case: str) -> None:
    """However the other end misbehaves, one POST is sent, in time, and the error holds no key."""
    answer, expected = CASES[case]

    async def run() -> None:
        async with serving(answer) as (server, url), FalQueue(settings(url)) as queue:
            with pytest.raises((QueueError, AccountError)) as caught:
                async with asyncio.timeout(600):  # a drip lasts 4,000 s; TimeoutError is none of ours
                    await queue.submit(ENDPOINT, {"prompt": "x"})
            assert type(caught.value) is expected
            assert server.posts == 1
            shown = "".join(
                traceback.TracebackException.from_exception(caught.value, capture_locals=False).format()
            )
            assert not any(secret in shown + repr(caught.value) for secret in SECRETS)

    asyncio.run(run())


@pytest.mark.parametrize("case", ["never answers", "truncates", "drips", "closes"])
def test_not_even_locals_show_the_key(case: str) -> None:
    """A traceback printed with its local variables, as log tools do, does not hold the key."""
    answer, _ = CASES[case]

    async def run() -> None:
        async with serving(answer) as (_server, url), FalQueue(settings(url)) as queue:
            with pytest.raises(QueueError) as caught:
                await queue.submit(ENDPOINT, {"prompt": "x"})
            shown = "".join(
                traceback.TracebackException.from_exception(caught.value, capture_locals=True).format()
            )
            assert not any(secret in shown for secret in SECRETS)

    asyncio.run(run())


def test_the_lead_survives_a_broken_body() -> None:
    """An id in the headers is kept when the body after it breaks off."""

    async def run() -> None:
        raw = whole("200 OK", OK, LEAD)[:-8]
        async with serving(says(raw, then="close")) as (_, url), FalQueue(settings(url)) as queue:
            with pytest.raises(OutcomeUnknown) as caught:
                await queue.submit(ENDPOINT, {})
            assert caught.value.lead_request_id == ID

    asyncio.run(run())


def test_submits_share_no_connection_and_reads_do() -> None:
    """Three submits open three connections; three reads after them share one."""

    async def run() -> None:
        body = json.dumps({"request_id": ID, "status": "IN_PROGRESS"}).encode()
        async with serving(says(whole("200 OK", body))) as (server, url), FalQueue(settings(url)) as queue:
            for _ in range(3):
                ticket = await queue.submit(ENDPOINT, {})
            assert server.connections == 3
            for _ in range(3):
                await queue.status(ticket)
            assert server.connections == 4

    asyncio.run(run())


def test_nobody_there_is_not_sent() -> None:
    """A refused connection is a request that never left."""

    async def run() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            async with FalQueue(settings(f"http://127.0.0.1:{taken.getsockname()[1]}")) as queue:
                with pytest.raises(NotSent):
                    await queue.submit(ENDPOINT, {})

    asyncio.run(run())


def test_a_foreign_host_never_gets_the_key() -> None:
    """Neither a reply's addresses nor a redirect take the key, or anything, to another host."""

    async def run() -> None:
        async with serving(says(whole("200 OK", b"{}"))) as (foreign, elsewhere):
            urls = dict.fromkeys(("status_url", "response_url", "cancel_url"), f"{elsewhere}/{ID}")
            body = json.dumps({"request_id": ID, "status": "IN_PROGRESS", **urls}).encode()
            async with serving(says(whole("200 OK", body))) as (own, url), FalQueue(settings(url)) as queue:
                ticket = await queue.submit(ENDPOINT, {})
                await queue.status(ticket)
                await queue.cancel(ticket)
                assert own.posts == 1
                with pytest.raises(UntrustedHost):
                    await queue.status(replace(ticket, **urls))
            moved = whole("307 Moved", b"", f"Location: {elsewhere}/x")
            async with serving(says(moved)) as (own, url), FalQueue(settings(url)) as queue:
                with pytest.raises(OutcomeUnknown):
                    await queue.submit(ENDPOINT, {})
                with pytest.raises(QueueError):
                    await queue.status(queue.ticket(ENDPOINT, ID))
                assert own.posts == 1
            assert foreign.requests == []

    asyncio.run(run())


def test_downloads_and_uploads_keep_the_key_at_home() -> None:
    """The file's host never sees the key: not in a download, not in an upload's second step."""

    async def run() -> None:
        async with serving(says(whole("200 OK", b"x" * 9000))) as (cdn, url):
            made = Settings(data_dir=Path(), key=ApiKey(KEY), queue_url="http://127.0.0.1:1", cdn_url=url)
            async with FalQueue(made) as queue, queue.open_download(f"{url}/a.mp4") as (headers, chunks):
                assert b"".join([chunk async for chunk in chunks]) == b"x" * 9000
                assert headers["content-length"] == "9000"
            assert b"authorization" not in cdn.seen.lower()
        token = {"token": "t0ken", "token_type": "Bearer"}
        tokens = says(whole("200 OK", json.dumps(token).encode()))
        async with serving(says(b"")) as (cdn, url), serving(tokens) as (rest, rest_url):
            cdn.answer = says(whole("200 OK", json.dumps({"access_url": f"{url}/a.png"}).encode()))
            made = Settings(data_dir=Path(), key=ApiKey(KEY), rest_url=rest_url, cdn_url=url)
            async with FalQueue(made) as queue:
                address = await queue.upload(b"png", content_type="image/png", file_name="a.png")
            assert address == f"{url}/a.png"
            assert KEY.encode() in rest.seen
            assert b"Bearer t0ken" in cdn.seen
            assert not any(secret.encode() in cdn.seen for secret in SECRETS)

    asyncio.run(run())
