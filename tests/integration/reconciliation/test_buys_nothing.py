"""Reconciling looks, frees and fetches; it never buys."""

import pytest

from callsheet.engine import collect_runs
from callsheet.ledger import Ledger, State, admission, queries, transitions
from tests.integration.conftest import DUE_MS, SECOND_LOOK_MS, InStep

pytestmark = pytest.mark.anyio


async def test_what_turns_out_absent_while_reconciling_ends_is_not_bought(house, monkeypatch):
    """A second look that falls due while files are fetched frees the money, and sends nothing."""
    run_id = house.open_run("a,Nobody buys a boat")
    house.ago_ms = DUE_MS
    with Ledger.open(house.settings.ledger, clock=house.now_ms) as ledger:
        (row,) = ledger.do(queries.jobs, run_id)
        ledger.do(admission.admit, row.job_id, slots=10)
        ledger.do(transitions.send, row.job_id, arguments_sha256="ab" * 32, seed=1, start_timeout_s=3600)
        ledger.do(transitions.lose, row.job_id, why="reset")
    house.ago_ms = 0
    await house.control()
    house.transport = lambda: InStep(house.now_ms)
    settle = collect_runs.settle_ledger

    async def and_time_passes(account, **more):
        findings = await settle(account, **more)
        house.ago_ms -= SECOND_LOOK_MS
        return findings

    monkeypatch.setattr(collect_runs, "settle_ledger", and_time_passes)
    for _ in range(2):
        await house.settled()

    assert house.accepted("Nobody buys a boat") == []
    assert house.row(run_id).state is State.PENDING
