"""The files beside a run's videos, each whole: results, errors.csv, selection.csv, summary and page."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from callsheet.files import atomically, write_atomically, write_text_atomically
from callsheet.report.page import existing_pictures, part_name, parts_of, render_page
from callsheet.report.rows import RESULT_COLUMNS, ResultRow, Value, carried_names
from callsheet.report.safe_text import BOM, guarded, spreadsheet_csv, write_csv
from callsheet.report.summary import RunFacts, RunTotals, summarise, summary_document
from manifests.error_file import CAMPAIGN_COLUMN, escaped
from manifests.plan_rows import manifest_cells
from manifests.retakes import RETAKE_OF
from manifests.selection import REVIEW_COLUMNS, RUN_COLUMN

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

ROWS_AT_ONCE = 500

RESULTS_FILE, ERRORS_FILE = "results.parquet", "errors.csv"

ERRORS_SHA256 = b"callsheet.errors_sha256"
"""Where results.parquet has the hash of the errors.csv that was written with it, in its metadata."""

RUN_AGAIN = frozenset({"failed", "cancelled", "skipped_budget"})
"""What errors.csv holds. An `unknown` job may be paid for already, and a failed one whose file is at fal is
paid for: running either from a file would pay twice, so `reconcile` and `resume` take care of them."""

ERROR_NAMES = ("status", "error_type", "error", "charged", "request_id", CAMPAIGN_COLUMN)
"""Added to errors.csv for the person who reads it. The last one names the campaign, which what is run from
the file belongs to; the others are carried to the results like any column."""


SELECTION_FILE = "selection.csv"
"""What was judged of a run. A row that says `retake` is the next take of its shot, with everything that it is
made with. A row that says `keep` or `reject` is the clip itself: `plan` and `run` pass it over, `finish` and
`deliver` read it."""

_ADDED_TO_SELECTION = (RETAKE_OF, *REVIEW_COLUMNS[:-1], CAMPAIGN_COLUMN, RUN_COLUMN)


def write_run_files(
    directory: Path,
    run: RunFacts,
    manifest: pa.Table,
    results: Iterable[ResultRow],
    others: Sequence[ResultRow] = (),
    tell: Callable[[str], object] = logger.warning,
) -> RunTotals:
    """Write results.parquet, results.csv, errors.csv, summary.json and report.html into `directory`.

    `manifest` holds one row per job, known by its `custom_id`. `results` has one row per job as well, also
    for videos of earlier runs, whose `output_path` leads out of the folder (`../r0/media/a.mp4`). `others`
    are takes of the same shots in other runs, which the page shows beside them. Written again they replace
    what was there, but an errors.csv that a person has edited is kept beside the new one, and `tell` is
    told so. Raises OSError.
    """
    rows = list(results)
    summary = summarise(run, rows)
    errors = spreadsheet_csv(*errors_table(manifest, rows, run.campaign)).encode("utf-8", "replace")
    if edited := _edited_errors(directory, errors):
        tell(f"{ERRORS_FILE} may have been edited; it is kept as {edited}")
    write_atomically(directory / ERRORS_FILE, errors)
    write_results(directory, manifest, rows, errors)
    document = json.dumps(summary_document(summary), indent=2, ensure_ascii=False)
    write_text_atomically(directory / "summary.json", document + "\n")
    pictures = existing_pictures(directory, [*rows, *others])
    for part in parts_of(rows):
        page = render_page(summary, rows, others, part=part.number, pictures=pictures)
        write_text_atomically(directory / part_name(part.number), page)
    return summary


def _edited_errors(directory: Path, errors: bytes) -> Path | None:
    """Keep an errors.csv that may have been edited: its rows are for a person to fix. Raises OSError.

    One that is as it was written, or as it is to be written now, is not kept.
    """
    import pyarrow as pa  # noqa: PLC0415 -- 0.1 s
    import pyarrow.parquet as pq  # noqa: PLC0415 -- 0.1 s

    written = None
    with suppress(OSError, pa.ArrowException):
        written = (pq.read_schema(directory / RESULTS_FILE).metadata or {}).get(ERRORS_SHA256)
    return _kept_aside(
        directory / ERRORS_FILE, lambda content: content == errors or _sha256(content) == written
    )


def _sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def write_results(directory: Path, manifest: pa.Table, rows: Sequence[ResultRow], errors: bytes) -> None:
    """Write results.parquet, lossless, and results.csv, in which no cell is a formula. Raises OSError.

    The former keeps the hash of `errors`, the errors.csv that belongs to it.
    """
    import pyarrow.parquet as pq  # noqa: PLC0415 -- 0.1 s

    table = results_table(manifest, rows)
    with atomically(directory / RESULTS_FILE) as part:
        pq.write_table(table.replace_schema_metadata({ERRORS_SHA256: _sha256(errors)}), part)
    header = [str(guarded(name)) for name in table.column_names]
    with (
        atomically(directory / "results.csv") as part,
        part.open("w", encoding="utf-8", errors="replace", newline="") as text,
    ):
        write_csv(text, header, _guarded_rows(table))


def _guarded_rows(table: pa.Table) -> Iterator[list[Value]]:
    """Yield the rows of a table in batches: as Python objects they take ten times their size."""
    for batch in table.to_batches(max_chunksize=ROWS_AT_ONCE):
        columns = [column.to_pylist() for column in batch.columns]
        for row in zip(*columns, strict=True):
            yield [guarded(value) for value in row]


def results_table(manifest: pa.Table, rows: Sequence[ResultRow]) -> pa.Table:
    """Return every manifest column, then `RESULT_COLUMNS`: one row per job in the order of `rows`.

    `manifest` holds one row per job, known by its `custom_id`; a job that it lacks gets empty cells.
    """
    import pyarrow as pa  # noqa: PLC0415 -- 0.1 s

    types = {"text": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
    carried = _matched(manifest, rows)
    arrays = [carried.column(column) for column in carried.column_names]
    arrays += [
        pa.array([_sound(column.value(row)) for row in rows], type=types[column.kind])
        for column in RESULT_COLUMNS
    ]
    return pa.table(arrays, names=[*carried.column_names, *(column.name for column in RESULT_COLUMNS)])


def _sound(value: Value) -> Value:
    """Replace what UTF-8 cannot hold: a provider's JSON may carry half of a surrogate pair."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _place(row: ResultRow, position: Mapping[str, int], shots: Mapping[str, str]) -> int | None:
    """Return the manifest's row of a job; a retake that the run ordered itself has that of its clip."""
    name: str | None = row.custom_id
    while name is not None and name not in position:
        name = shots.get(name)
    return None if name is None else position[name]


