"""The report page and the review in a browser: what a person sees, plays, filters, judges and buys."""

import json
import re
from collections.abc import Callable
from typing import Any

import pyarrow.parquet as pq
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from callsheet.engine.open_run import changes_of
from callsheet.ledger import Ledger, queries, reviews
from manifests.planner import make_plan

pytestmark = pytest.mark.xdist_group("browser")

AT_REST = """video => new Promise((done) => {
  video.readyState > 1 && !video.seeking ? done() : (video.onseeked = video.oncanplay = done);
})"""


def on_disk(page: Page, reviewed: Any) -> None:
    """Open the run's report from the disk."""
    page.goto((reviewed.folder / "report.html").as_uri())


def in_review(page: Page, reviewed: Any, name: str = "Ana") -> None:
    """Open the review as somebody whose name the browser knows."""
    page.add_init_script(f"localStorage.setItem('callsheet-reviewer', {json.dumps(name)})")
    page.goto(reviewed.url)


def names(page: Page) -> list[str]:
    """Return the clips that are shown."""
    return page.locator(".card .name").all_inner_texts()


def pressed(page: Page, *keys: str) -> None:
    """Press keys, and wait until what they mean is saved."""
    with page.expect_response("**/judge"):
        for key in keys:
            page.keyboard.press(key)


def test_clips_are_found_filtered_and_sorted(page: Page, reviewed: Any) -> None:
    """From the disk: search, filters with counts, sorting, and what it adds up to."""
    on_disk(page, reviewed)
    expect(page.locator(".count")).to_contain_text("6 clips, $")
    page.keyboard.press("/")
    page.keyboard.type("LAMP table")
    expect(page.locator(".card")).to_have_count(2)
    assert names(page) == ["hero", "hero-t2"]
    page.locator("#search").fill("")
    client = page.locator(".pick", has_text="client").locator("select")
    expect(client.locator("option")).to_have_text(
        ["all (6)", "acme (3)", "northwind (1)", "<i>&amp; (1)", "no client (1)"]
    )
    client.select_option("acme (3)")
    page.get_by_text("Failed 1").click()
    assert names(page) == ["broken"]
    expect(client.locator("option").nth(1)).to_have_text("acme (1)")
    page.locator("#search").fill("nothing like it")
    page.get_by_role("button", name="Show all").click()
    page.select_option("#sort", "cost")
    assert len(names(page)) == 6
    assert names(page)[-1] == "broken"
    page.select_option("#sort", "name")
    assert names(page)[:2] == sorted(names(page), key=str.lower)[:2]


def test_names_are_those_of_the_prompt_with_their_rows(page: Page, reviewed: Any) -> None:
    """A row that brings no name is called after its prompt, and its row stands beside it."""
    on_disk(page, reviewed)
    card = page.locator(".card").nth(5)
    assert card.locator(".name").inner_text().startswith("glass-teapot-sunlit-table-")
    assert card.locator(".row").inner_text() == "row 7"


@pytest.mark.parametrize("opened", [on_disk, in_review])
def test_hostile_text_is_text(page: Page, reviewed: Any, opened: Callable[[Page, Any], None]) -> None:
    """Markup, formulas and marks of direction in a manifest are shown, and do nothing."""
    opened(page, reviewed)
    title = page.title()
    card = page.locator(".card").nth(3)
    assert card.locator(".name").inner_text() == "<b>'\" onload=x"
    assert card.locator(".prompt").inner_text().startswith("=HYPERLINK(1) <img src=x onerror=")
    assert "\u202e" not in page.content()
    card.locator(".still").click()
    assert "<script>" in page.locator("#viewer .prompt").inner_text()
    assert page.locator("script").count() == (3 if opened is in_review else 2)
    assert page.locator("img[src=x], main b b, main i").count() == 0
    assert page.title() == title


def test_takes_play_together(page: Page, reviewed: Any) -> None:
    """The takes of a row are side by side, and one time line moves all of them."""
    on_disk(page, reviewed)
    expect(page.locator(".card").first.locator(".badge")).to_have_text("2 takes")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    videos = page.locator("#viewer video")
    expect(videos).to_have_count(2)
    page.get_by_role("button", name="Pause").click()
    page.locator("#seek").evaluate("seek => { seek.value = 0.8; seek.dispatchEvent(new Event('input')) }")
    for place in range(2):
        videos.nth(place).evaluate(AT_REST)
    assert [videos.nth(place).evaluate("video => video.currentTime") for place in range(2)] == [0.8, 0.8]
    page.keyboard.press(" ")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    assert not videos.nth(1).evaluate("video => video.paused")
    page.keyboard.press("2")
    expect(page.locator("figure.active figcaption bdi")).to_have_text("hero-t2")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#viewer-name")).to_have_text("hero-t2")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#viewer-name")).to_have_text("boat")
    page.keyboard.press("Escape")
    expect(page.locator(".card").nth(2).locator(".still")).to_be_focused()


