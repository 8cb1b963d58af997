"""Addresses: which are the same picture, which fal cannot fetch, and where messages may go. Pure.

Signed addresses are those of Amazon S3 (docs.aws.amazon.com AmazonS3 sigv4-query-string-auth), Google Cloud
Storage (cloud.google.com/storage/docs/access-control/signed-urls) and Azure Blob Storage
(learn.microsoft.com/rest/api/storageservices/create-service-sas), read 2026-11.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

_V4 = ("algorithm", "credential", "date", "expires", "signedheaders", "signature")
_S3 = frozenset(f"x-amz-{name}" for name in (*_V4, "security-token", "content-sha256"))
_GCS = frozenset(f"x-goog-{name}" for name in _V4)
_S3_OLD = frozenset({"awsaccesskeyid", "signature", "expires", "x-amz-security-token"})
_GCS_OLD = frozenset({"googleaccessid", "signature", "expires"})
_AZURE_SAS = ("sig", "se", "st", "sp", "spr", "sv", "sr", "si", "sip", "ss", "srt", "sdd", "ses")
_AZURE_KEY = ("skoid", "sktid", "skt", "ske", "sks", "skv", "saoid", "suoid", "scid")
_AZURE = frozenset({*_AZURE_SAS, *_AZURE_KEY})
_AZURE_HOSTS = (".core.windows.net", ".core.usgovcloudapi.net", ".core.chinacloudapi.cn")

SIGNED = r"(?i)[?&](x-amz-|x-goog-|awsaccesskeyid=|googleaccessid=|signature=|sig=)"
"""What every signed address holds: for a quick look at very many."""

NEXT_ADDRESS = r"(?i),\s*(https?://|data:[a-z]+/)"
"""Where another address begins behind a comma. Any other comma is part of its address."""

INSIDE = ("localhost", "local", "internal", "home.arpa")
"""Names for machines of a private network (RFC 6761, RFC 6762, RFC 8375; ICANN 2024 for `internal`)."""

_PRIVATE = tuple(
    map(
        ipaddress.ip_network,
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "0.0.0.0/8", "fc00::/7"),
    )
)
_AMZ_DATE = "%Y%m%dT%H%M%SZ"
_LONGEST_S = 10**9
"""Signatures last a week at most; a longer number is no duration and only has to stay within a date."""


def unsigned(address: str) -> str:
    """Return an address without its signature: the same picture signed anew has the same one.

    Only the known parameters of a signature are left out, and only where there is one; `versionId` and every
    other parameter stay, in their order.
    """
    whole, hash_, fragment = address.partition("#")
    head, mark, query = whole.partition("?")
    if not mark:
        return address
    parts = query.split("&")
    names = [part.partition("=")[0].lower() for part in parts]
    left_out = _signature(frozenset(names), _host(address))
    if not left_out:
        return address
    kept = "&".join(part for part, name in zip(parts, names, strict=True) if name not in left_out)
    return f"{head}{mark if kept else ''}{kept}{hash_}{fragment}"


def _signature(names: frozenset[str], host: str) -> frozenset[str]:
    """Return the parameters that sign an address which has these."""
    found: frozenset[str] = frozenset()
    if "x-amz-signature" in names:
        found |= _S3
    if "x-goog-signature" in names:
        found |= _GCS
    if {"awsaccesskeyid", "signature"} <= names:
        found |= _S3_OLD
    if {"googleaccessid", "signature"} <= names:
        found |= _GCS_OLD
    if "sig" in names and ("sv" in names or host.endswith(_AZURE_HOSTS)):
        found |= _AZURE
    return found


def doubt(address: str, now: datetime) -> str:
    """Say why fal cannot fetch an address, as far as the address itself shows; "" where nothing does."""
    host = _host(address)
    if is_inside(host):
        return f"{host} is on this machine or a private network; fal cannot fetch it from there"
    ended = _expiry(address)
    if ended is not None and ended <= now:
        return f"the signature expired at {ended:%Y-%m-%d %H:%M} UTC; sign the address anew"
    return ""


def is_inside(host: str) -> bool:
    """Say whether a host is this machine or on a private network by its very name or number."""
    host = host.rstrip(".")
    if any(host == name or host.endswith(f".{name}") for name in INSIDE):
        return True
    number = _ip(host)
    if number is None:
        return False
    mapped = getattr(number, "ipv4_mapped", None)
    number = mapped or number
    return (
        number.is_loopback
        or number.is_link_local
        or number.is_unspecified
        or any(number.version == network.version and number in network for network in _PRIVATE)
    )


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    return _loose_ip(host)


def _loose_ip(host: str) -> ipaddress.IPv4Address | None:
    """Read the forms that `inet_aton` takes besides: `127.1`, `0x7f000001` and `2130706433` are 127.0.0.1."""
    parts = host.split(".")
    if len(parts) > _BYTES or not all(_NUMBER.fullmatch(part) for part in parts):
        return None
    numbers = [int(part, 8 if part[0] == "0" and part[1:].isdigit() else 0) for part in parts]
    *heads, last = numbers
    if any(head > 0xFF for head in heads) or last >= 1 << 8 * (_BYTES - len(heads)):
        return None
    return ipaddress.IPv4Address(last + sum(head << 8 * (3 - at) for at, head in enumerate(heads)))


_BYTES = 4
_NUMBER = re.compile(r"0x[0-9a-f]{1,8}|0[0-7]{0,11}|[1-9][0-9]{0,9}", re.ASCII)


def _host(address: str) -> str:
    try:
        return (urlsplit(address).hostname or "").lower()
    except ValueError:
        return ""


def _expiry(address: str) -> datetime | None:
    """Return when an address stops working; None where it does not say so in a known way."""
    given = {name.lower(): value for name, value in parse_qsl(address.partition("#")[0].partition("?")[2])}
    try:
        for vendor in ("x-amz", "x-goog"):
            if {f"{vendor}-date", f"{vendor}-expires"} <= given.keys():
                signed = datetime.strptime(given[f"{vendor}-date"], _AMZ_DATE).replace(tzinfo=UTC)
                return signed + timedelta(seconds=_seconds(given[f"{vendor}-expires"]))
        if {"expires", "signature"} <= given.keys():
            return datetime.fromtimestamp(_seconds(given["expires"], most=10**11), UTC)
        return _azure_expiry(given)
    except (ValueError, OverflowError):
        return None


def _azure_expiry(given: Mapping[str, str]) -> datetime | None:
    if not {"sig", "se"} <= given.keys():
        return None
    ended = datetime.fromisoformat(given["se"])
    return ended if ended.tzinfo else ended.replace(tzinfo=UTC)


def _seconds(text: str, most: int = _LONGEST_S) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most))):
        raise ValueError(text)
    return min(int(text), most)


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
