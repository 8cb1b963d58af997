"""Accounts, caps and periods, as people type them and as commands print them."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Final, cast

from cyclopts import Parameter

from callsheet.cli.options import option
from callsheet.errors import UsageError
from callsheet.ledger import Account, AccountRef, EntryFilter, Ledger, Overrun, admission
from callsheet.ledger.accounts import window_at
from pricing.budgets import Scope, client_key
from pricing.money import usd_text

KINDS: Final = ("ledger", "campaign", "client", "campaign-client", "model", "run")
LONGEST: Final = 500
FORMS: Final = "ledger, campaign:NAME, client:NAME, campaign-client:CAMPAIGN/CLIENT, model:NAME or run:ID"

ACCOUNT_COLUMNS = ("scope", "period", "cap_usd", "spent_usd", "held_usd", "free_usd", "frozen")
AMOUNTS = frozenset({"cap_usd", "spent_usd", "held_usd", "free_usd"})

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


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
    if len(name) > LONGEST or any(unicodedata.category(letter) == "Cc" for letter in name):
        raise UsageError(
            f"{text[:80]!r} is not a valid name: it has line breaks or other control characters, or more "
            f"than {LONGEST} letters"
        )
    return cast("Scope", kind.replace("-", "_")), _key(kind, name)


def _key(kind: str, name: str) -> str:
    """Return the name under which the ledger counts: a client is the same however it is typed."""
    if kind == "client":
        return client_key(name)
    campaign, slash, client = name.rpartition("/")
    return f"{campaign}/{client_key(client)}" if kind == "campaign-client" and slash else name


def scope_text(ref: AccountRef) -> str:
    """Return the scope of an account in the form that `parse_scope` reads."""
    kind = ref.scope.replace("_", "-")
    return f"{kind}:{ref.key}" if ref.key else kind


def first_ms(text: str | None, option: str) -> int | None:
    """Return the first millisecond (Unix time) of a day such as 2026-11-21, in UTC.

    Raises UsageError if the text is not a day.
    """
    return None if text is None else _ms(_day(text, option))


def end_ms(text: str | None, option: str) -> int | None:
    """Return the first millisecond after that day. Raises UsageError if the text is not a day."""
    return None if text is None else _ms(_day(text, option) + timedelta(days=1))


def _day(text: str, option: str) -> date:
    try:
        day = date.fromisoformat(text) if _DAY.fullmatch(text) else None
    except ValueError:
        day = None
    if day is None or not 1970 <= day.year <= 9998:
        raise UsageError(f"{option} is {text[:40]!r}; it must be a day (UTC) such as 2026-11-21")
    return day


def _ms(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000


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
        if account.frozen or (ref.window in current and (runs or ref.scope != "run"))
    ]


def _order(ref: AccountRef) -> tuple[int, str, int]:
    scopes = ("ledger", "campaign", "campaign_client", "client", "model", "run")
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


def overrun_cells(overrun: Overrun) -> dict[str, Any]:
    """Return a bill above its hold as a document."""
    return {
        "run_id": overrun.run_id,
        "custom_id": overrun.custom_id,
        "request_id": overrun.request_id,
        "held_usd": usd_text(overrun.hold_nano),
        "billed_usd": usd_text(overrun.cost_nano),
    }


def overrun_lines(overruns: Sequence[Overrun]) -> list[str]:
    """Describe each bill above its hold in one line."""
    return [
        f"{over.custom_id} in run {over.run_id}, request {over.request_id or 'unknown'}: billed "
        f"{usd_text(over.cost_nano)} USD, held {usd_text(over.hold_nano)} USD"
        for over in overruns
    ]


@dataclass(frozen=True, slots=True)
class EntryOptions:
    """The filters that `ledger statement` and `ledger entries` share; None filters nothing."""

    run: Annotated[str | None, option("LEDGER_RUN", "Only this run", "--run")] = None
    campaign: Annotated[str | None, option("LEDGER_CAMPAIGN", "Only this campaign", "--campaign")] = None
    client: Annotated[str | None, option("LEDGER_CLIENT", "Only this client", "--client")] = None
    model: Annotated[str | None, option("LEDGER_MODEL", "Only this model", "--model")] = None
    since: Annotated[
        str | None,
        option(
            "LEDGER_SINCE",
            "From this day (UTC) on, e.g. 2026-11-01; counted by the day of the hold",
            "--since",
        ),
    ] = None
    until: Annotated[str | None, option("LEDGER_UNTIL", "Up to and including this day", "--until")] = None


Wanted = Annotated[EntryOptions | None, Parameter(name="*")]


def filter_of(options: EntryOptions | None) -> EntryFilter:
    """Return the ledger's filter. Raises UsageError if a day is not valid."""
    given = options or EntryOptions()
    return EntryFilter(
        run_id=given.run,
        campaign=given.campaign,
        client=given.client,
        model=given.model,
        since_ms=first_ms(given.since, "--since"),
        until_ms=end_ms(given.until, "--until"),
    )
