"""Submissions that fal took, after the one who sent them died."""

import json
import time

import httpx
import pytest

from callsheet.engine.collect_runs import PaidBefore, collect_campaign
from callsheet.ledger import Ledger, Settlement, State, settlement, transitions
from callsheet.provider.client import FalQueue
from callsheet.provider.messages import InQueue
from callsheet.provider.platform import FalPlatform, History
from callsheet.ticket import Ticket
from tests.integration.conftest import SECOND_LOOK_MS, InStep

pytestmark = pytest.mark.anyio


async def stranded(house, shot, *, request_id=None):
    """Let a run die right after fal accepted its one job; returns the run.

    With `request_id` the ledger has that one, and nothing of the kind ever came to fal.
    """
    run_id = house.open_run(shot)
    prompt = shot.split(",")[1]
    house.arm("reset" if request_id is None else "nginx_error")
    await house.work(run_id)
    if request_id is None:
        (truth,) = await house.ended(prompt)
        request_id = truth["id"]
    async with house.account() as account:
        ticket = account.queue.ticket(house.row(run_id).endpoint, request_id)
    with Ledger.open(house.settings.ledger, clock=house.now_ms) as ledger:
        ledger.do(transitions.find, house.row(run_id).job_id, ticket)
    return run_id


async def test_an_open_submission_of_a_dead_run_is_finished(house):
    """What was in the queue when its owner died is settled and collected."""
    run_id = await stranded(house, "a,A boat of a dead run")
    (found,) = (await house.settled()).each
    assert (found.outcome, house.row(run_id).state) == ("collected", State.SUCCEEDED)
    assert house.sound()


async def test_a_render_that_goes_on_is_left_alone(house):
    """Still rendering means no change but what is seen."""
    run_id = await stranded(house, "a,A slow boat")
    house.arm("server_error", route="status", count=None)
    (found,) = (await house.settled()).each
    assert (found.outcome, house.row(run_id).state) == ("rendering", State.IN_QUEUE)


async def test_an_expired_result_comes_back_from_the_history(house):
    """With the queue's copies of status and result gone, the history's output is settled and collected."""
    run_id = await stranded(house, "a,An expired boat")
    house.arm("not_found", route="status", count=None)
    house.arm("not_found", route="result", count=None)

    (found,) = (await house.settled()).each

    row = house.row(run_id)
    assert (found.outcome, row.state, row.submission.cost_basis) == ("collected", State.SUCCEEDED, "expected")
    assert row.output.sha256 == house.accepted("An expired boat")[0]["sha256"]


async def test_a_failure_that_has_expired_is_known_from_the_history(house):
    """A failed render whose result expired ends as fal ended it, and costs nothing."""
    house.arm("render_failed", prompt_contains="sinking")
    run_id = await stranded(house, "a,A sinking boat")
    house.arm("not_found", route="result", count=None)

    (found,) = (await house.settled()).each

    row = house.row(run_id)
    assert (found.outcome, row.state, row.charged, row.spent_nano) == ("failed", State.FAILED, "no", 0)


async def test_what_fal_no_longer_knows_is_named_as_lost_and_counted_as_spent(house):
    """After the deadline a request that two looks see in neither queue nor history costs its hold."""
    house.ago_ms = 101 * 60_000
    run_id = await stranded(house, "a,A vanished boat", request_id="00000000-0000-4000-8000-000000000001")
    house.ago_ms = 0
    await house.control()

    (once,) = (await house.settled()).each
    (too_soon,) = (await house.settled()).each
    assert house.row(run_id).state is State.IN_QUEUE
    (found,) = (await house.looked_again()).each

    row = house.row(run_id)
    assert (once.outcome, too_soon.outcome) == ("rendering", "rendering")
    assert (found.outcome, row.state, row.error_type) == ("lost", State.FAILED, "lost_at_provider")
    assert (row.charged, row.spent_nano) == ("unknown", row.maximum_nano)
    assert house.sound()


async def test_a_history_that_shows_nothing_of_ours_loses_nothing(house):
    """Another account's key sees neither the request nor any other of ours: it stays open."""
    house.ago_ms = 101 * 60_000
    run_id = await stranded(house, "a,A foreign boat", request_id="00000000-0000-4000-8000-000000000008")
    house.ago_ms = 0

    for look in (house.settled, house.looked_again):
        (found,) = (await look()).each
        assert (found.outcome, house.row(run_id).state) == ("rendering", State.IN_QUEUE)
        assert "proves nothing" in found.why


