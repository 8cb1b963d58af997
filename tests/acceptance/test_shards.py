"""A run in shards on a work pool: whatever dies or is cut off, everything is finished without a person."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import psycopg
import pytest

from callsheet.ledger import Ledger, verify
from callsheet.sandbox.config import SandboxConfig
from callsheet.sandbox.launcher import SandboxAddress
from callsheet.sandbox.server import running_sandbox
from tests.procfs import kill_with_descendants, send_signal
from tests.rig.networks import Machine, machine
from tests.rig.processes import until
from tests.rig.servers import Cluster, cluster, prefect_server

pytestmark = [
    pytest.mark.prefect,
    pytest.mark.postgres,
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
def workers(desk: Any, pool: str, count: int, *options: str, on: Machine | None = None) -> Iterator[None]:
    """Process workers of a pool, which look for flow runs every second, here or on another machine."""
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, *options]
    place = "there" if on else "here"
    log = (desk.folder / f"workers-{place}.log").open("ab")
    started = [
        subprocess.Popen(
            on.command(named) if on else named,
            env={**os.environ, **desk.env, "PREFECT_WORKER_QUERY_SECONDS": "1"},
            cwd=desk.folder,
            stdout=log,
            stderr=log,
        )
        for named in ([*command, "--name", f"{place}-{number}"] for number in range(count))
    ]
    try:
        yield
    finally:
        for each in started:
            kill_with_descendants(each.pid)
            each.wait()
        log.close()


def start(desk: Any, deployment: str) -> None:
    """Start a run of a deployment, as a person does."""
    command = [sys.executable, "-m", "prefect", "deployment", "run", deployment]
    subprocess.run(command, env={**os.environ, **desk.env}, check=True, capture_output=True, timeout=110)


def deploy(desk: Any, provider: SandboxAddress, ledger_url: str, *, jobs: int) -> None:
    """Deploy a campaign in parts of PART jobs to the work pool `boats`, over this provider and ledger."""
    for name in ("QUEUE", "REST", "CDN"):
        desk.env[f"CALLSHEET_{name}_URL"] = provider.url
    desk.env |= {
        "CALLSHEET_PLATFORM_URL": f"{provider.url}/v1",
        "CALLSHEET_LEDGER_URL": ledger_url,
        "FAL_KEY": provider.key,
    }
    rows = [f"boat-{n},A boat in shards {n},seedance-1.0-lite,480p,29\n" for n in range(jobs)]
    manifest = desk.folder / "shots.csv"
    manifest.write_text("custom_id,prompt,model,resolution,num_frames\n" + "".join(rows))
    options = ["--budget-usd", "5", "-j", str(SLOTS), "--shard-jobs", str(PART), "--work-pool", "boats"]
    done = desk.call("deploy", "shots.csv", *options)
    assert done.returncode == 0, done.stderr


def test_a_shard_and_its_coordinator_are_killed_and_the_keeper_finishes_the_run(desk, server):
    """With -9, while something renders: nothing is bought twice, all files are there, the run is closed."""
    with running_sandbox(SandboxConfig(speed=0.5, draw_seed=False)) as provider:
        deploy(desk, provider, server.url, jobs=JOBS)
        with workers(desk, "boats", 2):
            start(desk, "run-campaign/shots")
            until(lambda: in_progress(server.url), 120)
            for pid in owners(server.url).values():
                send_signal(pid, signal.SIGKILL)
            start(desk, "keeper/callsheet")
            until(lambda: is_finished(desk), 200)
        assert_bought_once(desk, provider, server.url, jobs=JOBS)


KEEPER = """
import asyncio, json, os, sys

from prefect.client.orchestration import get_client
from prefect.events.filters import EventFilter, EventNameFilter

from callsheet.ledger import Ledger, runs, schema
from callsheet.ledger.transaction import write
from callsheet.settings import settings_from
from flows.keeper import keeper

@write()
def forget(tx):
    tx.execute(schema.announcement.delete())

async def told(run_id):
    wanted = EventFilter(event=EventNameFilter(prefix=["callsheet.run."]))
    async with get_client() as client:
        for _ in range(100):
            events = (await client.read_events(filter=wanted, limit=50)).events
            found = [each for each in events if each.payload["run"] == run_id]
            if len(found) > 1:
                break
            await asyncio.sleep(0.2)
    return [[each.event, each.payload["statuses"], each.related[0].role] for each in found]

run_id = sys.argv[1]
with Ledger.open(settings_from(os.environ, sandbox=True).ledger) as ledger:
    ledger.do(runs.reopen_run, run_id)
    ledger.do(forget)
done = [asyncio.run(keeper("callsheet", sandbox=True)) for _ in range(2)]
print(json.dumps([[each["finalized"] for each in done], asyncio.run(told(run_id))]))
"""


def test_a_keeper_tells_prefect_the_end_of_a_run_as_its_own_flow_does(desk):
    """The run's process died between its last video and its end: the same event, once, from the keeper."""
    manifest = desk.folder / "boats.csv"
    manifest.write_text("custom_id,prompt,model,resolution,num_frames\na,A boat,seedance-1.0-lite,480p,29\n")
    done = desk.call("run", "boats.csv", "--sandbox", "--speed", "50", "--yes", "--json")
    assert done.returncode == 0, done.stderr
    run_id = json.loads(done.stdout)["run_id"]
    said = subprocess.run(
        [sys.executable, "-c", KEEPER, run_id],
        env={**os.environ, **desk.env},
        cwd=desk.folder,
        check=True,
        capture_output=True,
        text=True,
        timeout=200,
    ).stdout
    finalized, events = json.loads(said.splitlines()[-1])
    assert finalized == [[run_id], []]
    assert events == [["callsheet.run.finished", {"succeeded": 1}, "flow-run"]] * 2


