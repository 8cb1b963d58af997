"""The sandbox's own routes: the status page, health, faults, prices, speed, and what was accepted and billed.

All but the page ask for the sandbox's key in `Authorization`, which a page of another origin cannot send
without the browser asking first, and the sandbox never allows it.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any

from jinja2 import Environment
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from callsheet.errors import UsageError
from callsheet.sandbox.faults import KINDS, Fault
from callsheet.sandbox.own_endpoints import own_endpoints
from callsheet.sandbox.services import Services, json_of, key_of, services_of, unauthorized
from callsheet.sandbox.store import Record

_Handler = Callable[[Request, Services], Awaitable[dict[str, Any]]]


def routes() -> list[Route]:
    """Return the routes."""
    return [
        Route("/", _status, methods=["GET"]),
        Route("/_sandbox/health", _guarded(_health), methods=["GET"]),
        Route("/_sandbox/ledger", _guarded(_ledger), methods=["GET"]),
        Route("/_sandbox/faults", _guarded(_show_faults), methods=["GET"]),
        Route("/_sandbox/faults", _guarded(_arm), methods=["POST"]),
        Route("/_sandbox/faults", _guarded(_disarm), methods=["DELETE"]),
        Route("/_sandbox/prices", _guarded(_change_prices), methods=["POST"]),
        Route("/_sandbox/speed", _guarded(_change_speed), methods=["POST"]),
        Route("/_sandbox/catalog", _guarded(_add_endpoints), methods=["POST"]),
    ]


def _guarded(handler: _Handler) -> Callable[[Request], Awaitable[Response]]:
    """Check the key, and answer what the handler cannot use with 422."""

    @wraps(handler)
    async def checked(request: Request) -> Response:
        services = services_of(request)
        if key_of(request) != services.config.key:
            raise unauthorized("sandbox")
        try:
            return JSONResponse(await handler(request, services))
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, UsageError) as error:
            return JSONResponse({"detail": str(error)}, 422)

    return checked


async def _health(_request: Request, services: Services) -> dict[str, Any]:
    queue = services.queue
    counts = {"in_queue": queue.waiting, "in_progress": queue.rendering}
    return {"status": "ok", "pid": os.getpid(), "speed": queue.speed, **counts}


async def _ledger(_request: Request, services: Services) -> dict[str, Any]:
    """Tell what was accepted, rendered and billed. Money in nano-dollars, times in Unix seconds."""
    records, faults = services.queue.records.values(), services.faults
    return {
        "accepted": [{**record.document(), "status": record.status} for record in records],
        "accepted_count": len(records),
        "cost_nano": sum(record.cost_nano for record in records),
        "open_max": most_at_once((record.submitted_at, record.completed_at) for record in records),
        "in_progress_max": most_at_once(
            (record.started_at, record.completed_at) for record in records if record.started_at is not None
        ),
        "faults": [fault.describe() for fault in faults.armed],
        "fired": dict(faults.fired),
    }


async def _show_faults(_request: Request, services: Services) -> dict[str, Any]:
    kinds = {name: {"route": kind.route, "meaning": kind.meaning} for name, kind in KINDS.items()}
    return {"kinds": kinds, "armed": [fault.describe() for fault in services.faults.armed]}


async def _arm(request: Request, services: Services) -> dict[str, Any]:
    """Arm one fault, or a list of them in order."""
    document = await json_of(request)
    faults = [Fault.from_json(each) for each in (document if isinstance(document, list) else [document])]
    for fault in faults:
        services.faults.arm(fault)
    return {"armed": len(faults)}


async def _disarm(_request: Request, services: Services) -> dict[str, Any]:
    services.faults.clear()
    return {"armed": 0}


async def _change_prices(request: Request, services: Services) -> dict[str, Any]:
    """Change prices from now on, in the price list and in the bills; see `PriceList.change`."""
    services.prices.change(await json_of(request))
    return {"changed": True}


async def _change_speed(request: Request, services: Services) -> dict[str, Any]:
    """Set how much faster than the real model what starts from now on renders: {"speed": 20}."""
    speed = float((await json_of(request))["speed"])
    if not 0 < speed < float("inf"):
        raise ValueError(f"speed {speed} is not above 0")
    services.queue.speed = speed
    return {"speed": speed}


async def _add_endpoints(request: Request, services: Services) -> dict[str, Any]:
    """Serve the endpoints of a person's own catalog file as well: {"path": "/home/me/catalog.toml"}."""
    own = own_endpoints(Path((await json_of(request))["path"]))
    return {"endpoints": services.served.add(own)}


