"""A run is opened whole or not at all: `resume` never buys what the opening had decided not to buy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from callsheet.engine.open_run import Selection, open_run
from callsheet.engine.request import RunRequest
from callsheet.ledger import Ledger, State, queries
from manifests.planner import make_plan

pytestmark = pytest.mark.anyio


def killed(*_args: Any, **_more: Any) -> None:
    """End as a process does that is killed."""
    raise KeyboardInterrupt


async def test_a_run_whose_marks_cannot_be_written_is_not_there(house: Any, monkeypatch: Any) -> None:
    """A failure while jobs are marked takes the whole run back."""
    first = house.open_run("a,A marked boat")
    plan = make_plan(str(house.folder / "spring.csv"))
    with Ledger.open(house.settings.ledger) as ledger:
        monkeypatch.setattr("callsheet.ledger.transitions.skip", killed)
        options = RunRequest(sandbox=True).kept
        with pytest.raises(KeyboardInterrupt):
            open_run(ledger, plan, Selection((), (0,)), out=house.folder / "runs", options=options)
        assert [run.run_id for run in ledger.do(queries.runs)] == [first]


async def test_what_fit_left_out_stays_left_out(house: Any) -> None:
    """Only the jobs that were chosen are bought, and the others say why not."""
    source = house.folder / "choice.csv"
    rows = "a,A chosen boat,seedance-1.0-lite,480p,29\nb,A dear boat,seedance-1.0-lite,480p,29\n"
    source.write_text(f"custom_id,prompt,model,resolution,num_frames\n{rows}")
    plan = make_plan(str(source))
    with Ledger.open(house.settings.ledger) as ledger:
        options = RunRequest(sandbox=True).kept
        run_id = open_run(ledger, plan, Selection((0,), (1,)), out=house.folder / "runs", options=options)
    await house.work(run_id)
    states = [(row.state, row.error) for row in house.rows(run_id)]
    assert states == [(State.SUCCEEDED, ""), (State.SKIPPED_BUDGET, "does not fit the budget")]
    assert (len(house.accepted("A chosen boat")), len(house.accepted("A dear boat"))) == (1, 0)


def test_the_plan_of_a_run_has_no_signature(house: Any) -> None:
    """The plan file of a run is copied to stores and passed on."""
    house.open_run("a,A signed boat")
    plan = replace(
        make_plan(str(house.folder / "spring.csv")), source="https://files.test/spring.csv?sig=canary"
    )
    with Ledger.open(house.settings.ledger) as ledger:
        run_id = open_run(ledger, plan, Selection((0,), (), again=True), out=house.folder, options="")
    text = (house.folder / run_id / "plan.json").read_text()
    assert "files.test/spring.csv" in text
    assert "canary" not in text
