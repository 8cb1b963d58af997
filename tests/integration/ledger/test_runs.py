import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from callsheet.errors import IllegalTransition, InFlight, LedgerError, RunStopping, UsageError
from callsheet.ledger import (
    EntryFilter,
    Event,
    Ledger,
    NewJob,
    NewRun,
    Range,
    State,
    admission,
    history,
    queries,
    recovery,
    runs,
    settlement,
    transitions,
)
from tests.integration.ledger.conftest import FILE, new_job


def test_a_job_comes_back_as_it_was_given(desk) -> None:
    """Every field of a new job is in its row, also in a script that is not ours."""
    given = NewJob(
        row=17,
        custom_id="été/1",
        endpoint="fal-ai/x",
        model="m",
        fingerprint="f",
        payload='{"prompt": "海 🎬 \\"quoted\\""}',
        expected_nano=1,
        maximum_nano=2**62,
        take=3,
        priority=-5,
        client="Ünïted",
        output_name="a b",
        render_kind="k",
        position=0,
    )
    run = NewRun(run_id="r", campaign="c", plan_hash="h", price_book="p", out="o", options="{}")
    desk.ledger.do(runs.open_run, run, [given])
    (row,) = desk.ledger.do(queries.jobs, "r")
    assert {name: getattr(row, name) for name in NewJob.__dataclass_fields__} == {
        name: getattr(given, name) for name in NewJob.__dataclass_fields__
    }
    assert (row.state, row.position, row.submission, row.output) == (State.PENDING, 0, None, None)


def test_a_run_is_opened_whole_or_not_at_all(desk) -> None:
    """A job that cannot be keeps the run, its other jobs and its caps out of the ledger."""
    before = desk.dump()
    with pytest.raises(LedgerError):
        desk.run(2, expected_nano=200)  # above its own maximum
    assert desk.dump() == before


def test_a_run_id_is_used_once(desk) -> None:
    """Opening a run again would buy it again; the error says how to go on instead."""
    desk.run(run_id="spring-1")
    with pytest.raises(UsageError, match="exists already: resume it"):
        desk.run(run_id="spring-1")


def test_an_unknown_run_is_answered_with_the_nearest_one(desk) -> None:
    """A slip of the pen costs no search. The ledger is named: a run of the sandbox is in another one."""
    with pytest.raises(UsageError, match="no runs yet") as refused:
        desk.ledger.do(queries.run, "x")
    assert f"no run 'x' in the ledger {desk.ledger.label}, which has no runs yet" in str(refused.value)
    assert "by --sandbox (in Prefect: `sandbox` of the request)" in str(refused.value)
    desk.run(run_id="spring-1")
    desk.run(run_id="autumn-7")
    with pytest.raises(UsageError, match="the nearest is 'spring-1'"):
        desk.ledger.do(queries.run, "sprig-1")
    for verb in (runs.request_stop, runs.close_run, runs.reopen_run):
        with pytest.raises(UsageError):
            desk.ledger.do(verb, "sprig-1")


def test_the_latest_unfinished_run_is_the_one_to_resume(desk) -> None:
    """Runs come newest first, and closed ones are not resumed."""
    for number in range(3):
        desk.clock.now_ms += 1000
        desk.run(run_id=f"r{number}")
    desk.ledger.do(runs.close_run, "r2")
    assert [run.run_id for run in desk.ledger.do(queries.runs)] == ["r2", "r1", "r0"]
    assert [run.run_id for run in desk.ledger.do(queries.runs, limit=1)] == ["r2"]
    assert desk.ledger.do(queries.latest_unfinished).run_id == "r1"
    for run_id in ("r1", "r0"):
        desk.ledger.do(runs.close_run, run_id)
    assert desk.ledger.do(queries.latest_unfinished) is None


@pytest.mark.parametrize("verb", [runs.request_stop, runs.close_run])
def test_a_stopped_or_closed_run_admits_nothing_until_it_is_opened_again(desk, verb) -> None:
    """Stopping reaches every process through the ledger, and touches no other run."""
    (job_id,), (other,) = desk.run(run_id="r"), desk.run(run_id="other")
    desk.ledger.do(verb, "r")
    with pytest.raises(RunStopping, match="run r"):
        desk.ledger.do(admission.admit, job_id, slots=10)
    desk.ledger.do(admission.admit, other, slots=10)
    desk.ledger.do(runs.reopen_run, "r")
    desk.ledger.do(admission.admit, job_id, slots=10)


