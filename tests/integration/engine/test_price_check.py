"""fal's prices change while a run is on: over a real sandbox that lists and bills them."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from callsheet.engine import job, reconcile_loop
from callsheet.engine.canary import render_canaries
from callsheet.engine.context import RunContext
from callsheet.engine.made_files import not_stored
from callsheet.engine.open_run import open_run, select
from callsheet.engine.price_check import bills_of, check_run_prices, listed_beside_the_book
from callsheet.engine.request import RunRequest
from callsheet.engine.results import absent_earlier
from callsheet.engine.scheduler import render_here, run_jobs, waiting_jobs
from callsheet.engine.settle import IMPLAUSIBLE, book_delivered, stop_if_overbilled
from callsheet.errors import CanaryDisagrees, CanaryFailed, Overbilled, PricesChanged, Unavailable
from callsheet.ledger import (
    Booking,
    Ledger,
    State,
    admission,
    history,
    queries,
    recovery,
    runs,
    settlement,
    transitions,
)
from callsheet.provider.messages import Rendered
from callsheet.reconciliation.billing import compare_bills
from manifests.job import decode_job
from manifests.planner import make_plan
from pricing.catalog import Catalog
from pricing.money import usd_text
from pricing.pins import read_pins
from pricing.rates import RateKey, learned_rates
from tests.integration.engine.test_reconcile_loop import lost

pytestmark = pytest.mark.anyio

LITE = "fal-ai/bytedance/seedance/v1/lite/text-to-video"
ONE_NANO = 21_141_000
"""The expected price of the small clip of `House.open_run`: 864 x 480 x 29 / 1024 tokens at 1.8 dollars."""

NAMES = iter(range(10**6))


@pytest.fixture
def listing(house: Any) -> Iterator[Any]:
    """Change what the sandbox lists and bills; it goes back at the end."""

    def change(**factors: str) -> None:
        body = {LITE: factors["lite"]} if factors else {}
        key = {"Authorization": f"Key {house.address.key}"}
        httpx.post(f"{house.address.url}/_sandbox/prices", json=body, headers=key).raise_for_status()

    yield change
    change()


def lite_nano(catalog: Catalog) -> int:
    """What a million tokens of Lite cost, in nano-dollars."""
    return catalog.rates_for(catalog.endpoints[LITE], resolution="480p", audio=False)[0].nano


async def worked(house: Any, run_id: str, *, accept: bool = False, canary: int | None = None) -> RunContext:
    """Do what the flow does, without Prefect."""
    async with house.account() as account:
        ctx = house.context(account, run_id)
        ctx = replace(ctx, request=ctx.request.model_copy(update={"canary": canary}))
        ctx = await check_run_prices(ctx, accept=accept)
        await render_canaries(ctx, render_here)
        await run_jobs(ctx, await waiting_jobs(ctx))
        return ctx


def opened(house: Any, text: str, *, again: bool = False) -> str:
    """Open a run of a manifest."""
    source = house.folder / "cells.csv"
    source.write_text("custom_id,prompt,model,resolution,num_frames,duration\n" + text)
    plan = make_plan(source)
    with Ledger.open(house.settings.ledger) as ledger:
        selection = select(ledger, plan, fit=False, again=again)
        options = RunRequest(source=str(source), sandbox=True).kept
        return open_run(ledger, plan, selection, out=house.folder / "runs", options=options)


async def test_other_prices_stop_a_run_before_it_buys_until_a_person_accepts(house, listing):
    """Exit 5, nothing bought, all pending; accepted, the holds cover the new price and it is booked."""
    word = f"A dear boat {next(NAMES)}"
    run_id = house.open_run(f"a,{word}")
    listing(lite="1.25")
    stopped = await worked(house, run_id)
    assert isinstance(stopped.stop.reason, PricesChanged)
    assert stopped.stop.reason.exit_code == 5
    assert f"{LITE} costs $2.25 per million tokens, planned was $1.8" in str(stopped.stop.reason)
    assert (house.row(run_id).state, house.accepted(word)) == (State.PENDING, [])

    accepted = await worked(house, run_id, accept=True)
    row = house.row(run_id)
    assert accepted.stop.reason is None
    assert (row.state, len(house.accepted(word))) == (State.SUCCEEDED, 1)
    assert row.submission.cost_nano == house.accepted(word)[0]["cost_nano"] <= row.maximum_nano
    assert row.expected_nano == -(-864 * 480 * 29 * 2_250_000_000 // (1024 * 10**6))
    assert house.sound()


async def test_accepted_prices_stay_accepted_and_are_pinned_for_what_is_bought_later(house, listing):
    """The run remembers its rates: the next resume asks nobody, and another change stops it again."""
    word = f"A pinned boat {next(NAMES)}"
    run_id = house.open_run(f"a,{word} one", f"b,{word} two")
    listing(lite="1.25")
    async with house.account() as account:
        ctx = house.context(account, run_id)
        await check_run_prices(ctx, accept=True)
    assert (await worked(house, run_id)).stop.reason is None
    with Ledger.open(house.settings.ledger) as ledger:
        assert '"accepted": {"' + LITE in ledger.do(queries.run, run_id).prices
    later = house.open_run(f"c,{word} three", campaign="later")
    assert isinstance((await worked(house, later)).stop.reason, PricesChanged)


async def test_a_job_tried_again_is_held_at_the_accepted_price(house, listing):
    """What was left out while other prices were accepted is priced at them before it is bought."""
    word = f"A late boat {next(NAMES)}"
    run_id = house.open_run(f"a,{word} one", f"b,{word} two")
    first, second = house.rows(run_id)
    with Ledger.open(house.settings.ledger) as ledger:
        ledger.do(transitions.skip, [second.job_id], why="not bought")
    listing(lite="2")
    await worked(house, run_id, accept=True)
    spent_nano = house.rows(run_id)[0].spent_nano
    with Ledger.open(house.settings.ledger) as ledger:
        ledger.do(admission.set_cap, "run", run_id, "total", spent_nano + first.maximum_nano)
        ledger.do(recovery.retry, [second.job_id], why="tried again")
    await worked(house, run_id)
    with Ledger.open(house.settings.ledger) as ledger:
        (account,) = ledger.do(admission.balances, scope="run", key=run_id)
    assert house.rows(run_id)[1].maximum_nano == house.rows(run_id)[0].maximum_nano > first.maximum_nano
    assert (account.spent_nano, account.frozen) == (spent_nano, False)
    assert house.accepted(f"{word} two") == []


@pytest.mark.parametrize("accept", [False, True])
async def test_a_lost_request_is_bought_again_only_at_a_price_that_was_accepted(house, listing, accept):
    """It was unknown when the run looked at fal's prices; that it never arrived is known only later."""
    word = f"A boat that got lost {next(NAMES)}"
    await house.control()
    run_id = lost(house, f"a,{word}")
    await house.control()
    before_nano = house.row(run_id).maximum_nano
    listing(lite="1.25")
    async with house.account() as account:
        ctx = await check_run_prices(house.context(account, run_id), accept=accept)
        ctx.state.may_buy = True
        await reconcile_loop._look(ctx)
        await asyncio.gather(*ctx.state.background)
    row = house.row(run_id)
    if accept:
        assert (row.state, len(house.accepted(word))) == (State.SUCCEEDED, 1)
        assert before_nano < row.submission.cost_nano <= row.submission.hold_nano
        assert ctx.stop.reason is None
    else:
        assert (row.state, house.accepted(word)) == (State.PENDING, [])
        assert isinstance(ctx.stop.reason, PricesChanged)
    assert house.sound()


