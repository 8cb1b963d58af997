"""Where verified files end up: the run's own folder, or an object store behind it.

A file is always verified on a local disk first, because decoding needs one. With `s3://bucket/runs` (or any
other address that fsspec knows) it is then copied there under the same relative name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from callsheet.errors import UsageError
from callsheet.media.codes import Fault, fault


class Storage(Protocol):
    """A place for the files of runs."""

    def publish(self, local: Path, name: str) -> str:
        """Make the local file stand under `name`, relative to the place; returns its full address.

        Blocks. Raises MediaError (not_stored) where what stands there is not the whole file, or OSError.
        """
        ...


@dataclass(frozen=True, slots=True)
class LocalFolder:
    """A folder on this machine: files are verified where they stay."""

    root: Path

    def publish(self, local: Path, name: str) -> str:
        """Check that the file is there; see `Storage.publish`."""
        path = self.root / name
        if not path.is_file() or not path.samefile(local):
            raise fault(Fault.NOT_STORED, f"{local} is not the file {path}")
        return str(path)


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """A place that fsspec reaches. `root` is the address without its protocol, without a trailing slash."""

    filesystem: Any
    protocol: str
    root: str

    def publish(self, local: Path, name: str) -> str:
        """Copy the file and look whether all of it arrived; see `Storage.publish`."""
        target = f"{self.root}/{name}"
        parent = target.rpartition("/")[0]
        self.filesystem.makedirs(parent, exist_ok=True)
        self.filesystem.put_file(str(local), target)
        self.filesystem.invalidate_cache(parent)
        arrived, whole = self.filesystem.size(target), local.stat().st_size
        if arrived != whole:
            raise fault(
                Fault.NOT_STORED, f"{whole:,} bytes were copied to {target} and {arrived:,} stand there"
            )
        return f"{self.protocol}://{target}"


def open_storage(location: str) -> Storage:
    """Return the place that a folder's name or an address such as `s3://bucket/runs` means.

    Raises UsageError where the protocol is not known or its package is missing.
    """
    protocol, mark, rest = location.partition("://")
    if not mark:
        return LocalFolder(Path(location))
    if protocol == "file":
        return LocalFolder(Path(rest))
    import fsspec  # noqa: PLC0415

    try:
        filesystem, root = fsspec.core.url_to_fs(location)
    except (ImportError, ValueError) as error:
        raise UsageError(f"{location} cannot be written to: {error}") from error
    return ObjectStore(filesystem, protocol, root.rstrip("/"))
