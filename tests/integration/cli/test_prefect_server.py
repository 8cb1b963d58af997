"""The pins around Prefect hold: its server starts, and a cron deployment really gets a run."""

import gzip
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from importlib import metadata, resources

import pytest

from callsheet.cli.prefect import client_environment, embedded_server

pytestmark = [pytest.mark.prefect, pytest.mark.xdist_group("prefect")]

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


@pytest.fixture(scope="module")
def deployed(tmp_path_factory):
    """An empty home on which a server ran, and what came of a deployment with a cron schedule."""
    home = tmp_path_factory.mktemp("home")
    server = embedded_server(home)
    try:
        server.start()
        server.wait_ready()
        done = subprocess.run(
            [sys.executable, "-c", DEPLOY_AND_WAIT],
            env={**os.environ, **client_environment(server)},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
    finally:
        server.stop()
    return server.home, done


def test_a_cron_deployment_gets_a_run(deployed):
    """On an empty home the server comes up, and a deployment with a cron schedule gets scheduled runs."""
    _, done = deployed
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("scheduled")
    assert "Scheduled" in done.stdout


def test_a_server_started_later_on_a_runs_history_still_registers_blocks(deployed):
    """A run leaves that out to start sooner, and leaves no memo that would say it was done."""
    home, _ = deployed
    with closing(sqlite3.connect(home / "prefect.db")) as database:
        assert database.execute("SELECT count(*) FROM block_type").fetchone() == (0,)
    assert not (home / "memo_store.toml").exists()


def test_the_server_ends_with_its_parent(tmp_path):
    """When the process that started the server is killed, the server ends by itself."""
    code = (
        "from pathlib import Path; from callsheet.cli.prefect import embedded_server;"
        f"s = embedded_server(Path({str(tmp_path)!r})); s.start(); s.wait_ready();"
        "import os; print(s.process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=90, check=False
    )
    pid = int(done.stdout)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.kill(pid, 9)
    pytest.fail("the server outlived its parent")


def test_the_shipped_database_is_prefects_newest():
    """The migrated database that comes with us has the revision that this Prefect wants."""
    packed = resources.files("callsheet.cli") / "data" / f"prefect-{metadata.version('prefect')}.sqlite.gz"
    database = sqlite3.connect(":memory:")
    database.deserialize(gzip.decompress(packed.read_bytes()))
    found = database.execute("SELECT version_num FROM alembic_version").fetchall()
    database.close()
    folder = resources.files("prefect.server.database") / "_migrations" / "versions" / "sqlite"
    scripts = [path.read_text("utf-8") for path in folder.iterdir() if path.name.endswith(".py")]
    assert len(found) == 1
    revision = found[0][0]
    assert any(f'revision = "{revision}"' in text for text in scripts)
    assert not any(f'down_revision = "{revision}"' in text for text in scripts)
