"""What `callsheet reconcile` prints of bills."""

from dataclasses import replace

import pytest

from callsheet.cli.commands.reconcile import NAMED, exit_code, reconcile, show_bills
from callsheet.errors import UsageError
from callsheet.ledger import Purchase
from callsheet.reconciliation.billing import Bills, Correction, NotBooked, Stranger
from callsheet.reconciliation.findings import Findings

BOUGHT = Purchase(
    request_id="r-0",
    run_id="run",
    job_id=0,
    custom_id="shot-0",
    row=2,
    endpoint="fal-ai/x",
    submitted_ms=1,
    hold_nano=100,
    cost_nano=90,
    cost_basis="expected",
    booked_ms=1,
)


def bought(count):
    """So many purchases, each with its own name."""
    return [replace(BOUGHT, request_id=f"r-{n}", custom_id=f"shot-{n}") for n in range(count)]


def test_a_few_bills_of_each_kind_are_named_and_the_rest_is_counted(capsys):
    """A month of bills that fal does not show is one screen, not 30,000 lines; the sums name all of them."""
    many = NAMED + 1980
    bills = Bills(
        corrected=tuple(Correction(each, 95) for each in bought(many)),
        strangers=tuple(Stranger(f"s-{n}", "fal-ai/x", 5) for n in range(many)),
        unbilled=tuple(bought(many)),
    )
    show_bills(bills, sandbox=False)
    shown = capsys.readouterr().out
    assert shown.count("1,980 more") == 3
    assert [shown.count(f" {word}-{NAMED - 1} ") for word in ("shot", "s")] == [2, 1]
    assert [shown.count(f" {word}-{NAMED} ") for word in ("shot", "s")] == [0, 0]
    assert "2000 corrected, 0 not booked, 2000 not in this ledger, 2000 not billed" in " ".join(shown.split())


def test_no_more_bills_than_are_named_need_no_count(capsys):
    """The last bill that is named is the last one."""
    show_bills(Bills(unbilled=tuple(bought(NAMED))), sandbox=False)
    shown = capsys.readouterr().out
    assert f"shot-{NAMED - 1} " in shown
    assert "more" not in shown


def test_a_bill_that_was_not_booked_is_told_with_its_reason(capsys):
    """It counts as neither agreed nor corrected, and a person sees which one it is and why."""
    show_bills(Bills(refused=(NotBooked(BOUGHT, 2**63, "implausible"),)), sandbox=False)
    shown = capsys.readouterr()
    told = " ".join((shown.out + shown.err).split())
    assert "billed, but not booked: shot-0 (row 2) (r-0) $9223372036.854775808: implausible" in told
    assert "0 agree, 0 corrected, 1 not booked" in told


def test_a_bill_that_was_not_booked_is_seen_by_a_script():
    """The ledger and fal do not agree then, and nothing else says so."""
    refused = Bills(refused=(NotBooked(BOUGHT, 2**63, "implausible"),))
    assert [exit_code(Findings(), bills) for bills in (None, Bills(), refused)] == [0, 0, 4]


def test_a_reason_without_a_decision_is_refused():
    """It would be kept nowhere. The message names what it goes with, and fal is not asked."""
    with pytest.raises(UsageError, match="--reason goes with --adopt, --assume-spent or --resubmit") as said:
        reconcile(reason="seen in fal's dashboard")
    assert said.value.exit_code == 2
