"""Callsheet as a library, and its flow within another flow, as the examples show them."""

import asyncio
import dataclasses
import gc
import json
import os
import pickle
import re
import runpy
import signal
import subprocess
import sys
import traceback
from decimal import Decimal
from inspect import iscoroutinefunction
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

import callsheet
from callsheet.engine.open_run import open_run, select
from callsheet.engine.request import RunRequest
from callsheet.errors import UsageError
from callsheet.ledger import Ledger, queries
from callsheet.settings import settings_from
from tests.procfs import send_signal

ROOT = Path(__file__).parents[3]
ROW = {"prompt": "A boat", "model": "seedance-1.0-lite", "resolution": "480p", "num_frames": "29"}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty working directory, and a sandbox that ends with the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CALLSHEET_DATA_DIR", str(tmp_path / "data"))
    yield tmp_path
    address = tmp_path / "data" / "sandbox" / "server.json"
    if address.exists():
        send_signal(json.loads(address.read_text())["pid"], signal.SIGTERM)


def test_the_notebook_runs_from_top_to_bottom(place, capsys):
    """Plan, run and results: each cell prints what its comment says."""
    runpy.run_path(str(ROOT / "examples" / "python" / "notebook.py"))
    said = capsys.readouterr().out
    assert "3 jobs, expected $0.05832" in said
    assert "3 succeeded" in said


class Exported:
    """A table of another library, known by Arrow's interface alone."""

    def __init__(self, rows: list[dict]) -> None:
        self._table = pa.Table.from_pylist(rows)

    def __arrow_c_stream__(self, requested_schema=None):
        return self._table.__arrow_c_stream__(requested_schema)


def test_problems_of_rows_in_memory_are_named_as_rows(place):
    """Nobody knows the file that they were written to, and it is gone with the plan."""
    plan = callsheet.plan([ROW, {**ROW, "num_frames": 7}])  # a number beside a text
    (problem,) = plan.errors
    assert str(problem).startswith("rows, row 2, column num_frames: found 7: ")
    folder = Path(plan.source).parent
    assert folder.is_dir()
    del plan
    gc.collect()
    assert not folder.exists()


@pytest.mark.parametrize(
    "make",
    [lambda rows: rows, pd.DataFrame, pa.Table.from_pylist, Exported],
    ids=["list", "frame", "table", "arrow"],
)
def test_rows_in_memory_are_a_source(place, make):
    """A list of dicts, a DataFrame and any table of Arrow cost what the same rows cost in a file."""
    plan = callsheet.plan(make([ROW, {**ROW, "prompt": "Another boat"}]), budget_usd="1")
    (place / "shots.csv").write_text(
        "prompt,model,resolution,num_frames\n" + "A boat,seedance-1.0-lite,480p,29\n"
    )
    one = callsheet.plan("shots.csv", budget_usd="1")
    assert (plan.jobs, plan.errors, plan.fits) == (2, (), True)
    assert plan.expected_usd == 2 * one.expected_usd
    assert list(plan.to_pandas()["prompt"]) == ["A boat", "Another boat"]


def test_problems_are_in_the_plan_and_nothing_is_run(place):
    """Every problem of every row is there; running such a plan raises."""
    plan = callsheet.plan([{**ROW, "model": "nope"}, {**ROW, "resolution": "9p"}])
    assert [(each.row, each.column) for each in plan.errors] == [(1, "model"), (2, "resolution")]
    assert not plan.fits
    with pytest.raises(callsheet.ManifestError):
        callsheet.run(plan, sandbox=True)


@pytest.mark.parametrize("verb", ["resume", "retry", "reconcile"])
def test_a_notebook_is_told_of_the_async_form(place, verb):
    """Where an event loop runs already, the blocking form names the one to await."""

    async def cell() -> None:
        getattr(callsheet, verb)(sandbox=True)

    with pytest.raises(UsageError, match=rf"`await callsheet\.{verb}_async\(\.\.\.\)`"):
        asyncio.run(cell())


