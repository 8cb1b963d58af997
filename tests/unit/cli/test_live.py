"""The live display of a run, line by line."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.cells import cell_len

from callsheet.cli.views.live import live_lines, said
from callsheet.cli.views.watch import Lane, Moment
from callsheet.ledger import Account, AccountRef, State, Tally

USD = 10**9
LANE = Lane("scene-7", "seedance-1.0-pro-fast", State.IN_PROGRESS, age_s=30.0, usual_s=41.0)
QUEUED = replace(LANE, state=State.IN_QUEUE, position=12_654, age_s=200.0)
CAP = Account(
    ref=AccountRef("campaign", "spring", "2026-11-21"),
    limit_nano=20 * USD,
    held_nano=USD,
    spent_nano=4 * USD,
)
NOW = Moment(
    run_id="spring-20261129-094109-a6d1",
    tally=Tally(
        counts={State.SUCCEEDED: 30, State.FAILED: 2, State.PENDING: 60, State.IN_PROGRESS: 8},
        held_nano=USD,
        spent_nano=3 * USD,
    ),
    elapsed_s=754.0,
    lanes=(LANE, None, QUEUED),
    slots=10,
    cap=CAP,
    rate_per_min=3.14,
    left_s=1200.0,
)


def drawn(now: Moment, width: int = 100, height: int = 40, **options: bool) -> list[str]:
    """The lines as text."""
    return [line.plain for line in live_lines(now, width=width, height=height, **options)]


@pytest.mark.parametrize(
    ("lane", "kind", "longest", "shortest"),
    [
        (LANE, "rendering", "rendering, about 11 s left", "rendering"),
        (replace(LANE, age_s=45.0), "rendering", "rendering", "rendering"),
        (replace(LANE, age_s=90.0), "late", "rendering, slow (usually 41 s)", "rendering, slow"),
        (replace(LANE, overdue="x"), "late", "rendering, overdue", "overdue"),
        (replace(LANE, silent_s=45.0), "late", "rendering, no answer for 45 s", "no answer 45 s"),
        (QUEUED, "queued", "queued at fal, position 12,654", "queued at 12,654"),
        (replace(QUEUED, position=None), "queued", "queued at fal", "queued at fal"),
        (replace(QUEUED, overdue="x"), "late", "queued at fal, overdue", "overdue"),
        (replace(LANE, state=State.HELD), "sending", "being sent to fal", "being sent"),
        (replace(LANE, state=State.UNKNOWN), "unknown", "not known whether fal has it", "not known"),
    ],
)
def test_queued_rendering_and_hung_are_told_apart(lane, kind, longest, shortest):
    """A long queue is not a render, and neither is silence; each has a mark and words of its own."""
    found, words = said(lane)
    assert (found, words[0], words[-1]) == (kind, longest, shortest)


def test_a_wide_terminal_has_a_lane_for_each_slot():
    """Name, model, what it does and its age; the money beside the nearest cap; the rate and the time left."""
    assert drawn(NOW) == [
        "spring-20261129-094109-a6d1" + " " * 68 + "12:34",
        "██████████▓▒" + "░" * 21 + " 32/100 done  about 20 min left, 3.14/min",
        "60 waiting, 2 failed",
        f" 1 ● {'scene-7':<28} seedance-1.0-pro-fast {'rendering, about 11 s left':<36}    0:30",
        " 2 · free",
        f" 3 ○ {'scene-7':<28} seedance-1.0-pro-fast {'queued at fal, position 12,654':<36}    3:20",
        "   8 of 10 slots not used by this run",
        "this run: spent $3.0000, held $1.0000",
        "███████▒" + "░" * 25,
        "spent $4.0000, held $1.0000, free $15.0000 of $20.0000",
        "cap of campaign spring per day",
    ]


@pytest.mark.parametrize("width", [20, 40, 60, 79, 80, 100, 200])
@pytest.mark.parametrize("plain", [False, True])
def test_no_line_is_wider_than_the_terminal(width, plain):
    """Names in wide letters, large amounts and long reasons are cut to fit."""
    lanes = (replace(QUEUED, name="\u96e8\u306e\u8857" * 20), replace(LANE, name="n" * 300), LANE)
    now = replace(NOW, lanes=lanes, trouble="fal answers 503 " * 20, cap=replace(CAP, frozen=True))
    lines = drawn(now, width=width, plain=plain)
    assert max(map(cell_len, lines)) <= width
    assert all(line.isascii() for line in lines if "\u96e8" not in line) or not plain


def test_a_narrow_terminal_still_says_what_each_job_does():
    """At 60 columns the model is short, and what happens stays whole."""
    lines = drawn(NOW, width=60)
    assert " 1 ● scene-7           1.0-pro-fast rendering           0:30" in lines
    assert " 3 ○ scene-7           1.0-pro-fast queued at 12,654    3:20" in lines


def test_at_40_columns_no_figure_is_cut_off():
    """The time left, the counts and what is free under the cap go on the next line."""
    counts = {**NOW.tally.counts, State.RENDERED: 3, State.SKIPPED_BUDGET: 4}
    lane = replace(LANE, name="glass-teapot-cup-number-23deb5")
    now = replace(NOW, lanes=(lane,), tally=replace(NOW.tally, counts=counts))
    lines = drawn(now, width=40)
    text = "\n".join(lines)
    assert "about 20 min left, 3.14/min" in lines
    assert "60 waiting, 2 failed, 3 to fetch,\n4 skipped" in text
    assert "spent $4.0000, held $1.0000,\nfree $15.0000 of $20.0000" in text
    assert " 1 ● glass-~eb5 rendering           0:30" in lines
    assert len(drawn(replace(now, lanes=(LANE,) * 40, slots=40), width=40, height=24)) <= 24


def test_more_lanes_than_lines_are_counted():
    """A low terminal shows the first lanes and how many there are besides."""
    now = replace(NOW, lanes=(LANE,) * 40, slots=40)
    assert len(drawn(now, height=24)) <= 24
    assert "   and 25 more" in drawn(now, height=24)


def test_the_end_leaves_no_lanes_behind():
    """What stays in the terminal is the outcome."""
    assert not any("scene-7" in line for line in drawn(NOW, over=True))


def test_names_cannot_command_the_terminal():
    """Escape codes, line breaks and direction marks of a manifest are shown as text."""
    evil = "\x1b]52;c;ZXZpbA==\x07\x1b[2Jcat\u202egnp\nsecond\u2066line"
    now = replace(NOW, lanes=(replace(LANE, name=evil, model=evil),), run_id=evil, trouble=evil)
    now = replace(now, cap=replace(CAP, ref=AccountRef("client", evil)))
    text = "".join(drawn(now, width=300))
    assert not set(text) & set("\x1b\x07\n\u202e\u2066")
    assert "\\x1b[2Jcat\\u202egnp second\\u2066line" in text
