"""The report page with links into a private object store, which end after a while.

Such a link opens a clip for everybody who has it. So the page is written only when it is asked for, beside
the report, for its owner alone, and is never copied to the store.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from callsheet.engine.request import results_address
from callsheet.engine.results import facts_of, other_takes, result_rows
from callsheet.engine.run_folder import LINKED_PAGE
from callsheet.errors import UsageError
from callsheet.files import write_atomically
from callsheet.ledger import Ledger, Run
from callsheet.media.storage import open_storage
from callsheet.report.page import existing_pictures, part_name, parts_of, render_page
from callsheet.report.summary import summarise


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

    def name_of(part: int) -> str:
        return part_name(part, LINKED_PAGE)

    origin = "{0.scheme}://{0.netloc}".format(urlsplit(link("report.html")))
    summary = summarise(facts_of(ledger, run, rows), rows)
    pictures = existing_pictures(folder, [*rows, *others])
    for part in parts_of(rows):
        page = render_page(
            summary,
            rows,
            others,
            part=part.number,
            part_address=name_of,
            pictures=pictures,
            address=link,
            origin=origin,
        )
        write_atomically(folder / name_of(part.number), page.encode("utf-8", "replace"), mode=0o600)
    return folder / name_of(1)
