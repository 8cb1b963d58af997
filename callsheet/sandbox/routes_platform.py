"""fal's platform API under /v1: prices, history, billing events, balance (fal Platform OpenAPI)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import wraps
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from callsheet.sandbox.endpoints import ENDPOINTS
from callsheet.sandbox.services import Services, key_of, services_of
from callsheet.sandbox.store import Record

BALANCE_NANO = 1_000_000_000_000
"""What the account holds before anything is rendered: 1000 USD."""

_DAY = timedelta(days=1)
_HISTORY = 90 * _DAY
_STATUSES = {"success": range(200, 300), "user_error": range(400, 500), "error": range(500, 600)}
_Handler = Callable[[Request], Awaitable[Response]]


class _Invalid(ValueError):
    """A parameter that the API does not take; becomes 400."""


def routes() -> list[Route]:
    """The routes."""
    return [
        Route("/.well-known/jwks.json", _jwks, methods=["GET"]),
        Route("/v1/models/pricing", _guarded(_pricing, admin=False), methods=["GET"]),
        Route("/v1/models/requests/by-endpoint", _guarded(_history, admin=False), methods=["GET"]),
        Route("/v1/models/billing-events", _guarded(_billing, admin=True), methods=["GET"]),
        Route("/v1/account/billing", _guarded(_account, admin=True), methods=["GET"]),
    ]


async def _jwks(request: Request) -> Response:
    return JSONResponse(services_of(request).signer.jwks())


def _guarded(handler: Callable[[Request, Services], dict[str, Any]], *, admin: bool) -> _Handler:
    """Check the key and turn refusals into the API's own error document."""

    @wraps(handler)
    async def checked(request: Request) -> Response:
        key, services = key_of(request), services_of(request)
        if key is None:
            return _error(401, "authorization_error", "Authentication required")
        if admin and key != services.config.key:
            return _error(403, "authorization_error", "Access denied: an admin API key is needed")
        try:
            return JSONResponse(handler(request, services))
        except _Invalid as error:
            return _error(400, "validation_error", str(error))
        except LookupError as error:
            return _error(404, "not_found", str(error.args[0]))

    return checked


def _error(status: int, type_: str, message: str) -> Response:
    return JSONResponse({"error": {"type": type_, "message": message}}, status)


def _pricing(request: Request, services: Services) -> dict[str, Any]:
    prices = []
    for endpoint_id in _endpoint_ids(request, required=True):
        if endpoint_id not in ENDPOINTS:
            raise LookupError(f"Endpoint {endpoint_id} not found")
        price = _usd(services.prices.unit_price_nano(endpoint_id))
        unit = services.prices.unit(endpoint_id)
        prices.append({"endpoint_id": endpoint_id, "unit_price": price, "unit": unit, "currency": "USD"})
    return {"prices": prices, "next_cursor": None, "has_more": False}


def _history(request: Request, services: Services) -> dict[str, Any]:
    wanted = set(_endpoint_ids(request, required=True))
    request_id = request.query_params.get("request_id")
    start, end = _window(request, services, _HISTORY if request_id else _DAY)
    statuses = _status_codes(request)
    found = [
        record
        for record in _selected(services.queue.records, wanted, {request_id} if request_id else set())
        if record.started_at is not None
        and start <= (record.completed_at or record.started_at) < end
        and (statuses is None or record.status_code in statuses)
    ]
    newest_first = sorted(found, key=lambda record: record.completed_at or float("inf"), reverse=True)
    payloads = "payloads" in _listed(request, "expand")
    page, cursor = _page(request, newest_first, default=50, most=100)
    items = [_item(record, payloads=payloads) for record in page]
    return {"items": items, "next_cursor": cursor, "has_more": cursor is not None}


def _item(record: Record, *, payloads: bool) -> dict[str, Any]:
    done = record.completed_at is not None
    item: dict[str, Any] = {
        "request_id": record.id,
        "endpoint_id": record.endpoint,
        "started_at": _iso(record.started_at or record.submitted_at),
        "sent_at": _iso(record.submitted_at),
        "ended_at": _iso(record.completed_at) if record.completed_at else None,
        "status_code": record.status_code if done else None,
        "duration": round(record.completed_at - record.submitted_at, 3) if record.completed_at else None,
    }
    if payloads and record.keep_payloads:
        item |= {"json_input": record.arguments, "json_output": record.result}
    return item


