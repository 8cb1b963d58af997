"""What the review's server refuses, and that it writes nowhere but into the run's folder and the ledger."""

import signal
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from callsheet.errors import UsageError
from callsheet.ledger import queries, reviews
from callsheet.review.server import ReviewServer, in_browser, serve_review


def said(reviewed: Any, **more: Any) -> dict[str, Any]:
    """Return a judgement of the last clip."""
    job_id = reviewed.do(queries.jobs, reviewed.run.run_id)[-1].job_id
    return {"job": job_id, "verdict": "keep", "by": "Ana", "seen": 2**40, **more}


def own(reviewed: Any) -> dict[str, str]:
    """Return the headers that the page itself sends."""
    return {"origin": f"http://{urlsplit(reviewed.url).netloc}"}


@pytest.mark.parametrize(
    ("place", "named"),
    [("127.0.0.1:80", "127.0.0.1"), ("[::1]:80", "[::1]"), ("127.0.0.1:8080", "127.0.0.1:8080")],
)
def test_the_usual_port_is_no_part_of_the_name(place: str, named: str) -> None:
    """A browser sends `Host: 127.0.0.1` for port 80: such a call was refused as one of a foreign page."""
    assert in_browser(place) == named


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("", {}, 200),
        ("", {"host": "evil.example"}, 421),
        ("../wrong-token/", {}, 404),
        ("../", {}, 404),
        ("%2e%2e/%2e%2e/ledger.sqlite", {}, 404),
        ("plan.json", {}, 404),
        ("file/999.mp4", {}, 404),
        ("results.csv", {}, 200),
        ("selection.csv", {}, 200),
    ],
)
def test_only_what_the_page_has_is_served(
    reviewed: Any, path: str, headers: dict[str, str], status: int
) -> None:
    """The secret path, by this machine's name, and the files that the page shows."""
    reply = httpx.get(reviewed.url + path, headers=headers)
    assert reply.status_code == status
    assert reply.headers.get("x-frame-options", "DENY") == "DENY"


def test_videos_are_served_in_ranges(reviewed: Any) -> None:
    """A browser can seek in them."""
    httpx.get(reviewed.url)
    reply = httpx.get(reviewed.url + "file/0.mp4", headers={"range": "bytes=4-7"})
    assert (reply.status_code, reply.content, reply.headers["content-type"]) == (206, b"ftyp", "video/mp4")


@pytest.mark.parametrize(
    ("headers", "more", "status"),
    [
        ({"origin": ""}, {}, 403),
        ({"origin": "http://evil.example"}, {}, 403),
        ({"origin": "null"}, {}, 403),
        ({"host": "evil.example"}, {}, 421),
        ({"content-type": "text/plain"}, {}, 415),
        ({}, {"verdict": "maybe"}, 422),
        ({}, {"job": 10**9}, 422),
        ({}, {"note": "x" * 2001}, 422),
        ({}, {"note": "x" * 70_000}, 413),
        ({}, {"surplus": 1}, 422),
        ({}, {"verdict": "retake", "changes": {"take": 9}}, 422),
        ({}, {"verdict": "retake", "changes": {"model": "no-such-model"}}, 422),
    ],
)
def test_what_is_no_judgement_of_the_page_is_refused(
    reviewed: Any, headers: dict[str, str], more: dict[str, Any], status: int
) -> None:
    """Another page, another host, and what cannot be said: nothing is written."""
    body = said(reviewed, **more)
    reply = httpx.post(reviewed.url + "judge", json=body, headers=own(reviewed) | headers)
    assert reply.status_code == status
    assert reviewed.do(reviews.history, [said(reviewed)["job"]]) == []


@pytest.mark.parametrize(
    ("host", "words"), [("0.0.0.0", "name the one address"), ("example.com", "IP address")]
)
def test_an_address_that_says_nothing_is_refused(reviewed: Any, host: str, words: str) -> None:
    """Others could call it by any name."""
    with pytest.raises(UsageError, match=words):
        serve_review(
            reviewed.house.settings.ledger, reviewed.run, host=host, port=0, announce=lambda _url: None
        )


def test_ctrl_c_before_the_server_listens_ends_it(reviewed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A review of many clips takes seconds to open, and a person does not press the keys twice."""
    plain = ReviewServer.run

    def run(server: ReviewServer, **named: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        assert server.should_exit, "the signal is lost, and the server would go on"
        plain(server, **named)

    monkeypatch.setattr(ReviewServer, "run", run)
    ledger = reviewed.house.settings.ledger
    serve_review(ledger, reviewed.run, host="127.0.0.1", port=0, announce=lambda _url: None)
