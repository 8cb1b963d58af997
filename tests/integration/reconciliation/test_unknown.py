"""Unknown submissions against a provider that accepts and then says something else, or nothing."""

import json
import sqlite3
from contextlib import closing

import httpx
import pytest

from callsheet.engine.job import render_job
from callsheet.engine.keeper import keep
from callsheet.engine.run import finish, open_context
from callsheet.engine.scheduler import in_order, run_jobs
from callsheet.engine.stopping import StopSignal
from callsheet.ledger import Ledger, State, admission, queries, recovery, transitions
from callsheet.reconciliation.account import Scope, attempt_of
from callsheet.reconciliation.decisions import assume_spent
from callsheet.reconciliation.open_jobs import settle_ledger
from callsheet.reconciliation.unknown import KEPT_MS
from callsheet.report.error_table import advice_text
from callsheet.ticket import Ticket
from tests.integration.conftest import InStep

pytestmark = pytest.mark.anyio

AMBIGUOUS = [
    ("close", {}, 1),
    ("reset", {}, 1),
    ("hang", {}, 1),
    ("late", {"delay_s": 0.7}, 1),
    ("truncate", {}, 1),
    ("slow_reply", {"delay_s": 1}, 1),
    ("nginx_after", {"status": 502}, 1),
    ("nginx_after", {"status": 503}, 1),
    ("nginx_after", {"status": 504}, 1),
    ("error_after", {"status": 500}, 1),
    ("error_after", {"status": 502}, 1),
    ("error_after", {"status": 503}, 1),
    ("error_after", {"status": 504}, 1),
    ("error_after", {"status": 408}, 1),
    ("error_after", {"status": 409}, 1),
    ("error_after", {"status": 425}, 1),
    ("error_after", {"status": 307}, 1),
    ("bad_json", {}, 1),
    ("no_request_id", {}, 1),
    ("nginx_error", {"status": 502}, 0),
    ("nginx_error", {"status": 504}, 0),
    ("server_error", {"status": 503}, 0),
]
"""22 kinds of reply after which nobody can know, and how many purchases are behind each."""


def named(kind, more, _count):
    """Name a row of the table in the test's output."""
    return "-".join([kind, *map(str, more.values())])


@pytest.mark.parametrize(("kind", "more", "purchases"), AMBIGUOUS, ids=[named(*each) for each in AMBIGUOUS])
async def test_an_ambiguous_reply_is_one_purchase_at_most_and_is_settled(house, kind, more, purchases):
    """One POST, the state `unknown`, and reconciling brings the video or, after the deadline, the money."""
    prompt = f"A kite {kind} {more}"
    house.ago_ms = 101 * 60_000
    run_id = house.open_run(f"a,{prompt}")
    house.arm(kind, **more)
    await house.work(run_id)
    assert house.row(run_id).state is State.UNKNOWN
    house.ago_ms = 0
    if purchases:
        await house.ended(prompt)
    else:
        await house.control()

    findings = await house.settled()
    if not purchases:
        assert house.row(run_id).state is State.UNKNOWN
        findings = await house.looked_again()

    row = house.row(run_id)
    assert len(house.accepted(prompt)) == purchases
    assert (row.state, row.purchases) == ((State.SUCCEEDED, 1) if purchases else (State.PENDING, 0))
    assert [each.outcome for each in findings.each] == ["collected" if purchases else "absent"]
    assert house.sound()


async def test_what_is_found_is_verified_and_costs_what_it_cost(house):
    """A lost reply ends as a whole file under its name, with the provider's own price."""
    run_id = house.open_run("a,A lost boat")
    house.arm("reset")
    await house.work(run_id)
    (truth,) = await house.ended("A lost boat")

    await house.settled()

    row = house.row(run_id)
    assert row.ticket.request_id == truth["id"]
    assert (row.output.sha256, row.spent_nano) == (truth["sha256"], truth["cost_nano"])
    assert (house.folder / "runs" / run_id / row.output.path).stat().st_size == truth["bytes"]


