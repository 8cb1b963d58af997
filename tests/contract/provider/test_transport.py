"""The client against real TCP servers that misbehave in one scripted way, and that count what arrives."""

import asyncio
import json
import logging
import ssl
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from callsheet.errors import (
    AccountError,
    CallsheetError,
    NotSent,
    OutcomeUnknown,
    Refused,
    Throttled,
    Unavailable,
    UntrustedHost,
    UsageError,
)
from callsheet.provider.client import FalQueue, quiet_http_logs
from callsheet.provider.messages import Completed, InQueue
from callsheet.settings import ApiKey, Settings
from callsheet.ticket import Ticket
from tests.contract.clock import pass_time

ENDPOINT = "fal-ai/bytedance/seedance/v1/pro/fast/text-to-video"
ID = "764cabcf-b745-4b3e-ae38-1200304cf45b"
SECRET = "canary-5ecret-0f-the-key"
NGINX = b"<html><center>nginx</center></html>"
ACCEPTED = {"request_id": ID, "queue_position": 0}
LEAD = f"x-fal-request-id: {ID}\r\n"


@dataclass
class Request:
    """One request as it arrived, whole."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Server:
    """A server that was started on this machine, and what reached it."""

    url: str = ""
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def saw_the_key(self) -> bool:
        """Whether any request held the secret, anywhere."""
        return any(SECRET in f"{seen.line}{seen.headers}{seen.body!r}" for seen in self.requests)


Answer = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """Serve until the block ends; afterwards no connection and no task is left."""
    found, running = Server(), set[asyncio.Task[None]]()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await _read(reader):
                found.requests.append(request)
                found.arrived.set()
                await answer(request, writer)
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.connections += 1
        task = asyncio.ensure_future(talk(reader, writer))
        running.add(task)
        task.add_done_callback(running.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    found.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    try:
        yield found
    finally:
        server.close()
        for task in list(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _read(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    return Request(head[0], headers, await reader.readexactly(int(headers.get("content-length", 0))))


def http(code: int, body: Any = b"", headers: str = "", *, cut: int = 0) -> bytes:
    """Write a reply; `cut` bytes of its body stay behind."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {code} X\r\ncontent-length: {len(raw)}\r\n{headers}\r\n"
    return head.encode() + raw[: len(raw) - cut]


