"""Every kind of reply, as status code, headers and body: what it becomes."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.errors import (
    AccountError,
    CallsheetError,
    OutcomeUnknown,
    QueueError,
    Refused,
    RenderFailed,
    Throttled,
    Unavailable,
    UsageError,
)
from callsheet.provider.media import parse_upload, parse_upload_token, upload_headers
from callsheet.provider.messages import (
    Completed,
    InProgress,
    InQueue,
    parse_cancel,
    parse_result,
    parse_status,
    parse_submit,
    submit_body,
    submit_headers,
    submit_url,
    ticket_for,
)
from callsheet.provider.replies import Reply, clean, retry_after_s

ENDPOINT = "fal-ai/bytedance/seedance/v1/pro/fast/text-to-video"
ID = "764cabcf-b745-4b3e-ae38-1200304cf45b"
LEAD = "11111111-2222-4333-8444-555555555555"
NGINX = b"<html><head><title>504 Gateway Time-out</title></head><center>nginx</center></html>"
MODEL_422 = {
    "detail": [
        {
            "loc": ["body", "prompt"],
            "msg": "The prompt was flagged",
            "type": "content_policy_violation",
            "url": "https://docs.fal.ai/errors#content_policy_violation",
            "input": {"prompt": "x"},
        }
    ]
}
VIDEO = {"video": {"url": "https://v3.fal.media/files/a.mp4", "file_size": 1234}, "seed": 42}


def reply(code: int, body: Any = b"", **headers: str) -> Reply:
    """Make a reply; header names are written with underscores."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(code, {name.replace("_", "-"): value for name, value in headers.items()}, raw)


@pytest.mark.parametrize("code", [200, 201, 202])
def test_any_2xx_with_an_id_is_an_accepted_job(code: int) -> None:
    """The documents leave open whether a submit answers 200 or 202; both are a ticket."""
    ticket = parse_submit(
        reply(code, {"request_id": ID, "status_url": "https://a", "cancel_url": 7}), ENDPOINT
    )
    assert (ticket.request_id, ticket.status_url, ticket.response_url, ticket.cancel_url) == (
        ID,
        "https://a",
        "",
        "",
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'{"request_id":',
        b'{"request_id": null}',
        b'{"request_id": 5}',
        b'{"request_id": ""}',
        b'{"request_id": "short"}',
        b'{"request_id": "../../etc/passwd"}',
        b'{"request_id": "has space and more"}',
        b'{"request_id": "' + b"a" * 200 + b'"}',
        b'{"id": "764cabcf-b745-4b3e-ae38-1200304cf45b"}',
        b'{"request_id": "764cabcf-b745-4b3e-ae38-1200304cf45b", "x": NaN}',
        b'{"a":' * 200 + b"1" + b"}" * 200,
        b'{"a":' * 100_000,
        b'{"x":' + b"9" * 5000 + b"}",
        b"\xff\xfe\x00",
        NGINX,
    ],
)
def test_a_yes_without_a_usable_id_is_unknown(body: bytes) -> None:
    """A 2xx whose body cannot be used may well be a running job: it keeps its money and its lead."""
    with pytest.raises(OutcomeUnknown) as caught:
        parse_submit(reply(200, body, x_fal_request_id=LEAD), ENDPOINT)
    assert caught.value.lead_request_id == LEAD


@pytest.mark.parametrize("code", [301, 307, 408, 409, 425, 499, 500, 502, 503, 504, 599])
@pytest.mark.parametrize("body", [NGINX, {"detail": "no", "error_type": "internal_error"}, b""])
def test_what_does_not_say_that_nothing_was_enqueued_is_unknown(code: int, body: Any) -> None:
    """Redirects, conflicts, time-outs and every 5xx keep the money, whatever they say."""
    with pytest.raises(OutcomeUnknown) as caught:
        parse_submit(reply(code, body, x_fal_request_id=LEAD), ENDPOINT)
    assert caught.value.lead_request_id == LEAD
    assert str(code) in str(caught.value)


