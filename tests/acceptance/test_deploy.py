"""Deployments of campaigns on a real Prefect server, and a worker that carries one out."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import prefect as installed
import pytest

from callsheet.cli.prefect import own_server
from tests.procfs import kill_with_descendants

pytestmark = pytest.mark.prefect

ROOT = Path(__file__).parents[2]
SHOTS = "custom_id,prompt,model,resolution,num_frames\na,A boat,seedance-1.0-lite,480p,29\n"

DEAD_RUNS = "Callsheet: flow runs without a heartbeat have crashed"

COMMANDS = """
import contextlib, io, json, sys
from callsheet.cli.main import run_command

told = []
for words in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run_command(words)
    told.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(told))
"""

PAUSE = """
import asyncio, sys
from prefect.client.orchestration import get_client

async def main(name):
    async with get_client() as client:
        found = await client.read_deployment_by_name(name)
        await client.update_deployment_schedule(found.id, found.schedules[0].id, active=False)

asyncio.run(main(sys.argv[1]))
"""


def python(desk, script: str, *arguments: str) -> str:
    """Run a script with the desk's environment and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=desk.folder,
        env={**os.environ, **desk.env},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def commands(desk, *lines: list[str]) -> list[tuple[int, str, str]]:
    """Run several commands in one process: importing Prefect takes a second."""
    return [tuple(each) for each in json.loads(python(desk, COMMANDS, json.dumps(lines)).splitlines()[-1])]


def campaign(desk, name: str) -> str:
    """Write a campaign file and return its name."""
    (desk.folder / "shots.csv").write_text(SHOTS)
    path = desk.folder / f"{name}.toml"
    path.write_text(f'[campaign]\nname = "{name}"\nmanifest = "shots.csv"\n[budget]\ntotal_usd = 4\n')
    return path.name


def changes(told: tuple[int, str, str]) -> dict[str, dict]:
    """What a `deploy --json` says of each deployment."""
    code, out, err = told
    assert code == 0, err
    return {each["name"]: each for each in json.loads(out)["deployments"]}


def line(told: tuple[int, str, str], name: str) -> dict | None:
    """What `deploy list --json` says of one deployment."""
    return next((each for each in json.loads(told[1])["deployments"] if each["deployment"] == name), None)


def test_each_campaign_has_its_own_deployment_and_a_second_deploy_changes_it(desk):
    """The other campaign's schedule stays; a dry run names what would change, and changes nothing."""
    night, noon = campaign(desk, "night"), campaign(desk, "noon")
    every_night = ["deploy", night, "--cron", "0 2 * * *", "--timezone", "Europe/Berlin", "--fit", "--json"]
    at_three = ["deploy", night, "--cron", "0 3 * * *", "--overlap", "skip", "--json"]
    listed = ["deploy", "list", "--json"]
    told = commands(
        desk,
        [*every_night, "--dry-run"],
        listed,
        every_night,
        ["deploy", noon, "--cron", "0 12 * * *", "-j", "3", "--json"],
        every_night,
        [*at_three, "--dry-run"],
        listed,
        at_three,
        ["deploy", night, "--json"],
        listed,
        ["doctor", "--json"],
    )
    name = "run-campaign/night"
    assert changes(told[0])[name]["change"] == "new"
    assert line(told[1], name) is None
    assert changes(told[2])[name]["fields"]["request.fit"] == {"old": "not set", "new": "true"}
    assert [each["change"] for each in changes(told[4]).values()] == ["unchanged"] * len(changes(told[4]))
    wanted = {
        "schedule": {"old": "0 2 * * * Europe/Berlin", "new": "0 3 * * * UTC"},
        "overlap": {"old": "wait", "new": "skip"},
        "schedule.overlap": {"old": "wait", "new": "skip"},
        "request.fit": {"old": "true", "new": "not set"},
    }
    assert changes(told[5])[name] == {"name": name, "change": "changed", "fields": wanted}
    assert line(told[6], name)["schedule"] == "0 2 * * * Europe/Berlin"
    assert changes(told[7])[name]["fields"] == wanted
    assert line(told[9], name)["schedule"] == "none"
    assert line(told[9], "run-campaign/noon")["schedule"] == "0 12 * * * UTC"
    checked = json.loads(told[10][1])
    assert (checked["server"]["ok"], checked["workers"]["ok"]) == (True, False)
    assert "no worker of the work pool callsheet answers" in checked["workers"]["text"]


