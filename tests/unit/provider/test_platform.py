"""The platform's lists: whole, or an error."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from callsheet.errors import AccountError, RenderFailed, Unavailable, UntrustedHost
from callsheet.provider.platform import MAX_PAGES, TRIES, FalPlatform
from callsheet.provider.platform_messages import HistoryItem, parse_event, parse_item, result_of
from callsheet.settings import ApiKey, Settings

ENDPOINT = "fal-ai/bytedance/seedance/v1/lite/text-to-video"
IDS = [f"{number:08d}-0000-4000-8000-000000000000" for number in range(300)]
SETTINGS = Settings(data_dir=Path(), key=ApiKey("run-key-0123"), admin_key=ApiKey("admin-key-0123"))
ITEM: dict[str, Any] = {
    "request_id": IDS[0],
    "endpoint_id": ENDPOINT,
    "sent_at": "2026-11-21T12:00:01Z",
    "started_at": "2026-11-21T12:00:05Z",
    "ended_at": "2026-11-21T12:00:08.5+00:00",
    "status_code": 200,
    "json_input": {"prompt": "a kite", "weight": 0.5},
    "json_output": {"video": {"url": "https://v3.fal.media/a.mp4"}, "seed": 5},
}
NOON_MS = 1_795_262_400_000


def page(items: list[Any], cursor: str | None = None, **changes: Any) -> dict[str, Any]:
    """One page as fal writes it."""
    return {"items": items, "next_cursor": cursor, "has_more": cursor is not None, **changes}


def asked(answer: Callable[[httpx.Request], httpx.Response], settings: Settings = SETTINGS) -> Any:
    """Read the history from a server of these answers."""
    return _with(answer, settings, lambda platform: platform.history([ENDPOINT], start_ms=NOON_MS))


def billed(answer: Callable[[httpx.Request], httpx.Response], settings: Settings = SETTINGS) -> Any:
    """Read the billing events from a server of these answers."""
    return _with(answer, settings, lambda platform: platform.billing_events([ENDPOINT], start_ms=NOON_MS))


def _with(answer: Any, settings: Settings, question: Any, **names: Any) -> Any:
    async def no_wait(_seconds: float) -> None:
        return

    async def run() -> Any:
        transport = httpx.MockTransport(_as_streams(answer))
        async with FalPlatform(settings, transport=transport, sleep=no_wait, **names) as platform:
            return await question(platform)

    return asyncio.run(run())


def _as_streams(answer: Callable[[httpx.Request], httpx.Response]) -> Any:
    """Let bodies be read as they come from a wire."""

    def streamed(request: httpx.Request) -> httpx.Response:
        plain = answer(request)
        return httpx.Response(
            plain.status_code, headers=plain.headers, stream=httpx.ByteStream(plain.content)
        )

    return streamed


def reply(document: Any, code: int = 200, **headers: str) -> httpx.Response:
    """A JSON reply."""
    return httpx.Response(code, content=json.dumps(document).encode(), headers=headers)


def test_every_page_is_read() -> None:
    """Three pages become one list, asked for with payloads, the time window and each cursor in turn."""
    seen: list[httpx.QueryParams] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.params)
        number = int(request.url.params.get("cursor", "0"))
        items = [{**ITEM, "request_id": each} for each in IDS[number * 100 : number * 100 + 100]]
        return reply(
            page(items, str(number + 1) if number < 2 else None), date="Sat, 21 Nov 2026 12:00:00 GMT"
        )

    history = asked(answer)
    assert [item.request_id for item in history.items] == IDS
    assert history.server_ms == NOON_MS
    assert [params.get("cursor") for params in seen] == [None, "1", "2"]
    assert {params["start"] for params in seen} == {"2026-11-21T12:00:00Z"}
    assert {params["expand"] for params in seen} == {"payloads"}


@pytest.mark.parametrize(
    "document",
    [
        page([ITEM], "2", has_more=False),
        page([ITEM], None, has_more=True),
        page([ITEM], "", has_more=True),
        page([ITEM], None, has_more="no"),
        page([ITEM], 7),
        {"next_cursor": None, "has_more": False},
        {"items": [ITEM], "next_cursor": None},
        page({"0": ITEM}),
        page([ITEM, None]),
        page([{**ITEM, "request_id": None}]),
        page([{**ITEM, "request_id": "../../x"}]),
        page([{**ITEM, "endpoint_id": 5}]),
        page([{**ITEM, "sent_at": "yesterday"}]),
        page([{**ITEM, "sent_at": None}]),
        page([{**ITEM, "ended_at": 12}]),
        [],
        {},
    ],
)
def test_a_page_that_is_not_wholly_understood_is_an_error(document: Any) -> None:
    """A part of the list never passes for the whole of it, and never for an empty one."""
    with pytest.raises(Unavailable):
        asked(lambda _request: reply(document))


@pytest.mark.parametrize("broken", [1, 2])
def test_a_list_that_breaks_off_is_an_error(broken: int) -> None:
    """Whichever page fails for good, nothing of the list is returned."""

    def answer(request: httpx.Request) -> httpx.Response:
        number = int(request.url.params.get("cursor", "0"))
        if number == broken:
            return httpx.Response(502, content=b"<html>nginx</html>")
        return reply(page([ITEM], str(number + 1)))

    with pytest.raises(Unavailable, match="502"):
        asked(answer)


def test_a_failed_read_is_tried_again() -> None:
    """Reads are free: errors, broken bodies and throttling are waited out, up to four tries a page."""
    answers = [
        httpx.Response(503),
        httpx.Response(429, headers={"retry-after": "1"}),
        httpx.Response(200, content=b'{"items": [', headers={}),
        reply(page([ITEM])),
    ]
    assert len(answers) == TRIES
    assert len(asked(lambda _request: answers.pop(0)).items) == 1


def test_cursors_that_go_round_are_an_error() -> None:
    """A list without an end is not read for ever."""
    with pytest.raises(Unavailable, match="circle"):
        asked(lambda _request: reply(page([ITEM], "again")))


def test_a_list_longer_than_anything_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the bound of pages nothing is concluded."""
    monkeypatch.setattr("callsheet.provider.platform.MAX_PAGES", 3)
    assert MAX_PAGES == 2000

    def answer(request: httpx.Request) -> httpx.Response:
        return reply(page([ITEM], str(int(request.url.params.get("cursor", "0")) + 1)))

    with pytest.raises(Unavailable, match="3 pages"):
        asked(answer)