def test_a_lead_that_is_no_id_is_no_lead() -> None:
    """What is later put into an address must look like an id."""
    with pytest.raises(OutcomeUnknown) as caught:
        parse_submit(reply(504, NGINX, x_fal_request_id="../../../keys"), ENDPOINT)
    assert caught.value.lead_request_id is None


@pytest.mark.parametrize("code", [400, 404, 405, 413, 415, 422])
def test_a_no_in_fals_words_is_refused_and_in_others_words_unknown(code: int) -> None:
    """A 4xx counts as a no only where fal itself says it: a proxy's page proves nothing about the queue."""
    with pytest.raises(Refused, match="not like this") as caught:
        parse_submit(reply(code, {"detail": "not like this", "error_type": "bad_request"}), ENDPOINT)
    assert caught.value.error_type == "bad_request"
    with pytest.raises(OutcomeUnknown):
        parse_submit(reply(code, NGINX), ENDPOINT)


@pytest.mark.parametrize(
    ("code", "headers", "charged"),
    [
        (400, {}, "no"),
        (400, {"x_fal_billable_units": "0"}, "no"),
        (400, {"x_fal_billable_units": "0.2448"}, "unknown"),
        (404, {"x_fal_billable_units": "nan"}, "unknown"),
        (422, {}, "no"),
        (422, {"x_fal_billable_units": "0"}, "no"),
        (422, {"x_fal_billable_units": "0.000"}, "no"),
        (422, {"x_fal_billable_units": "0.2448"}, "unknown"),
        (422, {"x_fal_billable_units": "nan"}, "unknown"),
    ],
)
def test_a_refusal_may_be_charged(code: int, headers: dict[str, str], charged: str) -> None:
    """One that names no request bought nothing, unless it names units above zero or unreadable ones."""
    with pytest.raises(Refused) as caught:
        parse_submit(reply(code, MODEL_422, **headers), ENDPOINT)
    assert caught.value.charged == charged
    assert caught.value.error_type == "content_policy_violation"
    assert "body.prompt: The prompt was flagged" in str(caught.value)


@pytest.mark.parametrize("units", [{}, {"x_fal_billable_units": "0"}, {"x_fal_billable_units": "0.2"}])
@pytest.mark.parametrize("place", ["body", "header"])
def test_a_422_that_names_a_request_keeps_its_hold(place: str, units: dict[str, str]) -> None:
    """Whatever its units say: there is a request at fal, and its record decides about the money."""
    body = {**MODEL_422, "request_id": LEAD} if place == "body" else MODEL_422
    headers = {"x_fal_request_id": LEAD, **units} if place == "header" else units
    with pytest.raises(OutcomeUnknown) as caught:
        parse_submit(reply(422, body, **headers), ENDPOINT)
    assert caught.value.lead_request_id == LEAD


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({"gateway_request_id": LEAD}, {}),
        ({"request_id": "short"}, {}),
        ({"request_id": 17}, {}),
        ({"status_url": f"https://queue.fal.run/fal-ai/bytedance/requests/{LEAD}/status"}, {}),
        ({}, {"x_fal_request_id": "short"}),
    ],
)
def test_a_422_that_names_a_request_in_another_way_keeps_its_hold_too(
    body: dict[str, Any], headers: dict[str, str]
) -> None:
    """Also an id that cannot be asked about is a sign that there is a request."""
    with pytest.raises(OutcomeUnknown):
        parse_submit(reply(422, {**MODEL_422, **body}, **headers), ENDPOINT)


@pytest.mark.parametrize("name", ["status_url", "response_url", "cancel_url"])
def test_an_address_that_contradicts_the_body_is_unknown(name: str) -> None:
    """An address of another request is as good a claim as the body's own id: neither is taken."""
    base = "https://queue.fal.run/fal-ai/bytedance/requests"
    with pytest.raises(OutcomeUnknown) as caught:
        parse_submit(reply(200, {"request_id": ID, name: f"{base}/{LEAD}/status?logs=1"}), ENDPOINT)
    assert (ID in str(caught.value), LEAD in str(caught.value)) == (True, True)
    assert caught.value.lead_request_id is None
    assert parse_submit(reply(200, {"request_id": ID, name: f"{base}/{ID}/status"}), ENDPOINT)