@pytest.mark.parametrize(
    "option",
    [{"budget_usd": "0.01"}, {"first": 1}, {"where": {"model": "x"}}, {"campaign": "other"}],
    ids=str,
)
def test_what_a_plan_has_is_not_said_to_its_run(place, option):
    """A smaller budget was passed over without a word."""
    plan = callsheet.plan([ROW], budget_usd="1", sandbox=True)
    with pytest.raises(UsageError, match=rf"say them to callsheet.plan: {next(iter(option))}"):
        callsheet.run(plan, sandbox=True, **option)


def test_a_plan_of_the_sandbox_buys_nothing_from_fal(place, monkeypatch):
    """It was checked against the sandbox's ledger; one forgotten option would have spent real money."""
    monkeypatch.setenv("FAL_KEY", "a:b")
    monkeypatch.setenv("CALLSHEET_QUEUE_URL", "http://127.0.0.1:9")
    plan = callsheet.plan([ROW], budget_usd="1", sandbox=True)
    with pytest.raises(UsageError, match="this plan is for the sandbox"):
        callsheet.run(plan)


@pytest.mark.parametrize(
    ("verb", "option"),
    [
        ("plan", {"concurrency": 0}),
        ("plan", {"first": 1.5}),
        ("plan", {"where": ["client=acme"]}),
        ("run", {"speed": 0}),
        ("run", {"canary": 0}),
        ("plan", {"campaign": 5}),
        ("plan", {"out": True}),
        ("run", {"out": b"runs"}),
    ],
    ids=str,
)
def test_a_value_that_an_option_does_not_take_is_refused_by_its_name(place, verb, option):
    """As a UsageError, and not as another library's error."""
    ((name, value),) = option.items()
    with pytest.raises(UsageError, match=re.escape(f"{name}: found {value}: ")):
        getattr(callsheet, verb)([ROW], **{"budget_usd": "1", "sandbox": True, **option})


@pytest.mark.parametrize(
    ("act", "name"),
    [
        (lambda text: callsheet.plan([ROW], sandbox=text), "sandbox"),
        (lambda text: callsheet.resume("x", sandbox=text), "sandbox"),
        (lambda text: callsheet.retry("x", again=text), "again"),
        (lambda text: callsheet.retry("x", all_failures=text), "all_failures"),
        (lambda text: callsheet.finish("x", keep="y", fit=text), "fit"),
        (lambda text: callsheet.deliver("x", everything=text), "everything"),
    ],
    ids=["plan", "resume", "again", "all failures", "finish", "deliver"],
)
def test_a_text_is_no_switch(place, act, name):
    """As a variable of the environment has it: `again="false"` bought again what was paid for."""
    with pytest.raises(UsageError, match=f"^{name}: found 'false': give True or False$"):
        act("false")


@pytest.mark.parametrize("verb", ["resume", "retry", "finish", "deliver"])
@pytest.mark.parametrize("run_id", [5, Path("runs/x"), b"x"], ids=repr)
def test_what_is_no_id_of_a_run_is_refused_by_name(place, verb, run_id):
    """It was an error of the database, or of a library that compares texts."""
    options = {"keep": ["a"]} if verb == "finish" else {}
    with pytest.raises(UsageError, match=re.escape(f"run_id: found {run_id!r}: give a text")):
        getattr(callsheet, verb)(run_id, sandbox=True, **options)


@pytest.mark.parametrize(
    "option",
    [{"to": 5}, {"client": 5}, {"name": 5}, {"keep": 5}, {"keep": ["a"], "everything": True}],
    ids=str,
)
def test_an_argument_of_another_kind_is_refused_before_anything_is_delivered(place, option):
    """The argument is named; two that exclude each other are not chosen from without a word."""
    with pytest.raises(UsageError, match=next(iter(option))):
        callsheet.deliver("a-run", **{"everything": "keep" not in option, "sandbox": True, **option})


