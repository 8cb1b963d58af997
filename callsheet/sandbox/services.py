"""What every route works with: the parts of one server, and how requests are read."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from starlette.requests import Request
from starlette.responses import JSONResponse

from callsheet.sandbox.config import SandboxConfig
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
    state: Store
    files: FileStore
    signer: Signer
    renderer: VideoRenderer
    queue: RenderQueue
    faults: FaultBook
    clock: Callable[[], float]
    prices: PriceList
    served: Served
    answers: dict[str, tuple[float, dict[str, Any]]] = field(default_factory=dict)
    last_call_at: float = field(default_factory=time.monotonic)

    @property
    def idle_s(self) -> float:
        """Seconds since the last call; 0 while anything waits or renders."""
        return 0.0 if self.queue.is_busy else time.monotonic() - self.last_call_at


def open_services(
    config: SandboxConfig, state: Store, faults: FaultBook, clock: Callable[[], float]
) -> Services:
    """Put the parts together; the queue does nothing until `resume`."""
    files = FileStore(state, clock)
    loader = InputLoader(files.read, config.owns, allow_fetch=config.allow_fetch)
    renderer = VideoRenderer(
        state.folder / "renders", loader, threads=config.render_threads, draw_seed=config.draw_seed
    )
    served = Served(config.own)
    prices, signer = PriceList(config.audio_billing, served.by_id), Signer(state.folder)
    queue = RenderQueue(
        state,
        files,
        renderer,
        prices,
        signer,
        slots=config.slots,
        speed=config.speed,
        clock=clock,
        endpoints=served.by_id,
        noise_seed=config.noise_seed,
        render_fault=faults.on_render,
    )
    return Services(config, state, files, signer, renderer, queue, faults, clock, prices, served)


def services_of(request: Request) -> Services:
    """Return the parts of the server that a request came to."""
    return cast("Services", request.app.state.services)


def base_url(request: Request) -> str:
    """Return the address the caller used, so that URLs in replies lead back the same way."""
    return f"{request.url.scheme}://{request.headers.get('host', request.url.netloc)}"


def key_of(request: Request) -> str | None:
    """Return the key of `Authorization: Key ...`, or None where there is none that opens anything."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    config = services_of(request).config
    known = scheme.lower() == "key" and key in (config.key, config.limited_key)
    return key if known else None


def unauthorized(app: str) -> JSONResponse:
    """Answer a missing or wrong key as fal does."""
    detail = f'Cannot access application "{app}". Authentication is required to access this application.'
    return JSONResponse({"detail": detail}, 401)


async def json_of(request: Request) -> Any:
    """Return a request's JSON body; an empty one is an empty object.

    Raises ValueError for what is no JSON, holds what UTF-8 or JSON cannot (half of a surrogate pair, NaN, an
    endless number), or is nested deeper than `MAX_DEPTH` levels.
    """
    body = await request.body() or b"{}"
    try:
        document = json.loads(body, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels") from None
    level, depth = [document], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
        level = [child for each in level for child in _children(each)]
    json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
    return document


def _children(document: Any) -> list[Any]:
    if isinstance(document, dict):
        return list(document.values())
    return document if isinstance(document, list) else []


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
