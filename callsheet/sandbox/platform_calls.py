"""What the routes of fal's platform API share: keys, error documents, parameters, pages, money, times."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import wraps
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from callsheet.sandbox.services import Services, key_of, services_of
from callsheet.sandbox.store import Record, now

DAY = timedelta(days=1)
_DATE = re.compile(r"\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)?)?", re.ASCII)
_T = TypeVar("_T")
Handler = Callable[[Request], Awaitable[Response]]


class Invalid(ValueError):
    """A parameter that the API does not take; becomes 400."""


def guarded(
    handler: Callable[[Request, Services], Awaitable[dict[str, Any]]],
    *,
    needs_key: bool = True,
    admin: bool = False,
) -> Handler:
    """Check the key and turn refusals into the API's own error document."""

    @wraps(handler)
    async def checked(request: Request) -> Response:
        key, services = key_of(request), services_of(request)
        if needs_key and key is None:
            return _error(401, "authorization_error", "Authentication required")
        if admin and key != services.config.key:
            return _error(403, "authorization_error", "Access denied: an admin API key is needed")
        try:
            return JSONResponse(await handler(request, services))
        except ValueError as error:  # Invalid, a body that is no JSON, and one against the schema
            return _error(400, "validation_error", str(error)[:2000])
        except LookupError as error:
            return _error(404, "not_found", str(error.args[0]))

    return checked


def _error(status: int, type_: str, message: str) -> Response:
    return JSONResponse({"error": {"type": type_, "message": message}}, status)


def one(request: Request, name: str, allowed: Sequence[str] = ()) -> str | None:
    """Return a parameter that may be given once. Raises Invalid."""
    values = request.query_params.getlist(name)
    if len(values) > 1 or (values and allowed and values[0] not in allowed):
        among = f", as {', '.join(allowed)}" if allowed else ""
        raise Invalid(f"{name}: {', '.join(values)!r}; it may be given once{among}")
    return values[0] if values else None


def listed(request: Request, name: str) -> list[str]:
    """Return the values of a parameter given several times or with commas."""
    return [part for value in request.query_params.getlist(name) for part in value.split(",") if part]


def endpoint_ids(request: Request, *, required: bool) -> list[str]:
    """Return the endpoints that are asked for. Raises Invalid."""
    ids = listed(request, "endpoint_id")
    if len(ids) > 50 or (required and not ids):
        raise Invalid(f"endpoint_id: 1 to 50 endpoint ids are needed, {len(ids)} were given")
    return ids


def selected(request: Request, services: Services, ids: set[str]) -> list[Record]:
    """Return the records of the endpoints, ids, keys and people that a call names."""
    endpoints, keys = set(listed(request, "endpoint_id")), set(listed(request, "api_key_id"))
    people = listed(request, "login_username")
    return [
        record
        for record in services.queue.records.values()
        if (not endpoints or record.endpoint in endpoints)
        and (not ids or record.id in ids)
        and (not keys or record.key_id in keys)
        and (not people or "sandbox" in people)
    ]


def auth_of(request: Request, record: Record) -> dict[str, Any]:
    """Return how a request was authenticated, as far as a call asks for it."""
    wanted, detail = listed(request, "expand"), f"User Key (Key ID: {record.key_id})"
    found: dict[str, Any] = {"auth_method": detail} if "auth_method" in wanted else {}
    if "auth_method_structured" in wanted:
        found["auth_method_structured"] = {"detail": detail, "api_key_id": record.key_id}
    return found


def window(request: Request, default: timedelta) -> tuple[float, float]:
    """Unix seconds [start, end). Without `end` everything up to now counts, this instant included."""
    start, end = one(request, "start"), one(request, "end")
    return (
        now() - default.total_seconds() if start is None else _moment("start", start),
        float("inf") if end is None else _moment("end", end),
    )


def _moment(name: str, text: str) -> float:
    # A plus sign that was not escaped arrives as a space.
    text = re.sub(r" (?=\d\d:\d\d$)", "+", text)
    try:
        if not _DATE.fullmatch(text):
            raise ValueError(text)  # noqa: TRY301 - the same answer as for a day that does not exist
        moment = datetime.fromisoformat(text.upper())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        raise Invalid(f"{name}: {text!r} is no date in ISO 8601") from error


def page(
    request: Request, found: list[_T], *, default: int, most: int, clamp: bool = True
) -> tuple[list[_T], dict[str, Any]]:
    """Cut one page; cursors carry the page's number, as fal's do (`Mg==` is 2). Raises Invalid."""
    text = one(request, "limit") or ("" if "limit" in request.query_params else str(default))
    if not re.fullmatch(r"[0-9]{1,30}", text) or int(text) < 1 or (int(text) > most and not clamp):
        raise Invalid(f"limit: {text!r}; it may be 1 to {most}")
    limit, number = min(int(text), most), _page_number(one(request, "cursor"))
    more = len(found) > number * limit
    cursor = base64.b64encode(str(number + 1).encode()).decode() if more else None
    return found[(number - 1) * limit : number * limit], {"next_cursor": cursor, "has_more": more}


def _page_number(cursor: str | None) -> int:
    if not cursor:
        return 1
    try:
        return max(1, int(base64.b64decode(cursor[:40], validate=True)))
    except (ValueError, binascii.Error) as error:
        raise Invalid(f"cursor: {cursor!r} is none of ours") from error


def usd(nano: int | Fraction) -> float:
    """Dollars are numbers in the JSON of fal; this server's own sums stay in nano-dollars."""
    return float(nano / 1_000_000_000)


def iso(moment: float) -> str:
    """Return a time as fal writes it."""
    return datetime.fromtimestamp(moment, UTC).isoformat().replace("+00:00", "Z")
