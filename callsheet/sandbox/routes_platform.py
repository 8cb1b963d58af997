"""What happened, by fal's platform API under /v1: history, billing events, usage, balance (its OpenAPI)."""

from __future__ import annotations

import uuid
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.routing import Route

from callsheet.sandbox.platform_calls import (
    DAY,
    Invalid,
    auth_of,
    endpoint_ids,
    guarded,
    iso,
    listed,
    one,
    page,
    selected,
    usd,
    window,
)
from callsheet.sandbox.services import Services
from callsheet.sandbox.store import Record, now

BALANCE_NANO = 1_000_000_000_000
"""What the account holds before anything is rendered: 1000 USD."""

ANSWER_KEPT_S = 600.0
"""How long the answer to an Idempotency-Key is given again."""

_HISTORY = 90 * DAY
_STATUSES = {"success": range(200, 300), "user_error": range(400, 500), "error": range(500, 600)}
_FRAMES = {"minute": 2 / 24, "hour": 2, "day": 64, "week": 183, "month": float("inf")}
"""Timeframes of usage, and up to how many days each is chosen."""


def routes() -> list[Route]:
    """The routes."""
    return [
        Route("/v1/models/requests/by-endpoint", guarded(_history), methods=["GET"]),
        Route("/v1/models/requests/{request_id}/payloads", guarded(_delete, admin=True), methods=["DELETE"]),
        Route("/v1/models/billing-events", guarded(_billing, admin=True), methods=["GET"]),
        Route("/v1/models/usage", guarded(_usage, admin=True), methods=["GET"]),
        Route("/v1/account/billing", guarded(_account, admin=True), methods=["GET"]),
    ]


async def _history(request: Request, services: Services) -> dict[str, Any]:
    endpoint_ids(request, required=True)
    request_id = one(request, "request_id")
    ids = {str(_uuid(request_id))} if request_id is not None else set()
    start, end = window(request, _HISTORY if ids else DAY)
    status, order = (
        one(request, "status", tuple(_STATUSES)),
        one(request, "sort_by", ("ended_at", "duration")),
    )
    found = [
        record
        for record in selected(request, services, ids)
        if record.started_at is not None
        and start <= (record.completed_at or record.started_at) < end
        and (status is None or record.status_code in _STATUSES[status])
    ]
    found.sort(key=lambda record: record.completed_at or float("inf"), reverse=True)
    if order == "duration":
        found.sort(
            key=lambda record: (record.completed_at or float("inf")) - record.submitted_at, reverse=True
        )
    payloads = "payloads" in listed(request, "expand")
    records, more = page(request, found, default=50, most=100, clamp=False)
    return {"items": [_item(record, payloads=payloads) for record in records], **more}


