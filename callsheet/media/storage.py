"""The object store behind a run's folder.

Files are made and verified on a local disk, because decoding needs one. With `s3://bucket/runs`, or any
other address that fsspec knows, each is then copied there under the same relative name. Nothing here creates
a bucket.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from callsheet.errors import UsageError
from callsheet.media.codes import MediaErrorCode, media_error

# In these stores folders exist by the names of their objects alone, and "making" one creates a bucket.
_WITHOUT_FOLDERS = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci", "r2"})


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """A place that fsspec reaches. `root` is the address without its protocol and a trailing slash."""

    filesystem: Any
    protocol: str
    root: str

    def publish(self, local: Path, name: str) -> str:
        """Copy a local file to `name` (relative to the root), check its size, and return its full address.

        Blocks. Raises MediaError (not_stored) where fewer or more bytes arrived, OSError, or whatever the
        store's package raises.
        """
        target = f"{self.root}/{name}"
        self.make_parent(target)
        self.filesystem.put_file(str(local), target)
        self.filesystem.invalidate_cache(target.rpartition("/")[0])
        arrived, whole = self.filesystem.size(target), local.stat().st_size
        if arrived != whole:
            raise media_error(
                MediaErrorCode.NOT_STORED,
                f"{whole:,} bytes were copied to {target}, but {arrived:,} are there",
            )
        return f"{self.protocol}://{target}"

    def fetch(self, name: str, local: Path) -> None:
        """Copy `name` (relative to the root) to a local file. Blocks. Raises as the store's package does."""
        self.filesystem.get_file(f"{self.root}/{name}", str(local))

    def make_parent(self, target: str) -> None:
        """Make the folder of a name, where the store has folders."""
        if self.protocol not in _WITHOUT_FOLDERS:
            self.filesystem.makedirs(target.rpartition("/")[0], exist_ok=True)


def open_storage(address: str) -> ObjectStore:
    """Return the object store that an address such as `s3://bucket/runs` names; nothing is contacted.

    Raises UsageError where the protocol is unknown or its package is missing.
    """
    from fsspec.core import url_to_fs

    protocol = address.partition("://")[0]
    try:
        filesystem, root = url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise UsageError(f"{_shown(address)} cannot be used for results: {error}") from error
    return ObjectStore(filesystem, protocol, root.rstrip("/"))


def check_writable(address: str) -> None:
    """Check that results can be written to an object store, before anything is bought. Blocks.

    Writes an object of 40 bytes below the address and deletes it. Does not create a bucket. Raises
    UsageError where the bucket is missing, the credentials are refused, or the store cannot be reached.
    """
    store = open_storage(address)
    name = f"{store.root}/.callsheet-write-test-{secrets.token_hex(8)}"
    try:
        store.make_parent(name)
        store.filesystem.pipe_file(name, b"callsheet checks that it can write here\n")
        store.filesystem.rm_file(name)
    except Exception as error:  # each store's package has errors of its own
        why = _reason(error)
        raise UsageError(
            f"results cannot be written to {_shown(address)}: {why}. Nothing was sent. Check the "
            "bucket's name, the credentials and the network; Callsheet does not create buckets."
        ) from error


def _reason(error: Exception) -> str:
    """Return what went wrong in one line; the store's own text may run over several."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text.rstrip(".")[:300]


def _shown(address: str) -> str:
    """Return an address without a name and a password in it."""
    return re.sub(r"//[^/@]*@", "//", address)
