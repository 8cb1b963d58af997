"""The documents that `--json` prints, of every command that ends."""

import json

import pytest

from callsheet.engine.rollback_guard import remember
from callsheet.ledger import Ledger, NewRun, admission, queries, runs, settlement, transitions
from callsheet.ticket import Ticket
from tests.integration.cli.conftest import new_job


@pytest.fixture
def book(shots, monkeypatch):
    """A ledger with a run of three waiting jobs."""
    url = f"sqlite:///{shots.parent / 'ledger.sqlite'}"
    monkeypatch.setenv("CALLSHEET_LEDGER_URL", url)
    monkeypatch.setenv("FAL_KEY", "id:secret")
    monkeypatch.setenv("CALLSHEET_QUEUE_URL", "http://127.0.0.1:9")
    with Ledger.open(url) as ledger:
        run = NewRun(run_id="spring-1", campaign="spring", plan_hash="h", price_book="p", out="runs/spring-1")
        ledger.do(runs.open_run, run, [new_job(number) for number in range(3)])
        yield ledger


def test_cancel_tells_what_was_cancelled_and_what_fal_said(book, call):
    """One job is at fal, which does not answer; the two others were not submitted."""
    job_id = book.do(queries.jobs, "spring-1")[0].job_id
    book.do(admission.admit, job_id, slots=10)
    book.do(transitions.send, job_id, arguments_sha256="x")
    book.do(transitions.accept, job_id, Ticket("request-1", "e", "s", "r", "c"))
    code, out, err = call("cancel", "spring-1", "--json")
    told = json.loads(out)
    assert (code, told["run_id"], told["cancelled"]) == (0, "spring-1", 2)
    (asked,) = told["at_fal"]
    assert (asked["custom_id"], asked["request_id"]) == ("shot-0", "request-1")
    assert f"shot-0 (row 2): {asked['answer']}" in err


def test_retry_with_nothing_to_try_names_what_it_leaves(book, call):
    """A failed job that is not worth another purchase is in the document with the advice."""
    for row in book.do(queries.jobs, "spring-1"):
        book.do(admission.admit, row.job_id, slots=10)
        book.do(transitions.send, row.job_id, arguments_sha256="x")
        book.do(
            settlement.refuse, row.job_id, error_type="content_policy_violation", error="no", charged="no"
        )
    book.do(runs.close_run, "spring-1")
    code, out, _ = call("retry", "spring-1", "--json")
    told = json.loads(out)
    assert (code, told["run_id"], told["retried"]) == (4, "spring-1", 0)
    assert [each["custom_id"] for each in told["not_tried"]] == ["shot-0", "shot-1", "shot-2"]
    assert all(each["advice"] for each in told["not_tried"])


def test_caps_are_documents(book, call):
    """`budget set` shows the account as `budget list` does; `unfreeze` counts."""
    account = json.loads(call("budget", "set", "campaign:spring", "5", "--json")[1])["account"]
    assert account in json.loads(call("budget", "list", "--json")[1])["accounts"]
    assert json.loads(call("budget", "unfreeze", "--json")[1]) == {"unfrozen": 0, "overruns": []}


def test_copies_of_the_ledger_are_documents(book, call, shots):
    """`backup` names the copy, `accept` what the ledger once had."""
    told = json.loads(call("ledger", "backup", "copy.sqlite", "--json")[1])
    assert told["file"] == "copy.sqlite"
    assert shots.with_name("copy.sqlite").exists()
    shots.with_name("runs").mkdir()
    assert json.loads(call("ledger", "accept", "runs", "--json")[1]) == {"entries": 0, "was": None}
    remember(book, shots.with_name("runs"), "spring-1")
    assert json.loads(call("ledger", "accept", "runs", "--json")[1]) == {"entries": 0, "was": None}


def test_init_is_a_document(call, tmp_path):
    """It names what it wrote, and the command that comes next can be copied."""
    folder = tmp_path / "my spring"
    told = json.loads(call("init", str(folder), "--json")[1])
    assert told["campaign"] == str(folder / "campaign.toml")
    assert told["next"] == f"callsheet plan '{folder / 'campaign.toml'}'"


def test_the_variable_asks_for_a_document_as_the_option_does(call, monkeypatch):
    """Also where the command itself could not be read."""
    monkeypatch.setenv("CALLSHEET_JSON", "true")
    code, out, _ = call("plan", "nowhere.csv")
    assert (code, json.loads(out)["exit_code"]) == (2, 2)


def test_a_refused_manifest_is_a_document_with_its_mistakes(call, shots):
    """`run` says of each row what is wrong, beside what it says of every other error."""
    shots.write_text("prompt,model,duration\nA boat,seedance-1.0-lite,99\n")
    code, out, _ = call("run", "shots.csv", "--sandbox", "--yes", "--json")
    told = json.loads(out)
    assert (code, told["exit_code"], [each["row"] for each in told["errors"]]) == (2, 2, [2])
    assert told["error"]