def most_at_once(spans: Iterable[tuple[float | None, float | None]]) -> int:
    """Return how many of the spans [start, end) overlap at most; an end of None has not come yet."""
    edges = [(moment, step) for start, end in spans for moment, step in ((start, 1), (end, -1))]
    dated = [(moment, step) for moment, step in edges if moment is not None]
    level = highest = 0
    # At one instant ends come before starts: a slot that is given back is free at once.
    for _, step in sorted(dated):
        level += step
        highest = max(highest, level)
    return highest


SHOWN = 100
"""The newest requests that are listed."""

_PAGE = Environment(autoescape=True).from_string("""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="refresh" content="5"><title>Sandbox</title>
<style>
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
body { margin: 2rem auto; max-width: 72rem; padding: 0 1rem }
dl { display: flex; flex-wrap: wrap; gap: 1rem 3rem } dt { opacity: .7 } dd { margin: 0; font-size: 1.5rem }
div.wide { overflow-x: auto } table { border-collapse: collapse; width: 100% }
td, th { padding: .3rem .8rem .3rem 0; text-align: left; white-space: nowrap }
tr { border-bottom: 1px solid #8884 } td.n { text-align: right; font-variant-numeric: tabular-nums }
td.p { max-width: 19rem; overflow: hidden; text-overflow: ellipsis }
</style>
<h1>Sandbox</h1>
<p>fal's API on this machine. Nothing here costs money. Speed {{ speed }}, {{ slots }} slots.</p>
<dl>{% for name, value in figures %}<div><dt>{{ name }}</dt><dd>{{ value }}</dd></div>{% endfor %}</dl>
<div class="wide"><table><tr><th>time<th>model<th>prompt<th>status<th>size<th>cost<th>file</tr>
{% for row in rows %}
<tr><td>{{ row.time }}<td>{{ row.model }}<td class="p" dir="auto">{{ row.prompt }}<td>{{ row.status }}
<td>{{ row.size }}<td class="n">{{ row.cost }}
<td>{% if row.file %}<a href="/files/{{ row.file }}">video</a>{% endif %}</tr>
{% endfor %}</table></div></html>""")
_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'",
    "cache-control": "no-store",
    "x-frame-options": "DENY",
}


async def _status(request: Request) -> Response:
    services = services_of(request)
    peer = request.client.host if request.client else ""
    is_here = peer != "" and ipaddress.ip_address(peer).is_loopback
    if not is_here and request.query_params.get("key") != services.config.key:
        raise unauthorized("sandbox")
    queue, (files, size) = services.queue, services.files.usage()
    records = list(queue.records.values())
    figures = [
        ("requests", f"{len(records):,}"),
        ("in queue", f"{queue.waiting:,}"),
        ("rendering", f"{queue.rendering:,}"),
        ("failed", f"{sum(record.error is not None for record in records):,}"),
        ("billed", _usd(sum(record.cost_nano for record in records))),
        ("files", f"{files:,}, {size / 2**20:,.1f} MiB"),
    ]
    rows = [_row(record) for record in records[: -SHOWN - 1 : -1]]
    page = _PAGE.render(figures=figures, rows=rows, speed=f"{queue.speed:g}", slots=services.config.slots)
    return HTMLResponse(page, headers=_HEADERS)


def _usd(nano: int) -> str:
    return f"${nano / 1e9:,.4f}"


def _row(record: Record) -> dict[str, str]:
    return {
        "time": datetime.fromtimestamp(record.submitted_at, UTC).strftime("%H:%M:%S"),
        "model": record.endpoint.removeprefix("fal-ai/bytedance/seedance/").removeprefix("bytedance/"),
        "prompt": str(record.arguments.get("prompt", ""))[:300],
        "status": record.error_type or record.status,
        "size": f"{record.width_px}x{record.height_px}" if record.width_px else "",
        "cost": _usd(record.cost_nano) if record.cost_nano else "",
        "file": record.file if record.deleted_at is None else "",
    }
