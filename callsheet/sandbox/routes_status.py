"""`/` in a browser: what was asked, what it cost, what is kept. From other machines it asks for `?key=`."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime

from jinja2 import Environment
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from callsheet.sandbox.services import services_of, unauthorized
from callsheet.sandbox.store import Record

SHOWN = 100
"""The newest requests that are listed."""

_PAGE = Environment(autoescape=True).from_string("""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="5"><title>Sandbox</title>
<style>
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
body { margin: 2rem auto; max-width: 72rem; padding: 0 1rem }
dl { display: flex; flex-wrap: wrap; gap: 1rem 3rem } dt { opacity: .7 } dd { margin: 0; font-size: 1.5rem }
table { border-collapse: collapse; width: 100% } td, th { padding: .3rem .8rem .3rem 0; text-align: left }
tr { border-bottom: 1px solid #8884 } td.n { text-align: right; font-variant-numeric: tabular-nums }
td.p { max-width: 28rem; overflow: hidden; text-overflow: ellipsis; white-space: nowrap }
</style>
<h1>Sandbox</h1>
<p>fal's API on this machine. Nothing here costs money. Speed {{ speed }}, {{ slots }} slots.</p>
<dl>{% for name, value in figures %}<div><dt>{{ name }}</dt><dd>{{ value }}</dd></div>{% endfor %}</dl>
<table><tr><th>time<th>model<th>prompt<th>status<th>size<th>cost<th>file</tr>
{% for row in rows %}
<tr><td>{{ row.time }}<td>{{ row.model }}<td class="p" dir="auto">{{ row.prompt }}<td>{{ row.status }}
<td>{{ row.size }}<td class="n">{{ row.cost }}
<td>{% if row.file %}<a href="/files/{{ row.file }}">video</a>{% endif %}</tr>
{% endfor %}</table></html>""")
_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'",
    "cache-control": "no-store",
    "x-frame-options": "DENY",
}


def routes() -> list[Route]:
    """The route."""
    return [Route("/", _status, methods=["GET"])]


async def _status(request: Request) -> Response:
    services = services_of(request)
    peer = request.client.host if request.client else ""
    is_here = peer != "" and ipaddress.ip_address(peer).is_loopback
    if not is_here and request.query_params.get("key") != services.config.key:
        return unauthorized("sandbox")
    queue, (files, size) = services.queue, services.files.usage()
    records = queue.records
    figures = [
        ("requests", f"{len(records):,}"),
        ("in queue", f"{len(queue.waiting):,}"),
        ("rendering", f"{len(queue.rendering):,}"),
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
