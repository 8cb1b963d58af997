"""From a finished render to a file: what is asked again, stays for `resume`, is named a loss, is retaken."""

import asyncio
import sqlite3
from contextlib import closing

import pytest

from callsheet import files
from callsheet.engine.admit import Order, admit, admit_and_send, take_back_unsent
from callsheet.engine.job import render_job
from callsheet.engine.paid_results import reopen_unfetched
from callsheet.engine.results import result_rows
from callsheet.engine.scheduler import render_here, render_waiting
from callsheet.errors import DiskFull, UsageError
from callsheet.ledger import Ledger, State, queries, transitions
from callsheet.provider.client import FalQueue
from callsheet.provider.transport import since_boot_s
from manifests.job import decode_job
from pricing.catalog import load_catalog

pytestmark = pytest.mark.anyio
HOUR_MS = 3_600_000

RETAKES = """[campaign]
name = "{name}"
manifest = "{name}.csv"
[defaults]
model = "seedance-1.0-lite"
resolution = "480p"
num_frames = 29
[look]
blurred_px = 2  # every clip has softer edges than that
[retakes]
max = 2
budget_usd = "{budget}"
on = ["{kind}"]
"""


async def test_a_file_that_breaks_off_is_fetched_again(house):
    """One download cut short costs a second download and nothing else."""
    run_id = house.open_run("a,delivery one")
    house.arm("file_truncated", count=1)
    await house.work(run_id)
    assert house.row(run_id).state is State.SUCCEEDED
    assert len(house.accepted("delivery one")) == 1


async def test_a_media_host_that_is_down_loses_nothing(house):
    """The job stays `rendered` with a note, and the next run fetches it without buying it again."""
    run_id = house.open_run("a,delivery two")
    house.arm("server_error", route="file", count=99)
    ctx = await house.work(run_id)
    assert house.row(run_id).state is State.RENDERED
    assert "a (row 2), request" in ctx.state.unfinished[0]
    house.faults.clear()
    await house.work(run_id)
    assert house.row(run_id).state is State.SUCCEEDED
    assert len(house.accepted("delivery two")) == 1
    assert house.sound()


async def test_a_failure_that_is_said_once_is_not_believed(house):
    """A gateway that answers for the model must not write off a clip that is there and paid for."""
    run_id = house.open_run("a,delivery three")
    house.arm("server_error", route="result", status=500, count=2)
    await house.work(run_id)
    row = house.row(run_id)
    assert row.state is State.SUCCEEDED
    assert row.spent_nano > 0


async def test_a_failure_that_is_said_three_times_is_one(house):
    """A render that fal says failed, and charges nothing for, gives its money back."""
    run_id = house.open_run("a,delivery four")
    house.arm("render_failed", prompt_contains="delivery four")
    await house.work(run_id)
    row = house.row(run_id)
    assert (row.state, row.charged, row.spent_nano) == (State.FAILED, "no", 0)


async def test_a_file_that_is_gone_for_good_is_a_named_loss(house):
    """Not found shortly after the render may mend itself; an hour later it is a failed job that was paid."""
    run_id = house.open_run("a,delivery five")
    house.arm("not_found", route="file", count=99)
    house.ago_ms = 2 * HOUR_MS
    await house.work(run_id)
    assert house.row(run_id).state is State.RENDERED
    house.ago_ms = 0
    await house.work(run_id)
    row = house.row(run_id)
    assert (row.state, row.error_type) == (State.FAILED, "file_gone")
    assert row.spent_nano > 0


async def test_a_full_disk_buys_nothing(house, monkeypatch):
    """Without room for what would be bought, nothing is sent and the run stops."""
    run_id = house.open_run("a,delivery six", "b,delivery six b")
    monkeypatch.setattr(files, "free_bytes", lambda _directory: 0)
    ctx = await house.work(run_id)
    assert isinstance(ctx.stop.reason, DiskFull)
    assert {row.state for row in house.rows(run_id)} == {State.PENDING}
    assert house.accepted("delivery six") == []


async def test_a_job_that_cannot_be_put_into_a_request_fails_alone(house, monkeypatch):
    """What is wrong with one job is in its row; it holds no money and no slot."""

    async def unsendable(*_: object, **__: object) -> None:
        raise UsageError("cannot be written as JSON")

    run_id = house.open_run("a,delivery seven")
    monkeypatch.setattr(FalQueue, "submit", unsendable)
    await house.work(run_id)
    row = house.row(run_id)
    assert (row.state, row.error_type, row.charged) == (State.FAILED, "unsendable", "no")
    assert house.sound()