@pytest.mark.parametrize("verb", [runs.request_stop, runs.close_run])
def test_what_was_admitted_before_the_stop_is_not_sent_after_it(desk, verb) -> None:
    """A job that waits between two tries does not leave once its run was asked to stop."""
    (job_id,) = desk.run(run_id="r")
    desk.ledger.do(admission.admit, job_id, slots=10)
    desk.ledger.do(verb, "r")
    with pytest.raises(RunStopping, match="run r"):
        desk.ledger.do(transitions.send, job_id, arguments_sha256="0" * 64)
    assert desk.ledger.do(queries.job, job_id).state is State.HELD


def test_what_a_dead_owner_left_is_put_right(desk) -> None:
    """A POST that was under way is unknown; a hold that was never used is given back; the rest stays."""
    jobs = desk.run(5, run_id="r")
    (foreign,) = desk.run()
    for job_id, state in zip(
        jobs,
        [State.SUBMITTING, State.HELD, State.IN_QUEUE, State.RENDERED, State.PENDING],
        strict=True,
    ):
        desk.bring(job_id, state)
    desk.bring(foreign, State.SUBMITTING)
    found = desk.ledger.do(recovery.recover, "r")
    assert (found.unknown, found.released) == (1, 1)
    assert [desk.ledger.do(queries.job, job_id).state for job_id in [*jobs, foreign]] == [
        *(State.UNKNOWN, State.PENDING, State.IN_QUEUE, State.RENDERED, State.PENDING),
        State.SUBMITTING,
    ]
    assert desk.ledger.do(recovery.recover, "r") == type(found)(unknown=0, released=0)


def test_a_shard_recovers_its_own_jobs_only(desk) -> None:
    """Another worker's job of the same run may be under way right now."""
    ours, theirs = desk.run(2, run_id="r")
    for job_id in (ours, theirs):
        desk.bring(job_id, State.SUBMITTING)
    assert desk.ledger.do(recovery.recover, "r", within=Range(0, 0)).unknown == 1
    assert desk.ledger.do(queries.job, theirs).state is State.SUBMITTING


def test_one_process_owns_a_run_and_another_run_is_free(desk, ledger_url) -> None:
    """A second claim is refused at once, until the first one is given back."""
    with Ledger.open(ledger_url) as second:
        with (
            desk.ledger.claim("r"),
            second.claim("other"),
            pytest.raises(LedgerError, match="run r is being worked on"),
            second.claim("r"),
        ):
            pass
        with second.claim("r"):
            pass


def test_parts_of_a_run_are_owned_side_by_side_but_not_beside_the_whole(desk, ledger_url) -> None:
    """Workers may share a run by parts; nobody may own all of it meanwhile."""
    with Ledger.open(ledger_url) as second:
        with desk.ledger.claim("r", part="1"), second.claim("r", part="2"):
            with pytest.raises(LedgerError, match="part 1 of run r"), second.claim("r", part="1"):
                pass
            with pytest.raises(LedgerError, match="run r is"), second.claim("r"):
                pass
        with desk.ledger.claim("r"), pytest.raises(LedgerError), second.claim("r", part="1"):
            pass


def test_a_claim_ends_also_when_its_work_fails(desk) -> None:
    """An exception inside does not leave the run locked."""
    with pytest.raises(KeyError), desk.ledger.claim("r"):
        raise KeyError
    with desk.ledger.claim("r"):
        pass


def test_the_tally_counts_a_run_and_only_that_run(desk) -> None:
    """States, held and spent money of one run are there at a glance."""
    jobs = desk.run(4, run_id="r")
    desk.bring(desk.run()[0], State.HELD)
    desk.bring(jobs[0], State.SUCCEEDED)
    desk.bring(jobs[1], State.IN_QUEUE)
    tally = desk.ledger.do(queries.tally, "r")
    assert tally.counts == {State.PENDING: 2, State.SUCCEEDED: 1, State.IN_QUEUE: 1}
    assert (tally.held_nano, tally.spent_nano, tally.jobs, tally.finished) == (100, 90, 4, 1)


