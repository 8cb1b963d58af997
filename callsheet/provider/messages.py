"""fal's queue in words of ours: what is sent, and what each reply means.

Pure: bytes and headers in, a value or one of our errors out. Facts are fal's documentation of its queue
(fal.ai/docs, "Queue" and "Errors") as of 2026-11; `outcomes` decides what became of a paid POST.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from callsheet.errors import (
    AccountError,
    NotSent,
    OutcomeUnknown,
    QueueError,
    Refused,
    RenderFailed,
    Throttled,
    Unavailable,
    UsageError,
)
from callsheet.provider.outcomes import Outcome, is_failed_render, outcome_of_code
from callsheet.provider.replies import (
    Reply,
    advice_cut,
    billable_units,
    charged_by_units,
    clean,
    described,
    error_of,
    excerpt,
    request_id_in,
    retry_after_s,
)
from callsheet.ticket import ADDRESSES, Ticket

MEDIA_LIFETIME_S = 30 * 86_400
"""How long fal is asked to keep a finished file, in seconds: its default is an account setting."""

CancelAnswer = Literal["requested", "already_completed", "not_found", "removed"]

_ENDPOINT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)+", re.ASCII)
_REQUEST_OF = re.compile(r"/requests/([^/?#]+)")
_NAMESPACES = frozenset({"workflows", "comfy"})


@dataclass(frozen=True, slots=True)
class InQueue:
    """It waits. `position` is how many requests are ahead of it, or None where fal does not say."""

    position: int | None = None


@dataclass(frozen=True, slots=True)
class InProgress:
    """It renders."""


@dataclass(frozen=True, slots=True)
class Completed:
    """It ended, well or badly: this is fal's only last state.

    `error` and `error_type` are None where it went well. `inference_time_s` is fal's own measure, or None.
    """

    error: str | None = None
    error_type: str | None = None
    inference_time_s: float | None = None

    @property
    def failed(self) -> bool:
        """Whether fal says that the render failed; the result then says whether it is charged."""
        return self.error is not None or self.error_type is not None


Status = InQueue | InProgress | Completed


@dataclass(frozen=True, slots=True)
class Rendered:
    """A finished render: where the file is, and what it was billed as.

    `file_size` is in bytes. `billable_units` is the reply's header as decimal text, or None. `raw` is the
    whole result, to be kept: fal deletes its own copy after an hour.
    """

    video_url: str
    file_size: int | None
    seed: int | None
    billable_units: str | None
    raw: dict[str, Any]


def submit_headers(start_timeout_s: int) -> dict[str, str]:
    """Return the headers of a submit, without the key.

    `X-Fal-Request-Timeout` bounds the wait for a start, and with it how long a lost submission may still
    turn up. The fallback is off because another endpoint has another price. Storing of inputs and outputs
    is left on: it is what a lost submission is found by.
    """
    return {
        "Content-Type": "application/json",
        "Connection": "close",
        "X-Fal-Request-Timeout": str(start_timeout_s),
        "x-app-fal-disable-fallback": "true",
        "X-Fal-Object-Lifecycle-Preference": lifecycle(),
    }


def lifecycle() -> str:
    """Return fal's JSON for "keep this file for 30 days"."""
    return json.dumps({"expiration_duration_seconds": MEDIA_LIFETIME_S})


def submit_body(arguments: Mapping[str, Any]) -> bytes:
    """Return the body of a submit. Raises UsageError for values that JSON does not have."""
    try:
        return json.dumps(dict(arguments), allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError) as error:
        raise UsageError(f"the arguments cannot be written as JSON: {clean(str(error))}") from error


def submit_url(queue_url: str, endpoint_id: str) -> str:
    """Return where `endpoint_id` is submitted. Raises UsageError for what cannot be an endpoint's id."""
    return f"{queue_url}/{_checked(endpoint_id)}"


def ticket_for(queue_url: str, endpoint_id: str, request_id: str) -> Ticket:
    """Return the ticket of a request whose id is known, with addresses built as fal's own clients do.

    They hold the owner and the app only: `fal-ai/bytedance/requests/{id}` for every Seedance endpoint.
    Raises UsageError for what cannot be an id.
    """
    if request_id_in(request_id) is None:
        raise UsageError(f"{clean(str(request_id), 80)!r} is not the id of a request")
    parts = _checked(endpoint_id).split("/")
    app = "/".join(parts[: 3 if parts[0] in _NAMESPACES else 2])
    base = f"{queue_url}/{app}/requests/{request_id}"
    return Ticket(request_id, endpoint_id, f"{base}/status", base, f"{base}/cancel")


