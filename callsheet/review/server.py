"""The review on this machine: the page, the files that it shows, and one call that judges, until Ctrl-C.

Everything is under a secret path, so that other pages in the same browser cannot call it. A call by a foreign
host name is refused (a page whose name is rebound to this machine still sends its own), and so is a judgement
that another page sends.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import secrets
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import uvicorn
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from callsheet.errors import CallsheetError, JudgedMeanwhile, ManifestError, UsageError
from callsheet.ledger import Ledger, Run
from callsheet.ledger.reviews import NAME_MAX_CHARS, NOTE_MAX_CHARS
from callsheet.listener import listening, place_of
from callsheet.review.session import ReviewSession
from manifests.columns import PROMPT_MAX_CHARS, SEED_MAX

T = TypeVar("T")

MAX_BODY = 64 * 1024
"""Bytes of a judgement: a prompt and a note of the greatest length fit."""

HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Changes(BaseModel):
    """What a retake is made with instead of what the clip was made with."""

    model_config = ConfigDict(extra="forbid", strict=True)

    prompt: str | None = Field(default=None, min_length=1, max_length=PROMPT_MAX_CHARS)
    model: str | None = Field(default=None, min_length=1, max_length=120)
    seed: int | None = Field(default=None, ge=0, le=SEED_MAX)


class Judgement(BaseModel):
    """What the page sends. `seen` is the newest review of the clip that the person knew of, 0 for none.

    Without `verdict` it is a note alone, which changes no order. Without `changes` a retake is made with
    those of the clip's last one.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    job: int = Field(ge=1, le=2**62)
    verdict: str | None = Field(default=None, max_length=20)
    note: str = Field(default="", max_length=NOTE_MAX_CHARS)
    by: str = Field(default="", max_length=NAME_MAX_CHARS)
    seen: int = Field(default=0, ge=0, le=2**62)
    changes: Changes | None = None


class _App:
    """The routes, over one session that is used from one thread (`work`)."""

    def __init__(self, session: ReviewSession, token: str, hosts: frozenset[str], work: Executor) -> None:
        self._session = session
        self._token = token
        self._hosts = hosts
        self._work = work

    def routes(self) -> list[Route]:
        """Return the routes, each behind the checks."""
        return [
            Route("/favicon.ico", _no_icon),
            Route("/{token}/", self._guarded(self._page)),
            Route("/{token}/selection.csv", self._guarded(self._selection)),
            Route("/{token}/judge", self._guarded(self._judge), methods=["POST"]),
            Route("/{token}/{name:path}", self._guarded(self._file)),
        ]

    def _guarded(self, answer: Callable[[Request], Any]) -> Callable[[Request], Any]:
        async def checked(request: Request) -> Response:
            host = request.headers.get("host", "")
            if host not in self._hosts:
                return PlainTextResponse("Unknown host", 421, HEADERS)
            if not secrets.compare_digest(request.path_params["token"].encode(), self._token.encode()):
                return PlainTextResponse("Not found", 404, HEADERS)
            if request.method == "POST" and request.headers.get("origin") != f"http://{host}":
                return PlainTextResponse("Another page cannot judge", 403, HEADERS)
            response: Response = await answer(request)
            response.headers.update(HEADERS)
            return response

        return checked

    async def _do(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._work, function)

    async def _page(self, request: Request) -> Response:
        named = request.query_params.get("part", "1")
        part = int(named) if named.isascii() and named.isdigit() and len(named) < 6 else 1
        return HTMLResponse(await self._do(lambda: self._session.page(max(part, 1))))

    async def _selection(self, _request: Request) -> Response:
        text = await self._do(self._session.selection)
        return Response(text.encode("utf-8", "replace"), media_type="text/csv; charset=utf-8")

    async def _file(self, request: Request) -> Response:
        path = self._session.file(request.path_params["name"])
        if path is None or not path.is_file():
            return PlainTextResponse("Not found", 404)
        return FileResponse(path)

    async def _judge(self, request: Request) -> Response:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                return JSONResponse({"error": "The request is too large."}, 413)
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return JSONResponse({"error": "A judgement is JSON."}, 415)
        try:
            said = Judgement.model_validate_json(body)
        except ValidationError as error:
            return JSONResponse({"error": _in_words(error)}, 422)
        return await self._do(lambda: self._judged(said))

    def _judged(self, said: Judgement) -> Response:
        changes = None if said.changes is None else said.changes.model_dump(exclude_none=True)
        try:
            told = self._session.judge(
                said.job, verdict=said.verdict, note=said.note, changes=changes, by=said.by, seen=said.seen
            )
        except JudgedMeanwhile as error:
            known = self._session.reviews_of(said.job)
            retake = self._session.retake_of(said.job)
            return JSONResponse({"error": f"{error}.", "reviews": known, "retake": retake}, 409)
        except ManifestError as error:
            wrong = "; ".join(f"{each.column}: {each.message}" for each in error.problems)
            return JSONResponse({"error": f"The retake cannot be made. {wrong}."}, 422)
        except CallsheetError as error:
            return JSONResponse({"error": f"{error}."}, 422)
        except OSError as error:
            return JSONResponse({"error": f"selection.csv could not be written: {error.strerror}."}, 507)
        return JSONResponse(json.loads(json.dumps(told)))