async def test_a_late_acceptance_is_not_taken_for_an_absent_one(house):
    """What is not in the history yet stays unknown, and is found once it has arrived."""
    run_id = house.open_run("a,A late boat")
    house.arm("late", delay_s=1.5)
    await house.work(run_id)

    (early,) = (await house.settled()).each
    await house.ended("A late boat")
    (later,) = (await house.settled()).each

    assert (early.outcome, later.outcome) == ("unknown", "collected")
    assert early.again_ms == house.row(run_id).submission.sent_ms + 6_000_000
    assert len(house.accepted("A late boat")) == 1


@pytest.mark.parametrize(("ago_s", "outcome"), [(5_990, "unknown"), (6_010, "absent")])
async def test_absence_counts_only_after_the_deadline(house, ago_s, outcome):
    """A look ten seconds before all bounds are over does not count; one ten seconds after does."""
    run_id = await lost(house, "a,A ghost boat", ago_s=ago_s)

    await house.settled()
    (found,) = (await house.looked_again()).each

    assert found.outcome == outcome
    assert house.row(run_id).state is (State.PENDING if outcome == "absent" else State.UNKNOWN)


async def test_two_looks_at_one_instant_are_one(house):
    """However often it is looked within the gap, the second look that decides is still to come."""
    run_id = await lost(house, "a,A blinked boat")

    looks = [(await house.settled()).each[0] for _ in range(3)]

    assert {each.outcome for each in looks} == {"unknown"}
    first_ms = house.row(run_id).submission.unseen_ms
    assert {each.again_ms for each in looks} == {first_ms + 300_000}
    assert (await house.looked_again()).each[0].outcome == "absent"


async def test_a_look_that_may_have_seen_it_undoes_the_look_before(house):
    """After an empty look comes one with an input that is hidden: absence needs two new looks."""
    run_id = await lost(house, "a,A flickering boat", model="seedance-1.0-pro", num_frames="")
    await house.settled()
    assert house.row(run_id).submission.unseen_ms is not None
    body = {"prompt": "A flickering stranger", "resolution": "480p", "duration": "2"}
    house.buy_by_hand(body, endpoint=house.row(run_id).endpoint, **{"X-Fal-Store-IO": "0"})
    await house.ended("A flickering stranger")

    (found,) = (await house.looked_again()).each

    assert (found.outcome, house.row(run_id).submission.unseen_ms) == ("unknown", None)


@pytest.mark.parametrize(("sent_s", "today_s", "outcome"), [(3600, 1, "unknown"), (1, 3600, "absent")])
async def test_the_deadline_is_that_of_the_wait_which_was_sent(house, sent_s, today_s, outcome):
    """45 minutes later only what was told to start within a second is absent, whatever the setting is."""
    house.changes["start_timeout_s"] = sent_s
    run_id = await lost(house, f"a,A patient boat {sent_s}", ago_s=2_700)
    assert house.row(run_id).submission.start_timeout_s == sent_s
    house.changes["start_timeout_s"] = today_s

    await house.settled()
    (found,) = (await house.looked_again()).each

    assert found.outcome == outcome


async def lost(house, shot, *, ago_s=6_060, control=True, **more):
    """Open a run whose only POST was lost on its way so many seconds ago; the clock is now's afterwards.

    With `control` the ledger knows another purchase at that endpoint.
    """
    house.ago_ms = ago_s * 1000
    run_id = house.open_run(shot, **more)
    house.arm("nginx_error")
    await house.work(run_id)
    house.ago_ms = 0
    if control:
        await house.control(**more)
    return run_id


async def test_a_history_that_shows_nothing_of_ours_proves_nothing(house):
    """Whole and empty, as for another account's key: nothing is absent until it shows a known request."""
    run_id = await lost(house, "a,A boat of another account", control=False)
    await house.control(model="seedance-1.0-pro", num_frames="")

    for look in (house.settled, house.looked_again):
        (found,) = (await look()).each
        assert (found.outcome, house.row(run_id).submission.unseen_ms) == ("unknown", None)
        assert "proves nothing" in found.why

    await house.control()
    looks = [(await house.looked_again()).each[0].outcome for _ in range(2)]
    assert looks == ["unknown", "absent"]
    assert len(house.accepted("A boat of another account")) == 0