@pytest.mark.parametrize("named", [LEAD, ID[:-1] + "0", "short", "../../keys"])
def test_a_header_that_contradicts_the_body_is_unknown(named: str) -> None:
    """Which of the two ids is this job's cannot be known, so neither is taken or followed."""
    with pytest.raises(OutcomeUnknown) as caught:
        parse_submit(reply(200, {"request_id": ID}, x_fal_request_id=named), ENDPOINT)
    assert ID in str(caught.value)
    assert caught.value.lead_request_id in (None, ID)
    if named == LEAD:
        assert caught.value.lead_request_id is None


@pytest.mark.parametrize(
    "headers",
    [{}, {"x_fal_request_id": ""}, {"x_fal_request_id": ID}, {"x_fal_request_id": f" {ID.upper()} "}],
)
def test_a_header_that_agrees_or_is_silent_is_accepted(headers: dict[str, str]) -> None:
    """The same id in other letters is the same id, and so is the gateway's own name for this request."""
    assert parse_submit(reply(200, {"request_id": ID}, **headers), ENDPOINT).request_id == ID
    both = {"request_id": ID, "gateway_request_id": LEAD}
    assert parse_submit(reply(200, both, x_fal_request_id=LEAD), ENDPOINT).request_id == ID


@pytest.mark.parametrize(
    ("told", "is_cut"),
    [("299", False), ("300", False), ("301", True), ("100000000000000000000", True), ("9" * 200, True)],
)
def test_advice_that_is_too_long_is_cut_and_said(told: str, is_cut: bool) -> None:
    """A wait of three thousand billion years is bounded; the message says what was asked and what is done."""
    with pytest.raises(Throttled) as caught:
        parse_submit(reply(429, {"detail": "slow down"}, retry_after=told), ENDPOINT)
    assert caught.value.retry_after_s == min(float(told), 300.0)
    assert ("the wait is cut to 300 s" in str(caught.value)) is is_cut
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("headers", "advice_s"),
    [
        ({}, None),
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "999999999999"}, 300.0),
        ({"retry_after": "-5"}, None),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "nan"}, None),
        ({"retry_after": "Sat, 21 Nov 2026 12:00:30 GMT", "date": "Sat, 21 Nov 2026 12:00:00 GMT"}, 30.0),
        ({"retry_after": "Sat, 21 Nov 2026 11:00:00 GMT", "date": "Sat, 21 Nov 2026 12:00:00 GMT"}, 0.0),
        ({"retry_after": "Sat, 21 Nov 2026 12:00:30 GMT"}, None),
    ],
)
def test_a_429_carries_the_servers_advice(headers: dict[str, str], advice_s: float | None) -> None:
    """Seconds or a date against the server's own clock; anything else is no advice."""
    with pytest.raises(Throttled) as caught:
        parse_submit(reply(429, {"detail": "slow down"}, **headers), ENDPOINT)
    assert caught.value.retry_after_s == advice_s
    assert retry_after_s(reply(503, **headers)) == advice_s


LOCKED = {
    "detail": "User is locked. Reason: Exhausted balance. Top up your balance at fal.ai/dashboard/billing"
}


@pytest.mark.parametrize(
    ("code", "body", "says"),
    [
        (401, {"detail": "No user found for Key ID and Secret"}, "FAL_KEY"),
        (402, {"detail": "Payment required"}, "Top up"),
        (403, LOCKED, "Top up"),
        (403, {"detail": "Forbidden"}, "FAL_KEY"),
        (403, NGINX, "FAL_KEY"),
    ],
)
def test_account_troubles_say_what_to_do_wherever_they_come_up(code: int, body: Any, says: str) -> None:
    """401, 402 and 403 stop a run, so the sentence names the remedy: at submits, reads and cancels alike."""
    readers: list[Any] = [
        lambda found: parse_submit(found, ENDPOINT),
        lambda found: parse_status(found, ID),
        parse_result,
        parse_cancel,
        parse_upload_token,
    ]
    for read in readers:
        with pytest.raises(AccountError, match=says):
            read(reply(code, body))


