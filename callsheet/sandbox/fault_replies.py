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
from collections.abc import AsyncIterator
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
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
_HTML = {"content-type": "text/html"}
_WITHOUT_BODY = frozenset({204, 205, 304})
LOCKED = "User is locked. Reason: Exhausted balance. Top up your balance at fal.ai/dashboard/billing."


def route_of(method: str, path: str) -> str:
    """Name the route of a call, in the words of `faults.ROUTES`; empty for the control routes."""
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
        self._late: set[asyncio.Task[Response]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on, or let a fault have it."""
        route = route_of(scope["method"], scope["path"]) if scope["type"] == "http" else ""
        try:
            asked = _asked_for(scope, route) if route else None
        except UsageError as error:
            await JSONResponse({"detail": str(error)}, 400)(scope, receive, send)
            return
        if asked is not None and KINDS[asked.kind].stage == "render":
            scope["sandbox_fault"], asked = asked, None
        fault = asked or (self._book.on_route(route, _key_in(scope)) if route else None)
        if fault is None:
            await self._app(scope, receive, send)
            return
        try:
            body = await Request(scope, receive).body()
        except ClientDisconnect:
            return
        if KINDS[fault.kind].stage == "refusal":
            await refusal(fault)(scope, receive, send)
        elif fault.kind == "late":
            task = asyncio.create_task(self._reply_after(fault.delay_s, scope, body))
            self._late.add(task)
            task.add_done_callback(self._late.discard)
            await _gone(receive)
        else:
            await _spoil(fault, await self._reply_after(0, scope, body), scope, receive, send)

    async def _reply_after(self, delay_s: float, scope: Scope, body: bytes) -> Response:
        """Let the server do it, and keep the reply."""
        await asyncio.sleep(delay_s)
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
        start, *rest = messages
        reply = Response(b"".join(each.get("body", b"") for each in rest), start["status"])
        reply.raw_headers = start["headers"]
        return reply


def _asked_for(scope: Scope, route: str) -> Fault | None:
    """Return the fault that a call asks for itself. Raises UsageError."""
    text = Headers(scope=scope).get(FAULT_HEADER)
    fault = None if text is None else Fault.from_text(text)
    if fault is not None and fault.kind in SUBMIT_ONLY and route != "submit":
        raise UsageError(f"{fault.kind} spoils the reply of a submit; this call is none")
    return fault


def _key_in(scope: Scope) -> str:
    return Headers(scope=scope).get("authorization", "").partition(" ")[2]


def refusal(fault: Fault) -> Response:
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


def _server_error(fault: Fault, headers: dict[str, str]) -> Response:
    body = {"detail": fault.message, "error_type": fault.error_type}
    return _json(fault.status, body, {"x-fal-error-type": fault.error_type, **headers})


def _json(status: int, document: object, headers: dict[str, str]) -> Response:
    if status in _WITHOUT_BODY:
        return Response(None, status, headers)
    # Not JSONResponse: a fault's body may hold what JSON cannot.
    return Response(json.dumps(document), status, headers, "application/json")


def _nginx(status: int) -> Response:
    page = NGINX_PAGE.format(status=status, reason=_REASONS.get(status, "Error"))
    return Response(page, status, _HTML)


def _with_body(reply: Response, body: bytes, headers: dict[str, str] | None = None) -> Response:
    """Return the reply with another body and its length."""
    named = {**reply.headers, "content-length": str(len(body)), **(headers or {})}
    return Response(body, reply.status_code, named)


async def _spoil(fault: Fault, reply: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Send something else, or nothing: what was asked has been done."""
    kind, body = fault.kind, bytes(reply.body)
    if kind == "hang":
        await _gone(receive)
    elif kind in ("close", "reset"):
        await _hang_up(scope, receive, reset=kind == "reset")
    elif kind in ("truncate", "file_truncated"):
        await _send_part(send, reply, body[: len(body) // 2])
        await _hang_up(scope, receive)
    elif kind == "file_wrong_length":
        await _send_part(send, _with_body(reply, body, {"content-length": str(len(body) + 1000)}), body)
        await _hang_up(scope, receive)
    elif kind == "slow_reply":
        await asyncio.sleep(fault.delay_s)
        await reply(scope, receive, send)
    elif KINDS[kind].stage == "file":
        await _other_file(fault, reply, scope["path"])(scope, receive, send)
    elif kind in SUBMIT_ONLY and "x-fal-request-id" not in reply.headers:
        await reply(scope, receive, send)
    else:
        await _spoiled(fault, reply, scope)(scope, receive, send)


def _spoiled(fault: Fault, reply: Response, scope: Scope) -> Response:
    """Return what is sent in place of the true reply."""
    kind, true_id = fault.kind, reply.headers.get("x-fal-request-id", "")
    if kind == "answer_after":
        document = json.loads(json.dumps(fault.body).replace("{request_id}", true_id))
        named = {name: text.replace("{request_id}", true_id) for name, text in fault.headers.items()}
        return _json(fault.status, document, named)
    if kind == "nginx_after":
        return _nginx(fault.status)
    if kind == "error_after":
        return _server_error(fault, {"x-fal-request-id": true_id} if true_id else {})
    if kind == "bad_json":
        return _with_body(reply, b'{"request_id": "0b9a')
    if kind == "no_request_id":
        document = json.loads(bytes(reply.body))
        document.pop("request_id", None)
        return _with_body(reply, json.dumps(document).encode())
    records = list(scope["app"].state.services.queue.records)
    earlier = records[-2] if len(records) > 1 else str(uuid.uuid4())
    header = earlier if kind == "other_id" else true_id
    body = bytes(reply.body).replace(true_id.encode(), earlier.encode())
    return _with_body(reply, body, {"x-fal-request-id": header})


def _other_file(fault: Fault, reply: Response, called: str) -> Response:
    """Return something else than the file; `called` is the path of the call."""
    kind, body = fault.kind, bytes(reply.body)
    hole = min(65_536, len(body) // 2)
    start = (len(body) - hole) // 2
    bodies = {
        "file_cut": body[: len(body) // 2],
        "file_empty": b"",
        "file_trailing": body + bytes(100),
        "file_webm": b"\x1aE\xdf\xa3" + bytes(1000),
        "file_corrupt": body[:start] + bytes(hole) + body[start + hole :],
    }
    if kind in bodies:
        return _with_body(reply, bodies[kind])
    if kind == "file_gzip":
        return _with_body(reply, gzip.compress(body), {"content-encoding": "gzip"})
    if kind == "file_no_length":
        del reply.headers["content-length"]
        reply.headers["connection"] = "close"
        reply.body = body[: len(body) // 2]
        return reply
    if kind == "file_slow":
        return StreamingResponse(_dribble(body, fault.delay_s), reply.status_code, reply.headers)
    if kind == "file_redirect":
        path = quote(called)
        return Response(None, fault.status, {"location": fault.location.replace("{path}", path) or path})
    return Response("<html><body>Not the video that was ordered</body></html>", fault.status, _HTML)


async def _dribble(body: bytes, seconds: float) -> AsyncIterator[bytes]:
    pieces = 20
    step = max(1, -(-len(body) // pieces))
    for start in range(0, len(body), step):
        await asyncio.sleep(seconds / pieces)
        yield body[start : start + step]


async def _send_part(send: Send, reply: Response, body: bytes) -> None:
    """Send less than the length that the headers name."""
    await send({"type": "http.response.start", "status": reply.status_code, "headers": reply.raw_headers})
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _gone(receive: Receive) -> None:
    """Wait until the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _hang_up(scope: Scope, receive: Receive, *, reset: bool = False) -> None:
    """Close the connection and return when it is closed: until then the server would send a 500."""
    transport = scope["state"]["transport"]
    if reset:
        # Lingering for no time at all makes the close a TCP reset.
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.close()
    await _gone(receive)
