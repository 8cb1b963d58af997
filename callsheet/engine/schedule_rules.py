"""When a campaign is run: which of several scheduled runs is carried out, and when a watched manifest is run.

Missed runs are made good once, or never. A watched manifest is run where its files have changed, and two
looks in a row saw the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from callsheet.errors import UsageError, without_login
from manifests.campaign import Campaign
from manifests.planner import written_campaign
from manifests.readers import local_files
from manifests.readers.remote import is_in_store, is_remote, open_store, places, reason_of

LATE = timedelta(hours=1)
"""How late a scheduled run may begin where missed ones are never caught up."""


class ScheduleRules(BaseModel):
    """What a schedule does with runs that overlap and with runs that were missed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    overlap: Literal["wait", "skip"] = Field(
        default="wait", description="A run that is due while another one goes on waits for it, or is skipped"
    )
    catch_up: Literal["once", "never"] = Field(
        default="once",
        description="Runs missed while no worker was there are made good by one run, or by none",
    )


@dataclass(frozen=True, slots=True)
class ScheduledRun:
    """Another run of the same schedule. `begun_at` is None until it begins.

    `counts` is False for a run that was cancelled, crashed before it began, or was superseded itself;
    `skipped` is True where Prefect cancelled it because another one had the place.
    """

    due_at: datetime
    begun_at: datetime | None = None
    counts: bool = True
    skipped: bool = False


def superseded(
    due_at: datetime, others: Iterable[ScheduledRun], *, now: datetime, rules: ScheduleRules
) -> str | None:
    """Return why a scheduled run is not carried out, None where it is. All times have a time zone.

    `now` is by the clock that says which runs are due: Prefect's server's.

    Where runs wait for each other, the newest one that is due is carried out: exactly one of them is the
    newest. Where overlapping runs are skipped, a later one may be cancelled by Prefect while this one looks,
    so the first is carried out, and it stands for those that were due before it began. So is a missed one
    where Prefect skips a run for it that came in time.
    """
    others = list(others)
    counted = [other for other in others if other.counts]
    if rules.catch_up == "never" and now - due_at > LATE:
        if rules.overlap == "skip" and _is_another_skipped(others, now):
            return None
        return f"missed: it was due at {shown(due_at)}, and missed runs are not caught up"
    if rules.overlap == "wait":
        later = [other.due_at for other in counted if due_at < other.due_at <= now]
    else:
        later = [other.due_at for other in counted if other.begun_at is not None and other.begun_at > due_at]
    return f"superseded by the run of {shown(max(later))}" if later else None


def _is_another_skipped(others: Iterable[ScheduledRun], now: datetime) -> bool:
    """Say whether a run that came in time is skipped, or will be, and none that began later stands for it."""
    in_time = [
        other.due_at
        for other in others
        if other.due_at >= now - LATE
        and (other.skipped or (other.counts and other.begun_at is None and other.due_at <= now))
    ]
    begun = [other.begun_at for other in others if other.counts and other.begun_at is not None]
    return any(all(at < due_at for at in begun) for due_at in in_time)


def shown(at: datetime) -> str:
    """Write a moment for a message: `2026-11-03 02:00 UTC`."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


class Watched(NamedTuple):
    """What is remembered between two looks: the files as last seen, and as they were when a run was started.

    `run` is the id of that flow run.
    """

    seen: str = ""
    started: str = ""
    run: str = ""


def look(before: Watched, now: str) -> tuple[Watched, bool]:
    """Return what to remember, and whether a run is due. `now` is the fingerprint of the files, "" for none.

    A file that is still being written changes between two looks, so nothing is started for it yet.
    """
    is_due = bool(now) and now == before.seen and now != before.started
    return before._replace(seen=now, started=now if is_due else before.started), is_due


def fingerprint_of(source: str) -> str:
    """Return the fingerprint of a source's files now. Raises UsageError or ManifestError as planning does."""
    return fingerprint(listing(written_campaign(source)))


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
        raise UsageError(f"{without_login(address)} cannot be listed: {reason_of(error)}") from error


def _object(name: str, about: dict[str, Any]) -> Listed:
    marks = (about.get(key) for key in ("ETag", "etag", "md5Hash", "LastModified", "mtime", "created"))
    return Listed(name, int(about.get("size") or 0), str(next((each for each in marks if each), "")))
