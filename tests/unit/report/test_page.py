import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from callsheet.ledger import Account, AccountRef, Review
from callsheet.report import page
from callsheet.report.clips import clip_documents, shot_numbers
from callsheet.report.page import existing_pictures, parts_of, render_page
from callsheet.report.rows import ResultRow, strip_of, thumbnail_of, with_reviews
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


def page_of(run: RunFacts, *rows: ResultRow, pictures: frozenset[str] = frozenset()) -> str:
    """Render the page of these rows."""
    return "".join(render_page(summarise(run, rows), rows, pictures=pictures))


def data_of(html: str) -> dict[str, Any]:
    """Return the page's data as a browser would read it."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def clip_of(row: ResultRow, *pictures: str) -> dict[str, Any]:
    """Describe one clip."""
    return next(clip_documents([row], [], pictures))


@pytest.mark.parametrize("sandbox", [True, False])
@pytest.mark.parametrize(("status", "verb"), [("unknown", "reconcile"), ("rendered", "resume")])
def test_a_clip_that_is_not_there_names_the_command_for_its_run(
    make_row: MakeRow, status: str, verb: str, sandbox: bool
) -> None:
    """For a run on the sandbox it is one for the sandbox's ledger."""
    (clip,) = clip_documents([make_row(status)], [], (), sandbox=sandbox)
    assert f"`callsheet {verb}{' --sandbox' * sandbox}`" in clip["error"]


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
    seen = Reader(page_of(replace(run, campaign=text), row))
    assert [tag for tag, _ in seen.elements] == [tag for tag, _ in plain.elements]
    assert not any(name.startswith("on") for _, attributes in seen.elements for name in attributes)
    shown = "".join(char for char in text if char.isprintable())
    clip = data_of(page_of(run, row))["clips"][0]
    assert (clip["prompt"], clip["id"], clip["client"], clip["error"]) == (shown,) * 4
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
    assert clip_of(make_row(output_url=url))["link"] == (url if followed else "")


def test_the_page_fetches_nothing_from_elsewhere(run: RunFacts, make_row: MakeRow) -> None:
    """No element of the page loads anything, and neither does its style; clips have relative addresses."""
    html = page_of(run, make_row(), make_row("failed", custom_id="b", error="no"))
    seen = Reader(html)
    assert not any({"src", "srcset", "poster", "action"} & set(attributes) for _, attributes in seen.elements)
    assert not seen.all("link")
    assert "url(" not in html[: html.index("</style>")]
    assert "@import" not in html
    clip = clip_of(make_row(output_path="s3://bucket/media/a.mp4"))
    assert (clip["video"], clip["poster"]) == ("", "")
    assert ["file", "s3://bucket/media/a.mp4"] in [list(pair) for pair in clip["details"]]


@pytest.mark.parametrize("review", [None, {"models": {}, "retakes": {}, "tally": {}, "seed_max": 1}])
def test_the_policy_allows_the_pages_own_style_and_scripts_alone(
    run: RunFacts, make_row: MakeRow, review: dict[str, Any] | None
) -> None:
    """The policy names them by their hashes; only the page of a review may call its server."""
    html = "".join(render_page(summarise(run, [make_row()]), [make_row()], review=review))
    policy = next(each["content"] for each in Reader(html).all("meta") if "http-equiv" in each)
    assert policy is not None
    for tag, count in (("style", 1), ("script", 2 if review else 1)):
        texts = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]
        assert len(hashes) == count
        assert f"{tag}-src " + " ".join(f"'sha256-{each}'" for each in hashes) + ";" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "style=" not in html
    assert ("connect-src" in policy) is bool(review)


def test_addresses_of_files_are_relative_and_encoded(make_row: MakeRow) -> None:
    """A clip has its video, and of its pictures those that exist."""
    row = make_row(output_path="media/acme/a b#1.mp4")
    clip = clip_of(row, "posters/acme/a b#1.jpg", "posters/acme/a b#1~strip.jpg")
    assert clip["video"] == "media/acme/a%20b%231.mp4"
    assert clip["poster"] == "posters/acme/a%20b%231.jpg"
    assert clip["strip"] == "posters/acme/a%20b%231~strip.jpg"
    assert clip_of(row)["strip"] == ""