async def test_a_request_that_fal_does_not_know_is_found_by_what_was_sent(house):
    """Fal's reply named an id that does not exist: the render behind it is taken, and nothing is lost."""
    house.ago_ms = 101 * 60_000
    run_id = house.open_run("a,A boat under another name,31")
    house.arm("reset")
    await house.work(run_id)
    (truth,) = await house.ended("A boat under another name")
    with Ledger.open(house.settings.ledger, clock=house.now_ms) as ledger:
        ticket = Ticket("00000000-0000-4000-8000-000000000007", "", "", "", "")
        ledger.do(transitions.find, house.row(run_id).job_id, ticket)
    house.ago_ms = 0

    (found,) = (await house.settled()).each

    row = house.row(run_id)
    assert (found.outcome, row.ticket.request_id, row.purchases) == ("collected", truth["id"], 1)
    assert row.output.sha256 == truth["sha256"]
    assert house.sound()


async def test_what_the_queue_has_lost_sight_of_is_not_lost_before_the_deadline(house):
    """Until then the queue may be wrong, and nothing is booked."""
    run_id = await stranded(house, "a,A misplaced boat", request_id="00000000-0000-4000-8000-000000000002")
    await house.control()
    (found,) = (await house.settled()).each
    assert (found.outcome, house.row(run_id).state) == ("rendering", State.IN_QUEUE)
    assert found.again_ms is not None


async def ended_long_ago(house, shot, **more):
    """Let fal have ended a run's one job an hour and a little ago; returns the run."""
    house.ago_ms = 62 * 60_000
    run_id = await stranded(house, shot, **more)
    with Ledger.open(house.settings.ledger, clock=house.now_ms) as ledger:
        ledger.do(transitions.render, house.row(run_id).job_id)
    house.ago_ms = 0
    return run_id


async def test_a_result_that_is_nowhere_is_a_loss_at_the_second_look(house):
    """After the hour that a result is kept, two looks some time apart decide; its hold counts as spent."""
    run_id = await ended_long_ago(house, "a,A mute boat", request_id="00000000-0000-4000-8000-000000000003")
    await house.control()

    (once,) = (await house.settled()).each
    (too_soon,) = (await house.settled()).each
    assert (once.outcome, too_soon.outcome) == ("rendered", "rendered")
    assert "another look decides" in once.why
    assert house.row(run_id).state is State.RENDERED
    (found,) = (await house.looked_again()).each

    row = house.row(run_id)
    assert (found.outcome, row.error_type, row.spent_nano) == ("lost", "result_lost", row.maximum_nano)
    assert house.sound()


@pytest.mark.parametrize(
    ("kind", "route"),
    [("server_error", "platform"), ("truncate", "platform"), ("account_locked", "platform")],
)
async def test_a_look_that_fails_writes_no_result_off(house, kind, route):
    """Neither a refused nor a torn answer is one: the job stays, and the next look finds its video."""
    prompt = f"A boat behind {kind}"
    run_id = await ended_long_ago(house, f"a,{prompt}")
    house.arm("not_found", route="result", count=None)
    house.arm(kind, route=route, count=None)
    for look in (house.settled, house.looked_again, house.looked_again):
        (found,) = (await look()).each
        assert (found.outcome, house.row(run_id).state) == ("rendered", State.RENDERED)
    house.faults.clear()
    house.arm("not_found", route="result", count=None)
    (found,) = (await house.settled()).each
    assert (found.outcome, house.row(run_id).state) == ("collected", State.SUCCEEDED)
    assert house.sound()


class Muted(InStep):
    """A history that lists the request and shows nothing of its output; with `open_end` not even its end."""

    def __init__(self, now_ms, *, open_end):
        super().__init__(now_ms)
        self.open_end = open_end

    async def handle_async_request(self, request):
        response = await super().handle_async_request(request)
        document = json.loads(await response.aread())
        for item in document["items"]:
            item.pop("json_output", None)
            if self.open_end:
                item["ended_at"] = None
        body = httpx.ByteStream(json.dumps(document).encode())
        return httpx.Response(200, headers={"date": response.headers["date"]}, stream=body)


@pytest.mark.parametrize(("open_end", "state"), [(False, State.FAILED), (True, State.RENDERED)])
async def test_a_history_without_the_output_decides_only_where_it_shows_the_end(house, open_end, state):
    """A request that the history shows as going on may still get its output there."""
    run_id = await ended_long_ago(house, f"a,A boat without words {open_end}")
    house.arm("not_found", route="result", count=None)
    house.transport = lambda: Muted(house.now_ms, open_end=open_end)
    await house.settled()
    assert house.row(run_id).state is State.RENDERED
    house.ago_ms = -SECOND_LOOK_MS
    await house.settled()
    assert house.row(run_id).state is state


