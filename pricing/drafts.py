"""Drafts: what is drafted at 480p now and finished at full size later, and what both purchases cost. Pure.

fal keeps a draft for seven days, for the account that ordered it (OpenAPI of Seedance 2.5, read 2026-11). The
order that finishes it names nothing but the draft, and its reply names no length: what a finish costs
follows from the draft's own order (real bills of 4 s: 0.830962 USD for a draft, 4.59862353 for its finish).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from pricing.catalog import Catalog
from pricing.money import ceil_div
from pricing.quotes import Quote, Shot, quote

DRAFT_KEPT_MS = 7 * 86_400_000
"""How long fal keeps a draft after it was made, in milliseconds."""

DRAFT_ID_MAX_CHARS = 8192
"""The longest draft_id that fal takes."""

ASSUMED_SHARE = (1, 4)
"""The share of drafts that is taken to be kept where nothing was finished so far: a round guess of ours."""


@dataclass(frozen=True, slots=True)
class DraftCost:
    """What drafts, or their finishes, cost in nano-dollars: how many there are, expected, and at most."""

    drafts: int = 0
    expected_nano: int = 0
    maximum_nano: int = 0

    def of_share(self, share: tuple[int, int]) -> DraftCost:
        """Return the cost of a share of them, given as a part and a whole; amounts are rounded up."""
        part, whole = share
        return DraftCost(
            ceil_div(self.drafts * part, whole),
            ceil_div(self.expected_nano * part, whole),
            ceil_div(self.maximum_nano * part, whole),
        )


def finish_shot(catalog: Catalog, shot: Shot) -> Shot:
    """Return what finishing a draft orders: the same shot at the full size of the model's finishing endpoint.

    Raises LookupError where its model has none.
    """
    endpoint = catalog.endpoint_for(shot.endpoint.model, "draft-to-video")
    if endpoint is None:
        raise LookupError(f"{shot.endpoint.model} has no endpoint that finishes drafts")
    return replace(shot, endpoint=endpoint, resolution=endpoint.default_resolution)


def draft_cost(catalog: Catalog, drafts: Iterable[tuple[Shot, int]]) -> DraftCost:
    """Add up what these drafts cost: shots, each with how many there are of it."""
    return _sum((quote(catalog, shot), times) for shot, times in drafts)


def finish_cost(catalog: Catalog, drafts: Iterable[tuple[Shot, int]]) -> DraftCost:
    """Add up what finishing all of these drafts costs."""
    return _sum((quote(catalog, finish_shot(catalog, shot)), times) for shot, times in drafts)


def _sum(priced: Iterable[tuple[Quote, int]]) -> DraftCost:
    count = expected_nano = maximum_nano = 0
    for price, times in priced:
        count += times
        expected_nano += times * price.expected_nano
        maximum_nano += times * price.maximum_nano
    return DraftCost(count, expected_nano, maximum_nano)