@pytest.mark.parametrize(
    ("row", "group", "words"),
    [
        ({}, "done", ["finished", "1248 \u00d7 704", "5.04 s"]),
        ({"has_audio": True}, "done", ["sound"]),
        (
            {"status": "failed", "error": "The filter refused it.", "charged": "no"},
            "failed",
            ["The filter", "not charged"],
        ),
        ({"status": "failed", "error": "Hm.", "charged": "unknown"}, "failed", ["may be charged"]),
        ({"status": "unknown"}, "unknown", ["outcome unknown", "callsheet reconcile"]),
        ({"status": "skipped_budget", "actual_nano": 0}, "skipped", ["skipped", "over budget"]),
        ({"status": "in_progress"}, "open", ["rendering", "720p · 16:9 · 5 s"]),
        ({"status": "already_made"}, "done", ["already made"]),
    ],
)
def test_a_clip_says_it_in_words(
    make_row: MakeRow, row: dict[str, object], group: str, words: list[str]
) -> None:
    """What became of a clip and what can be done about it is said on its card."""
    clip = clip_of(make_row(**row))
    said = " ".join(str(clip[name]) for name in ("label", "error", "charged", "shape"))
    assert clip["group"] == group
    assert all(word in said for word in words), said


def test_what_an_error_cost_is_said_once(make_row: MakeRow) -> None:
    """The advice at the end of a failed job's error says it already."""
    error = "fal reports a failed render. Try again: yes (retry later). Not charged (fal.ai/docs)."
    assert clip_of(make_row(status="failed", error=error, charged="no"))["charged"] == ""
    assert clip_of(make_row(status="failed", error="Hm.", charged="no"))["charged"] == "not charged"


def test_a_draft_is_called_one_until_it_is_finished(make_row: MakeRow) -> None:
    """It is a preview, and another purchase is to come."""
    assert clip_of(make_row(draft_nano=1))["label"] == "draft"
    assert clip_of(make_row(draft_nano=1, finish_nano=2))["label"] == "finished"


def test_the_resolution_of_a_clip_is_that_of_its_file(make_row: MakeRow) -> None:
    """The row's own is that of neither a draft nor its finish; the page's filter finds both."""
    draft = make_row(endpoint="bytedance/seedance-2.5/text-to-video", draft=True)
    finish = make_row(endpoint="bytedance/seedance-2.5/draft/complete", draft=True, draft_id="d")
    found = [clip_of(row)["resolution"] for row in (draft, finish, make_row())]
    assert found == ["480p", "1080p", "720p"]


def test_flags_are_kinds_with_their_texts(make_row: MakeRow) -> None:
    """A clip can be filtered by what is wrong with it."""
    flags = clip_of(make_row(flags="black 0-1.2 s; hard_cut 2.5 s"))["flags"]
    assert [list(flag) for flag in flags] == [["black", "black 0-1.2 s"], ["hard_cut", "hard_cut 2.5 s"]]


def test_what_people_said_is_on_the_page(make_row: MakeRow) -> None:
    """The newest review counts, all of them can be read, and none of them is markup."""
    said = [
        Review(review_id=n, at_ms=0, job_id=1, verdict=verdict, note=note, changes={"take": 2}, by="Ana<b>")
        for n, (verdict, note) in enumerate([("keep", ""), ("retake", "\u202etoo <i>dark")], 1)
    ]
    clip = clip_of(with_reviews(make_row(), said))
    assert (clip["verdict"], clip["note"]) == ("retake", "too <i>dark")
    assert [each["by"] for each in clip["reviews"]] == ["Ana<b>", "Ana<b>"]


def test_takes_and_retakes_are_one_shot(make_row: MakeRow) -> None:
    """Takes of a row are found by their name and number, retakes by what they replace."""
    rows = [
        make_row(custom_id="a"),
        make_row(custom_id="a-t2", take=2),
        make_row(custom_id="lone-t2"),
        make_row(custom_id="b"),
        make_row(custom_id="b2", retake_of="b"),
        make_row(custom_id="c-t3", take=3, retake_of="c-t2"),
    ]
    numbers = shot_numbers(rows)
    assert numbers["a"] == numbers["a-t2"] != numbers["b"] == numbers["b2"]
    assert numbers["lone-t2"] == numbers["c-t3"] == 0
    assert all(numbers[name] for name in ("a", "b"))


