"""selection.csv: what was judged of a run, as a manifest of the retakes and as the list of what is kept.

Each row that says `retake` is the next take of its shot, with everything that it is made with. A row that
says `keep` or `reject` is the clip itself: `plan` and `run` pass it over, `finish` and `deliver` read it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa

from callsheet.files import write_text_atomically
from callsheet.report.csv_text import csv_text
from callsheet.report.rows import ResultRow
from callsheet.report.run_files import rows_to_run
from manifests.error_file import CAMPAIGN_COLUMN
from manifests.job_cells import manifest_cells
from manifests.retakes import RETAKE_OF
from manifests.selection import REVIEW_COLUMNS, RUN_COLUMN

SELECTION_FILE = "selection.csv"
_ADDED = (RETAKE_OF, *REVIEW_COLUMNS[:-1], CAMPAIGN_COLUMN, RUN_COLUMN)


def selection_text(
    manifest: pa.Table,
    rows: Iterable[ResultRow],
    retakes: Mapping[str, Mapping[str, str]],
    *,
    campaign: str,
    run_id: str,
) -> str:
    """Return selection.csv. `manifest` holds one row per job; rows without a verdict are left out.

    `retakes` are the cells of each retake (`manifests.retakes`) by the custom_id of the clip it replaces.
    """
    written = []
    for row in rows:
        if not row.verdict:
            continue
        own = {
            "verdict": row.verdict,
            "review_note": row.review_note,
            CAMPAIGN_COLUMN: campaign,
            RUN_COLUMN: run_id,
        }
        cells = retakes.get(row.custom_id) if row.verdict == "retake" else None
        known = cells or (manifest_cells(row.job) | {RETAKE_OF: row.retake_of})
        written.append((row.custom_id, {**known, **own}))
    return csv_text(*rows_to_run(manifest, written, _ADDED))


def write_selection(
    folder: Path,
    manifest: pa.Table,
    rows: Iterable[ResultRow],
    retakes: Mapping[str, Mapping[str, str]],
    *,
    campaign: str,
    run_id: str,
) -> Path:
    """Write selection.csv into a run's folder, whole or not at all. Raises OSError."""
    path = folder / SELECTION_FILE
    text = selection_text(manifest, rows, retakes, campaign=campaign, run_id=run_id)
    write_text_atomically(path, text)
    return path
