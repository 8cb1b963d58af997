"""Retakes that a run orders itself: begun last, with a new seed, and not without end."""

from typing import Any

import pytest

from callsheet.engine.results import result_rows
from callsheet.engine.scheduler import render_here, render_waiting
from callsheet.ledger import Ledger, State, queries

pytestmark = pytest.mark.anyio

CAMPAIGN = """[campaign]
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


async def worked(house: Any, name: str, *, kind: str = "blurred", budget: str = "5") -> tuple[Any, list[str]]:
    """Open a run of two rows and carry it out; return its context, and the jobs in the order they began."""
    rows = [f"{name}-{number},{name} {number},{seed}\n" for number, seed in ((1, "7"), (2, ""))]
    (house.folder / f"{name}.csv").write_text("custom_id,prompt,seed\n" + "".join(rows))
    source = house.folder / f"{name}.toml"
    source.write_text(CAMPAIGN.format(name=name, kind=kind, budget=budget))
    run_id = house.open_source(source)
    begun: list[str] = []

    async def render(ctx: Any, row: Any) -> None:
        begun.append(row.custom_id)
        await render_here(ctx, row)

    async with house.account() as account:
        ctx = house.context(account, run_id)
        await render_waiting(ctx, render)
        return ctx, begun


async def test_retakes_are_made_last_and_as_often_as_allowed(house: Any) -> None:
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


async def test_nothing_is_retaken_for_another_flag_or_without_an_allowance(house: Any) -> None:
    """Clips keep their flags; the run says why a retake was not ordered, and nothing is left out of it."""
    ctx, begun = await worked(house, "kettle", kind="black")
    assert len(begun) == 2
    ctx, begun = await worked(house, "teacup", budget="0.01")
    assert len(begun) == 2
    assert "is flagged (blurred 0.0-1.2 s" in ctx.state.notices[0]
    assert "the cap on retakes of run" in ctx.state.notices[0]
    assert {row.state for row in house.rows(ctx.run.run_id)} == {State.SUCCEEDED}