def _matched(manifest: pa.Table, rows: Sequence[ResultRow]) -> pa.Table:
    """Return the manifest's own columns, renamed as in the results, in the order of `rows`."""
    import pyarrow as pa  # noqa: PLC0415 -- 0.1 s

    shots = {row.custom_id: row.retake_of for row in rows if row.retake_of not in ("", row.custom_id)}
    position = {name: index for index, name in enumerate(manifest.column("custom_id").to_pylist())}
    order = pa.array([_place(row, position, shots) for row in rows], type=pa.int64())
    names = carried_names(tuple(manifest.column_names))
    return manifest.select(list(names)).take(order).rename_columns(list(names.values()))


def errors_table(
    manifest: pa.Table, rows: Iterable[ResultRow], campaign: str
) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of errors.csv, with no cell that a spreadsheet would run.

    The manifest's own columns come first; those that Callsheet knows are written out from the job, so that
    the file can be run alone, without the campaign's defaults, templates and expansion.
    """
    failed = [row for row in rows if row.status in RUN_AGAIN and not row.is_fetchable]
    written = []
    for row in failed:
        cells = (row.status, row.error_type, row.error, row.charged, row.request_id, campaign)
        written.append((row.custom_id, manifest_cells(row.job) | dict(zip(ERROR_NAMES, cells, strict=True))))
    return rows_to_run(manifest, written, ERROR_NAMES)


def rows_to_run(
    manifest: pa.Table, rows: Sequence[tuple[str, Mapping[str, str]]], added: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of a file that can be planned alone, with no cell that is a formula.

    Each row is a job of `manifest` by its `custom_id`, and its cells in the columns that Callsheet knows and
    in those of `added`. The manifest's own columns come first, then what else is filled, then `added`.
    """
    own = [name for name in manifest.column_names if name not in added]
    given = {record["custom_id"]: record for record in manifest.select([*own]).to_pylist()} if rows else {}
    used = dict.fromkeys(name for _, cells in rows for name, text in cells.items() if text)
    order = [name for name in (rows[0][1] if rows else ()) if name in used]
    header = [*own, *(name for name in order if name not in own and name not in added), *added]
    return [escaped(name) for name in header], [
        [
            escaped(cells[name] if name in cells else (given.get(custom_id, {}).get(name) or ""))
            for name in header
        ]
        for custom_id, cells in rows
    ]


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
    return spreadsheet_csv(*rows_to_run(manifest, written, _ADDED_TO_SELECTION))


def write_selection(folder: Path, text: str, known: Iterable[str] = ()) -> Path | None:
    """Write selection.csv into a run's folder, whole or not at all.

    What stood there is kept under a name of its own, which is returned, unless it is one of the texts
    `known`: a person has edited it. Raises OSError.
    """
    path, mark = folder / SELECTION_FILE, BOM.encode()
    texts = (each.encode("utf-8", "replace").removeprefix(mark) for each in itertools.chain([text], known))
    edited = _kept_aside(path, lambda content: content.removeprefix(mark) in texts)
    write_text_atomically(path, text)
    return edited


def _kept_aside(path: Path, is_ours: Callable[[bytes], bool]) -> Path | None:
    """Copy a file that is not as it was written to the first free name: `selection-edited-2.csv`."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    if is_ours(content):
        return None
    suffixes = itertools.chain([""], (f"-{number}" for number in itertools.count(2)))
    names = (path.with_stem(f"{path.stem}-edited{suffix}") for suffix in suffixes)
    aside = next(name for name in names if not name.exists())
    write_atomically(aside, content)
    return aside