async def test_both_reads_of_a_look_must_show_a_request_of_ours(house):
    """A history that is empty for one of the two reads hides something: that look decides nothing."""
    run_id = await lost(house, "a,A boat hidden from one read")
    assert (await house.settled()).each[0].outcome == "unknown"
    house.arm("history_hidden", route="history", count=1)
    (found,) = (await house.looked_again()).each
    assert (found.outcome, house.row(run_id).state) == ("unknown", State.UNKNOWN)
    assert (await house.looked_again()).each[0].outcome == "absent"


async def test_a_request_that_another_job_claims_wrongly_frees_its_slot(house):
    """Fal named A's request, which has ended, as B's, where it is booked: no money is free, both are told."""
    first = house.open_run("a,A boat with a namesake,11", campaign="first")
    house.arm("reset")
    await house.work(first)
    second = house.open_run("b,Another boat with a namesake,12", campaign="second")
    await house.work(second)
    (mine,) = await house.ended("A boat with a namesake")
    (theirs,) = await house.ended("Another boat with a namesake")
    rename(house, second, mine["id"])
    hold_nano = house.row(first).submission.hold_nano

    (found,) = (await house.settled()).each
    assert (found.outcome, found.request_ids) == ("mismatch", (mine["id"], theirs["id"]))
    assert f"job {house.row(second).job_id} (b, run {second})" in found.why
    row = house.row(first)
    assert (row.state, row.error_type, row.spent_nano) == (State.FAILED, "misnamed", hold_nano)
    assert "take the video from that job's file" in advice_text(row.error_type, row.charged, row.purchases)
    assert (await house.settled()).each == []
    assert len(house.accepted("A boat with a namesake")) == 1


@pytest.mark.parametrize("doubt", ["rendering", "other body"])
async def test_a_mismatch_in_doubt_keeps_its_slot(house, doubt):
    """The history does not show the end of the render, or not the exact body: a person decides."""
    first = house.open_run(f"a,A boat in doubt: {doubt},21", campaign="first")
    house.arm("reset")
    await house.work(first)
    (mine,) = await house.ended(f"A boat in doubt: {doubt}")
    second = house.open_run("b,Another boat in doubt,22", campaign="second")
    await house.work(second)
    rename(house, second, mine["id"])
    changed = {
        "rendering": {"ended_at": None},
        "other body": {"json_input": {**mine["arguments"], "more": 1}},
    }

    class Doubtful(InStep):
        async def handle_async_request(self, request):
            reply = await super().handle_async_request(request)
            page = json.loads(await reply.aread())
            for item in page.get("items", []):
                if item["request_id"] == mine["id"]:
                    item.update(changed[doubt])
            stream = httpx.ByteStream(json.dumps(page).encode())
            return httpx.Response(reply.status_code, headers={"date": reply.headers["date"]}, stream=stream)

    house.transport = lambda: Doubtful(house.now_ms)
    (found,) = (await house.settled()).each
    assert (found.outcome, found.request_ids) == ("mismatch", (mine["id"],))
    assert "--assume-spent or --resubmit" in found.why
    assert house.row(first).state is State.UNKNOWN


async def test_a_request_that_another_job_has_wrongly_is_given_to_its_sender(house):
    """Nothing of the other job is booked: both renders are found by what was sent, and each gets its own."""
    first = house.open_run("a,A boat taken for another,15", campaign="first")
    house.arm("reset")
    await house.work(first)
    (mine,) = await house.ended("A boat taken for another")
    second = house.open_run("b,Another boat taken for it,16", campaign="second")
    house.arm("reset")
    await house.work(second)
    (theirs,) = await house.ended("Another boat taken for it")
    with Ledger.open(house.settings.ledger) as ledger:  # fal's reply named the first one's request
        ledger.do(transitions.find, house.row(second).job_id, Ticket(mine["id"], "", "", "", ""))

    findings = await house.settled()

    assert {each.outcome for each in findings.each} == {"collected"}
    for run_id, truth in ((first, mine), (second, theirs)):
        row = house.row(run_id)
        assert (row.ticket.request_id, row.output.sha256) == (truth["id"], truth["sha256"])
        assert row.purchases == 1
    assert house.sound()


