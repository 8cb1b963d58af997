"""Which accounts a submission counts in.

It always counts in all of them, capped or not: a cap that is set later then knows what was spent before.
A day or a month is the UTC one in which the money was put aside; the cost stays in the account of its hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from pricing.budgets import campaign_client_key, client_key

Scope = Literal["ledger", "campaign", "client", "campaign_client", "model", "run"]
WindowKind = Literal["total", "day", "month"]

TOTAL: Final = "total"
WINDOW_KINDS: Final[Mapping[Scope, tuple[WindowKind, ...]]] = MappingProxyType(
    {
        "ledger": ("total",),
        "campaign": ("total", "day", "month"),
        "client": ("total",),
        "campaign_client": ("total",),
        "model": ("total",),
        "run": ("total",),
    }
)
"""Which caps there can be: an account exists for each of these."""

_FORMATS: Final[Mapping[WindowKind, str]] = MappingProxyType(
    {"total": TOTAL, "day": "%Y-%m-%d", "month": "%Y-%m"}
)
_KIND_BY_LENGTH: Final[Mapping[int, WindowKind]] = MappingProxyType({5: "total", 7: "month", 10: "day"})


class AccountRef(NamedTuple):
    """The name of one account. `window` is `total`, a UTC date (`2026-11-21`) or a month (`2026-11`)."""

    scope: Scope
    key: str
    window: str = TOTAL

    @property
    def window_kind(self) -> WindowKind:
        """Which kind of cap applies here."""
        return window_kind(self.window)

    def __str__(self) -> str:
        name = f"{self.scope.replace('_', ' ')} {self.key}".rstrip()
        return name if self.window == TOTAL else f"{name} in {self.window}"


def window_kind(window: str) -> WindowKind:
    """Return the kind of a window by its form: `total`, `2026-11` or `2026-11-21`."""
    return _KIND_BY_LENGTH[len(window)]


def account_refs(*, campaign: str, client: str, model: str, run_id: str, at_ms: int) -> list[AccountRef]:
    """Return every account that money put aside at `at_ms` (Unix milliseconds) counts in.

    `client` is empty where the job names none; it then counts in no client's account.
    """
    owners: list[tuple[Scope, str]] = [("ledger", ""), ("campaign", campaign), ("model", model)]
    owners.append(("run", run_id))
    if client:
        owners += [("client", client_key(client)), ("campaign_client", campaign_client_key(campaign, client))]
    return [
        AccountRef(scope, key, window_at(kind, at_ms))
        for scope, key in owners
        for kind in WINDOW_KINDS[scope]
    ]


def window_at(kind: WindowKind, at_ms: int) -> str:
    """Name the window of that kind which the moment falls in."""
    return datetime.fromtimestamp(at_ms // 1000, tz=UTC).strftime(_FORMATS[kind])
