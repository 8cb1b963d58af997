"""`callsheet budget` and `callsheet ledger` over a real ledger, in this process."""

import csv
import errno
import io
import json
import os
import sqlite3
import stat
from contextlib import closing

import pytest

from callsheet.cli.views import bill_statement
from callsheet.ledger import (
    Ledger,
    NewRun,
    Settlement,
    admission,
    history,
    queries,
    runs,
    settlement,
    transitions,
    verify,
)
from callsheet.ticket import Ticket
from tests.integration.cli.conftest import new_job

NOON_MS = 1_795_262_400_000
"""2026-11-21 12:00:00 UTC."""
INJECTION = "x' OR '1'='1"


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A ledger with one settled and one held clip of each of two clients, one of them with a hostile name."""
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    monkeypatch.setenv("CALLSHEET_LEDGER_URL", url)
    with Ledger.open(url, clock=lambda: NOON_MS) as ledger:
        run = NewRun(run_id="spring-1", campaign="spring", plan_hash="h", price_book="p", out=str(tmp_path))
        ledger.do(
            runs.open_run,
            run,
            [new_job(number, "=cmd|calc" if number % 2 else "acme") for number in range(4)],
        )
        for row in ledger.do(queries.jobs, "spring-1"):
            ledger.do(admission.admit, row.job_id, slots=10)
            if row.position < 2:
                ledger.do(transitions.send, row.job_id, arguments_sha256="x")
                ledger.do(
                    transitions.accept, row.job_id, Ticket(f"request-{row.position}", "e", "s", "r", "c")
                )
                ledger.do(transitions.render, row.job_id)
                ledger.do(
                    settlement.settle,
                    row.job_id,
                    Settlement(cost_nano=90_000_001, cost_basis="billable_units", result_json="{}"),
                )
    return tmp_path / "ledger.sqlite"


def test_a_statement_gives_exact_amounts(book, call):
    """Sums stand to the nano-dollar, each submission with money is counted, and the total is under them."""
    code, out, _ = call("ledger", "statement", "--by", "client", "--by", "day")
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["client", "day", "submissions", "spent_usd", "held_usd"]
    assert ["acme", "2026-11-21", "2", "0.090000001", "0.10"] in lines
    assert lines[-1] == ["total", "4", "0.180000002", "0.20"]


def test_status_says_what_a_rendered_job_waits_for(book, call):
    """In words of the last try, or of the step that comes next; as JSON too."""
    with Ledger.open(os.environ["CALLSHEET_LEDGER_URL"]) as ledger:
        ledger.do(
            transitions.note_waiting,
            1,
            why="the host answered 503; asked for again until 2026-11-28T12:00:00Z",
        )
    code, out, _ = call("status", "spring-1")
    assert code == 0
    assert (
        "waiting for shot-0 (row 2), request request-0: the host answered 503; asked for again until" in out
    )
    assert "waiting for shot-1 (row 3), request request-1: paid for, not downloaded yet" in out
    assert "if no process is working on it, `callsheet resume spring-1` downloads what is available" in out
    waits = json.loads(call("status", "spring-1", "--json")[1])["waits_for"]
    assert [each["request_id"] for each in waits] == ["request-0", "request-1"]


def test_csv_for_a_spreadsheet_has_no_formulas(book, call):
    """A client that is called like a formula comes as text; amounts below 0 stay numbers."""
    _, out, _ = call("ledger", "entries", "--csv")
    rows = list(csv.DictReader(io.StringIO(out, newline="")))
    assert {row["client"] for row in rows} == {"acme", "'=cmd|calc"}
    assert "-0.10" in {row["amount_usd"] for row in rows}
    assert [int(row["entry"]) for row in rows] == list(range(1, 9))


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ((), 8),
        (("--run", "spring-1"), 8),
        (("--campaign", "spring", "--client", "acme"), 4),
        (("--model", "seedance-1.0-lite"), 0),
        (("--since", "2026-11-21", "--until", "2026-11-21"), 8),
        (("--since", "2026-11-22"), 0),
        (("--until", "2026-11-20"), 0),
        (("--client", INJECTION), 0),
        (("--campaign", "spring'; DROP TABLE entry; --"), 0),
    ],
)
def test_entries_are_those_that_were_asked_for(book, call, options, count):
    """Each filter narrows the book, and a filter is never read as SQL."""
    code, out, _ = call("ledger", "entries", "--json", *options)
    assert code == 0
    assert len(json.loads(out)["entries"]) == count


def test_caps_are_set_shown_and_lifted(book, call):
    """A cap holds at once over what was spent before it; `none` takes it away."""
    assert call("budget", "set", "campaign:spring", "0.5", "--per", "day")[0] == 0
    assert call("budget", "set", "ledger", "0.3")[0] == 0
    listed = json.loads(call("budget", "--json")[1])["accounts"]
    whole = next(each for each in listed if each["scope"] == "ledger")
    assert (whole["cap_usd"], whole["spent_usd"], whole["held_usd"]) == ("0.30", "0.180000002", "0.20")
    assert (whole["free_usd"], whole["frozen"]) == ("0.00", False)
    assert call("budget", "set", "ledger", "none")[0] == 0
    listed = json.loads(call("budget", "list", "--json")[1])["accounts"]
    assert next(each for each in listed if each["scope"] == "ledger")["cap_usd"] is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("budget", "set", "ledger", "NaN"), "not an amount"),
        (("budget", "set", "ledger", "1e5000000"), "not an amount"),
        (("budget", "set", "ledger", "9" * 5000), "not an amount"),
        (("budget", "set", "ledger", "-5"), "amount"),
        (("budget", "set", "client:acme", "5", "--per", "day"), "counts per total, not per day"),
        (("budget", "set", "model:seedance-9", "5"), "known models: seedance-1.0-lite"),
        (("budget", "set", "run:nothing", "5"), "the nearest is 'spring-1'"),
        (("ledger", "entries", "--since", "yesterday"), "--since is 'yesterday'"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_would(book, call, arguments, said):
    """Bad input ends with 2 and a sentence that names what is allowed; no cap is changed."""
    try:
        code, _, err = call(*arguments)
    except SystemExit as ended:
        code, err = ended.code, "amount"
    assert code != 0
    assert said in err
    with Ledger.open(os.environ["CALLSHEET_LEDGER_URL"]) as ledger:
        assert ledger.do(admission.caps) == []


def test_a_name_that_nothing_counts_in_yet_earns_a_hint(book, call):
    """A cap on a misspelt client is set, and the ledger's own names are shown."""
    _, _, err = call("budget", "set", "client:acne", "5")
    assert "client:acne has no spending yet; the ledger has =cmd|calc, acme" in err


