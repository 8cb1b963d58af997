"""Pictures on their way to fal's CDN (fal-client 1.0.3, repository `fal_v3`): a token, then the bytes.

The key goes to the configured REST host alone; the CDN gets the token. Both steps are free and may be tried
again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from callsheet.errors import Unavailable, UsageError
from callsheet.provider.hosts import Hosts
from callsheet.provider.replies import Reply
from callsheet.provider.transport import READ_FAILURES, SecretAuth, exchange
from callsheet.provider.upload_messages import parse_upload, parse_upload_token, upload_headers
from callsheet.settings import Settings

TRIES = 3

MAX_UPLOAD_BYTES = 100 * 2**20
"""Where fal's own client begins to upload in parts; Seedance takes pictures up to 30 MB."""

TOKEN_DEADLINE_S = 60.0
UPLOAD_DEADLINE_S = 300.0


@dataclass(frozen=True, slots=True)
class Uploader:
    """Uploads files: `api` speaks to the REST host with `auth`, `cdn` is a client that never has the key."""

    settings: Settings
    hosts: Hosts
    api: httpx.AsyncClient
    cdn: httpx.AsyncClient
    auth: SecretAuth
    sleep: Callable[[float], Awaitable[None]]
    jitter: Callable[[], float]

    async def upload(self, content: Path | bytes, *, content_type: str, file_name: str) -> str:
        """Return the address of the uploaded file. See `FalQueue.upload`."""
        data = await _bytes_of(content)
        headers = upload_headers(content_type, file_name)
        for attempt in range(1, TRIES + 1):
            try:
                return await self._once(data, headers)
            except Unavailable as error:
                if attempt == TRIES:
                    raise
                advice_s = error.retry_after_s or 0.0
            await self.sleep(min(max(advice_s, 2**attempt * (0.25 + 0.5 * self.jitter())), 60.0))
        raise AssertionError("the last try returns or raises")

    async def _once(self, data: bytes, headers: dict[str, str]) -> str:
        url = self.hosts.may_have_key(f"{self.settings.rest_url}/storage/auth/token")
        wanted = {"storage_type": "fal-cdn-v3"}
        ask = self.api.build_request("POST", url, params=wanted, json={})
        token, base_url = parse_upload_token(await _sent(self.api, ask, self.auth, TOKEN_DEADLINE_S))
        if base_url is not None:
            self.hosts.may_hold_media(base_url)  # raises for a host that the picture must not go to
        target = self.hosts.may_hold_media(f"{self.settings.cdn_url}/files/upload")
        put = self.cdn.build_request("POST", target, content=data, headers=headers)
        address = parse_upload(await _sent(self.cdn, put, SecretAuth(lambda: token), UPLOAD_DEADLINE_S))
        self.hosts.may_hold_media(address)
        return address


async def _sent(
    client: httpx.AsyncClient, request: httpx.Request, auth: SecretAuth, deadline_s: float
) -> Reply:
    request.extensions["timeout"] = httpx.Timeout(30.0, connect=10.0).as_dict()
    try:
        async with asyncio.timeout(deadline_s):
            return await exchange(client, request, auth)
    except READ_FAILURES as error:
        raise Unavailable(f"fal's storage could not be reached ({type(error).__name__})") from error


async def _bytes_of(content: Path | bytes) -> bytes:
    size = len(content) if isinstance(content, bytes) else (await asyncio.to_thread(content.stat)).st_size
    if size > MAX_UPLOAD_BYTES:
        raise UsageError(
            f"a picture of {size:,} bytes cannot be uploaded; at most {MAX_UPLOAD_BYTES:,} bytes can"
        )
    return content if isinstance(content, bytes) else await asyncio.to_thread(content.read_bytes)
