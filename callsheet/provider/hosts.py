"""Which hosts may be given the key, and which may be read from.

A reply names addresses, and a reply is not to be believed: fal's own client sends the key to whatever host
a submit's reply calls its `status_url`. Here a host is either one of the configured ones or it is refused.
`httpx.URL` is the only parser, because it is the one that will connect; two parsers disagree on look-alikes.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache

import httpx

from callsheet.errors import UntrustedHost, UsageError, without_login
from callsheet.provider.messages import ticket_for
from callsheet.provider.replies import clean
from callsheet.settings import SEEDANCE_OWNER_HOSTS, Settings
from callsheet.ticket import ADDRESSES, Ticket

Origin = tuple[str, str, int | None]
"""Scheme, host and port; the port is None where it is the scheme's own."""

_PLAIN = re.compile(r"[!#-\[\]-~]{1,8192}", re.ASCII)
"""Printable ASCII without space, quote and backslash: what an address is once it is written properly."""

_AUTHORITY = re.compile(r"([A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?", re.ASCII)
"""A name or an IP address, and perhaps a port: no user name, no percent signs, no dot at the end."""


def origin_of(url: httpx.URL) -> Origin:
    """Return scheme, host and port of `url`."""
    return url.scheme, url.host, url.port


class Hosts:
    """The hosts of one set of settings: which are given the key, and where files may lie.

    Raises UsageError for a configured address that cannot be one.
    """

    def __init__(self, settings: Settings) -> None:
        self.queue_url = settings.queue_url
        self._queue = _configured("CALLSHEET_QUEUE_URL", settings.queue_url)
        self._with_key = {self._queue, _configured("CALLSHEET_REST_URL", settings.rest_url)}
        self._cdn = _configured("CALLSHEET_CDN_URL", settings.cdn_url)
        self._platform = _configured("CALLSHEET_PLATFORM_URL", settings.platform_url)

    def may_have_key(self, text: str) -> httpx.URL:
        """Return the address if it is on a host that is given the key; raise UntrustedHost if not."""
        url = _parsed(text)
        if origin_of(url) not in self._with_key:
            raise UntrustedHost(f"{_shown(url)} is not fal's queue as configured; the key is not sent there")
        return url

    def is_platform(self, text: str) -> httpx.URL:
        """Return the address if it is on the platform API's host; raise UntrustedHost if not.

        Only there the admin key goes, and no address of a reply is ever asked about here.
        """
        url = _parsed(text)
        if origin_of(url) != self._platform:
            raise UntrustedHost(
                f"{_shown(url)} is not fal's platform API as configured; no key is sent there"
            )
        return url

    def may_hold_media(self, text: str) -> httpx.URL:
        """Return the address if files may be fetched from it; raise UntrustedHost if not.

        Allowed are the configured CDN, and fal.media with every name under it over https on its own port.
        """
        url = _parsed(text)
        if origin_of(url) != self._cdn and not _is_fal_media(url):
            raise UntrustedHost(
                f"{_shown(url)} is not a host of fal's files; known are https://*.fal.media and"
                " CALLSHEET_CDN_URL"
            )
        return url

    def pinned(self, ticket: Ticket) -> Ticket:
        """Return the ticket with addresses on the queue's own host.

        An address of the reply is kept if it is on the queue's origin and speaks of this request; else it
        is built anew from the endpoint, as fal's own JavaScript client always does.
        """
        built = ticket_for(self.queue_url, ticket.endpoint_id, ticket.request_id)
        named = {name: getattr(ticket, name) for name in ADDRESSES}
        return replace(built, **{name: url for name, url in named.items() if self._is_own(url, ticket)})

    def _is_own(self, text: str, ticket: Ticket) -> bool:
        try:
            url = _parsed(text)
        except UntrustedHost:
            return False
        return origin_of(url) == self._queue and ticket.request_id in url.path.split("/")


def _configured(name: str, text: str) -> Origin:
    try:
        return origin_of(_parsed(text))
    except UntrustedHost as error:
        raise UsageError(f"{name}: {error}") from error


def _is_fal_media(url: httpx.URL) -> bool:
    is_named = any(url.host == name or url.host.endswith(f".{name}") for name in SEEDANCE_OWNER_HOSTS)
    return is_named and url.scheme == "https" and url.port is None


@lru_cache(maxsize=128)
def _parsed(text: str) -> httpx.URL:
    authority = re.split(r"[/?#]", text.partition("://")[2], maxsplit=1)[0]
    named = repr(clean(without_login(text), 120))
    if not _PLAIN.fullmatch(text) or not _AUTHORITY.fullmatch(authority):
        raise UntrustedHost(f"{named} is not a plain address of a web server")
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        raise UntrustedHost(f"{named} is not an address") from None
    if url.scheme not in {"https", "http"} or not url.host or url.userinfo:
        raise UntrustedHost(f"{named} is not an address of a web server without a user name")
    return url


def _shown(url: httpx.URL) -> str:
    return clean(f"{url.scheme}://{url.netloc.decode('ascii', 'replace')}", 120)
