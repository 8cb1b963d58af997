"""A run that is stopped while its ledger, on a server, is just being written to."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from callsheet.engine import admit
from callsheet.ledger import Ledger, State, admission, verify
from callsheet.ledger.transaction import Transaction, purchase
from manifests.job import decode_job

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


@pytest.mark.parametrize("moment", ["before the hold", "between hold and intent", "after the intent"])
async def test_what_was_bought_as_the_run_was_stopped_is_given_back(
    house, empty_schema_url, monkeypatch, moment
):
    """Whichever commit the cancellation meets, hold and slot are free and the job can be bought once."""
    house.changes["ledger_url"] = empty_schema_url
    prompt = f"A stopped boat {moment}"
    run_id = house.open_run(f"a,{prompt}")
    reached, go = threading.Event(), threading.Event()

    def pause_at(here: str) -> None:
        if here == moment:
            reached.set()
            go.wait()

    @purchase(short=True, urgent=True)
    def admit_and_send(
        tx: Transaction, order: admit.Order, *, slots: int, latest_departure_s: Callable[[], float]
    ) -> admit.Intent:
        pause_at("before the hold")
        held = admission.admit(tx, order.job_id, slots=slots)
        pause_at("between hold and intent")
        intent = admit.send_order(tx, order, held.number, latest_departure_s)
        pause_at("after the intent")
        return intent

    monkeypatch.setattr(admit, "admit_and_send", admit_and_send)
    async with house.account() as desk:
        ctx = house.context(desk, run_id)
        row = house.row(run_id)
        order = admit.order_of(ctx, decode_job(row.payload, desk.catalog), row, {})
        buying = asyncio.ensure_future(admit.admit(ctx, row, order))
        await asyncio.to_thread(reached.wait)
        buying.cancel()
        await asyncio.sleep(0)
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await buying

    assert house.row(run_id).state is State.PENDING
    with Ledger.open(empty_schema_url) as ledger:
        assert {account.taken_nano for account in ledger.do(admission.balances)} <= {0}
        assert ledger.do(verify.verify) == []
    moment = ""
    await house.work(run_id)
    assert house.row(run_id).state is State.SUCCEEDED
    assert len(house.accepted(prompt)) == 1
