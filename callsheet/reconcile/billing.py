"""What fal billed against what the ledger booked, in both directions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from callsheet.errors import AccountError, QueueError
from callsheet.ledger import Purchase, history, settlement
from callsheet.provider.platform_messages import BillingEvent
from callsheet.reconcile.account import AccountSession
from pricing.money import usd_text

DAY_MS = 86_400_000
MAX_DAYS = 89
"""fal answers for 90 days at most; a day is left for time zones."""


@dataclass(frozen=True, slots=True)
class Correction:
    """A purchase whose cost was booked anew. `overrun_nano` is what it is above its hold by."""

    purchase: Purchase
    cost_nano: int
    overrun_nano: int = 0


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
    strangers: tuple[Stranger, ...] = ()
    unbilled: tuple[Purchase, ...] = ()

    def document(self) -> dict[str, Any]:
        """Return the comparison as a JSON document; dollars are exact decimal texts."""
        return {
            "billing_not_read": self.not_read,
            "billing_agreed": self.agreed,
            "corrected": [_corrected(each) for each in self.corrected],
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
    strangers: tuple[Stranger, ...]
    unbilled: tuple[Purchase, ...]


async def compare_bills(account: AccountSession, *, days: int) -> Bills:
    """Book what fal really charged for the purchases of the last `days` days (1 to 89).

    Needs an admin key; without one nothing is compared, and that is said. A cost above its hold is booked in
    full and freezes its accounts.
    """
    now_ms = account.now_ms()
    since_ms = now_ms - min(days, MAX_DAYS) * DAY_MS
    purchases = await account.do(history.purchases, since_ms=since_ms)
    if not purchases:
        return Bills()
    try:
        events = await account.platform.billing_events(sorted(account.catalog.endpoints), start_ms=since_ms)
    except AccountError as error:
        return Bills(not_read=f"billing events need an admin key (FAL_ADMIN_KEY): {error}")
    except QueueError as error:
        return Bills(not_read=str(error))
    known = await account.do(history.known_requests, {event.request_id for event in events})
    settled_by_ms = now_ms - 1000 * account.settings.history_lag_s
    compared = compare(purchases, events, known=known, settled_by_ms=settled_by_ms)
    for purchase in compared.agreed:
        if purchase.cost_basis != "billing_event":
            await _booked(account, purchase, purchase.cost_nano or 0)
    corrected = [await _booked(account, purchase, cost_nano) for purchase, cost_nano in compared.to_correct]
    return Bills(
        agreed=len(compared.agreed),
        corrected=tuple(corrected),
        strangers=compared.strangers,
        unbilled=compared.unbilled,
    )


def compare(
    purchases: Sequence[Purchase],
    events: Sequence[BillingEvent],
    *,
    known: Collection[str],
    settled_by_ms: int,
) -> Comparison:
    """Set bills against purchases. Pure.

    Several events of one request add up. A purchase that is not booked yet is left for later, and one that
    was booked after `settled_by_ms` may still be billed.
    """
    billed = _sums(events)
    booked = [purchase for purchase in purchases if purchase.cost_nano is not None]
    both = [(each, billed[each.request_id][1]) for each in booked if each.request_id in billed]
    return Comparison(
        to_correct=tuple((each, cost_nano) for each, cost_nano in both if each.cost_nano != cost_nano),
        agreed=tuple(each for each, cost_nano in both if each.cost_nano == cost_nano),
        strangers=tuple(
            Stranger(request_id, endpoint, cost_nano)
            for request_id, (endpoint, cost_nano) in billed.items()
            if request_id not in known and cost_nano > 0
        ),
        unbilled=tuple(
            each
            for each in booked
            if each.cost_nano and each.request_id not in billed and (each.booked_ms or 0) <= settled_by_ms
        ),
    )


def _sums(events: Sequence[BillingEvent]) -> Mapping[str, tuple[str, int]]:
    sums: dict[str, tuple[str, int]] = {}
    for event in events:
        _, before_nano = sums.get(event.request_id, ("", 0))
        sums[event.request_id] = (event.endpoint_id, before_nano + event.cost_nano)
    return sums


async def _booked(account: AccountSession, purchase: Purchase, cost_nano: int) -> Correction:
    booking = await account.do(
        settlement.correct, purchase.request_id, cost_nano=cost_nano, cost_basis="billing_event"
    )
    return Correction(purchase, cost_nano, booking.overrun_nano)


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
