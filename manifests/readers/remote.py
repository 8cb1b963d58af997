"""Manifests on other machines: fetched to a temporary file, bounded, and never from inside the network.

`https://` is read by a small client of our own that connects only to public addresses, checked after the name
is resolved and at every redirect. `s3://`, `gs://` and the like are read through fsspec with the credentials
that its libraries find.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import urljoin, urlsplit

from callsheet.errors import UsageError, without_login
from manifests.readers.parquet import PARQUET_SUFFIXES
from manifests.table import shown

STORES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss")
"""Protocols that manifests, pictures, videos and sounds are read from."""

_PACKAGES = {
    **dict.fromkeys(("s3", "s3a"), ("s3fs", "callsheet[s3]")),
    **dict.fromkeys(("gs", "gcs"), ("gcsfs", "callsheet[gcs]")),
    **dict.fromkeys(("az", "abfs", "abfss"), ("adlfs", "adlfs")),
}
_CHUNK_BYTES = 1 << 20


def is_in_store(address: str) -> bool:
    """Whether an address names an object that is read from a store, with this process's credentials."""
    return address.partition("://")[0].lower() in STORES and "://" in address


def open_store(address: str) -> tuple[Any, str]:
    """Return the file system of an address and the path in it. Nothing is contacted.

    Raises UsageError where the protocol is unknown or its package is missing, naming what to install.
    """
    from fsspec.core import url_to_fs

    try:
        filesystem, place = url_to_fs(address)
    except (ImportError, ValueError) as error:
        package = _PACKAGES.get(address.partition("://")[0].lower())
        if package is None or not isinstance(error, ImportError):
            raise UsageError(f"{without_login(address)} cannot be used: {error}") from error
        raise UsageError(
            f"{without_login(address)} needs the package {package[0]}, which is not installed; "
            f"install {package[1]}"
        ) from error
    return filesystem, place


def read_object(address: str, max_bytes: int) -> bytes:
    """Return the first `max_bytes` + 1 bytes of an object: one more than allowed tells that it is too large.

    Raises UsageError where it is not there or cannot be read.
    """
    filesystem, place = _object_of(address)
    with _named(address):
        content = filesystem.cat_file(place, start=0, end=max_bytes + 1)
    return bytes(content)


def save_object(address: str, path: Path, max_bytes: int) -> None:
    """Copy an object to a file, at most `max_bytes` + 1 of its bytes. Raises UsageError, OSError."""
    filesystem, place = _object_of(address)
    with _named(address), filesystem.open(place, "rb") as source, path.open("wb") as target:
        left = max_bytes + 1
        for chunk in chunks_of(source):
            target.write(chunk[:left])
            left -= len(chunk)
            if left <= 0:
                return


def _object_of(address: str) -> tuple[Any, str]:
    bucket, _, key = address.partition("://")[2].partition("/")
    if not bucket or not key:
        raise UsageError(f"{without_login(address)} names no object; write s3://bucket/file.png")
    return open_store(address)


