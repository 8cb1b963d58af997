"""What a plan means here and now: room under caps, what was made before, how long it takes, the credit."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import TYPE_CHECKING

from callsheet.cli.ledger_there import has_ledger
from callsheet.errors import CallsheetError
from callsheet.settings import Settings, settings_from
from manifests.changes import Changes, what_differs
from manifests.job_codec import decode_job
from manifests.plan import Plan, Size
from pricing.budgets import Cap, full_room
from pricing.catalog import load_catalog
from pricing.render_times import campaign_s, published_render_s

if TYPE_CHECKING:  # a database library, which a plan alone can do without
    from callsheet.ledger import Ledger

MOST_SIZES = 200
"""Sizes that are asked about in the ledger; a plan of more keeps the published figure for the rest."""

COMPARED = 10_000
"""Changed jobs whose differences are spelled out."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """A plan beside this machine's ledger. `learned_s` is how long renders of a size took, in seconds.

    `differs` says by position what makes a changed job another one. `credit_nano` is the account's balance
    in nano-dollars, None where it was not read.
    """

    room: Mapping[Cap, int]
    changes: Changes = field(default_factory=Changes)
    differs: Mapping[int, Sequence[str]] = field(default_factory=dict)
    learned_s: Mapping[Size, float] = field(default_factory=dict)
    credit_nano: int | None = None

    def takes_s(self, plan: Plan, concurrency: int) -> float:
        """How long it takes to render what is not made yet, in seconds."""
        left = {size: total.jobs for size, total in plan.summary.sizes.items()}
        if self.changes.made:
            for size, total in plan.part(self.changes.made).sizes.items():
                left[size] -= total.jobs
        return campaign_s(
            (
                (jobs, self.learned_s.get(size, published_render_s(size.pixels, size.frames)))
                for size, jobs in left.items()
            ),
            concurrency=concurrency,
        )


def outlook_of(plan: Plan, *, sandbox: bool = False) -> Outlook:
    """Look into the ledger, where there is one; none is made for asking."""
    settings = settings_from(os.environ)
    if sandbox:
        from callsheet.engine.surroundings import sandbox_ledger  # noqa: PLC0415 -- the engine is slow to import

        settings = replace(sandbox_ledger(settings), admin_key=None)
    found = _from_ledger(plan, settings) or Outlook(dict(full_room(plan.caps)))
    return replace(found, credit_nano=_credit_nano(settings)) if settings.admin_key else found


def _from_ledger(plan: Plan, settings: Settings) -> Outlook | None:
    if not has_ledger(settings):
        return None
    from callsheet.engine.opening import changes_of, room_for  # noqa: PLC0415 -- a database library is 0.2 s
    from callsheet.ledger import Ledger  # noqa: PLC0415

    with Ledger.open(settings.ledger) as ledger:
        changes = changes_of(ledger, plan)
        return Outlook(
            room=room_for(ledger, plan),
            changes=changes,
            differs=differences(ledger, plan, changes),
            learned_s=_learned(ledger, plan),
        )


def differences(ledger: Ledger, plan: Plan, changes: Changes) -> dict[int, list[str]]:
    """Say in what each changed job differs from the last one of its name."""
    catalog = load_catalog()
    first = dict(list(changes.changed.items())[:COMPARED])
    before = ledger.payloads({each.job_id for each in first.values()})
    return {
        position: what_differs(decode_job(before[first[position].job_id], catalog), planned.job)
        for position, planned in plan.picked(first)
    }


def _learned(ledger: Ledger, plan: Plan) -> dict[Size, float]:
    found = {}
    for size in list(plan.summary.sizes)[:MOST_SIZES]:
        seen = ledger.render_times(f"{size.endpoint_id}|{size.pixels}|{size.frames}")
        if seen:
            found[size] = median(each.rendered_ms for each in seen) / 1000
    return found


def _credit_nano(settings: Settings) -> int | None:
    """Return the balance; None where it cannot be read, for a plan must not fail on that."""
    from callsheet.provider.platform import FalPlatform  # noqa: PLC0415 -- an HTTP library is 0.2 s

    async def read() -> int:
        async with FalPlatform(settings) as platform:
            return await platform.credits_nano()

    try:
        return asyncio.run(read())
    except CallsheetError:
        return None