@pytest.mark.parametrize(
    ("budget", "limit_nano"),
    [(Decimal("1E+2"), 100 * 10**9), (0.1 + 0.2, 3 * 10**8), (" .5 ", 5 * 10**8), (7, 7 * 10**9)],
)
def test_a_budget_is_any_number_of_dollars(place, budget, limit_nano):
    """An exponent, or a digit that a sum of floats has, changes nothing."""
    plan = callsheet.plan([ROW], budget_usd=budget)
    assert plan.planned is not None
    assert [cap.limit_nano for cap in plan.planned.caps] == [limit_nano]


def test_a_notebook_completes_the_public_names():
    """They are imported when they are first used, and are there before."""
    assert set(callsheet.__all__) <= set(dir(callsheet))
    assert [name for name in callsheet.__all__ if not hasattr(callsheet, name)] == []


def test_every_verb_has_an_async_form():
    """So that each can be awaited where an event loop runs already."""
    verbs = ("plan", "run", "resume", "retry", "finish", "reconcile", "deliver")
    assert all(iscoroutinefunction(getattr(callsheet, f"{verb}_async")) for verb in verbs)


def test_a_plan_that_is_awaited_is_the_same_plan(place):
    """It is made in a thread, so that the event loop goes on."""
    plan = asyncio.run(callsheet.plan_async([ROW], budget_usd="1"))
    assert plan == dataclasses.replace(callsheet.plan([ROW], budget_usd="1"), source=plan.source)


def test_an_error_of_a_run_comes_from_the_run_alone(place):
    """Its traceback tells of no other error "during handling" of which it occurred."""
    with pytest.raises(callsheet.AccountError) as raised:
        callsheet.run([ROW], budget_usd="1")
    assert raised.value.__context__ is None


SLOW_TABLE = """
import threading
import callsheet

class Slow:
    def __arrow_c_stream__(self, requested_schema=None):
        print("planning", flush=True)
        threading.Event().wait()

callsheet.run(Slow(), sandbox=True)
"""


def test_an_interrupt_ends_the_planning_of_a_run_at_once(place):
    """The rows of a large source are read in the caller's thread, which Ctrl-C reaches."""
    command = [sys.executable, "-c", SLOW_TABLE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "planning\n"
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert said.rstrip().endswith("KeyboardInterrupt")


def test_errors_come_whole_out_of_another_process(place):
    """A pool of processes pickles them; one that cannot be made again breaks the pool."""
    plan = callsheet.plan([ROW], budget_usd="0.001", sandbox=True)
    with pytest.raises(callsheet.OverBudget) as raised:
        callsheet.run(plan, sandbox=True, speed=200)
    copy = pickle.loads(pickle.dumps(raised.value))
    assert (type(copy), str(copy), vars(copy)) == (
        callsheet.OverBudget,
        str(raised.value),
        vars(raised.value),
    )
    with pytest.raises(callsheet.ManifestError) as raised_too:
        callsheet.run([{**ROW, "model": "nope"}], sandbox=True)
    copy = pickle.loads(pickle.dumps(raised_too.value))
    assert str(copy) == "1 error; nothing was sent"
    assert "rows, row 1, column model: found nope" in "".join(traceback.format_exception(copy))


def test_a_traceback_names_the_first_rows_with_problems(place):
    """A flow's log and a notebook show no more of an error than this; the list may be long."""
    with pytest.raises(callsheet.ManifestError) as raised:
        callsheet.run([{**ROW, "model": f"nope-{at}"} for at in range(12)], sandbox=True)
    said = "".join(traceback.format_exception(raised.value)).splitlines()
    assert said[-12] == "callsheet.errors.ManifestError: 12 errors; nothing was sent"
    assert said[-11].startswith("rows, row 1, column model: found nope-0")
    assert said[-1] == "and 2 more: see `problems`"


def test_a_run_against_fal_without_a_cap_or_a_key_is_refused(place, monkeypatch):
    """As on the command line: no key is an AccountError, no cap a UsageError; nothing is asked."""
    plan = callsheet.plan([ROW])
    with pytest.raises(callsheet.AccountError):
        callsheet.run(plan)
    monkeypatch.setenv("FAL_KEY", "a:b")
    monkeypatch.setenv("CALLSHEET_QUEUE_URL", "http://127.0.0.1:9")
    with pytest.raises(UsageError, match="cap"):
        callsheet.run(plan)


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        (True, "has runs on the sandbox, whose clips would count"),
        (False, "has runs against fal; a run on the"),
    ],
    ids=["of the sandbox", "against fal"],
)
def test_a_plan_beside_a_ledger_of_the_other_kind_is_refused(place, monkeypatch, theirs, said):
    """What is left of its caps is other money: the plan would fit, and its run would be refused."""
    monkeypatch.setenv("CALLSHEET_LEDGER_URL", f"sqlite:///{place / 'ledger.sqlite'}")
    plan = callsheet.plan([ROW], budget_usd="1", sandbox=theirs)
    with Ledger.open(settings_from(os.environ).ledger) as ledger:
        chosen = select(ledger, plan.planned, fit=False)
        open_run(ledger, plan.planned, chosen, out=place, options=RunRequest(sandbox=theirs).kept)
    assert callsheet.plan([ROW], budget_usd="1", sandbox=theirs).fits
    with pytest.raises(UsageError, match=f"the ledger .*ledger.sqlite {said}"):
        callsheet.plan([ROW], budget_usd="1", sandbox=not theirs)