def test_jobs_are_read_in_the_plans_order_and_by_state(desk) -> None:
    """Positions follow the order of the plan; a filter leaves the others out."""
    jobs = desk.run(3, run_id="r")
    desk.bring(jobs[1], State.HELD)
    assert [row.position for row in desk.ledger.do(queries.jobs, "r")] == [0, 1, 2]
    assert [row.job_id for row in desk.ledger.do(queries.jobs, "r", states={State.HELD})] == [jobs[1]]
    assert desk.ledger.do(queries.jobs, "r", states=set()) == []
    with pytest.raises(UsageError, match="no job 999999999"):
        desk.ledger.do(queries.job, 999_999_999)


def test_open_jobs_of_every_run_are_what_reconcile_looks_at(desk) -> None:
    """Whatever may still cost money is found, whichever run it belongs to."""
    one, two = desk.run(2)
    (three,) = desk.run()
    desk.bring(one, State.UNKNOWN)
    desk.bring(two, State.SUCCEEDED)
    desk.bring(three, State.RENDERED)
    assert [row.job_id for row in desk.ledger.do(queries.open_jobs)] == [one, three]
    assert [row.job_id for row in desk.ledger.do(queries.open_jobs, states={State.UNKNOWN})] == [one]


def test_open_jobs_are_told_by_when_they_were_sent(desk) -> None:
    """Until a moment, the moment included; one that was admitted and not sent counts from there."""
    held, sent = desk.run(2)
    desk.bring(held, State.HELD)
    desk.bring(sent, State.SUBMITTING)
    rows = {row.job_id: row.submission for row in desk.ledger.do(queries.open_jobs)}
    for job_id, submission in rows.items():
        at_ms = submission.sent_ms or submission.admitted_ms
        until = {each: desk.ledger.do(queries.open_jobs, sent_until_ms=each) for each in (at_ms - 1, at_ms)}
        assert job_id not in [row.job_id for row in until[at_ms - 1]]
        assert job_id in [row.job_id for row in until[at_ms]]


def test_a_video_that_is_there_is_found_by_its_content_and_used_again(desk) -> None:
    """Only succeeded jobs of the same campaign count, and the newest of them."""
    first, failed = desk.run(2)
    desk.bring(first, State.SUCCEEDED)
    desk.bring(failed, State.FAILED)
    desk.bring(desk.run(campaign="summer", fingerprint="print-9")[0], State.SUCCEEDED)
    made = desk.ledger.do(queries.already_made, "spring", ["print-0", "print-1", "print-9", "never"])
    assert {name: row.job_id for name, row in made.items()} == {"print-0": first}
    (newer,) = desk.run()
    desk.bring(newer, State.SUCCEEDED)
    assert desk.ledger.do(queries.already_made, "spring", ["print-0"])["print-0"].job_id == newer

    (again,) = desk.run(run_id="again")
    desk.ledger.do(transitions.reuse, {again: first})
    row = desk.ledger.do(queries.job, again)
    assert (row.state, row.output_run_id, row.spent_nano) == (State.ALREADY_MADE, "run-0", 0)
    assert row.output == desk.ledger.do(queries.job, first).output


def test_only_a_finished_video_can_be_used_again(desk) -> None:
    """A job without a file cannot stand in for another one."""
    one, two = desk.run(2)
    with pytest.raises(UsageError, match="no finished video"):
        desk.ledger.do(transitions.reuse, {one: two})


def test_a_rejected_file_is_kept_with_its_job_and_never_counts_as_made(desk) -> None:
    """Paid for and wrong is still paid for: it stays findable, and the job stays failed."""
    (job_id,) = desk.run()
    desk.bring(job_id, State.SUCCEEDED)
    (bad,) = desk.run(fingerprint="bad")
    desk.bring(bad, State.RENDERED, settled=True)
    output = desk.ledger.do(queries.job, job_id).output
    desk.ledger.do(transitions.fail_media, bad, error_type="wrong_size", error="640x360", output=output)
    row = desk.ledger.do(queries.job, bad)
    assert (row.state, row.output, row.charged, row.error_type) == (
        State.FAILED,
        output,
        "yes",
        "wrong_size",
    )
    assert desk.ledger.do(queries.already_made, "spring", ["bad"]) == {}


def test_what_has_a_file_is_not_followed_again(desk) -> None:
    """A rejected file is there: asking fal for the same request again would bring no other one."""
    (job_id,) = desk.run()
    desk.bring(job_id, State.RENDERED, settled=True)
    desk.ledger.do(transitions.fail_media, job_id, error_type="wrong_size", error="small", output=FILE)
    with pytest.raises(IllegalTransition, match="no request at fal whose file is still to come"):
        desk.do(Event.TAKE_UP, job_id)


