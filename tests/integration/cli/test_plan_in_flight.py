"""`callsheet plan` beside an unfinished run of its campaign: what is in flight is not priced again."""

import json

import pytest

import callsheet
from callsheet.engine.open_run import open_run, select
from callsheet.engine.request import RunRequest
from callsheet.engine.rollback_guard import remember
from callsheet.engine.run import idle_runs
from callsheet.errors import InFlight
from callsheet.ledger import Ledger, admission, queries, runs, settlement, transitions
from callsheet.ticket import Ticket
from manifests.planner import make_plan

HEADER = "custom_id,prompt,model,resolution,duration\n"
ROWS = [f"{name},A {name} boat,seedance-1.0-lite,480p,2\n" for name in ("a", "b", "c", "d")]
EACH = "0.035721"


@pytest.fixture
def ledger(tmp_path, monkeypatch):
    """The ledger of the commands, which are called in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CALLSHEET_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("CALLSHEET_LEDGER_URL", url := f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    with Ledger.open(url) as opened:
        yield opened


@pytest.fixture
def first(ledger, tmp_path, request):
    """A run that died: `a` renders, whether `b` arrived is unknown, `c` was not sent; `d` is a new row.

    It is on the sandbox if a test does not say otherwise.
    """
    source = tmp_path / "spring.csv"
    source.write_text(HEADER + "".join(ROWS[:3]))
    plan = make_plan(source)
    kept = RunRequest(sandbox=getattr(request, "param", True)).kept
    run_id = open_run(ledger, plan, select(ledger, plan, fit=False), out=tmp_path / "runs", options=kept)
    a, b, _ = ledger.do(queries.jobs, run_id)
    for row in (a, b):
        ledger.do(admission.admit, row.job_id, slots=10)
        ledger.do(transitions.send, row.job_id, arguments_sha256="x")
    ledger.do(transitions.accept, a.job_id, Ticket("request-a", "e", "s", "r", "c"))
    ledger.do(transitions.start, a.job_id)
    ledger.do(transitions.lose, b.job_id, why="no answer")
    source.write_text(HEADER + "".join(ROWS))
    return run_id


def bought(ledger):
    """Return the names that a run would buy now."""
    plan = make_plan("spring.csv")
    idle = [run.run_id for run in idle_runs(ledger, plan.campaign)]
    return [plan.jobs[at].job.custom_id for at in select(ledger, plan, fit=False, idle=idle).buy]


def test_what_is_in_flight_is_not_priced_again(call, ledger, first):
    """Submitted, unknown and waiting rows are left to their run, as `run` leaves them; `d` alone costs."""
    code, out, _ = call("plan", "spring.csv", "--sandbox", "--budget-usd", "0.0358", "--check")
    said = " ".join(out.split())
    assert (code, "fits the budget" in said) == (0, True), out
    assert "+ 1 new: $0.0350 expected, at most $0.0358" in out
    assert "> 3 in flight in an unfinished run, not bought again" in out
    assert f"run {first} was not finished, has 3 of these in flight and holds $0.0715" in said
    assert f"`callsheet resume {first} --sandbox` does at once" in said
    told = json.loads(call("plan", "spring.csv", "--sandbox", "--json")[1])
    assert [row["change"] for row in told["rows"]] == [">", ">", ">", "+"]
    assert [row["to_pay_usd"] for row in told["rows"]] == ["0.00"] * 3 + [EACH]
    assert told["changes"][">"] == {
        "jobs": 3,
        "expected_usd": "0.00",
        "maximum_usd": "0.00",
        "paid_usd": "0.00",
    }
    assert told["unfinished"] == [
        {
            "run_id": first,
            "state": "idle",
            "goes_on_first": True,
            "jobs": 3,
            "held_usd": "0.071442",
            "not_sent": 1,
            "not_sent_maximum_usd": EACH,
            "resume": f"callsheet resume {first} --sandbox",
        }
    ]
    assert bought(ledger) == ["d"]


@pytest.mark.parametrize(("cap", "does_fit"), [("0.142884", True), ("0.142883", False)])
def test_what_goes_on_first_needs_its_money_under_the_same_caps(call, ledger, first, cap, does_fit):
    """Two are held, one is still to be bought by the unfinished run and one by the new one: to the nano."""
    assert "which is not among" not in call("plan", "spring.csv", "--sandbox", "--budget-usd", "1")[1]
    assert call("budget", "set", "ledger", cap, "--sandbox")[0] == 0
    code, out, _ = call("plan", "spring.csv", "--sandbox", "--check", "--json")
    assert (code, json.loads(out)["fits"]) == ((0, True) if does_fit else (3, False))
    _, out, _ = call("plan", "spring.csv", "--sandbox")
    assert "need up to $0.0358, which is not among what is left above" in " ".join(out.split())


def test_a_stopped_run_keeps_its_rows_and_no_money_for_what_it_has_not_sent(call, ledger, first):
    """`run` does not go on with it: its rows are left to it, and the caps are asked about `d` alone."""
    ledger.do(runs.request_stop, first)
    assert call("budget", "set", "ledger", "0.107163", "--sandbox")[0] == 0
    code, out, _ = call("plan", "spring.csv", "--sandbox", "--check")
    said = " ".join(out.split())
    assert (code, f"3 of these are left to run {first}" in said) == (0, True), out
    assert bought(ledger) == ["d"]


def test_a_run_that_is_worked_on_is_said_to_stand_in_the_way(call, ledger, first, tmp_path):
    """Another process has it: `run` refuses, and the plan says so before."""
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as other, other.claim(first):
        _, out, _ = call("plan", "spring.csv", "--sandbox")
        with pytest.raises(InFlight):
            bought(ledger)
        told = json.loads(call("plan", "spring.csv", "--sandbox", "--json")[1])
    said = " ".join(out.split())
    assert f"run {first} has 3 of these in flight, and another process is working on it" in said
    assert f"`callsheet status {first} --sandbox`" in said
    assert (told["unfinished"][0]["state"], told["unfinished"][0]["goes_on_first"]) == ("running", False)


def test_runs_are_named_oldest_first_whether_they_ended_or_not(call, ledger, first, tmp_path):
    """A request that turned up after its run had ended is in flight again; such a run has its place too."""
    ledger.do(runs.close_run, first)
    for row in ("d", "e"):
        (tmp_path / "spring.csv").write_text(f"{HEADER}{row},A {row} boat,seedance-1.0-lite,480p,2\n")
        plan, kept = make_plan("spring.csv"), RunRequest(sandbox=True).kept
        chosen = select(ledger, plan, fit=False)
        newest = open_run(ledger, plan, chosen, out=tmp_path / "runs", options=kept)
    ledger.do(runs.close_run, newest)
    rows = [f"{row},A {row} boat,seedance-1.0-lite,480p,2\n" for row in "edcba"]
    (tmp_path / "spring.csv").write_text(HEADER + "".join(rows))
    told = json.loads(call("plan", "spring.csv", "--sandbox", "--json")[1])
    newest_first = [run.run_id for run in ledger.do(queries.runs)]
    assert [each["run_id"] for each in told["unfinished"]] == newest_first[::-1]


def test_a_part_that_fits_keeps_what_is_in_flight(call, ledger, first, tmp_path):
    """`--fit` leaves out new rows alone, and its plan file buys none of the others."""
    (tmp_path / "spring.csv").write_text(f"{HEADER}e,A dear boat,seedance-1.0-pro,1080p,5\n" + "".join(ROWS))
    _, out, _ = call("plan", "spring.csv", "--sandbox", "--budget-usd", "0.1", "--fit", "--json")
    told = json.loads(out)
    assert [(row["custom_id"], row["change"]) for row in told["rows"]] == [
        ("a", ">"), ("b", ">"), ("c", ">"), ("d", "+"),
    ]  # fmt: skip
    assert told["left_out"]["custom_ids"] == ["e"]


@pytest.mark.parametrize("first", [False], indirect=True)
def test_a_refused_run_advises_nothing_about_what_is_in_flight(call, ledger, first, tmp_path, monkeypatch):
    """What would fit is said of the rows that it would buy."""
    (tmp_path / "spring.csv").write_text(f"{HEADER}e,A dear boat,seedance-1.0-pro,1080p,5\n" + "".join(ROWS))
    ledger.do(runs.request_stop, first)
    monkeypatch.setattr("callsheet.cli.session._server", lambda *_: ("", None))
    monkeypatch.setenv("FAL_KEY", "a-key-that-is-never-used")
    code, _, err = call("run", "spring.csv", "--budget-usd", "0.1", "--yes")
    assert code == 3, err
    assert "--fit: takes 1 job and skips 1" in err


def test_a_plan_says_that_a_run_would_refuse_an_older_ledger(call, ledger, first, monkeypatch, tmp_path):
    """What such a ledger has forgotten looks new. A plan sends nothing, so it warns and goes on."""
    ledger.backup(tmp_path / "copy.sqlite")
    ledger.do(admission.admit, ledger.do(queries.jobs, first)[2].job_id, slots=10)
    remember(ledger, tmp_path / "runs", first)
    monkeypatch.setenv("CALLSHEET_LEDGER_URL", f"sqlite:///{tmp_path / 'copy.sqlite'}")
    code, out, err = call("plan", "spring.csv", "--sandbox")
    assert (code, "+ 1 new" in out) == (0, True), err
    assert "warning: ledger: a run would be refused: the ledger " in err
    assert "is older than the mark in runs: it has 2 entries of 3" in err
    told = json.loads(call("plan", "spring.csv", "--sandbox", "--json")[1])["warnings"]
    assert [each["file"] for each in told] == ["ledger", "spring.csv"]
    assert "callsheet ledger accept runs`" in told[0]["message"]
    planned = callsheet.plan("spring.csv", sandbox=True)
    assert [each.message for each in planned.warnings] == [each["message"] for each in told]


def test_a_plan_says_what_was_paid_for_and_not_downloaded(call, ledger, first, tmp_path):
    """`b` and `c` failed after fal had taken them: `b` may still be there, `c` was refused by its content."""
    for name, error_type in (("b", "file_gone"), ("c", "content_policy_violation")):
        (row,) = [row for row in ledger.do(queries.jobs, first) if row.custom_id == name]
        if name == "b":
            ledger.do(transitions.find, row.job_id, Ticket("request-b", "e", "s", "r", "c"))
        else:
            ledger.do(admission.admit, row.job_id, slots=10)
            ledger.do(transitions.send, row.job_id, arguments_sha256="y")
            ledger.do(transitions.accept, row.job_id, Ticket("request-c", "e", "s", "r", "c"))
        ledger.do(settlement.fail_render, row.job_id, charged="unknown", error_type=error_type)
    _, out, _ = call("plan", "spring.csv", "--sandbox")
    said = " ".join(out.split())
    assert "+ 3 new" in said
    assert "paid for and not downloaded: 1 of these. `callsheet run --sandbox` downloads for free" in said
    told = json.loads(call("plan", "spring.csv", "--sandbox", "--json")[1])
    assert (told["not_downloaded"], [row["change"] for row in told["rows"]]) == (1, [">", "+", "+", "+"])
    fitting = ("plan", "spring.csv", "--sandbox", "--budget-usd", "0.04", "--fit", "--json")
    assert json.loads(call(*fitting)[1])["not_downloaded"] == 1


@pytest.mark.parametrize("left", ["runs", "."])
def test_a_plan_says_that_a_run_would_refuse_where_the_ledger_is_gone(call, ledger, first, tmp_path, left):
    """Its file was deleted, and a mark beside the runs or beside the ledger is left. No ledger is made."""
    for mark in tmp_path.glob("**/.ledger-*.json"):
        if mark.parent != tmp_path / left:
            mark.unlink()
    ledger.close()
    for file in tmp_path.glob("ledger.sqlite*"):
        file.unlink()
    code, out, err = call("plan", "spring.csv", "--sandbox")
    said = " ".join(err.split())
    assert (code, "spring: 4 jobs" in out) == (0, True), err
    assert f"warning: ledger: a run would be refused: the ledger {tmp_path / 'ledger.sqlite'} is not" in said
    assert f"names {first}, at entry 0). Was its file deleted or replaced?" in said
    (told,) = callsheet.plan("spring.csv", sandbox=True).warnings[:1]
    assert "callsheet ledger accept runs`" in told.message
    assert not (tmp_path / "ledger.sqlite").exists()


def test_a_new_ledger_beside_marks_of_another_one_is_no_missing_one(
    call, ledger, first, tmp_path, monkeypatch
):
    """Two ledgers may run into one folder: nothing is said about one that is to be made elsewhere."""
    monkeypatch.setenv("CALLSHEET_LEDGER_URL", f"sqlite:///{tmp_path / 'another.sqlite'}")
    code, _, err = call("plan", "spring.csv", "--sandbox")
    assert (code, "warning: ledger" in err) == (0, False)


def test_a_plan_has_nothing_to_say_of_a_ledger_that_is_as_far_as_its_mark(call, ledger, first, tmp_path):
    """There is no warning, neither beside a mark that the ledger reaches nor where no folder is."""
    for has_mark in (False, True):
        if has_mark:
            remember(ledger, tmp_path / "runs", first)
        code, _, said = call("plan", "spring.csv", "--sandbox")
        assert (code, "warning: ledger" in said) == (0, False)