async def test_accepted_prices_hold_from_then_on_by_the_clock_of_the_ledger(house, listing):
    """This machine's clock is ahead of the database's: what is bought at once costs the accepted price."""
    word = f"A boat ahead of its time {next(NAMES)}"
    run_id = house.open_run(f"a,{word}")
    async with house.account() as account:
        await check_run_prices(house.context(account, run_id), accept=False)
        listing(lite="1.25")
        ahead = replace(account, now_ms=lambda: house.now_ms() + 60_000)
        ctx = await check_run_prices(house.context(ahead, run_id), accept=True)
        await run_jobs(ctx, await waiting_jobs(ctx))
    assert house.row(run_id).submission.cost_nano == house.accepted(word)[0]["cost_nano"]


async def test_a_run_keeps_the_prices_it_was_planned_with(house):
    """Rates of the pin, and not those of a newer book, settle what a resumed run buys."""
    run_id = house.open_run(f"a,An old boat {next(NAMES)}")
    with Ledger.open(house.settings.ledger) as ledger:
        (pin,) = json.loads(ledger.do(queries.run, run_id).prices)
        for rate in pin["rates"]:
            rate["nano"] = 900_000_000 if rate["of"] == "seedance-1.0-lite" else rate["nano"]
        ledger.do(runs.reprice, run_id, {}, prices=json.dumps([pin]))
    async with house.account() as account:
        ctx = house.context(account, run_id)
        assert lite_nano(ctx.catalog) == 900_000_000
        assert lite_nano(account.catalog) == 1_800_000_000