def _billing(request: Request, services: Services) -> dict[str, Any]:
    wanted = set(_endpoint_ids(request, required=False))
    ids = set(_listed(request, "request_id"))
    start, end = _window(request, services, _HISTORY if ids else _DAY)
    found = [
        record
        for record in _selected(services.queue.records, wanted, ids)
        if record.units and record.completed_at and start <= record.completed_at < end
    ]
    page, cursor = _page(request, found[::-1], default=50, most=10_000)
    events = [_event(record) for record in page]
    return {"billing_events": events, "next_cursor": cursor, "has_more": cursor is not None}


def _event(record: Record) -> dict[str, Any]:
    cost = _usd(record.cost_nano)
    return {
        "request_id": record.id,
        "endpoint_id": record.endpoint,
        "timestamp": _iso(record.completed_at or 0.0),
        "output_units": float(record.units),
        "unit_price": _usd(Fraction(record.unit_price_nano)),
        "percent_discount": None,
        "cost_subtotal": cost,
        "cost_discount": 0,
        "cost_total": cost,
        "cost_estimate_nano_usd": record.cost_nano,
    }


def _account(request: Request, services: Services) -> dict[str, Any]:
    document: dict[str, Any] = {"username": "sandbox"}
    if "credits" in _listed(request, "expand"):
        left_nano = max(0, BALANCE_NANO - sum(record.cost_nano for record in services.queue.records))
        document["credits"] = {"current_balance": _usd(left_nano), "currency": "USD"}
    return document


def _usd(nano: int | Fraction) -> float:
    """Dollars are numbers in the JSON of fal; this server's own sums stay in nano-dollars."""
    return float(nano / 1_000_000_000)


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat().replace("+00:00", "Z")


def _listed(request: Request, name: str) -> list[str]:
    """Values of a parameter given several times or with commas."""
    return [part for value in request.query_params.getlist(name) for part in value.split(",") if part]


def _endpoint_ids(request: Request, *, required: bool) -> list[str]:
    ids = _listed(request, "endpoint_id")
    if len(ids) > 50 or (required and not ids):
        raise _Invalid(f"endpoint_id: 1 to 50 endpoint ids are needed, {len(ids)} were given")
    return ids


def _selected(records: Iterable[Record], endpoints: set[str], ids: set[str]) -> list[Record]:
    return [
        record
        for record in records
        if (not endpoints or record.endpoint in endpoints) and (not ids or record.id in ids)
    ]


def _window(request: Request, services: Services, default: timedelta) -> tuple[float, float]:
    """Unix seconds [start, end). Without `end` everything up to now counts, this instant included."""
    now = services.clock()
    start, end = request.query_params.get("start"), request.query_params.get("end")
    return (
        _moment("start", start) if start else now - default.total_seconds(),
        _moment("end", end) if end else float("inf"),
    )


def _moment(name: str, text: str) -> float:
    try:
        # A plus sign that was not escaped arrives as a space.
        moment = datetime.fromisoformat(text.replace(" ", "+"))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        raise _Invalid(f"{name}: {text!r} is no date in ISO 8601") from error


def _status_codes(request: Request) -> range | None:
    status = request.query_params.get("status")
    if status is None:
        return None
    if status not in _STATUSES:
        raise _Invalid(f"status: {status!r}; it may be {', '.join(_STATUSES)}")
    return _STATUSES[status]


def _page(
    request: Request, records: list[Record], *, default: int, most: int
) -> tuple[list[Record], str | None]:
    """Cut one page; cursors carry the page's number, as fal's do (`Mg==` is 2)."""
    limit_text = request.query_params.get("limit", str(default))
    if not re.fullmatch(r"[0-9]{1,9}", limit_text) or not 1 <= int(limit_text) <= most:
        raise _Invalid(f"limit: {limit_text!r}; it may be 1 to {most}")
    limit, number = int(limit_text), _page_number(request.query_params.get("cursor"))
    page = records[(number - 1) * limit : number * limit]
    more = len(records) > number * limit
    return page, base64.b64encode(str(number + 1).encode()).decode() if more else None


def _page_number(cursor: str | None) -> int:
    if not cursor:
        return 1
    try:
        return max(1, int(base64.b64decode(cursor, validate=True)))
    except (ValueError, binascii.Error) as error:
        raise _Invalid(f"cursor: {cursor!r} is none of ours") from error
