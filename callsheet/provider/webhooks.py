"""fal's webhooks as they arrive: whether one is fal's, and which request it is about.

A webhook is a POST with X-Fal-Webhook-Request-Id, -User-Id, -Timestamp (Unix seconds) and -Signature (hex):
Ed25519 over request id, user id, timestamp and the body's SHA-256 in hex, with line feeds between. The keys
are at rest.fal.ai/.well-known/jwks.json and may be kept for a day (fal.ai/docs, webhooks, read 2026-11).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from callsheet.errors import Unavailable
from callsheet.provider.replies import request_id_in

TOLERANCE_S = 300
"""How far a webhook's time may be from ours: fal's own figure."""

KEPT_S = 86_400.0
"""How long fal's keys are used before they are read again."""

READ_AGAIN_S = 60.0
"""How soon they are read again for a signature that fits none of them: fal may have a new one."""

MAX_BYTES = 1 << 20
"""The largest body that is read."""


class BadWebhook(ValueError):
    """It is not fal's, too old, or not readable; the message says which."""


class PublishedKeys:
    """fal's public keys. `read` fetches the document with them, `now` is a monotonic clock in seconds."""

    def __init__(
        self, read: Callable[[], Awaitable[bytes]], now: Callable[[], float] = time.monotonic
    ) -> None:
        self._read = read
        self._now = now
        self._keys: tuple[Ed25519PublicKey, ...] = ()
        self._read_s = self._tried_s = -KEPT_S
        self._one = asyncio.Lock()

    async def fit(self, message: bytes, signature: bytes) -> bool:
        """Say whether one of fal's keys has signed this.

        Raises Unavailable where they cannot be read. They are asked for at most once in READ_AGAIN_S.
        """
        async with self._one:  # those that come together wait for one read
            now_s = self._now()
            is_fresh = now_s - self._read_s < KEPT_S
            if is_fresh and self._any_fits(message, signature):
                return True
            if now_s - self._tried_s >= READ_AGAIN_S:
                self._tried_s = now_s
                self._keys = keys_in(await self._read())
                self._read_s = now_s
                return self._any_fits(message, signature)
            if not is_fresh:
                raise Unavailable("they could not be read a moment ago")
            return False

    def _any_fits(self, message: bytes, signature: bytes) -> bool:
        return any(_fits(key, message, signature) for key in self._keys)


def keys_in(document: bytes) -> tuple[Ed25519PublicKey, ...]:
    """Return the Ed25519 keys of a JWKS document (RFC 8037); what is none is left out."""
    try:
        listed = json.loads(document)["keys"]
    except (ValueError, KeyError, TypeError):
        return ()
    found = (_key(each) for each in listed if isinstance(each, dict)) if isinstance(listed, list) else ()
    return tuple(key for key in found if key is not None)


def _key(each: Mapping[str, Any]) -> Ed25519PublicKey | None:
    try:
        x = each["x"]
        return Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(x + "=" * (-len(x) % 4)))
    except (KeyError, TypeError, ValueError):
        return None


def _fits(key: Ed25519PublicKey, message: bytes, signature: bytes) -> bool:
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


async def checked(headers: Mapping[str, str], body: bytes, keys: PublishedKeys, now_s: float) -> str:
    """Return the id of the request that a webhook is about. `now_s` is Unix time.

    `headers` have names in lower case. Raises BadWebhook for one that is not fal's or is older than
    TOLERANCE_S, Unavailable where fal's keys cannot be read.
    """
    names = ("request-id", "user-id", "timestamp", "signature")
    request_id, user_id, timestamp, signature = (headers.get(f"x-fal-webhook-{name}", "") for name in names)
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 12):
        raise BadWebhook("it has no timestamp")
    if abs(now_s - int(timestamp)) > TOLERANCE_S:
        raise BadWebhook(f"its timestamp is {now_s - int(timestamp):.0f} s old; {TOLERANCE_S} s are allowed")
    said = "\n".join((request_id, user_id, timestamp, hashlib.sha256(body).hexdigest())).encode()
    try:
        signed = bytes.fromhex(signature)
    except (ValueError, binascii.Error):
        raise BadWebhook("its signature is no hexadecimal number") from None
    if not await keys.fit(said, signed):
        raise BadWebhook("its signature is not fal's")
    return _request_in(body, request_id)


def _request_in(body: bytes, named: str) -> str:
    try:
        document = json.loads(body)
    except ValueError:
        raise BadWebhook("its body is no JSON") from None
    found = request_id_in(document.get("request_id")) if isinstance(document, dict) else None
    if found is None or found != request_id_in(named):
        raise BadWebhook("its body and its header do not name the same request")
    return found
