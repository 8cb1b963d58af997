"""Object stores and file systems that fsspec reaches, and the package that each of them needs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from callsheet.errors import UsageError

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
            raise UsageError(f"{without_password(address)} cannot be used: {error}") from error
        raise UsageError(
            f"{without_password(address)} needs the package {package[0]}, which is not installed; "
            f"install {package[1]}"
        ) from error
    return filesystem, place


def read_object(address: str, max_bytes: int) -> bytes:
    """Return the first `max_bytes` + 1 bytes of an object: one more than allowed tells that it is too large.

    Raises UsageError where it is not there or cannot be read.
    """
    filesystem, place = open_store(address)
    with _named(address):
        content = filesystem.cat_file(place, start=0, end=max_bytes + 1)
    return bytes(content)


def save_object(address: str, path: Path, max_bytes: int) -> None:
    """Copy an object to a file, at most `max_bytes` + 1 of its bytes. Raises UsageError, OSError."""
    filesystem, place = open_store(address)
    with _named(address), filesystem.open(place, "rb") as source, path.open("wb") as target:
        left = max_bytes + 1
        for chunk in chunks_of(source):
            target.write(chunk[:left])
            left -= len(chunk)
            if left <= 0:
                return


def chunks_of(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the rest of a file in pieces of 1 MiB."""
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk


def reason_of(error: Exception) -> str:
    """Return what went wrong in one line of at most 300 characters; a store may use several lines."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text.rstrip(".")[:300]


def without_password(address: str) -> str:
    """Return an address without a name and a password in it."""
    return re.sub(r"//[^/@]*@", "//", address)


@contextmanager
def _named(address: str) -> Iterator[None]:
    """Raise what goes wrong with an object as a UsageError that names it."""
    try:
        yield
    except FileNotFoundError as error:
        raise UsageError(f"there is no object {without_password(address)}") from error
    except Exception as error:  # each store's package has errors of its own
        raise UsageError(f"{without_password(address)} cannot be read: {reason_of(error)}") from error
