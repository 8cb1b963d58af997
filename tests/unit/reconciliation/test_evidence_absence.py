"""When a submission counts as absent: the deadline of what was sent, and two looks apart."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.ledger import Submission
from callsheet.reconciliation.evidence import (
    CLOCK_SLACK_MS,
    MIN_GAP_MS,
    Due,
    certain_now_ms,
    gap_ms,
    window_ms,
)
from callsheet.settings import Settings

SETTINGS = Settings(data_dir=Path("unused"), start_timeout_s=3600, run_timeout_s=1800, history_lag_s=600)
SENT = Submission(submission_id=1, job_id=1, number=1, hold_nano=1, admitted_ms=0, sent_ms=0)
DUE = Due(deadline_ms=1_000_000, gap_ms=300_000)


@pytest.mark.parametrize(
    ("sent_s", "today_s", "counted_s"),
    [(900, 3600, 900), (7200, 3600, 7200), (None, 60, 3600), (None, 7200, 7200)],
)
def test_the_wait_that_was_sent_counts(sent_s, today_s, counted_s):
    """Where it is not known, today's setting or the default counts, whichever is longer."""
    settings = replace(SETTINGS, start_timeout_s=today_s)
    assert window_ms(settings, replace(SENT, start_timeout_s=sent_s)) == 1000 * (counted_s + 1800 + 600)


@given(sent_s=st.integers(1, 604_800), today_s=st.integers(1, 604_800))
def test_no_setting_makes_the_window_shorter_than_what_was_sent(sent_s, today_s):
    """Lowering the wait for a start after a POST was lost changes nothing for it."""
    settings = replace(SETTINGS, start_timeout_s=today_s)
    assert window_ms(settings, replace(SENT, start_timeout_s=sent_s)) >= 1000 * sent_s


@pytest.mark.parametrize(("lag_s", "found_ms"), [(600, 300_000), (0, MIN_GAP_MS), (60, 30_000), (62, 31_000)])
def test_the_gap_follows_the_lag(lag_s, found_ms):
    """Five minutes with the default lag, never less than half a minute."""
    assert gap_ms(replace(SETTINGS, history_lag_s=lag_s)) == found_ms


@pytest.mark.parametrize(
    ("first_ms", "look_ms", "is_absent", "again_ms"),
    [
        (None, 9_999_999, False, 1_000_000),
        (999_999, 9_999_999, False, 1_000_000),
        (1_000_000, 1_299_999, False, 1_300_000),
        (1_000_000, 1_300_000, True, 1_300_000),
        (9_000_000, 1_300_000, False, 9_300_000),
    ],
    ids=["no first", "first too early", "too soon", "in time", "a clock that went back"],
)
def test_only_a_second_look_after_the_gap_decides(first_ms, look_ms, is_absent, again_ms):
    """The first look has to be after the deadline, and the second one late enough after it."""
    due = replace(DUE, first_look_ms=first_ms)
    assert (due.is_absent(look_ms), due.again_ms) == (is_absent, again_ms)


@pytest.mark.parametrize(
    ("fals_ms", "ours_ms", "certain_ms"),
    [
        (5_000_000, 4_999_000, 4_999_000),
        (4_999_000, 5_000_000, 4_999_000),
        (5_000_000, 5_000_000 + CLOCK_SLACK_MS, 5_000_000),
        (5_000_000, 5_000_001 + CLOCK_SLACK_MS, None),
        (5_000_001 + CLOCK_SLACK_MS, 5_000_000, None),
        (None, 5_000_000, None),
    ],
    ids=[
        "ours is behind",
        "fal's is behind",
        "just alike",
        "ours is ahead",
        "fal's is ahead",
        "fal says none",
    ],
)
def test_only_the_earlier_of_two_clocks_has_certainly_come(fals_ms, ours_ms, certain_ms):
    """A clock that is ahead would end a deadline early, and free money that may be spent."""
    assert certain_now_ms(fals_ms, ours_ms) == certain_ms
