"""What drafts and their finishes cost."""

import pytest

from pricing.catalog import load_catalog
from pricing.quotes import DraftCost, Shot, draft_cost, finish_cost, finish_shot

CATALOG = load_catalog()
DRAFT = Shot(CATALOG.endpoints["bytedance/seedance-2.5/text-to-video"], "480p", "16:9", 4)


def test_a_finish_holds_the_real_bill_of_one() -> None:
    """4 s at 1080p were billed 4.59862353 USD: it is the most that the finish of such a draft can cost."""
    assert finish_cost(CATALOG, [(DRAFT, 1)]).maximum_nano == 4_598_623_530


def test_kinds_count_as_often_as_there_are() -> None:
    """Three drafts of a kind cost three times as much, and so do their finishes."""
    for cost in (draft_cost, finish_cost):
        one, three = cost(CATALOG, [(DRAFT, 1)]), cost(CATALOG, [(DRAFT, 3)])
        assert three == DraftCost(3, 3 * one.expected_nano, 3 * one.maximum_nano)


def test_a_share_is_rounded_up() -> None:
    """A part of a draft is a draft, and a part of a nano-dollar is one."""
    assert DraftCost(5, 10, 11).of_share((1, 4)) == DraftCost(2, 3, 3)


def test_a_model_without_a_finishing_endpoint_is_refused() -> None:
    """Unknown is never free."""
    us = CATALOG.endpoints["bytedance/seedance-2.5/us/text-to-video"]
    with pytest.raises(LookupError, match=r"seedance-2\.5-us has no endpoint that finishes drafts"):
        finish_shot(CATALOG, Shot(us, "480p", "16:9", 4))