def _checked(endpoint_id: str) -> str:
    if not _ENDPOINT.fullmatch(endpoint_id):
        raise UsageError(f"{clean(endpoint_id, 80)!r} is not an endpoint's id such as fal-ai/app/model")
    return endpoint_id


def parse_submit(reply: Reply, endpoint_id: str) -> Ticket:
    """Return the ticket of an accepted submit, with the addresses as the reply names them ("" if absent).

    Raises AccountError, Throttled or Refused where nothing was enqueued, and OutcomeUnknown where it may
    have been.
    """
    outcome = outcome_of_code(reply.status_code)
    if outcome is Outcome.ACCEPTED:
        return _accepted(reply, endpoint_id)
    if outcome is Outcome.ACCOUNT:
        raise account_error(reply)
    error = error_of(reply)
    error_type = error.error_type if error else ""
    if outcome is Outcome.THROTTLED:
        raise Throttled(said("the queue", reply), retry_after_s=retry_after_s(reply), error_type=error_type)
    if outcome is Outcome.REFUSED and error and not (reply.status_code == 422 and _names_request(reply)):
        # fal's own texts differ on whether a 422 is charged. A refusal that names no request bought nothing,
        # unless it names units.
        units = billable_units(reply)
        is_free = units is None or charged_by_units(units) == "no"
        raise Refused(said("the queue", reply), error_type=error_type, charged="no" if is_free else "unknown")
    raise _unknown(reply, said("the queue", reply), error_type)


def _accepted(reply: Reply, endpoint_id: str) -> Ticket:
    document = reply.document
    request_id = request_id_in(document.get("request_id")) if document else None
    if document is None or request_id is None or "content-encoding" in reply.headers:
        raise _unknown(reply, f"accepted ({reply.status_code}), but the reply holds no usable request id")
    header = reply.headers.get("x-fal-request-id", "").strip()
    own = {request_id.lower(), str(document.get("gateway_request_id")).lower()}
    if header and header.lower() not in own:
        raise _unknown(
            reply,
            f"accepted ({reply.status_code}), but the body names request {request_id} and the header "
            f"{clean(header, 80)}",
        )
    urls = _addresses(document)
    if others := {each.lower() for each in _addressed(urls)} - own:
        raise _unknown(
            reply,
            f"accepted ({reply.status_code}), but the body names request {request_id} and its addresses "
            f"{clean(min(others), 80)}",
        )
    return Ticket(request_id, endpoint_id, *urls)


def _addresses(document: Mapping[str, Any]) -> list[str]:
    """Return the three addresses of an accepted submit, "" for what is none."""
    named = [document.get(name) for name in ADDRESSES]
    return [url if isinstance(url, str) else "" for url in named]


def _addressed(urls: Iterable[str]) -> list[str]:
    """Return the request ids that addresses are about."""
    return [found[1] for url in urls if (found := _REQUEST_OF.search(url))]


def _named_ids(reply: Reply) -> set[str]:
    """Return the request ids that a reply to a submit names, in its body, its addresses and its header."""
    document = reply.document or {}
    named = (
        document.get("request_id"),
        reply.headers.get("x-fal-request-id"),
        *_addressed(_addresses(document)),
    )
    return {found for each in named if (found := request_id_in(each)) is not None}


def _names_request(reply: Reply) -> bool:
    """Say whether a refusal names a request in any way, also one that cannot be asked about."""
    document = reply.document or {}
    named = (document.get("request_id"), document.get("gateway_request_id"))
    return any(named) or bool(reply.headers.get("x-fal-request-id", "").strip()) or bool(_named_ids(reply))


def _unknown(reply: Reply, message: str, error_type: str = "") -> OutcomeUnknown:
    named = _named_ids(reply)
    return OutcomeUnknown(
        f"{message}; it may have been enqueued and is not sent again",
        lead_request_id=named.pop() if len(named) == 1 else None,  # two ids contradict each other
        error_type=error_type,
    )


def failure_of_post(outcome: Outcome, what: str, lead: str | None = None) -> QueueError:
    """Return the error for a POST that ended without a whole reply.

    `what` says how it ended, `lead` is the request id that its headers may have brought.
    """
    if outcome is Outcome.NOT_SENT:
        return NotSent(f"the request never left this machine ({what}); it may be sent again")
    return OutcomeUnknown(
        f"no whole reply came ({what}); it may have been enqueued and is not sent again",
        lead_request_id=request_id_in(lead),
    )


