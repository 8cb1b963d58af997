"""Runs in parts: who owns a part renders it, who ends last writes the results, the keeper does the rest."""

import asyncio
import csv
import json
import os
import shutil
from pathlib import Path
from typing import Any

import fsspec
import httpx
import pytest

from callsheet.engine import coordinator
from callsheet.engine.cancel import cancel_pending, cancel_run
from callsheet.engine.context import open_account
from callsheet.engine.coordinator import coordinate, coordinating, finalize_together, start_parts
from callsheet.engine.in_flight import BEGIN_WITHIN_MS
from callsheet.engine.keeper import RendersHere, Round, keep
from callsheet.engine.request import RunRequest, settings_for
from callsheet.engine.run import open_plan
from callsheet.engine.shard import carry_out_part
from callsheet.engine.stopping import StopSignal
from callsheet.errors import Busy, CallsheetError, InterruptedByPerson, UsageError
from callsheet.ledger import (
    Ledger,
    NewRun,
    PartWork,
    State,
    parts,
    queries,
    runs,
    schema,
    transitions,
    verify,
)
from callsheet.ledger.activity import overview
from callsheet.ledger.admission import admit, set_cap
from callsheet.ledger.transaction import Transaction, write
from callsheet.notify.sending import Announcer
from callsheet.report.rows import iso_utc
from callsheet.sandbox.config import SandboxConfig
from callsheet.sandbox.launcher import SandboxAddress
from callsheet.sandbox.server import running_sandbox
from manifests.planner import make_plan
from tests.integration.ledger.conftest import empty_schema, server_url

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def provider() -> Any:
    """A sandbox that renders at once."""
    with running_sandbox(SandboxConfig(speed=5000, draw_seed=False)) as address:
        yield address


