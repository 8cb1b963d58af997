"""`callsheet budget`: caps that outlive a run, and what has been spent under them."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import App, Parameter

from callsheet.cli.accounts import (
    AMOUNTS,
    COLUMNS,
    account_cells,
    accounts_of_now,
    in_words,
    overrun_cells,
    overruns_in_words,
)
from callsheet.cli.console import document, result, say
from callsheet.cli.options import Json, Sandbox
from callsheet.cli.runs import run_settings
from callsheet.cli.scope_names import FORMS, parse_scope
from callsheet.cli.tables import show_table
from callsheet.errors import UsageError
from callsheet.ledger import AccountRef, Ledger, admission, history, queries, wall_clock_ms
from callsheet.ledger.scopes import Scope, window_at
from pricing.catalog import load_catalog
from pricing.money import parse_usd

NAME = Annotated[str, Parameter(help=f"What the cap is on: {FORMS}")]
Amount = Annotated[str, Parameter(help="Dollars; 0 lets nothing more in, `none` lifts the cap")]
Per = Annotated[
    Literal["total", "day", "month"],
    Parameter(
        name="--per", env_var="CALLSHEET_BUDGET_PER", help="Counted over (campaigns: also day, month; UTC)"
    ),
]
Runs = Annotated[
    bool,
    Parameter(name="--runs", negative="", env_var="CALLSHEET_BUDGET_RUNS", help="Show each run's own too"),
]

app = App(name="budget")


@app.default
def budget(*, runs: Runs = False, sandbox: Sandbox = False, json: Json = False) -> int:
    """Show every cap and account: cap, spent, held, free, and what is frozen.

    Example: callsheet budget list
    """
    return show(runs=runs, sandbox=sandbox, json=json)


@app.command(name="list")
def show(*, runs: Runs = False, sandbox: Sandbox = False, json: Json = False) -> int:
    """Show every cap and account: cap, spent, held, free, and what is frozen.

    Days and months are those of now, in UTC.

    Example: callsheet budget list --json
    """
    with Ledger.open(run_settings(sandbox=sandbox).ledger) as ledger:
        accounts = accounts_of_now(ledger, wall_clock_ms(), runs=runs)
        frozen = any(account.frozen for account in accounts)
        overruns = ledger.do(history.overruns) if frozen else []
    cells = [account_cells(account) for account in accounts]
    if json:
        document({"accounts": cells, "overruns": [overrun_cells(each) for each in overruns]})
        return 0
    if not cells:
        result("no caps and nothing spent; `callsheet budget set ledger 100` sets a cap over everything")
        return 0
    shown = [{**each, "frozen": "FROZEN" if each["frozen"] else ""} for each in cells]
    show_table(COLUMNS, [[each[name] for name in COLUMNS] for each in shown], right=AMOUNTS)
    for line in overruns_in_words(overruns):
        result(f"billed above its hold: {line}")
    if frozen:
        say("Frozen accounts let nothing in. When the bill is understood: `callsheet budget unfreeze`")
    return 0


@app.command(name="set")
def set_cap(
    scope: NAME, usd: Amount, *, per: Per = "total", sandbox: Sandbox = False, json: Json = False
) -> int:
    """Set a cap that outlives runs; it holds at once, for every process that shares the ledger.

    A campaign file that names the same cap sets it anew when it is run.

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
        result(in_words(account))
    _hint_at_typos(kind, name, known)
    return 0


@app.command
def unfreeze(*, sandbox: Sandbox = False, json: Json = False) -> int:
    """Let accounts that were frozen by a bill above its hold admit again.

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
    for line in overruns_in_words(overruns):
        result(line)
    result(f"{count} accounts let jobs in again, within their caps; the bills above stay booked in full")
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
        raise UsageError(f"{error}; `none` lifts the cap") from error


def _check_model(name: str) -> None:
    models = load_catalog().models
    if name not in models:
        raise UsageError(f"there is no model {name[:80]!r}; there are {', '.join(models)}")


def _hint_at_typos(kind: Scope, name: str, known: set[str]) -> None:
    if name in known or kind in {"ledger", "run", "model"}:
        return
    others = ", ".join(sorted(known)[:5])
    say(
        f"note: nothing has counted in {kind.replace('_', '-')}:{name} yet"
        + (f"; the ledger knows {others}" if others else "")
    )
