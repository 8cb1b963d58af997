"""What Prefect says of other runs of a schedule, as the rules for nights read it."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from prefect.client.schemas import FlowRun, State, StateType

from tasks.nights import SKIPPED, SUPERSEDED, _scheduled

BEGUN = datetime(2026, 11, 3, 2, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("state", "begun", "counts", "skipped"),
    [
        (State(type=StateType.RUNNING), True, True, False),
        (State(type=StateType.CRASHED), True, True, False),
        (State(type=StateType.CRASHED), False, False, False),
        (State(type=StateType.COMPLETED, name=SUPERSEDED), True, False, False),
        (State(type=StateType.CANCELLED, message=SKIPPED), False, False, True),
        (State(type=StateType.CANCELLED), False, False, False),
    ],
    ids=["runs", "crashed", "crashed before it began", "superseded", "skipped by Prefect", "cancelled"],
)
def test_which_runs_stand_for_others(state: State, begun: bool, counts: bool, skipped: bool) -> None:
    """A run that never began, or ended for another one, does not."""
    run = FlowRun(
        id=uuid4(),
        flow_id=uuid4(),
        state=state,
        state_type=state.type,
        state_name=state.name,
        expected_start_time=BEGUN,
        start_time=BEGUN if begun else None,
    )
    found = _scheduled(run)
    assert (found.counts, found.skipped) == (counts, skipped)
