"""What a run is asked to do, and which of several wishes counts."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from callsheet.cli.main import run_command
from callsheet.engine.request import RunRequest, refuse_mixed_ledger
from callsheet.engine.run_folder import folder_for
from callsheet.errors import UsageError
from callsheet.ledger import Ledger, NewRun, Run
from callsheet.settings import settings_from, sqlite_url
from pricing.money import NANO_PER_USD, parse_threshold, parse_usd

SIGNED = "https://files.test/shots.csv?X-Amz-Signature=s1gned"


@pytest.mark.parametrize(
    ("asked", "environment", "plan", "counts"),
    [(3, None, 4, 3), (3, "5", 4, 3), (None, "5", 4, None), (None, None, 4, 4), (None, None, None, None)],
)
def test_a_plans_concurrency_counts_where_nothing_else_is_said(
    monkeypatch: pytest.MonkeyPatch,
    asked: int | None,
    environment: str | None,
    plan: int | None,
    counts: int | None,
) -> None:
    """The request goes first, then the environment (which the settings read), then the plan."""
    if environment is not None:
        monkeypatch.setenv("CALLSHEET_CONCURRENCY", environment)
    assert RunRequest(concurrency=asked).at_plans_concurrency(plan).concurrency == counts


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("--canary", "0", "use 1 to 1000 price groups"),
        ("--canary", "1001", "use 1 to 1000 price groups"),
        ("--concurrency", "0", "use 1 to 1000 renders"),
        ("--speed", "0.0", "use a number above 0, at most 10000"),
        ("--first", "0", "use a number of rows, 1 or more"),
        ("--sample", "-1", "use a number of rows, 1 or more"),
        ("--header-row", "1001", "use a row from 1 to 1000"),
    ],
)
def test_a_value_that_a_run_does_not_take_is_answered_with_what_it_takes(
    capfd: pytest.CaptureFixture[str], option: str, value: str, allowed: str
) -> None:
    """In plain words, before anything is read."""
    assert run_command(["run", "shots.csv", f"{option}={value}"]) == 2
    assert capfd.readouterr().err == f"callsheet: {option}: found {value}: {allowed}\n"


def test_every_bound_of_a_request_is_said_in_its_refusal() -> None:
    """A number outside of the field's bounds is refused with the bounds."""
    for name, field in RunRequest.model_fields.items():
        for bound in field.metadata:
            for limit, step in (("ge", -1), ("gt", 0), ("le", 1)):
                if (edge := getattr(bound, limit, None)) is not None:
                    with pytest.raises(ValidationError) as refused:
                        RunRequest.model_validate({name: edge + step})
                    assert re.search(rf"\b{edge}\b", refused.value.errors()[0]["msg"]), name


@pytest.mark.parametrize("amount", ["25", "25.", "25.00", ".5", " 5 ", "+5", "0.000000001"])
def test_a_run_takes_every_amount_that_a_plan_takes(amount: str) -> None:
    """`plan` and `run` of the same budget agree."""
    assert parse_usd(RunRequest(budget_usd=amount).budget_usd or "") == parse_usd(amount)


def test_what_a_run_keeps_and_prefect_shows_has_no_signature() -> None:
    """A presigned address is a secret; where a run is opened already nobody reads it again."""
    request = RunRequest(source=SIGNED, accept_prices=True)
    assert request.public == RunRequest(source="https://files.test/shots.csv", accept_prices=True)
    assert "s1gned" not in request.kept
    assert RunRequest(source="shots#1.csv").public.source == "shots#1.csv"


def test_a_password_in_an_address_is_refused_and_not_shown() -> None:
    """The address of results is kept with the run and stands in its report."""
    with pytest.raises(UsageError, match="leave name and password out") as refused:
        folder_for("sftp://me:s1gned@files.test/runs", settings_from({}))
    assert "s1gned" not in str(refused.value)


def test_a_signed_address_is_not_deployed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Prefect shows the parameters of a deployment to everybody."""
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    assert run_command(["deploy", SIGNED]) == 2
    shown = capfd.readouterr().err
    assert "cannot be deployed" in shown
    assert "s1gned" not in shown


def test_a_run_with_a_threshold_above_every_cost_can_be_read() -> None:
    """Earlier versions kept it: `resume`, `retry`, `report` and `plan` go on with such a run."""
    kept = '{"source": "a.csv", "approve_above_usd": "2000000"}'
    run = Run(run_id="a", campaign="a", plan_hash="", price_book="", out="", options=kept, created_ms=0)
    assert RunRequest.of(run) == RunRequest(source="a.csv", run_id="a", approve_above_usd="2000000")
    assert parse_threshold("2000000") == 2_000_000 * NANO_PER_USD


def test_a_run_keeps_where_its_source_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Who is told of a run is read from its campaign file, and not from another one of that name."""
    monkeypatch.chdir(tmp_path)
    assert RunRequest.model_validate_json(RunRequest(source="a.toml").kept).source == str(tmp_path / "a.toml")


@pytest.mark.parametrize("kinds", [(True, False), (False, True), (True,), (False,)])
def test_one_run_of_the_other_kind_is_enough_to_refuse_a_ledger(
    tmp_path: Path, kinds: tuple[bool, ...]
) -> None:
    """Its clips would count as made, however many runs have been opened since."""
    with Ledger.open(sqlite_url(tmp_path / "ledger.sqlite")) as ledger:
        for number, sandbox in enumerate(kinds):
            options = RunRequest(source="a.csv", sandbox=sandbox).kept
            opened = NewRun(
                run_id=f"r{number}", campaign="a", plan_hash="h", price_book="b", out="runs", options=options
            )
            ledger.open_run(opened, [])
        for sandbox in (True, False):
            if kinds == (sandbox,):
                refuse_mixed_ledger(ledger, sandbox=sandbox)
            else:
                with pytest.raises(UsageError, match="CALLSHEET_LEDGER_URL"):
                    refuse_mixed_ledger(ledger, sandbox=sandbox)
