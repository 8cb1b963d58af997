"""fal's platform API in values of ours: pages of the request history, billing events and prices.

Pure. Facts are fal's Platform OpenAPI as of 2026-11 (`GET /models/requests/by-endpoint`,
`GET /models/billing-events`, `GET /models/pricing`, `GET /account/billing`). A page that is not wholly
understood raises Unavailable: conclusions are drawn from what is *not* in these lists, so a part of a list
must never look like a whole one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

from callsheet.errors import AccountError, RenderFailed, Unavailable
from callsheet.provider.messages import Rendered, parse_result, read_object
from callsheet.provider.replies import Reply, request_id_in, server_time_ms
from pricing.money import NANO_PER_USD
from pricing.units import ListedPrice

HISTORY = "fal's request history"
PRICES = "fal's price list"
ACCOUNT = "fal's account record"
BILLS = "fal's billing events"

LISTS = {
    HISTORY: ("/models/requests/by-endpoint", "items"),
    BILLS: ("/models/billing-events", "billing_events"),
    PRICES: ("/models/pricing", "prices"),
}
"""Where each list is read, and what it is called in the reply."""

HISTORY_PAGE = 100
"""Requests per page: the most that fal allows."""

BILLS_PAGE = 1000
"""Events per page, at some 400 bytes each; fal allows 10,000."""

MAX_NANO = 2**62
MAX_PRICE = 10**9
"""In dollars."""


@dataclass(frozen=True, slots=True)
class HistoryItem:
    """A request as fal remembers it.

    Times are Unix milliseconds (UTC) by fal's clock. `ended_ms` and `status_code` are None while it runs.
    `input` is the body it was sent and `output` what it answered; each is None where fal does not show it.
    """

    request_id: str
    endpoint_id: str
    sent_ms: int
    ended_ms: int | None
    status_code: int | None
    input: Mapping[str, Any] | None
    output: Any


@dataclass(frozen=True, slots=True)
class BillingEvent:
    """One charge, in whole nano-dollars rounded up, after discounts."""

    request_id: str
    endpoint_id: str
    at_ms: int
    cost_nano: int


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list. `cursor` asks for the next one; None where this is the last.

    `server_ms` is fal's own time when it was read (Unix milliseconds), or None.
    """

    items: Sequence[Mapping[str, Any]]
    cursor: str | None
    server_ms: int | None


def history_query(
    endpoint_ids: Sequence[str], *, start_ms: int, request_id: str | None, sort_by: str
) -> list[tuple[str, str]]:
    """Return the parameters of a question to the history, with payloads, from `start_ms` until now."""
    query = [("endpoint_id", each) for each in endpoint_ids]
    query += [("start", iso(start_ms)), ("expand", "payloads"), ("limit", str(HISTORY_PAGE))]
    query += [("sort_by", sort_by)]
    return [*query, ("request_id", request_id)] if request_id else query


def billing_query(endpoint_ids: Sequence[str], *, start_ms: int) -> list[tuple[str, str]]:
    """Return the parameters of a question for billing events from `start_ms` until now."""
    query = [("endpoint_id", each) for each in endpoint_ids]
    return [*query, ("start", iso(start_ms)), ("limit", str(BILLS_PAGE))]


