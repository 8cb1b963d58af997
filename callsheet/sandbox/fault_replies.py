"""What each fault sends: one middleware around the whole server.

The middleware takes the server's true reply, where there is one, and sends something else. A reset needs the
connection itself, which `server` puts into every request's state.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import struct
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from callsheet.errors import UsageError
from callsheet.sandbox.faults import KINDS, SUBMIT_ONLY, Fault, FaultBook

NGINX_PAGE = (
    "<html>\r\n<head><title>{status} {reason}</title></head>\r\n<body>\r\n"
    "<center><h1>{status} {reason}</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)
FAULT_HEADER = "x-sandbox-fault"
"""A call that carries it meets that fault once: `throttle delay_s=2`."""

_REASONS = {502: "Bad Gateway", 503: "Service Temporarily Unavailable", 504: "Gateway Time-out"}
_WITHOUT_BODY = frozenset({204, 205, 304})
LOCKED = "User is locked. Reason: Exhausted balance. Top up your balance at fal.ai/dashboard/billing."


@dataclass(frozen=True, slots=True)
class HttpReply:
    """A whole reply. `headers` are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def with_body(self, body: bytes, **headers: str) -> HttpReply:
        """Return the reply with another body and its length; underscores in `headers` become dashes."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return replace(self, body=body, headers={**self.headers, "content-length": str(len(body)), **named})


def route_of(method: str, path: str) -> str:
    """Name the route of a call, in the words of `faults.Route`; empty for the control routes."""
    if path.startswith("/_sandbox/"):
        return ""
    if path.startswith("/v1/"):
        special = {"/requests/by-endpoint": "history", "/billing-events": "billing"}
        return next((name for tail, name in special.items() if path.endswith(tail)), "platform")
    if path.startswith("/files/"):
        return "file" if method in ("GET", "HEAD") else "upload"
    if path.startswith("/storage/"):
        return "upload"
    if "/requests/" not in path:
        return "submit" if method == "POST" else ""
    tails = {"/status": "status", "/status/stream": "stream", "/cancel": "cancel"}
    return next((name for tail, name in tails.items() if path.endswith(tail)), "result")


class FaultMiddleware:
    """ASGI middleware: lets at most one armed fault strike each call."""

    def __init__(self, app: ASGIApp, book: FaultBook) -> None:
        self._app = app
        self._book = book
        self._late: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on, or let a fault have it."""
        route = route_of(scope["method"], scope["path"]) if scope["type"] == "http" else ""
        try:
            asked = _asked_for(scope, route) if route else None
        except (UsageError, TypeError) as error:
            await JSONResponse({"detail": str(error)}, 400)(scope, receive, send)
            return
        if asked is not None and KINDS[asked.kind].stage == "render":
            scope["sandbox_fault"], asked = Headers(scope=scope)[FAULT_HEADER], None
        fault = asked or (self._book.on_route(route, _key_in(scope)) if route else None)
        if fault is None:
            await self._app(scope, receive, send)
            return
        body = await _read(receive)
        if body is None:
            return
        stage = KINDS[fault.kind].stage
        if stage == "refusal":
            await _send(send, refusal(fault), head=scope["method"] == "HEAD")
        elif fault.kind == "late":
            self._later(scope, body, fault.delay_s)
            await _gone(receive)
        else:
            reply = await self._reply(scope, body)
            await (_spoil if stage == "spoiled" else _spoil_file)(fault, reply, scope, receive, send)

    def _later(self, scope: Scope, body: bytes, delay_s: float) -> None:
        async def work() -> None:
            await asyncio.sleep(delay_s)
            await self._reply(scope, body)

        task = asyncio.create_task(work())
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def _reply(self, scope: Scope, body: bytes) -> HttpReply:
        """Let the server do it, and keep the reply."""
        messages: list[Message] = []

        parts: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Message:
            if not parts:
                # No disconnect is reported, so the call is done to its end.
                await asyncio.Event().wait()
            return parts.pop()

        async def send(message: Message) -> None:
            messages.append(message)

        await self._app(scope, receive, send)
        pairs = {name.decode().lower(): value.decode() for name, value in messages[0]["headers"]}
        return HttpReply(
            messages[0]["status"], pairs, b"".join(each.get("body", b"") for each in messages[1:])
        )