def test_a_request_on_two_pages_counts_once_in_its_later_state() -> None:
    """The list moves while it is read: of two states of a request the ended one is kept."""
    running = {**ITEM, "ended_at": None, "status_code": None, "json_output": None}
    answers = [reply(page([running, ITEM], "1")), reply(page([running]))]
    (item,) = asked(lambda _request: answers.pop(0)).items
    assert item.status_code == 200


@pytest.mark.parametrize("code", [401, 403])
def test_a_key_without_rights_is_an_account_error(code: int) -> None:
    """A refused key is told as such and not tried again."""
    calls: list[int] = []

    def answer(_request: httpx.Request) -> httpx.Response:
        calls.append(1)
        return reply({"error": {"type": "authorization_error", "message": "no"}}, code)

    with pytest.raises(AccountError):
        asked(answer)
    assert len(calls) == 1


def test_each_key_goes_where_it_belongs() -> None:
    """The history is read with the ordinary key, bills with the admin key, and redirects get neither."""
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(f"{request.url.host} {request.headers['authorization']}")
        return reply({**page([]), "billing_events": []})

    asked(answer)
    billed(answer)
    billed(answer, replace(SETTINGS, admin_key=None))
    with pytest.raises(Unavailable):
        asked(lambda _request: httpx.Response(302, headers={"location": "https://evil.example/"}))
    assert seen == [f"api.fal.ai Key {key}" for key in ("run-key-0123", "admin-key-0123", "run-key-0123")]


