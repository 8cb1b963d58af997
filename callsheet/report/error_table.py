"""Every way in which a job can fail: is it worth trying again, is it charged, and who says so.

The one place for this. `callsheet retry`, the `error` column of the results, the report page and
docs/errors.md all read it. `charged` is the rule where fal's reply does not say; what the reply or the bill
says stands in the row itself and wins.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from callsheet.errors import Charged

REQUEST_ERRORS = "fal.ai/docs, request errors"
MODEL_ERRORS = "fal.ai/docs, model errors"
SERVER_FREE = "fal.ai/docs, pricing: never charged for server errors"
MAYBE_CHARGED = "fal.ai/docs, FAQ: a 422 may still be charged"
OURS = "Callsheet"

BOUGHT_OFTEN_ENOUGH: Final = 3
"""Purchases of one job after which `retry` leaves it alone: what failed three times fails a fourth time."""


@dataclass(frozen=True, slots=True)
class ErrorClass:
    """One kind of failure. `status` is the HTTP status fal uses for it, 0 for failures of our own finding.

    `retry` says whether the same job may well succeed when it is bought again, `advice` what to do.
    """

    error_type: str
    status: int
    retry: bool
    charged: Charged
    advice: str
    source: str


def _fal(status: int, retry: bool, advice: str, source: str, *types: str) -> list[ErrorClass]:  # noqa: FBT001
    """Classes of fal's own. 5xx is not charged; a 422 may be; any other 4xx never reached a runner."""
    charged: Charged = "unknown" if status in {422, 499} else "no"
    why = f"{source}; {SERVER_FREE if charged == 'no' else MAYBE_CHARGED}"
    return [ErrorClass(name, status, retry, charged, advice, why) for name in types]


def _ours(retry: bool, charged: Charged, advice: str, *types: str) -> list[ErrorClass]:  # noqa: FBT001
    return [ErrorClass(name, 0, retry, charged, advice, OURS) for name in types]


_LATER = "retry later"
_PROMPT = "change the prompt or the image"
_PICTURE = "use another image"
_ROW = "correct the row"
_PAID = "paid for; retrying buys it again. Check the file and fal's result first"

_AGAIN, _NOT_AGAIN = True, False
ERROR_CLASSES: Final[tuple[ErrorClass, ...]] = (
    *_fal(504, _AGAIN, _LATER, REQUEST_ERRORS, "request_timeout", "startup_timeout"),
    *_fal(
        503,
        _AGAIN,
        _LATER,
        REQUEST_ERRORS,
        "runner_scheduling_failure",
        "runner_connection_timeout",
        "runner_disconnected",
        "runner_connection_refused",
        "runner_connection_error",
    ),
    *_fal(502, _AGAIN, _LATER, REQUEST_ERRORS, "runner_incomplete_response"),
    *_fal(500, _AGAIN, _LATER, REQUEST_ERRORS, "runner_server_error", "internal_error"),
    *_fal(
        499,
        _NOT_AGAIN,
        "cancelled; --all buys it again",
        REQUEST_ERRORS,
        "client_disconnected",
        "client_cancelled",
    ),
    *_fal(400, _NOT_AGAIN, _ROW, REQUEST_ERRORS, "bad_request"),
    *_fal(500, _AGAIN, _LATER, MODEL_ERRORS, "internal_server_error", "downstream_service_unavailable"),
    *_fal(504, _AGAIN, _LATER, MODEL_ERRORS, "generation_timeout"),
    *_fal(500, _AGAIN, _LATER, MODEL_ERRORS, "downstream_service_error"),
    *_fal(422, _NOT_AGAIN, _PROMPT, MODEL_ERRORS, "content_policy_violation", "no_media_generated"),
    *_fal(
        422,
        _NOT_AGAIN,
        _PICTURE,
        MODEL_ERRORS,
        "image_too_small",
        "image_too_large",
        "image_load_error",
        "file_download_error",
        "face_detection_error",
        "file_too_large",
        "unsupported_image_format",
    ),
    *_fal(
        422,
        _NOT_AGAIN,
        _ROW,
        MODEL_ERRORS,
        "greater_than",
        "greater_than_equal",
        "less_than",
        "less_than_equal",
        "multiple_of",
        "sequence_too_short",
        "sequence_too_long",
        "one_of",
        "feature_not_supported",
        "invalid_archive",
        "archive_file_count_below_minimum",
        "archive_file_count_exceeds_maximum",
        "audio_duration_too_long",
        "audio_duration_too_short",
        "video_duration_too_long",
        "video_duration_too_short",
        "unsupported_audio_format",
        "unsupported_video_format",
        "missing",
        "value_error",
        "literal_error",
    ),
    *_ours(_AGAIN, "no", "fix the image, then retry; nothing was bought", "inputs"),
    *_ours(_NOT_AGAIN, "no", "the row cannot be sent as it is: fix it", "unsendable"),
    *_ours(
        _NOT_AGAIN,
        "unknown",
        "fal's queue and history no longer have it: ask fal, with the request id. `retry` and `reconcile` "
        "check again and download what they find",
        "result_lost",
        "lost_at_provider",
    ),
    *_ours(
        _NOT_AGAIN,
        "yes",
        "paid for: `retry` and `reconcile` ask fal again and download what is there",
        "file_gone",
        "file_unreached",
    ),
    *_ours(_AGAIN, "no", "skipped: over budget. Raise the cap, then retry", "budget"),
    *_ours(_AGAIN, "no", "cancelled by a person", "cancelled"),
    *_ours(_NOT_AGAIN, "unknown", "written off by a person as spent; --all buys it again", "written_off"),
    *_ours(
        _NOT_AGAIN,
        "unknown",
        "fal reports a finished render without a video: ask fal, with the request id",
        "result_without_video",
    ),
    *_ours(
        _NOT_AGAIN,
        "yes",
        _PAID,
        "encoded",
        "not_video",
        "too_large",
        "too_slow",
        "empty",
        "wrong_length",
        "not_mp4",
        "truncated",
        "bad_box",
        "no_index",
        "no_media",
        "undecodable",
        "no_video",
        "oversized",
        "wrong_size",
        "wrong_frame_rate",
        "wrong_frame_count",
        "wrong_duration",
        "missing_audio",
        "short_audio",
        "not_stored",
        "result_failed",
        "untrusted_host",
    ),
)