def test_a_paused_schedule_stays_paused_and_a_removed_campaign_is_gone(desk):
    """Deploying again does not undo what a person did in Prefect's pages."""
    tides = campaign(desk, "tides")
    (told,) = commands(desk, ["deploy", tides, "--cron", "0 2 * * *", "--work-pool", "sea", "--json"])
    assert set(changes(told)) == {
        "run-campaign/tides",
        "reconcile-ledger/callsheet",
        "keeper/callsheet",
        "render-shard/sea",
    }
    python(desk, PAUSE, "run-campaign/tides")
    told = commands(
        desk,
        ["deploy", tides, "--cron", "0 2 * * *", "--fit"],
        ["deploy", "list", "--json"],
        ["deploy", "remove", "tides"],
        ["deploy", "list", "--json"],
        ["deploy", "remove", "tides"],
    )
    assert line(told[1], "run-campaign/tides")["paused"] == "yes"
    keeper = line(told[1], "keeper/callsheet")
    assert (keeper["schedule"], keeper["overlap"]) == ("* * * * * UTC", "skip")
    assert told[2][:2] == (0, "removed run-campaign/tides\n")
    assert line(told[3], "run-campaign/tides") is None
    assert (told[4][0], "there is no deployment of the campaign 'tides'" in told[4][2]) == (2, True)


def test_what_cannot_be_deployed_is_named_with_the_way_out(desk):
    """Each is exit code 2 and a sentence; nothing is registered."""
    wrong, percent = campaign(desk, "wrong"), campaign(desk, "50% off")
    told = commands(
        desk,
        ["deploy", wrong, "--cron", "at two"],
        ["deploy", wrong, "--cron", "0 2 * * *", "--timezone", "Europe/Berln"],
        ["deploy", wrong, "--work-pool", "cluster", "--pool-type", "kubernetes"],
        ["deploy", wrong, "--timezone", "Europe/Berlin"],
        ["deploy", percent],
        ["deploy", wrong, "--canary", "0"],
        ["deploy", "list", "--json"],
    )
    said = [
        "'at two' is no schedule. Write five fields",
        "did you mean Europe/Berlin",
        "prefect work-pool create cluster --type kubernetes",
        "give --cron as well",
        "Give the campaign another name",
        "--canary: found 0",
    ]
    assert [(code, text in err) for (code, _, err), text in zip(told, said, strict=False)] == [(2, True)] * 6
    assert line(told[6], "run-campaign/wrong") is None


def test_a_dry_run_names_the_work_pool_that_would_be_made(desk):
    """A missing process pool is a change like a deployment; a second deploy finds it unchanged."""
    lake = ["deploy", campaign(desk, "lake"), "--work-pool", "lake"]
    told = commands(
        desk, [*lake, "--dry-run"], [*lake, "--dry-run", "--json"], [*lake, "--json"], [*lake, "--json"]
    )
    assert told[0][1].startswith("would register work pool lake\n  type: process\n")
    new = {"name": "lake", "change": "new", "fields": {"type": {"old": "not set", "new": "process"}}}
    pools = [json.loads(out)["work_pools"] for _, out, _ in told[1:]]
    assert pools == [[new], [new], [{"name": "lake", "change": "unchanged", "fields": {}}]]