def chunks_of(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the rest of a file in pieces of 1 MiB."""
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk


def reason_of(error: Exception) -> str:
    """Return what went wrong in one line of at most 300 characters; a store may use several lines."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text.rstrip(".")[:300]


@contextmanager
def _named(address: str) -> Iterator[None]:
    """Raise what goes wrong with an object as a UsageError that names it."""
    try:
        yield
    except FileNotFoundError as error:
        raise UsageError(f"there is no object {without_login(address)}") from error
    except Exception as error:  # each store's package has errors of its own
        raise UsageError(f"{without_login(address)} cannot be read: {reason_of(error)}") from error


MAX_BYTES = 4 << 30
"""A manifest of ten million rows has about 300 MB."""

REDIRECTS_MAX = 5
TIMEOUT_S = 60.0
_OK, _REDIRECTS = 200, (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True)
class Remote:
    """A manifest that was fetched: `name` is its address as messages show it, without what may be secret."""

    name: str
    path: Path


def is_remote(address: str) -> bool:
    """Whether a place is named by an address, such as s3://bucket/runs, and not by a path."""
    return "://" in address


@contextmanager
def fetched(
    address: str, *, allow_private: bool = False, max_bytes: int = MAX_BYTES
) -> Iterator[list[Remote]]:
    """Fetch a manifest, or every one that a pattern in an object store names; the copies are gone at the end.

    A file that was opened meanwhile stays readable. Raises UsageError where anything cannot be fetched.
    """
    try:
        scheme = urlsplit(address).scheme.lower()
    except ValueError as error:
        raise UsageError(f"{shown(address)} is no address: {error}") from None
    with tempfile.TemporaryDirectory(prefix="callsheet-manifest-", ignore_cleanup_errors=True) as folder:
        if scheme in ("https", "http"):
            yield [_from_web(address, Path(folder), allow_private=allow_private, max_bytes=max_bytes)]
        elif scheme in STORES:
            yield _from_store(address, Path(folder), max_bytes)
        else:
            raise UsageError(
                f"{shown(address)}: manifests are read from paths, https://, s3:// and gs://, "
                f"not from {scheme}://"
            )


def bare_address(source: str) -> str:
    """Return an address without query and fragment, where signatures stand, and without a password.

    Of an address whose host has `@` and `?` or `#` nothing is shown: what of it is a password or a
    signature is not certain. A path is returned as it is.
    """
    if not is_remote(source):
        return source
    scheme, _, after = source.partition("//")
    host = after.partition("/")[0]
    if "@" in host and not {"?", "#"}.isdisjoint(host):
        return f"{scheme}//[hidden]"
    return without_login(source.partition("?")[0].partition("#")[0], "")


_VERSION = ("versionid=", "generation=", "snapshot=")
"""Parameters that name a version of an object: S3, Google, Azure. They let nobody in."""


def without_secrets(source: str) -> str:
    """Return an address that may be kept in a file: as `bare_address`, with an object's version."""
    query = source.partition("#")[0].partition("?")[2] if is_remote(source) else ""
    version = "&".join(part for part in query.split("&") if part.lower().startswith(_VERSION))
    return bare_address(source) + (f"?{version}" if version else "")


def _bare(address: str) -> str:
    return shown(bare_address(address))


def _save(chunks: Iterable[bytes], path: Path, name: str, max_bytes: int) -> None:
    size = 0
    with path.open("wb") as file:
        for chunk in chunks:
            size += len(chunk)
            if size > max_bytes:
                raise UsageError(f"{name} is larger than {max_bytes:,} bytes; cut the manifest up")
            file.write(chunk)


def _from_web(address: str, folder: Path, *, allow_private: bool, max_bytes: int) -> Remote:
    import httpcore
    import httpx

    name, where = _bare(address), address
    path = folder / (PurePosixPath(urlsplit(address).path).name or "manifest")
    backend: Any = PublicOnly(httpcore.SyncBackend(), allow_private=allow_private)
    timeouts = dict.fromkeys(("connect", "read", "write", "pool"), TIMEOUT_S)
    try:
        with httpcore.ConnectionPool(
            network_backend=backend, ssl_context=httpx.create_ssl_context(), max_connections=1
        ) as pool:
            for _ in range(REDIRECTS_MAX + 1):
                _check_address(where, allow_private=allow_private)
                headers = [("Accept-Encoding", "identity"), ("Host", urlsplit(where).netloc)]
                with pool.stream("GET", where, headers=headers, extensions={"timeout": timeouts}) as reply:
                    if reply.status in _REDIRECTS:
                        where = urljoin(where, header(reply, b"location"))
                    elif reply.status == _OK:
                        _save(reply.iter_stream(), path, name, max_bytes)
                        return Remote(name, path)
                    else:
                        raise UsageError(
                            f"{name} answers {reply.status}; is the address right and not expired?"
                        )
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError) as error:
        raise UsageError(f"{name} cannot be fetched: {str(error) or type(error).__name__}") from None
    except (httpcore.UnsupportedProtocol, ValueError):
        raise UsageError(f"{name} is no address that can be fetched") from None
    raise UsageError(f"{name} redirects more than {REDIRECTS_MAX} times")


