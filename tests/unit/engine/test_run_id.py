"""The name of a run, which people type in commands."""

import re

import pytest

from callsheet.engine.open_run import new_run_id


@pytest.mark.parametrize(
    ("campaign", "begins_with"),
    [
        ("spring-launch", "spring-launch"),
        ("Frühling & Größe", "fruhling-grosse"),
        ("spring\N{EN DASH}launch", "spring-launch"),
        ("春", "run"),
        ("x" * 100, "x" * 40),
    ],
)
def test_a_run_is_named_after_its_campaign_in_plain_letters(campaign: str, begins_with: str) -> None:
    """An accent costs no letter, and whatever a shell could take for its own becomes a hyphen."""
    assert re.fullmatch(begins_with + r"-\d{8}-\d{6}-[0-9a-f]{4}", new_run_id(campaign))