def test_what_fal_may_still_have_is_found_by_its_error_and_by_when_fal_took_it(desk) -> None:
    """Results are kept for a time at fal: what it took before that is not asked for, nor what it refused."""
    old, young, other, refused = desk.run(4)
    desk.bring(old, State.RENDERED)
    desk.clock.now_ms += 10_000
    for job_id in (young, other):
        desk.bring(job_id, State.RENDERED)
    desk.bring(refused, State.SUBMITTING)
    for job_id, error_type in ((old, "file_gone"), (young, "file_gone"), (other, "internal_error")):
        desk.ledger.do(settlement.fail_render, job_id, charged="unknown", error_type=error_type)
    desk.ledger.do(settlement.refuse, refused, charged="no", error_type="file_gone")
    taken_ms = desk.ledger.do(queries.job, young).submission.submitted_ms
    found = {
        since: desk.ledger.do(recovery.lost_jobs, ["file_gone"], since_ms=since) for since in (0, taken_ms)
    }
    assert found == {0: [old, young], taken_ms: [young]}
    assert desk.ledger.do(recovery.lost_jobs, ["file_gone"], since_ms=taken_ms + 1) == []


def test_a_retry_once_uses_what_was_made_meanwhile(desk) -> None:
    """Another run of the campaign has made the same video: it is used and not bought."""
    (failed,) = desk.run(fingerprint="same")
    desk.bring(failed, State.FAILED)
    (made,) = desk.run(fingerprint="same")
    desk.bring(made, State.SUCCEEDED)
    assert desk.ledger.do(recovery.retry, [failed], once=True) == {failed: made}
    assert desk.ledger.do(queries.job, failed).state is State.ALREADY_MADE


@pytest.mark.parametrize("state", [State.PENDING, State.IN_QUEUE, State.UNKNOWN, State.RENDERED])
def test_a_retry_once_is_refused_while_another_run_makes_the_same(desk, state) -> None:
    """Both would buy it. Jobs that only look alike in another campaign are no reason."""
    (failed,) = desk.run(fingerprint="same")
    desk.bring(failed, State.FAILED)
    desk.bring(desk.run(fingerprint="same", campaign="summer")[0], state)
    (making,) = desk.run(fingerprint="same")
    desk.bring(making, state)
    with pytest.raises(InFlight, match="has 1 of these in flight"):
        desk.ledger.do(recovery.retry, [failed], once=True)
    assert desk.ledger.do(queries.job, failed).state is State.FAILED
    desk.ledger.do(recovery.retry, [failed])
    assert desk.ledger.do(queries.job, failed).state is State.PENDING


def test_a_run_opened_once_does_not_buy_what_was_made_meanwhile(desk) -> None:
    """Another process has made it since the plan was made; nothing of the new run is written."""
    desk.bring(*desk.run(), State.SUCCEEDED)
    new = NewRun(run_id="late", campaign="spring", plan_hash="h", price_book="2026-11", out="/runs/x")
    with pytest.raises(UsageError, match="has made 1 of these meanwhile"):
        desk.ledger.do(runs.open_run, new, [new_job()], once=True)
    with pytest.raises(UsageError, match="no run 'late'"):
        desk.ledger.do(queries.run, "late")


def test_render_times_are_learned_by_kind_of_job_newest_first(desk) -> None:
    """Waiting is not rendering; renders whose start was not seen are left out."""
    for kind, seconds in (("a", 10), ("a", 20), ("b", 30)):
        (job_id,) = desk.run(render_kind=kind)
        for event in (Event.ADMIT, Event.SEND, Event.ACCEPT, Event.START, Event.RENDER):
            desk.clock.now_ms += {Event.START: 5000, Event.RENDER: seconds * 1000}.get(event, 0)
            desk.do(event, job_id)
    (unseen,) = desk.run(render_kind="a")
    for event in (Event.ADMIT, Event.SEND, Event.ACCEPT, Event.RENDER):
        desk.do(event, unseen)
    assert desk.ledger.do(history.render_times, "a") == [20_000, 10_000]
    assert len(desk.ledger.do(history.render_times, "a", limit=1)) == 1


