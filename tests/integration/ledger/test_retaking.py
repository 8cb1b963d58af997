"""Retakes that a run orders itself: with the flag or not at all, once each, and within an allowance."""

from dataclasses import replace
from typing import Any

import pytest

from callsheet.errors import CapReached, LedgerError
from callsheet.ledger import NewJob, State, admission, parts, queries, runs, transitions, verify
from callsheet.ledger.states import Event
from manifests.look import Flag
from pricing.budgets import Cap
from tests.integration.ledger.conftest import COST_NANO, FILE, HOLD_NANO, new_job

FLAGGED = replace(FILE, flags=(Flag("black", 0.0, 1.2, 1.2),))
ROOM_FOR_TWO = 2 * HOLD_NANO


def allowance(run_id: str, limit_nano: int = ROOM_FOR_TWO) -> Cap:
    """The run's own cap on its retakes."""
    return Cap("retakes", run_id, "total", limit_nano)


def retake(number: int = 0, take: int = 1, most: int = 2) -> NewJob:
    """The n-th retake of a place in the plan."""
    name = f"shot-{number}-t{take + 1}"
    own = {"custom_id": name, "output_name": name, "fingerprint": name, "position": number}
    return new_job(number, **own, take=take + 1, draft=False, retake=take, retakes_max=most)


def collected(desk: Any, job_id: int, again: NewJob | None) -> str:
    """Bring a job to its flagged clip, and order its retake with it; return why it was not ordered."""
    desk.bring(job_id, State.RENDERED, settled=True)
    return str(desk.ledger.do(transitions.collect, job_id, FLAGGED, retake=again))


def names(desk: Any, run_id: str) -> list[str]:
    """Return the names of a run's jobs, in order."""
    return [row.custom_id for row in desk.ledger.do(queries.jobs, run_id)]


def test_a_flagged_clip_and_its_retake_are_recorded_together(desk):
    """The clip keeps its file, flags and bill; the retake waits beside it and counts in the allowance too."""
    (job_id,) = desk.run(run_id="r", caps=[allowance("r")], draft=False, retakes_max=2)
    assert collected(desk, job_id, retake()) == ""
    clip, again = desk.ledger.do(queries.jobs, "r")
    assert (clip.state, clip.output.flags, clip.spent_nano) == (State.SUCCEEDED, FLAGGED.flags, COST_NANO)
    assert (again.state, again.position, again.retake) == (State.PENDING, clip.position, 1)
    assert desk.account("retakes", "r") == (0, 0)
    desk.do(Event.ADMIT, again.job_id)
    assert desk.account("retakes", "r") == (HOLD_NANO, 0)
    assert desk.account() == (HOLD_NANO, COST_NANO)
    for event in (Event.SEND, Event.ACCEPT, Event.RENDER, Event.SETTLE, Event.COLLECT):
        desk.do(event, again.job_id)
    assert desk.account("retakes", "r") == (0, COST_NANO)
    assert desk.account() == (0, 2 * COST_NANO)


def test_where_the_clip_is_not_recorded_there_is_no_retake(desk):
    """The two are one transaction: a failure of either leaves neither."""
    (job_id,) = desk.run(run_id="r", draft=False, retakes_max=2)
    desk.bring(job_id, State.RENDERED, settled=True)
    with pytest.raises(LedgerError):
        desk.ledger.do(transitions.collect, job_id, FLAGGED, retake=replace(retake(), maximum_nano=0))
    (row,) = desk.ledger.do(queries.jobs, "r")
    assert (row.state, row.output) == (State.RENDERED, None)


def test_the_tables_allow_each_retake_once_and_none_above_the_allowance(desk):
    """Also to a writer that asks nobody."""
    (job_id,) = desk.run(run_id="r", draft=False, retakes_max=1)
    assert collected(desk, job_id, retake(most=1)) == ""
    for change in ("position = 0, retake = 1", "retake = 2", "retake = -1"):
        with pytest.raises(LedgerError):
            desk.sql(f"UPDATE job SET {change} WHERE job_id = {job_id}")
    (again,) = [row for row in desk.ledger.do(queries.jobs, "r") if row.retake]
    assert "as often as" in collected(desk, again.job_id, retake(take=2, most=1))
    assert names(desk, "r") == ["shot-0", "shot-0-t2"]


