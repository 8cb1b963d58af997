"""Webhooks as fal sends them: signed with Ed25519, tried again, one body for success and failure.

A try has 15 seconds. After a failure come nine more, 15 s, 30 s, 60 s, ... later: about two hours, divided by
the sandbox's speed. A redirect is final. fal also refuses private addresses; the sandbox does not.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from callsheet.files import write_atomically
from callsheet.sandbox.store import Record

if TYPE_CHECKING:
    import httpx

log = logging.getLogger("callsheet.sandbox")

TRIES = 10
TRY_TIMEOUT_S = 15.0
FIRST_PAUSE_S = 15.0
USER_ID = "sandbox-user"


def checked_address(address: str) -> str:
    """Return a webhook's address. Raises ValueError for one that is no http or https URL."""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname or len(address) > 2000:
        raise ValueError("fal_webhook is no http or https address")
    return address


def body_of(record: Record) -> dict[str, Any]:
    """Return the document of a finished request."""
    is_ok = 200 <= record.status_code < 300
    return {
        "request_id": record.id,
        "gateway_request_id": record.id,
        "status": "OK" if is_ok else "ERROR",
        "error": None if is_ok else f"Invalid status code: {record.status_code}",
        "payload": record.result,
    }


class Signer:
    """The key of one sandbox, kept in its folder."""

    def __init__(self, folder: Path) -> None:
        path = folder / "webhook.key"
        if not path.exists():
            write_atomically(path, Ed25519PrivateKey.generate().private_bytes_raw(), mode=0o600)
        self._key = Ed25519PrivateKey.from_private_bytes(path.read_bytes())

    def jwks(self) -> dict[str, Any]:
        """Return the public key as fal publishes its own (RFC 8037)."""
        public = self._key.public_key().public_bytes_raw()
        x = base64.urlsafe_b64encode(public).rstrip(b"=").decode()
        return {"keys": [{"kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": "sandbox", "x": x}]}

    def headers(self, request_id: str, body: bytes, now: float) -> dict[str, str]:
        """Return the headers of one delivery; the signature is over id, user, time and the body's hash."""
        moment = str(int(now))
        message = "\n".join((request_id, USER_ID, moment, hashlib.sha256(body).hexdigest())).encode()
        return {
            "content-type": "application/json",
            "x-fal-webhook-request-id": request_id,
            "x-fal-webhook-user-id": USER_ID,
            "x-fal-webhook-timestamp": moment,
            "x-fal-webhook-signature": self._key.sign(message).hex(),
        }


async def deliver(
    record: Record, signer: Signer, speed: Callable[[], float], save: Callable[[Record], None]
) -> None:
    """Send a request's webhook until an answer of 2xx or 3xx, or until the tries are used up."""
    import httpx

    body = json.dumps(body_of(record)).encode()
    # The certificates are those of SSL_CERT_FILE where it is set, as for the clients beside it.
    async with httpx.AsyncClient(timeout=TRY_TIMEOUT_S, follow_redirects=False) as client:
        while record.webhook_left > 0:
            pause_s = FIRST_PAUSE_S * 2 ** (TRIES - record.webhook_left)
            is_over = await _try(client, record.webhook, body, signer.headers(record.id, body, time.time()))
            record.webhook_left = 0 if is_over else record.webhook_left - 1
            save(record)
            if record.webhook_left:
                await asyncio.sleep(pause_s / speed())


async def _try(client: httpx.AsyncClient, address: str, body: bytes, headers: Mapping[str, str]) -> bool:
    import httpx

    try:
        reply = await client.post(address, content=body, headers=dict(headers))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        log.info("webhook to %s failed: %r", address, error)
        return False
    return 200 <= reply.status_code < 400