def test_the_prefect_file_is_what_deploy_registers(desk):
    """`prefect deploy` takes it, and `callsheet deploy` finds nothing to change afterwards."""
    file = (ROOT / "deploy" / "prefect.yaml").read_text()
    source = campaign(desk, "spring-launch")
    local = file.replace("/campaigns/spring/campaign.toml", str(desk.folder / source))
    (desk.folder / "prefect.yaml").write_text(local)
    commands(desk, ["deploy"])  # makes the work pool, as a person does with `prefect work-pool create`
    prefect(desk, "--no-prompt", "deploy", "--prefect-file", str(desk.folder / "prefect.yaml"), "--all")
    at_two = ["--cron", "0 2 * * *", "--timezone", "Europe/Berlin"]
    (told,) = commands(
        desk, ["deploy", source, *at_two, "--fit", "--reconcile-cron", "0 6 * * *", "--dry-run", "--json"]
    )
    assert {name: each["change"] for name, each in changes(told).items()} == {
        "run-campaign/spring-launch": "unchanged",
        "reconcile-ledger/callsheet": "unchanged",
        "keeper/callsheet": "unchanged",
        "render-shard/callsheet": "unchanged",
    }


TRUTH = """
import asyncio, json
from datetime import UTC, datetime, timedelta
from prefect.client.orchestration import get_client
from prefect.client.schemas.sorting import LogSort
from prefect.events.filters import EventFilter, EventNameFilter

async def main():
    async with get_client() as client:
        wanted = EventFilter(event=EventNameFilter(prefix=["callsheet."]))
        for _ in range(100):
            page = await client.read_events(filter=wanted, limit=50)
            mine = [each for each in page.events if each.payload.get("campaign") == "watched"]
            if any(each.event == "callsheet.run.finished" for each in mine):
                break
            await asyncio.sleep(0.2)
        artifacts = await client.read_artifacts()
        automations = await client._client.post("/automations/filter", json={})
        logs = await client.read_logs(limit=200, sort=LogSort.TIMESTAMP_DESC)
    print(json.dumps({
        "logs": [each.message for each in logs],
        "events": {each.event: each.payload for each in mine},
        "artifacts": {each.type: [a.data for a in artifacts if a.type == each.type] for each in artifacts},
        "automations": {each["name"]: each["enabled"] for each in automations.json()},
    }))

asyncio.run(main())
"""

LOOKS = """
import asyncio, json, sys
from flows.watch_manifest import watch_manifest

async def main(source, deployment):
    states = [await watch_manifest(source, deployment, return_state=True) for _ in range(3)]
    print(json.dumps([each.name for each in states]))

asyncio.run(main(*sys.argv[1:]))
"""


def test_a_watched_campaign_runs_when_its_manifest_is_whole_and_prefect_shows_it(desk):
    """The third look starts nothing more. The run has events, a moving progress and a link to its report."""
    source = campaign(desk, "watched")
    pool = ("--work-pool", "watched")
    options = ["--sandbox", "--speed", "50", "--budget-usd", "0.025"]
    commands(
        desk,
        ["deploy", source, "--watch", *pool, *options, "--automations"],
        ["deploy", "remove", "keeper/callsheet-sandbox"],
        ["deploy", "remove", "watch-manifest/watched"],
    )
    looks = python(desk, LOOKS, str(desk.folder / source), "run-campaign/watched").splitlines()[-1]
    assert json.loads(looks) == ["Changing", "Started", "Unchanged"]
    prefect(desk, "worker", "start", "--pool", "watched", "--run-once")
    (run,) = (desk.folder / "runs").glob("watched-*")
    truth = json.loads(python(desk, TRUTH).splitlines()[-1])
    assert {"callsheet.budget.50", "callsheet.budget.80", "callsheet.run.finished"} <= set(truth["events"])
    told = truth["events"]["callsheet.run.finished"]
    assert (told["run"], told["campaign"], told["exit_code"]) == (run.name, "watched", 0)
    assert told["actual_usd"] == json.loads((run / "summary.json").read_text())["actual_usd"]
    assert 100.0 in truth["artifacts"]["progress"]
    log = "\n".join(truth["logs"])
    assert "to buy: 1, " in log
    assert f"watched (sandbox) finished: 1 succeeded. Cost: ${told['actual_usd']}" in log
    assert f"Completed('media/a.mp4, {told['actual_usd']} USD')" in log
    assert any(f"[Report]({run.as_uri()}/report.html)" in each for each in truth["artifacts"]["markdown"])
    assert truth["automations"]["Callsheet: an account is frozen"] is False  # no notification block yet
    assert truth["automations"][DEAD_RUNS] is True


