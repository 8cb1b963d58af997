import base64
import hashlib
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from callsheet.report import page
from callsheet.report.page import card_of, existing_thumbnails, render_page
from callsheet.report.rows import ResultRow, thumbnail_of
from callsheet.report.summary import RunFacts, summarise

MakeRow = Callable[..., ResultRow]

HOSTILE = [
    "<script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg onload=alert(1)>",
    "javascript:alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "<!--",
    "]]><script>alert(1)</script>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "\u202e<b>gnp.exe\u0000\u001b]52;c;x\u0007",
    '" autofocus onfocus="alert(1)',
]


class Reader(HTMLParser):
    """Collects what a browser would see: elements, attributes and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page_of(run: RunFacts, *rows: ResultRow, posters: frozenset[str] = frozenset()) -> str:
    """Render the page of these rows."""
    return render_page(summarise(run, rows), rows, posters)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(run: RunFacts, make_row: MakeRow, text: str) -> None:
    """Whatever stands in a prompt, a name, an error or a path, no element and no handler comes of it."""
    row = make_row(
        "failed",
        prompt=text,
        custom_id=text,
        client=text,
        error=text,
        error_type=text,
        output_path=f"media/{text}.mp4",
        output_url=text,
    )
    plain = Reader(page_of(run, make_row("failed", error="no", error_type="e", client="c", output_path="a")))
    seen = Reader(page_of(run, row))
    assert [tag for tag, _ in seen.elements if tag != "div"] == [
        tag for tag, _ in plain.elements if tag != "div"
    ]
    assert not any(name.startswith("on") for _, attributes in seen.elements for name in attributes)
    shown = "".join(char for char in text if char.isprintable())
    assert shown in seen.text


@pytest.mark.parametrize(
    ("url", "followed"),
    [
        ("https://v3.fal.media/a.mp4", True),
        ("http://127.0.0.1:8000/a.mp4", True),
        ("javascript:alert(1)", False),
        ("JaVaScRiPt:alert(1)", False),
        ("data:text/html,<script>", False),
        ("//evil.example/a", False),
        ("http://[broken", False),
        ("", False),
    ],
)
def test_only_web_addresses_are_links(make_row: MakeRow, url: str, followed: bool) -> None:
    """A link is a web address or no link."""
    assert card_of(make_row(output_url=url)).link == (url if followed else "")


def test_the_page_fetches_nothing_from_elsewhere(run: RunFacts, make_row: MakeRow) -> None:
    """Everything that a browser loads lies beside the page, and there is no script."""
    html = page_of(run, make_row(), make_row("failed", custom_id="b", error="no"))
    seen = Reader(html)
    loaded = [each.get("src") or each.get("poster") or "" for each in seen.all("video") + seen.all("img")]
    assert loaded
    assert all(not urlsplit(address).scheme and not address.startswith("/") for address in loaded)
    assert not seen.all("script")
    assert not seen.all("link")
    assert "url(" not in html
    assert "@import" not in html


def test_the_policy_allows_the_pages_own_style_alone(run: RunFacts, make_row: MakeRow) -> None:
    """The policy names the style by its hash, so that no other one is applied."""
    html = page_of(run, make_row())
    found = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert found is not None
    digest = base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()
    policy = next(each["content"] for each in Reader(html).all("meta") if "http-equiv" in each)
    assert policy is not None
    assert f"style-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "style=" not in html


def test_videos_load_only_when_played(run: RunFacts, make_row: MakeRow) -> None:
    """A clip is a player with its still, and loads nothing before it is played."""
    row = make_row(output_path="media/acme/a b#1.mp4")
    html = page_of(run, row, posters=frozenset({"posters/acme/a b#1.jpg"}))
    assert Reader(html).all("video") == [
        {
            "controls": None,
            "playsinline": None,
            "preload": "none",
            "src": "media/acme/a%20b%231.mp4",
            "poster": "posters/acme/a%20b%231.jpg",
        }
    ]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({}, ["finished", "1248 \u00d7 704", "5.04 s", "$0.1030", "expected $0.1030"]),
        ({"has_audio": True}, ["sound"]),
        (
            {"status": "failed", "error": "The filter refused it.", "charged": "no"},
            ["The filter", "not charged"],
        ),
        ({"status": "failed", "error": "Hm.", "charged": "unknown"}, ["may be charged"]),
        ({"status": "unknown"}, ["outcome unknown", "callsheet reconcile", "not settled"]),
        ({"status": "skipped_budget", "actual_nano": 0}, ["skipped", "over budget", "$0.00"]),
        ({"status": "in_progress"}, ["rendering", "720p · 16:9 · 5 s"]),
        ({"status": "already_made"}, ["already made"]),
    ],
)
def test_a_card_says_it_in_words(
    run: RunFacts, make_row: MakeRow, row: dict[str, object], words: list[str]
) -> None:
    """What became of a clip, what it cost and what can be done about it stands on its card."""
    text = Reader(page_of(run, make_row(**row))).text
    assert all(word in text for word in words), text


def test_totals_stand_at_the_top(run: RunFacts, make_row: MakeRow) -> None:
    """Spent, expected, the most it could be and the cap are dollars; the campaign is the heading."""
    text = Reader(page_of(run, make_row(), make_row("failed", custom_id="b", actual_nano=0))).text
    sums = ("$0.11", "$0.21", "$5.00", "Totals are rounded up to the cent")
    for words in ("Spring <launch>", "1 of 2 clips finished", "2026-11-21", *sums):
        assert words in text


def test_tables_add_up_to_what_is_spent(run: RunFacts, make_row: MakeRow) -> None:
    """By model and by client, the cents of a column are those of the total at the top."""
    rows = [
        make_row(custom_id=f"r{n}", client=f"c{n}", actual_nano=33_333_333, expected_nano=11_000_001)
        for n in range(3)
    ]
    html = page_of(run, *rows)
    cells = re.findall(r'<td(?: class="expected")? title="[^"]*">\$(\d+)\.(\d\d)</td>', html)
    cents = [int(whole) * 100 + int(part) for whole, part in cells]
    assert (sum(cents[0::2]), sum(cents[1::2])) == (4, 10)
    assert Reader(html).text.count("$0.10") >= 1


def test_filters_are_those_that_have_clips(run: RunFacts, make_row: MakeRow) -> None:
    """A filter is offered for each group that has clips, and its count is right."""
    rows = [make_row(), make_row("failed", custom_id="b"), make_row("cancelled", custom_id="c")]
    seen = Reader(page_of(run, *rows))
    assert [each["id"] for each in seen.all("input")] == ["show-all", "show-done", "show-failed"]
    assert re.search(r"All\s*3", seen.text)
    assert re.search(r"Failed\s*2", seen.text)


def test_a_large_run_stays_a_page(run: RunFacts, make_row: MakeRow, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit the page shows failures first of all and says where the rest is."""
    monkeypatch.setattr(page, "MAX_CARDS", 20)
    done = [make_row(custom_id=f"d{index}") for index in range(20)]
    bad = [make_row("failed", custom_id=f"f{index}", error="no") for index in range(5)]
    seen = Reader(page_of(run, *done, *bad))
    assert len(seen.all("article")) == 20
    assert sum("failed" in (each["class"] or "") for each in seen.all("article")) == 5
    assert "5 more clips are in results.csv" in seen.text


@pytest.mark.parametrize(
    ("path", "poster"),
    [
        ("media/a.mp4", "posters/a.jpg"),
        ("media/acme/a.b.mp4", "posters/acme/a.b.jpg"),
        ("../r0/media/a~2.mp4", "../r0/posters/a~2.jpg"),
        ("../r0/media/media/a.mp4", "../r0/posters/media/a.jpg"),
    ],
)
def test_stills_stand_beside_the_clips(path: str, poster: str) -> None:
    """Each clip's still has the clip's name in a folder of its own."""
    assert thumbnail_of(path) == poster


def test_only_stills_that_exist_are_shown(tmp_path: Path, make_row: MakeRow) -> None:
    """A still that could not be made leaves no broken picture."""
    (tmp_path / "posters").mkdir()
    (tmp_path / "posters" / "a.jpg").write_bytes(b"x")
    rows = [make_row(), make_row(custom_id="b", output_path="media/b.mp4"), make_row("failed", custom_id="c")]
    assert existing_thumbnails(tmp_path, rows) == {"posters/a.jpg"}