def _uuid(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError as error:
        raise Invalid(f"request_id: {text!r} is no UUID") from error


def _item(record: Record, *, payloads: bool) -> dict[str, Any]:
    done = record.completed_at is not None
    item: dict[str, Any] = {
        "request_id": record.id,
        "endpoint_id": record.endpoint,
        "started_at": iso(record.started_at or record.submitted_at),
        "sent_at": iso(record.submitted_at),
        "ended_at": iso(record.completed_at) if record.completed_at else None,
        "status_code": record.status_code if done else None,
        "duration": round(record.completed_at - record.submitted_at, 3) if record.completed_at else None,
    }
    if payloads and record.keep_payloads and not record.is_gone(now()):
        item |= {"json_input": record.arguments, "json_output": record.result}
    return item


async def _delete(request: Request, services: Services) -> dict[str, Any]:
    """Delete arguments, result and output file; the same Idempotency-Key gets the same answer again."""
    request_id, moment = str(_uuid(request.path_params["request_id"])), now()
    name, record = request.headers.get("idempotency-key"), services.queue.records.get(request_id)
    answers = services.answers
    if name in answers and moment < answers[name][0] + ANSWER_KEPT_S:
        return answers[name][1]
    if record is None or record.completed_at is None:
        raise LookupError(f"Request {request_id} not found")
    links = services.queue.delete_payloads(record)
    document = {"cdn_delete_results": [{"link": link, "exception": None} for link in links]}
    if name is not None:
        services.answers = {key: each for key, each in answers.items() if moment < each[0] + ANSWER_KEPT_S}
        services.answers[name] = (moment, document)
    return document


def _billed(request: Request, services: Services, ids: set[str], start: float, end: float) -> list[Record]:
    return [
        record
        for record in selected(request, services, ids)
        if record.units and record.completed_at and start <= record.completed_at < end
    ]


async def _billing(request: Request, services: Services) -> dict[str, Any]:
    endpoint_ids(request, required=False)
    ids = set(listed(request, "request_id"))
    start, end = window(request, _HISTORY if ids else DAY)
    found = _billed(request, services, ids, start, end)
    records, more = page(request, found[::-1], default=50, most=10_000)
    return {"billing_events": [_event(record) | auth_of(request, record) for record in records], **more}


def _event(record: Record) -> dict[str, Any]:
    return {
        "request_id": record.id,
        "endpoint_id": record.endpoint,
        "timestamp": iso(record.completed_at or 0.0),
        "output_units": float(record.units),
        "unit_price": usd(Fraction(record.unit_price_nano)),
        **_costs(record.cost_nano),
        "cost_estimate_nano_usd": record.cost_nano,
    }


def _costs(nano: int) -> dict[str, Any]:
    cost = usd(nano)
    return {"percent_discount": None, "cost_subtotal": cost, "cost_discount": 0, "cost_total": cost}


async def _usage(request: Request, services: Services) -> dict[str, Any]:
    """Sum up what was billed, by endpoint and price, and by minute, hour, day, week or month."""
    endpoint_ids(request, required=False)
    start, end = window(request, DAY)
    end = min(end, now() + 1)
    days = (end - start) / DAY.total_seconds()
    frame = one(request, "timeframe", tuple(_FRAMES)) or next(
        name for name, most in _FRAMES.items() if days < most
    )
    zone = _zone(one(request, "timezone") or "UTC")
    if one(request, "bound_to_timeframe", ("true", "false")) != "false":
        start = _bucket(max(start, 0.0), frame, zone).timestamp()
        last = _bucket(max(end, 0.0), frame, zone)
        end = _bucket(last.timestamp() + _LONGEST[frame], frame, zone).timestamp()
    records = _billed(request, services, set(), start, end)
    buckets: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        moment = _bucket(record.completed_at or 0.0, frame, zone).astimezone(UTC)
        buckets[moment.isoformat().replace("+00:00", "Z")].append(record)
    expand = listed(request, "expand")
    series = [{"bucket": name, "results": _rows(request, services, found)} for name, found in buckets.items()]
    found, more = page(request, series, default=1000, most=10_000)
    document = {"summary": _rows(request, services, records)} if "summary" in expand else {}
    return document | ({"time_series": found} if "time_series" in expand or not document else {}) | more


_LONGEST = {"minute": 60, "hour": 3600, "day": 26 * 3600, "week": 7.5 * 86_400, "month": 31.5 * 86_400}
"""Seconds after the start of a timeframe that are surely in the next one."""


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError) as error:
        raise Invalid(f"timezone: {name!r} is not known") from error


def _bucket(moment: float, frame: str, zone: ZoneInfo) -> datetime:
    """Return the beginning of the timeframe that a moment is in."""
    try:
        start = datetime.fromtimestamp(moment, zone).replace(second=0, microsecond=0)
        if frame == "minute":
            return start
        start = start.replace(minute=0)
        if frame == "hour":
            return start
        start = start.replace(hour=0)
        if frame == "week":
            return start - timedelta(days=start.weekday())
        return start.replace(day=1) if frame == "month" else start
    except (OverflowError, ValueError, OSError) as error:
        raise Invalid("start and end are out of range") from error


def _rows(request: Request, services: Services, records: list[Record]) -> list[dict[str, Any]]:
    groups: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    for record in records:
        key_id = record.key_id if auth_of(request, record) else ""
        groups[record.endpoint, record.unit_price_nano, key_id].append(record)
    return [
        {
            "endpoint_id": endpoint,
            "unit": services.prices.unit(endpoint),
            "quantity": float(sum(Fraction(record.units) for record in found)),
            "unit_price": usd(Fraction(price)),
            **_costs(nano := sum(record.cost_nano for record in found)),
            "cost": usd(nano),
            "currency": "USD",
            **auth_of(request, found[0]),
        }
        for (endpoint, price, _), found in groups.items()
    ]


async def _account(request: Request, services: Services) -> dict[str, Any]:
    document: dict[str, Any] = {"username": "sandbox"}
    if "credits" in listed(request, "expand"):
        left_nano = max(0, BALANCE_NANO - sum(record.cost_nano for record in services.queue.records.values()))
        document["credits"] = {"current_balance": usd(left_nano), "currency": "USD"}
    return document