SKIPPED_LOOKS = """
import asyncio, json, sys
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId
from prefect.states import Cancelled, Pending
from prefect.variables import Variable
from flows.watch_manifest import watch_manifest

async def main(source, deployment):
    said = []
    async with get_client() as client:
        found = await client.read_deployment_by_name(deployment)
        mine = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[found.id]))

        async def begins():
            run = await client.create_flow_run_from_deployment(found.id)
            await client.set_flow_run_state(run.id, Pending())
            return run.id

        async def look():
            said.append((await watch_manifest(source, deployment, return_state=True)).name)

        async def started():
            runs = await client.read_flow_runs(flow_run_filter=mine)
            return next(each.id for each in runs if each.idempotency_key)

        other = await begins()
        await look()
        await look()
        await client.set_flow_run_state(other, Cancelled())
        await look()
        other = await begins()
        skipped = await client.set_flow_run_state(await started(), Pending())
        said.append(skipped.state.message)
        await look()
        await client.set_flow_run_state(other, Cancelled())
        await look()
        await look()
    print(json.dumps(said))

asyncio.run(main(*sys.argv[1:]))
"""


def test_a_change_that_came_while_another_run_went_on_is_run_afterwards(desk):
    """Also where Prefect cancelled the run that was started for it. While it waits, no run is started."""
    source = campaign(desk, "late")
    commands(desk, ["deploy", source, "--watch", "--overlap", "skip", "--work-pool", "late", "--sandbox"])
    said = python(desk, SKIPPED_LOOKS, str(desk.folder / source), "run-campaign/late").splitlines()[-1]
    no_place = "Deployment concurrency limit reached."
    assert json.loads(said) == ["Changing", "Waiting", "Started", no_place, "Waiting", "Started", "Unchanged"]


LOST_RUNS = """
import asyncio, json, sys
from datetime import UTC, datetime, timedelta
from prefect.client.orchestration import get_client
from prefect.states import Cancelled, Pending
from tasks import nights

async def main(name, pool):
    said = []
    async with get_client() as client:
        found = await client.read_deployment_by_name(name)
        run = await client.create_flow_run_from_deployment(found.id)
        await client.set_flow_run_state(run.id, Pending(name="Submitting"))

        async def looked(minutes, *, pool=pool, sandbox=True):
            now = datetime.now(UTC) + timedelta(minutes=minutes)
            await nights.start_lost_runs(pool, sandbox=sandbox, now=now)
            said.append((await client.read_flow_run(run.id)).state_name)

        await looked(9)
        await looked(11, pool="another")
        await looked(11, sandbox=False)
        await looked(11)
        await client.set_flow_run_state(run.id, Pending())
        said.append((await client.read_flow_run(run.id)).state_name)
        await looked(9)
        await client.set_flow_run_state(run.id, Cancelled())
        again = {"request": {"source": "shots.csv", "sandbox": True, "again": True}}
        run = await client.create_flow_run_from_deployment(found.id, parameters=again)
        await client.set_flow_run_state(run.id, Pending())
        await looked(11)
    print(json.dumps(said))

asyncio.run(main(*sys.argv[1:]))
"""


def test_a_run_whose_worker_died_as_it_took_it_is_started_again(desk):
    """After ten minutes, by the keeper of its ledger and pool; it takes a place again as any run does.

    One that may buy again what was made is left to a person.
    """
    commands(desk, ["deploy", campaign(desk, "lost"), "--watch", "--work-pool", "lost", "--sandbox"])
    said = python(desk, LOST_RUNS, "run-campaign/lost", "lost").splitlines()[-1]
    assert json.loads(said) == ["Submitting"] * 3 + ["Scheduled", *["Pending"] * 3]


