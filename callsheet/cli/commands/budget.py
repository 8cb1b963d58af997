"""`callsheet budget`: caps that outlive a run, and what was spent under them."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, cast

from cyclopts import App, Parameter

from callsheet.cli.options import Json, Sandbox, option, run_settings
from callsheet.cli.output import document, result, say, show_line, show_table
from callsheet.errors import UsageError
from callsheet.ledger import Account, AccountRef, Ledger, Overrun, admission, history, queries, wall_clock_ms
from callsheet.ledger.accounts import window_at
from callsheet.report.summary import overrun_document
from callsheet.wording import command, number_of
from pricing.budgets import Scope, campaign_and_client, campaign_client_key, client_key
from pricing.catalog import load_catalog
from pricing.money import parse_usd, usd_text

KINDS: Final = ("ledger", "campaign", "client", "campaign-client", "model", "run")
LONGEST: Final = 500
FORMS: Final = "ledger, campaign:NAME, client:NAME, campaign-client:CAMPAIGN/CLIENT, model:NAME or run:ID"

ACCOUNT_COLUMNS = ("scope", "period", "cap_usd", "spent_usd", "held_usd", "free_usd", "frozen")
AMOUNTS = frozenset({"cap_usd", "spent_usd", "held_usd", "free_usd"})

Name = Annotated[str, Parameter(help=f"What to cap: {FORMS}")]
Amount = Annotated[str, Parameter(help="Dollars; 0 stops all spending, `none` removes the cap")]
Per = Annotated[
    Literal["total", "day", "month"],
    option("BUDGET_PER", "The period of the cap (UTC); day and month are for campaigns"),
]
Runs = Annotated[bool, option("BUDGET_RUNS", "Also show the account of each run")]

app = App(name="budget")


@app.default
@app.command(name="list")
def budget(*, runs: Runs = False, sandbox: Sandbox = False, json: Json = False) -> int:
    """Show every cap and account: cap, spent, held, free, frozen.

    Daily and monthly caps show the current day and month (UTC).

    Example: callsheet budget

    Example: callsheet budget list --json
    """
    with Ledger.open(run_settings(sandbox=sandbox).ledger) as ledger:
        accounts = current_accounts(ledger, wall_clock_ms(), runs=runs)
        frozen = any(account.frozen for account in accounts)
        is_sandbox = ledger.is_sandbox
        overruns = ledger.do(history.overruns, since_release=True) if frozen else []
    cells = [account_cells(account) for account in accounts]
    if json:
        document({"accounts": cells, "overruns": _overruns(overruns)})
        return 0
    if not cells:
        cap = command("budget", "set", "ledger", "100", sandbox=is_sandbox)
        result(f"no caps, and nothing spent. `{cap}` caps all spending")
        return 0
    shown = [{**each, "frozen": "FROZEN" if each["frozen"] else ""} for each in cells]
    show_table(ACCOUNT_COLUMNS, [[each[name] for name in ACCOUNT_COLUMNS] for each in shown], right=AMOUNTS)
    for line in overrun_lines(overruns):
        result(f"billed above its hold: {line}")
    if frozen:
        release = command("budget", "unfreeze", sandbox=is_sandbox)
        say(f"Nothing is bought from frozen accounts. Check the bills, then run `{release}`.")
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
        count, overruns = ledger.do(history.unfreeze)
    if json:
        document({"unfrozen": count, "overruns": _overruns(overruns) if count else []})
        return 0
    if not count:
        result("nothing is frozen")
        return 0
    for line in overrun_lines(overruns):
        result(line)
    show_line(f"{number_of(count, 'account')} unfrozen. The bills above stay booked in full.")
    return 0


def parse_scope(text: str) -> tuple[Scope, str]:
    """Read a scope such as `ledger` or `client:acme`: its kind and its name.

    Raises UsageError, which lists the valid forms.
    """
    kind, colon, name = text.strip().partition(":")
    if kind not in KINDS:
        near = difflib.get_close_matches(kind, KINDS, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise UsageError(f"{text[:80]!r} is not a scope.{hint} Use {FORMS}")
    if (kind == "ledger") == bool(colon) or (kind != "ledger") != bool(name):
        raise UsageError(f"{text[:80]!r} is not a scope. Use {FORMS}")
    if kind == "campaign-client" and not all(part.strip() for part in name.partition("/")):
        raise UsageError(
            f"{text[:80]!r} is not a scope: it names a campaign and a client, campaign-client:CAMPAIGN/CLIENT"
        )
    if len(name) > LONGEST or any(unicodedata.category(letter) == "Cc" for letter in name):
        raise UsageError(
            f"{text[:80]!r} is not a valid name: it has line breaks or other control characters, or more "
            f"than {LONGEST} letters"
        )
    return cast("Scope", kind.replace("-", "_")), _key(kind, name)


def _key(kind: str, name: str) -> str:
    """Return the name under which the ledger counts: a client is the same however it is typed.

    A campaign may be typed as it is called, or as `budget list` shows it: a percent sign as %25, a
    slash, which ends its name, as %2F.
    """
    if kind == "client":
        return client_key(name)
    return campaign_client_key(*campaign_and_client(name)) if kind == "campaign-client" else name


def scope_text(ref: AccountRef) -> str:
    """Return the scope of an account in the form that `parse_scope` reads."""
    kind = ref.scope.replace("_", "-")
    return f"{kind}:{ref.key}" if ref.key else kind


def current_accounts(ledger: Ledger, at_ms: int, *, runs: bool) -> list[Account]:
    """Return the accounts of the current day and month and those without a period, capped or not.

    A cap without any entries has an empty account. Past periods are left out, and so are runs unless `runs`
    is set; frozen accounts are always included.
    """
    current = {window_at("total", at_ms), window_at("day", at_ms), window_at("month", at_ms)}
    known = {account.ref: account for account in ledger.do(admission.balances)}
    capped = [
        AccountRef(cap.scope, cap.key, window_at(cap.window, at_ms)) for cap in ledger.do(admission.caps)
    ]
    known |= {
        ref: account for ref, account in ledger.do(admission.headroom, capped).items() if ref not in known
    }
    return [
        account
        for ref, account in sorted(known.items(), key=lambda item: _order(item[0]))
        if account.frozen or (ref.window in current and (runs or ref.scope not in {"run", "retakes"}))
    ]


def _order(ref: AccountRef) -> tuple[int, str, int]:
    scopes = ("ledger", "campaign", "campaign_client", "client", "model", "run", "retakes")
    return scopes.index(ref.scope), ref.key, len(ref.window) if ref.window_kind != "total" else 0


def account_cells(account: Account) -> dict[str, Any]:
    """Return an account by ACCOUNT_COLUMNS; amounts are exact dollars, None where there is no limit."""
    limited = account.limit_nano is not None or account.frozen
    return {
        "scope": scope_text(account.ref),
        "period": account.ref.window,
        "cap_usd": None if account.limit_nano is None else usd_text(account.limit_nano),
        "spent_usd": usd_text(account.spent_nano),
        "held_usd": usd_text(account.held_nano),
        "free_usd": usd_text(account.left_nano or 0) if limited else None,
        "frozen": account.frozen,
    }


def account_line(account: Account) -> str:
    """Describe an account in one line."""
    cap = "no cap" if account.limit_nano is None else f"cap {usd_text(account.limit_nano)} USD"
    left = "" if account.left_nano is None else f", {usd_text(account.left_nano)} free"
    spent, held = usd_text(account.spent_nano), usd_text(account.held_nano)
    return f"{account.ref}: {cap}, {spent} spent, {held} held{left}"


def _overruns(overruns: Sequence[Overrun]) -> list[dict[str, Any]]:
    return [{"run_id": each.run_id, **overrun_document(each)} for each in overruns]


def overrun_lines(overruns: Sequence[Overrun]) -> list[str]:
    """Describe each bill above its hold in one line."""
    return [
        f"{over.label} in run {over.run_id}, request {over.request_id or 'unknown'}: billed "
        f"{usd_text(over.cost_nano)} USD, held {usd_text(over.hold_nano)} USD"
        for over in overruns
    ]


def _limit(usd: str) -> int | None:
    text = usd.strip().lower()
    if text == "none":
        return None
    try:
        return parse_usd(text, zero=True)
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
