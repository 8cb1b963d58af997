"""Drafts that are made, and those that are finished: refused by name, paid once, and never lost."""

from __future__ import annotations

import csv
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from callsheet.cli.commands.finish import why_nothing
from callsheet.delivery.kept_clips import kept_clips
from callsheet.engine.cancel import cancel_pending
from callsheet.engine.drafts import FinishPlan, order_finishes
from callsheet.engine.job import render_job
from callsheet.engine.open_run import changes_of
from callsheet.engine.results import result_rows, write_report
from callsheet.errors import ManifestError, OverBudget, UsageError
from callsheet.ledger import JobRow, Ledger, State, queries
from manifests.planner import make_plan
from manifests.selection import Kept
from pricing.quotes import DRAFT_KEPT_MS
from tests.rig.processes import until

pytestmark = pytest.mark.anyio

COMPLETE = "bytedance/seedance-2.5/draft/complete"
HOUR_MS = 3_600_000
DRAFT_NANO, FINISH_NANO = 830_962_000, 4_598_623_530
"""Real bills of 4 s at 16:9, in nano-dollars."""


async def drafted(house: Any, prompt: str, *names: str, first: str = "true") -> str:
    """Make drafts of these names and return their run; the first one's `draft` cell is `first`."""
    source = house.folder / "drafts.csv"
    cells = [first, *("true" for _ in names[1:])]
    rows = [
        f"{name},{prompt} {name},seedance-2.5,16:9,4,{draft}\n"
        for name, draft in zip(names, cells, strict=True)
    ]
    source.write_text("custom_id,prompt,model,aspect_ratio,duration,draft\n" + "".join(rows))
    run_id = str(house.open_source(source))
    await house.work(run_id)
    return run_id


async def finish(house: Any, run_id: str, *names: str, **options: Any) -> FinishPlan:
    """Order the finishes of these drafts."""
    with Ledger.open(house.settings.ledger) as ledger:
        run = ledger.do(queries.run, run_id)
    kept = [Kept(name, "selection.csv", number) for number, name in enumerate(names, 2)]
    return await order_finishes(house.settings, run, kept, **options)


def one(house: Any, run_id: str, name: str = "a") -> JobRow:
    """Return the row of that name."""
    return next(row for row in house.rows(run_id) if row.custom_id == name)


def finishes_of(house: Any, row: JobRow) -> list[dict[str, Any]]:
    """Return the requests that finished a job's draft, as the provider has them."""
    with Ledger.open(house.settings.ledger) as ledger:
        run = ledger.do(queries.run, row.run_id)
        draft_id = next(each.draft_id for each in result_rows(ledger, run) if each.custom_id == row.custom_id)
    return [each for each in house.truth()["accepted"] if each["arguments"].get("draft_id") == draft_id]


async def test_a_kept_draft_is_bought_at_full_size_as_the_same_row(house: Any) -> None:
    """The two real bills stand on one row, the draft's file stays, and only the kept one is finished."""
    run_id = await drafted(house, "A boat drafted", "a", "b")
    plan = await finish(house, run_id, "a")
    assert (plan.expected_nano, plan.maximum_nano) == (4_551_215_040, FINISH_NANO)
    await house.work(run_id)
    made, other = one(house, run_id), one(house, run_id, "b")
    assert (made.state, made.draft_nano, made.spent_nano) == (
        State.SUCCEEDED,
        DRAFT_NANO,
        DRAFT_NANO + FINISH_NANO,
    )
    assert (other.spent_nano, other.is_finish) == (DRAFT_NANO, False)
    (sent,) = finishes_of(house, made)
    assert (sent["endpoint"], set(sent["arguments"])) == (COMPLETE, {"draft_id"})
    with Ledger.open(house.settings.ledger) as ledger:
        summary = write_report(ledger, ledger.do(queries.run, run_id))
    drafts = summary["drafts"]
    assert (drafts["finished"], drafts["to_finish"], Decimal(drafts["finish_usd"])) == (
        1,
        1,
        Decimal(FINISH_NANO).scaleb(-9),
    )
    media = house.folder / "runs" / run_id / "media"
    assert {path.name for path in media.glob("*.mp4")} == {"a.mp4", "a-1080p.mp4", "b.mp4"}
    assert house.sound()


async def test_drafts_and_finishes_are_delivered_by_the_resolution_of_their_files(house: Any) -> None:
    """The row's own is that of neither."""
    run_id = await drafted(house, "A boat delivered", "a", "b")
    await finish(house, run_id, "a")
    await house.work(run_id)
    with Ledger.open(house.settings.ledger) as ledger:
        run = ledger.do(queries.run, run_id)
        clips = kept_clips(ledger, run, None, everything=True, client=None, name="{custom_id}_{resolution}")
    assert [clip.name for clip in clips] == ["a_1080p", "b_480p"]


async def test_a_run_with_jobs_to_buy_finishes_nothing(house: Any) -> None:
    """It was stopped, and going on with it would buy them as well, at a price that nobody was shown."""
    source = house.folder / "drafts.csv"
    rows = [f"{name},A boat of a stopped run {name},seedance-2.5,16:9,4,true\n" for name in "ab"]
    source.write_text("custom_id,prompt,model,aspect_ratio,duration,draft\n" + "".join(rows))
    run_id = str(house.open_source(source))
    async with house.account() as account:
        await render_job(house.context(account, run_id), one(house, run_id).job_id)
    with pytest.raises(UsageError, match=r"has 1 job that it has not bought so far, .*0\.8") as no:
        await finish(house, run_id, "a")
    assert f"`callsheet resume {run_id} --sandbox`" in str(no.value)
    assert not one(house, run_id).is_finish
    with Ledger.open(house.settings.ledger) as ledger:
        cancel_pending(ledger, run_id, "given up")
    assert len((await finish(house, run_id, "a")).finishes) == 1
    assert len((await finish(house, run_id, "a")).done) == 1  # the command again goes on with the finish