def test_a_backup_is_whole_private_and_never_written_over(book, call, tmp_path):
    """The copy verifies as a ledger of its own, only its owner can read it, and a second one is refused."""
    copy = tmp_path / "copy.sqlite"
    assert call("ledger", "backup", str(copy))[0] == 0
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    with Ledger.open(f"sqlite:///{copy}") as ledger:
        assert ledger.do(verify.verify) == []
        assert len(list(ledger.stream(history.entries))) == 8
    code, _, err = call("ledger", "backup", str(copy))
    assert (code, "exists already" in err) == (2, True)


def test_verify_names_what_is_wrong_and_ends_with_1(book, call):
    """A balance that its entries do not add up to is a finding, in words, on standard output."""
    assert call("ledger", "verify")[0] == 0
    with closing(sqlite3.connect(book)) as file, file:
        file.execute("UPDATE account SET spent_nano = 1 WHERE scope = 'ledger'")
    code, out, err = call("ledger", "verify")
    assert code == 1
    assert "I2: the account ledger" in out
    assert "docs/operations.md" in err


def test_a_statement_lists_every_clip_and_its_bill(book, call, tmp_path):
    """As CSV, JSON and FOCUS: the same bills, exact in USD, the charges adding up to what is to be paid."""
    terms = ("--markup", "15%", "--currency", "EUR", "--rate", "0.92")
    code, out, _ = call("ledger", "statement", "--month", "2026-11", "--format", "csv", *terms)
    rows = list(csv.DictReader(io.StringIO(out, newline="")))
    assert code == 0
    assert [row["custom_id"] for row in rows] == ["shot-1", "shot-0"]
    assert {row["client"] for row in rows} == {"acme", "'=cmd|calc"}
    assert {row["cost_usd"] for row in rows} == {"0.090000001"}
    assert sorted(row["charge"] for row in rows) == ["0.10", "0.10"]  # 0.1904... is 0.20 rounded up
    target = tmp_path / "statement.json"
    assert call("ledger", "statement", "--format", "json", "--out", str(target), *terms)[:2] == (
        0,
        f"{target}\n",
    )
    told = json.loads(target.read_text())
    assert (told["total"]["spent_usd"], told["total"]["charge"]) == ("0.180000002", "0.20")
    assert told["terms"] == {"markup": "15%", "currency": "EUR", "rate": "0.92"}
    assert [each["request_id"] for each in told["bills"]] == ["request-1", "request-0"]
    _, out, _ = call("ledger", "statement", "--format", "focus", "--client", "acme", *terms)
    (focus,) = csv.DictReader(io.StringIO(out, newline=""))
    assert {name: focus[name] for name in ("BilledCost", "ListCost", "BillingCurrency")} == {
        "BilledCost": "0.090000001",
        "ListCost": "0.090000001",
        "BillingCurrency": "USD",
    }
    assert (focus["BillingPeriodStart"], focus["BillingPeriodEnd"]) == (
        "2026-11-01T00:00:00Z",
        "2026-12-01T00:00:00Z",
    )
    assert (focus["ChargePeriodStart"], focus["ChargePeriodEnd"]) == (
        "2026-11-21T00:00:00Z",
        "2026-11-22T00:00:00Z",
    )
    assert json.loads(focus["Tags"])["campaign"] == "spring"
    assert (focus["x_ChargedCost"], focus["x_ChargedCurrency"]) == ("0.10", "EUR")
    assert set(MANDATORY_IN_FOCUS) <= focus.keys()
    assert [name for name in NEVER_EMPTY_IN_FOCUS if not focus[name]] == []
    assert call("ledger", "--markup", "15%", "--json")[0] == 0


