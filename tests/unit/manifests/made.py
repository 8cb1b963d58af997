"""A plan beside jobs that are in memory, as the ledger sets it beside jobs of its own."""

from __future__ import annotations

from collections.abc import Sequence

from manifests.diff import Changes, MadeJob, look_up
from manifests.plan import Plan


def compare(plan: Plan, made: Sequence[MadeJob]) -> Changes:
    """Set a plan's jobs beside these; of several that fit, the last one counts."""
    by_fingerprint = {each.fingerprint: each for each in made}
    by_name = {each.custom_id: each for each in made}
    return look_up(list(plan.identities()), lambda _: by_fingerprint, lambda _: by_name)