async def test_a_lost_reply_of_a_finish_is_found_and_not_bought_again(house: Any) -> None:
    """It is matched by its exact arguments, which name the draft."""
    run_id = await drafted(house, "A boat whose finish is lost", "a")
    await finish(house, run_id, "a")
    house.arm("reset")
    await house.work(run_id)
    assert one(house, run_id).state is State.UNKNOWN
    row = one(house, run_id)
    until(lambda: any(each["status"] == "COMPLETED" for each in finishes_of(house, row)), 60)
    await house.settled()
    made = one(house, run_id)
    assert (made.state, made.spent_nano) == (State.SUCCEEDED, DRAFT_NANO + FINISH_NANO)
    assert len(finishes_of(house, made)) == 1


async def test_a_failed_finish_shows_the_draft_and_its_row_buys_no_new_draft(house: Any) -> None:
    """The row is failed and still has the draft's file; errors.csv, run again, costs nothing."""
    run_id = await drafted(house, "A boat whose finish fails", "a")
    await finish(house, run_id, "a")
    house.arm("render_failed")
    await house.work(run_id)
    failed = one(house, run_id)
    assert failed.state is State.FAILED
    with Ledger.open(house.settings.ledger) as ledger:
        run = ledger.do(queries.run, run_id)
        (row,) = result_rows(ledger, run)
        summary = write_report(ledger, run)
        assert (summary["drafts"]["to_finish"], summary["drafts"]["finish_until"]) == (0, None)
        assert (row.status, row.output_path, row.width_px) == ("failed", "media/a.mp4", 854)
        assert (row.draft_nano, row.finish_until_ms) == (DRAFT_NANO, row.job.finish_until_ms)
        folder = Path(run.out)
        with (folder / "errors.csv").open() as file:
            (error,) = csv.DictReader(file)
        assert (error["custom_id"], error["draft"]) == ("a", "true")
        again = make_plan(str(folder / "errors.csv"))
        assert set(changes_of(ledger, again).made) == {0}
    with pytest.raises(ManifestError) as refused:
        await finish(house, run_id, "a")
    assert f"its finish is failed; `callsheet retry {run_id} --sandbox`" in refused.value.problems[0].message


async def test_a_draft_is_kept_as_the_results_write_it(house: Any) -> None:
    """results.csv has an apostrophe before an id that begins like a formula; both forms name the draft."""
    run_id = await drafted(house, "A boat that dashes", "-dash", "b")
    plan = await finish(house, run_id, "'-dash", "-dash")
    assert [each.draft.row.custom_id for each in plan.finishes] == ["-dash"]


async def test_what_cannot_be_finished_is_named_and_nothing_is_ordered(house: Any) -> None:
    """An unknown name, a row that is no draft and an expired draft; each with its row and the reason."""
    house.ago_ms = DRAFT_KEPT_MS
    run_id = await drafted(house, "A boat too late", "plain", "late", first="false")
    house.ago_ms = 0
    with pytest.raises(ManifestError) as refused:
        await finish(house, run_id, "late", "plain", "nobody")
    told = {(each.row, each.found): each.message for each in refused.value.problems}
    assert "could be finished until" in told[2, "late"]
    assert "no draft" in told[3, "plain"]
    assert "no such job" in told[4, "nobody"]
    assert {row.state for row in house.rows(run_id)} == {State.SUCCEEDED}


async def test_a_finish_that_would_be_sent_too_late_is_not_sent(house: Any) -> None:
    """The order carries its deadline: what waited for longer fails for free, and keeps the draft."""
    house.ago_ms = DRAFT_KEPT_MS - HOUR_MS
    run_id = await drafted(house, "A boat that waits", "a")
    await finish(house, run_id, "a")
    house.ago_ms = -2 * HOUR_MS
    await house.work(run_id)
    late = one(house, run_id)
    assert (late.state, late.error_type, late.charged) == (State.FAILED, "draft_expired", "no")
    assert (late.spent_nano, late.output.path) == (DRAFT_NANO, "media/a.mp4")
    assert finishes_of(house, late) == []


async def test_a_budget_is_the_runs_with_its_drafts_and_fit_takes_what_fits(house: Any) -> None:
    """Two finishes do not fit the budget: refused as a whole; with `fit` the first one is ordered."""
    run_id = await drafted(house, "A boat on a budget", "a", "b")
    budget_nano = 2 * DRAFT_NANO + FINISH_NANO
    with pytest.raises(OverBudget, match="run"):
        await finish(house, run_id, "a", "b", budget_nano=budget_nano)
    assert {row.state for row in house.rows(run_id)} == {State.SUCCEEDED}
    nothing = await finish(house, run_id, "a", "b", budget_nano=2 * DRAFT_NANO, fit=True)
    assert "of 2 kept drafts none fits what is left under the caps" in why_nothing(nothing)
    plan = await finish(house, run_id, "b", "a", budget_nano=budget_nano, fit=True)
    assert [each.draft.row.custom_id for each in plan.finishes] == ["a"]
    assert [each.draft.row.custom_id for each in plan.left] == ["b"]
    await house.work(run_id)
    assert sum(row.spent_nano for row in house.rows(run_id)) == budget_nano
    again = await finish(house, run_id, "a")
    assert (again.finishes, again.done, why_nothing(again)) == ((), ("a",), "nothing to finish")
