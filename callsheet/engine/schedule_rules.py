"""When a campaign is run: which of several scheduled runs is carried out, and when a watched manifest is run.

Missed runs are made good once, or never. A watched manifest is run where its files have changed, and two
looks in a row saw the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from manifests.planner import written_campaign
from manifests.readers.listing import fingerprint, listing

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

    `counts` is False for a run that was cancelled or was superseded itself.
    """

    due_at: datetime
    begun_at: datetime | None = None
    counts: bool = True


def superseded(
    due_at: datetime, others: Iterable[ScheduledRun], *, now: datetime, rules: ScheduleRules
) -> str | None:
    """Return why a scheduled run is not carried out, None where it is. All times have a time zone.

    Where runs wait for each other, the newest one that is due is carried out: exactly one of them is the
    newest. Where overlapping runs are skipped, a later one may be cancelled by Prefect while this one looks,
    so the first is carried out, and it stands for those that were due before it began.
    """
    if rules.catch_up == "never" and now - due_at > LATE:
        return f"missed: it was due at {shown(due_at)}, and missed runs are not caught up"
    counted = [other for other in others if other.counts]
    if rules.overlap == "wait":
        later = [other.due_at for other in counted if due_at < other.due_at <= now]
    else:
        later = [other.due_at for other in counted if other.begun_at is not None and other.begun_at > due_at]
    return f"superseded by the run of {shown(max(later))}" if later else None


def shown(at: datetime) -> str:
    """Write a moment for a message: `2026-11-03 02:00 UTC`."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


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
