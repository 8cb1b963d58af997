"""Which submissions an account may say something about."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from callsheet.ledger import Submission
from callsheet.reconciliation.account import AccountSession
from callsheet.settings import ApiKey, Settings

FAL = "https://queue.fal.run"
KEY = ApiKey("mine:secret")
SENT = Submission(submission_id=1, job_id=1, number=1, hold_nano=1, admitted_ms=0, sent_ms=0)


def session(queue_url: str) -> AccountSession:
    """Return a session with one key and queue; nothing else of it is used."""
    unused: Any = None
    settings = Settings(data_dir=Path("unused"), key=KEY, queue_url=queue_url)
    return AccountSession(
        settings=settings, catalog=unused, ledger=unused, do=unused, queue=unused, platform=unused
    )


@pytest.mark.parametrize(
    ("ours", "theirs", "account", "speaks"),
    [
        (FAL, FAL, KEY.account, True),
        (FAL, FAL, ApiKey("mine:rotated").account, True),
        (FAL, FAL, ApiKey("other:secret").account, False),
        (FAL, "https://queue.example", KEY.account, False),
        (FAL, "http://127.0.0.1:8790", KEY.account, False),
        ("http://127.0.0.1:8790", FAL, KEY.account, False),
        ("http://127.0.0.1:8790", "http://localhost:9000", KEY.account, True),
        (FAL, "", KEY.account, True),
        (FAL, FAL, "", True),
    ],
)
def test_only_the_key_and_the_queue_of_a_submission_say_something_about_it(ours, theirs, account, speaks):
    """Another account's 404 and another queue's prove nothing; what an older ledger did not keep is ours."""
    sent = replace(SENT, queue_url=theirs, account=account)
    assert session(ours).speaks_for(sent) is speaks
    assert session(ours).speaks_for(None)