@pytest.fixture(autouse=True)
def _short_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A coordinator looks more often than every two seconds."""
    monkeypatch.setattr(coordinator, "LOOK_EVERY_S", 0.05)


@pytest.fixture
def ledger_on_server() -> Any:
    """A place for a ledger on PostgreSQL."""
    with empty_schema(server_url()) as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def world(
    request: pytest.FixtureRequest,
    provider: SandboxAddress,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    """The environment of a worker: a ledger on each of the two databases, and the provider."""
    for name in ("QUEUE", "REST", "CDN"):
        monkeypatch.setenv(f"CALLSHEET_{name}_URL", provider.url)
    monkeypatch.setenv("CALLSHEET_PLATFORM_URL", f"{provider.url}/v1")
    if request.param == "postgres":
        monkeypatch.setenv("CALLSHEET_LEDGER_URL", request.getfixturevalue("ledger_on_server"))
    monkeypatch.setenv("FAL_KEY", provider.key)
    monkeypatch.chdir(tmp_path)
    return provider


def manifest(name: str, jobs: int) -> None:
    """Write a manifest of small shots that no other test has."""
    shot = f"A boat of {Path.cwd()} {name} number"
    rows = [f"{name}-{n},{shot} {n},seedance-1.0-lite,480p,29\n" for n in range(jobs)]
    Path(f"{name}.csv").write_text("custom_id,prompt,model,resolution,num_frames\n" + "".join(rows))


async def opened(name: str, jobs: int, **more: Any) -> str:
    """Open a run of small shots and return its id."""
    manifest(name, jobs)
    request = RunRequest(source=f"{name}.csv", budget_usd="5", **more)
    settings = settings_for(request)
    plan = make_plan(request.source, overrides=request.plan_options(settings))
    return await open_plan(plan, request, settings)


def in_ledger(verb: Any, *args: Any, **more: Any) -> Any:
    """Do one verb in a ledger that is opened for it."""
    with Ledger.open(settings_for(RunRequest()).ledger) as ledger:
        return ledger.do(verb, *args, **more)


def bought(world: SandboxAddress, name: str) -> list[str]:
    """Return the prompts of a run that the provider accepted."""
    key = {"Authorization": f"Key {world.key}"}
    accepted = httpx.get(f"{world.url}/_sandbox/ledger", headers=key).json()["accepted"]
    prompts = [each["arguments"].get("prompt", "") for each in accepted]
    return sorted(each for each in prompts if f" {Path.cwd()} {name} " in each)


async def kept() -> Round:
    """Do one round of a keeper that renders in this process, to the end of what it took up."""
    here = RendersHere(sandbox=False, stop=StopSignal())
    async with open_account(settings_for(RunRequest())) as account:
        done = await keep(account, here.start)
    await here.ended()
    assert here.problems == []
    return done


async def rendered(run_id: str, part: str) -> None:
    """Render a part, or a whole run, as a worker does."""
    await carry_out_part(run_id, part, sandbox=False, stop=StopSignal())


async def test_parts_are_rendered_side_by_side_and_the_last_one_closes_the_run(world: Any) -> None:
    """Each job is bought once, also where a part is started twice; the results are written at the end."""
    run_id = await opened("pair", 6)
    names = [each.name for each in in_ledger(parts.split, run_id, 3)]
    assert names == ["0-2", "3-5"]
    await asyncio.gather(*(rendered(run_id, each) for each in (*names, *names)))
    run = in_ledger(queries.run, run_id)
    assert run.closed_ms is not None
    assert len(bought(world, "pair")) == len(set(bought(world, "pair"))) == 6
    assert (Path(run.out) / "summary.json").is_file()
    assert len(list((Path(run.out) / "media").glob("*.mp4"))) == 6
    await rendered(run_id, "0-2")
    assert len(bought(world, "pair")) == 6
    assert in_ledger(verify.verify) == []


async def test_a_keeper_goes_on_with_what_dead_owners_left(world: Any) -> None:
    """Parts with work are taken up, a request that may have left is not sent again, and all is written up."""
    run_id = await opened("left", 4)
    in_ledger(parts.split, run_id, 2)
    rows = in_ledger(queries.jobs, run_id)
    in_ledger(admit, rows[0].job_id, slots=10)  # its process died before the request left
    in_ledger(admit, rows[2].job_id, slots=10)
    in_ledger(transitions.send, rows[2].job_id, seed=1, arguments_sha256="ab" * 32)  # it may have left
    done = await kept()
    assert done.taken_up == [f"{run_id} 0-1", f"{run_id} 2-3"]
    assert len(bought(world, "left")) == 3
    assert [row.state for row in in_ledger(queries.jobs, run_id)] == [
        State.SUCCEEDED,
        State.SUCCEEDED,
        State.UNKNOWN,
        State.SUCCEEDED,
    ]
    again = await kept()
    assert (again.taken_up, again.unknown) == ([], 1)
    assert len(bought(world, "left")) == 3


async def test_a_keeper_leaves_alone_what_is_not_dead(world: Any) -> None:
    """A run just opened, one that is owned, one with a coordinator and one that was stopped.

    The first is named with the moment until which it waits, unless its owner is at work.
    """
    young = await opened("young", 1)
    owned, coordinated, stopped = [await opened(name, 2) for name in ("owned", "coordinated", "stopped")]
    for run_id in (owned, coordinated, stopped):
        in_ledger(parts.split, run_id, 2)
    in_ledger(runs.request_stop, stopped)
    with (
        Ledger.open(settings_for(RunRequest()).ledger) as ledger,
        ledger.claim(owned, part="0-1"),
        ledger.claim(coordinated, part=parts.COORDINATOR),
    ):
        done = await kept()
        assert done.is_quiet
        until_ms = (in_ledger(queries.run, young).opened_ms or 0) + BEGIN_WITHIN_MS
        assert done.waiting == {young: iso_utc(until_ms)}
        with ledger.claim(young):
            assert (await kept()).waiting == {}
    assert [bought(world, name) for name in ("young", "owned", "coordinated", "stopped")] == [[]] * 4
    assert {each: in_ledger(queries.run, each).closed_ms for each in (young, stopped)} == {
        young: None,
        stopped: None,
    }


async def test_a_keeper_writes_up_what_has_ended_and_closes_what_was_never_opened(world: Any) -> None:
    """A process that died after its last video leaves no run open."""
    run_id = await opened("ended", 1)
    await rendered(run_id, "")
    with Ledger.open(settings_for(RunRequest()).ledger) as ledger:
        ledger.do(runs.reopen_run, run_id)
        run = ledger.do(queries.run, run_id)
        ledger.do(runs.reserve, NewRun(run_id="half", campaign="x", plan_hash="h", price_book="p", out="/x"))
    (Path(run.out) / "summary.json").unlink()
    done = await kept()
    assert (done.finalized, done.discarded) == ([run_id], ["half"])
    assert (Path(run.out) / "summary.json").is_file()
    assert in_ledger(queries.run, run_id).closed_ms is not None


async def test_a_run_that_ended_on_another_machine_is_written_up_from_its_store(world: Any) -> None:
    """The plan is fetched. A run whose store has none keeps no other run back, and is a problem to tell."""
    store = f"memory://shards{Path.cwd()}"
    lost, far = await opened("lost", 1, out=store), await opened("far", 1, out=store)
    for run_id in (lost, far):
        await rendered(run_id, "")
        in_ledger(runs.reopen_run, run_id)
        shutil.rmtree(in_ledger(queries.run, run_id).out)
    fsspec.filesystem("memory").rm(f"{store.removeprefix('memory:/')}/{lost}/plan.json")
    done = await kept()
    assert done.finalized == [far]
    assert in_ledger(queries.run, far).closed_ms is not None
    assert [lost in problem for problem in done.problems] == [True]


async def test_a_run_never_split_is_taken_up_whole(world: Any) -> None:
    """Its owner died between two purchases: the keeper resumes it."""
    run_id = await opened("whole", 2)
    (first, _) = in_ledger(queries.jobs, run_id)
    in_ledger(admit, first.job_id, slots=10)
    assert (await kept()).taken_up == [run_id]
    assert in_ledger(queries.run, run_id).closed_ms is not None
    assert len(bought(world, "whole")) == 2


async def test_a_run_for_which_nothing_can_be_done_rests(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A keeper does not start it every minute; a person's `resume` goes on at once."""
    run_id = await opened("weary", 1)
    in_ledger(admit, in_ledger(queries.jobs, run_id)[0].job_id, slots=10)
    monkeypatch.setenv("FAL_KEY", "no-such-key")
    assert [(await kept()).taken_up, (await kept()).taken_up] == [[run_id], []]
    monkeypatch.setenv("FAL_KEY", world.key)
    await rendered(run_id, "")
    assert len(bought(world, "weary")) == 1


