"""Bills beside purchases."""

from dataclasses import replace

import pytest

from callsheet.ledger import Purchase
from callsheet.provider.platform_messages import MAX_NANO, BillingEvent
from callsheet.reconciliation.billing import compare

ENDPOINT = "fal-ai/bytedance/seedance/v1/lite/text-to-video"
NOON_MS = 1_795_262_400_000
BOUGHT = Purchase(
    request_id="r-1",
    run_id="run",
    job_id=1,
    custom_id="a",
    row=2,
    endpoint=ENDPOINT,
    submitted_ms=NOON_MS,
    hold_nano=100,
    cost_nano=90,
    cost_basis="billable_units",
    booked_ms=NOON_MS,
)


def bill(cost_nano, request_id="r-1"):
    """One billing event."""
    return BillingEvent(request_id, ENDPOINT, NOON_MS, cost_nano)


def found(purchases, events, *, known=("r-1",), settled_by_ms=NOON_MS):
    """The comparison in short: corrections, agreed, strangers, unbilled."""
    made = compare(purchases, events, known=known, settled_by_ms=settled_by_ms)
    return (
        [cost_nano for _, cost_nano in made.to_correct],
        len(made.agreed),
        [(each.request_id, each.cost_nano) for each in made.strangers],
        [each.request_id for each in made.unbilled],
    )


@pytest.mark.parametrize(
    ("changes", "costs", "expected"),
    [
        ({}, [90], ([], 1, [], [])),
        ({}, [91], ([91], 0, [], [])),
        ({}, [60, 40], ([100], 0, [], [])),
        ({}, [0], ([0], 0, [], [])),
        ({}, [], ([], 0, [], ["r-1"])),
        ({"cost_nano": 0, "cost_basis": "none"}, [], ([], 0, [], [])),
        ({"cost_nano": 0, "cost_basis": "none"}, [5], ([5], 0, [], [])),
        ({"cost_nano": None, "cost_basis": None, "booked_ms": None}, [90], ([], 0, [], [])),
        ({"cost_nano": None, "cost_basis": None, "booked_ms": None}, [], ([], 0, [], [])),
        ({"booked_ms": NOON_MS + 1}, [], ([], 0, [], [])),
    ],
)
def test_a_purchase_beside_its_bills(changes, costs, expected):
    """Bills add up and win; what is not booked, costs nothing or is fresh may be without one."""
    assert found([replace(BOUGHT, **changes)], [bill(cost) for cost in costs]) == expected


def test_a_bill_of_a_request_that_nobody_knows_is_a_stranger():
    """A bill without a submission here is named; one of an older purchase, or of nothing, is not."""
    events = [bill(7, "r-strange"), bill(7, "r-older"), bill(0, "r-free")]
    assert found([], events, known=("r-older",)) == ([], 0, [("r-strange", 7)], [])


@pytest.mark.parametrize(("costs", "is_refused"), [([MAX_NANO], False), ([MAX_NANO, 1], True)])
def test_a_sum_that_no_ledger_can_hold_is_refused_by_name(costs, is_refused):
    """Each event may be small enough for 64 bits where their sum is not."""
    made = compare([BOUGHT], [bill(cost) for cost in costs], known=("r-1",), settled_by_ms=NOON_MS)
    refused = [(each.purchase, each.cost_nano) for each in made.refused]
    assert (refused, list(made.to_correct)) == (
        ([(BOUGHT, sum(costs))], []) if is_refused else ([], [(BOUGHT, sum(costs))])
    )