async def test_a_history_that_is_hidden_loses_no_result(house):
    """Without a request of ours it proves nothing, however often it is read; later it has the video."""
    prompt = "A boat behind a curtain"
    run_id = await ended_long_ago(house, f"a,{prompt}")
    await house.control()
    house.arm("not_found", route="result", count=None)
    house.arm("history_hidden", route="history", count=None)
    for look in (house.settled, house.looked_again, house.looked_again):
        await look()
        assert house.row(run_id).state is State.RENDERED
    with Ledger.open(house.settings.ledger) as ledger:
        ledger.do(
            settlement.fail_render, house.row(run_id).job_id, charged="unknown", error_type="result_lost"
        )
    async with house.account() as account:
        assert await collect_campaign(account, "spring") == PaidBefore(
            waiting={house.row(run_id).fingerprint}
        )
    house.faults.clear()
    await house.settled()
    assert (house.row(run_id).state, len(house.accepted(prompt))) == (State.SUCCEEDED, 1)
    assert house.sound()


async def test_a_result_is_not_lost_within_the_hour_that_it_is_kept(house):
    """Two looks are not enough while the queue may only be wrong."""
    house.ago_ms = 40 * 60_000
    run_id = await stranded(house, "a,A boat too soon", request_id="00000000-0000-4000-8000-000000000006")
    with Ledger.open(house.settings.ledger, clock=house.now_ms) as ledger:
        ledger.do(transitions.render, house.row(run_id).job_id)
    house.ago_ms = 0
    await house.control()
    for look in (house.settled, house.looked_again, house.looked_again):
        await look()
        assert house.row(run_id).state is State.RENDERED


async def test_a_result_that_the_queue_cannot_read_comes_from_the_history(house, monkeypatch):
    """A gateway in front of the queue that fails for good does not keep a paid video away."""
    monkeypatch.setattr("callsheet.engine.settle.RESULT_TRIES", 1)
    run_id = await ended_long_ago(house, "a,A boat behind a gateway")
    house.arm("nginx_error", route="result", count=None)
    (found,) = (await house.settled()).each
    assert (found.outcome, house.row(run_id).state) == ("collected", State.SUCCEEDED)


@pytest.mark.parametrize(("days", "state"), [(29, State.RENDERED), (31, State.FAILED)])
async def test_a_result_that_was_never_read_is_lost_when_fal_keeps_it_no_longer(
    house, monkeypatch, days, state
):
    """While the history keeps it, a result that cannot be read is waited for; then its money is spent."""
    monkeypatch.setattr("callsheet.engine.settle.RESULT_TRIES", 1)
    run_id = await ended_long_ago(house, f"a,A boat of {days} days")
    house.arm("nginx_error", route="result", count=None)
    house.arm("nginx_error", route="platform", count=None)
    house.ago_ms = -days * 86_400_000
    await house.settled()
    row = house.row(run_id)
    assert row.state is state
    if state is State.FAILED:
        assert (row.error_type, row.spent_nano) == ("result_lost", row.maximum_nano)


async def test_a_result_that_the_history_may_not_show_yet_is_no_loss(house):
    """Right after the end both places may be late: the job stays, with its money held."""
    run_id = await stranded(house, "a,A quiet boat", request_id="00000000-0000-4000-8000-000000000004")
    with Ledger.open(house.settings.ledger, clock=house.now_ms) as ledger:
        ledger.do(transitions.render, house.row(run_id).job_id)

    (found,) = (await house.settled()).each

    assert (found.outcome, house.row(run_id).state) == ("rendered", State.RENDERED)


@pytest.mark.parametrize("how", ["result_lost", "lost_at_provider"])
async def test_a_loss_that_turns_up_is_fetched_and_costs_what_it_cost(house, how):
    """Written off at its hold, it is found by the next reconcile: its real cost takes the hold's place."""
    prompt = f"A boat that was no {how}"
    run_id = await stranded(house, f"a,{prompt}")
    (truth,) = await house.ended(prompt)
    with Ledger.open(house.settings.ledger) as ledger:
        job_id = house.row(run_id).job_id
        if how == "result_lost":
            ledger.do(transitions.render, job_id)
        ledger.do(settlement.fail_render, job_id, charged="unknown", error_type=how, error="nowhere")
    assert house.row(run_id).spent_nano == house.row(run_id).maximum_nano

    (found,) = (await house.settled()).each

    row = house.row(run_id)
    assert (found.outcome, row.state, row.charged) == ("collected", State.SUCCEEDED, "yes")
    assert row.spent_nano == truth["cost_nano"] < row.maximum_nano
    assert len(house.accepted(prompt)) == 1
    assert house.sound()