def test_what_does_not_fit_is_refused_and_with_fit_left_out(place):
    """OverBudget sends nothing; `fit` buys what fits. A second run of the same rows buys nothing."""
    rows = [{**ROW, "prompt": f"Boat {number}"} for number in range(3)]
    plan = callsheet.plan(rows, budget_usd="0.05")
    assert not plan.fits
    with pytest.raises(callsheet.OverBudget):
        callsheet.run(plan, sandbox=True, speed=200)
    first = callsheet.run(plan, fit=True, sandbox=True, speed=200)
    assert (first.succeeded, first.skipped, first.exit_code) == (2, 1, 0)
    assert len(first.results()) == 3
    again = callsheet.run(callsheet.plan(rows[:2], budget_usd="0.05"), sandbox=True, speed=200)
    assert (again.failed, again.document["statuses"]) == (0, {"already_made": 2})
    assert len({first, again, first}) == 2


@pytest.mark.parametrize(
    ("where", "jobs"),
    [({"paid": True}, 1), ({"length": 2.0}, 2), ({"note": None}, 1), ({"paid": False, "length": 2}, 1)],
    ids=str,
)
def test_where_takes_the_values_of_the_rows_themselves(place, where, jobs):
    """True and 2.0 are "true" and "2" in the cells, and None is an empty one: no row was found."""
    rows = [{**ROW, "seed": at, "paid": not at, "length": 2.0, "note": at or None} for at in range(2)]
    plan = callsheet.plan(rows, where=where, sandbox=True)
    assert plan.jobs == jobs
    assert callsheet.run(plan, sandbox=True, speed=200).succeeded == jobs


def test_a_run_keeps_which_rows_were_asked_for_however_it_was_planned(place):
    """By `run` itself, awaited, or before by `plan`: its options say which rows it took."""
    asked = {"first": 2, "where": {"resolution": "480p"}, "sample": 1}
    rows, here = [{**ROW, "prompt": f"Boat {number}"} for number in range(3)], {"sandbox": True, "speed": 200}
    made = callsheet.plan(rows, budget_usd="1", sandbox=True, **asked)
    summaries = [
        callsheet.run(rows, budget_usd="1", **here, **asked),
        asyncio.run(callsheet.run_async(rows, budget_usd="1", **here, **asked)),
        callsheet.run(made, **here),
    ]
    with Ledger.open(settings_from(os.environ, sandbox=True).ledger) as ledger:
        kept = [RunRequest.of(ledger.do(queries.run, each.run_id)) for each in summaries]
    rows_asked = (2, ("resolution=480p",), 1)
    assert [(each.first, each.where, each.sample) for each in kept] == [rows_asked] * 3
    assert [each.document["jobs"] for each in summaries] == [1, 1, 1]


