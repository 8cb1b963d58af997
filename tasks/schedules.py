"""The schedule of a deployment: what is taken as one."""

from __future__ import annotations

import asyncio
import difflib
from zoneinfo import available_timezones

from prefect.server.schemas.schedules import CronSchedule
from pydantic import ValidationError

from callsheet.errors import UsageError

FIELDS = 5
"""Of a schedule. Prefect would also take a sixth one, for seconds, and names such as @daily."""


def check_schedule(cron: str, timezone: str) -> None:
    """Raise UsageError for a schedule that is none or never comes, and for an unknown time zone."""
    zones = available_timezones()
    if timezone not in zones:
        near = difflib.get_close_matches(timezone, zones, n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(near)}?" if near else ", such as Europe/Berlin or UTC"
        raise UsageError(f"--timezone: there is no time zone {timezone[:80]!r}{hint}")
    schedule = _read(cron, timezone)
    if schedule is None:
        raise UsageError(
            f"{cron[:80]!r} is no schedule. Write five fields: minute, hour, day of the month, month, day of "
            "the week; '0 2 * * *' is every night at two"
        )
    try:
        asyncio.run(schedule.get_dates(n=1))
    except ValueError:
        raise UsageError(
            f"the schedule {cron[:80]!r} never comes: no month that it names has such a day. Write a day "
            "that it has; '0 2 28 2 *' is the 28th of February at two"
        ) from None


def _read(cron: str, timezone: str) -> CronSchedule | None:
    try:
        return CronSchedule(cron=cron, timezone=timezone) if len(cron.split()) == FIELDS else None
    except (ValidationError, ValueError):
        return None