_BY_TYPE: Final[Mapping[str, ErrorClass]] = MappingProxyType({row.error_type: row for row in ERROR_CLASSES})


def error_class(error_type: str, charged: str) -> ErrorClass:
    """Return the class of a failure.

    A word that is not in the table is worth trying again only where fal charged nothing: such a try costs
    nothing when it fails in the same way.
    """
    known = _BY_TYPE.get(error_type)
    if known is not None:
        return known
    free = charged == "no"
    advice = "a try that fails like this is free" if free else "unknown to us: look at it first"
    return ErrorClass(error_type, 0, free, "no" if free else "unknown", advice, OURS)


def worth_trying(error_type: str, charged: str, purchases: int) -> bool:
    """Say whether a failed job is worth another purchase.

    `purchases` counts what fal has accepted for it so far; tries that never arrived do not count.
    """
    return purchases < BOUGHT_OFTEN_ENOUGH and error_class(error_type, charged).retry


def advice_text(error_type: str, charged: str, purchases: int) -> str:
    """Say in one sentence whether to try again, what it cost, and whose rule that is."""
    found = error_class(error_type, charged)
    again = "yes" if worth_trying(error_type, charged, purchases) else "no"
    often = f"bought {purchases} times already; " if found.retry and again == "no" else ""
    paid = {"no": "not charged", "yes": "charged", "unknown": "may be charged"}.get(charged, "may be charged")
    return f"Try again: {again} ({often}{found.advice}). {paid.capitalize()} ({found.source})."


_HEAD = f"""\
# Why a job failed, and what to do

Generated from `callsheet/report/error_table.py`; a test checks that it is up to date. `error_type` and
`charged` are columns of the results; the `error` column ends with the advice of this table.

- `callsheet retry RUN` retries the errors with "yes" here, and skipped and cancelled jobs; `--all` retries
  every failure. Each try is a new purchase under the caps.
- A job that fal has accepted {BOUGHT_OFTEN_ENOUGH} times and never delivered is retried with `--all` only.
  Tries that never arrived at fal do not count.
- *charged* applies if fal's reply says nothing. Billable units in the reply, or a billing event, win.
- An `error_type` that is not listed is retried only if fal charged nothing.
- `unknown` jobs have not failed: their outcome is not known yet. `callsheet reconcile` settles them;
  `retry` leaves them alone.

| error_type | HTTP | retry | charged | what to do | source |
| --- | --- | --- | --- | --- | --- |
"""


def errors_page() -> str:
    """Return docs/errors.md."""
    return _HEAD + "".join(map(_line, ERROR_CLASSES))


def _line(row: ErrorClass) -> str:
    again = "yes" if row.retry else "no"
    cells = (f"`{row.error_type}`", str(row.status or ""), again, row.charged, row.advice, row.source)
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    sys.stdout.write(errors_page())