class Mixed(httpx.AsyncHTTPTransport):
    """Real, but the reply to the first POST is lost, and the second reply names the first request."""

    def __init__(self):
        super().__init__()
        self.first = ""

    async def handle_async_request(self, request):
        reply = await super().handle_async_request(request)
        if request.method != "POST":
            return reply
        body = json.loads(await reply.aread())
        await reply.aclose()
        if not self.first:
            self.first = body["request_id"]
            raise httpx.ReadError("lost")
        text = json.dumps(body).replace(body["request_id"], self.first)
        headers = {"x-fal-request-id": self.first}
        return httpx.Response(200, headers=headers, stream=httpx.ByteStream(text.encode()))


async def test_a_running_job_does_not_take_the_video_of_one_whose_reply_was_lost(house):
    """Before it books and fetches, it sees in fal's history that the request is the other job's."""
    shots = ("a,A boat mixed up,17", "b,Another boat mixed up,18")
    run_id = house.open_run(*shots)
    mixed = Mixed()
    house.queue_transport = lambda: mixed
    async with house.account() as account:
        ctx = house.context(account, run_id)
        for row, shot in zip(house.rows(run_id), shots, strict=True):
            await render_job(ctx, row.job_id)
            await house.ended(shot.split(",")[1])
    assert [row.state for row in house.rows(run_id)] == [State.UNKNOWN, State.UNKNOWN]
    house.queue_transport = lambda: None

    findings = await house.settled()

    assert [each.outcome for each in findings.each] == ["collected", "collected"]
    for row, shot in zip(house.rows(run_id), shots, strict=True):
        (truth,) = house.accepted(shot.split(",")[1])
        assert (row.ticket.request_id, row.output.sha256) == (truth["id"], truth["sha256"])
    assert house.sound()


class Renamed(httpx.AsyncHTTPTransport):
    """Real, but the reply to a POST names this request, in its body or in its header alone."""

    def __init__(self, request_id, *, in_body):
        super().__init__()
        self.request_id, self.in_body = request_id, in_body

    async def handle_async_request(self, request):
        reply = await super().handle_async_request(request)
        if request.method != "POST":
            return reply
        body = json.loads(await reply.aread())
        if self.in_body:
            body["request_id"] = self.request_id
        headers = {"x-fal-request-id": self.request_id}
        await reply.aclose()
        return httpx.Response(200, headers=headers, stream=httpx.ByteStream(json.dumps(body).encode()))


@pytest.mark.parametrize("in_body", [True, False])
async def test_a_reply_with_a_wrong_id_is_unknown_and_found_at_once(house, in_body):
    """Another job's id, or one that contradicts the body: the render behind it is found by what was sent."""
    prompt = f"A misnamed boat {in_body}"
    first = house.open_run(f"a,{prompt} a,21", campaign="first")
    await house.work(first)
    taken = house.row(first).ticket.request_id
    second = house.open_run(f"b,{prompt} b,22", campaign="second")
    house.queue_transport = lambda: Renamed(taken, in_body=in_body)
    await house.work(second)
    assert (house.row(second).state, house.row(second).ticket) == (State.UNKNOWN, None)
    house.queue_transport = lambda: None
    (truth,) = await house.ended(f"{prompt} b")

    (found,) = (await house.settled()).each

    assert (found.outcome, house.row(second).ticket.request_id) == ("collected", truth["id"])
    assert len(house.accepted(f"{prompt} b")) == 1
    assert house.sound()


def rename(house, run_id, request_id):
    """Let the ledger have another request id for a job, as if fal's reply had named it."""
    with closing(sqlite3.connect(house.folder / "ledger.sqlite")) as ledger, ledger:
        job_id = house.row(run_id).job_id
        ledger.execute("UPDATE submission SET request_id = ? WHERE job_id = ?", (request_id, job_id))