def test_a_start_that_was_not_seen_can_be_told_with_the_render(desk) -> None:
    """What fal says about the time is kept, unless the start was seen as it happened."""
    told, seen = desk.run(2)
    desk.bring(told, State.IN_QUEUE)
    began = desk.bring(seen, State.IN_PROGRESS).submission.started_ms
    for job_id in (told, seen):
        desk.ledger.do(transitions.render, job_id, started_ms=123)
    assert desk.ledger.do(queries.job, told).submission.started_ms == 123
    assert desk.ledger.do(queries.job, seen).submission.started_ms == began


def test_a_picture_is_uploaded_once_and_forgotten_when_it_is_too_old(desk) -> None:
    """The newest address is given, and none that is older than asked for."""
    assert desk.ledger.do(history.uploaded, "aa") is None
    desk.ledger.do(history.remember_upload, "aa", "https://one")
    desk.clock.now_ms += 1000
    desk.ledger.do(history.remember_upload, "aa", "https://two")
    assert desk.ledger.do(history.uploaded, "aa", since_ms=desk.clock.now_ms) == "https://two"
    assert desk.ledger.do(history.uploaded, "aa", since_ms=desk.clock.now_ms + 1) is None


def test_the_book_tells_each_movement_of_money_in_order(desk) -> None:
    """A statement needs nothing but the entries: what, when, how much, for which job and request."""
    (job_id,) = desk.run(run_id="r")
    row = desk.bring(job_id, State.SUCCEEDED)
    desk.bring(desk.run(campaign="summer")[0], State.HELD)
    entries = list(desk.ledger.stream(history.entries, EntryFilter(run_id="r")))
    assert [(entry.kind, entry.amount_nano) for entry in entries] == [
        ("hold", 100),
        ("release", -100),
        ("settle", 90),
    ]
    assert {entry.request_id for entry in entries} == {row.ticket.request_id}
    assert len(list(desk.ledger.stream(history.entries))) == 4
    assert [
        entry.campaign for entry in desk.ledger.stream(history.entries, EntryFilter(campaign="summer"))
    ] == ["summer"]


def test_the_ledger_can_be_written_while_its_book_is_being_read(desk) -> None:
    """A long statement holds nobody up and sees nothing half done."""
    (job_id,) = desk.run()
    desk.bring(job_id, State.SUCCEEDED)
    reading = desk.ledger.stream(history.entries)
    next(reading)
    desk.bring(desk.run()[0], State.SUCCEEDED)
    assert len(list(reading)) >= 2


def test_everything_is_there_after_closing_and_opening_again(desk) -> None:
    """The ledger keeps nothing in memory."""
    jobs = desk.run(2)
    desk.bring(jobs[0], State.SUCCEEDED)
    desk.bring(jobs[1], State.IN_PROGRESS)
    before, rows = desk.dump(), desk.ledger.do(queries.jobs, "run-0")
    assert desk.reopen().do(queries.jobs, "run-0") == rows
    assert desk.dump() == before


def test_a_backup_is_a_whole_private_ledger_and_never_overwrites(
    sqlite_url: str, open_desk, tmp_path: Path
) -> None:
    """The copy opens, is sound and holds the same; an existing file is left alone."""
    desk = open_desk(sqlite_url)
    desk.bring(desk.run()[0], State.SUCCEEDED)
    copy = tmp_path / "copy" / "ledger.sqlite"
    copy.parent.mkdir(mode=0o700)
    desk.ledger.backup(copy)
    assert copy.stat().st_mode & 0o777 == 0o600
    assert open_desk(f"sqlite:///{copy}").dump() == desk.dump()
    digest = hashlib.sha256(copy.read_bytes()).digest()
    with pytest.raises(UsageError, match="exists already"):
        desk.ledger.backup(copy)
    assert hashlib.sha256(copy.read_bytes()).digest() == digest
    with closing(sqlite3.connect(copy)) as connection, connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


@pytest.mark.postgres
def test_a_server_is_backed_up_by_its_own_means(postgres_url: str, open_desk, tmp_path: Path) -> None:
    """On PostgreSQL the error names the tool for it, and no empty file is left."""
    with pytest.raises(UsageError, match="pg_dump"):
        open_desk(postgres_url).ledger.backup(tmp_path / "x")
    assert not (tmp_path / "x").exists()
