"""The book added up."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from callsheet.ledger.records import Entry
from callsheet.report.statement import GROUPINGS, statement, total

DAY_MS = 86_400_000


def entry(number: int, kind: Any, amount_nano: int, **changes: Any) -> Entry:
    """One line of the book, of an everyday submission unless `changes` say otherwise."""
    given_values = {
        "entry_id": number,
        "at_ms": number,
        "kind": kind,
        "amount_nano": amount_nano,
        "submission_id": 1,
        "admitted_ms": 0,
        "request_id": "r",
        "job_id": 1,
        "run_id": "run",
        "custom_id": "a",
        "client": "acme",
        "model": "m",
        "campaign": "spring",
    }
    return Entry(**{**given_values, **changes})


def test_a_submission_is_held_then_spent_then_corrected() -> None:
    """A hold that is settled is no longer held, and a correction counts in what was spent, once bought."""
    book = [
        entry(1, "hold", 100),
        entry(2, "release", -100),
        entry(3, "settle", 90),
        entry(4, "settle", -20),
        entry(5, "hold", 7, submission_id=2, client="northwind"),
    ]
    acme, northwind = statement(book, ["client"])
    assert (acme.names, acme.submissions, acme.spent_nano, acme.held_nano) == (("acme",), 1, 70, 0)
    assert (northwind.submissions, northwind.spent_nano, northwind.held_nano) == (0, 0, 7)


def test_a_day_is_that_of_the_hold() -> None:
    """What was put aside before midnight and settled after it counts in the first day, as its cap does."""
    book = [entry(1, "hold", 5), entry(2, "release", -5, at_ms=DAY_MS), entry(3, "settle", 4, at_ms=DAY_MS)]
    (line,) = statement(book, ["day"])
    assert (line.names, line.spent_nano, line.held_nano) == (("1970-01-01",), 4, 0)


BOOKS = st.lists(
    st.builds(
        lambda kind, amount, submission, day, client, model: entry(
            1,
            kind,
            -amount if kind == "release" else amount,
            submission_id=submission,
            admitted_ms=day * DAY_MS,
            client=client,
            model=model,
        ),
        st.sampled_from(["hold", "release", "settle"]),
        st.integers(0, 2**62),
        st.integers(1, 4),
        st.integers(0, 3),
        st.sampled_from(["", "acme", "Ünïted"]),
        st.sampled_from(["m", "n"]),
    )
)


@given(BOOKS, st.lists(st.sampled_from(GROUPINGS), unique=True))
def test_no_grouping_loses_a_nano_dollar(book: list[Entry], by: list[Any]) -> None:
    """However the book is cut, the lines add up to all of its entries, exactly, in whole numbers."""
    whole = total(statement(book, by))
    assert whole.spent_nano + whole.held_nano == sum(line.amount_nano for line in book)
    assert whole.spent_nano == sum(line.amount_nano for line in book if line.kind == "settle")