async def test_a_lead_to_somebody_elses_request_is_not_followed(house):
    """The broken reply named a request that holds other arguments: the queue has it, and it is not ours."""
    run_id = await lost(house, "a,A misled boat,13", ago_s=60)
    stranger = house.buy_by_hand({"prompt": "A leading boat", "resolution": "480p", "num_frames": 29})
    await house.ended("A leading boat")
    with closing(sqlite3.connect(house.folder / "ledger.sqlite")) as ledger, ledger:
        ledger.execute("UPDATE submission SET lead_request_id = ? WHERE request_id IS NULL", (stranger,))

    (found,) = (await house.settled()).each

    assert (found.outcome, house.row(run_id).ticket) == ("unknown", None)


async def test_what_turns_up_after_it_was_declared_absent_is_named(house):
    """An orphan: with any key, whatever became of its job since, and only while no job claims it."""
    run_id = await lost(house, "a,An orphaned boat,14")
    await house.settled()
    async with house.account() as account:
        body = (await attempt_of(account, house.row(run_id))).arguments
    assert [each.outcome for each in (await house.looked_again()).each] == ["absent"]
    assert (await house.settled()).each == []
    orphan = house.buy_by_hand(body)
    await house.ended("An orphaned boat")
    house.with_an_ordinary_key()

    (found,) = (await house.settled()).by("orphan")

    assert (found.run_id, found.request_ids) == (run_id, (orphan,))
    assert "no job claims it; its video: http" in found.why
    assert (await house.settled()).undecided == 0
    near = house.buy_by_hand({**body, "seed": 15})
    await house.ended("An orphaned boat", 2)
    assert near not in {each.request_ids[0] for each in (await house.settled()).by("orphan")}


async def test_what_turns_up_after_it_was_assumed_spent_is_named(house):
    """A person's decision does not hide the video: `reconcile` names it before `retry --all` buys another."""
    run_id = await lost(house, "a,A boat that was written off,14")
    async with house.account() as account:
        body = (await attempt_of(account, house.row(run_id))).arguments
        await account.do.call(assume_spent, "a", reason="not seen so far")
    request_id = house.buy_by_hand(body)
    await house.ended("A boat that was written off")

    (found,) = (await house.settled()).by("orphan")

    assert (found.run_id, found.request_ids) == (run_id, (request_id,))
    assert "its video: http" in found.why


async def test_an_orphan_is_told_for_thirty_days_and_is_no_work(house):
    """Nobody can settle it: the keeper stays quiet, and no run is claimed or written up again for it."""
    run_id = house.open_run("a,A boat that was reported late")
    async with house.account() as account:
        ctx = house.context(account, run_id)
        await run_jobs(ctx, in_order(account.ledger.do(queries.jobs, run_id)))
        await finish(ctx)
    (results,) = (house.folder / "runs").rglob("results.csv")
    results.unlink()
    house.ago_ms = KEPT_MS - 60_000
    async with house.account() as account:
        await account.do(recovery.note_orphan, house.row(run_id).job_id, 1, "r-late")

    house.ago_ms = 0
    (found,) = (await house.settled()).each
    async with house.account() as account:
        assert (await keep(account, nothing_to_start)).is_quiet
    assert (found.outcome, found.request_ids) == ("orphan", ("r-late",))
    assert not results.exists()

    house.ago_ms = -120_000
    assert (await house.settled()).each == []


async def nothing_to_start(each):
    """Start what a keeper takes up, of which there is nothing."""
    raise AssertionError(each)


class Flaky(httpx.AsyncHTTPTransport):
    """Real, until the listing sorted in the second order is asked for."""

    async def handle_async_request(self, request):
        if "sort_by=duration" in str(request.url):
            return httpx.Response(503, stream=httpx.ByteStream(b"<html>nginx</html>"))
        return await super().handle_async_request(request)


