"""What a run is asked to do, and which of several wishes counts."""

import pytest

from callsheet.engine.request import RunRequest


@pytest.mark.parametrize(
    ("asked", "environment", "plan", "counts"),
    [(3, None, 4, 3), (3, "5", 4, 3), (None, "5", 4, None), (None, None, 4, 4), (None, None, None, None)],
)
def test_a_plans_concurrency_counts_where_nothing_else_is_said(
    monkeypatch: pytest.MonkeyPatch,
    asked: int | None,
    environment: str | None,
    plan: int | None,
    counts: int | None,
) -> None:
    """The request goes first, then the environment (which the settings read), then the plan."""
    if environment is not None:
        monkeypatch.setenv("CALLSHEET_CONCURRENCY", environment)
    assert RunRequest(concurrency=asked).at_plans_concurrency(plan).concurrency == counts
