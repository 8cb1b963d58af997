"""The files that a run writes beside its videos, each replaced as a whole."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from callsheet.files import atomically, write_text_atomically
from callsheet.report.csv_text import csv_text, guarded, write_csv
from callsheet.report.page import existing_thumbnails, render_page
from callsheet.report.rows import ResultRow, Value
from callsheet.report.summary import RunFacts, RunTotals, summarise, summary_document
from callsheet.report.tables import errors_table, results_table

ROWS_AT_ONCE = 500


def write_run_files(
    directory: Path, run: RunFacts, manifest: pa.Table, results: Iterable[ResultRow]
) -> RunTotals:
    """Write results.parquet, results.csv, errors.csv, summary.json and report.html into `directory`.

    `manifest` holds one row per job, known by its `custom_id`. `results` has one row per job as well, also
    for videos of earlier runs, whose `output_path` leads out of the folder (`../r0/media/a.mp4`). Written
    again they replace what was there. Raises OSError.
    """
    rows = list(results)
    summary = summarise(run, rows)
    write_results(directory, manifest, rows)
    errors = errors_table(manifest, rows, run.campaign)
    write_text_atomically(directory / "errors.csv", csv_text(*errors))
    document = json.dumps(summary_document(summary), indent=2, ensure_ascii=False)
    write_text_atomically(directory / "summary.json", document + "\n")
    page = render_page(summary, rows, existing_thumbnails(directory, rows))
    write_text_atomically(directory / "report.html", page)
    return summary


def write_results(directory: Path, manifest: pa.Table, rows: Sequence[ResultRow]) -> None:
    """Write results.parquet, lossless, and results.csv, in which no cell is a formula. Raises OSError."""
    table = results_table(manifest, rows)
    with atomically(directory / "results.parquet") as part:
        pq.write_table(table, part)
    header = [str(guarded(name)) for name in table.column_names]
    with (
        atomically(directory / "results.csv") as part,
        part.open("w", encoding="utf-8", errors="replace", newline="") as text,
    ):
        write_csv(text, header, _cells(table))


def _cells(table: pa.Table) -> Iterator[list[Value]]:
    """Yield the rows of a table in batches: as Python objects they take ten times their size."""
    for batch in table.to_batches(max_chunksize=ROWS_AT_ONCE):
        columns = [column.to_pylist() for column in batch.columns]
        for row in zip(*columns, strict=True):
            yield [guarded(value) for value in row]
