"""What is said while a run goes on, and at its end."""

import threading

import pytest

from callsheet.cli.views.live import live_lines
from callsheet.cli.views.progress import paint_lines
from callsheet.cli.views.run_line import Before, in_words
from callsheet.cli.views.watch import Moment
from callsheet.ledger import State, Tally


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