def test_no_other_host_gets_a_key_of_the_platform() -> None:
    """Only the configured platform host is asked."""
    platform = FalPlatform(SETTINGS)
    assert str(platform._hosts.is_platform("https://api.fal.ai/v1/models")).startswith("https://api.fal.ai")
    for other in ("https://queue.fal.run/v1", "http://api.fal.ai/v1", "https://api.fal.ai.evil.com/v1"):
        with pytest.raises(UntrustedHost):
            platform._hosts.is_platform(other)


@pytest.mark.parametrize(
    ("text", "nano"),
    [("35721000", 35_721_000), ("35721000.0", 35_721_000), ("0.1", 1), ("35721000.2", 35_721_001), ("0", 0)],
)
def test_a_bill_is_whole_nano_dollars_rounded_up(text: str, nano: int) -> None:
    """What arrives as a JSON number becomes an exact integer, never less than it was."""
    event = f'{{"request_id": "{IDS[0]}", "endpoint_id": "e", "timestamp": "2026-11-21T12:00:00Z", '
    event += f'"cost_estimate_nano_usd": {text}}}'
    body = f'{{"billing_events": [{event}], "next_cursor": null, "has_more": false}}'
    (found,) = billed(lambda _request: httpx.Response(200, content=body.encode()))
    assert (found.cost_nano, found.at_ms) == (nano, NOON_MS)


@pytest.mark.parametrize("cost", ['"12"', "null", "true", "-1", "1e400", "1e5000000", "NaN", "9e99"])
def test_a_bill_that_is_no_amount_is_an_error(cost: str) -> None:
    """Texts, negatives, infinities and bombs stop the comparison instead of moving money."""
    body = f'{{"billing_events": [{{"request_id": "{IDS[0]}", "endpoint_id": "e", '
    body += f'"timestamp": "2026-11-21T12:00:00Z", "cost_estimate_nano_usd": {cost}}}], '
    body += '"next_cursor": null, "has_more": false}'
    with pytest.raises(Unavailable):
        billed(lambda _request: httpx.Response(200, content=body.encode()))


def test_an_event_without_a_cost_is_an_error() -> None:
    """A missing field is not a cost of nothing."""
    with pytest.raises(Unavailable):
        parse_event({"request_id": IDS[0], "endpoint_id": "e", "timestamp": "2026-11-21T12:00:00Z"})


def an_event(number: int, cost_nano: int = 500, endpoint: str = ENDPOINT) -> dict[str, Any]:
    """A billing event as fal writes it."""
    told = {"request_id": IDS[number], "endpoint_id": endpoint, "timestamp": "2026-11-21T12:00:00Z"}
    return {**told, "cost_estimate_nano_usd": cost_nano}


def test_a_bill_that_moves_to_the_next_page_counts_once() -> None:
    """A bill that comes while pages are read shifts the list: the last one of a page is on the next, too."""
    first, second = [an_event(0), an_event(1)], [an_event(1), an_event(2)]
    answers = [page([], "1", billing_events=first), page([], None, billing_events=second)]
    found = billed(lambda _request: reply(answers.pop(0)))
    assert [(event.request_id, event.cost_nano) for event in found] == [(each, 500) for each in IDS[:3]]


def test_a_bill_that_is_listed_under_two_names_counts_once() -> None:
    """Asked for an endpoint under another name, fal may answer with what it has listed before."""

    def question(platform: FalPlatform) -> Any:
        return platform.billing_events([ENDPOINT], start_ms=NOON_MS)

    def answer(request: httpx.Request) -> httpx.Response:
        (name,) = request.url.params.get_list("endpoint_id")
        return reply(page([], None, billing_events=[an_event(0, endpoint=name)]))

    (event,) = _with(answer, SETTINGS, question, canonical={"other/name": ENDPOINT})
    assert (event.endpoint_id, event.cost_nano) == (ENDPOINT, 500)