async def test_absence_needs_two_whole_reads(house):
    """Where the second read of the history fails nothing is absent; what the first found is found."""
    house.ago_ms = 101 * 60_000
    for name, fault in (("unread", "nginx_error"), ("read", "reset")):
        run_id = house.open_run(f"a,A half {name} boat", campaign=name)
        house.arm(fault)
        await house.work(run_id)
    await house.ended("A half read boat")
    house.ago_ms, house.transport = 0, Flaky

    unread, read = (await house.settled()).each

    assert (unread.outcome, read.outcome) == ("unknown", "collected")
    assert "503" in unread.why


async def test_clocks_that_disagree_conclude_nothing(house):
    """A machine whose clock ran ahead of fal's by an hour declares nothing absent."""
    house.ago_ms = 101 * 60_000
    run_id = house.open_run("a,A boat out of time")
    house.arm("nginx_error")
    await house.work(run_id)
    house.ago_ms = -3_600_000

    (found,) = (await house.settled()).each

    assert (found.outcome, house.row(run_id).state) == ("unknown", State.UNKNOWN)
    assert "clock" in found.why


async def test_two_requests_that_fit_one_attempt_are_named_and_left_alone(house):
    """With a second equal purchase of unknown origin nothing is adopted; both ids are told."""
    run_id = house.open_run("a,A doubled boat,77")
    house.arm("reset")
    await house.work(run_id)
    (truth,) = house.accepted("A doubled boat")
    other = house.buy_by_hand(truth["arguments"])
    await house.ended("A doubled boat", 2)

    (found,) = (await house.settled()).each

    assert (found.outcome, house.row(run_id).state) == ("ambiguous", State.UNKNOWN)
    assert set(found.request_ids) == {truth["id"], other}


async def test_equal_bodies_sent_twice_are_matched_one_to_one(house):
    """Two equal jobs with both replies lost become two purchases, each adopted once."""
    runs = [house.open_run("a,A twin boat,5", campaign=name) for name in ("one", "two")]
    for run_id in runs:
        house.arm("reset")
        await house.work(run_id)
    truth = await house.ended("A twin boat", 2)

    findings = await house.settled()

    assert [each.outcome for each in findings.each] == ["collected", "collected"]
    assert {house.row(run_id).ticket.request_id for run_id in runs} == {each["id"] for each in truth}


async def test_a_purchase_that_has_its_job_is_not_adopted_again(house):
    """An equal job whose POST never arrived does not take over what another job bought."""
    bought, lost = (house.open_run("a,A claimed boat,9", campaign=name) for name in ("first", "second"))
    await house.work(bought)
    house.arm("nginx_error")
    await house.work(lost)

    (found,) = (await house.settled()).each

    assert (found.outcome, house.row(lost).state) == ("unknown", State.UNKNOWN)
    assert "not in fal's history so far" in found.why


async def test_an_id_in_a_broken_reply_leads_to_the_request(house):
    """With the history closed, a 500 that named the request id is enough to find it in the queue."""
    run_id = house.open_run("a,A boat with a lead")
    house.arm("error_after")
    await house.work(run_id)
    await house.ended("A boat with a lead")
    house.arm("nginx_error", route="platform", count=None)

    (found,) = (await house.settled()).each

    assert (found.outcome, house.row(run_id).state) == ("collected", State.SUCCEEDED)


async def test_requests_with_hidden_inputs_keep_a_submission_unknown(house):
    """While the history hides the input of a request that could be ours, nothing is declared absent."""
    # An endpoint of its own: what is hidden here would stay hidden from the other tests too.
    run_id = await lost(house, "a,A hidden boat", model="seedance-1.0-pro-fast")
    body = {"prompt": "A stranger's boat", "resolution": "480p", "duration": "2"}
    house.buy_by_hand(body, endpoint=house.row(run_id).endpoint, **{"X-Fal-Store-IO": "0"})
    await house.ended("A stranger's boat")

    (found,) = (await house.settled()).each

    assert (found.outcome, house.row(run_id).state) == ("unknown", State.UNKNOWN)
    assert "hides" in found.why