def test_a_campaign_that_is_no_longer_watched_loses_its_watch(desk):
    """Else it would be run by the clock and by its manifest. A dry run names it and removes nothing."""
    source = campaign(desk, "both")
    nightly = ["deploy", source, "--cron", "0 2 * * *"]
    told = commands(
        desk,
        ["deploy", source, "--watch"],
        [*nightly, "--dry-run"],
        ["deploy", "list", "--json"],
        [*nightly, "--json"],
        [*nightly, "--json"],
        ["deploy", source, "--watch"],
        ["deploy", "list", "--json"],
        ["deploy", "remove", "both"],
    )
    watch = "watch-manifest/both"
    assert f"would remove {watch}\n" in told[1][1]
    assert line(told[2], watch) is not None
    assert changes(told[3])[watch] == {"name": watch, "change": "removed", "fields": {}}
    assert watch not in changes(told[4])
    assert line(told[6], watch) is not None
    assert line(told[6], "run-campaign/both")["schedule"] == "none"
    assert told[7][1] == f"removed run-campaign/both\nremoved {watch}\n"


ENDED_RUN = """
import asyncio, sys
from prefect.client.orchestration import get_client
from prefect.states import Completed, Pending, Running

async def main(name):
    async with get_client() as client:
        found = await client.read_deployment_by_name(name)
        run = await client.create_flow_run_from_deployment(found.id)
        for state in (Pending(), Running(), Completed(name="Finished")):
            await client.set_flow_run_state(run.id, state)
        await client._client.post(f"/deployments/{found.id}/schedule", json={})

asyncio.run(main(sys.argv[1]))
"""


def test_the_list_shows_the_last_run_that_began_beside_the_next_one(desk):
    """The runs that a schedule has ahead are no last runs."""
    commands(desk, ["deploy", campaign(desk, "past"), "--cron", "0 2 * * *"])
    python(desk, ENDED_RUN, "run-campaign/past")
    (told,) = commands(desk, ["deploy", "list", "--json"])
    shown = line(told, "run-campaign/past")
    assert (shown["last_run"], shown["next_run"][-9:]) == ("Finished", "02:00 UTC")


WAITING_RUNS = """
import asyncio, json, sys
from prefect.client.orchestration import get_client
from prefect.states import Pending

async def main(name):
    async with get_client() as client:
        found = await client.read_deployment_by_name(name)
        for _ in range(3):
            run = await client.create_flow_run_from_deployment(found.id)
            await client.set_flow_run_state(run.id, Pending())
    print(found.id)

asyncio.run(main(sys.argv[1]))
"""

RUNS_OF = """
import asyncio, json, sys
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId

async def main(deployment):
    mine = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployment]))
    async with get_client() as client:
        runs = await client.read_flow_runs(flow_run_filter=mine)
    print(json.dumps(sorted(each.state.name for each in runs)))

asyncio.run(main(sys.argv[1]))
"""


def test_a_removed_campaign_leaves_no_run_that_waits_for_its_turn(desk):
    """What has begun stays in Prefect's history."""
    commands(desk, ["deploy", campaign(desk, "leaves"), "--cron", "0 2 * * *"])
    known = python(desk, WAITING_RUNS, "run-campaign/leaves").split()[-1]
    before = json.loads(python(desk, RUNS_OF, known).splitlines()[-1])
    assert [name for name in before if name != "Scheduled"] == ["AwaitingConcurrencySlot"] * 2 + ["Pending"]
    commands(desk, ["deploy", "remove", "leaves"])
    assert json.loads(python(desk, RUNS_OF, known).splitlines()[-1]) == ["Pending"]


AUTOMATIONS = """
import asyncio, json, sys
from prefect.client.orchestration import get_client

async def main(off):
    async with get_client() as client:
        found = (await client._client.post("/automations/filter", json={"limit": 200})).json()
        for each in found:
            if each["name"] == off:
                await client.pause_automation(each["id"])
    print(json.dumps([[each["id"], each["name"], each["enabled"]] for each in found]))

asyncio.run(main(sys.argv[1]))
"""