def says(*replies: bytes) -> Answer:
    """Answer with these replies in turn, the last one for ever."""
    left = list(replies)

    async def answer(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(left.pop(0) if len(left) > 1 else left[0])

    return answer


def then_closes(*parts: bytes) -> Answer:
    """Answer with these bytes and close."""

    async def answer(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(parts))
        await writer.drain()
        writer.close()

    return answer


async def resets(_request: Request, writer: asyncio.StreamWriter) -> None:
    """Reset the connection."""
    writer.transport.abort()


async def hangs(_request: Request, _writer: asyncio.StreamWriter) -> None:
    """Never answer."""
    await asyncio.Event().wait()


async def outlasts(_request: Request, _writer: asyncio.StreamWriter) -> None:
    """Take the job and let the caller's minute pass."""
    pass_time(61)
    await asyncio.Event().wait()


async def drips(_request: Request, writer: asyncio.StreamWriter) -> None:
    """Accept the job one byte a second: no single read is slow, the whole takes five minutes."""
    for byte in http(200, b" " * 300 + json.dumps(ACCEPTED).encode(), LEAD):
        writer.write(bytes([byte]))
        if byte == ord(" "):
            pass_time(1)
            await asyncio.sleep(0.001)


def settings(queue: str, *, rest: str = "", cdn: str = "") -> Settings:
    """Point a client at servers of this test."""
    return Settings(
        data_dir=Path("unused"),
        key=ApiKey(f"key-id:{SECRET}"),
        queue_url=queue,
        rest_url=rest or queue,
        cdn_url=cdn or queue,
    )


async def no_wait(_seconds: float) -> None:
    """Stand in for sleeping."""
    await asyncio.sleep(0)


async def submit_to(answer: Answer, **options: Any) -> tuple[Server, Ticket | CallsheetError]:
    """Submit once and return the server and how it ended."""
    async with serving(answer) as server, FalQueue(settings(server.url)) as queue:
        try:
            return server, await queue.submit(ENDPOINT, {"prompt": "a cat"}, **options)
        except CallsheetError as error:
            return server, error


ONE_POST = {
    "normal": (says(http(200, ACCEPTED)), Ticket),
    "202": (says(http(202, ACCEPTED)), Ticket),
    "never answers": (outlasts, OutcomeUnknown),
    "closes": (then_closes(), OutcomeUnknown),
    "closes within the head": (then_closes(b"HTTP/1.1 200 OK\r\ncontent-le"), OutcomeUnknown),
    "resets": (resets, OutcomeUnknown),
    "no http": (then_closes(b"SSH-2.0-OpenSSH\r\n\r\n"), OutcomeUnknown),
    "truncated": (then_closes(http(200, ACCEPTED, LEAD, cut=5)), OutcomeUnknown),
    "truncated without length": (then_closes(b'HTTP/1.1 200 OK\r\n\r\n{"request_id": "76'), OutcomeUnknown),
    "gzip": (says(http(200, ACCEPTED, "content-encoding: gzip\r\n")), OutcomeUnknown),
    "nginx 502": (says(http(502, NGINX)), OutcomeUnknown),
    "nginx 503": (says(http(503, NGINX)), OutcomeUnknown),
    "nginx 504": (says(http(504, NGINX)), OutcomeUnknown),
    "json 503 with id": (says(http(503, {"detail": "x", "error_type": "y"}, LEAD)), OutcomeUnknown),
    "json 500": (says(http(500, {"detail": "x"})), OutcomeUnknown),
    "408": (says(http(408, {"detail": "x"})), OutcomeUnknown),
    "409": (says(http(409, {"detail": "x"})), OutcomeUnknown),
    "redirect": (says(http(307, b"", "location: /again\r\n")), OutcomeUnknown),
    "broken json": (says(http(200, b'{"request_id"')), OutcomeUnknown),
    "no id": (says(http(200, {"status": "IN_QUEUE"})), OutcomeUnknown),
    "endless body": (says(http(200, b" " * (5 * 2**20))), OutcomeUnknown),
    "429": (says(http(429, {"detail": "x"}, "retry-after: 3\r\n")), Throttled),
    "422": (says(http(422, {"detail": [{"loc": [], "msg": "m", "type": "missing"}]})), Refused),
    "403": (says(http(403, {"detail": "User is locked"})), AccountError),
}


@pytest.mark.parametrize("name", ONE_POST)
def test_one_submit_is_one_post(name: str) -> None:
    """Whatever the other end does, one submit sends exactly one POST and ends in one named outcome."""
    answer, outcome = ONE_POST[name]
    server, ended = asyncio.run(submit_to(answer))
    assert type(ended) is outcome
    assert [seen.line.split()[0] for seen in server.requests] == ["POST"]
    assert server.connections == 1
    assert not isinstance(ended, CallsheetError) or SECRET not in "".join(traceback.format_exception(ended))


@pytest.mark.parametrize("name", ["truncated", "json 503 with id"])
def test_the_id_of_a_broken_reply_is_kept_as_a_lead(name: str) -> None:
    """A head that arrived before the body broke off still says which request to look for."""
    _, ended = asyncio.run(submit_to(ONE_POST[name][0]))
    assert isinstance(ended, OutcomeUnknown)
    assert ended.lead_request_id == ID


def test_a_dripping_reply_ends_at_the_total_deadline() -> None:
    """Bytes that keep coming do not prolong the call: a yes that takes longer is lost, with its lead."""
    _, ended = asyncio.run(submit_to(drips))
    assert isinstance(ended, OutcomeUnknown)
    assert ended.lead_request_id == ID


def test_what_is_sent_is_what_fal_documents() -> None:
    """Path, key, body and headers of the paid request, as they are on the wire."""
    server, _ = asyncio.run(submit_to(ONE_POST["normal"][0], start_timeout_s=900))
    seen = server.requests[0]
    assert seen.line == f"POST /{ENDPOINT} HTTP/1.1"
    assert seen.headers["authorization"] == f"Key key-id:{SECRET}"
    assert seen.headers["x-fal-request-timeout"] == "900"
    assert seen.headers["accept-encoding"] == "identity"
    assert seen.headers["connection"] == "close"
    assert json.loads(seen.body) == {"prompt": "a cat"}


async def closed_port() -> str:
    """Return an address where no server listens."""
    async with serving(hangs) as server:
        return server.url


def test_a_certificate_that_is_not_trusted_is_not_sent() -> None:
    """TLS that cannot be established ends before the request, and before the key."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)

    async def scene() -> Server:
        async with serving(hangs, tls) as server, FalQueue(settings(server.url)) as queue:
            with pytest.raises(NotSent):
                await queue.submit(ENDPOINT, {})
            return server

    assert asyncio.run(scene()).requests == []


class NeverConnects(httpx.AsyncBaseTransport):
    """Begins to connect, as httpcore reports it, and gets no further."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.extensions["trace"]("connection.connect_tcp.started", {"host": "nowhere"})
        await asyncio.Event().wait()
        raise AssertionError("no server answers")


@pytest.mark.parametrize("is_cancelled", [True, False])
def test_what_ends_while_connecting_is_not_sent(is_cancelled: bool) -> None:
    """A deadline or a cancellation that strikes before the first byte gives the money back."""

    async def scene() -> None:
        async with FalQueue(settings("https://queue.example"), transport=NeverConnects()) as queue:
            task = asyncio.ensure_future(queue.submit(ENDPOINT, {}, deadline_s=60 if is_cancelled else 0.05))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            if is_cancelled:
                task.cancel()
            with pytest.raises(NotSent):
                await task

    asyncio.run(scene())


def test_a_handshake_that_never_ends_is_not_sent() -> None:
    """A server that accepts but never finishes TLS has not got the request, and that is known."""

    async def mute(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _reader.read()
        finally:
            writer.close()

    async def scene() -> None:
        server = await asyncio.start_server(mute, "127.0.0.1", 0)
        async with server:
            url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with FalQueue(settings(url)) as queue:
                with pytest.raises(NotSent):
                    await queue.submit(ENDPOINT, {}, deadline_s=0.2)

    asyncio.run(scene())


def test_a_process_that_was_stopped_too_long_does_not_send() -> None:
    """When the connection is ready only after the latest moment, the POST does not leave any more.

    By the clock that goes on while the machine is suspended.
    """

    async def scene() -> Server:
        clock = iter([85.0, 100.1])
        async with (
            serving(hangs) as server,
            FalQueue(settings(server.url), since_boot=lambda: next(clock)) as queue,
        ):
            latest_s = queue.latest_departure_s()
            with pytest.raises(NotSent, match="too late"):
                await queue.submit(ENDPOINT, {}, send_before_s=latest_s)
            return server

    assert asyncio.run(scene()).requests == []


def test_a_cancelled_submit_that_was_under_way_is_unknown() -> None:
    """Cancelling while fal may have the POST ends in a name, and the cancellation can still be seen."""

    async def scene() -> int:
        async with serving(hangs) as server, FalQueue(settings(server.url)) as queue:
            task = asyncio.ensure_future(queue.submit(ENDPOINT, {}))
            await server.arrived.wait()
            task.cancel()
            with pytest.raises(OutcomeUnknown, match="CancelledError"):
                await task
            return task.cancelling()

    assert asyncio.run(scene()) == 1


def test_a_shielded_submit_comes_to_its_end() -> None:
    """Behind a shield the caller may be cancelled, and the ticket is still there to be written down."""

    async def scene() -> Ticket:
        go = asyncio.Event()

        async def late(_request: Request, writer: asyncio.StreamWriter) -> None:
            await go.wait()
            writer.write(http(200, ACCEPTED))

        async with serving(late) as server, FalQueue(settings(server.url)) as queue:
            post = asyncio.ensure_future(queue.submit(ENDPOINT, {}))
            caller = asyncio.ensure_future(asyncio.wait_for(asyncio.shield(post), 60))
            await server.arrived.wait()
            caller.cancel()
            await asyncio.gather(caller, return_exceptions=True)
            go.set()
            return await post

    assert asyncio.run(scene()).request_id == ID


def test_the_key_never_follows_a_reply_to_another_host() -> None:
    """Addresses of a reply on another host are rebuilt on the queue's own; the other host hears nothing."""

    async def scene() -> tuple[Server, Server]:
        async with serving(says(http(200, {"status": "COMPLETED"}))) as foreign:
            named = {
                **ACCEPTED,
                "status_url": f"{foreign.url}/requests/{ID}/status",
                "response_url": f"{foreign.url}/requests/{ID}",
                "cancel_url": f"{foreign.url}/requests/{ID}/cancel",
            }
            answer = says(http(200, named), http(202, {"status": "IN_QUEUE", "queue_position": 1}))
            async with serving(answer) as server, FalQueue(settings(server.url)) as queue:
                ticket = await queue.submit(ENDPOINT, {})
                assert await queue.status(ticket) == InQueue(1)
                for ask in (queue.result, queue.cancel):
                    await asyncio.gather(ask(ticket), return_exceptions=True)
                moved = Ticket(ID, ENDPOINT, foreign.url, foreign.url, foreign.url)
                for ask in (queue.status, queue.result, queue.cancel):
                    with pytest.raises(UntrustedHost):
                        await ask(moved)
                return server, foreign

    server, foreign = asyncio.run(scene())
    assert foreign.connections == 0
    app = f"/fal-ai/bytedance/requests/{ID}"
    assert [seen.line.split()[:2] for seen in server.requests[1:]] == [
        ["GET", f"{app}/status"],
        ["GET", app],
        ["PUT", f"{app}/cancel"],
    ]


def test_the_key_never_follows_a_redirect() -> None:
    """A redirect is an answer like any other: unusable, and not followed."""

    async def scene() -> Server:
        async with serving(says(http(200))) as foreign:
            away = says(http(302, b"", f"location: {foreign.url}/x\r\n"))
            async with serving(away) as server, FalQueue(settings(server.url), sleep=no_wait) as queue:
                ticket = queue.ticket(ENDPOINT, ID)
                with pytest.raises(OutcomeUnknown):
                    await queue.submit(ENDPOINT, {})
                for ask in (queue.status, queue.result, queue.cancel):
                    with pytest.raises(Unavailable):
                        await ask(ticket)
                with pytest.raises(Unavailable):
                    await queue.upload(b"x", content_type="image/png", file_name="x.png")
                with pytest.raises(Unavailable):
                    async with queue.open_download(f"{server.url}/a.mp4"):
                        pass
            return foreign

    assert asyncio.run(scene()).connections == 0


def test_a_reply_that_repeats_the_key_does_not_spread_it() -> None:
    """An error that quotes the key, in its body or its headers, is shown without it."""
    quote = {"detail": f"the key key-id:{SECRET} is not valid", "error_type": SECRET}
    answer = says(http(401, quote), http(422, {"detail": "no"}, f"x-fal-error-type: {SECRET}\r\n"))

    async def scene() -> list[str]:
        async with serving(answer) as server, FalQueue(settings(server.url)) as queue:
            ticket = queue.ticket(ENDPOINT, ID)
            asked = [queue.status(ticket), queue.result(ticket)]
            ended = [(await asyncio.gather(each, return_exceptions=True))[0] for each in asked]
            return [f"{error!r} {vars(error)} {queue!r}" for error in ended if isinstance(error, Exception)]

    shown = asyncio.run(scene())
    assert len(shown) == 2
    assert not any(SECRET in text for text in shown)


def test_no_address_and_no_key_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """After `quiet_http_logs` nothing of a call reaches the log of the process, even at DEBUG."""
    levels = {name: logging.getLogger(name).level for name in ("httpx", "httpcore")}
    quiet_http_logs()
    try:
        with caplog.at_level(logging.DEBUG):
            asyncio.run(submit_to(ONE_POST["normal"][0]))
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
    assert not [record for record in caplog.records if record.name.startswith("http")]
    assert SECRET not in caplog.text


def test_an_outage_while_reading_is_unavailable() -> None:
    """A closed port, a reset and a cut reply are all the same to a free read: ask again."""

    async def scene() -> None:
        async with FalQueue(settings(await closed_port())) as queue:
            with pytest.raises(Unavailable):
                await queue.status(queue.ticket(ENDPOINT, ID))
        for answer in (resets, then_closes(http(200, {"status": "COMPLETED"}, cut=3))):
            async with serving(answer) as server, FalQueue(settings(server.url)) as queue:
                with pytest.raises(Unavailable):
                    await queue.status(queue.ticket(ENDPOINT, ID))

    asyncio.run(scene())


def test_a_proxy_of_the_environment_never_stands_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A company's proxy is not asked for what runs on this very machine, such as the sandbox."""

    async def scene() -> Server:
        async with serving(says(http(502))) as proxy, serving(ONE_POST["normal"][0]) as server:
            for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
                monkeypatch.setenv(name, proxy.url)
            monkeypatch.delenv("NO_PROXY", raising=False)
            monkeypatch.delenv("no_proxy", raising=False)
            async with FalQueue(settings(server.url)) as queue:
                await queue.submit(ENDPOINT, {})
            return proxy

    assert asyncio.run(scene()).connections == 0


def test_a_proxy_that_refuses_to_connect_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """When a proxy refuses CONNECT, the request inside never began, and the proxy never sees the key."""

    async def scene() -> Server:
        async with serving(says(http(403, NGINX))) as proxy:
            for name in ("HTTPS_PROXY", "https_proxy"):
                monkeypatch.setenv(name, proxy.url)
            monkeypatch.delenv("NO_PROXY", raising=False)
            monkeypatch.delenv("no_proxy", raising=False)
            async with FalQueue(settings("https://queue.example")) as queue:
                with pytest.raises(NotSent):
                    await queue.submit(ENDPOINT, {})
            return proxy

    proxy = asyncio.run(scene())
    assert [seen.line.split()[0] for seen in proxy.requests] == ["CONNECT"]
    assert not proxy.saw_the_key


def test_without_a_key_nothing_is_sent() -> None:
    """No key: the sentence says what to do, and no connection is made."""

    async def scene() -> Server:
        async with serving(hangs) as server:
            keyless = Settings(data_dir=Path("unused"), queue_url=server.url, rest_url=server.url)
            async with FalQueue(keyless) as queue:
                with pytest.raises(AccountError, match="FAL_KEY"):
                    await queue.submit(ENDPOINT, {})
            return server

    assert asyncio.run(scene()).connections == 0


@pytest.mark.parametrize(("endpoint", "arguments"), [("../admin", {}), (ENDPOINT, {"x": float("nan")})])
def test_a_request_that_makes_no_sense_is_not_sent(endpoint: str, arguments: dict[str, Any]) -> None:
    """A bad endpoint id or bad arguments are our own mistake: named before anything leaves."""

    async def scene() -> Server:
        async with serving(hangs) as server, FalQueue(settings(server.url)) as queue:
            with pytest.raises(UsageError):
                await queue.submit(endpoint, arguments)
            return server

    assert asyncio.run(scene()).connections == 0


def test_a_closed_client_says_so() -> None:
    """Outside its block the client is a mistake in the program, not an outcome of a job."""

    async def scene() -> None:
        await FalQueue(settings("http://127.0.0.1:1")).submit(ENDPOINT, {})

    with pytest.raises(RuntimeError, match="async with"):
        asyncio.run(scene())


def test_completed_is_read_from_the_wire() -> None:
    """The whole way of a status: URL, key, reply, value."""

    async def scene() -> Any:
        reply = http(200, {"status": "COMPLETED", "request_id": ID, "metrics": {"inference_time": 2.5}})
        async with serving(says(reply)) as server, FalQueue(settings(server.url)) as queue:
            return await queue.status(queue.ticket(ENDPOINT, ID))

    assert asyncio.run(scene()) == Completed(inference_time_s=2.5)