def test_a_strip_follows_the_pointer(page: Page, reviewed: Any) -> None:
    """Over a clip's picture the pointer moves through the clip; nothing plays."""
    on_disk(page, reviewed)
    still = page.locator(".still").first
    box = still.bounding_box()
    assert box is not None
    shown = []
    for share in (0.05, 0.95):
        page.mouse.move(box["x"] + box["width"] * share, box["y"] + 20)
        shown.append(still.locator(".strip").evaluate("strip => strip.style.backgroundPositionX"))
    assert shown == ["0%", "100%"]
    expect(still.locator(".strip")).to_have_css("visibility", "visible")
    page.mouse.move(0, 0)
    expect(still.locator(".strip")).to_have_css("visibility", "hidden")


def test_the_timeline_is_drawn_when_it_is_opened(page: Page, reviewed: Any) -> None:
    """Slots, with what was queued, rendered and downloaded."""
    on_disk(page, reviewed)
    page.locator("#timeline summary").click()
    expect(page.locator(".slots path.render")).to_have_attribute("d", re.compile("^M"))
    assert "slots in" in (page.locator(".slots").get_attribute("aria-label") or "")


@pytest.mark.parametrize(("opened", "scheme"), [(on_disk, "light"), (in_review, "dark")])
def test_nobody_is_kept_out(
    page: Page, reviewed: Any, opened: Callable[[Page, Any], None], scheme: Any
) -> None:
    """A check by axe finds nothing serious, on the page, in the viewer and in the dialogs."""
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    opened(page, reviewed)
    serious(page)
    page.locator(".still").first.click()
    serious(page)
    if opened is in_review:
        page.keyboard.press("n")
        expect(page.locator("#edit")).to_be_visible()
        serious(page)


def serious(page: Page) -> None:
    """Fail for what axe calls serious or critical."""
    found = Axe().run(page).response["violations"]
    bad = [each for each in found if each["impact"] in {"serious", "critical"}]
    assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in bad] == []


def test_a_phone_shows_it_without_scrolling_sideways(browser: Browser, reviewed: Any) -> None:
    """Nothing is wider than the screen, also where a table of money is open."""
    context = browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True)
    page = context.new_page()
    page.goto(reviewed.url)
    page.locator("details.more summary").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    context.close()


def test_a_review_from_the_first_key_to_both_takes(page: Page, reviewed: Any) -> None:
    """Judged by keys, saved at once, exported, priced, bought under the campaign, and seen side by side."""
    page.goto(reviewed.url)
    page.locator(".still").first.focus()
    page.keyboard.press("k")
    page.locator("#who-input").fill("Ana")
    pressed(page, "Enter")
    pressed(page, "ArrowRight", "x")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("e")
    page.locator("#edit-prompt").fill("A large boat")
    page.locator("#edit-note").fill("=too small")
    with page.expect_response("**/judge"):
        page.get_by_role("button", name="Save").click()
    boat = page.locator(".card").nth(2)
    expect(boat.locator(".judge .retake").last).to_contain_text("boat-t2: at most $0.0")
    expect(page.locator("#tally")).to_contain_text("1 keep · 1 retake · 1 reject. Retakes cost at most $0.0")
    with page.expect_download() as download:
        page.locator("#export").click()
    selection = reviewed.folder / "selection.csv"
    assert download.value.path().read_bytes() == selection.read_bytes()
    page.reload()
    expect(boat.locator(".verdict")).to_have_text("retake =too small")
    page.locator(".pick", has_text="verdict").locator("select").select_option("keep (1)")
    assert names(page) == ["hero"]

    plan = make_plan(selection)
    assert (plan.campaign, [each.job.custom_id for each in plan.jobs]) == ("spring", ["boat-t2"])
    again = reviewed.made_from(selection)
    assert reviewed.do(queries.run, again).campaign == "spring"
    with Ledger.open(reviewed.house.settings.ledger) as ledger:
        assert changes_of(ledger, make_plan(selection)).sign(0) == "="
    page.goto(reviewed.report(again).as_uri())
    assert names(page) == ["boat-t2"]
    page.locator(".still").click()
    expect(page.locator("#viewer figcaption bdi")).to_have_text(["boat", "boat-t2"])
    expect(page.locator("#viewer")).to_contain_text("Retake of boat")
    page.goto(reviewed.report(reviewed.run.run_id).as_uri())
    expect(page.locator(".card").nth(2).locator(".badge")).to_have_text("2 takes")
    results = pq.read_table(reviewed.folder / "results.parquet").to_pylist()
    said = [(each["custom_id"], each["verdict"], each["review_note"]) for each in results[:3]]
    assert said == [("hero", "keep", ""), ("hero-t2", "reject", ""), ("boat", "retake", "=too small")]
    (row,) = pq.read_table(reviewed.report(again).parent / "results.parquet").to_pylist()
    assert (row["take"], row["retake_of"], row["verdict"]) == (2, "boat", "")