def test_automations_are_renewed_and_not_made_twice(desk):
    """Each keeps its place, and one that a person has switched off stays off. A dry run names them."""
    again = ["deploy", campaign(desk, "told"), "--automations"]
    before = python(desk, AUTOMATIONS, "none")
    ((_, out, _),) = commands(desk, [*again, "--dry-run"])
    assert f"would make or renew the automation {DEAD_RUNS}\n" in out
    assert python(desk, AUTOMATIONS, "none") == before
    found = []
    for _ in range(3):
        commands(desk, again)
        found.append(json.loads(python(desk, AUTOMATIONS, DEAD_RUNS).splitlines()[-1]))
    first, second, third = ([each for each in once if each[1].startswith("Callsheet")] for once in found)
    assert len({name for _, name, _ in first}) == len(first) == 6
    assert [each[:2] for each in first] == [each[:2] for each in second] == [each[:2] for each in third]
    assert [is_on for _, name, is_on in (*first, *third) if name == DEAD_RUNS] == [True, False]


STATE = """
import asyncio, json, sys
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName

async def main(name, wanted):
    found = FlowRunFilter(name=FlowRunFilterName(like_=name))
    async with get_client() as client:
        for _ in range(250):
            runs = await client.read_flow_runs(flow_run_filter=found)
            if runs and runs[0].state.name == wanted:
                print(json.dumps(runs[0].state.message))
                return
            await asyncio.sleep(1)
    raise TimeoutError([each.state for each in runs])

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.torture
@pytest.mark.own_server
def test_the_automation_says_that_a_flow_run_has_crashed_whose_machine_died(desk):
    """No worker is left that could say so: three heartbeats in vain do."""
    with own_server(desk.data) as server:
        server.wait_ready()
        desk.env |= {"PREFECT_API_URL": server.url, "PREFECT_HOME": str(desk.folder / "prefect-home")}
        options = ["--sandbox", "--speed", "0.005", "--work-pool", "dying", "--automations"]
        commands(desk, ["deploy", campaign(desk, "dying"), *options])
        prefect(desk, "deployment", "run", "run-campaign/dying")
        worker = subprocess.Popen(
            [sys.executable, "-m", "prefect", "worker", "start", "--pool", "dying"],
            env={**os.environ, **desk.env, "PREFECT_WORKER_QUERY_SECONDS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            python(desk, STATE, "dying ", "Running")
        finally:
            kill_with_descendants(worker.pid)
            worker.wait()
        said = json.loads(python(desk, STATE, "dying ", "Crashed").splitlines()[-1])
    assert said == "no sign of life for 90 s: its process has died"


PLACE = """
import asyncio, json, sys
from datetime import UTC, datetime
from pathlib import Path
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import ConcurrencyOptions
from prefect.flow_engine import run_flow_async
from prefect.states import Pending
from tasks.flow_run import brief_place

leases = Path(sys.argv[1]) / "concurrency_leases"

def left_s():
    (lease,) = (json.loads(each.read_text()) for each in leases.glob("*-*.json"))
    return (datetime.fromisoformat(lease["expiration"]) - datetime.now(UTC)).total_seconds()

@flow
async def looks():
    while left_s() < 290:  # Prefect's own first renewal
        await asyncio.sleep(0.05)
    async with brief_place():
        while left_s() > 60:
            await asyncio.sleep(0.05)

async def main():
    async with get_client() as client:
        known = await client.create_flow_from_name("looks")
        rule = ConcurrencyOptions(collision_strategy="CANCEL_NEW", grace_period_seconds=60)
        made = await client.create_deployment(known, "looks", concurrency_limit=1, concurrency_options=rule)
        run = await client.create_flow_run_from_deployment(made)
        await client.set_flow_run_state(run.id, Pending())
        run = await client.read_flow_run(run.id)
    print((await run_flow_async(looks, flow_run=run, return_type="state")).type.value)

