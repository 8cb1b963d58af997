"""One HTTP reply as plain values, and what is read from any of fal's replies alike.

Pure: no network and no clock. Nothing here trusts the other end. Texts are cut and stripped before a
person's terminal sees them, numbers are bounded, and a body that is not JSON is simply not JSON.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn

from callsheet.errors import Charged

MAX_TEXT = 500
"""Characters of the other end's text that go into a message."""

MAX_RETRY_AFTER_S = 300.0
"""The longest advice to wait that is followed, in seconds. A job that is held back holds a slot meanwhile."""

MAX_DEPTH = 40
"""Levels of nesting of a body that is read: everything that walks it later stays far from its own limits."""

_UNITS = re.compile(r"[0-9]{1,18}(\.[0-9]{1,18})?", re.ASCII)
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # colours, the cursor
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # titles, the clipboard
    r"|\x1b[ -/]*[0-~]"
)
"""Terminal escape sequences, whole: without its first character the rest of one would stay readable."""

_REQUEST_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{7,127}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole HTTP reply. `headers` has lower-case names."""

    status_code: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> dict[str, Any] | None:
        """The body as a JSON object, or None where it is anything else."""
        try:
            value = json.loads(self.body, parse_constant=_not_json)
        except (ValueError, RecursionError):
            return None
        return value if isinstance(value, dict) and _is_shallow(value, MAX_DEPTH) else None

    @property
    def is_success(self) -> bool:
        """Whether the status code is 2xx."""
        return 200 <= self.status_code < 300


@dataclass(frozen=True, slots=True)
class StatedError:
    """An error in fal's own words.

    `error_type` is fal's stable word for it, or empty. `is_validation` says that it is a list of errors,
    each with a place, a message and a type: the shape in which a model refuses its input.
    """

    text: str
    error_type: str
    is_validation: bool = False


def _not_json(constant: str) -> NoReturn:
    message = f"{constant} is not JSON"
    raise ValueError(message)


def _is_shallow(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return True
    items = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_is_shallow(item, levels - 1) for item in items)


def clean(text: str, limit: int = MAX_TEXT) -> str:
    """Return `text` on one line, without escape sequences, control or direction characters.

    It has at most `limit` characters.
    """
    head = _ESCAPES.sub("", text[: 4 * limit])
    plain = "".join(" " if unicodedata.category(letter)[0] in "CZ" else letter for letter in head)
    line = " ".join(plain.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def error_of(reply: Reply) -> StatedError | None:
    """Return the error that the body states in one of fal's shapes, or None if it states none.

    Shapes: `{"detail": "...", "error_type": "..."}` for the queue's errors and `{"detail": [{"loc", "msg",
    "type"}]}` for a model's (fal.ai/docs, errors); `{"error": ...}` for the platform's.
    """
    document = reply.document
    if document is None or not document.keys() & {"detail", "error", "error_type"}:
        return None
    text, item_type = described(document.get("detail", document.get("error")))
    named = document.get("error_type") or item_type or reply.headers.get("x-fal-error-type", "")
    return StatedError(
        text or clean(str(named)), clean(str(named), 80), _is_validation(document.get("detail"))
    )


def _is_validation(detail: Any) -> bool:
    return (
        isinstance(detail, list)
        and bool(detail)
        and all(isinstance(item, dict) and {"loc", "msg", "type"} <= item.keys() for item in detail)
    )


def described(detail: Any) -> tuple[str, str]:
    """Return one line of text and the error type for a `detail` or `error` of any shape."""
    if isinstance(detail, list):
        items = [described(item) for item in detail[:5]]
        return clean("; ".join(text for text, _ in items if text)), items[0][1] if items else ""
    if isinstance(detail, dict):
        text = detail.get("msg", detail.get("message", ""))
        where = detail.get("loc")
        place = ".".join(str(step) for step in where[:8]) + ": " if isinstance(where, list) and where else ""
        return clean(f"{place}{text}"), clean(str(detail.get("type") or ""), 80)
    return ("", "") if detail is None else (clean(str(detail)), "")


def excerpt(reply: Reply) -> str:
    """Return what a reply says in at most 500 characters: fal's own words, else the start of its body."""
    error = error_of(reply)
    if error and error.text:
        return error.text
    return clean(reply.body[: 4 * MAX_TEXT].decode("utf-8", "replace")) or "(empty body)"


def billable_units(reply: Reply) -> str | None:
    """Return the text of `x-fal-billable-units`, at most 40 characters; None where it is absent or empty.

    What is no plain number is returned as well: it is a bill that cannot be read, and not the lack of one.
    """
    return clean(reply.headers.get("x-fal-billable-units", ""), 40) or None


def charged_by_units(units: str | None) -> Charged:
    """Return "yes", "no" or "unknown": whether billable units say that money was taken."""
    if units is None or not _UNITS.fullmatch(units):
        return "unknown"
    return "yes" if Decimal(units) > 0 else "no"


def request_id_in(text: Any) -> str | None:
    """Return `text` if it can be the id of a request (a UUID or a token like one), else None."""
    return text if isinstance(text, str) and _REQUEST_ID.fullmatch(text) else None


def retry_after_s(reply: Reply) -> float | None:
    """Return the server's advice to wait, in seconds from 0 to MAX_RETRY_AFTER_S, or None."""
    advice_s = _advice_s(reply)
    return None if advice_s is None else min(advice_s, MAX_RETRY_AFTER_S)


def advice_cut(reply: Reply) -> str:
    """Say that the server's advice to wait was too long to be followed; empty where it was not."""
    advice_s = _advice_s(reply)
    if advice_s is None or advice_s <= MAX_RETRY_AFTER_S:
        return ""
    told = clean(reply.headers.get("retry-after", ""), 40)
    return f" (it asks to wait {told}; the wait is cut to {MAX_RETRY_AFTER_S:.0f} s)"


def _advice_s(reply: Reply) -> float | None:
    """Read Retry-After: whole seconds, or a date against the reply's own Date header (one clock for both)."""
    text = reply.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text) if len(text) < 10 else math.inf
    then, now = _moment(text), _moment(reply.headers.get("date", ""))
    return None if then is None or now is None else max((then - now).total_seconds(), 0.0)


def server_time_ms(reply: Reply) -> int | None:
    """Return the server's own time (its Date header) as Unix milliseconds, or None."""
    moment = _moment(reply.headers.get("date", ""))
    return None if moment is None else round(moment.timestamp() * 1000)


def _moment(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else None