def test_the_folder_for_runs_may_be_in_the_home_folder(place, monkeypatch):
    """`~` is it as in the other settings; a folder of that name was made in the working directory."""
    monkeypatch.setenv("HOME", str(place / "home"))
    run = callsheet.run([ROW], out="~/runs", sandbox=True, speed=200)
    assert run.dir.parent == place / "home" / "runs"
    assert not (place / "~").exists()


def test_an_unfinished_run_of_rows_in_memory_goes_on_first(place):
    """It is found by the campaign's name, whatever characters that has."""

    async def broken(ctx, row):
        raise ValueError("broken")

    left = callsheet.run([ROW], campaign="next?", sandbox=True, speed=200, render=broken)
    assert (left.succeeded, left.document["statuses"]) == (0, {"pending": 1})
    then = callsheet.run([{**ROW, "seed": 2}], campaign="next?", sandbox=True, speed=200)
    assert then.document["taken_up"] == {left.run_id: 0}


@pytest.mark.prefect
def test_the_flow_is_a_subflow_of_another_flow(place, prefect_data):
    """A flow of one's own calls run_campaign and gets its summary. Ctrl-C is for it again afterwards."""
    code = """if True:
        import asyncio, json, signal, sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])
        from own_flow import nightly_shots
        async def main():
            before = signal.getsignal(signal.SIGINT)
            summary = await nightly_shots(Path.cwd())
            return summary | {"interruptible": signal.getsignal(signal.SIGINT) is before}
        print(json.dumps(asyncio.run(main())))
    """
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / "examples" / "python")],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={
            **os.environ,
            "PREFECT_HOME": str(prefect_data(place) / "prefect"),
            "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "60",
        },
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert (summary["succeeded"], summary["failed"], summary["interruptible"]) == (2, 0, True)
    assert Path(summary["dir"]).parent == place / "runs"


def test_a_plan_does_not_show_its_source():
    """The address of a manifest may be signed; a notebook prints a plan."""
    address = "https://h/m.csv?X-Amz-Signature=S"
    made = callsheet.Plan(address, "night", 1, Decimal(1), Decimal(1), fits=True)
    assert "Signature" not in repr(made)
    assert made.source == address


def test_kept_drafts_are_finished(place):
    """`finish` buys what is kept of a run's drafts within a budget; both bills are in its results."""
    draft = {"prompt": "A boat", "model": "seedance-2.5", "aspect_ratio": "16:9", "duration": "4"}
    rows = [{**draft, "custom_id": name, "draft": "true"} for name in ("a", "b")]
    made = callsheet.run(callsheet.plan(rows, budget_usd="3", sandbox=True), sandbox=True, speed=100)
    with pytest.raises(callsheet.OverBudget):
        callsheet.finish(made.run_id, keep=["b"], sandbox=True)
    with pytest.raises(UsageError, match="keep names nothing"):
        callsheet.finish(made.run_id, keep=[], sandbox=True)
    with pytest.raises(UsageError, match="budget_usd"):
        callsheet.finish(made.run_id, keep=["b"], budget_usd="much", sandbox=True)
    done = callsheet.finish(made.run_id, keep=["b"], budget_usd="7", sandbox=True)
    assert (done.exit_code, done.succeeded) == (0, 2)
    results = done.results().set_index("custom_id")
    assert list(results["finish_usd"]) == [None, Decimal("4.59862353")]
    assert results["draft_usd"].sum() == Decimal("1.661924")
