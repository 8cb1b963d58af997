"""What fal billed against what the ledger booked, in both directions."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from callsheet.errors import AccountError, ClaimLost, LedgerError, QueueError
from callsheet.ledger import Ledger, Purchase, history, settlement
from callsheet.ledger.transaction import chunks
from callsheet.provider.platform_messages import MAX_NANO, BillingEvent
from callsheet.reconciliation.account import AccountSession
from pricing.money import usd_text

DAY_MS = 86_400_000
MAX_DAYS = 89
"""fal answers for 90 days at most; a day is left for time zones."""

BOOKED_AT_ONCE = 50
"""Bills that are booked in one transaction, so that no other call of the ledger waits long."""

BASIS: Final = "billing_event"
IMPLAUSIBLE: Final = "implausible: no ledger holds such an amount"


@dataclass(frozen=True, slots=True)
class Correction:
    """A purchase whose cost was booked anew. `overrun_nano` is what it is above its hold by."""

    purchase: Purchase
    cost_nano: int
    overrun_nano: int = 0


@dataclass(frozen=True, slots=True)
class NotBooked:
    """A bill that was not booked: its purchase costs what it cost before. `why` is a sentence for people."""

    purchase: Purchase
    cost_nano: int
    why: str

    def in_words(self) -> str:
        """Return one line for people."""
        whose = f"{self.purchase.label} ({self.purchase.request_id})"
        return f"billed, but not booked: {whose} ${usd_text(self.cost_nano)}: {self.why}"


@dataclass(frozen=True, slots=True)
class Stranger:
    """A bill of one of our endpoints for a request that the ledger does not have."""

    request_id: str
    endpoint: str
    cost_nano: int


@dataclass(frozen=True, slots=True)
class Bills:
    """The comparison. `not_read` says why there is none; empty where there is one."""

    not_read: str = ""
    agreed: int = 0
    corrected: tuple[Correction, ...] = ()
    refused: tuple[NotBooked, ...] = ()
    strangers: tuple[Stranger, ...] = ()
    unbilled: tuple[Purchase, ...] = ()

    def document(self) -> dict[str, Any]:
        """Return the comparison as a JSON document; dollars are exact decimal texts."""
        return {
            "billing_not_read": self.not_read,
            "billing_agreed": self.agreed,
            "corrected": [_corrected(each) for each in self.corrected],
            "billed_but_not_booked": [
                {**_named(each.purchase), "billed_usd": usd_text(each.cost_nano), "why": each.why}
                for each in self.refused
            ],
            "billed_but_not_ours": [
                {"request_id": each.request_id, "endpoint": each.endpoint, "usd": usd_text(each.cost_nano)}
                for each in self.strangers
            ],
            "booked_but_not_billed": [
                {**_named(each), "booked_usd": usd_text(each.cost_nano or 0)} for each in self.unbilled
            ],
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """Bills and purchases side by side, before anything is booked."""

    to_correct: tuple[tuple[Purchase, int], ...]
    agreed: tuple[Purchase, ...]
    refused: tuple[NotBooked, ...]
    strangers: tuple[Stranger, ...]
    unbilled: tuple[Purchase, ...]


async def compare_bills(account: AccountSession, *, days: int) -> Bills:
    """Book what fal really charged for the purchases of the last `days` days (1 to 89).

    Needs an admin key; without one nothing is compared, and that is said. A cost above its hold is booked in
    full and freezes its accounts. A bill that cannot be booked is named and keeps no other one back. Raises
    ClaimLost where a run that is claimed here was taken over, LedgerError where the ledger itself fails.
    """
    now_ms = account.now_ms()
    since_ms = now_ms - min(days, MAX_DAYS) * DAY_MS
    if not await account.do(history.has_purchases, since_ms=since_ms):
        return Bills()
    try:
        events = await account.platform.billing_events(sorted(account.catalog.endpoints), start_ms=since_ms)
    except AccountError as error:
        return Bills(not_read=f"billing events need an admin key (FAL_ADMIN_KEY): {error}")
    except QueueError as error:
        return Bills(not_read=str(error))
    settled_by_ms = now_ms - 1000 * account.settings.history_lag_s
    known = await account.do(history.known_requests, {event.request_id for event in events})
    purchases = await account.do.call(_purchases, since_ms=since_ms)
    compared = await asyncio.to_thread(compare, purchases, events, known=known, settled_by_ms=settled_by_ms)
    unconfirmed = [(each, each.cost_nano or 0) for each in compared.agreed if each.cost_basis != BASIS]
    _, not_confirmed = await _book(account, unconfirmed)
    corrected, not_corrected = await _book(account, compared.to_correct)
    return Bills(
        agreed=len(compared.agreed) - len(not_confirmed),
        corrected=tuple(corrected),
        refused=(*compared.refused, *not_confirmed, *not_corrected),
        strangers=compared.strangers,
        unbilled=compared.unbilled,
    )


def _purchases(ledger: Ledger, *, since_ms: int) -> list[Purchase]:
    return list(ledger.stream(history.purchases, since_ms=since_ms))


async def _book(
    account: AccountSession, billed: Sequence[tuple[Purchase, int]]
) -> tuple[list[Correction], list[NotBooked]]:
    """Book bills, some to a commit; between two commits the ledger does what others ask of it."""
    booked: list[Correction] = []
    refused: list[NotBooked] = []
    for piece in chunks(billed, BOOKED_AT_ONCE):
        corrections, refusals = await account.do.call(_book_together, piece)
        booked += corrections
        refused += refusals
    return booked, refused


def _book_together(
    ledger: Ledger, billed: Sequence[tuple[Purchase, int]]
) -> tuple[list[Correction], list[NotBooked]]:
    """Book bills with one commit. Where the database itself fails, that raises and none of them is booked."""
    booked: list[Correction] = []
    refused: list[NotBooked] = []
    with ledger.together():
        for purchase, cost_nano in billed:
            try:
                booking = ledger.do(
                    settlement.correct, purchase.request_id, cost_nano=cost_nano, cost_basis=BASIS
                )
            except ClaimLost:
                raise
            except LedgerError as error:
                refused.append(NotBooked(purchase, cost_nano, str(error)))
            else:
                booked.append(Correction(purchase, cost_nano, booking.overrun_nano))
    return booked, refused


def compare(
    purchases: Iterable[Purchase],
    events: Sequence[BillingEvent],
    *,
    known: Collection[str],
    settled_by_ms: int,
) -> Comparison:
    """Set bills against purchases. Pure.

    Several events of one request add up; more than MAX_NANO is refused. A purchase that is not booked yet is
    left for later, and one that was booked after `settled_by_ms` may still be billed.
    """
    billed = _sums(events)
    to_correct: list[tuple[Purchase, int]] = []
    agreed: list[Purchase] = []
    refused: list[NotBooked] = []
    unbilled: list[Purchase] = []
    for each in purchases:
        if each.cost_nano is None:
            continue
        _, cost_nano = billed.get(each.request_id, ("", None))
        if cost_nano is None:
            if each.cost_nano and (each.booked_ms or 0) <= settled_by_ms:
                unbilled.append(each)
        elif cost_nano > MAX_NANO:
            refused.append(NotBooked(each, cost_nano, IMPLAUSIBLE))
        elif cost_nano == each.cost_nano:
            agreed.append(each)
        else:
            to_correct.append((each, cost_nano))
    strangers = (
        Stranger(request_id, endpoint, cost_nano)
        for request_id, (endpoint, cost_nano) in billed.items()
        if request_id not in known and cost_nano > 0
    )
    return Comparison(
        to_correct=tuple(to_correct),
        agreed=tuple(agreed),
        refused=tuple(refused),
        strangers=tuple(strangers),
        unbilled=tuple(unbilled),
    )


def _sums(events: Sequence[BillingEvent]) -> Mapping[str, tuple[str, int]]:
    sums: dict[str, tuple[str, int]] = {}
    for event in events:
        _, before_nano = sums.get(event.request_id, ("", 0))
        sums[event.request_id] = (event.endpoint_id, before_nano + event.cost_nano)
    return sums


def _named(purchase: Purchase) -> dict[str, Any]:
    return {
        "job": purchase.job_id,
        "run_id": purchase.run_id,
        "custom_id": purchase.custom_id,
        "request_id": purchase.request_id,
    }


def _corrected(each: Correction) -> dict[str, Any]:
    return {
        **_named(each.purchase),
        "booked_usd": usd_text(each.purchase.cost_nano or 0),
        "billed_usd": usd_text(each.cost_nano),
        "over_its_hold_usd": usd_text(each.overrun_nano),
    }
