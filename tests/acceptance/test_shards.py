"""A run in shards on a work pool: processes are killed, and everything is finished without a person."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from callsheet.ledger import Ledger, verify
from callsheet.sandbox.config import SandboxConfig
from callsheet.sandbox.server import running_sandbox
from tests.procfs import send_signal
from tests.rig.processes import until
from tests.rig.servers import Cluster, cluster

pytestmark = [
    pytest.mark.prefect,
    pytest.mark.postgres,
    pytest.mark.xdist_group("prefect"),
    pytest.mark.timeout(400),
]

JOBS, PART, SLOTS = 8, 4, 3

OWNERS = """
    SELECT part, pid FROM claim
    WHERE expires_ms > extract(epoch FROM clock_timestamp()) * 1000 AND part <> ''
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    """A PostgreSQL of these tests' own."""
    with cluster() as made:
        Ledger.open(made.url).close()
        yield made


@contextmanager
def workers(desk: Any, pool: str, count: int) -> Iterator[None]:
    """Process workers of a pool, which look for flow runs every second."""
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool]
    log = (desk.folder / "workers.log").open("wb")
    started = [
        subprocess.Popen(
            [*command, "--name", f"worker-{number}"],
            env={**os.environ, **desk.env, "PREFECT_WORKER_QUERY_SECONDS": "1"},
            cwd=desk.folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        for number in range(count)
    ]
    try:
        yield
    finally:
        for each in started:
            os.killpg(each.pid, signal.SIGKILL)  # with the flow runs that it has started
            each.wait()
        log.close()


def start(desk: Any, deployment: str) -> None:
    """Start a run of a deployment, as a person does."""
    command = [sys.executable, "-m", "prefect", "deployment", "run", deployment]
    subprocess.run(command, env={**os.environ, **desk.env}, check=True, capture_output=True, timeout=110)


def test_a_shard_and_its_coordinator_are_killed_and_the_keeper_finishes_the_run(desk, server, tmp_path):
    """With -9, while something renders: nothing is bought twice, all files are there, the run is closed."""
    with running_sandbox(SandboxConfig(speed=0.5, draw_seed=False)) as provider:
        for name in ("QUEUE", "REST", "CDN"):
            desk.env[f"CALLSHEET_{name}_URL"] = provider.url
        desk.env |= {
            "CALLSHEET_PLATFORM_URL": f"{provider.url}/v1",
            "CALLSHEET_LEDGER_URL": server.url,
            "FAL_KEY": provider.key,
        }
        rows = [f"boat-{n},A boat in shards {n},seedance-1.0-lite,480p,29\n" for n in range(JOBS)]
        (tmp_path / "shots.csv").write_text("custom_id,prompt,model,resolution,num_frames\n" + "".join(rows))
        options = ["--budget-usd", "5", "-j", str(SLOTS), "--shard-jobs", str(PART), "--work-pool", "boats"]
        done = desk.call("deploy", "shots.csv", *options)
        assert done.returncode == 0, done.stderr
        with workers(desk, "boats", 2):
            start(desk, "run-campaign/shots")
            until(lambda: in_progress(server.url), 120)
            for pid in owners(server.url).values():
                send_signal(pid, signal.SIGKILL)
            start(desk, "keeper/callsheet")
            until(lambda: list(tmp_path.glob("runs/*/summary.json")), 200)
    assert asked(server.url, "SELECT count(*) FROM job WHERE state = 'succeeded'") == JOBS
    assert asked(server.url, "SELECT sum(purchases) FROM job") == JOBS
    with Ledger.open(server.url) as ledger:
        assert ledger.do(verify.verify) == []
    assert len(list(tmp_path.glob("runs/*/media/*.mp4"))) == JOBS
    assert asked(server.url, "SELECT count(closed_ms) FROM run") == 1


def owners(url: str) -> dict[str, int]:
    """Return the processes that own parts of a run now; the coordinator's is called so."""
    with psycopg.connect(url) as connection:
        return dict(connection.execute(OWNERS).fetchall())


def in_progress(url: str) -> bool:
    """Whether a shard is at work, and a coordinator."""
    return len(owners(url)) > 1 and bool(asked(url, "SELECT count(*) FROM job WHERE state = 'in_progress'"))


def asked(url: str, query: str) -> Any:
    """Return the one value that a query finds."""
    with psycopg.connect(url) as connection:
        (value,) = connection.execute(query).fetchone()
        return value