async def test_a_job_bought_at_the_moment_of_the_stop_is_given_back(house):
    """A run that is stopped between the write and the POST leaves no job that nobody can tell about."""
    run_id = house.open_run("a,delivery eight")
    async with house.account() as account:
        ctx = house.context(account, run_id)
        row = house.row(run_id)
        order = Order(decode_job(row.payload, account.catalog), row.job_id, {"prompt": "x"}, 1, 3600, "", "")
        buying = asyncio.ensure_future(admit(ctx, row, order))
        await asyncio.sleep(0)
        buying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await buying
    assert house.row(run_id).state is State.PENDING
    assert house.sound()


@pytest.mark.parametrize("sent", [False, True])
async def test_only_what_was_not_sent_is_taken_back(house, sent):
    """A job that is at fal is none that can be given back."""
    run_id = house.open_run("a,delivery nine")
    (row,) = house.rows(run_id)
    with Ledger.open(house.settings.ledger) as ledger:
        job = Order(decode_job(row.payload, load_catalog()), row.job_id, {"prompt": "x"}, 1, 3600, "", "")
        ledger.do(admit_and_send, job, slots=10, latest_departure_s=since_boot_s)
        if sent:
            ledger.do(transitions.lose, row.job_id, why="no reply")
        ledger.do(take_back_unsent, row.job_id)
        assert ledger.do(queries.job, row.job_id).state is (State.UNKNOWN if sent else State.PENDING)


async def paid_without_its_file(house, *shots):
    """Work on a run whose renders are settled while the media host is down."""
    run_id = house.open_run(*shots)
    house.arm("server_error", route="file", count=999)
    await house.work(run_id)
    house.faults.clear()
    assert all(row.state is State.RENDERED and row.booked for row in house.rows(run_id))
    return run_id


async def test_a_settled_result_is_taken_from_the_ledger(house):
    """What the queue says of a clip that is paid for no longer matters: its address is known."""
    run_id = await paid_without_its_file(house, "a,delivery ten")
    house.arm("server_error", route="result", status=422, count=999)
    await house.settled()
    assert house.row(run_id).state is State.SUCCEEDED


async def test_a_settled_job_whose_result_turned_into_an_error_stays_with_a_note(house):
    """It blocks neither reconcile nor the run, and its money is not written off twice."""
    run_id = await paid_without_its_file(house, "a,delivery eleven")
    house.arm("server_error", route="result", status=422, count=999)
    house.arm("server_error", route="file", count=999)
    findings = await house.settled()
    ctx = await house.work(run_id)
    assert [each.outcome for each in findings.each] == ["rendered"]
    assert house.row(run_id).state is State.RENDERED
    assert "a (row 2), request" in ctx.state.unfinished[0]
    assert house.sound()


async def test_a_job_that_cannot_be_collected_does_not_keep_the_others_back(house, monkeypatch):
    """Whatever happens to one file, reconcile brings the next one."""
    run_id = await paid_without_its_file(house, "a,delivery twelve a", "b,delivery twelve b")
    first, second = house.rows(run_id)

    async def breaks(ctx, job_id):
        if job_id == first.job_id:
            raise ValueError("nobody thought of this")
        return await render_job(ctx, job_id)

    monkeypatch.setattr("callsheet.engine.collect_runs.render_job", breaks)
    findings = await house.settled()
    assert {each.job_id: each.outcome for each in findings.each} == {
        first.job_id: "rendered",
        second.job_id: "collected",
    }
    assert "nobody thought of this" in findings.by("rendered")[0].why


DAY_MS = 24 * HOUR_MS


@pytest.mark.parametrize(("days", "state"), [(6, State.RENDERED), (8, State.FAILED)])
async def test_there_is_an_end_to_asking_for_a_file_whose_host_does_not_answer(house, days, state):
    """For a week it is waited for, and the row says so; then the job has failed, its money spent."""
    run_id = await paid_without_its_file(house, f"a,delivery of {days} days")
    house.arm("server_error", route="file", count=999)
    house.arm("server_error", route="result", status=503, count=999)
    house.ago_ms = -days * DAY_MS
    await house.work(run_id)
    row = house.row(run_id)
    assert (row.state, row.booked, row.spent_nano > 0) == (state, True, True)
    if state is State.RENDERED:
        assert "The video is paid for and can be fetched until" in row.error
    else:
        assert (row.error_type, "answered 503" in row.error) == ("file_unreached", True)
    assert house.sound()


