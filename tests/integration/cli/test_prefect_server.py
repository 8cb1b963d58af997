"""The pins around Prefect hold: its server starts, and a cron deployment really gets a run."""

import os
import subprocess
import sys

import pytest

from callsheet.cli.prefect import client_environment, own_server

pytestmark = pytest.mark.prefect

DEPLOY_AND_WAIT = """
import asyncio, sys
from datetime import UTC, datetime, timedelta
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId
from prefect.client.schemas.schedules import CronSchedule

@flow
def nightly():
    pass

async def main():
    async with get_client() as client:
        flow_id = await client.create_flow(nightly)
        schedule = DeploymentScheduleCreate(schedule=CronSchedule(cron="*/5 * * * *"), active=True)
        deployment_id = await client.create_deployment(flow_id, name="nightly", schedules=[schedule])
        wanted = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployment_id]))
        end = datetime.now(UTC) + timedelta(seconds=60)
        while datetime.now(UTC) < end:
            runs = await client.read_flow_runs(flow_run_filter=wanted)
            if runs:
                print("scheduled", len(runs), runs[0].state_name)
                return
            await asyncio.sleep(0.2)
        sys.exit("no run was scheduled within 60 s")

asyncio.run(main())
"""


def test_a_cron_deployment_gets_a_run(tmp_path):
    """On an empty home the server comes up, and a deployment with a cron schedule gets scheduled runs."""
    with own_server(tmp_path) as server:
        server.wait_ready()
        done = subprocess.run(
            [sys.executable, "-c", DEPLOY_AND_WAIT],
            env={**os.environ, **client_environment(server.url, os.environ)},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("scheduled")
    assert "Scheduled" in done.stdout
    # Parameters of runs are in there, with paths and budgets.
    home = tmp_path / "prefect"
    assert {path.stat().st_mode & 0o077 for path in (home, *home.rglob("*"))} == {0}


NIGHTS = """
import asyncio
from datetime import UTC, datetime
from zoneinfo import ZoneInfo
from prefect.server.schemas.schedules import CronSchedule

for zone, month, day in [("Europe/Berlin", 3, 27), ("Europe/Berlin", 10, 30), ("America/New_York", 11, 6)]:
    hour = "2" if zone == "Europe/Berlin" else "1"
    nightly = CronSchedule(cron=f"30 {hour} * * *", timezone=zone)
    start = datetime(2027, month, day, tzinfo=ZoneInfo(zone))
    dates = asyncio.run(nightly.get_dates(n=3, start=start))
    print(*(f"{at.astimezone(ZoneInfo(zone)):%m-%dT%H:%M%z}" for at in dates))

for month, day in [(3, 28), (10, 31)]:
    hourly = CronSchedule(cron="0 * * * *", timezone="Europe/Berlin")
    start = datetime(2027, month, day, 1, tzinfo=ZoneInfo("Europe/Berlin"))
    print(*(f"{at.astimezone(UTC):%m-%dT%H}" for at in asyncio.run(hourly.get_dates(n=3, start=start))))
"""


def test_prefect_starts_one_run_in_a_night_in_which_the_clock_changes():
    """An hour that is missing is the next one, and one that comes twice is the first, also every hour."""
    done = subprocess.run(
        [sys.executable, "-c", NIGHTS], check=True, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.splitlines() == [
        "03-27T02:30+0100 03-28T03:30+0200 03-29T02:30+0200",
        "10-30T02:30+0200 10-31T02:30+0200 11-01T02:30+0100",
        "11-06T01:30-0400 11-07T01:30-0400 11-08T01:30-0500",
        "03-28T00 03-28T01 03-28T02",
        "10-30T23 10-31T00 10-31T02",
    ]
