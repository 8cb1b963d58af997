"""The report page of 2,000 clips, opened from the disk: the first paint, filters and search.

The clips are a few real files under many names. Needs chromium.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from measuring import Figure, report
from playwright.sync_api import Page, sync_playwright

from callsheet.media.place import write_thumbnail
from callsheet.media.probe import probe
from callsheet.report.page import existing_pictures, render_page
from callsheet.report.rows import ResultRow, strip_of, thumbnail_of
from callsheet.report.summary import RunFacts, summarise
from callsheet.sandbox.scene import Scene
from callsheet.sandbox.served_endpoints import ENDPOINTS, shot_of
from callsheet.sandbox.video import encode
from manifests.job import Job
from pricing.catalog import load_catalog

CHROMIUM = "/usr/bin/chromium"
CLIPS = 2_000
LITE = "fal-ai/bytedance/seedance/v1/lite/text-to-video"
OPENED = 5
PAINT_S, FILTER_S = 1.5, 0.060
PROMPTS = ("A glass teapot on a sunlit table", "A harbour at night", "A bicycle leans on a blue wall", "Rain")
CLIENTS = ("acme", "northwind", "umbra", "")
STATUSES = ("succeeded",) * 8 + ("failed", "already_made")

PAINTED = """() => new Promise((done) => {
  const cards = performance.getEntriesByType("navigation")[0].domContentLoadedEventEnd;
  new PerformanceObserver((list) => {
    const paint = list.getEntriesByName("first-contentful-paint")[0];
    if (paint) {
      done([paint.startTime, cards]);
    }
  }).observe({ type: "paint", buffered: true });
})"""

MEASURE = """async () => {
  const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  const time = async (act) => {
    const begun = performance.now();
    act();
    const script = performance.now() - begun;
    await frame();
    return [script, performance.now() - begun];
  };
  const set = (element, value, kind) => () => {
    element.value = value;
    element.dispatchEvent(new Event(kind));
  };
  const facet = document.querySelectorAll(".facets select")[0];
  const times = [];
  for (let turn = 0; turn < 5; turn++) {
    times.push(await time(set(facet, String(turn % 3), "change")), await time(set(facet, "", "change")));
    times.push(await time(set(document.querySelector("#search"), "teapot sunlit", "input")));
    times.push(await time(set(document.querySelector("#search"), "", "input")));
  }
  return times;
}"""


def made_files(folder: Path) -> None:
    """Make the few videos, each with its thumbnail and its strip."""
    for number, prompt in enumerate(PROMPTS):
        path = folder / f"media/clip-{number}.mp4"
        path.parent.mkdir(exist_ok=True)
        order = shot_of(ENDPOINTS[LITE], {"prompt": prompt, "duration": "2"}, number)
        encode(Scene(order, 864, 480), path)
        decoded = probe(path)
        poster = folder / thumbnail_of(f"media/clip-{number}.mp4")
        write_thumbnail(decoded.thumbnail, poster)
        write_thumbnail(decoded.strip, strip_of(poster))


def rows_of(count: int) -> list[ResultRow]:
    """Return so many rows: takes of shots, several models and clients, some failures."""
    endpoints = [each for each in load_catalog().endpoints.values() if each.task == "text-to-video"]
    rows = []
    for number in range(count):
        endpoint, take = endpoints[number % 5], number % 2 + 1
        shot = f"shot-{number // 2:04d}"
        begun_ms = 1_795_000_000_000 + number // 10 * 42_000 + number % 10 * 900
        job = Job(
            row=number + 2,
            custom_id=shot if take == 1 else f"{shot}-t2",
            endpoint=endpoint,
            prompt=f"{PROMPTS[number % len(PROMPTS)]}, number {number}, steam rising in the light. [Push in]",
            resolution=("480p", "720p", "1080p")[number % 3],
            aspect_ratio="16:9",
            duration_s=5,
            take=take,
            client=CLIENTS[number % 4],
        )
        row = ResultRow(
            job=job,
            model=endpoint.model,
            status=STATUSES[number % len(STATUSES)],
            expected_nano=102_960_000 + number * 1_001,
            maximum_nano=103_818_000 + number * 1_001,
            price_book="2026-11-21",
            job_id=number + 1,
        )
        if row.status == "failed":
            row = replace(
                row, error="The picture is damaged at frame 17.", charged="yes", actual_nano=102_960_000
            )
        else:
            row = replace(
                row,
                actual_nano=102_960_000 + number * 1_001,
                output_path=f"media/clip-{number % len(PROMPTS)}.mp4",
                width_px=864,
                height_px=480,
                fps=24.0,
                duration_s=2.04,
                submitted_ms=begun_ms,
                started_ms=begun_ms + 1_500,
                render_s=38.0,
                finished_ms=begun_ms + 41_000,
                request_id="0f5b2d54-9a4e-4e5c-8c5e-2f1f3a1b7c11",
                sha256="ab" * 32,
                verdict=("", "keep", "", "retake", "reject")[number % 5],
                flags="black 0-1.2 s" if number % 50 == 0 else "",
            )
        rows.append(row)
    return rows


def written(folder: Path, count: int) -> Path:
    """Write the page of so many clips."""
    made_files(folder)
    rows = rows_of(count)
    facts = RunFacts(
        run_id="night-20261121-220000-a1b2",
        campaign="night",
        dir=str(folder),
        price_book="2026-11-21",
        started_ms=1_795_000_000_000,
        finished_ms=1_795_010_000_000,
        cap_nano=500_000_000_000,
    )
    page = folder / "report.html"
    html = "".join(render_page(summarise(facts, rows), rows, pictures=existing_pictures(folder, rows)))
    page.write_text(html, "utf-8")
    return page


def painted_s(page: Page, path: Path) -> tuple[float, float]:
    """Open the page; return the seconds to its first contentful paint, and to its cards."""
    page.goto(path.as_uri())
    paint, cards = page.evaluate(PAINTED)
    return paint / 1000, cards / 1000


def main() -> int:
    """Print the figures; return 1 where a bound does not hold."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--keep", type=Path, help="write the page into this folder, and only that")
    options.add_argument("--clips", type=int, default=CLIPS)
    chosen = options.parse_args()
    if chosen.keep:
        chosen.keep.mkdir(parents=True, exist_ok=True)
        print(written(chosen.keep, chosen.clips))
        return 0
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = written(Path(folder), chosen.clips)
        size_mb = path.stat().st_size / 1e6
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        opened = [painted_s(page, path) for _ in range(OPENED)]
        times = page.evaluate(MEASURE)
        elements = page.evaluate("document.querySelectorAll('*').length")
        browser.close()
    paint_s = statistics.median(each[0] for each in opened)
    cards_s = statistics.median(each[1] for each in opened)
    script_s = statistics.median(each[0] for each in times) / 1000
    shown_s = statistics.median(each[1] for each in times) / 1000
    return report(
        [
            Figure(
                f"first paint of {chosen.clips:,} clips",
                f"{paint_s:.2f} s",
                bound=f"{PAINT_S} s",
                holds=paint_s <= PAINT_S,
            ),
            Figure("its first cards", f"{cards_s:.2f} s", f"a page of {size_mb:.1f} MB"),
            Figure(
                "filter or search, script",
                f"{script_s * 1000:.0f} ms",
                bound=f"{FILTER_S * 1000:.0f} ms",
                holds=script_s <= FILTER_S,
            ),
            Figure("filter or search, until shown", f"{shown_s * 1000:.0f} ms"),
            Figure("elements in the document", f"{elements:,}"),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
