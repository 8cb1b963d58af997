"""Which of several scheduled runs is carried out, and when a watched manifest is run."""

import os
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from callsheet.engine.schedule_rules import (
    ScheduledRun,
    ScheduleRules,
    Watched,
    fingerprint_of,
    look,
    superseded,
)
from callsheet.errors import UsageError

BERLIN = ZoneInfo("Europe/Berlin")
WAIT, SKIP = ScheduleRules(), ScheduleRules(overlap="skip")
NEVER = ScheduleRules(catch_up="never")
NEVER_SKIP = ScheduleRules(catch_up="never", overlap="skip")


def at(text: str) -> datetime:
    """Return a moment in Berlin, `03-29 02:00`."""
    return datetime.strptime(f"2026-{text} +0000", "%Y-%m-%d %H:%M %z").replace(tzinfo=BERLIN).astimezone(UTC)


def run(due: str, begun: str = "", *, counts: bool = True, skipped: bool = False) -> ScheduledRun:
    """Return another run."""
    return ScheduledRun(at(due), at(begun) if begun else None, counts=counts, skipped=skipped)


BY_OTHERS = [
    # due, now, the others, the one that stands for it
    ("11-03 02:00", "11-03 02:01", [], None),
    ("11-03 02:00", "11-06 09:00", [run("11-04 02:00"), run("11-05 02:00")], "2026-11-05 01:00"),
    ("11-05 02:00", "11-06 09:00", [run("11-03 02:00"), run("11-04 02:00")], None),
    ("11-05 02:00", "11-06 09:00", [run("11-06 02:00", counts=False)], None),
    ("11-05 02:00", "11-06 01:00", [run("11-06 02:00")], None),  # that one is not due yet
    ("11-05 02:00", "11-06 09:00", [run("11-06 02:00", "11-06 08:00")], "2026-11-06 01:00"),
    # The night of 23 hours, and the one of 25: one hour of the clock, not of time, lies between.
    ("03-28 02:00", "03-29 01:59", [run("03-29 03:00")], None),
    ("03-28 02:00", "03-29 03:00", [run("03-29 03:00")], "2026-03-29 01:00"),
    ("10-24 02:00", "10-25 03:00", [run("10-25 02:00")], "2026-10-25 00:00"),
]


@pytest.mark.parametrize(("due", "now", "others", "stands_for_it"), BY_OTHERS)
def test_of_the_runs_that_wait_the_newest_that_is_due_is_carried_out(due, now, others, stands_for_it):
    """The reason names the run that stands for it; cancelled and superseded ones stand for nothing."""
    why = superseded(at(due), others, now=at(now), rules=WAIT)
    assert why == (stands_for_it and f"superseded by the run of {stands_for_it} UTC")


def test_where_overlapping_runs_are_skipped_the_first_stands_for_those_that_were_due():
    """Prefect cancels the others while it goes on, so it must not leave the work to one of them."""
    waiting = [run("11-04 02:00"), run("11-05 02:00")]
    assert superseded(at("11-03 02:00"), waiting, now=at("11-06 09:00"), rules=SKIP) is None
    first = [run("11-03 02:00", "11-06 09:00")]
    why = superseded(at("11-05 02:00"), first, now=at("11-06 09:01"), rules=SKIP)
    assert why == "superseded by the run of 2026-11-03 01:00 UTC"
    assert superseded(at("11-07 02:00"), first, now=at("11-07 02:00"), rules=SKIP) is None


@pytest.mark.parametrize(("now", "is_missed"), [("11-03 03:00", False), ("11-03 03:01", True)])
def test_a_missed_run_that_is_not_caught_up_says_so(now, is_missed):
    """An hour after its time it is missed."""
    why = superseded(at("11-03 02:00"), [], now=at(now), rules=NEVER)
    assert (
        why == "missed: it was due at 2026-11-03 01:00 UTC, and missed runs are not caught up"
    ) is is_missed


