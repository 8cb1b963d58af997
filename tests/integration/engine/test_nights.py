"""Nights of one campaign on the sandbox, with a ledger whose clock is moved from day to day."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from callsheet.engine.finalize import finalize
from callsheet.engine.open_run import open_run, select
from callsheet.engine.price_check import check_run_prices
from callsheet.engine.request import RunRequest
from callsheet.engine.run import opened
from callsheet.engine.scheduler import in_order, run_jobs
from callsheet.ledger import Ledger, State, admission, queries
from manifests.plan import Plan
from manifests.planner import make_plan

pytestmark = pytest.mark.anyio

HEADER = "custom_id,prompt,model,resolution,num_frames,priority\n"
DAY_MS = 86_400_000
HOLD_USD = 0.022
"""A little more than the most that one of these clips can cost."""


def write(folder: Path, rows: list[str], *, daily_usd: float) -> str:
    """Write the campaign and its manifest, and return the campaign file's path."""
    (folder / "shots.csv").write_text(HEADER + "".join(rows))
    file = folder / "nightly.toml"
    file.write_text(
        '[campaign]\nname = "nightly"\nmanifest = "shots.csv"\n'
        f'[budget]\ntotal_usd = 100\ndaily_usd = {daily_usd:.4f}\n[output]\ndir = "{folder / "runs"}"\n'
    )
    return str(file)


def row(name: str, priority: int = 0) -> str:
    """Return a row of the manifest."""
    return f"{name},A night shot of {name},seedance-1.0-lite,480p,29,{priority}\n"


async def night(house, plan: Plan) -> dict:
    """Open a run of what fits, as a schedule does, and carry it out."""
    request = RunRequest(source=str(plan.source), sandbox=True, speed=5000, fit=True)
    with Ledger.open(house.settings.ledger, clock=house.now_ms) as ledger:
        selection = select(ledger, plan, fit=True)
        run_id = open_run(
            ledger, plan, selection, out=house.folder / "runs", options=request.model_dump_json()
        )
    async with house.account() as account:
        ctx = await check_run_prices(house.context(account, run_id), accept=False)
        ctx = replace(ctx, request=request.model_copy(update={"run_id": run_id}))
        await run_jobs(ctx, in_order(account.ledger.do(queries.jobs, run_id)))
        return await finalize(ctx)


async def test_a_month_of_nights_buys_everything_once_and_never_more_than_a_day_allows(house):
    """What did not fit comes the next night, by priority and then by age; empty nights are successes."""
    rows: list[str] = []
    bought: dict[int, list[str]] = {}
    for day in (0, 1, 2, 3, 10, 11, 12, 20, 29):  # the nights between were missed: one run makes them good
        house.ago_ms = (30 - day) * DAY_MS
        if day in (0, 10):  # five new rows in a night that has room for two
            rows += [row(f"d{day}-{number}", priority=int(number == 4)) for number in range(5)]
        elif day in (1, 20):
            rows.append(row(f"d{day}-late"))
        plan = make_plan(write(house.folder, rows, daily_usd=2 * HOLD_USD))
        summary = await night(house, plan)
        assert summary["exit_code"] == 0
        made = [each for each in house.rows(summary["run_id"]) if each.state is State.SUCCEEDED]
        bought[day] = sorted(each.custom_id for each in made)
    assert bought == {
        0: ["d0-0", "d0-4"],
        1: ["d0-1", "d0-2"],
        2: ["d0-3", "d1-late"],
        3: [],
        10: ["d10-0", "d10-4"],
        11: ["d10-1", "d10-2"],
        12: ["d10-3"],
        20: ["d20-late"],
        29: [],
    }
    prompts = Counter(each["arguments"]["prompt"] for each in house.truth()["accepted"])
    assert {prompts[f"A night shot of {line.partition(',')[0]}"] for line in rows} == {1}
    with Ledger.open(house.settings.ledger) as ledger:
        days = [each for each in ledger.do(admission.balances) if each.limit_nano and "day" in str(each.ref)]
    assert all(each.taken_nano <= each.limit_nano for each in days)
    assert house.sound()


async def test_an_empty_night_is_a_success_of_the_flows_way_of_opening(house, monkeypatch):
    """A manifest without rows opens a run of nothing, also where nothing caps it."""
    for name in ("QUEUE_URL", "REST_URL", "CDN_URL"):
        monkeypatch.setenv(f"CALLSHEET_{name}", house.address.url)
    monkeypatch.setenv("CALLSHEET_PLATFORM_URL", f"{house.address.url}/v1")
    monkeypatch.setenv("FAL_KEY", house.address.key)
    source = house.folder / "empty.csv"
    source.write_text(HEADER)
    async with opened(RunRequest(source=str(source))) as ctx:
        summary = await finalize(ctx)
    assert (summary["exit_code"], summary["statuses"], summary["actual_usd"]) == (0, {}, "0.00")