def parse_status(reply: Reply, request_id: str) -> Status:
    """Return where a request stands.

    Raises Unavailable for anything that is not a plain answer, a word fal has never used included: a read
    that fails changes nothing. Raises AccountError for 401, 402 and 403.
    """
    document = read_object(reply, "the status")
    if document.get("request_id", request_id) != request_id:
        raise Unavailable("the status that came is another request's")
    word = document.get("status")
    if word == "IN_QUEUE":
        return InQueue(_whole(document.get("queue_position")))
    if word == "IN_PROGRESS":
        return InProgress()
    if word == "COMPLETED":
        return _completed(document)
    raise Unavailable(f"the status is {clean(repr(word), 80)}; known are IN_QUEUE, IN_PROGRESS and COMPLETED")


def _completed(document: dict[str, Any]) -> Completed:
    text, item_type = described(document.get("error"))
    error_type = clean(str(document.get("error_type") or item_type or ""), 80)
    metrics = document.get("metrics")
    time_s = metrics.get("inference_time") if isinstance(metrics, dict) else None
    return Completed(
        error=text or (error_type or None),
        error_type=error_type or None,
        inference_time_s=_seconds(time_s),
    )


def parse_result(reply: Reply) -> Rendered:
    """Return the finished render.

    Raises RenderFailed where fal says so with one of its error types (see `outcomes.is_failed_render`);
    Unavailable for every other answer without a video, because the clip behind it is paid for and may come
    with the next one (`gone` where fal says 404 in JSON); AccountError for 401, 402 and 403.
    """
    error = error_of(reply)
    if error and is_failed_render(reply.status_code, error.error_type, is_validation=error.is_validation):
        raise _failed(reply, error.text, error.error_type)
    document = read_object(reply, "the result")
    if "video" not in document and "status" in document:
        raise Unavailable("the result is not there yet: a status came in its place")
    video = document.get("video")
    url = video.get("url") if isinstance(video, dict) else None
    if not isinstance(video, dict) or not isinstance(url, str) or not url:
        raise Unavailable("the result names no video", error_type="result_without_video")
    return Rendered(
        video_url=url,
        file_size=_whole(video.get("file_size")),
        seed=_whole(document.get("seed")),
        billable_units=billable_units(reply),
        raw=document,
    )


def _failed(reply: Reply, text: str, error_type: str) -> RenderFailed:
    units = billable_units(reply)
    charged = charged_by_units(units)
    if charged == "unknown" and reply.status_code >= 500:
        charged = "no"  # "You are never charged for server errors" (fal.ai/docs, pricing)
    return RenderFailed(
        f"fal reports a failed render ({reply.status_code}): {text}",
        error_type=error_type,
        charged=charged,
        billable_units=units,
    )


def parse_cancel(reply: Reply) -> CancelAnswer:
    """Return what became of a cancel; "requested" still may end as a finished, charged render.

    Raises Unavailable where the answer is none of fal's, AccountError for 401, 402 and 403.
    """
    document = reply.document or {}
    word = document.get("status")
    if word == "ALREADY_COMPLETED":
        return "already_completed"
    if word == "NOT_FOUND" or reply.status_code == 404:
        return "not_found"
    if reply.is_success:
        return "removed" if word == "OK" else "requested"
    read_object(reply, "the cancel's answer")
    raise Unavailable(said("the cancel", reply))


def account_error(reply: Reply) -> AccountError:
    """Return the error for a refused key or a locked account, with what to do about it."""
    text = excerpt(reply)
    if reply.status_code == 401:
        return AccountError(f"fal refused the key (401): {text}. Check FAL_KEY")
    if "locked" in text.lower() or reply.status_code == 402:
        return AccountError(
            f"fal has locked the account ({reply.status_code}): {text}."
            " Top up at https://fal.ai/dashboard/billing, then resume the run"
        )
    return AccountError(
        f"fal refused this key ({reply.status_code}): {text}. Check that FAL_KEY may use this endpoint"
    )


def read_object(reply: Reply, what: str) -> dict[str, Any]:
    """Return the JSON object of a free read's 2xx reply; raise what any other reply means."""
    if reply.status_code in {401, 402, 403}:
        raise account_error(reply)
    document = reply.document
    if reply.is_success and document is not None and "content-encoding" not in reply.headers:
        return document
    error = error_of(reply)
    raise Unavailable(
        said(what, reply),
        retry_after_s=retry_after_s(reply),
        gone=reply.status_code in {404, 410} and document is not None,  # a proxy's 404 is a page
        error_type=error.error_type if error else "",
    )


def said(who: str, reply: Reply) -> str:
    """Return one line: who answered, with which status code, and in which words."""
    return f"{who} answered {reply.status_code}: {excerpt(reply)}{advice_cut(reply)}"


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63 else None


def _seconds(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value < 1e9 else None
