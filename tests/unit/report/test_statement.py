"""What was spent and is held, added up."""

from typing import Any, get_args

from hypothesis import given
from hypothesis import strategies as st

from callsheet.ledger.accounts import Grouping, Spending
from callsheet.report.statement import spending_lines, total


def test_spellings_of_one_client_are_one_line() -> None:
    """The first spelling is shown; another client keeps its own line."""
    parts = [
        Spending(client="Acme", submissions=1, spent_nano=70, held_nano=0),
        Spending(client=" acme", submissions=2, spent_nano=5, held_nano=9),
        Spending(client="northwind", submissions=0, spent_nano=0, held_nano=7),
    ]
    (names, acme), (_, northwind) = spending_lines(parts, ["client"])
    assert (names, acme.submissions, acme.spent_nano, acme.held_nano) == (("Acme",), 3, 75, 9)
    assert (northwind.submissions, northwind.spent_nano, northwind.held_nano) == (0, 0, 7)


PARTS = st.lists(
    st.builds(
        Spending,
        client=st.sampled_from(["", "acme", "ACME", "\u00dcn\u00efted"]),
        model=st.sampled_from(["m", "n"]),
        day=st.sampled_from(["2026-11-20", "2026-11-21"]),
        submissions=st.integers(0, 9),
        spent_nano=st.integers(0, 2**62),
        held_nano=st.integers(0, 2**62),
    )
)


@given(PARTS, st.lists(st.sampled_from(get_args(Grouping)), unique=True))
def test_no_grouping_loses_a_nano_dollar(parts: list[Spending], by: list[Any]) -> None:
    """However it is cut, the lines add up to all of the parts, exactly, in whole numbers."""
    whole = total(sums for _, sums in spending_lines(parts, by))
    assert whole.spent_nano == sum(part.spent_nano for part in parts)
    assert whole.held_nano == sum(part.held_nano for part in parts)
    assert whole.submissions == sum(part.submissions for part in parts)