NEVER_EMPTY_IN_FOCUS = (
    *("BilledCost", "BillingAccountId", "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart"),
    *("ChargeCategory", "ChargePeriodEnd", "ChargePeriodStart", "ContractedCost", "EffectiveCost"),
    *("InvoiceIssuerName", "ListCost", "ProviderName", "PublisherName", "ServiceCategory", "ServiceName"),
)
MANDATORY_IN_FOCUS = (
    *NEVER_EMPTY_IN_FOCUS,
    *("BillingAccountName", "ChargeClass", "ChargeDescription", "PricingQuantity", "PricingUnit"),
)
"""Of FOCUS 1.2: its columns of the feature level "mandatory", and those of them that allow no nulls."""


def test_a_statement_is_a_page_that_holds_no_markup_of_a_clip(book, call, tmp_path):
    """Names are shown as text; the page has no script and asks for nothing."""
    with closing(sqlite3.connect(book)) as database, database:
        database.execute(
            "UPDATE job SET custom_id = '<img src=x onerror=alert(1)>' WHERE custom_id = 'shot-0'"
        )
    target = tmp_path / "statement.html"
    assert call("ledger", "statement", "--format", "html", "--out", str(target))[0] == 0
    page = target.read_text()
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "<img" not in page
    assert "<script" not in page
    assert "default-src 'none'" in page
    assert page.count("0.090000001") == 6  # two bills, their two groups, and the two clients' table
    assert "0.180000002" in page
    assert "0.20 USD more are reserved" in page