def iso(moment_ms: int) -> str:
    """Write a time as the API takes it."""
    return datetime.fromtimestamp(moment_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_page(reply: Reply, what: str, name: str) -> Page:
    """Return one page of the list called `name`. Raises Unavailable where it is not a whole one."""
    read_object(reply, what)
    # Read again for the numbers: money arrives as JSON numbers and is never a float here.
    document = json.loads(reply.body, parse_float=Decimal)
    items, more, cursor = document.get(name), document.get("has_more"), document.get("next_cursor")
    if not isinstance(items, list) or not all(isinstance(each, dict) for each in items):
        raise _torn(what, f"there is no list {name!r} in it")
    if not isinstance(more, bool) or not isinstance(cursor, str | None) or more != bool(cursor):
        raise _torn(what, "it does not say clearly whether there is more")
    return Page(items, cursor or None, server_time_ms(reply))


def parse_item(item: Mapping[str, Any]) -> HistoryItem:
    """Return one request of the history. Raises Unavailable for one that cannot be read."""
    ended, code, body = item.get("ended_at"), item.get("status_code"), item.get("json_input")
    return HistoryItem(
        request_id=_request_id(item, HISTORY),
        endpoint_id=_text(item, "endpoint_id", HISTORY),
        sent_ms=_moment_ms(item.get("sent_at"), HISTORY),
        ended_ms=None if ended is None else _moment_ms(ended, HISTORY),
        status_code=code if isinstance(code, int) and 100 <= code <= 599 else None,
        input=_plain(body) if isinstance(body, dict) else None,
        output=_plain(item.get("json_output")),
    )


def parse_event(item: Mapping[str, Any]) -> BillingEvent:
    """Return one billing event. Raises Unavailable for one that cannot be read."""
    nano = _number(item.get("cost_estimate_nano_usd"), MAX_NANO)
    if nano is None:
        raise _torn(BILLS, "an event names no cost")
    return BillingEvent(
        request_id=_request_id(item, BILLS),
        endpoint_id=_text(item, "endpoint_id", BILLS),
        at_ms=_moment_ms(item.get("timestamp"), BILLS),
        cost_nano=int(nano.to_integral_value(ROUND_CEILING)),
    )


def parse_price(item: Mapping[str, Any]) -> ListedPrice:
    """Return one line of the price list. Raises Unavailable for one that cannot be read."""
    price = _number(item.get("unit_price"), MAX_PRICE)
    if price is None:
        raise _torn(PRICES, "an entry has no price")
    return ListedPrice(
        endpoint_id=_text(item, "endpoint_id", PRICES),
        price=price,
        unit=_text(item, "unit", PRICES)[:60],
        currency=_text(item, "currency", PRICES)[:8],
    )


def parse_credits(reply: Reply) -> int:
    """Return the account's balance in nano-dollars, rounded down: it is what may still be spent.

    Raises Unavailable where the reply does not say one in dollars.
    """
    read_object(reply, ACCOUNT)
    told = json.loads(reply.body, parse_float=Decimal).get("credits")
    balance = _number(told.get("current_balance"), MAX_PRICE) if isinstance(told, dict) else None
    if balance is None or told.get("currency") != "USD":
        raise Unavailable(f"{ACCOUNT} names no balance in dollars")
    return int((balance * NANO_PER_USD).to_integral_value(ROUND_FLOOR))


def result_of(item: HistoryItem) -> Rendered:
    """Read a result that the queue does not give out of the history, just as the queue would have told it.

    Raises RenderFailed where the render failed, Unavailable where the history does not show how it ended.
    What the history keeps is what the render answered: where that is no video, there is none.
    """
    if item.ended_ms is None or item.status_code is None or item.output is None:
        raise Unavailable("fal's request history does not show how this request ended")
    try:
        return parse_result(Reply(item.status_code, {}, json.dumps(item.output).encode()))
    except (Unavailable, AccountError) as error:
        raise RenderFailed(
            f"fal's request history says that it ended with {item.status_code} and no video: {error}",
            error_type="result_without_video",
            charged="unknown",
        ) from error


def _plain(value: Any) -> Any:
    """Turn the decimals back into JSON's own numbers: in a payload they are no money."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return float(value) if isinstance(value, Decimal) else value


def _number(value: Any, most: int) -> Decimal | None:
    """Return a number from 0 to `most`; it is judged by its size before anything is reckoned with it."""
    is_number = isinstance(value, int | Decimal) and not isinstance(value, bool)
    return Decimal(value) if is_number and 0 <= value <= most else None


def _request_id(item: Mapping[str, Any], what: str) -> str:
    found = request_id_in(item.get("request_id"))
    if found is None:
        raise _torn(what, "an entry has no usable request id")
    return found


def _text(item: Mapping[str, Any], name: str, what: str) -> str:
    value = item.get(name)
    if not isinstance(value, str) or not value:
        raise _torn(what, f"an entry has no {name}")
    return value


def _moment_ms(value: Any, what: str) -> int:
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise _torn(what, "an entry has a time that cannot be read") from None
    utc = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(utc.timestamp() * 1000)


def _torn(what: str, why: str) -> Unavailable:
    return Unavailable(f"{what} could not be read whole: {why}")