def test_retakes_stop_at_their_allowance(desk):
    """Two of three fit: the third clip keeps its flags, and nothing is left out of the run."""
    jobs = desk.run(3, run_id="r", caps=[allowance("r")], draft=False, retakes_max=2)
    left = [collected(desk, job_id, retake(number)) for number, job_id in enumerate(jobs)]
    assert left[:2] == ["", ""]
    assert "the cap on retakes of run r" in left[2]
    for row in desk.ledger.do(queries.jobs, "r", states={State.PENDING}):
        desk.do(Event.ADMIT, row.job_id)
    assert desk.account("retakes", "r") == (ROOM_FOR_TWO, 0)


def test_admission_asks_the_allowance_again(desk):
    """A retake that was ordered is not admitted past a cap that was lowered since."""
    (job_id,) = desk.run(run_id="r", caps=[allowance("r")], draft=False, retakes_max=2)
    collected(desk, job_id, retake())
    desk.ledger.do(admission.set_cap, "retakes", "r", "total", HOLD_NANO - 1)
    (again,) = desk.ledger.do(queries.jobs, "r", states={State.PENDING})
    with pytest.raises(CapReached, match="retakes of run r"):
        desk.ledger.do(admission.admit, again.job_id, slots=10)


@pytest.mark.parametrize("scope", ["campaign", "run", "ledger"])
def test_no_retake_is_ordered_past_another_cap(desk, scope):
    """The allowance widens nothing."""
    key = {"campaign": "spring", "run": "r", "ledger": ""}[scope]
    cap = Cap(scope, key, "total", HOLD_NANO)
    (job_id,) = desk.run(run_id="r", caps=[allowance("r"), cap], draft=False, retakes_max=2)
    assert f"the cap on {scope}" in collected(desk, job_id, retake())
    assert names(desk, "r") == ["shot-0"]


def test_a_run_that_is_stopped_orders_nothing(desk):
    """Its clip is recorded all the same."""
    (job_id,) = desk.run(run_id="r", draft=False, retakes_max=2)
    desk.bring(job_id, State.RENDERED, settled=True)
    desk.ledger.do(runs.request_stop, "r")
    assert desk.ledger.do(transitions.collect, job_id, FLAGGED, retake=retake()) == "the run was stopped"
    assert desk.ledger.do(queries.job, job_id).output.flags == FLAGGED.flags
    assert names(desk, "r") == ["shot-0"]
    assert desk.ledger.do(verify.verify) == []


@pytest.mark.parametrize(("taken", "name"), [("SHOT-0-t2", "shot-0-t2"), ("Кит-t2", "Кит-t2")])
def test_a_retake_that_would_share_a_name_with_another_job_is_not_ordered(desk, taken, name):
    """Two clips of one name would replace each other where machines copy them to one store."""
    ids = desk.run(2, run_id="r", draft=False, retakes_max=2)
    desk.sql(f"UPDATE job SET output_name = '{taken}' WHERE position = 1")
    said = collected(desk, ids[0], replace(retake(), output_name=name))
    assert said == "the run has another job called 'shot-0-t2'"
    assert len(names(desk, "r")) == 2


def test_a_clip_and_its_retake_are_in_one_part(desk):
    """Parts are ranges of places in the plan: two owners of one place would recover each other's requests."""
    ids = desk.run(4, run_id="r", draft=False, retakes_max=2)
    for number in (0, 1):
        assert collected(desk, ids[number], retake(number)) == ""
    found = desk.ledger.do(parts.split, "r", 1)
    assert [each.name for each in found] == ["0-0", "1-1", "2-2", "3-3"]