def header(reply: Any, name: bytes) -> str:
    """Return a header of a reply of httpcore, "" where there is none."""
    return next((value.decode("latin-1") for key, value in reply.headers if key.lower() == name), "")


def _check_address(address: str, *, allow_private: bool) -> None:
    parts = urlsplit(address)
    if parts.scheme.lower() != "https" and not (allow_private and parts.scheme.lower() == "http"):
        raise UsageError(f"{_bare(address)}: only https:// is fetched")
    if parts.username is not None or parts.password is not None:
        raise UsageError(f"{_bare(address)}: leave name and password out of the address; use a presigned one")


class PublicOnly:
    """Connects to public addresses alone: names are resolved here, and the answer is what is connected to."""

    def __init__(self, inner: Any, *, allow_private: bool) -> None:
        self._inner, self._allow_private = inner, allow_private

    def connect_tcp(self, host: str, port: int, **options: Any) -> Any:
        """Resolve, check, connect. Raises UsageError for an address inside the network."""
        found = [each[4][0] for each in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        if not self._allow_private:
            inside = [
                each for each in found if not ipaddress.ip_address(str(each).partition("%")[0]).is_global
            ]
            if inside:
                raise UsageError(
                    f"{shown(host)} is {inside[0]} inside this network, which is not fetched from; "
                    "CALLSHEET_ALLOW_PRIVATE_HOSTS=true allows it"
                )
        return self._inner.connect_tcp(str(found[0]), port, **options)

    def connect_unix_socket(self, *_: Any, **__: Any) -> Any:
        """Refuse: nothing asks for it."""
        raise UsageError("sockets are not fetched from")

    def sleep(self, seconds: float) -> None:
        """Wait, as the pool's retries would."""
        self._inner.sleep(seconds)


def _from_store(address: str, folder: Path, max_bytes: int) -> list[Remote]:
    filesystem, place = open_store(address)
    try:
        protocol = urlsplit(address).scheme
        found = []
        for number, each in enumerate(places(filesystem, place)):
            name = f"{protocol}://{each}"
            path = folder / str(number) / PurePosixPath(each).name
            path.parent.mkdir()
            with filesystem.open(each, "rb") as file:
                _save(chunks_of(file), path, shown(name), max_bytes)
            found.append(Remote(shown(name), path))
    except UsageError:
        raise
    except FileNotFoundError as error:
        # Google's package names `b/BUCKET/o/KEY`.
        named = re.sub("^b/([^/]+)/o(/|$)", r"\1/", str(error).lstrip("/"))
        why = "" if named in address else f": {shown(str(error))}"
        raise UsageError(f"there is no manifest {_bare(address)}{why}") from None
    except Exception as error:  # each store has exceptions of its own
        raise UsageError(f"{_bare(address)} cannot be read: {shown(str(error))}") from error
    if not found and _is_pattern(place):
        raise UsageError(f"there is no manifest {_bare(address)}")
    if not found:
        raise UsageError(
            f"{_bare(address)} has no Parquet files; name the manifest in it, or a pattern such as "
            f"{_bare(address.rstrip('/'))}/*.csv"
        )
    return found


def places(filesystem: Any, place: str) -> list[str]:
    """Return the files that a place names: one, those of a pattern, or the Parquet files of a folder."""
    if _is_pattern(place):
        return sorted(filesystem.glob(place))
    if not filesystem.isfile(place) and filesystem.isdir(place):
        return sorted(
            each
            for each in filesystem.find(place)
            if each.lower().endswith(PARQUET_SUFFIXES)
            and not any(part.startswith(("_", ".")) for part in each.removeprefix(place).split("/"))
        )
    return [place]


def _is_pattern(place: str) -> bool:
    return any(char in place for char in "*?[")