def test_a_note_is_saved_from_the_keyboard(page: Page, reviewed: Any) -> None:
    """Control and Enter save it; Enter alone is a new line."""
    in_review(page, reviewed)
    clip = page.locator(".card").nth(5)
    clip.locator(".still").focus()
    page.keyboard.press("n")
    page.keyboard.type("warmer")
    page.keyboard.press("Enter")
    page.keyboard.type("light")
    pressed(page, "Control+Enter")
    expect(page.locator("#edit")).to_be_hidden()
    expect(clip.locator(".verdict")).to_contain_text("warmer")


def test_keys_work_after_the_mouse_was_used(page: Page, reviewed: Any) -> None:
    """The slider and a filter have the focus then: their own keys stay theirs, all others are the page's."""
    in_review(page, reviewed)
    page.get_by_text("All 6").click()
    page.keyboard.press("/")
    expect(page.locator("#search")).to_be_focused()
    page.locator(".still").nth(5).click()
    expect(page.locator("#seek")).not_to_have_attribute("max", "1")  # the video's length is known
    page.locator("#seek").click()
    pressed(page, "x")
    expect(page.locator("#viewer figcaption")).to_contain_text("reject")
    page.locator("#seek").evaluate("(seek) => { seek.oninput = () => { window.sought = seek.value } }")
    page.keyboard.press("ArrowLeft")  # elsewhere this opens another clip
    page.wait_for_function("() => window.sought !== undefined")
    expect(page.locator("#viewer figcaption")).to_contain_text("reject")


def test_a_verdict_that_was_not_saved_is_taken_back(browser: Browser, reviewed: Any) -> None:
    """Who judges what somebody else has judged meanwhile sees that, and nothing is overwritten."""
    pages = []
    for name in ("Ana", "Bo"):
        opened = browser.new_context().new_page()
        in_review(opened, reviewed, name)
        opened.locator(".still").nth(4).focus()
        pages.append(opened)
    first, second = pages
    pressed(first, "x")
    with second.expect_response("**/judge") as reply:
        second.keyboard.press("k")
    assert reply.value.status == 409
    expect(second.locator("#trouble")).to_contain_text(
        "broken: not saved. Ana has judged this clip meanwhile"
    )
    expect(second.locator(".card").nth(4)).to_have_attribute("data-verdict", "reject")
    pressed(second, "k")
    expect(second.locator("#trouble")).to_be_empty()
    broken = [each for each in reviewed.do(queries.jobs, reviewed.run.run_id) if each.custom_id == "broken"]
    said = reviewed.do(reviews.history, [broken[0].job_id])
    assert [(each.verdict, each.by) for each in said] == [("reject", "Ana"), ("keep", "Bo")]
    second.route("**/judge", lambda route: route.abort())
    second.keyboard.press("x")
    expect(second.locator("#trouble")).to_contain_text("its server cannot be reached")
    expect(second.locator(".card").nth(4)).to_have_attribute("data-verdict", "keep")
    for opened in pages:
        opened.context.close()


def test_a_retake_that_cannot_be_made_is_not_saved(browser: Browser, reviewed: Any) -> None:
    """The form stays open with what is wrong, and what was typed is still there."""
    page = browser.new_context().new_page()
    in_review(page, reviewed)
    page.locator(".still").first.focus()
    page.keyboard.press("m")
    page.locator("#edit-model").select_option("seedance-1.5-pro")
    page.locator("#edit-prompt").fill("Another lamp")
    with page.expect_response("**/judge") as reply:
        page.get_by_role("button", name="Save").click()
    assert reply.value.status == 422
    expect(page.locator("#edit .error")).to_contain_text("num_frames")
    expect(page.locator("#edit-prompt")).to_have_value("Another lamp")
    page.context.close()