def test_takes_of_other_runs_are_beside_the_runs_own(make_row: MakeRow) -> None:
    """They are marked with their run, so that they are compared and not judged."""
    other = make_row(custom_id="b", retake_of="a", output_path="../r2/media/b.mp4", folder="../r2/")
    first, second = clip_documents([make_row()], [other], {"../r2/posters/b.jpg"})
    assert ("other" in first, second["other"]) == (False, "r2")
    assert (second["video"], second["poster"]) == ("../r2/media/b.mp4", "../r2/posters/b.jpg")
    assert first["shot"] == second["shot"] > 0


def test_a_draft_is_beside_its_finish(make_row: MakeRow) -> None:
    """Each has its file and its own part of the cost."""
    clip = clip_of(
        make_row(draft_path="media/a.mp4", output_path="media/a-1080p.mp4", draft_nano=1, finish_nano=2)
    )
    assert (clip["draft"], clip["video"]) == ("media/a.mp4", "media/a-1080p.mp4")
    assert clip["parts"] == {"draft": 1, "finish": 2}


def test_caps_add_up_as_shown(run: RunFacts, make_row: MakeRow) -> None:
    """What is left of a cap is its limit less what was spent and held, also after rounding."""
    account = Account(
        ref=AccountRef("campaign", "spring<b>"),
        limit_nano=5_000_000_000,
        held_nano=5_000_001,
        spent_nano=1_303_765_100,
    )
    text = Reader(page_of(replace(run, caps=(account,)), make_row())).text
    assert "campaign spring<b>" in text
    assert re.search(r"\$5\.00\s*\$1\.31\s*\$0\.01\s*\$3\.68", text)


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
    cells = re.findall(r'<td(?: class="minor")? title="[^"]*">\$(\d+)\.(\d\d)</td>', html)
    cents = [int(whole) * 100 + int(part) for whole, part in cells]
    assert (sum(cents[0::2]), sum(cents[1::2])) == (4, 10)
    assert Reader(html).text.count("$0.10") >= 1


def test_a_large_run_has_several_parts(
    run: RunFacts, make_row: MakeRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every clip is in one, in the manifest's order; each links to all, and says where failures are."""
    monkeypatch.setattr(page, "CLIPS_OF_A_PART", 20)
    done = [make_row(custom_id=f"d{index}") for index in range(19)]
    takes = [make_row(custom_id="hero"), make_row(custom_id="hero-t2", take=2)]
    bad = [make_row("failed", custom_id=f"f{index}", error="no") for index in range(25)]
    rows = [*done, *takes, *bad]
    assert [(each.first, each.last, each.failed) for each in parts_of(rows)] == [
        (1, 21, 0),
        (22, 41, 20),
        (42, 46, 5),
    ]
    summary = summarise(run, rows)
    parts = ["".join(render_page(summary, rows, part=number)) for number in (1, 2, 3)]
    shown = [clip["id"] for html in parts for clip in data_of(html)["clips"]]
    assert shown == [row.custom_id for row in rows]
    for html in parts:
        seen = Reader(html)
        links = [each["href"] for each in seen.all("a") if str(each["href"]).startswith("report")]
        assert links == ["report.html", "report-2.html", "report-3.html"] * 2
        assert "22\u201341 (20 failed)" in seen.text
        assert "21 of 46 clips finished" in seen.text
    assert 'href="report.html"' not in page_of(run, *done)


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
    strip_of(tmp_path / "posters" / "a.jpg").write_bytes(b"x")
    rows = [make_row(), make_row(custom_id="b", output_path="media/b.mp4"), make_row("failed", custom_id="c")]
    assert existing_pictures(tmp_path, rows) == {"posters/a.jpg", "posters/a~strip.jpg"}


def test_what_a_kept_clip_costs_is_said_once_clips_are_judged(run: RunFacts, make_row: MakeRow) -> None:
    """Both clips were paid for and one is kept: it costs both. Nothing is said before."""
    row = replace(make_row("succeeded"), actual_nano=200_000_000, duration_s=5.0)
    assert "Kept:" not in Reader(page_of(run, row)).text
    text = Reader(page_of(run, replace(row, verdict="keep"), replace(row, verdict="reject"))).text
    assert "Kept: 1 of 2 judged clips (50%); a kept clip costs $0.40, a kept second $0.08." in text