async def _no_icon(_request: Request) -> Response:
    return Response(status_code=204)


def _in_words(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}."


DEFAULT_PORT = 8792
"""The same one each time, so that a browser keeps a person's name."""

_GOODBYE_S = 1
"""How long open connections may take to end when the server stops."""


class ReviewServer(uvicorn.Server):
    """Calls `on_ready` when it listens."""

    def __init__(self, app: Starlette, on_ready: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                ws="none",
                loop="asyncio",
                lifespan="off",
                log_level="warning",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=_GOODBYE_S,
            )
        )
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then call `on_ready`."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()


def serve_review(
    ledger_url: str,
    run: Run,
    *,
    host: str,
    port: int | None,
    announce: Callable[[str], None],
    warn: Callable[[str], None] = lambda _: None,
) -> Path | None:
    """Serve the review of a run until SIGTERM or SIGINT; `announce` is called with its address.

    `warn` is called from another thread with what a person should know.

    `port` None takes `DEFAULT_PORT`, or a free one where that is taken. Then the run's results are written
    again. Returns selection.csv, None where nothing was judged. Raises UsageError for an address that cannot
    be used.
    """
    with serving(ledger_url, run, host, port, warn) as (app, listener, url, finish):
        server = ReviewServer(app, lambda: announce(url))

        def stop(*_: object) -> None:
            server.should_exit = True

        # These count until uvicorn listens to signals. It raises those that it caught again once it has
        # stopped; then they change nothing.
        numbers = (signal.SIGTERM, signal.SIGINT)
        before = [signal.signal(number, stop) for number in numbers]
        try:
            server.run(sockets=[listener])
            return finish()
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)


Served = tuple[Starlette, socket.socket, str, Callable[[], Path | None]]


@contextmanager
def serving(
    ledger_url: str, run: Run, host: str, port: int | None, warn: Callable[[str], None] = lambda _: None
) -> Iterator[Served]:
    """Open the ledger on the one thread that uses it, and listen.

    Yields the application, the socket, the address, and what writes the results again at the end.
    """
    token = secrets.token_urlsafe(24)
    is_local = _address(host).is_loopback
    listens = listening(host, DEFAULT_PORT if port is None else port, any_port=port is None)
    with listens as listener, ThreadPoolExecutor(1, "review") as work:
        here = in_browser(place_of(listener))
        local = in_browser(f"localhost:{listener.getsockname()[1]}")
        names = {here, local} if is_local else {here}
        ledger = work.submit(Ledger.open, ledger_url).result()
        try:
            session = work.submit(ReviewSession, ledger, run, warn).result()
            app = _App(session, token, frozenset(names), work)
            yield (
                Starlette(routes=app.routes()),
                listener,
                f"http://{here}/{token}/",
                lambda: work.submit(session.finish).result(),
            )
        finally:
            work.submit(ledger.close).result()


def in_browser(place: str) -> str:
    """Return what a browser calls a place that is served over HTTP: it leaves out port 80."""
    return place.removesuffix(":80")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise UsageError(f"--host is {host!r}; use an IP address of this machine") from None
    if address.is_unspecified:
        raise UsageError(f"--host is {host}; name the one address by which the others reach this machine")
    return address