def test_an_order_is_changed_by_verdicts_alone(page: Page, reviewed: Any) -> None:
    """A note orders nothing; `r` again takes a retake back, or orders one more where it was bought."""
    in_review(page, reviewed)
    card = page.locator(".card").nth(5)
    ordered = card.locator(".judge .retake").last
    card.locator(".still").focus()
    page.keyboard.press("e")
    page.locator("#edit-prompt").fill("A clay teapot")
    pressed(page, "Control+Enter")
    expect(ordered).to_contain_text("-t2: at most $0.0")
    expect(ordered).to_contain_text("another prompt")
    pressed(page, "r")
    expect(card).to_have_attribute("data-verdict", "")
    pressed(page, "r")
    expect(ordered).to_contain_text("another prompt")
    pressed(page, "k")
    page.keyboard.press("e")
    expect(page.locator("#edit-prompt")).to_have_value("A clay teapot")
    pressed(page, "Control+Enter")
    expect(page.locator("#tally")).to_contain_text("1 retake")
    expect(page.locator("#tally")).to_contain_text("Retakes cost at most $0.0")

    reviewed.made_from(reviewed.folder / "selection.csv")
    page.reload()
    expect(ordered).to_contain_text("-t2: bought, another prompt")
    expect(page.locator("#tally")).to_contain_text("0 retake")
    expect(page.locator("#tally")).not_to_contain_text("cost")
    card.locator(".still").focus()
    page.keyboard.press("n")
    page.locator("#edit-note").fill("good now")
    pressed(page, "Control+Enter")
    expect(card.locator(".verdict")).to_have_text("retake good now")
    expect(ordered).to_contain_text("-t2: bought")
    with Ledger.open(reviewed.house.settings.ledger) as ledger:
        plan = make_plan(reviewed.folder / "selection.csv")
        assert len(changes_of(ledger, plan).made) == plan.total.jobs
    pressed(page, "r")
    expect(ordered).to_contain_text("-t3: at most $0.0")
    expect(page.locator("#tally")).to_contain_text("1 retake")
    pressed(page, "r")
    expect(card).to_have_attribute("data-verdict", "")
    expect(page.locator("#tally")).to_contain_text("0 retake")


def test_edits_of_the_selection_are_kept_and_told(page: Page, reviewed: Any) -> None:
    """The next verdict writes the file anew; the page says where the edits are, until it is loaded again."""
    in_review(page, reviewed)
    page.locator(".still").nth(4).focus()
    pressed(page, "k")
    selection = reviewed.folder / "selection.csv"
    selection.write_text("my,own\n")
    pressed(page, "x")
    expect(page.locator("#trouble")).to_contain_text("Your edits are in selection-edited.csv")
    pressed(page, "k")
    expect(page.locator("#trouble")).to_contain_text("Your edits are in selection-edited.csv")
    assert (reviewed.folder / "selection-edited.csv").read_text() == "my,own\n"


def test_a_button_keeps_the_place(page: Page, reviewed: Any) -> None:
    """After a click, and after a note from the dialog, the keys are about the same clip."""
    in_review(page, reviewed)
    clip = page.locator(".card").nth(5)
    reject = clip.locator(".judge .reject")
    before = reject.get_attribute("aria-pressed")
    with page.expect_response("**/judge"):
        reject.click()
    expect(reject).not_to_have_attribute("aria-pressed", str(before))
    expect(reject).to_be_focused()
    pressed(page, "x")
    expect(reject).to_have_attribute("aria-pressed", str(before))
    clip.get_by_role("button", name="Edit…").click()
    page.keyboard.type("softer")
    pressed(page, "Control+Enter")
    expect(clip.locator(".verdict")).to_contain_text("softer")
    expect(clip.get_by_role("button", name="Edit…")).to_be_focused()


HIDDEN = """() => {
  const element = document.activeElement, box = element.getBoundingClientRect();
  if (!element.matches("button")) return "";
  const middle = box.left + box.width / 2;
  const ends = [box.top + 4, box.bottom - 4].map((y) => document.elementFromPoint(middle, y));
  return ends.every((each) => each?.closest(".card") === element.closest(".card")) ? "" : element.outerHTML;
}"""


def test_nothing_with_the_focus_is_behind_a_bar(page: Page, reviewed: Any) -> None:
    """Neither with Tab nor with the arrows: the bars at both ends of the window cover no button."""
    page.set_viewport_size({"width": 1280, "height": 800})
    in_review(page, reviewed)
    page.locator("#search").focus()
    for key in ["Tab"] * 36 + ["Shift+Tab"] * 30:
        page.keyboard.press(key)
        assert page.evaluate(HIDDEN) == ""
    for key in ["Home", "ArrowDown", "ArrowUp", "End"]:
        page.keyboard.press(key)
        card = page.locator(".card:focus-within").bounding_box()
        bar = page.locator(".review-bar").bounding_box()
        assert card is not None
        assert bar is not None
        assert card["y"] + card["height"] <= bar["y"]


def test_a_phone_says_at_once_what_was_not_saved(browser: Browser, reviewed: Any) -> None:
    """There the bar is at the end of the page, unless it has bad news."""
    context = browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True)
    page = context.new_page()
    page.route("**/judge", lambda route: route.abort())
    in_review(page, reviewed)
    page.locator(".judge .keep").first.click()
    expect(page.locator("#trouble")).to_contain_text("not saved")
    expect(page.locator("#trouble")).to_be_in_viewport()
    context.close()