asyncio.run(main())
"""


@pytest.mark.own_server
def test_a_keeper_that_dies_while_it_looks_keeps_its_place_for_a_minute(desk, monkeypatch):
    """Prefect would keep it for five, in which no other keeper begins."""
    storage = "prefect.server.concurrency.lease_storage.filesystem"
    monkeypatch.setenv("PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE", storage)
    with own_server(desk.data) as server:
        server.wait_ready()
        desk.env |= {"PREFECT_API_URL": server.url, "PREFECT_HOME": str(desk.folder / "prefect-home")}
        assert python(desk, PLACE, str(desk.data / "prefect")).split()[-1] == "COMPLETED"


class _OldServer(BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'"2.20.1"'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def old_server() -> Iterator[str]:
    """A server that says it is Prefect 2.20."""
    server = HTTPServer(("127.0.0.1", 0), _OldServer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/api"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.own_server
def test_a_server_of_another_version_is_refused_with_the_command_that_helps(desk):
    """Exit code 2, and both versions in one sentence."""
    with old_server() as url:
        desk.env["PREFECT_API_URL"] = url
        ((code, _, err),) = commands(desk, ["deploy", campaign(desk, "spring")])
    assert code == 2
    assert f"version 2.20.1, and this environment has {installed.__version__}" in err
    assert f"pip install prefect=={installed.__version__}" in err


def test_an_address_without_api_is_refused_with_what_it_must_be(desk):
    """`deploy` exits with 2, and `doctor` says the same: what answers there are Prefect's pages."""
    desk.env["PREFECT_API_URL"] = desk.env["PREFECT_API_URL"].removesuffix("/api")
    told = commands(desk, ["deploy", campaign(desk, "spring")], ["deploy", "list"], ["doctor", "--json"])
    assert [code for code, _, _ in told[:2]] == [2, 2]
    said = "its address must end with /api"
    checked = json.loads(told[2][1])["server"]
    assert said in told[0][2]
    assert said in told[1][2]
    assert (checked["ok"], said in checked["text"]) == (False, True)


OTHERS = """
import asyncio, os
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate

async def main():
    async with get_client() as client:
        for number in range(201):
            flow = await client.create_flow_from_name(f"a-flow-of-others-{number}")
        await client.create_work_pool(WorkPoolCreate(name="of-others", type="process"))
        keeper = await client.create_flow_from_name("keeper")
        await client.create_deployment(keeper, "of-others", work_pool_name="of-others")

asyncio.run(main())
"""


def test_a_server_with_many_flows_of_others_shows_and_removes_ours_alone(desk):
    """Prefect's server returns 200 at a time, and a flow of others may have a name of ours."""
    python(desk, OTHERS)
    told = commands(
        desk,
        ["deploy", campaign(desk, "among"), "--work-pool", "among", "--json"],
        ["deploy", "list", "--json"],
        ["doctor", "--json"],
        ["deploy", "remove", "among", "--json"],
    )
    names = {each["deployment"] for each in json.loads(told[1][1])["deployments"]}
    assert {"run-campaign/among", "render-shard/among"} <= names
    assert "keeper/of-others" not in names
    assert "among" in json.loads(told[2][1])["workers"]["text"]
    assert "of-others" not in json.loads(told[2][1])["workers"]["text"]
    assert json.loads(told[3][1])["removed"] == ["run-campaign/among"]


def test_a_worker_takes_a_deployed_run_and_its_videos_stay(desk):
    """A worker's folder is removed after the run; what was paid for lies beside the manifest."""
    pool = ("--work-pool", "one-run")
    source = campaign(desk, "one-run")
    (told,) = commands(desk, ["deploy", source, *pool, "--sandbox", "--speed", "50", "--json"])
    assert "reconcile-ledger/callsheet-sandbox" in changes(told)
    commands(desk, ["deploy", "remove", "keeper/callsheet-sandbox"])
    prefect(desk, "deployment", "run", "run-campaign/one-run")
    prefect(desk, "worker", "start", "--pool", "one-run", "--run-once")
    (run,) = (desk.folder / "runs").glob("one-run-*")
    assert [path.suffix for path in (run / "media").iterdir()] == [".mp4"]
    assert (run / "report.html").is_file()
    assert len(desk.accepted()) == 1


def prefect(desk, *arguments: str) -> None:
    """Do what a person does with Prefect's own command."""
    subprocess.run(
        [sys.executable, "-m", "prefect", *arguments],
        env={**os.environ, **desk.env},
        check=True,
        capture_output=True,
        timeout=240,
    )


@pytest.mark.own_server
def test_deploy_without_a_server_says_what_is_missing(desk):
    """It never registers with a server that ends with the command."""
    done = desk.call("deploy")
    assert (done.returncode, "PREFECT_API_URL" in done.stderr) == (2, True)