def _asked_for(scope: Scope, route: str) -> Fault | None:
    """Return the fault that a call asks for itself. Raises UsageError and TypeError."""
    text = Headers(scope=scope).get(FAULT_HEADER)
    fault = None if text is None else Fault.from_text(text)
    if fault is not None and fault.kind in SUBMIT_ONLY and route != "submit":
        raise UsageError(f"{fault.kind} spoils the reply of a submit; this call is none")
    return fault


def _key_in(scope: Scope) -> str:
    return Headers(scope=scope).get("authorization", "").partition(" ")[2]


def refusal(fault: Fault) -> HttpReply:
    """Return the reply of a fault that lets nothing be done."""
    if fault.kind == "nginx_error":
        return _nginx(fault.status)
    if fault.kind == "server_error":
        return _server_error(fault, {})
    headers = {"retry-after": f"{fault.delay_s:g}"} if fault.kind == "throttle" else fault.headers
    bodies = {
        "throttle": {"detail": "Too many requests", "error_type": "rate_limited"},
        "account_locked": {"detail": LOCKED},
        "not_found": {"status": "NOT_FOUND"},
        "history_hidden": {"items": [], "next_cursor": None, "has_more": False},
    }
    return _json(fault.status, bodies.get(fault.kind, fault.body), headers)


def _server_error(fault: Fault, headers: Mapping[str, str]) -> HttpReply:
    body = {"detail": fault.message, "error_type": fault.error_type}
    return _json(fault.status, body, {"x-fal-error-type": fault.error_type, **headers})


def _json(status: int, document: object, headers: Mapping[str, str] | None = None) -> HttpReply:
    body = json.dumps(document).encode()
    fixed = {"content-type": "application/json", "content-length": str(len(body))}
    if status in _WITHOUT_BODY:
        fixed, body = {}, b""
    return HttpReply(status, {**fixed, **(headers or {})}, body)


def _nginx(status: int) -> HttpReply:
    body = NGINX_PAGE.format(status=status, reason=_REASONS.get(status, "Error")).encode()
    return HttpReply(status, {"content-type": "text/html", "content-length": str(len(body))}, body)