async def test_a_list_that_cannot_be_read_is_a_remark_and_no_stop(house):
    """The run goes on, and says that nobody compared."""
    house.transport = lambda: httpx.MockTransport(lambda _request: httpx.Response(503, text="<html>"))
    run_id = house.open_run(f"a,A blind boat {next(NAMES)}")
    ctx = await worked(house, run_id)
    assert (ctx.stop.reason, house.row(run_id).state) == (None, State.SUCCEEDED)
    assert "was not compared" in ctx.state.notices[0]


async def test_nothing_is_asked_where_nothing_is_left_to_buy(house, listing):
    """A finished run is not stopped by a price that no longer concerns it."""
    run_id = house.open_run(f"a,A done boat {next(NAMES)}")
    await worked(house, run_id)
    listing(lite="3")
    assert (await worked(house, run_id)).stop.reason is None


async def test_only_pending_jobs_get_another_price(house):
    """What is bought keeps what was held for it: the ledger refuses."""
    run_id = house.open_run(f"a,A sold boat {next(NAMES)}")
    await worked(house, run_id)
    row = house.row(run_id)
    with Ledger.open(house.settings.ledger) as ledger, pytest.raises(Exception, match="no pending job"):
        ledger.do(runs.reprice, run_id, {row.job_id: (1, 2)}, prices="[]")
    assert house.row(run_id) == row


async def test_the_book_agrees_with_the_list_and_bills_teach_its_rates(house):
    """`prices check` and `prices show`: the list is read whole, and a real bill comes to the book's rate."""
    await worked(house, house.open_run(f"a,A learned boat {next(NAMES)}"))
    async with house.account() as account:
        assert {each.verdict for each in await listed_beside_the_book(account)} == {"agrees"}
        learned = learned_rates(bills_of(account.ledger.do(history.settled)))
    assert learned[RateKey(LITE, "480p", audio=False)].count == 1
    assert learned[RateKey(LITE, "480p", audio=False)].deviation_permille(1_800_000_000) == 0


CELLS = (
    "a,{word} a,seedance-1.0-lite,480p,29,\nb,{word} b,seedance-1.0-lite,480p,29,\n"
    "c,{word} c,seedance-1.0-lite,480p,33,\nd,{word} d,seedance-1.0-pro,480p,,2\n"
)


