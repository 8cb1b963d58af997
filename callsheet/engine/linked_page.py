"""The report page with links into a private object store, which end after a while.

Such a link opens a clip for everybody who has it. So the page is written only when it is asked for, beside
the report, for its owner alone, and is never copied to the store.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from callsheet.engine.request import results_address
from callsheet.engine.results import facts_of, other_takes, result_rows
from callsheet.errors import UsageError
from callsheet.files import write_atomically
from callsheet.ledger import Ledger, Run
from callsheet.media.storage import open_storage
from callsheet.report.page import existing_pictures, render_page
from callsheet.report.summary import summarise

LINKED_PAGE = "report-links.html"
"""Named in `deliver.KEPT_HERE`, so that it is not copied."""


def write_linked_page(ledger: Ledger, run: Run, seconds: int) -> Path:
    """Write the page of a run with links that are good for some seconds, and return its path.

    Raises UsageError where the run's results are not in a store that signs links.
    """
    place = results_address(run)
    if place is None:
        raise UsageError(
            f"the results of {run.run_id} are on this machine; --presign makes links to an object store "
            "(--out s3://bucket/runs)"
        )
    store, folder = open_storage(place), Path(run.out)
    rows = result_rows(ledger, run)
    others = other_takes(ledger, run, rows)

    def link(path: str) -> str:
        return store.link(path, seconds)

    origin = "{0.scheme}://{0.netloc}".format(urlsplit(link("report.html")))
    page = render_page(
        summarise(facts_of(ledger, run, rows), rows),
        rows,
        others,
        pictures=existing_pictures(folder, [*rows, *others]),
        address=link,
        origin=origin,
    )
    path = folder / LINKED_PAGE
    write_atomically(path, page.encode("utf-8", "replace"), mode=0o600)
    return path
