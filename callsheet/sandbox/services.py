"""What every route works with: the parts of one server, and how requests are read."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any, cast

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from callsheet.sandbox.config import LIMITED_KEY, SandboxConfig
from callsheet.sandbox.faults import FaultBook
from callsheet.sandbox.file_store import FileStore
from callsheet.sandbox.list_prices import PriceList
from callsheet.sandbox.queue import RenderQueue
from callsheet.sandbox.renderer import VideoRenderer
from callsheet.sandbox.scene import InputLoader
from callsheet.sandbox.served_endpoints import Served
from callsheet.sandbox.store import Store
from callsheet.sandbox.webhooks import Signer

MAX_DEPTH = 100
"""Levels of arrays and objects in a request's JSON."""


@dataclass(slots=True)
class Services:
    """One server's parts.

    `answers` are those of deletions by Idempotency-Key, with when they were given. `last_call_at` is by the
    monotonic clock, in seconds.
    """

    config: SandboxConfig
    files: FileStore
    signer: Signer
    renderer: VideoRenderer
    queue: RenderQueue
    faults: FaultBook
    prices: PriceList
    served: Served
    answers: dict[str, tuple[float, dict[str, Any]]] = field(default_factory=dict)
    last_call_at: float = field(default_factory=time.monotonic)

    @property
    def idle_s(self) -> float:
        """Seconds since the last call; 0 while anything waits or renders."""
        return 0.0 if self.queue.is_busy else time.monotonic() - self.last_call_at


def open_services(config: SandboxConfig, state: Store, faults: FaultBook) -> Services:
    """Put the parts together; the queue does nothing until `resume`."""
    files, signer, served = FileStore(state), Signer(state.folder), Served(config.own)
    loader = InputLoader(files.read, config.owns, allow_fetch=config.allow_fetch)
    renderer = VideoRenderer(
        state.folder / "renders", loader, threads=config.render_threads, draw_seed=config.draw_seed
    )
    prices = PriceList(config.audio_billing, served.by_id)
    queue = RenderQueue(config, state, files, renderer, prices, signer, faults, served.by_id)
    return Services(config, files, signer, renderer, queue, faults, prices, served)


def services_of(request: Request) -> Services:
    """Return the parts of the server that a request came to."""
    return cast("Services", request.app.state.services)


def base_url(request: Request) -> str:
    """Return the address the caller used, so that URLs in replies lead back the same way."""
    return f"{request.url.scheme}://{request.headers.get('host', request.url.netloc)}"


class Declined(Exception):
    """What is answered instead of doing what a call asks for."""

    def __init__(self, status: int, document: Any, headers: dict[str, str] | None = None) -> None:
        self.reply = JSONResponse(document, status, headers)
        super().__init__(status)


async def declined(_request: Request, error: Exception) -> Response:
    """Answer a call that was declined; the server's handler of `Declined`."""
    return cast("Declined", error).reply


def key_of(request: Request) -> str | None:
    """Return the key of `Authorization: Key ...`, or None where there is none that opens anything."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    known = scheme.lower() == "key" and key in (services_of(request).config.key, LIMITED_KEY)
    return key if known else None


def unauthorized(app: str) -> Declined:
    """Return fal's refusal of a missing or wrong key."""
    detail = f'Cannot access application "{app}". Authentication is required to access this application.'
    return Declined(401, {"detail": detail})


async def json_of(request: Request) -> Any:
    """Return a request's JSON body; an empty one is an empty object.

    Raises ValueError for what is no JSON, holds what UTF-8 or JSON cannot (half of a surrogate pair, NaN, an
    endless number), or is nested deeper than `MAX_DEPTH` levels.
    """
    body = await request.body() or b"{}"
    try:
        document = json.loads(body)
        depth = _depth(document)
    except RecursionError:
        document, depth = None, MAX_DEPTH + 1
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
    return document


def _depth(document: Any) -> int:
    if isinstance(document, dict | list):
        children = document.values() if isinstance(document, dict) else document
        return 1 + max(map(_depth, children), default=0)
    return 1
