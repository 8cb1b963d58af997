"""`callsheet budget`: caps that outlive a run, and what was spent under them."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import App, Parameter

from callsheet.cli.options import Json, Sandbox, option, run_settings
from callsheet.cli.output import document, result, say, show_line, show_table
from callsheet.cli.views.money import (
    ACCOUNT_COLUMNS,
    AMOUNTS,
    FORMS,
    account_cells,
    account_line,
    current_accounts,
    overrun_cells,
    overrun_lines,
    parse_scope,
)
from callsheet.errors import UsageError
from callsheet.ledger import AccountRef, Ledger, admission, history, queries, wall_clock_ms
from callsheet.ledger.accounts import window_at
from pricing.budgets import Scope
from pricing.catalog import load_catalog
from pricing.money import parse_usd

Name = Annotated[str, Parameter(help=f"What to cap: {FORMS}")]
Amount = Annotated[str, Parameter(help="Dollars; 0 stops all spending, `none` removes the cap")]
Per = Annotated[
    Literal["total", "day", "month"],
    option("BUDGET_PER", "The period of the cap (UTC); day and month are for campaigns"),
]
Runs = Annotated[bool, option("BUDGET_RUNS", "Also show the account of each run")]

app = App(name="budget")


@app.default
def budget(*, runs: Runs = False, sandbox: Sandbox = False, json: Json = False) -> int:
    """Show every cap and account: cap, spent, held, free, frozen.

    Example: callsheet budget list
    """
    return show(runs=runs, sandbox=sandbox, json=json)


@app.command(name="list")
def show(*, runs: Runs = False, sandbox: Sandbox = False, json: Json = False) -> int:
    """Show every cap and account: cap, spent, held, free, frozen.

    Daily and monthly caps show the current day and month (UTC).

    Example: callsheet budget list --json
    """
    with Ledger.open(run_settings(sandbox=sandbox).ledger) as ledger:
        accounts = current_accounts(ledger, wall_clock_ms(), runs=runs)
        frozen = any(account.frozen for account in accounts)
        overruns = ledger.do(history.overruns) if frozen else []
    cells = [account_cells(account) for account in accounts]
    if json:
        document({"accounts": cells, "overruns": [overrun_cells(each) for each in overruns]})
        return 0
    if not cells:
        result("no caps, and nothing spent. `callsheet budget set ledger 100` caps all spending")
        return 0
    shown = [{**each, "frozen": "FROZEN" if each["frozen"] else ""} for each in cells]
    show_table(ACCOUNT_COLUMNS, [[each[name] for name in ACCOUNT_COLUMNS] for each in shown], right=AMOUNTS)
    for line in overrun_lines(overruns):
        result(f"billed above its hold: {line}")
    if frozen:
        say("Nothing is bought from frozen accounts. Check the bills, then run `callsheet budget unfreeze`.")
    return 0


@app.command(name="set")
def set_cap(
    scope: Name, usd: Amount, *, per: Per = "total", sandbox: Sandbox = False, json: Json = False
) -> int:
    """Set a cap that outlives runs.

    It takes effect at once, for every process that uses the ledger. Running a
    campaign file that has the same cap replaces it.

    Example: callsheet budget set campaign:spring-launch 40 --per day
    """
    kind, name = parse_scope(scope)
    limit_nano = _limit(usd)
    if kind == "model":
        _check_model(name)
    with Ledger.open(run_settings(sandbox=sandbox).ledger) as ledger:
        if kind == "run":
            ledger.do(queries.run, name)
        ledger.do(admission.set_cap, kind, name, per, limit_nano)
        ref = AccountRef(kind, name, window_at(per, wall_clock_ms()))
        account = ledger.do(admission.headroom, [ref])[ref]
        known = {each.ref.key for each in ledger.do(admission.balances, scope=kind)}
    if json:
        document({"account": account_cells(account)})
    else:
        result(account_line(account))
    _warn_about_typos(kind, name, known)
    return 0


@app.command
def unfreeze(*, sandbox: Sandbox = False, json: Json = False) -> int:
    """Unfreeze the accounts that a bill above its hold has frozen.

    Example: callsheet budget unfreeze
    """
    with Ledger.open(run_settings(sandbox=sandbox).ledger) as ledger:
        overruns = ledger.do(history.overruns)
        count = ledger.do(admission.unfreeze)
    if json:
        document({"unfrozen": count, "overruns": [overrun_cells(each) for each in overruns] if count else []})
        return 0
    if not count:
        result("nothing is frozen")
        return 0
    for line in overrun_lines(overruns):
        result(line)
    show_line(f"{count} accounts unfrozen. The bills above stay booked in full.")
    return 0


def _limit(usd: str) -> int | None:
    text = usd.strip().lower()
    if text == "none":
        return None
    if text in {"0", "0.0", "0.00"}:
        return 0
    try:
        return parse_usd(text)
    except ValueError as error:
        raise UsageError(f"{error}; `none` removes the cap") from error


def _check_model(name: str) -> None:
    models = load_catalog().models
    if name not in models:
        raise UsageError(f"unknown model {name[:80]!r}; known models: {', '.join(models)}")


def _warn_about_typos(kind: Scope, name: str, known: set[str]) -> None:
    if name in known or kind in {"ledger", "run", "model"}:
        return
    others = ", ".join(sorted(known)[:5])
    say(
        f"note: {kind.replace('_', '-')}:{name} has no spending yet"
        + (f"; the ledger has {others}" if others else "")
    )
