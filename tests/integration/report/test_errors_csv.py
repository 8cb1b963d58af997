"""errors.csv run again: the same campaign, the same purchases, its caps, and known afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from callsheet.engine.finalize import write_report
from callsheet.engine.open_run import changes_of, select
from callsheet.errors import OverBudget
from callsheet.ledger import Ledger, State, queries
from callsheet.ledger.admission import set_cap
from manifests.planner import make_plan

pytestmark = pytest.mark.anyio

PROMPT = "=HYPERLINK(1) a formula of a prompt"


async def failed_run(house: Any) -> Path:
    """Run a campaign whose only job fails for free, and return its errors.csv."""
    house.arm("render_failed", prompt_contains=PROMPT)
    run_id = house.open_run(f"a,{PROMPT}", campaign="spring")
    await house.work(run_id)
    with Ledger.open(house.settings.ledger) as ledger:
        run, rows = ledger.do(queries.run, run_id), ledger.do(queries.jobs, run_id)
        assert [row.state for row in rows] == [State.FAILED]
        write_report(ledger, run)
    return Path(run.out) / "errors.csv"


async def test_what_is_run_from_errors_csv_is_known_to_the_campaign(house: Any) -> None:
    """The video made from errors.csv is the campaign's: its next plan shows it as made and buys nothing."""
    errors = await failed_run(house)
    assert f'"\'{PROMPT}"' in errors.read_text("utf-8")
    run_id = house.open_source(errors)
    await house.work(run_id)
    with Ledger.open(house.settings.ledger) as ledger:
        assert ledger.do(queries.run, run_id).campaign == "spring"
        (row,) = ledger.do(queries.jobs, run_id)
        assert row.state is State.SUCCEEDED
        plan = make_plan(house.folder / "spring.csv")
        assert changes_of(ledger, plan).sign(0) == "="
        assert select(ledger, plan, fit=False).buy == ()
    bought = house.accepted(PROMPT)
    assert [each["status_code"] for each in bought] == [500, 200]


async def test_what_is_run_from_errors_csv_counts_under_the_campaigns_cap(house: Any) -> None:
    """A cap on the campaign that leaves no room refuses errors.csv before anything is sent."""
    errors = await failed_run(house)
    before = len(house.accepted(PROMPT))
    with Ledger.open(house.settings.ledger) as ledger:
        ledger.do(set_cap, "campaign", "spring", "total", 1)
        with pytest.raises(OverBudget):
            select(ledger, make_plan(errors), fit=False)
    assert len(house.accepted(PROMPT)) == before