def test_a_statement_for_a_spreadsheet_opens_with_its_letters(book, call, tmp_path):
    """A CSV file with more than ASCII says that it is UTF-8; ASCII, FOCUS and what is printed do not."""
    target = tmp_path / "statement.csv"
    statement = ("ledger", "statement", "--format")
    assert call(*statement, "csv", "--out", str(target))[0] == 0
    plain = target.read_bytes()
    assert plain.startswith(b'"')
    with closing(sqlite3.connect(book)) as database, database:
        database.execute("UPDATE job SET custom_id = '茶器' WHERE custom_id = 'shot-0'")
    assert call(*statement, "csv", "--out", str(target))[0] == 0
    assert target.read_bytes() == b"\xef\xbb\xbf" + plain.replace(b"shot-0", "茶器".encode())
    assert call(*statement, "csv")[1] == target.read_text("utf-8-sig").replace("\n", "\r\n")
    assert call(*statement, "focus", "--out", str(target))[0] == 0
    assert target.read_bytes().startswith(b'"')


def test_a_statement_that_does_not_fit_its_disk_names_its_folder(book, call, tmp_path, monkeypatch):
    """The disk that is full is not that of the output or of temporary files."""

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(bill_statement, "atomically", full)
    target = tmp_path / "statement.csv"
    code, _, err = call("ledger", "statement", "--format", "csv", "--out", str(target))
    assert code == 1
    assert f"no room is left in {tmp_path}; make room or name another file" in err


def test_a_statement_replaces_a_statement_and_no_other_file(book, call, tmp_path):
    """A mistyped --out costs no manifest and no ledger; an earlier statement of any format is replaced."""
    target = tmp_path / "statement"
    for form in ("csv", "focus", "json", "html", "csv"):
        assert call("ledger", "statement", "--format", form, "--out", str(target))[0] == 0
    for content in (b"client,campaign,prompt\n", b"<!doctype html>\n<p>mine</p>", b"SQLite format 3\0"):
        target.write_bytes(content)
        code, _, err = call("ledger", "statement", "--format", "csv", "--out", str(target))
        assert (code, target.read_bytes()) == (2, content)
        assert f"{target} is not a statement and will not be replaced; name another with --out" in err
    target.write_bytes(b"")
    assert call("ledger", "statement", "--format", "csv", "--out", str(target))[0] == 0
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert call("ledger", "statement", "--format", "csv", "--out", str(pipe))[0] == 2
    assert pipe.is_fifo()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--format", "csv", "--by", "day"), "--by, --csv and --json are for sums"),
        (("--out", "a.csv"), "--out needs --format"),
        (("--month", "2026-13"), "must be a month (UTC) such as 2026-11"),
        (("--month", "2026-11", "--from", "2026-11-01"), "give --month, or --since and --until"),
        (("--since", "2026-11-02", "--until", "2026-11-01"), "2026-11-02 is after --until 2026-11-01"),
        (("--currency", "EUR"), "EUR needs its rate"),
        (("--format", "csv", "--out", "nowhere/a.csv"), "cannot write nowhere/a.csv"),
    ],
)
def test_a_statement_that_cannot_be_meant_is_refused(book, call, options, said):
    """Nothing is printed, and the message says what to give."""
    code, out, err = call("ledger", "statement", *options)
    assert (code, out) == (2, "")
    assert said in err


def test_a_second_freeze_names_its_own_bill_alone(call, book):
    """`budget list` and `budget unfreeze` leave out the bills that a person released before."""
    with Ledger.open(f"sqlite:///{book}", clock=lambda: NOON_MS) as ledger:
        for row in ledger.do(queries.jobs, "spring-1")[2:]:
            ledger.do(transitions.send, row.job_id, arguments_sha256="x")
            ledger.do(transitions.accept, row.job_id, Ticket(f"dear-{row.position}", "e", "s", "r", "c"))
            ledger.do(transitions.render, row.job_id)
            dear = Settlement(cost_nano=130_000_000, cost_basis="billable_units", result_json="{}")
            ledger.do(settlement.settle, row.job_id, dear)
            listed = json.loads(call("budget", "list", "--json")[1])["overruns"]
            released = json.loads(call("budget", "unfreeze", "--json")[1])
            assert [over["request_id"] for over in listed] == [f"dear-{row.position}"]
            assert (released["overruns"], released["unfrozen"] > 0) == (listed, True)
