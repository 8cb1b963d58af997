"""A run with clips of every kind, its page, a browser, and a review that is served."""

import asyncio
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from callsheet.engine.results import write_report
from callsheet.ledger import Ledger, Run, queries
from callsheet.review.server import ReviewServer, serving

expect.set_options(timeout=60_000)

HOSTILE = "=HYPERLINK(1) \u202e<img src=x onerror=document.title=1><script>document.title=1</script>"
SHOTS = f"""custom_id,prompt,model,resolution,num_frames,seed,client,take
hero,A lamp on a table,seedance-1.0-lite,480p,29,1,acme,1
hero-t2,A lamp on a table,seedance-1.0-lite,480p,29,2,acme,2
boat,A small boat,seedance-1.0-pro-fast,480p,29,3,northwind,1
"<b>'"" onload=x",{HOSTILE},seedance-1.0-lite,480p,29,4,"<i>&amp;",1
broken,A clip that fails,seedance-1.0-lite,480p,29,5,acme,1
,A glass teapot on a sunlit table,seedance-1.0-lite,480p,29,6,,1
"""
UNNAMED = 5
"""The place of the clip without a custom_id."""


def worked(house: Any, run_id: str) -> None:
    """Carry a run out. Playwright has a loop of its own in this thread, so it is done in another one."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(house.work(run_id))).result()


@dataclass
class Reviewed:
    """A run that was made, and where it can be looked at."""

    house: Any
    run: Run
    url: str

    @property
    def folder(self) -> Path:
        return Path(self.run.out)

    def do(self, verb: Any, *args: Any, **more: Any) -> Any:
        with Ledger.open(self.house.settings.ledger) as ledger:
            return ledger.do(verb, *args, **more)

    def report(self, run_id: str) -> Path:
        """Write a run's report again and return its page."""
        with Ledger.open(self.house.settings.ledger) as ledger:
            run = ledger.do(queries.run, run_id)
            write_report(ledger, run)
        return Path(run.out) / "report.html"

    def made_from(self, source: Path) -> str:
        """Buy a manifest and return its run."""
        run_id: str = self.house.open_source(source)
        worked(self.house, run_id)
        return run_id


@contextmanager
def running_review(ledger_url: str, run_id: str) -> Iterator[str]:
    """Serve in a thread of this process for the length of a `with` block; yields the address."""
    with Ledger.open(ledger_url) as ledger:
        run = ledger.do(queries.run, run_id)
    ready = threading.Event()
    with serving(ledger_url, run, "127.0.0.1", 0) as (app, listener, url, finish):
        server = ReviewServer(app, ready.set)
        thread = threading.Thread(target=server.run, args=([listener],), name="review")
        thread.start()
        try:
            if not ready.wait(10):
                pytest.fail("the review did not start within 10 seconds")
            yield url
        finally:
            server.should_exit = True
            thread.join()
            finish()


@pytest.fixture(scope="module")
def reviewed(
    new_house: Callable[[Path], Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Reviewed]:
    """Make the clips once, and serve their review."""
    house = new_house(tmp_path_factory.mktemp("house"))
    house.arm("render_failed", prompt_contains="A clip that fails")
    source = house.folder / "spring.csv"
    source.write_text(SHOTS, "utf-8")
    run_id = house.open_source(source)
    worked(house, run_id)
    house.faults.clear()
    with Ledger.open(house.settings.ledger) as ledger:
        run = ledger.do(queries.run, run_id)
        write_report(ledger, run)
    with running_review(house.settings.ledger, run_id) as url:
        yield Reviewed(house, run, url)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Debian's chromium once for the tests of a module.

    While it is there, Playwright's loop runs in this thread, and no other test could run one of its own.
    """
    chromium = shutil.which("chromium")
    if chromium is None:
        said = "chromium is not installed: the report page is not looked at in a browser"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(said)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium)
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Open a page that must report no error and ask no other host for anything."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    opened.on("request", lambda sent: wrong.append(sent.url) if not is_here(sent.url) else None)
    yield opened
    context.close()
    assert wrong == []


def is_here(url: str) -> bool:
    """Say whether an address is on this machine."""
    return url.startswith(("file://", "http://127.0.0.1:", "data:"))
