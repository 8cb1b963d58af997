"""What Prefect's pages are told of a run's end."""

import pytest

from tasks.artifacts import _in_words

SUMMARY = {
    "run_id": "spring-1",
    "campaign": "spring",
    "dir": "/runs/spring-1",
    "statuses": {"succeeded": 2},
    "actual_usd": "0.2",
    "expected_usd": "0.2",
    "stopped_by": "",
    "remarks": [],
    "published": None,
    "sandbox": False,
}


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (
            {},
            (
                "[Report](file:///runs/spring-1/report.html): `/runs/spring-1/report.html` on the machine "
                "that rendered. Where the browser refuses the link, open that file"
            ),
        ),
        (
            {"published": "s3://clips/spring-1", "sandbox": True},
            (
                "Report: `s3://clips/spring-1/report.html`. `callsheet report spring-1 --sandbox --presign "
                "7d` makes a page that a browser opens"
            ),
        ),
    ],
)
def test_the_report_is_where_the_reader_can_open_it(more, line):
    """A link to this disk has its path beside it; for a store there is the command that makes links."""
    assert line in _in_words({**SUMMARY, **more}).splitlines()