async def test_a_canary_of_each_cell_goes_first_and_the_rest_follows_when_they_agree(house):
    """One job per price group, at most N, the cheapest; the others are named; then everything is bought."""
    word = f"A yellow bird {next(NAMES)}"
    run_id = opened(house, CELLS.format(word=word))
    ctx = await worked(house, run_id, canary=2)
    assert {row.state for row in house.rows(run_id)} == {State.SUCCEEDED}
    order = [
        each["arguments"]["prompt"][-1]
        for each in house.truth()["accepted"]
        if word in each["arguments"].get("prompt", "")
    ]
    assert (set(order[:2]), set(order[2:])) == ({"a", "c"}, {"b", "d"})
    assert ctx.state.notices[0].startswith(
        "canary: not tried in 1 price group: fal-ai/bytedance/seedance/v1/pro/"
    )
    assert ctx.state.notices[1].startswith("canary: bill, file and reply agree in 2 price groups")


@pytest.mark.parametrize(
    ("fault", "error", "why"),
    [
        (
            {"kind": "overbill", "factor": 0.5},
            CanaryDisagrees,
            "a (row 2): fal billed 5.8725 units, less than",
        ),
        ({"kind": "render_failed"}, CanaryFailed, "a canary brought no video: a (row 2): "),
    ],
)
async def test_a_canary_that_does_not_agree_stops_the_rest(house, fault, error, why):
    """One purchase, the rest pending; `resume` is the person's word, and then it is bought."""
    word = f"A sick bird {next(NAMES)}"
    run_id = opened(house, "".join(f"{name},{word} {name},seedance-1.0-lite,480p,29,\n" for name in "abc"))
    house.arm(**fault, prompt_contains=f"{word} a")
    ctx = await worked(house, run_id, canary=1)
    assert isinstance(ctx.stop.reason, error)
    assert why in str(ctx.stop.reason)
    assert [row.state for row in house.rows(run_id)][1:] == [State.PENDING, State.PENDING]

    await worked(house, run_id, canary=1)
    assert [row.state for row in house.rows(run_id)][1:] == [State.SUCCEEDED, State.SUCCEEDED]
    assert house.sound()


@pytest.mark.parametrize(
    ("list_says", "why"),
    [
        ({"unit": "1000 tokens", "unit_price": 0.0018}, None),
        ({"unit": "1m tokens", "unit_price": 1.8}, None),
        ({"unit": "1M tokens", "unit_price": 1.8000000000000003}, None),
        ({"unit": "million tokens", "unit_price": 1.8}, None),
        ({"unit": "1m tokens", "unit_price": 1.9}, PricesChanged),
        ({"unit": "1000 tokens", "unit_price": 1.8}, PricesChanged),
        ({"unit": "units", "unit_price": 1.8}, "was not compared: it says 1.8 USD per units"),
        ({"unit": "compute seconds", "unit_price": 0.0012}, "0.0012 USD per compute seconds"),
        ({"unit": "videos", "unit_price": 0.02}, "was not compared: it says 0.02 USD per videos"),
    ],
)
async def test_the_list_may_use_any_unit(house, list_says, why):
    """The same price per token runs; another one stops; what cannot be compared is a remark and no stop."""
    line = {"endpoint_id": LITE, "currency": "USD", **list_says}
    body = json.dumps({"prices": [line], "next_cursor": None, "has_more": False}).encode()
    house.transport = lambda: httpx.MockTransport(
        lambda _request: httpx.Response(200, stream=httpx.ByteStream(body))
    )
    run_id = house.open_run(f"a,A boat by any unit {next(NAMES)}")
    async with house.account() as account:
        ctx = house.context(account, run_id)
        await check_run_prices(ctx, accept=False)
        kept = read_pins(account.ledger.do(queries.run, run_id).prices, account.catalog)[-1].listed.get(LITE)
    if why is PricesChanged:
        assert isinstance(ctx.stop.reason, PricesChanged)
        assert kept is None
    else:
        assert (ctx.stop.reason, kept.unit) == (None, list_says["unit"])
        assert (why in ctx.state.notices[0]) if why else ctx.state.notices == []