@pytest.mark.parametrize(
    ("code", "body", "status"),
    [
        (202, {"status": "IN_QUEUE", "queue_position": 3}, InQueue(3)),
        (200, {"status": "IN_QUEUE"}, InQueue(None)),
        (202, {"status": "IN_QUEUE", "queue_position": "3"}, InQueue(None)),
        (202, {"status": "IN_QUEUE", "queue_position": True}, InQueue(None)),
        (202, {"status": "IN_PROGRESS", "logs": None}, InProgress()),
        (200, {"status": "COMPLETED", "metrics": {"inference_time": 41.5}}, Completed(inference_time_s=41.5)),
        (200, {"status": "COMPLETED", "metrics": {"inference_time": 10**400}}, Completed()),
        (200, {"status": "COMPLETED", "metrics": {"inference_time": -1}}, Completed()),
        (200, {"status": "COMPLETED", "metrics": [], "error": None}, Completed()),
        (
            200,
            {"status": "COMPLETED", "error": "Request timed out", "error_type": "request_timeout"},
            Completed("Request timed out", "request_timeout"),
        ),
        (
            200,
            {"status": "COMPLETED", "error_type": "startup_timeout"},
            Completed("startup_timeout", "startup_timeout"),
        ),
        (
            200,
            {"status": "COMPLETED", "error": MODEL_422["detail"]},
            Completed("body.prompt: The prompt was flagged", "content_policy_violation"),
        ),
    ],
)
def test_a_status_is_read(code: int, body: Any, status: Any) -> None:
    """The three words of fal's queue, with what is missing or odd left out."""
    found = parse_status(reply(code, body), ID)
    assert found == status
    assert not isinstance(found, Completed) or found.failed == bool(status.error)


@pytest.mark.parametrize(
    ("code", "body"),
    [
        (200, {"status": "FAILED"}),
        (200, {"status": None}),
        (200, {}),
        (200, b"{"),
        (200, {"status": "COMPLETED", "request_id": LEAD}),
        (302, b""),
        (400, {"detail": "?"}),
        (422, {"detail": "?"}),
        (429, {"detail": "?"}),
        (500, NGINX),
        (504, {"detail": "?", "error_type": "request_timeout"}),
    ],
)
def test_a_status_that_cannot_be_read_changes_nothing(code: int, body: Any) -> None:
    """Whatever a failed status says about itself, it says nothing about the job."""
    with pytest.raises(Unavailable) as caught:
        parse_status(reply(code, body), ID)
    assert not caught.value.gone


@pytest.mark.parametrize("code", [404, 410])
def test_a_request_that_the_queue_no_longer_holds_is_gone(code: int) -> None:
    """404 is the one answer after which asking again is no use."""
    for read in (lambda found: parse_status(found, ID), parse_result):
        with pytest.raises(Unavailable) as caught:
            read(reply(code, {"status": "NOT_FOUND"}))
        assert caught.value.gone


def test_a_result_is_read_whole() -> None:
    """The address, what was billed, and everything else that fal sent."""
    found = parse_result(reply(200, VIDEO, x_fal_billable_units="0.2448"))
    assert (found.video_url, found.file_size, found.seed) == (VIDEO["video"]["url"], 1234, 42)  # type: ignore[index]
    assert (found.billable_units, found.raw) == ("0.2448", VIDEO)


ODD_UNITS = ["-1", "1e9", "NaN", "Infinity", "9" * 5000, "1,5", "\u0661", "0x1", "+1", "1 000"]


