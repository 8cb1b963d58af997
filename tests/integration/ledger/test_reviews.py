"""Verdicts of people: the newest counts, the older ones stay."""

import pytest

from callsheet.errors import JudgedMeanwhile, LedgerError, UsageError
from callsheet.ledger import State, finishing, queries, reviews
from callsheet.ledger.reviews import NAME_MAX_CHARS, NOTE_MAX_CHARS
from tests.integration.ledger.conftest import COST_NANO, NOON_MS, new_finish


def test_the_newest_judgement_counts_and_the_others_stay(desk) -> None:
    """A second verdict takes the place of the first, which can still be read."""
    first, second, third = desk.run(3)
    said = desk.ledger.do(reviews.judge, first, verdict="keep", by="Ana")
    changes = {"prompt": "A lamp", "seed": 7, "take": 2}
    desk.ledger.do(reviews.judge, second, verdict="reject", note="blurred")
    again = desk.ledger.do(reviews.judge, first, verdict="retake", note="\u00fc", changes=changes, by="Bo")
    latest = desk.ledger.do(reviews.latest, [first, second, third])
    assert latest[first] == again
    assert (latest[first].changes, latest[first].by) == (changes, "Bo")
    assert (latest[second].verdict, latest[second].note, third in latest) == ("reject", "blurred", False)
    assert desk.ledger.do(reviews.history, [first]) == [said, again]


def test_a_verdict_is_taken_back(desk) -> None:
    """An empty verdict counts like any other."""
    (job_id,) = desk.run()
    desk.ledger.do(reviews.judge, job_id, verdict="keep")
    desk.ledger.do(reviews.judge, job_id, verdict="")
    assert desk.ledger.do(reviews.latest, [job_id])[job_id].verdict == ""


def test_nobody_overwrites_what_they_have_not_seen(desk) -> None:
    """Who judges on an older state is told so, and nothing is written."""
    (job_id,) = desk.run()
    first = desk.ledger.do(reviews.judge, job_id, verdict="keep", by="Ana", seen=0)
    with pytest.raises(JudgedMeanwhile, match="Ana"):
        desk.ledger.do(reviews.judge, job_id, verdict="reject", by="Bo", seen=0)
    desk.ledger.do(reviews.judge, job_id, verdict="reject", by="Bo", seen=first.review_id)
    assert len(desk.ledger.do(reviews.history, [job_id])) == 2


@pytest.mark.parametrize(
    "said",
    [
        {"verdict": "maybe"},
        {"verdict": "keep", "note": "x" * (NOTE_MAX_CHARS + 1)},
        {"verdict": "keep", "by": "x" * (NAME_MAX_CHARS + 1)},
    ],
)
def test_what_is_no_judgement_is_refused(desk, said: dict[str, str]) -> None:
    """Another word, a text without end and a job that does not exist."""
    (job_id,) = desk.run()
    with pytest.raises(UsageError):
        desk.ledger.do(reviews.judge, job_id, **said)
    with pytest.raises(UsageError, match="no job"):
        desk.ledger.do(reviews.judge, job_id + 1, verdict="keep")
    assert desk.ledger.do(reviews.history, [job_id]) == []


def test_the_database_knows_the_verdicts(desk) -> None:
    """Even SQL of one's own cannot write another word."""
    (job_id,) = desk.run()
    with pytest.raises(LedgerError):
        desk.sql(
            'INSERT INTO review (at_ms, job_id, verdict, note, changes, "by") '
            f"VALUES (1, {job_id}, 'maybe', '', '{{}}', '')"
        )


def test_made_clips_are_read_with_their_newest_verdict(desk) -> None:
    """What failed is no clip; a draft that is finished is kept, unless somebody says otherwise."""
    jobs = desk.run(4)
    for job_id in jobs[:3]:
        desk.bring(job_id, State.SUCCEEDED)
    for verdict in ("keep", "reject"):
        desk.ledger.do(reviews.judge, jobs[0], verdict=verdict)
    desk.ledger.do(finishing.finish, desk.ledger.do(queries.job, jobs[1]).run_id, [new_finish(jobs[1])])
    found = list(desk.ledger.stream(reviews.made_clips))
    assert sorted(clip.verdict for clip in found) == ["", "keep", "reject"]
    assert {clip.spent_nano for clip in found} == {COST_NANO}
    model = desk.ledger.do(queries.job, jobs[0]).model
    assert sorted(clip.verdict for clip in desk.ledger.do(reviews.judged_clips, [model])) == [
        "keep",
        "reject",
    ]
    assert desk.ledger.do(reviews.judged_clips, ["another"]) == []
    assert list(desk.ledger.stream(reviews.made_clips, since_ms=NOON_MS + 10**9)) == []