async def test_a_run_that_waits_for_an_approval_is_not_bought_by_a_keeper(world: Any) -> None:
    """Without Prefect there is nobody who could say yes."""
    run_id = await opened("asked", 1, approve_above_usd="0")
    (row,) = in_ledger(queries.jobs, run_id)
    with Ledger.open(settings_for(RunRequest()).ledger, clock=lambda: 1) as ledger:
        ledger.do(runs.reopen_run, run_id)
    here = RendersHere(sandbox=False, stop=StopSignal())
    with pytest.raises(Busy, match="waits for a person's approval"):
        await here.start(in_ledger(parts.work, run_id)[0])
    assert in_ledger(queries.job, row.job_id).state is State.PENDING


async def test_what_ends_one_run_ends_no_other_run_of_a_keeper(world: Any) -> None:
    """A cap that stops one run leaves out nothing of another one, and the keeper goes on."""
    poor, rich = await opened("poor", 2), await opened("rich", 2)
    for run_id in (poor, rich):
        in_ledger(admit, in_ledger(queries.jobs, run_id)[0].job_id, slots=10)
    in_ledger(set_cap, "run", poor, "total", 1)
    stop = StopSignal()
    here = RendersHere(sandbox=False, stop=stop)
    for run_id in (poor, rich):
        await here.start(in_ledger(parts.work, run_id)[0])
        await here.ended()
    assert {row.state for row in in_ledger(queries.jobs, poor)} == {State.SKIPPED_BUDGET}
    assert {row.state for row in in_ledger(queries.jobs, rich)} == {State.SUCCEEDED}
    assert stop.admitting


