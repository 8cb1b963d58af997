"""A campaign that is run again while an earlier run of it is unfinished."""

import asyncio
import json
from functools import partial
from typing import Any

import pytest

import callsheet
from callsheet import api
from callsheet.cli.main import run_command
from callsheet.cli.views.plan_ledger import compared
from callsheet.cli.views.run_line import before_run
from callsheet.engine.cancel import cancel_pending
from callsheet.engine.request import RunRequest, settings_for
from callsheet.engine.run import carry_out, carry_out_campaign, open_context, open_plan, unfinished_runs
from callsheet.engine.stopping import StopSignal
from callsheet.errors import InFlight, Interrupted, UsageError
from callsheet.ledger import Ledger, State, admission, queries
from callsheet.notify.to_do import to_do
from manifests.planner import make_plan

pytestmark = pytest.mark.anyio

HEADER = "custom_id,prompt,model,resolution,num_frames\n"


class Nights:
    """A campaign at the house's fal, as the environment of a scheduled command names it."""

    def __init__(self, house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.house = house
        url = house.address.url
        folder, ledger = house.folder, house.settings.ledger
        settings = {"DATA_DIR": folder, "OUT": folder / "runs", "LEDGER_URL": ledger}
        addresses = {"QUEUE_URL": url, "REST_URL": url, "CDN_URL": url, "PLATFORM_URL": f"{url}/v1"}
        for name, value in {**settings, **addresses}.items():
            monkeypatch.setenv(f"CALLSHEET_{name}", str(value))
        monkeypatch.setenv("FAL_KEY", house.address.key)
        self.source = house.folder / "nightly.csv"
        self.request = RunRequest(source=str(self.source), budget_usd="100")

    def write(self, *prompts: str) -> None:
        rows = (f"{prompt},night {prompt},seedance-1.0-lite,480p,29\n" for prompt in prompts)
        self.source.write_text(HEADER + "".join(rows))

    async def opened(self, *prompts: str, **options: Any) -> str:
        """Open a run of these and do nothing for it, as a process that dies at once."""
        self.write(*prompts)
        request = self.request.model_copy(update=options)
        plan = make_plan(str(self.source), overrides=request.plan_options(settings_for(request)))
        return await open_plan(plan, request, settings_for(request))

    async def carried_out(self, run_id: str, stop: StopSignal | None = None) -> dict[str, Any]:
        request = self.request.model_copy(update={"run_id": run_id})
        async with open_context(request, run_id, settings_for(request), stop or StopSignal()) as ctx:
            return await carry_out(ctx)

    async def run(self, *prompts: str) -> callsheet.RunSummary:
        self.write(*prompts)
        return await callsheet.run_async(str(self.source), budget_usd="100")

    def runs(self) -> list[str]:
        with Ledger.open(self.house.settings.ledger) as ledger:
            return [run.run_id for run in ledger.do(queries.runs)]

    def bought(self, *prompts: str) -> list[int]:
        return [len(self.house.accepted(f"night {prompt}")) for prompt in prompts]


@pytest.fixture
def nights(house: Any, monkeypatch: pytest.MonkeyPatch) -> Nights:
    """An empty campaign."""
    return Nights(house, monkeypatch)


async def test_a_dead_run_is_taken_up_before_anything_new_is_bought(nights: Nights) -> None:
    """The rows of the dead run are bought once, by it; the new run buys the rest and has a row for each."""
    first = await nights.opened("u-a", "u-b")
    summary = await nights.run("u-b", "u-c")
    assert nights.bought("u-a", "u-b", "u-c") == [1, 1, 1]
    assert summary.document["taken_up"] == {first: 0}
    assert (summary.document["statuses"], summary.exit_code) == ({"already_made": 1, "succeeded": 1}, 0)
    assert {row.state for row in nights.house.rows(first)} == {State.SUCCEEDED}


async def test_a_dead_run_of_another_machine_stops_no_night(nights: Nights) -> None:
    """Its folder is not here: its rows are left to it, new rows are bought, and the sentence names it."""
    far = nights.house.folder / "far"
    first = await nights.opened("u-there", out=str(far))
    far.rename(nights.house.folder / "gone")
    summary = await nights.run("u-there", "u-here")
    assert nights.bought("u-there", "u-here") == [0, 1]
    assert summary.document["elsewhere"] == {first: {"pending": 1}}
    assert (summary.document["taken_up"], summary.exit_code) == ({}, 4)
    assert any(f"left to run {first}" in text for text in summary.document["remarks"])


async def test_what_fails_in_a_run_that_was_taken_up_is_in_the_exit_code(nights: Nights) -> None:
    """The new run has nothing to do with the failed row and succeeds; the command still ends with 4."""
    first = await nights.opened("u-failing")
    nights.house.arm("render_failed", prompt_contains="u-failing", status=500)
    summary = await nights.run("u-fine")
    assert (summary.failed, summary.document["taken_up"], summary.exit_code) == (0, {first: 4}, 4)


async def test_a_stopped_price_group_does_not_stand_in_the_way_of_other_rows(nights: Nights) -> None:
    """Its rows are left to the stopped run, with a sentence that names `retry`; new rows are bought."""
    stopped = [f"u-bad-{number}" for number in range(14)]
    refusal = {"status": 422, "error_type": "content_policy_violation"}
    nights.house.arm("render_failed", prompt_contains="u-bad", count=None, **refusal)
    first = (await nights.run(*stopped)).run_id
    rows = nights.house.rows(first)
    left = [row.custom_id for row in rows if row.state is State.PENDING]
    assert 0 < len(left) < len(rows)
    nights.house.faults.clear()
    for night in ("u-monday", "u-tuesday"):
        summary = await nights.run(*left, night)
        assert nights.bought(night, *left) == [1, *[0] * len(left)]
        (said,) = [text for text in summary.document["remarks"] if "left to run" in text]
        assert said.startswith(f"{len(left)} of these are left to run {first}")
        assert f"`callsheet retry {first} --all`" in said
        assert summary.document["elsewhere"] == {first: {"pending": len(left)}}
        assert (summary.exit_code, len(summary.results())) == (4, len(left) + 1)
        assert to_do(summary.document) == []
    summary = await nights.run(*left)
    with Ledger.open(nights.house.settings.ledger) as ledger:
        run = ledger.do(queries.run, summary.run_id)
        before = before_run(ledger, run, ledger.do(queries.tally, run.run_id))
    assert before.in_words() == f"{len(left)} left to run {first}"


async def test_a_run_stopped_with_ctrl_c_is_not_taken_up(nights: Nights) -> None:
    """A person may have stopped it because of its rows; SIGTERM, which machines send, is no such word."""
    by_person, by_machine = await nights.opened("u-typo"), await nights.opened("u-well")
    person, machine = StopSignal(), StopSignal()
    person.interrupt()
    machine.stop(Interrupted("terminated"))
    assert (await nights.carried_out(by_person, person))["exit_code"] == 130
    await nights.carried_out(by_machine, machine)
    assert [each.run_id for each in unfinished_runs(nights.request)] == [by_machine]
    summary = await nights.run("u-mended")
    assert nights.bought("u-typo", "u-well", "u-mended") == [0, 1, 1]
    assert summary.exit_code == 0


async def test_a_run_that_waits_for_an_approval_is_taken_up_only_by_one_that_can_ask(nights: Nights) -> None:
    """Nobody has approved it; a command without approvals buys nothing of it."""
    waiting = await nights.opened("u-dear", approve_above_usd="0.01")
    asking = nights.request.model_copy(update={"approve_above_usd": "5"})
    assert unfinished_runs(nights.request) == []
    assert [each.run_id for each in unfinished_runs(asking)] == [waiting]


async def test_a_run_that_goes_on_elsewhere_refuses_its_rows(nights: Nights) -> None:
    """A living process has them in flight: nothing is sent, and its run is named, to be waited for."""
    first = await nights.opened("u-living")
    said = f"run {first} has 1 of these in flight.*wait until it has ended .`callsheet status {first}`"
    refused = pytest.raises(InFlight, match=said)
    with Ledger.open(nights.house.settings.ledger) as ledger, ledger.claim(first), refused:
        await nights.run("u-living", "u-new")
    assert nights.bought("u-living", "u-new") == [0, 0]


async def test_nothing_new_is_opened_where_the_run_that_goes_first_is_interrupted(nights: Nights) -> None:
    """Ctrl-C means the whole command."""
    first = await nights.opened("u-first")
    nights.write("u-second")

    async def interrupted(request: RunRequest) -> dict[str, Any]:
        stop = StopSignal()
        stop.interrupt()
        assert request.run_id is not None
        return await nights.carried_out(request.run_id, stop)

    said: list[str] = []
    summary = await carry_out_campaign(nights.request, interrupted, said.append)
    assert (summary["run_id"], summary["exit_code"]) == (first, 130)
    assert said == [f"run {first} of this campaign was not finished: it goes on first"]
    with Ledger.open(nights.house.settings.ledger) as ledger:
        assert [run.run_id for run in ledger.do(queries.runs)] == [first]


def test_a_night_without_rows_goes_on_with_a_dead_run(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`callsheet run` of an empty manifest first finishes what a dead run of the campaign left."""
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")  # nobody listens there
    first = asyncio.run(nights.opened("u-left"))
    nights.write()
    command = ["run", str(nights.source), "--budget-usd", "100", "--yes"]
    assert run_command(command) == 0
    assert [row.state for row in nights.house.rows(first)] == [State.SUCCEEDED]
    assert nights.bought("u-left") == [1]
    before = len(nights.runs())
    assert run_command(command) == 0
    assert len(nights.runs()) == before


def test_a_night_without_rows_has_the_keys_of_any_night(
    nights: Nights, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A script reads `run --json` the same way, whether there was something to buy or not."""
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")  # nobody listens there

    def told(*prompts: str) -> dict[str, Any]:
        nights.write(*prompts)
        assert run_command(["run", str(nights.source), "--budget-usd", "100", "--yes", "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert isinstance(document, dict)
        return document

    bought, made, empty = told("u-busy"), told("u-busy"), told()
    assert (list(made), list(empty)) == (list(bought), list(bought))
    assert (empty["run_id"], empty["dir"], empty["started_at"]) == (None, None, None)
    assert (empty["jobs"], empty["statuses"], empty["actual_usd"], empty["exit_code"]) == (0, {}, "0.00", 0)
    assert (empty["campaign"], empty["sandbox"]) == (bought["campaign"], bought["sandbox"])


async def test_a_run_that_is_cancelled_as_it_is_taken_up_buys_nothing(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also not what its dead process had admitted: nobody but a person opens a stopped run again."""
    first = await nights.opened("u-wrong")

    def cancel(_: str) -> None:
        with Ledger.open(nights.house.settings.ledger) as ledger:
            ledger.do(admission.admit, nights.house.row(first).job_id, slots=10)
            cancel_pending(ledger, first, "cancelled by a person")

    monkeypatch.setattr(api, "carry_out_campaign", partial(carry_out_campaign, tell=cancel))
    summary = await nights.run("u-right")
    assert nights.bought("u-wrong", "u-right") == [0, 1]
    assert summary.document["taken_up"] == {}


async def test_a_rehearsal_does_not_go_on_with_a_run_against_fal(nights: Nights) -> None:
    """Where the environment names one ledger for both, `--sandbox` bought what the dead run had left."""
    await nights.opened("u-real")
    with pytest.raises(UsageError, match="has runs against fal; a run on the sandbox would count in it"):
        await callsheet.run_async(str(nights.source), sandbox=True)
    with pytest.raises(UsageError, match="has runs against fal"):
        compared(make_plan(str(nights.source)), nights.house.settings, sandbox=True)
    assert (nights.bought("u-real"), len(nights.runs())) == ([0], 1)


async def test_the_clips_of_a_rehearsal_do_not_count_as_made(nights: Nights) -> None:
    """They did, so that the real run bought nothing and handed over the sandbox's drawings."""
    nights.write("u-rehearsed")
    await open_plan(make_plan(str(nights.source)), RunRequest(sandbox=True), nights.house.settings)
    with pytest.raises(UsageError, match="has runs on the sandbox, whose clips would count as made"):
        await nights.run("u-rehearsed")
