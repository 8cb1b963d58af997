"""Names that become file names: one clip must never land on another's file, on any file system.

A name is one or more parts separated by `/`; a part holds letters, digits, `.`, `_` and `-` (ASCII), does not
begin with a dot or a dash, does not end with a dot, and is no device name of Windows.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

PART_MAX_CHARS = 100
NAME_MAX_CHARS = 200
"""Common file systems allow 255 bytes a part; room is left for the suffix and the temporary name."""

NAME_RULE = (
    f"letters, digits, '.', '_', '-' (and '/' between folders), at most {PART_MAX_CHARS} characters, "
    "not beginning with '.' or '-', not ending with '.', no device name such as CON"
)

SAFE_NAME = r"^[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?$"
"""Names of one part that are safe if short and no device's: for a quick look at very many."""

DEVICE_NAME = r"(?i)^(?:CON|PRN|AUX|NUL|COM[0-9]|LPT[0-9])(?:\..*)?$"

_SAFE_PART = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_-])?", re.ASCII)
_DEVICE = re.compile(DEVICE_NAME, re.ASCII)
_FORBIDDEN = re.compile(r"[^A-Za-z0-9._-]+", re.ASCII)
_HASH_CHARS = 8


def is_safe(name: str) -> bool:
    """Whether a name can be used as it stands."""
    # A folder called like a video would stand where that video is to be written.
    if len(name) > NAME_MAX_CHARS or ".mp4/" in name.lower():
        return False
    return all(_is_safe_part(part) for part in name.split("/"))


def _is_safe_part(part: str) -> bool:
    return len(part) <= PART_MAX_CHARS and bool(_SAFE_PART.fullmatch(part)) and not _DEVICE.fullmatch(part)


def safe_part(text: str) -> str:
    """Turn any text into one safe part of a name; the same text gives the same part.

    Accents are dropped, runs of other characters become one `-`. Where letters or digits were lost, or the
    text was too long, a short hash of it is added, so that two different texts do not become one name.
    """
    plain = unicodedata.normalize("NFKD", text)
    plain = "".join(char for char in plain if not unicodedata.combining(char))
    lost = any(char.isalnum() and not char.isascii() for char in plain)
    part = _FORBIDDEN.sub("-", plain).strip("-.")
    if lost or not part or len(part) > PART_MAX_CHARS or _DEVICE.fullmatch(part):
        return with_hash(part, text)
    return part


def with_hash(part: str, text: str) -> str:
    """Add a short hash of `text` to a safe part, within the allowed length."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_CHARS]
    stem = part[: PART_MAX_CHARS - _HASH_CHARS - 1].rstrip("-.")
    return f"{stem}-{digest}" if stem else f"clip-{digest}"


def folded(name: str) -> str:
    """Return what a file system may take two names for: the same letters in any case and composition."""
    return unicodedata.normalize("NFC", name).casefold()