@pytest.mark.parametrize("units", ODD_UNITS)
def test_odd_billable_units_are_kept_and_never_settle_what_was_charged(units: str) -> None:
    """Only plain decimal text counts as a number; anything else is a bill that cannot be read."""
    found = parse_result(reply(200, VIDEO, x_fal_billable_units=units)).billable_units
    assert found is not None
    assert found[:3] == units[:3]
    assert len(found) <= 40
    with pytest.raises(RenderFailed) as caught:
        parse_result(
            reply(422, {"detail": [{"type": "content_policy_violation"}]}, x_fal_billable_units=units)
        )
    assert caught.value.charged == "unknown"


@pytest.mark.parametrize("units", [{}, {"x_fal_billable_units": ""}, {"x_fal_billable_units": "  "}])
def test_no_billable_units_are_none(units: dict[str, str]) -> None:
    """A header that is absent or empty says nothing about the bill."""
    assert parse_result(reply(200, VIDEO, **units)).billable_units is None


@pytest.mark.parametrize(
    ("code", "body", "units", "charged"),
    [
        (422, MODEL_422, None, "unknown"),
        (422, MODEL_422, "0", "no"),
        (422, MODEL_422, "0.2448", "yes"),
        (400, {"detail": "bad", "error_type": "downstream_service_error"}, None, "unknown"),
        (499, {"detail": "cancelled", "error_type": "client_cancelled"}, None, "unknown"),
        (500, {"detail": [{"loc": [], "msg": "x", "type": "internal_server_error"}]}, None, "no"),
        (504, {"detail": "x", "error_type": "request_timeout"}, None, "no"),
        (504, {"detail": [{"loc": [], "msg": "x", "type": "generation_timeout"}]}, "0.1", "yes"),
        (422, {"detail": [{"loc": ["body"], "msg": "x", "type": "literal_error"}]}, None, "unknown"),
        (422, {"detail": "x", "error_type": "no_media_generated"}, None, "unknown"),
    ],
)
def test_a_failed_render_says_what_it_cost(code: int, body: Any, units: str | None, charged: str) -> None:
    """Billable units decide; without them a 5xx is free and a 4xx is not known."""
    headers = {} if units is None else {"x_fal_billable_units": units}
    with pytest.raises(RenderFailed) as caught:
        parse_result(reply(code, body, **headers))
    assert (caught.value.charged, caught.value.billable_units) == (charged, units)
    assert caught.value.error_type


@pytest.mark.parametrize(
    ("code", "body"),
    [
        (504, NGINX),
        (502, b""),
        (500, {"detail": "Internal Server Error"}),
        (400, {"detail": "Request is still in progress"}),
        (400, NGINX),
        (202, {"status": "IN_PROGRESS"}),
        (200, {"status": []}),
        (200, b'{"video": {"url": "https://v3.fal.media/fi'),
        (200, b"[1]"),
        (200, {}),
        (200, {"video": None}),
        (200, {"video": {}}),
        (200, {"video": {"url": ""}}),
        (200, {"video": {"url": 5}}),
        (200, {"images": []}),
        (400, {"detail": "bad request", "error_type": "bad_request"}),
        (405, {"detail": "Method Not Allowed"}),
        (405, {"detail": [{"loc": [], "msg": "x", "type": "content_policy_violation"}]}),
        (418, {"detail": "teapot", "error_type": "teapot"}),
        (422, {"detail": "could not be processed"}),
        (422, b"could not be processed"),
        (422, {"detail": "x", "error_type": "something_new"}),
        (422, {"detail": []}),
        (422, {"detail": ["x"]}),
        (451, {"detail": "unavailable for legal reasons"}),
        (500, {"detail": "x", "error_type": "something_new"}),
        (404, NGINX),
        (404, b""),
        (410, b"gone"),
        (408, {"detail": "x", "error_type": "y"}),
        (409, {"detail": "x", "error_type": "y"}),
        (429, {"detail": "x"}),
        (301, b""),
    ],
)
def test_a_result_that_cannot_be_read_is_asked_for_again(code: int, body: Any) -> None:
    """Whatever is not fal's own word for a failed render is about this reading; the clip is paid for.

    Nine paid clips were lost elsewhere to a gateway's 504.
    """
    with pytest.raises(Unavailable) as caught:
        parse_result(reply(code, body))
    assert not caught.value.gone