def test_parts_of_a_bill_that_are_equal_all_count() -> None:
    """Two equal events on one page are two charges."""
    parts = page([], None, billing_events=[an_event(0), an_event(0), an_event(0, 1)])
    assert sum(event.cost_nano for event in billed(lambda _request: reply(parts))) == 1001


def an_item(**changes: Any) -> HistoryItem:
    """An item of the history."""
    return parse_item({**ITEM, **changes})


def test_a_result_is_read_out_of_the_history_as_from_the_queue() -> None:
    """The stored output is the result, with its seed and without billable units."""
    rendered = result_of(an_item())
    assert (rendered.video_url, rendered.seed, rendered.billable_units) == (
        "https://v3.fal.media/a.mp4",
        5,
        None,
    )


@pytest.mark.parametrize(
    ("code", "output", "charged"),
    [
        (500, {"detail": "boom", "error_type": "internal_server_error"}, "no"),
        (422, {"detail": [{"msg": "no", "type": "content_policy_violation"}]}, "unknown"),
        (200, {"images": []}, "unknown"),
    ],
)
def test_a_failure_is_read_out_of_the_history(code: int, output: Any, charged: str) -> None:
    """A render that failed says so, and says as much about its price as the queue would."""
    with pytest.raises(RenderFailed) as raised:
        result_of(an_item(status_code=code, json_output=output))
    assert raised.value.charged == charged


@pytest.mark.parametrize("hidden", [{"json_output": None}, {"ended_at": None}, {"status_code": None}])
def test_what_the_history_does_not_show_is_no_result(hidden: dict[str, Any]) -> None:
    """Without an output, an end or a code nothing is known."""
    with pytest.raises(Unavailable):
        result_of(an_item(**hidden))


def priced(body: str, question: str = "prices") -> Any:
    """Read the price list, or the balance, from a server of this answer."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=body.encode())

    def ask(platform: FalPlatform) -> Any:
        return platform.prices([ENDPOINT]) if question == "prices" else platform.credits_nano()

    return _with(answer, SETTINGS, ask), seen[0]


def test_a_price_is_read_exactly() -> None:
    """A JSON number becomes a decimal and never a float; the ordinary key asks."""
    line = f'{{"endpoint_id": "{ENDPOINT}", "unit_price": 0.0018, "unit": "1000 tokens", "currency": "USD"}}'
    (found,), request = priced(f'{{"prices": [{line}], "next_cursor": null, "has_more": false}}')
    assert (found.endpoint_id, found.nano_each) == (ENDPOINT, 1800)
    assert request.url.params.get_list("endpoint_id") == [ENDPOINT]
    assert request.headers["authorization"] == "Key run-key-0123"


@pytest.mark.parametrize("price", ['"1"', "null", "true", "-1", "1e400", "1e5000000", "NaN", "9e99"])
def test_a_price_that_is_no_amount_is_an_error(price: str) -> None:
    """A list that is not understood is not read, and so compares with nothing."""
    line = f'{{"endpoint_id": "{ENDPOINT}", "unit_price": {price}, "unit": "token", "currency": "USD"}}'
    with pytest.raises(Unavailable):
        priced(f'{{"prices": [{line}], "next_cursor": null, "has_more": false}}')


def test_a_list_that_is_looked_at_once_is_not_waited_for() -> None:
    """With one try a server's mistake is reported at once."""
    calls: list[int] = []

    def answer(_request: httpx.Request) -> httpx.Response:
        calls.append(1)
        return httpx.Response(503)

    with pytest.raises(Unavailable):
        _with(answer, SETTINGS, lambda platform: platform.prices([ENDPOINT], tries=1))
    assert len(calls) == 1