async def test_a_keeper_that_is_interrupted_stops_no_run_on_purpose(world: Any) -> None:
    """Ctrl-C ends the keeper; the next one takes its runs up again."""
    run_id = await opened("ended-early", 2)
    in_ledger(admit, in_ledger(queries.jobs, run_id)[0].job_id, slots=10)
    stop = StopSignal()
    stop.drain(InterruptedByPerson("interrupted"))
    here = RendersHere(sandbox=False, stop=stop)
    await here.start(in_ledger(parts.work, run_id)[0])
    await here.ended()
    assert bought(world, "ended-early") == []
    assert in_ledger(queries.run, run_id).is_going_on


async def test_a_run_that_was_stopped_meanwhile_is_not_taken_up(world: Any) -> None:
    """A person stopped it after its process was found dead: what was started for it buys nothing."""
    run_id = await opened("halted", 2)
    in_ledger(admit, in_ledger(queries.jobs, run_id)[0].job_id, slots=10)
    in_ledger(runs.request_stop, run_id)
    await rendered(run_id, "")
    assert bought(world, "halted") == []
    assert in_ledger(queries.run, run_id).stopping_ms is not None


async def test_a_machine_without_the_folder_of_a_run_renders_no_part_of_it(world: Any) -> None:
    """A folder of the same name is not the run's: its videos would stay on the wrong machine."""
    run_id = await opened("apart", 2)
    in_ledger(parts.split, run_id, 1)
    (Path(in_ledger(queries.run, run_id).out) / "plan.json").unlink()
    with pytest.raises(UsageError, match="is not on this machine"):
        await rendered(run_id, "0-0")
    assert bought(world, "apart") == []


async def test_the_same_death_starts_one_process(world: Any) -> None:
    """Two that look at the same time do not both start a process, and it is not started again meanwhile."""
    run_id = await opened("once", 2)
    in_ledger(parts.split, run_id, 1)
    begun: list[str] = []

    async def start(each: PartWork) -> None:
        begun.append(each.part)

    async with open_account(settings_for(RunRequest())) as one, open_account(one.settings) as two:
        work = await one.do(parts.work, run_id)
        await asyncio.gather(*(start_parts(each.do, work, start, 2) for each in (one, two)))
        assert sorted(begun) == ["0-0", "1-1"]
        assert all(each.reserved for each in await one.do(parts.work, run_id))
    await rendered(run_id, "0-0")  # who owns it ends the reservation
    assert in_ledger(verify.verify) == []


async def test_a_coordinator_starts_the_parts_and_writes_up_the_run(world: Any) -> None:
    """At most so many at once; one whose process failed is tried again; in the end the run is closed."""
    run_id = await opened("led", 5)
    in_ledger(parts.split, run_id, 1)
    running: list[asyncio.Task[None]] = []
    failures = ["once"]
    most = 0

    async def start(each: PartWork) -> None:
        nonlocal most
        if failures:
            raise CallsheetError(failures.pop())
        most = max(most, sum(part.is_taken for part in await ctx.do(parts.work, run_id)))
        running.append(asyncio.create_task(rendered(run_id, each.part)))

    async def two() -> int:
        return 2

    async with coordinating(RunRequest.of(in_ledger(queries.run, run_id)), run_id) as ctx:
        await coordinate(ctx, start, two)
        await asyncio.gather(*running)
        summary = await finalize_together(ctx)
    assert (summary["succeeded"], summary["exit_code"]) == (5, 0)
    assert most == 2
    assert in_ledger(queries.run, run_id).closed_ms is not None
    assert len(bought(world, "led")) == 5


async def test_the_end_of_a_cancelled_coordinator_says_that_it_was_cancelled(world: Any) -> None:
    """Prefect ends a flow run that a person has cancelled as Cancelled alone."""
    run_id = await opened("off", 2)
    in_ledger(parts.split, run_id, 1)

    async def start(each: PartWork) -> None:
        raise AssertionError(each)

    async def two() -> int:
        return 2

    async with coordinating(RunRequest.of(in_ledger(queries.run, run_id)), run_id) as ctx:
        await cancel_run(ctx, "cancelled in Prefect")
        await coordinate(ctx, start, two)
        summary = await finalize_together(ctx)
    assert (summary["cancelled"], summary["statuses"]["cancelled"]) == (True, 2)
    assert summary["remarks"][-1] == "cancelled in Prefect: 2 jobs cancelled, 0 asked to stop at fal"


