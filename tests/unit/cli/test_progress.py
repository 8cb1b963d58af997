"""What is said while a run goes on, and at its end."""

import threading

import pytest

from callsheet.cli.session import last_words
from callsheet.cli.views.live import live_lines
from callsheet.cli.views.progress import paint_lines
from callsheet.cli.views.run_line import Before, in_words
from callsheet.cli.views.watch import Moment
from callsheet.engine.finalize import stop_kind
from callsheet.errors import CapReached
from callsheet.ledger import State, Tally

AGAIN = "`callsheet resume spring-1`"


def tally(**counts: int) -> Tally:
    """A run with so many jobs in each state."""
    return Tally(counts={State(name): count for name, count in counts.items()}, held_nano=10**9, spent_nano=0)


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({"held": 6}, "0/6 done, 0 rendering, 6 waiting, 0 failed, spent"),
        ({"submitting": 2, "pending": 1}, "0/3 done, 0 rendering, 1 waiting, 0 failed, 2 being sent, spent"),
        (
            {"in_queue": 1, "in_progress": 2, "held": 1},
            "0/4 done, 2 rendering, 1 queued at fal (the first at position 12,654), 1 waiting",
        ),
        (
            {"succeeded": 1, "already_made": 1, "unknown": 1},
            "2/3 done, 0 rendering, 0 waiting, 0 failed, 1 unk",
        ),
    ],
)
def test_what_waits_at_fal_is_not_rendering(counts, said):
    """A job that is held was not sent, and one in fal's queue does not render."""
    assert in_words(tally(**counts), None, position=12_654).startswith(said)


def test_a_run_without_jobs_of_its_own_counts_what_was_made_before():
    """0/0 would look like a run that has lost its jobs."""
    assert in_words(tally(), None, before=Before(12)).startswith("all 12 already made, spent")
    assert in_words(tally(succeeded=1), None, before=Before(12)).startswith("1/1 done")


def test_what_is_left_to_another_run_is_not_called_made():
    """Nobody has made it: the line names the run that is to go on with it."""
    assert in_words(tally(), None, before=Before(0, {"r-1": 10})).startswith("10 left to run r-1, spent")
    both = Before(2, {"r-1": 10})
    assert in_words(tally(), None, before=both).startswith("2 already made, 10 left to run r-1, spent")
    (line, *_) = live_lines(Moment("r", tally(), 0.0, before=both), width=80, height=9)
    assert str(line) == "r: 2 already made, 10 left to run r-1"


@pytest.mark.parametrize("state", list(State))
def test_every_job_stands_somewhere_in_the_line(state):
    """What is done, rendering, queued, waiting, failed and the rest come to all jobs of the run."""
    said = in_words(tally(**{state.value: 3}), None).partition(", spent")[0]
    assert sum(int(part.split("/")[0].split()[0]) for part in said.split(", ")) == 3


def test_the_last_line_is_always_written_and_no_line_twice(capsys):
    """A run that ends within ten seconds has one line."""
    ended = threading.Event()
    ended.set()
    paint_lines(lambda: Moment("r", tally(held=1), 0.0, rate_per_min=2.0, left_s=120.0), ended)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("0/1 done, 0 rendering, 1 waiting")
    assert line.endswith("2/min, about 2 min left")


@pytest.mark.parametrize(
    ("statuses", "lines"),
    [
        ({"succeeded": 2, "already_made": 1}, []),
        (
            {"succeeded": 2, "skipped_budget": 1},
            ["1 over budget, not sent; raise the cap, then `callsheet retry spring-1` buys them"],
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
    assert last_words({"run_id": "spring-1", "sandbox": False, "statuses": statuses}) == lines


def test_after_a_freeze_the_end_says_what_releases_the_accounts():
    """A cap that is raised would let nothing in: a person checks the bill and releases the accounts."""
    skipped = {"run_id": "r", "sandbox": True, "statuses": {"skipped_budget": 5}, "stop_kind": "freeze"}
    (line,) = last_words(skipped)
    assert line.startswith("5 not sent, because accounts are frozen; check the bill, release them with ")
    assert line.endswith(
        "`callsheet budget unfreeze --sandbox`, then `callsheet retry r --sandbox` buys them"
    )


def test_after_other_prices_the_end_names_the_command_that_accepts_them():
    """A plain `resume` would stop at the same prices again."""
    stopped = {"run_id": "r", "sandbox": True, "statuses": {"pending": 4}, "stop_kind": "prices"}
    assert last_words(stopped) == [
        "nothing was bought; 4 not sent; `callsheet resume r --accept-prices --sandbox` continues with them"
    ]


def test_the_cap_of_a_run_is_raised_by_its_own_command():
    """`budget list` leaves it out, so the end of the run names its scope."""
    (line,) = last_words(
        {"run_id": "r", "sandbox": True, "statuses": {"skipped_budget": 1}, "stop_kind": "run_cap"}
    )
    reached = CapReached("m", scope="run r", limit_nano=1, taken_nano=1, needed_nano=1)
    assert [stop_kind(reached, run_id) for run_id in ("r", "other")] == ["run_cap", ""]
    assert "raise the cap with `callsheet budget set run:r AMOUNT --sandbox`, then `callsheet retry" in line


def test_what_was_bought_again_is_retried_with_again():
    """Without it `retry` takes the videos that there are already."""
    (line,) = last_words({"run_id": "r", "sandbox": False, "statuses": {"skipped_budget": 1}, "again": True})
    assert "`callsheet retry r --again` buys them" in line


def test_a_run_on_the_sandbox_is_resumed_there():
    """The command can be copied as it stands."""
    (line,) = last_words({"run_id": "r", "sandbox": True, "statuses": {"pending": 1}})
    assert "`callsheet resume r --sandbox`" in line
