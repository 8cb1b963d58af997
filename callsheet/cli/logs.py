"""Messages and the log on standard error: plain text, text with time and logger, or JSON lines.

Modules log with `logging.getLogger(__name__)`. Facts go into `extra` under the names of FIELDS:

    logger.info("accepted", extra={"run": run_id, "job": custom_id, "request_id": id, "usd": "0.0497"})
"""

from __future__ import annotations

import json
import logging
import os
import sys
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import unquote, urlsplit

FIELDS = ("run", "job", "request_id", "usd")
SHORTEST_SECRET = 8
"""Shorter values are not replaced: they would be found in ordinary words."""

_SECRET_VARIABLES = (
    "FAL_KEY",
    "FAL_KEY_SECRET",
    "FAL_ADMIN_KEY",
    "CALLSHEET_NOTIFY_URLS",
    "CALLSHEET_NOTIFY_WEBHOOK",
    "CALLSHEET_WEBHOOK_SECRET",
    "CALLSHEET_RECEIVE_SECRET",
)
_URL_VARIABLES = ("CALLSHEET_LEDGER_URL", "PREFECT_API_URL", "PREFECT_API_DATABASE_CONNECTION_URL")

MESSAGES = logging.getLogger("callsheet.cli")
"""What the command line tells a person. `--quiet` keeps its warnings and errors."""


_KEPT = "\n\t\u200c\u200d"
"""Line breaks and tabs, and the joiners used in Persian, Hindi and family emoji."""


def printable(text: str) -> str:
    r"""Return `text` with control and direction characters written as `\x1b` or `\u202e`.

    Line breaks, tabs and joiners are kept.
    """
    if text.isprintable():
        return text
    return "".join(
        letter
        if letter in _KEPT or unicodedata.category(letter) not in {"Cc", "Cf", "Cs"}
        else _escaped(letter)
        for letter in text
    )


def _escaped(letter: str) -> str:
    return (
        letter.encode("ascii", "backslashreplace").decode() if ord(letter) > 127 else f"\\x{ord(letter):02x}"
    )


class StandardError(logging.Handler):
    """Write each record to whatever `sys.stderr` is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except (OSError, ValueError):  # a closed or full standard error must not end a run
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 -- logging's name
        """Ignore it: there is no other place to report to."""


class Message(logging.Formatter):
    """The message alone. No formatter shows `secrets`."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        super().__init__()
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without secrets."""
        return redacted(record.getMessage(), self._secrets)


class LogLine(Message):
    """`12:03:04 INFO engine.submit: accepted (run=..., job=..., usd=...)`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without secrets."""
        at = datetime.fromtimestamp(record.created, UTC).astimezone()
        name = record.name.removeprefix("callsheet.")
        facts = ", ".join(f"{name}={value}" for name, value in _facts(record).items())
        message = printable(record.getMessage() + (f" ({facts})" if facts else ""))
        line = f"{at:%H:%M:%S} {record.levelname} {name}: {message}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return redacted(line, self._secrets)


class JsonLines(Message):
    """One object a line: time (UTC), level, logger, message, and those of FIELDS that were given."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without secrets."""
        at = datetime.fromtimestamp(record.created, UTC)
        line = {
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_facts(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        shown = {
            name: redacted(value, self._secrets) if isinstance(value, str) else value
            for name, value in line.items()
        }
        return json.dumps(shown, ensure_ascii=False, default=str)


def _facts(record: logging.LogRecord) -> dict[str, object]:
    given = {name: getattr(record, name, None) for name in FIELDS}
    return {name: value for name, value in given.items() if value is not None}


def secrets_of(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the secrets of the environment, longest first, each with what is shown in its place."""
    found = {}
    for name in _SECRET_VARIABLES:
        value = environment.get(name, "").strip()
        # A key is `id:secret`: the secret half alone must not be shown either. Addresses may be several.
        for secret in (value, value.partition(":")[2], *value.split()):
            found[secret] = f"[{name}]"
    for name in _URL_VARIABLES:
        try:
            password = urlsplit(environment.get(name, "")).password or ""
        except ValueError:
            continue
        for secret in (password, unquote(password)):
            found[secret] = f"[password of {name}]"
    longest_first = sorted(found.items(), key=lambda each: -len(each[0]))
    return {secret: name for secret, name in longest_first if len(secret) >= SHORTEST_SECRET}


def redacted(text: str, secrets: Mapping[str, str]) -> str:
    """Replace every secret in a text."""
    for secret, shown in secrets.items():
        text = text.replace(secret, shown)
    return text


def configure(*, verbose: bool = False, quiet: bool = False, log_json: bool = False) -> None:
    """Set up the `callsheet` loggers for this process; a second call replaces the first.

    Messages are always written. The log of the other modules, and warnings of other packages, are written
    with `verbose` or `log_json`.
    """
    secrets = secrets_of(os.environ)
    log = logging.getLogger("callsheet")
    log.propagate = False  # Prefect gives the root logger a handler of its own
    log.setLevel(logging.INFO)
    if log_json:
        log.handlers = [_handler(JsonLines(secrets))]
    else:
        log.handlers = [_handler(LogLine(secrets)) if verbose else logging.NullHandler()]
    root = logging.getLogger()  # without a handler here, Python writes others' warnings as bare lines
    root.handlers = [each for each in root.handlers if not isinstance(each, _OURS)] + log.handlers
    MESSAGES.setLevel(logging.WARNING if quiet else logging.INFO)
    MESSAGES.handlers = [_handler(JsonLines(secrets) if log_json else Message(secrets))]


def writes_json() -> bool:
    """Say whether messages are written as JSON lines."""
    return any(isinstance(handler.formatter, JsonLines) for handler in MESSAGES.handlers)


def _handler(formatter: logging.Formatter) -> logging.Handler:
    handler = StandardError()
    handler.setFormatter(formatter)
    return handler


_OURS = (StandardError, logging.NullHandler)

MESSAGES.propagate = False
MESSAGES.setLevel(logging.INFO)
MESSAGES.addHandler(_handler(Message({})))
