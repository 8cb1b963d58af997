"""What people and programs are told."""

import pytest

from callsheet.ledger import Account, AccountRef
from callsheet.notify import message

DAY = AccountRef("campaign", "spring", "2026-11-29")
SUMMARY = {
    "run_id": "spring-1",
    "campaign": "spring",
    "dir": "/runs/spring-1",
    "published": None,
    "sandbox": False,
    "exit_code": 0,
    "statuses": {"succeeded": 12},
    "failed": 0,
    "unknown": 0,
    "skipped": 0,
    "expected_usd": "3.40",
    "actual_usd": "3.20",
}


def cap(taken: int, limit: int | None = 100) -> Account:
    """Return an account of which this much is taken, in dollars."""
    limit_nano = None if limit is None else limit * 10**9
    return Account(ref=DAY, limit_nano=limit_nano, held_nano=10**9, spent_nano=(taken - 1) * 10**9)


def test_the_end_of_a_run_is_counts_money_against_caps_and_the_report():
    """Five lines are enough for a mail in the morning."""
    told = message.finished(SUMMARY, [cap(38, 40)])
    assert told.title == "spring finished: 12 succeeded"
    assert told.text.splitlines() == [
        "Cost: $3.20, expected $3.40.",
        "$38.00 of $40.00 (campaign spring in 2026-11-29).",
        "Report: /runs/spring-1/report.html",
    ]
    assert (told.facts["actual_usd"], told.facts["exit_code"]) == ("3.20", 0)


def test_what_needs_a_person_stands_in_the_message_with_its_command():
    """Failed, unknown and unfinished jobs, each with what to do; the title says that there is something."""
    statuses = {"succeeded": 9, "failed": 1, "unknown": 2, "pending": 3, "skipped_budget": 4}
    more = {"failed": 1, "unknown": 2, "skipped": 4, "exit_code": 7, "sandbox": True, "statuses": statuses}
    told = message.finished({**SUMMARY, **more, "published": "s3://bucket/spring-1"}, [])
    assert told.title.startswith("spring (sandbox) needs you: 9 succeeded, 1 failed, 2 unknown")
    failed, unknown, waiting, skipped = (
        line for line in told.text.splitlines() if line.startswith("To do: ")
    )
    assert failed.startswith("To do: 1 failed; fix the rows of /runs/spring-1/errors.csv and run that file")
    assert unknown.startswith("To do: 2 unknown, their money is held; `callsheet reconcile --sandbox`")
    assert waiting == "To do: 3 not sent; `callsheet resume spring-1 --sandbox` continues with them"
    assert skipped.endswith("then `callsheet retry spring-1 --sandbox` buys them")
    assert told.text.endswith("Report: s3://bucket/spring-1/report.html")


def test_what_a_person_cancelled_has_not_failed():
    """The summary counts both as failed. The message names the command that buys what was cancelled."""
    statuses = {"cancelled": 12, "succeeded": 1}
    for sandbox, option in ((False, ""), (True, " --sandbox")):
        more = {"failed": 12, "exit_code": 4, "statuses": statuses, "sandbox": sandbox}
        told = message.finished({**SUMMARY, **more}, [])
        assert [line for line in told.text.splitlines() if line.startswith("To do")] == [
            f"To do: 12 cancelled; `callsheet retry spring-1{option}` buys them"
        ]


@pytest.mark.parametrize(
    ("account", "levels"),
    [
        (cap(49), []),
        (cap(50), [50]),
        (cap(99), [50, 80, 90]),
        (cap(100), [50, 80, 90, 100]),
        (cap(99, None), []),
    ],
)
def test_a_cap_is_told_at_its_levels(account, levels):
    """What is reserved counts; an account without a cap has no levels."""
    assert message.crossed(account) == levels


def test_the_same_level_of_another_cap_is_another_message():
    """A cap that was raised, and the next day's, are told again."""
    keys = {
        message.budget(account, 80, campaign="spring", run_id="r", is_highest=True).key
        for account in (
            cap(80),
            cap(85),
            cap(80, 90),
            Account(ref=AccountRef("campaign", "spring", "2026-11-30"), limit_nano=10**11),
        )
    }
    assert len(keys) == 3


def test_a_run_that_ends_in_another_way_later_is_told_again():
    """Resuming a finished run changes nothing; a retry that brings more does."""
    first = message.finished(SUMMARY, [])
    assert message.finished(SUMMARY, [cap(1)]).key == first.key
    assert message.finished({**SUMMARY, "statuses": {"succeeded": 13}}, []).key != first.key