@pytest.mark.parametrize(
    ("code", "body", "answer"),
    [
        (202, {"status": "CANCELLATION_REQUESTED"}, "requested"),
        (200, {"status": "OK"}, "removed"),
        (200, {"success": True}, "requested"),
        (202, b"", "requested"),
        (400, {"status": "ALREADY_COMPLETED"}, "already_completed"),
        (404, {"status": "NOT_FOUND"}, "not_found"),
        (404, b"", "not_found"),
    ],
)
def test_a_cancel_is_answered(code: int, body: Any, answer: str) -> None:
    """Only "removed" promises that nothing will run."""
    assert parse_cancel(reply(code, body)) == answer


@pytest.mark.parametrize("code", [302, 400, 405, 429, 500, 504])
def test_a_cancel_without_an_answer_may_be_tried_again(code: int) -> None:
    """A cancel that was not understood has cancelled nothing."""
    with pytest.raises(Unavailable):
        parse_cancel(reply(code, NGINX))


def test_the_followed_address_holds_owner_and_alias_alone() -> None:
    """Submits go to the whole endpoint, reads to owner and alias; two namespaces shift by one part."""
    queue = "https://queue.fal.run"
    assert submit_url(queue, ENDPOINT) == f"{queue}/{ENDPOINT}"
    assert ticket_for(queue, ENDPOINT, ID).status_url == f"{queue}/fal-ai/bytedance/requests/{ID}/status"
    assert (
        ticket_for(queue, "bytedance/seedance-2.0", ID).response_url
        == f"{queue}/bytedance/seedance-2.0/requests/{ID}"
    )
    assert (
        ticket_for(queue, "workflows/me/mine/x", ID).cancel_url
        == f"{queue}/workflows/me/mine/requests/{ID}/cancel"
    )


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "fal-ai",
        "fal-ai/",
        "/fal-ai/x",
        "fal-ai/../x",
        "fal-ai/x?y=1",
        "fal-ai/x y",
        "fal-ai//x",
        "fal-ai/é",
    ],
)
def test_what_cannot_be_an_endpoint_is_never_sent_to(endpoint: str) -> None:
    """An endpoint's id becomes part of an address, so it is checked like one."""
    with pytest.raises(UsageError):
        submit_url("https://queue.fal.run", endpoint)


@pytest.mark.parametrize("request_id", ["", "../x", "a/b/c/d/e/f", "x" * 200])
def test_what_cannot_be_an_id_is_never_asked_about(request_id: str) -> None:
    """Ids come back from ledgers and people; they are checked again before they become part of an address."""
    with pytest.raises(UsageError):
        ticket_for("https://queue.fal.run", ENDPOINT, request_id)


def test_the_paid_request_bounds_its_start_and_keeps_its_records() -> None:
    """Start timeout, no fallback, 30 days of life; and stored inputs are never switched off."""
    headers = {name.lower(): value for name, value in submit_headers(3600).items()}
    assert headers["x-fal-request-timeout"] == "3600"
    assert headers["x-app-fal-disable-fallback"] == "true"
    assert json.loads(headers["x-fal-object-lifecycle-preference"]) == {
        "expiration_duration_seconds": 2_592_000
    }
    assert "x-fal-store-io" not in headers
    assert "authorization" not in headers


@pytest.mark.parametrize(
    "arguments", [{"x": float("nan")}, {"x": float("inf")}, {"x": b"bytes"}, {"x": {1, 2}}]
)
def test_what_json_cannot_say_is_not_sent(arguments: dict[str, Any]) -> None:
    """Arguments that would not arrive as they are meant are named before anything leaves."""
    with pytest.raises(UsageError, match="JSON"):
        submit_body(arguments)