async def test_a_bill_below_the_smallest_video_is_not_believed(house):
    """Booked is what the delivered video costs, 30 frames; the row says so, the run once, fal's bill may."""
    word = f"A cheap bird {next(NAMES)}"
    run_id = house.open_run(f"a,{word} a", f"b,{word} b", f"c,{word} c")
    house.arm("overbill", factor=0.001, count=2, prompt_contains=word)
    ctx = await worked(house, run_id)
    rows = house.rows(run_id)
    marked = [row for row in rows if row.submission.cost_basis == "bill_implausible"]
    assert {row.state for row in rows} == {State.SUCCEEDED}
    assert [row.spent_nano for row in marked] == [-(-864 * 480 * 30 * 1_800_000_000 // (1024 * 10**6))] * 2
    assert [text for text in ctx.state.notices if "bill_implausible" in text] == [
        IMPLAUSIBLE.format(reconcile="callsheet reconcile --sandbox")
    ]
    assert house.sound()

    async with house.account() as account:
        bills = await compare_bills(account, days=1)
    assert len(bills.corrected) == 2
    after = {row.spent_nano for row in house.rows(run_id) if row.job_id in {each.job_id for each in marked}}
    bought = [each for row in marked for each in house.accepted(f"{word} {row.custom_id}")]
    assert after == {each["cost_nano"] for each in bought}
    assert max(after) < ONE_NANO // 500


async def test_a_delivered_video_never_costs_more_than_its_hold_without_a_bill(house):
    """Only a bill of fal's may pass the hold, stop the run and freeze accounts: a size in pixels is none."""
    word = f"A large bird {next(NAMES)}"
    run_id = house.open_run(f"a,{word}")
    house.arm("overbill", factor=0.001, prompt_contains=word)
    await worked(house, run_id)
    row = house.row(run_id)
    async with house.account() as account:
        ctx = house.context(account, run_id)
        await book_delivered(ctx, decode_job(row.payload, ctx.catalog), row, (3840, 2160))
    row = house.row(run_id)
    assert (row.spent_nano, row.submission.cost_basis) == (row.maximum_nano, "bill_implausible")
    assert house.sound()


@pytest.mark.parametrize("units", ["0", "-1", "nothing", "0.0000001"])
async def test_without_a_file_a_bill_that_is_too_good_costs_its_hold(house, monkeypatch, units):
    """No file came, so nobody knows the size: what was held stays spent, also when it is delivered later."""

    async def unread(*_: object) -> None:
        raise Unavailable("the media host is away")

    run_id = house.open_run(f"a,A blind bird {next(NAMES)}")
    async with house.account() as account:
        ctx = house.context(account, run_id)
        real = ctx.queue.result

        async def result(ticket: Any) -> Rendered:
            return replace(await real(ticket), billable_units=units)

        monkeypatch.setattr(ctx.queue, "result", result)
        monkeypatch.setattr(job, "fetch", unread)
        ctx = await check_run_prices(ctx, accept=False)
        await run_jobs(ctx, await waiting_jobs(ctx))
    row = house.row(run_id)
    assert row.state is State.RENDERED
    assert (row.spent_nano, row.submission.cost_basis) == (row.maximum_nano, "bill_implausible")
    assert row.submission.billable_units == units

    monkeypatch.undo()
    await house.work(run_id)
    assert house.row(run_id).state is State.SUCCEEDED
    assert house.row(run_id).spent_nano == -(-864 * 480 * 30 * 1_800_000_000 // (1024 * 10**6))
    assert house.sound()


async def test_without_a_readable_price_list_lite_is_booked_by_its_file(house):
    """No list says what a unit of Lite is: what the delivered video costs is booked, not the expectation."""
    run_id = house.open_run(f"a,A bird without a list {next(NAMES)}")
    house.arm("server_error", route="platform", count=None)
    await worked(house, run_id)
    row = house.row(run_id)
    assert (row.state, row.submission.cost_basis) == (State.SUCCEEDED, "expected")
    assert row.spent_nano == -(-864 * 480 * 30 * 1_800_000_000 // (1024 * 10**6)) > row.expected_nano
    assert house.sound()


async def test_fals_own_bill_outranks_whatever_a_reply_says(house):
    """A billing event below the band is booked; what the delivered file would cost no longer matters."""
    run_id = house.open_run(f"a,A billed bird {next(NAMES)}")
    await worked(house, run_id)
    request_id = house.row(run_id).ticket.request_id
    with Ledger.open(house.settings.ledger) as ledger:
        ledger.do(settlement.correct, request_id, cost_nano=7, cost_basis="billing_event")
        for basis in ("billable_units", "bill_implausible", "expected"):
            assert ledger.do(settlement.correct, request_id, cost_nano=9, cost_basis=basis).replayed
        ledger.do(settlement.correct, request_id, cost_nano=8, cost_basis="billing_event")
    row = house.row(run_id)
    assert (row.spent_nano, row.submission.cost_basis) == (8, "billing_event")


async def test_an_overrun_that_is_booked_again_stops_the_run_once(house):
    """A replayed settlement reports the overrun of its first booking to nobody."""
    run_id = house.open_run(f"a,A dear bird {next(NAMES)}")
    house.arm("overbill", factor=3)
    first = await worked(house, run_id)
    assert isinstance(first.stop.reason, Overbilled)
    row = house.row(run_id)
    billed, held = usd_text(row.spent_nano), usd_text(row.submission.hold_nano)
    assert f"was billed {billed} USD, 2.90 times the {held} USD held for it" in str(first.stop.reason)
    async with house.account() as account:
        ctx = house.context(account, run_id)
        for booking, reason in (
            (Booking(cost_nano=9, cost_basis="billable_units", overrun_nano=5, replayed=True), None),
            (Booking(cost_nano=9, cost_basis="billable_units", overrun_nano=0), None),
            (Booking(cost_nano=9, cost_basis="billable_units", overrun_nano=1), Overbilled),
        ):
            stop_if_overbilled(ctx, row, booking)
            assert reason is None or isinstance(ctx.stop.reason, reason)
            assert (ctx.stop.reason is None) is (reason is None)


async def test_a_canary_that_was_not_sent_stops_the_rest_and_is_no_secret(house, monkeypatch):
    """Its picture could not be brought to fal: nothing was bought, and nothing is unknown."""

    async def unreachable(*_: object) -> None:
        raise Unavailable("no route to fal")

    monkeypatch.setattr(job, "uploaded_images", unreachable)
    run_id = opened(house, f"a,A bird unsent {next(NAMES)},seedance-1.0-lite,480p,29,\n")
    ctx = await worked(house, run_id, canary=1)
    assert isinstance(ctx.stop.reason, CanaryFailed)
    assert "a canary was not sent: a (row 2)." in str(ctx.stop.reason)
    assert house.row(run_id).state is State.PENDING


async def test_what_was_made_is_never_bought_again_unless_told(house):
    """Also when its file is gone: that is said with its place; `again` buys it once more."""
    word = f"A kept boat {next(NAMES)}"
    text = f"a,{word},seedance-1.0-lite,480p,29,\n"
    first = opened(house, text)
    await worked(house, first)
    made = Path(house.settings.out) / first / "media" / "a.mp4"
    made.unlink()

    second = opened(house, text)
    assert house.rows(second) == []
    with Ledger.open(house.settings.ledger) as ledger:
        absent = absent_earlier(ledger, ledger.do(queries.run, second))
        assert [file.path for file in not_stored(absent)] == [made]

    third = opened(house, text, again=True)
    await worked(house, third)
    assert (house.row(third).state, len(house.accepted(word))) == (State.SUCCEEDED, 2)