async def _spoil(fault: Fault, reply: HttpReply, scope: Scope, receive: Receive, send: Send) -> None:
    """Send something else, or nothing: what was asked has been done."""
    if fault.kind == "hang":
        await _gone(receive)
    elif fault.kind == "slow_reply":
        await asyncio.sleep(fault.delay_s)
        await _send(send, reply)
    elif fault.kind in ("close", "reset", "truncate"):
        if fault.kind == "truncate":
            await _send_part(send, reply, reply.body[: len(reply.body) // 2])
        await _hang_up(scope, receive, reset=fault.kind == "reset")
    else:
        records = scope["app"].state.services.queue.records
        earlier = records[-2].id if len(records) > 1 else str(uuid.uuid4())
        is_refused = fault.kind in SUBMIT_ONLY and "x-fal-request-id" not in reply.headers
        await _send(send, reply if is_refused else _spoiled(fault, reply, earlier))


async def _hang_up(scope: Scope, receive: Receive, *, reset: bool = False) -> None:
    """Close the connection and return when it is closed: until then the server would send a 500."""
    transport = scope["state"]["transport"]
    if reset:
        _linger_no_more(transport)
    transport.close()
    await _gone(receive)


def _spoiled(fault: Fault, reply: HttpReply, earlier: str) -> HttpReply:
    """Return the reply that hides the true one; `earlier` is the id of the request accepted before."""
    true_id = reply.headers.get("x-fal-request-id", "")
    request_id = {"x-fal-request-id": true_id} if true_id else {}
    if fault.kind == "answer_after":
        body = json.loads(json.dumps(fault.body).replace("{request_id}", true_id))
        named = {name: text.replace("{request_id}", true_id) for name, text in fault.headers.items()}
        return _json(fault.status, body, named)
    if fault.kind in ("other_id", "torn_id"):
        swapped = reply.with_body(reply.body.replace(true_id.encode(), earlier.encode()))
        header = earlier if fault.kind == "other_id" else true_id
        return replace(swapped, headers={**swapped.headers, "x-fal-request-id": header})
    if fault.kind == "nginx_after":
        return _nginx(fault.status)
    if fault.kind == "error_after":
        return _server_error(fault, request_id)
    if fault.kind == "bad_json":
        return reply.with_body(b'{"request_id": "0b9a')
    document = json.loads(reply.body)
    document.pop("request_id", None)
    return reply.with_body(json.dumps(document).encode())


async def _spoil_file(fault: Fault, reply: HttpReply, scope: Scope, receive: Receive, send: Send) -> None:
    """Send something else than the file."""
    half = reply.body[: len(reply.body) // 2]
    if fault.kind == "file_slow":
        await _dribble(send, reply, fault.delay_s)
        return
    if fault.kind in ("file_truncated", "file_wrong_length"):
        claimed = len(reply.body) + (1000 if fault.kind == "file_wrong_length" else 0)
        bodies = half if fault.kind == "file_truncated" else reply.body
        await _send_part(send, reply.with_body(reply.body, content_length=str(claimed)), bodies)
        await _hang_up(scope, receive)
        return
    if fault.kind == "file_redirect":
        path = quote(scope["path"])
        location = fault.location.replace("{path}", path) or path
        await _send(send, HttpReply(fault.status, {"location": location, "content-length": "0"}, b""))
        return
    await _send(send, _other_file(fault, reply, half))


def _other_file(fault: Fault, reply: HttpReply, half: bytes) -> HttpReply:
    kind = fault.kind
    bodies = {
        "file_cut": half,
        "file_empty": b"",
        "file_trailing": reply.body + bytes(100),
        "file_webm": b"\x1aE\xdf\xa3" + bytes(1000),
    }
    if kind in bodies:
        return reply.with_body(bodies[kind])
    if kind == "file_corrupt":
        hole = min(65_536, len(reply.body) // 2)
        start = (len(reply.body) - hole) // 2
        return reply.with_body(reply.body[:start] + bytes(hole) + reply.body[start + hole :])
    if kind == "file_gzip":
        return reply.with_body(gzip.compress(reply.body), content_encoding="gzip")
    if kind == "file_no_length":
        kept = {name: value for name, value in reply.headers.items() if name != "content-length"}
        return HttpReply(reply.status, {**kept, "connection": "close"}, half)
    page = b"<html><body>Not the video that was ordered</body></html>"
    return HttpReply(fault.status, {"content-type": "text/html", "content-length": str(len(page))}, page)


async def _read(receive: Receive) -> bytes | None:
    """Return a call's body; None where the client has gone before all of it came."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


async def _gone(receive: Receive) -> None:
    """Wait until the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send(send: Send, reply: HttpReply, *, head: bool = False) -> None:
    await send(_start(reply))
    await send({"type": "http.response.body", "body": b"" if head else reply.body})


async def _send_part(send: Send, reply: HttpReply, body: bytes) -> None:
    """Send less than the length that the headers name."""
    await send(_start(reply))
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _dribble(send: Send, reply: HttpReply, seconds: float) -> None:
    pieces = 20
    step = max(1, -(-len(reply.body) // pieces))
    await send(_start(reply))
    for start in range(0, len(reply.body), step):
        await asyncio.sleep(seconds / pieces)
        piece = reply.body[start : start + step]
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def _start(reply: HttpReply) -> Message:
    headers = [(name.encode(), value.encode()) for name, value in reply.headers.items()]
    return {"type": "http.response.start", "status": reply.status, "headers": headers}


def _linger_no_more(transport: Any) -> None:
    """Make the coming close a TCP reset: lingering for no time at all throws the connection away."""
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
