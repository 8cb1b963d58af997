"""What a manifest is read from, without reading it: has any of it changed?"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

from callsheet.errors import UsageError
from manifests.campaign import Campaign
from manifests.readers import local_files
from manifests.readers.remote import is_in_store, is_remote, open_store, places, reason_of, without_password


class Listed(NamedTuple):
    """One file: `mark` is its ETag in a store, its time of change (ns) on a disk."""

    name: str
    size: int
    mark: str


def listing(campaign: Campaign) -> list[Listed]:
    """Return the files of a campaign: its own, and those that its manifest names now, in the order of names.

    A folder, a pattern or a prefix without any file is an empty list. Raises UsageError for an address that
    cannot be listed, and where a store does not answer.
    """
    own = [_on_disk(Path(campaign.file))] if campaign.file else []
    if not is_remote(campaign.manifest):
        try:
            found = local_files(campaign.manifest, campaign.folder)
        except UsageError:
            return []
        return own + [_on_disk(path) for path, _ in found] if found else []
    if not is_in_store(campaign.manifest):
        raise UsageError(
            "only a folder, a file or a prefix of an object store can be watched, no web address"
        )
    there = _in_store(campaign.manifest)
    return own + there if there else []


def fingerprint(files: list[Listed]) -> str:
    """Return a hash over names, sizes and marks; "" for no files."""
    text = "\n".join("\t".join(map(str, each)) for each in files)
    return hashlib.sha256(text.encode()).hexdigest() if files else ""


def _on_disk(path: Path) -> Listed:
    stat = path.stat()
    return Listed(str(path), stat.st_size, str(stat.st_mtime_ns))


def _in_store(address: str) -> list[Listed]:
    filesystem, place = open_store(address)
    try:
        filesystem.invalidate_cache()
        return [_object(name, filesystem.info(name)) for name in places(filesystem, place)]
    except FileNotFoundError:
        return []
    except Exception as error:  # each store's package has errors of its own
        raise UsageError(f"{without_password(address)} cannot be listed: {reason_of(error)}") from error


def _object(name: str, about: dict[str, Any]) -> Listed:
    marks = (about.get(key) for key in ("ETag", "etag", "md5Hash", "LastModified", "mtime", "created"))
    return Listed(name, int(about.get("size") or 0), str(next((each for each in marks if each), "")))
