"""Nobody stops watching what holds a slot: a timeout changes what a person is told, never the asking."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from callsheet.ledger import State
from callsheet.sandbox.config import SandboxConfig
from callsheet.sandbox.faults import FaultBook
from callsheet.sandbox.server import running_sandbox
from tests.integration.conftest import House

pytestmark = pytest.mark.anyio


@pytest.fixture
def slow_house(tmp_path: Path) -> Iterator[House]:
    """An empty ledger beside a sandbox whose renders take about three seconds."""
    faults = FaultBook()
    with running_sandbox(SandboxConfig(speed=0.7, draw_seed=False), faults=faults) as address:
        yield House(tmp_path, address, faults)


async def test_renders_that_outlast_their_timeout_are_collected_and_free_their_slot(slow_house):
    """One slot, a timeout of a second: both jobs are rendered one after the other, each is told of once."""
    run_id = slow_house.open_run("a,polling one", "b,polling two")
    slow_house.changes |= {"concurrency": 1, "run_timeout_s": 1}
    ctx = await slow_house.work(run_id)
    rows = slow_house.rows(run_id)
    assert [row.state for row in rows] == [State.SUCCEEDED, State.SUCCEEDED]
    assert min(row.submission.rendered_ms - row.submission.started_ms for row in rows) > 1000
    assert ctx.state.notices == [
        f"{name} (row {row}): the render has not ended within 1 s; fal is still being asked"
        for row, name in enumerate("ab", 2)
    ]
    assert [len(slow_house.accepted(f"polling {name}")) for name in ("one", "two")] == [1, 1]
    assert slow_house.sound()
