"""The page of thousands of clips: every clip can be reached, found and printed; few are in the document."""

from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from callsheet.report import page as report_page
from callsheet.report.page import part_name, parts_of, render_page
from callsheet.report.rows import ResultRow
from callsheet.report.summary import RunFacts, summarise
from manifests.job import Job
from pricing.catalog import load_catalog

pytestmark = pytest.mark.xdist_group("browser")

ON_A_SHEET = 96


def rows_of(count: int) -> list[ResultRow]:
    """Return so many rows in the manifest's order; the last one failed."""
    endpoint = next(each for each in load_catalog().endpoints.values() if each.task == "text-to-video")
    job = Job(
        row=2,
        custom_id="",
        endpoint=endpoint,
        prompt="A lamp on a table",
        resolution="480p",
        aspect_ratio="16:9",
        duration_s=5,
    )
    row = ResultRow(
        job=job, model=endpoint.model, status="succeeded", expected_nano=1, maximum_nano=1, price_book="d"
    )
    rows = [
        replace(row, job=replace(job, row=at + 2, custom_id=f"clip-{at + 1}"), actual_nano=10_000_000)
        for at in range(count)
    ]
    return [*rows[:-1], replace(rows[-1], status="failed", error="It failed.")]


def many(page: Page, folder: Path, count: int) -> None:
    """Write the report of so many clips, and open it from the disk."""
    rows = rows_of(count)
    run = RunFacts(run_id="r1", campaign="night", dir=str(folder), price_book="d", started_ms=0)
    for part in parts_of(rows):
        html = "".join(render_page(summarise(run, rows), rows, part=part.number))
        (folder / part_name(part.number)).write_text(html, "utf-8")
    page.goto((folder / "report.html").as_uri())


def shown(page: Page) -> list[str]:
    """Return the names of the cards in the document."""
    return page.locator(".card .name").all_text_contents()


def focused(page: Page) -> str:
    """Return the name of the clip that has the focus."""
    name: str = page.evaluate("document.activeElement.closest('.card').querySelector('.name').textContent")
    return name


def test_every_clip_is_reached_and_few_are_in_the_document(page: Page, tmp_path: Path) -> None:
    """One sheet of cards at a time, by buttons and by number; each clip is on one of them."""
    many(page, tmp_path, 2_000)
    pager = page.locator(".pager").first
    names, elements = [], []
    for sheet in range(21):
        expect(pager.locator("select")).to_have_value(str(sheet * ON_A_SHEET))
        names += shown(page)
        elements.append(page.evaluate("document.querySelectorAll('main *').length"))
        if sheet < 20:
            pager.get_by_label("Later clips").click()
    assert names == [f"clip-{number}" for number in range(1, 2_001)]
    assert max(elements) <= elements[0]
    expect(pager.get_by_label("Later clips")).to_be_disabled()
    pager.locator("select").select_option("961\u20131,056")
    assert shown(page)[0] == "clip-961"
    expect(page.locator(".grid")).to_have_attribute("start", "961")


def test_the_arrow_keys_cross_from_sheet_to_sheet(page: Page, tmp_path: Path) -> None:
    """Right from the last card of a sheet is the first of the next one; Home and End reach the ends."""
    many(page, tmp_path, 2_000)
    page.locator(".still").nth(ON_A_SHEET - 1).focus()
    page.keyboard.press("ArrowRight")
    assert (focused(page), len(shown(page))) == ("clip-97", ON_A_SHEET)
    expect(page.locator(".card", has_text="clip-97").first).to_be_in_viewport()
    page.keyboard.press("ArrowUp")
    assert focused(page) in shown(page)
    assert "clip-96" in shown(page)
    page.keyboard.press("End")
    assert focused(page) == "clip-2000"
    page.keyboard.press("Home")
    assert focused(page) == "clip-1"


def test_the_viewer_goes_on_and_comes_back_to_its_card(page: Page, tmp_path: Path) -> None:
    """Where the viewer is closed, that clip's sheet is shown and its card has the focus."""
    many(page, tmp_path, 200)
    page.locator(".still").nth(ON_A_SHEET - 1).click()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".viewer-top .place")).to_have_text("97 of 200")
    page.keyboard.press("Escape")
    expect(page.locator(".still").first).to_be_focused()
    assert (focused(page), shown(page)[0]) == ("clip-97", "clip-97")


def test_search_and_filters_look_at_every_sheet(page: Page, tmp_path: Path) -> None:
    """A clip of another sheet is found by its name, and by its status."""
    many(page, tmp_path, 2_000)
    page.locator("#search").fill("clip-1777")
    assert shown(page) == ["clip-1777"]
    expect(page.locator(".pager").first).to_be_hidden()
    page.locator("#search").fill("")
    page.get_by_text("Failed 1").click()
    assert shown(page) == ["clip-2000"]
    expect(page.locator(".count")).to_have_text("1 of 2,000 clips, $0.01")


def test_all_clips_are_printed(page: Page, tmp_path: Path) -> None:
    """While it prints, the document has every clip that the filters leave; then one sheet again."""
    many(page, tmp_path, 300)
    page.get_by_text("Finished 299").click()
    page.locator(".pager").first.get_by_label("Later clips").click()
    cards = "document.querySelectorAll('.card').length"
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    printed = page.evaluate(cards)
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert (printed, page.evaluate(cards)) == (299, ON_A_SHEET)
    assert shown(page)[0] == "clip-97"


def test_a_run_without_clips_says_so(page: Page, tmp_path: Path) -> None:
    """No filter is to blame."""
    run = RunFacts(run_id="r1", campaign="night", dir=str(tmp_path), price_book="d", started_ms=0)
    (tmp_path / "report.html").write_text("".join(render_page(summarise(run, []), [])), "utf-8")
    page.goto((tmp_path / "report.html").as_uri())
    expect(page.locator("#none")).to_contain_text("This run has no clips.")
    expect(page.get_by_role("button", name="Show all")).to_be_hidden()


def test_a_long_client_stays_on_its_card(page: Page, tmp_path: Path) -> None:
    """A name without spaces is broken, not cut off."""
    (row,) = rows_of(1)
    row = replace(row, job=replace(row.job, client="y" * 120))
    run = RunFacts(run_id="r1", campaign="night", dir=str(tmp_path), price_book="d", started_ms=0)
    (tmp_path / "report.html").write_text("".join(render_page(summarise(run, [row]), [row])), "utf-8")
    page.goto((tmp_path / "report.html").as_uri())
    facts = page.locator(".card .facts")
    assert facts.evaluate("facts => facts.scrollWidth <= facts.clientWidth")


def test_a_run_of_several_parts_has_all_clips_in_order(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Links lead from part to part, and say in which of them clips have failed."""
    monkeypatch.setattr(report_page, "CLIPS_OF_A_PART", 60)
    many(page, tmp_path, 150)
    seen = shown(page)
    for words in ("61\u2013120", "121\u2013150 (1 failed)"):
        page.get_by_role("link", name=words).first.click()
        expect(page.locator(".parts [aria-current]").first).to_have_text(words)
        seen += shown(page)
    assert seen == [f"clip-{number}" for number in range(1, 151)]