def test_upload_headers_hold_no_line_breaks_and_no_foreign_letters() -> None:
    """A file's name becomes a header, so it cannot smuggle another one in."""
    headers = upload_headers("image/png\r\nX-Evil: 1", "schö\nn.png")
    assert all(value.isascii() and value.isprintable() for value in headers.values())


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"token": "", "token_type": "Bearer"},
        {"token": "a\r\nb", "token_type": "Bearer"},
        {"token": 5, "token_type": "Bearer"},
        {"token": "x" * 9000, "token_type": "Bearer"},
        {"token": "abc"},
    ],
)
def test_an_unusable_upload_token_may_be_asked_for_again(body: Any) -> None:
    """A token that cannot stand in a header is no token."""
    with pytest.raises(Unavailable):
        parse_upload_token(reply(200, body))


@pytest.mark.parametrize(
    ("code", "body", "error"),
    [
        (413, {"detail": "too large"}, Refused),
        (422, MODEL_422, Refused),
        (404, {"detail": "no such storage"}, Refused),
        (429, {"detail": "slow down"}, Unavailable),
        (401, {"detail": "token expired"}, Unavailable),
        (500, NGINX, Unavailable),
        (200, {}, Unavailable),
    ],
)
def test_an_upload_that_fails_is_either_refused_or_tried_again(
    code: int, body: Any, error: type[QueueError]
) -> None:
    """An expired token is no trouble of the account: a fresh one is asked for."""
    with pytest.raises(error):
        parse_upload(reply(code, body))


@pytest.mark.parametrize(
    ("code", "error"), [(404, Refused), (409, Refused), (408, Unavailable), (503, Unavailable)]
)
def test_a_token_that_is_not_given_is_either_refused_or_asked_for_again(
    code: int, error: type[QueueError]
) -> None:
    """What does not pass by itself fails the job with its reason; it does not wait for ever."""
    with pytest.raises(error):
        parse_upload_token(reply(code, {"detail": "no"}))


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("\x1b[31mred\x1b[0m text", "red text"),
        ("\x1b]52;c;aGk=\x07copied", "copied"),
        ("\x1b]0;title\x1b\\shown", "shown"),
        ("\x9b2Jcleared", "cleared"),
        ("\x1bMup \x1b(Bplain", "up plain"),
        ("a list [31m of [0m things", "a list [31m of [0m things"),
    ],
)
def test_escape_sequences_leave_nothing_behind(told: str, shown: str) -> None:
    """Without its first character the rest of a sequence would stand in the message."""
    assert clean(told) == shown
    with pytest.raises(Refused) as caught:
        parse_submit(reply(400, {"detail": told}), ENDPOINT)
    assert str(caught.value) == f"the queue answered 400: {shown}"


@given(text=st.text(max_size=3000))
def test_shown_text_is_short_and_cannot_steer_a_terminal(text: str) -> None:
    """No control, direction or unpaired letter of a stranger gets through, and never more than 500 of any."""
    shown = clean(text)
    assert len(shown) <= 500
    assert shown.isprintable()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["status", "error", "detail", "video", "url", "type", "msg", "loc", "request_id", "metrics"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def outcome_of(read: Any, found: Reply) -> str:
    """Return the type of the value or the sentence of the error; other exceptions pass."""
    try:
        return type(read(found)).__name__
    except CallsheetError as error:
        return str(error)


@given(code=st.integers(100, 599), body=JSON | st.binary(max_size=50), units=st.text(max_size=5))
def test_no_reply_whatever_ends_in_anything_but_a_value_or_a_name(code: int, body: Any, units: str) -> None:
    """Whatever comes back, readers return a value or raise one of our own errors, with a short message."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    found = Reply(code, {"x-fal-billable-units": units, "retry-after": units, "x-fal-error-type": units}, raw)
    readers: list[Any] = [
        lambda one: parse_submit(one, ENDPOINT),
        lambda one: parse_status(one, ID),
        parse_result,
        parse_cancel,
        parse_upload_token,
        parse_upload,
    ]
    for read in readers:
        assert len(outcome_of(read, found)) < 900
