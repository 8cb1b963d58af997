"""When a watched manifest is run: its files have changed, and two looks in a row saw the same."""

from __future__ import annotations

from typing import NamedTuple

from manifests.planner import written_campaign
from manifests.readers.listing import fingerprint, listing


class Watched(NamedTuple):
    """What is remembered between two looks: the files as last seen, and as they were when a run began."""

    seen: str = ""
    started: str = ""


def look(before: Watched, now: str) -> tuple[Watched, bool]:
    """Return what to remember, and whether a run is due. `now` is the fingerprint of the files, "" for none.

    A file that is still being written changes between two looks, so nothing is started for it yet.
    """
    is_due = bool(now) and now == before.seen and now != before.started
    return Watched(now, now if is_due else before.started), is_due


def fingerprint_of(source: str) -> str:
    """Return the fingerprint of a source's files now. Raises UsageError or ManifestError as planning does."""
    return fingerprint(listing(written_campaign(source)))