async def test_another_accounts_not_found_does_not_buy_a_lost_job_again(house):
    """With another key nothing is known of the request, so the next run of the campaign leaves it out."""
    run_id = await stranded(
        house, "a,A boat of another account", request_id="00000000-0000-4000-8000-000000000009"
    )
    with Ledger.open(house.settings.ledger) as ledger:
        ledger.do(
            settlement.fail_render, house.row(run_id).job_id, charged="unknown", error_type="lost_at_provider"
        )
    await house.control()
    async with house.account() as account:
        assert await collect_campaign(account, "spring") == PaidBefore(lost={house.row(run_id).fingerprint})
    house.with_an_ordinary_key()
    async with house.account() as account:
        assert await collect_campaign(account, "spring") == PaidBefore(
            waiting={house.row(run_id).fingerprint}
        )


async def test_a_settled_result_is_kept_in_the_ledger(house):
    """Once settled, an expired result is read from our own ledger, with the real price."""
    run_id = await stranded(house, "a,A kept boat")
    async with house.account() as account:
        row = house.row(run_id)
        ticket = account.queue.ticket(row.endpoint, row.ticket.request_id)
        rendered = await account.queue.result(ticket)
        account.ledger.do(transitions.render, row.job_id)
        account.ledger.do(
            settlement.settle,
            row.job_id,
            Settlement(cost_nano=1234, cost_basis="billable_units", result_json=json.dumps(rendered.raw)),
        )
    house.arm("not_found", route="result", count=None)
    house.arm("not_found", route="platform", count=None)

    (found,) = (await house.settled()).each

    assert found.outcome == "collected"
    assert house.row(run_id).spent_nano == 1234


async def test_a_resumed_run_itself_gives_back_what_fal_no_longer_holds(house):
    """No other command is needed: what is gone from queue and history costs its hold, and frees its slot."""
    house.ago_ms = 101 * 60_000
    run_id = await stranded(house, "a,A boat nobody has", request_id="00000000-0000-4000-8000-000000000005")
    house.ago_ms = 0
    await house.control()
    await house.work(run_id)
    assert house.row(run_id).state is State.IN_QUEUE
    house.ago_ms = -SECOND_LOOK_MS
    house.transport = lambda: InStep(house.now_ms)

    await house.work(run_id)

    row = house.row(run_id)
    assert (row.state, row.error_type, row.charged) == (State.FAILED, "lost_at_provider", "unknown")
    assert house.sound()


async def test_a_resumed_run_takes_from_the_history_what_the_queue_no_longer_holds(house):
    """With status and result gone from the queue, the history's video is fetched by the run itself."""
    run_id = await stranded(house, "a,A boat of the archive")
    house.arm("not_found", route="status", count=None)
    house.arm("not_found", route="result", count=None)

    await house.work(run_id)

    assert house.row(run_id).state is State.SUCCEEDED


async def test_a_status_that_is_not_found_does_not_write_off_what_has_a_result(house, monkeypatch):
    """With the status gone and nothing in the history, the queue's own result still brings the video."""
    house.ago_ms = 101 * 60_000
    run_id = await stranded(house, "a,A boat without a status")
    house.ago_ms = 0
    house.arm("not_found", route="status", count=None)
    monkeypatch.setattr(FalPlatform, "history", _nothing)

    (found,) = (await house.settled()).each

    assert (found.outcome, house.row(run_id).state) == ("collected", State.SUCCEEDED)


async def test_a_look_that_shows_it_again_takes_the_first_one_back(house, monkeypatch):
    """A request that was out of sight once begins anew: the next look without it is a first look."""
    house.ago_ms = 101 * 60_000
    run_id = await stranded(house, "a,A boat in the fog", request_id="00000000-0000-4000-8000-000000000006")
    house.ago_ms = 0
    await house.control()
    await house.settled()
    assert house.row(run_id).submission.unseen_ms is not None
    monkeypatch.setattr(FalQueue, "status", _waiting)
    await house.settled()
    assert house.row(run_id).submission.unseen_ms is None


async def _waiting(*_args, **_more):
    return InQueue(position=1)


async def _nothing(*_args, **_more):
    return History((), time.time_ns() // 1_000_000)
