"""`callsheet runs`, `status --watch` and the figures for Prometheus: what a ledger says of all its runs."""

import json
import os

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from callsheet.cli.commands.overview import COLUMNS, COUNTED
from callsheet.cli.metrics import LedgerCollector
from callsheet.ledger import Ledger, NewRun, State, admission, parts, queries, runs, transitions
from tests.integration.cli.conftest import new_job


@pytest.fixture
def book(shots, monkeypatch):
    """A ledger with two runs: one job of the first is unknown since five minutes, the second is finished."""
    url = f"sqlite:///{shots.parent / 'ledger.sqlite'}"
    monkeypatch.setenv("CALLSHEET_LEDGER_URL", url)
    with Ledger.open(url) as ledger:
        for name in ("spring-1", "autumn-1"):
            run = NewRun(run_id=name, campaign=name[:-2], plan_hash="h", price_book="p", out=f"runs/{name}")
            ledger.do(runs.open_run, run, [new_job(number) for number in range(3)])
        job_id = ledger.do(queries.jobs, "spring-1")[0].job_id
        ledger.do(admission.set_cap, "ledger", "", "total", 5_000_000_000)
        ledger.do(admission.admit, job_id, slots=10)
        ledger.do(transitions.send, job_id, arguments_sha256="x")
        ledger.do(transitions.lose, job_id, why="reset")
        ledger.do(runs.close_run, "autumn-1")
        yield ledger


def test_runs_are_listed_with_who_works_on_them(book, call):
    """Newest first; a run that a living process has claimed is running, and says whose it is."""
    told = json.loads(call("runs", "--json")[1])["runs"]
    assert {each["run_id"]: each["state"] for each in told} == {"autumn-1": "finished", "spring-1": "idle"}
    with book.claim("spring-1"):
        (mine,) = json.loads(call("runs", "--campaign", "spring", "--json")[1])["runs"]
        table = call("runs")[1]
    assert (mine["state"], mine["owner"]["pid"], mine["statuses"]["unknown"]) == ("running", os.getpid(), 1)
    assert (mine["held_usd"], mine["spent_usd"], mine["jobs"]) == ("0.10", "0.00", 3)
    assert f":{os.getpid()}" in table
    assert len(table.splitlines()) == 3
    assert len(json.loads(call("runs", "--limit", "1", "--json")[1])["runs"]) == 1


def test_a_run_whose_process_is_being_started_says_so(book, call):
    """A reservation has no host and no number, and is not shown as one."""
    book.do(parts.reserve, "spring-1", "0-9", for_ms=600_000)
    table = call("runs", "--campaign", "spring")[1]
    (mine,) = json.loads(call("runs", "--campaign", "spring", "--json")[1])["runs"]
    assert ("being started" in table, ":0" in table, mine["owner"]) == (True, False, None)


def test_the_columns_add_up_to_the_jobs():
    """Every state is counted in exactly one column."""
    assert sorted(state for states in COUNTED for state in states) == sorted(State)
    assert len(COUNTED) == COLUMNS.index("spent") - COLUMNS.index("done")


def test_no_runs_are_no_error(call, shots):
    """An empty ledger, and a campaign without runs, say so."""
    assert call("runs")[:2] == (0, "no runs so far; those of the sandbox are listed with --sandbox\n")
    assert call("runs", "--campaign", "winter")[:2] == (
        0,
        "no runs of winter; those of the sandbox are listed with --sandbox\n",
    )
    assert call("runs", "--limit", "0")[0] == 2


def test_with_one_ledger_for_both_no_other_is_named(call, monkeypatch, tmp_path):
    """`--sandbox` would look into the same one."""
    monkeypatch.setenv("CALLSHEET_LEDGER_URL", f"sqlite:///{tmp_path}/one.sqlite")
    assert call("runs")[:2] == (0, "no runs so far\n")
    assert call("stats")[:2] == (0, "no clip was made yet\n")


def test_watching_ends_with_the_run(book, call):
    """A run that has ended is shown once, with the line that every run ends with."""
    code, out, err = call("status", "autumn-1", "--watch")
    assert code == 0
    assert "0/3 done" in err
    assert out.startswith("autumn-1")


def figures(ledger_url: str) -> dict[str, float]:
    """What a scrape brings, by name and labels."""
    registry = CollectorRegistry()
    registry.register(LedgerCollector(ledger_url))
    lines = generate_latest(registry).decode().splitlines()
    return {
        name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")
    }


def test_the_ledgers_figures_are_those_of_its_accounts(book, monkeypatch):
    """Slots, states, money, caps, unknowns and runs that nobody works on, by SQL at each scrape."""
    url = os.environ["CALLSHEET_LEDGER_URL"]
    seen = figures(url)
    assert seen["callsheet_up"] == 1
    assert seen["callsheet_slots_taken"] == seen["callsheet_unknown_submissions"] == 1
    assert seen["callsheet_runs_unfinished"] == seen["callsheet_runs_unowned"] == 1
    assert seen['callsheet_jobs{campaign="spring",state="pending"}'] == 2
    money = '{key="",scope="ledger",window="total"}'
    assert [seen[f"callsheet_{name}_usd{money}"] for name in ("held", "spent", "limit")] == [0.1, 0, 5]
    assert not any('scope="run"' in name for name in seen)
    with book.claim("spring-1"):
        assert figures(url)["callsheet_runs_unowned"] == 0
    assert figures("sqlite:////proc/none/ledger.sqlite")["callsheet_up"] == 0
