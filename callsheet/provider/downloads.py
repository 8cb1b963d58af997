"""Files from fal's CDN, as they are: no key, no redirects, no compression."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import NamedTuple

import httpx

from callsheet.errors import Unavailable
from callsheet.provider.hosts import Hosts
from callsheet.provider.transport import READ_FAILURES

DOWNLOAD_TIMEOUT = httpx.Timeout(30.0, connect=10.0)


class Download(NamedTuple):
    """An open download: the reply's headers by lower-case name, and its bytes as they arrive."""

    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]


@asynccontextmanager
async def open_file(client: httpx.AsyncClient, hosts: Hosts, address: str) -> AsyncIterator[Download]:
    """Open a file. Raises UntrustedHost, or Unavailable (`gone` for 404 and 410) also while reading."""
    url = hosts.may_hold_media(address)
    request = client.build_request("GET", url, headers={"Accept": "*/*"}, timeout=DOWNLOAD_TIMEOUT)
    try:
        response = await client.send(request, stream=True, follow_redirects=False)
    except READ_FAILURES as error:
        raise Unavailable(f"the file could not be opened ({type(error).__name__})") from error
    try:
        _must_be_plain(response)
        found = {name.lower(): value for name, value in response.headers.items()}
        async with aclosing(_chunks(response)) as chunks:
            yield Download(found, chunks)
    finally:
        await response.aclose()


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