@write()
def forget_what_was_told(tx: Transaction) -> None:
    """Be as a process left it that died before it told anything."""
    tx.execute(schema.announcement.delete())


async def test_a_run_that_a_keeper_writes_up_is_told_as_by_its_own_flow(world: Any) -> None:
    """Its listeners get the end of the run once, also where another round writes it up again."""
    run_id = await opened("told", 1)
    await rendered(run_id, "")
    told: list[tuple[str, Any]] = []

    def announcer() -> Announcer:
        return Announcer(listeners=[lambda message: told.append((message.event, message.facts["run"]))])

    async def never(each: PartWork) -> None:
        raise AssertionError(each)

    in_ledger(forget_what_was_told)
    in_ledger(runs.reopen_run, run_id)
    async with open_account(settings_for(RunRequest())) as account:
        assert (await keep(account, never, announcer)).finalized == [run_id]
        await account.do(runs.reopen_run, run_id)
        assert (await keep(account, never, announcer)).finalized == [run_id]
    assert told == [("run.finished", run_id)]


async def test_why_a_part_stopped_is_kept_until_somebody_goes_on_with_it(world: Any) -> None:
    """A cap, a refused key or a person: the reason is shown with the run, in any process."""
    run_id = await opened("halting", 2)
    in_ledger(parts.split, run_id, 1)
    in_ledger(set_cap, "run", run_id, "total", 1)
    await rendered(run_id, "0-0")
    (seen,) = [each for each in in_ledger(overview) if each.run.run_id == run_id]
    assert seen.stopped_by.startswith(f"the cap on run {run_id} is 0.000000001 USD")
    await rendered(run_id, "1-1")
    summary = json.loads((Path(seen.run.out) / "summary.json").read_text())
    assert summary["statuses"] == {"skipped_budget": 2}
    in_ledger(runs.reopen_run, run_id)
    assert [each.stopped_by for each in in_ledger(overview)] == [""]
    with Ledger.open(settings_for(RunRequest()).ledger) as ledger:
        cancel_pending(ledger, run_id, "cancelled by a person")
    assert [each.stopped_by for each in in_ledger(overview)] == ["cancelled by a person"]


async def test_parts_of_two_machines_are_one_report_in_the_store(
    world: Any, s3_client: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each has a data folder and a home of its own; clips, pictures, results and page are in the store."""
    if "CALLSHEET_LEDGER_URL" not in os.environ:
        monkeypatch.setenv("CALLSHEET_LEDGER_URL", f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    one, away = tmp_path / "one", tmp_path / "away"

    def on(machine: Path) -> None:
        machine.mkdir(exist_ok=True)
        monkeypatch.setenv("CALLSHEET_DATA_DIR", str(machine / "data"))
        monkeypatch.setenv("HOME", str(machine))

    on(one)
    run_id = await opened("stored", 4, out="s3://there/shards")
    in_ledger(parts.split, run_id, 2)
    one.rename(away)
    on(tmp_path / "two")
    await rendered(run_id, "0-1")
    away.rename(one)
    on(one)
    await rendered(run_id, "2-3")
    found = s3_client.list_objects_v2(Bucket="there", Prefix=f"shards/{run_id}/")["Contents"]
    names = [each["Key"].removeprefix(f"shards/{run_id}/") for each in found]
    clips = [f"stored-{number}" for number in range(4)]
    assert sorted(each for each in names if each.startswith("media/")) == [f"media/{n}.mp4" for n in clips]
    page = s3_client.get_object(Bucket="there", Key=f"shards/{run_id}/report.html")["Body"].read().decode()
    for clip in clips:
        assert f"posters/{clip}.jpg" in names
        assert f"posters/{clip}.jpg" in page
    results = s3_client.get_object(Bucket="there", Key=f"shards/{run_id}/results.csv")["Body"].read().decode()
    assert [line["status"] for line in csv.DictReader(results.splitlines())] == ["succeeded"] * 4
    assert in_ledger(queries.run, run_id).closed_ms is not None
