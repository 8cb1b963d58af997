"""What of a run needs a person, as its end in the terminal and its message say it."""

import pytest

from callsheet.engine.finalize import stop_kind
from callsheet.errors import CapReached
from callsheet.notify.to_do import to_do

AGAIN = "`callsheet resume spring-1`"
ROOM = "raise the cap or wait until it has room (`callsheet budget list`)"


@pytest.mark.parametrize(
    ("statuses", "lines"),
    [
        ({"succeeded": 2, "already_made": 1}, []),
        (
            {"succeeded": 2, "skipped_budget": 1},
            [f"1 over budget, not sent; {ROOM}, then `callsheet retry spring-1` buys them"],
        ),
        ({"pending": 5, "held": 1}, [f"nothing was bought; 6 not sent; {AGAIN} continues with them"]),
        ({"pending": 5, "succeeded": 1}, [f"5 not sent; {AGAIN} continues with them"]),
        (
            {"in_queue": 1, "in_progress": 1, "rendered": 1},
            [
                f"2 at fal, which renders and charges for them; {AGAIN} collects them",
                f"1 rendered and paid for; {AGAIN} downloads the files",
            ],
        ),
    ],
)
def test_the_end_says_what_is_left_and_whether_anything_was_bought(statuses, lines):
    """What is at fal is called paid for, and nothing else is."""
    assert to_do({"run_id": "spring-1", "sandbox": False, "statuses": statuses}) == lines


def test_after_a_freeze_the_end_says_what_releases_the_accounts():
    """A cap that is raised would let nothing in: a person checks the bill and releases the accounts."""
    skipped = {"run_id": "r", "sandbox": True, "statuses": {"skipped_budget": 5}, "stop_kind": "freeze"}
    (line,) = to_do(skipped)
    assert line.startswith(
        "5 not sent, because accounts are frozen; check the bill (`callsheet budget list --s"
    )
    assert line.endswith(
        "`callsheet budget unfreeze --sandbox`, then `callsheet retry r --sandbox` buys them"
    )


def test_after_other_prices_the_end_names_the_command_that_accepts_them():
    """A plain `resume` would stop at the same prices again."""
    stopped = {"run_id": "r", "sandbox": True, "statuses": {"pending": 4}, "stop_kind": "prices"}
    assert to_do(stopped) == [
        "nothing was bought; 4 not sent; `callsheet resume r --accept-prices --sandbox` continues with them"
    ]


def test_the_cap_of_a_run_is_raised_by_its_own_command():
    """`budget list` leaves it out, so the end of the run names its scope."""
    (line,) = to_do(
        {"run_id": "r", "sandbox": True, "statuses": {"skipped_budget": 1}, "stop_kind": "run_cap"}
    )
    reached = CapReached("m", scope="run r", limit_nano=1, taken_nano=1, needed_nano=1)
    assert [stop_kind(reached, run_id) for run_id in ("r", "other")] == ["run_cap", ""]
    assert "raise the cap with `callsheet budget set run:r AMOUNT --sandbox`, then `callsheet retry" in line


def test_what_was_bought_again_is_retried_with_again():
    """Without it `retry` takes the videos that there are already."""
    (line,) = to_do({"run_id": "r", "sandbox": False, "statuses": {"skipped_budget": 1}, "again": True})
    assert "`callsheet retry r --again` buys them" in line


def test_a_run_on_the_sandbox_is_resumed_there():
    """The command can be copied as it stands."""
    (line,) = to_do({"run_id": "r", "sandbox": True, "statuses": {"pending": 1}})
    assert "`callsheet resume r --sandbox`" in line


def test_failures_that_would_fail_again_are_retried_with_all():
    """A plain `retry` leaves them alone, so the line names `--all` and what comes of it."""
    failed = {"run_id": "r", "sandbox": False, "statuses": {"failed": 2}, "dir": "runs/r"}
    assert to_do(failed) == [
        "2 failed; fix the rows of runs/r/errors.csv and run that file, or `callsheet retry r`"
    ]
    (line,) = to_do({**failed, "only_all_retries": True})
    assert line.endswith("or `callsheet retry r --all` buys them as they are, which will probably fail again")


def test_failures_whose_paid_video_fal_may_have_are_not_sent_to_errors_csv():
    """errors.csv leaves them out, `--all` alone does not buy them, and only their own run can retry them."""
    failed = {"run_id": "r", "sandbox": True, "statuses": {"failed": 2}, "fetchable": {"r": 1, "q": 1}}
    assert to_do({**failed, "dir": "runs/r"}) == [
        "1 failed, but paid for, so not in errors.csv; `callsheet reconcile --sandbox` downloads what fal "
        f"still has for free, `callsheet retry {run} --all --again --sandbox` buys again"
        for run in ("r", "q")
    ]


def test_what_another_run_goes_on_with_is_not_left():
    """The other run sends and collects it; nobody has to do anything about it here."""
    summary = {"run_id": "r", "sandbox": False, "statuses": {"pending": 3, "in_queue": 1}}
    elsewhere = {"q": {"pending": 3, "in_queue": 1}}
    assert to_do({**summary, "elsewhere": elsewhere}) == []