def test_the_balance_is_rounded_down_and_asked_with_the_admin_key() -> None:
    """What may still be spent is never shown larger than it is."""
    body = '{"username": "u", "credits": {"current_balance": 24.5000000009, "currency": "USD"}}'
    nano, request = priced(body, "credits")
    assert nano == 24_500_000_000
    assert request.headers["authorization"] == "Key admin-key-0123"


@pytest.mark.parametrize(
    "told", ["null", "{}", '{"current_balance": "1", "currency": "USD"}', '{"current_balance": 1}']
)
def test_a_balance_that_is_not_told_is_an_error(told: str) -> None:
    """Nothing is made up where fal does not say it."""
    with pytest.raises(Unavailable, match="no balance"):
        priced(f'{{"username": "u", "credits": {told}}}', "credits")


ALIAS = "fal-ai/seedance-2/text-to-video"
LISTED = "bytedance/seedance-2.0/text-to-video"


def named(answer: Any, question: Any) -> Any:
    """Ask a platform that knows another name of an endpoint."""

    async def no_wait(_seconds: float) -> None:
        return

    async def run() -> Any:
        transport = httpx.MockTransport(_as_streams(answer))
        async with FalPlatform(
            SETTINGS, canonical={ALIAS: LISTED}, transport=transport, sleep=no_wait
        ) as platform:
            return await question(platform)

    return asyncio.run(run())


@pytest.mark.parametrize("names", [(LISTED,), (ALIAS,), (LISTED, ALIAS)])
def test_an_endpoint_is_one_under_all_its_names(names: tuple[str, ...]) -> None:
    """History and bills are read under every name; what they show has the catalog's id. A name may be 404."""

    def answer(request: httpx.Request) -> httpx.Response:
        (asked_for,) = request.url.params.get_list("endpoint_id")
        if asked_for == ALIAS and asked_for not in names:
            return reply({"error": {"type": "not_found", "message": "no such endpoint"}}, 404)
        at = names.index(asked_for) if asked_for in names else None
        if "billing" in request.url.path:
            event = {"request_id": IDS[at or 0], "endpoint_id": asked_for, "timestamp": ITEM["sent_at"]}
            events = [{**event, "cost_estimate_nano_usd": 7}] if at is not None else []
            return reply({"billing_events": events, "next_cursor": None, "has_more": False})
        item = {**ITEM, "request_id": IDS[at or 0], "endpoint_id": asked_for}
        return reply(page([item] if at is not None else []))

    history = named(answer, lambda platform: platform.history([LISTED], start_ms=NOON_MS))
    bills = named(answer, lambda platform: platform.billing_events([LISTED], start_ms=NOON_MS))
    for found in (history.items, bills):
        assert [(each.request_id, each.endpoint_id) for each in found] == [
            (IDS[at], LISTED) for at in range(len(names))
        ]


def test_an_id_must_be_known() -> None:
    """Only another name may be one that fal does not have: without the id the list is not whole."""
    with pytest.raises(Unavailable):
        named(
            lambda _: reply({"error": {"type": "not_found"}}, 404),
            lambda platform: platform.history([LISTED], start_ms=NOON_MS),
        )


def test_so_many_endpoints_are_asked_for_at_a_time_as_fal_takes() -> None:
    """120 endpoints are three questions; one that fal no longer lists takes no other with it."""
    endpoints = [f"acme/model-{number}/text-to-video" for number in range(120)]
    seen: list[int] = []

    def answer(request: httpx.Request) -> httpx.Response:
        ids = request.url.params.get_list("endpoint_id")
        seen.append(len(ids))
        if endpoints[7] in ids:
            return reply({"error": {"type": "not_found"}}, 404)
        lines = [{"endpoint_id": each, "unit_price": 1, "unit": "videos", "currency": "USD"} for each in ids]
        return reply({"prices": lines, "next_cursor": None, "has_more": False})

    found = named(answer, lambda platform: platform.prices(endpoints))
    assert [each.endpoint_id for each in found] == [each for each in endpoints if each != endpoints[7]]
    assert max(seen) == 50
