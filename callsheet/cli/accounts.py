"""The accounts that a person wants to see: those of now, and those that are frozen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from callsheet.cli.scope_names import scope_text
from callsheet.ledger import Account, AccountRef, Ledger, Overrun, admission
from callsheet.ledger.scopes import window_at
from pricing.money import usd_text

COLUMNS = ("scope", "period", "cap_usd", "spent_usd", "held_usd", "free_usd", "frozen")
AMOUNTS = frozenset({"cap_usd", "spent_usd", "held_usd", "free_usd"})


def accounts_of_now(ledger: Ledger, at_ms: int, *, runs: bool) -> list[Account]:
    """Return every account of the present day and month and without a period, capped or not.

    A cap that nothing counts in yet has its empty account. Past days and months, and runs unless `runs` asks
    for them, are left out, except where they are frozen.
    """
    present = {window_at("total", at_ms), window_at("day", at_ms), window_at("month", at_ms)}
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
        if account.frozen or (ref.window in present and (runs or ref.scope != "run"))
    ]


def _order(ref: AccountRef) -> tuple[int, str, int]:
    scopes = ("ledger", "campaign", "campaign_client", "client", "model", "run")
    return scopes.index(ref.scope), ref.key, len(ref.window) if ref.window_kind != "total" else 0


def account_cells(account: Account) -> dict[str, Any]:
    """Return what is shown of an account; amounts are exact dollars, None where there is no limit."""
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


def overrun_cells(overrun: Overrun) -> dict[str, Any]:
    """Return what is shown of a bill above its hold."""
    return {
        "run_id": overrun.run_id,
        "custom_id": overrun.custom_id,
        "request_id": overrun.request_id,
        "held_usd": usd_text(overrun.hold_nano),
        "billed_usd": usd_text(overrun.cost_nano),
    }


def in_words(account: Account) -> str:
    """Say what an account holds, in one line."""
    cap = "no cap" if account.limit_nano is None else f"cap {usd_text(account.limit_nano)} USD"
    left = "" if account.left_nano is None else f", {usd_text(account.left_nano)} free"
    spent, held = usd_text(account.spent_nano), usd_text(account.held_nano)
    return f"{account.ref}: {cap}, {spent} spent, {held} held{left}"


def overruns_in_words(overruns: Sequence[Overrun]) -> list[str]:
    """Say which bills came out above their holds."""
    return [
        f"{over.custom_id} in run {over.run_id}, request {over.request_id or 'unknown'}: billed "
        f"{usd_text(over.cost_nano)} USD, at most {usd_text(over.hold_nano)} was held"
        for over in overruns
    ]
