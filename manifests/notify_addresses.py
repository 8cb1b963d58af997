"""How a campaign file names who is told about runs."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

REFERENCE = "env:"
"""`env:TEAM_CHAT` is the value of that environment variable."""

_REFERENCED = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def is_reference(address: str) -> bool:
    """Say whether this names an environment variable that holds the address."""
    return _REFERENCED.fullmatch(address) is not None


def is_address(text: str) -> bool:
    """Say whether this may be an address of Apprise."""
    return "://" in text and not any(letter.isspace() for letter in text)


def is_webhook(url: str) -> bool:
    """Say whether an address may get webhooks: https, or http on this machine."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    return bool(parts.hostname) and is_safe