@pytest.mark.torture
def test_a_worker_that_is_cut_off_the_network_is_replaced(tmp_path, bare_desk, prefect_data):
    """Its shard's renders are taken up elsewhere; when it is back it buys nothing and changes nothing.

    Nobody says goodbye: its sessions at PostgreSQL and Prefect stay open. No slot is taken twice.
    """
    jobs = 3 * PART
    with ExitStack() as ends:
        other = ends.enter_context(machine())
        ledger = ends.enter_context(cluster(other.here, clients="198.18.0.0/15"))
        Ledger.open(ledger.url).close()
        config = SandboxConfig(host=other.here, speed=0.1, draw_seed=False)
        provider = ends.enter_context(running_sandbox(config))
        home = prefect_data(tmp_path / "server") / "prefect"
        shown = ends.enter_context(prefect_server(home, other.here))
        desk = bare_desk
        desk.env |= {"PREFECT_API_URL": shown.url, "PREFECT_HOME": str(tmp_path / "prefect-home")}
        deploy(desk, provider, ledger.url, jobs=jobs)
        ends.enter_context(workers(desk, "boats", 1, "--limit", "1"))
        start(desk, "run-campaign/shots")
        until(lambda: "coordinator" in owners(ledger.url), 120)
        ends.enter_context(workers(desk, "boats", 1, "--limit", "1", on=other))
        until(lambda: in_progress(ledger.url), 120)
        (lost,) = set(owners(ledger.url)) - {"coordinator"}
        token = token_of(ledger.url, lost)
        other.cut()
        ends.enter_context(workers(desk, "boats", 2, "--limit", "1"))
        hurry(provider)
        until(lambda: is_finished(desk), 200)
        assert token_of(ledger.url, lost) > token
        other.mend()
        assert_bought_once(desk, provider, ledger.url, jobs=jobs)


@pytest.mark.torture
def test_prefects_server_and_then_the_database_are_restarted_under_shards(tmp_path, bare_desk, prefect_data):
    """Shards go on while Prefect is away, and wait while the ledger is; the coordinator starts the rest."""
    jobs = 4 * PART
    with ExitStack() as ends:
        ledger = ends.enter_context(cluster())
        Ledger.open(ledger.url).close()
        provider = ends.enter_context(running_sandbox(SandboxConfig(speed=0.5, draw_seed=False)))
        home = prefect_data(tmp_path / "server") / "prefect"
        shown = ends.enter_context(prefect_server(home))
        desk = bare_desk
        desk.env |= {"PREFECT_API_URL": shown.url, "PREFECT_HOME": str(tmp_path / "prefect-home")}
        deploy(desk, provider, ledger.url, jobs=jobs)
        ends.enter_context(workers(desk, "boats", 2))
        start(desk, "run-campaign/shots")
        until(lambda: in_progress(ledger.url), 120)
        shown.kill()
        before = succeeded(ledger.url)
        until(lambda: succeeded(ledger.url) > before + 1, 120)
        shown.start()
        until(lambda: in_progress(ledger.url), 120)
        ledger.stop()
        ledger.start()
        until(lambda: is_finished(desk), 200)
        assert_bought_once(desk, provider, ledger.url, jobs=jobs)


def is_finished(desk: Any) -> bool:
    """Whether the run has left its summary."""
    return bool(list(desk.folder.glob("runs/*/summary.json")))


def assert_bought_once(desk: Any, provider: SandboxAddress, ledger_url: str, *, jobs: int) -> None:
    """Nothing is bought twice, lost, or bought past the slots; the ledger is sound, the run is over."""
    key = {"Authorization": f"Key {provider.key}"}
    truth = httpx.get(f"{provider.url}/_sandbox/ledger", headers=key).json()
    prompts = [each["arguments"]["prompt"] for each in truth["accepted"]]
    assert len(prompts) == len(set(prompts)) == jobs
    assert truth["open_max"] <= SLOTS
    assert succeeded(ledger_url) == asked(ledger_url, "SELECT sum(purchases) FROM job") == jobs
    with Ledger.open(ledger_url) as ledger:
        assert ledger.do(verify.verify) == []
    assert len(list(desk.folder.glob("runs/*/media/*.mp4"))) == jobs
    assert asked(ledger_url, "SELECT count(closed_ms) FROM run") == 1


def hurry(provider: SandboxAddress) -> None:
    """Let what starts to render from now on be there at once."""
    key = {"Authorization": f"Key {provider.key}"}
    httpx.post(f"{provider.url}/_sandbox/speed", headers=key, json={"speed": 1000}).raise_for_status()


def succeeded(url: str) -> int:
    """Return how many jobs have succeeded."""
    return int(asked(url, "SELECT count(*) FROM job WHERE state = 'succeeded'"))


def token_of(url: str, part: str) -> int:
    """Return the fencing token of a part."""
    return int(asked(url, "SELECT fencing_token FROM claim WHERE part = %s", part))


def owners(url: str) -> dict[str, int]:
    """Return the processes that own parts of a run now; the coordinator's is called so."""
    with psycopg.connect(url) as connection:
        return dict(connection.execute(OWNERS).fetchall())


def in_progress(url: str) -> bool:
    """Whether a shard renders and a coordinator waits. No submission is under way: a kill would lose it."""
    rendering = asked(url, "SELECT count(*) FROM job WHERE state = 'in_progress'")
    sending = asked(url, "SELECT count(*) FROM job WHERE state IN ('held', 'submitting')")
    return len(owners(url)) > 1 and rendering and not sending


def asked(url: str, query: str, *values: Any) -> Any:
    """Return the one value that a query finds."""
    with psycopg.connect(url) as connection:
        (value,) = connection.execute(query, values).fetchone()
        return value