IN_PLACE_OF_ANOTHER = [
    # the others of a missed run of 11-01 that has the place at 11-03 02:20, whether it is carried out
    ([run("11-03 02:00")], True),  # Prefect may skip it in this moment
    ([run("11-03 02:00", counts=False, skipped=True)], True),
    ([run("11-03 02:00", counts=False)], False),  # a person has cancelled it
    ([run("11-03 02:00", "11-03 02:01")], False),  # it has begun itself
    ([run("11-02 02:00")], False),  # it was missed as well
    ([run("11-04 02:00")], False),  # it is not due yet
    ([run("11-03 02:00", counts=False, skipped=True), run("11-02 02:00", "11-03 02:10")], False),
]


@pytest.mark.parametrize(("others", "is_carried_out"), IN_PLACE_OF_ANOTHER)
def test_a_missed_run_is_carried_out_in_place_of_one_that_prefect_skips_for_it(others, is_carried_out):
    """It has the place for a moment, and a night that came in time must not be lost for that."""
    why = superseded(at("11-01 02:00"), others, now=at("11-03 02:20"), rules=NEVER_SKIP)
    assert (why is None) is is_carried_out
    assert superseded(at("11-01 02:00"), others, now=at("11-03 02:20"), rules=NEVER)


@pytest.mark.parametrize("month", [3, 10, 11])
def test_in_a_month_of_nights_with_absences_every_return_is_carried_out_once(month):
    """Whatever order the missed runs begin in, the newest is carried out and every other one is not."""
    nights = [datetime(2026, month, day, 2, tzinfo=BERLIN) for day in range(1, 31)]
    carried_out: list[datetime] = []
    for first, back in [(1, 1), (2, 5), (6, 6), (7, 20), (21, 30)]:  # a worker is back on these days
        due = nights[first - 1 : back]
        now = due[-1] + timedelta(minutes=5)
        for own in reversed(due) if back % 2 else due:
            others = [ScheduledRun(each) for each in nights if each != own]
            if superseded(own, others, now=now, rules=WAIT) is None:
                carried_out.append(own)
    assert [each.day for each in carried_out] == [1, 5, 6, 20, 30]


def test_a_change_is_run_once_and_only_when_two_looks_saw_the_same():
    """A file that is still being written is waited for; an empty folder starts nothing."""
    seen, started = Watched(), []
    for now in ["", "a", "a", "a", "b", "c", "c", "", "c", "c", "d", "d"]:
        seen, is_due = look(seen, now)
        started += [now] * is_due
    assert started == ["a", "c", "d"]


def test_names_sizes_times_and_the_campaign_file_tell_a_change(tmp_path):
    """What is read from a folder; what does not belong to the manifest changes nothing."""
    folder = tmp_path / "shots"
    folder.mkdir()
    source = tmp_path / "c.toml"
    source.write_text('[campaign]\nname = "c"\nmanifest = "shots/*.csv"\n')
    assert fingerprint_of(str(source)) == ""
    first = folder / "a.csv"
    first.write_text("prompt\na\n")
    prints = [fingerprint_of(str(source))]
    (folder / "notes.txt").write_text("nothing to do with it")
    assert fingerprint_of(str(source)) == prints[0]
    first.write_text("prompt\nab\n")
    prints.append(fingerprint_of(str(source)))
    os.utime(first, ns=(1, 1))
    prints.append(fingerprint_of(str(source)))
    (folder / "b.csv").write_text("prompt\nb\n")
    prints.append(fingerprint_of(str(source)))
    source.write_text(source.read_text() + "[budget]\ntotal_usd = 5\n")
    prints.append(fingerprint_of(str(source)))
    assert len(set(prints)) == 5


def test_a_web_address_cannot_be_watched():
    """It has no list of files; the message says what can be."""
    with pytest.raises(UsageError, match="only a folder, a file or a prefix"):
        fingerprint_of("https://example.com/shots.csv")
