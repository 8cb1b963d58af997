"""Files from and to fal's CDN.

Downloads carry no key and follow redirects only to hosts of fal's files. Uploads (as in fal-client 1.0.3,
repository `fal_v3`) fetch a short-lived token with the key from the configured REST host; the CDN gets the
token alone. Both are free and may be tried again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import httpx

from callsheet.errors import Refused, Unavailable, UntrustedHost, UsageError
from callsheet.provider.hosts import Hosts
from callsheet.provider.messages import lifecycle, read_object, said
from callsheet.provider.replies import Reply, error_of
from callsheet.provider.transport import READ_FAILURES, READ_TIMEOUT

MAX_REDIRECTS = 3

logger = logging.getLogger(__name__)


class Download(NamedTuple):
    """An open download: the reply's headers by lower-case name, and its bytes as they arrive."""

    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]


@asynccontextmanager
async def open_file(client: httpx.AsyncClient, hosts: Hosts, address: str) -> AsyncIterator[Download]:
    """Open a file, over at most MAX_REDIRECTS redirects, each to a host that may hold fal's files.

    Raises UntrustedHost where `address` is elsewhere, and Unavailable (`gone` for 404 and 410) for everything
    that keeps the file from coming, also while reading.
    """
    response = await _opened(client, hosts.may_hold_media(address))
    for _ in range(MAX_REDIRECTS):
        if not response.has_redirect_location:
            break
        await response.aclose()
        response = await _opened(client, _target(response, hosts))
    try:
        _must_be_plain(response)
        found = {name.lower(): value for name, value in response.headers.items()}
        async with aclosing(_chunks(response)) as chunks:
            yield Download(found, chunks)
    finally:
        await response.aclose()


async def _opened(client: httpx.AsyncClient, url: httpx.URL) -> httpx.Response:
    request = client.build_request("GET", url, headers={"Accept": "*/*"}, timeout=READ_TIMEOUT)
    try:
        response = await client.send(request, stream=True, follow_redirects=False)
    except READ_FAILURES as error:
        raise Unavailable(f"the file could not be opened ({type(error).__name__})") from error
    logger.debug("GET %s: %d", url.path, response.status_code)
    return response


def _target(response: httpx.Response, hosts: Hosts) -> httpx.URL:
    try:
        return hosts.may_hold_media(str(response.url.join(response.headers["location"])))
    except httpx.InvalidURL as error:
        raise Unavailable("fal's media host redirects to something that is no address") from error
    except UntrustedHost as error:
        raise Unavailable(f"fal's media host redirects elsewhere, which is not followed: {error}") from error


def _must_be_plain(response: httpx.Response) -> None:
    code = response.status_code
    if code != 200:
        raise Unavailable(f"fal's media host answered {code} instead of the file", gone=code in {404, 410})
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"", "identity"}:
        raise Unavailable("fal's media host sent the file compressed, which was not asked for")


async def _chunks(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    try:
        async for chunk in response.aiter_raw():
            yield chunk
    except READ_FAILURES as error:
        raise Unavailable(f"the file broke off ({type(error).__name__})") from error


def upload_headers(content_type: str, file_name: str) -> dict[str, str]:
    """Return the headers of an upload, without the token. Only printable ASCII can stand in a header."""
    return {
        "Content-Type": _header_text(content_type) or "application/octet-stream",
        "X-Fal-File-Name": _header_text(file_name) or "upload",
        "X-Fal-Object-Lifecycle": lifecycle(),
    }


def parse_upload_token(reply: Reply) -> tuple[str, str | None]:
    """Return the Authorization for one upload and the CDN's address as the reply names it, or None.

    Raises Refused for a 4xx that is not about the account and does not pass, else what `read_object` raises.
    """
    _refuse(reply, "the upload token", {400, *range(404, 500)})
    document = read_object(reply, "the upload token")
    kind, token = document.get("token_type"), document.get("token")
    credential = f"{kind} {token}"
    if not isinstance(kind, str) or not isinstance(token, str) or not token or not _is_header(credential):
        raise Unavailable("the upload token's reply holds no usable token")
    base_url = document.get("base_url")
    return credential, base_url if isinstance(base_url, str) and base_url else None


def parse_upload(reply: Reply) -> str:
    """Return the address of an uploaded file. Raises Refused where the file itself is refused (4xx)."""
    _refuse(reply, "the upload", {400, 402, *range(404, 500)})
    if reply.status_code in {401, 403}:
        # Here it is the short-lived token that is refused, not the account's key.
        raise Unavailable(said("the upload", reply))
    url = read_object(reply, "the upload's answer").get("access_url")
    if not isinstance(url, str) or not url:
        raise Unavailable("the upload's answer names no address")
    return url


def _refuse(reply: Reply, what: str, codes: set[int]) -> None:
    """Raise Refused for these codes, save for those that pass (408, 425, 429)."""
    if reply.status_code in codes - {408, 425, 429}:
        error = error_of(reply)
        raise Refused(said(what, reply), error_type=error.error_type if error else "")


def _is_header(text: str) -> bool:
    return text.isascii() and text.isprintable() and len(text) <= 8192


def _header_text(text: str) -> str:
    return "".join(letter if " " <= letter <= "~" else "_" for letter in text).strip()[:200]


UPLOAD_TRIES = 3

MAX_UPLOAD_BYTES = 100 * 2**20
"""Where fal's own client begins to upload in parts; Seedance takes pictures up to 30 MB."""

UPLOAD_DEADLINE_S = 300.0


async def bytes_of(content: Path | bytes) -> bytes:
    """Return what is to be uploaded. Raises UsageError where it is more than MAX_UPLOAD_BYTES."""
    size = len(content) if isinstance(content, bytes) else (await asyncio.to_thread(content.stat)).st_size
    if size > MAX_UPLOAD_BYTES:
        raise UsageError(
            f"a picture of {size:,} bytes cannot be uploaded; at most {MAX_UPLOAD_BYTES:,} bytes can"
        )
    return content if isinstance(content, bytes) else await asyncio.to_thread(content.read_bytes)