@pytest.mark.parametrize("by", ["reconcile", "retry"])
async def test_what_was_given_up_is_fetched_when_fal_has_it_again(house, by):
    """It costs nothing more, and a note of what it waited for is gone with it."""
    prompt = f"delivery found by {by}"
    run_id = await paid_without_its_file(house, f"a,{prompt}")
    house.arm("server_error", route="file", count=999)
    house.ago_ms = -8 * DAY_MS
    await house.work(run_id)
    lost = house.row(run_id)
    assert lost.error_type == "file_unreached"
    if by == "retry":
        async with house.account() as account:
            assert (await reopen_unfetched(account, [lost])).unsure.keys() == {lost.job_id}
    else:
        await house.settled()
    assert house.row(run_id).state is State.FAILED
    house.faults.clear()
    if by == "retry":
        async with house.account() as account:
            assert (await reopen_unfetched(account, [lost])).found == {lost.job_id}
        await house.work(run_id)
    else:
        (found,) = (await house.settled()).each
        assert found.outcome == "collected"
    row = house.row(run_id)
    assert (row.state, row.error, row.error_type) == (State.SUCCEEDED, "", "")
    assert row.spent_nano == lost.spent_nano
    assert len(house.accepted(prompt)) == 1
    assert house.sound()


async def test_what_is_nowhere_at_fal_stays_given_up(house):
    """A file that fal says is gone is no purchase that may still come."""
    run_id = await paid_without_its_file(house, "a,delivery nowhere")
    house.arm("not_found", route="file", count=999)
    house.ago_ms = -2 * HOUR_MS
    await house.work(run_id)
    async with house.account() as account:
        looked = await reopen_unfetched(account, house.rows(run_id))
    assert (looked.found, looked.unsure) == (set(), {})
    assert (house.row(run_id).state, house.row(run_id).error_type) == (State.FAILED, "file_gone")


@pytest.mark.parametrize(("days", "ended"), [(0, (State.RENDERED, "")), (8, (State.FAILED, "result_failed"))])
async def test_a_paid_job_without_any_result_ends_as_a_failed_one_after_a_week(house, days, ended):
    """What cannot be read here and is said to have failed there is asked for again; its cost stays booked."""
    run_id = await paid_without_its_file(house, f"a,delivery without a word for {days} days")
    house.ago_ms = -days * DAY_MS
    with closing(sqlite3.connect(house.folder / "ledger.sqlite")) as ledger, ledger:
        ledger.execute("UPDATE submission SET result_json = '[]'")
    house.arm("server_error", route="result", status=422, count=999)
    await house.work(run_id)
    row = house.row(run_id)
    assert (row.state, row.error_type) == ended
    assert row.spent_nano > 0
    assert house.sound()


async def worked(house, name, *, kind="blurred", budget="5"):
    """Open a run of two rows and carry it out; return its context, and the jobs in the order they began."""
    rows = [f"{name}-{number},{name} {number},{seed}\n" for number, seed in ((1, "7"), (2, ""))]
    (house.folder / f"{name}.csv").write_text("custom_id,prompt,seed\n" + "".join(rows))
    source = house.folder / f"{name}.toml"
    source.write_text(RETAKES.format(name=name, kind=kind, budget=budget))
    run_id = house.open_source(source)
    begun = []

    async def render(ctx, row):
        begun.append(row.custom_id)
        await render_here(ctx, row)

    async with house.account() as account:
        ctx = house.context(account, run_id)
        await render_waiting(ctx, render)
        return ctx, begun


async def test_retakes_are_made_last_and_as_often_as_allowed(house):
    """Each clip is taken three times; the plan's own jobs begin first; no two takes share a seed."""
    ctx, begun = await worked(house, "stove")
    assert begun[:2] == ["stove-1", "stove-2"]
    assert sorted(begun[2:]) == ["stove-1-t2", "stove-1-t3", "stove-2-t2", "stove-2-t3"]
    with Ledger.open(house.settings.ledger) as ledger:
        rows = result_rows(ledger, ledger.do(queries.run, ctx.run.run_id))
    assert [(row.custom_id, row.job.take, row.retake_of) for row in rows[:3]] == [
        ("stove-1", 1, ""),
        ("stove-1-t2", 2, "stove-1"),
        ("stove-1-t3", 3, "stove-1-t2"),
    ]
    assert len({row.seed_used for row in rows}) == len({row.output_path for row in rows}) == 6
    assert all("blurred" in row.flags and row.actual_nano for row in rows)
    assert house.sound()


async def test_nothing_is_retaken_for_another_flag_or_without_an_allowance(house):
    """Clips keep their flags; the run says why a retake was not ordered, and nothing is left out of it."""
    ctx, begun = await worked(house, "kettle", kind="black")
    assert len(begun) == 2
    ctx, begun = await worked(house, "teacup", budget="0.01")
    assert len(begun) == 2
    assert "is flagged (blurred 0.0-1.2 s" in ctx.state.notices[0]
    assert "the cap on retakes of run" in ctx.state.notices[0]
    assert {row.state for row in house.rows(ctx.run.run_id)} == {State.SUCCEEDED}