async def test_a_session_settles_what_its_run_lost_before(house):
    """`resume` finds the lost request by itself and buys nothing."""
    run_id = house.open_run("a,A resumed boat")
    house.arm("reset")
    await house.work(run_id)
    await house.ended("A resumed boat")
    request = house.request(run_id)

    async with open_context(request, run_id, house.settings, StopSignal()) as ctx:
        row = await ctx.do(queries.job, house.row(run_id).job_id)
        assert (row.state, row.purchases) == (State.IN_QUEUE, 1)
    await house.work(run_id)

    assert house.row(run_id).state is State.SUCCEEDED
    assert len(house.accepted("A resumed boat")) == 1


async def test_a_new_run_frees_the_slots_of_dead_ones(house):
    """What a dead run left unknown or rendering gives its slots back when another run begins."""
    dead = house.open_run("a,A dead boat", campaign="dead")
    house.arm("reset")
    await house.work(dead)
    await house.ended("A dead boat")
    run_id = house.open_run("b,A live boat", campaign="live")

    async with open_context(house.request(run_id), run_id, house.settings, StopSignal()) as ctx:
        assert await ctx.do(queries.open_jobs) != []
        assert house.row(dead).state is State.RENDERED


async def test_lost_replies_do_not_stop_a_run_for_good(house, monkeypatch):
    """With the only slot held by a lost reply, the run finds it by itself and goes on to its end."""
    monkeypatch.setattr("callsheet.engine.reconcile_loop.LOOK_EVERY_S", 0.05)
    house.changes["concurrency"] = 1
    run_id = house.open_run("a,A blocking boat", "b,A blocked boat")
    house.arm("reset")

    async with open_context(house.request(run_id), run_id, house.settings, StopSignal()) as ctx:
        await run_jobs(ctx, in_order(await ctx.do(queries.jobs, run_id)))
        summary = await finish(ctx)

    assert (summary["succeeded"], summary["unknown"]) == (2, 0)
    assert len(house.accepted("A blocking boat")) == len(house.accepted("A blocked boat")) == 1
    assert house.sound()


async def test_a_look_during_a_run_leaves_what_is_under_way_alone(house):
    """What the caller's own run is just sending or holding is neither unknown nor given back."""
    run_id = house.open_run("a,A boat on its way", "b,A boat at the quay")
    async with house.account() as account:
        with account.ledger.claim(run_id):
            sending, holding = (row.job_id for row in account.ledger.do(queries.jobs, run_id))
            for job_id in (sending, holding):
                account.ledger.do(admission.admit, job_id, slots=10)
            account.ledger.do(transitions.send, sending, arguments_sha256="0" * 64)
            await settle_ledger(account, owned=Scope.of(run_id, None))
    assert [row.state for row in house.rows(run_id)] == [State.SUBMITTING, State.HELD]


async def test_a_run_that_somebody_works_on_is_left_alone(house):
    """Unknown submissions of a run with a living owner are counted, and not touched."""
    run_id = house.open_run("a,A busy boat")
    house.arm("reset")
    await house.work(run_id)
    await house.ended("A busy boat")

    with Ledger.open(house.settings.ledger) as owner, owner.claim(run_id):
        findings = await house.settled()

    assert (findings.each, findings.busy, findings.undecided) == ([], (run_id,), 1)
    assert house.row(run_id).state is State.UNKNOWN


async def test_nothing_open_means_no_question_to_fal(house):
    """A ledger without open submissions is settled without one call."""
    house.open_run("a,An idle boat")
    house.arm("server_error", route="any", count=None)
    async with house.account() as account:
        findings = await settle_ledger(account)
    assert findings.each == []
    assert house.truth()["fired"].get("server_error", 0) == 0


async def test_a_history_that_cannot_be_read_concludes_nothing(house):
    """While the platform answers with errors, everything stays as it is, with the reason."""
    run_id = house.open_run("a,A boat in the dark")
    house.arm("reset")
    await house.work(run_id)
    house.arm("nginx_error", route="platform", count=None)

    (found,) = (await house.settled()).each

    assert (found.outcome, house.row(run_id).state) == ("unknown", State.UNKNOWN)
    assert "502" in found.why
