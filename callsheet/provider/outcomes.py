"""What became of a paid POST, as one table: refused, accepted, or unknown.

Two questions are answered here and nowhere else. What does this status code of a submit mean? And what
does a failure without any reply mean? Everything that is not listed is UNKNOWN: an unforeseen outcome
is counted as money that may be gone, never as money that is still there.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType


class Outcome(Enum):
    """What one POST did at the other end."""

    ACCEPTED = "accepted"
    """2xx: enqueued, if the body says under which id."""
    REFUSED = "refused"
    """A 4xx in fal's own words: nothing was enqueued."""
    ACCOUNT = "account"
    """The key or the account was refused: nothing was enqueued, and nothing will be."""
    THROTTLED = "throttled"
    """429: nothing was enqueued, later it may be."""
    NOT_SENT = "not sent"
    """The request never left this machine."""
    UNKNOWN = "unknown"
    """It may have been enqueued; it is never sent again."""


_SINGLE_CODES: Mapping[int, Outcome] = MappingProxyType(
    {
        401: Outcome.ACCOUNT,
        402: Outcome.ACCOUNT,
        403: Outcome.ACCOUNT,
        # A server on the way gave up waiting, or saw the same request twice: it may be through.
        408: Outcome.UNKNOWN,
        409: Outcome.UNKNOWN,
        425: Outcome.UNKNOWN,
        499: Outcome.UNKNOWN,
        429: Outcome.THROTTLED,
    }
)

_CODE_CLASSES: Mapping[int, Outcome] = MappingProxyType(
    {
        2: Outcome.ACCEPTED,
        3: Outcome.UNKNOWN,  # who redirects a POST may have read it first; redirects are not followed
        4: Outcome.REFUSED,
        5: Outcome.UNKNOWN,  # a gateway answers 502-504 for a request that its backend already took
    }
)

FAILURES: Mapping[str, Outcome] = MappingProxyType(
    {
        # Before the request is written: name lookup, TCP, TLS, the proxy's CONNECT, a place in the pool.
        "ConnectError": Outcome.NOT_SENT,
        "ConnectTimeout": Outcome.NOT_SENT,
        "PoolTimeout": Outcome.NOT_SENT,
        "ProxyError": Outcome.NOT_SENT,
        "UnsupportedProtocol": Outcome.NOT_SENT,
        "InvalidURL": Outcome.NOT_SENT,
        "LocalProtocolError": Outcome.NOT_SENT,
        # While it is written or after: the other end may have it all.
        "WriteError": Outcome.UNKNOWN,
        "WriteTimeout": Outcome.UNKNOWN,
        "ReadError": Outcome.UNKNOWN,
        "ReadTimeout": Outcome.UNKNOWN,
        "CloseError": Outcome.UNKNOWN,
        "RemoteProtocolError": Outcome.UNKNOWN,
        "DecodingError": Outcome.UNKNOWN,
        "TooManyRedirects": Outcome.UNKNOWN,
        "HTTPStatusError": Outcome.UNKNOWN,
        "TimeoutError": Outcome.UNKNOWN,
        "CancelledError": Outcome.UNKNOWN,
        # Branches of httpx's tree, should one ever be raised bare.
        "HTTPError": Outcome.UNKNOWN,
        "RequestError": Outcome.UNKNOWN,
        "TransportError": Outcome.UNKNOWN,
        "TimeoutException": Outcome.UNKNOWN,
        "NetworkError": Outcome.UNKNOWN,
        "ProtocolError": Outcome.UNKNOWN,
        # Misuse of the library: a mistake of ours, and no excuse to pay twice.
        "StreamError": Outcome.UNKNOWN,
        "StreamConsumed": Outcome.UNKNOWN,
        "StreamClosed": Outcome.UNKNOWN,
        "ResponseNotRead": Outcome.UNKNOWN,
        "RequestNotRead": Outcome.UNKNOWN,
        "CookieConflict": Outcome.UNKNOWN,
    }
)
"""Outcome of a POST that ended without a whole reply, by the name of the exception's class."""


_MODEL_ERRORS = """
    internal_server_error generation_timeout downstream_service_error downstream_service_unavailable
    content_policy_violation no_media_generated image_too_small image_too_large image_load_error
    file_download_error face_detection_error file_too_large greater_than greater_than_equal less_than
    less_than_equal multiple_of sequence_too_short sequence_too_long one_of feature_not_supported
    invalid_archive archive_file_count_below_minimum archive_file_count_exceeds_maximum
    audio_duration_too_long audio_duration_too_short video_duration_too_long video_duration_too_short
    unsupported_audio_format unsupported_image_format unsupported_video_format
"""
MODEL_ERRORS = frozenset(_MODEL_ERRORS.split())
"""What a model says about its own failure (fal.ai/docs, model errors, 2026-11)."""

_QUEUE_ERRORS = """
    request_timeout startup_timeout runner_scheduling_failure runner_connection_timeout
    runner_disconnected runner_connection_refused runner_connection_error runner_incomplete_response
    runner_server_error client_disconnected client_cancelled internal_error
"""
QUEUE_ERRORS = frozenset(_QUEUE_ERRORS.split())
"""What the queue says about a request that it could not carry out (fal.ai/docs, request errors, 2026-11).

Its `bad_request` is not here: it may as well be about the reading of the result.
"""

_FAILED_CODES = frozenset({400, 422, 499, 500, 502, 503, 504})
"""Status codes that fal's documents name for errors of a render."""


def is_failed_render(status_code: int, error_type: str, *, is_validation: bool) -> bool:
    """Say whether an answer for a result means that the render itself failed.

    That takes one of fal's documented error types, or a model's list of validation errors with 422. Every
    other answer, a plain text with a 4xx included, is about this reading: the clip may be there all the same.
    """
    if status_code not in _FAILED_CODES:
        return False
    known = error_type in MODEL_ERRORS or error_type in QUEUE_ERRORS
    return known or (status_code == 422 and is_validation and bool(error_type))


def outcome_of_code(status_code: int) -> Outcome:
    """Return what a submit's status code says by itself. The body may still turn it into UNKNOWN."""
    by_class = _CODE_CLASSES.get(status_code // 100, Outcome.UNKNOWN)
    return _SINGLE_CODES.get(status_code, by_class)


def outcome_of_failure(name: str, *, sent: bool | None) -> Outcome:
    """Return what became of a POST that ended in an exception of the class called `name`.

    `sent` is what the wire itself says: True once writing the request began, False while it provably had
    not, None where it was not watched. The wire outranks the name, and without it the table decides.
    """
    if sent is None:
        return FAILURES.get(name, Outcome.UNKNOWN)
    return Outcome.UNKNOWN if sent else Outcome.NOT_SENT
