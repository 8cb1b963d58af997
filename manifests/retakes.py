"""The next take of a shot: its name, its number, its seed and its row. Reads pictures, spends nothing."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from callsheet.errors import ManifestError
from manifests.columns import CHOICE_COLUMNS, FLAG_COLUMNS, NAME_MAX_CHARS, SEED_MAX
from manifests.images import PictureFinder
from manifests.job import Job
from manifests.names import NAME_MAX_CHARS as FILE_NAME_MAX_CHARS
from manifests.parse_cells import Context
from manifests.plan_rows import manifest_cells
from manifests.problems import Problems
from manifests.selection import is_draft, run_of, tables_of_run, verdict_column
from manifests.table import Row
from manifests.validate import read_row
from pricing.catalog import Catalog
from pricing.quotes import Quote, finish_shot, quote

RETAKE_OF = "retake_of"
"""The column that names the clip which a row is a retake of."""

CHANGEABLE = ("prompt", "model", "seed", "take")
"""Columns in which a retake may differ from its clip."""

_OF_ONE_MODEL = frozenset({"seed", *FLAG_COLUMNS, *CHOICE_COLUMNS})
"""Options that a retake on another model goes without where that model has no such option."""


@dataclass(frozen=True, slots=True)
class Retake:
    """A retake as a row of a manifest (text by column), checked, and its price."""

    cells: Mapping[str, str]
    job: Job
    price: Quote


def shot_of(name: str, take: int) -> str:
    """Return what all takes of a shot are called after: `hero` for `hero-t2`, the second take."""
    return name.removesuffix(f"-t{take}") if take > 1 else name


def take_name(shot: str, take: int, most: int = NAME_MAX_CHARS) -> str:
    """Return the name of a take: `hero-t2`. It has at most `most` characters."""
    suffix = "" if take == 1 else f"-t{take}"
    return shot[: most - len(suffix)] + suffix


def next_take(takes: Iterable[int]) -> int:
    """Return the number after those that a shot has."""
    return max(takes, default=0) + 1


def new_seed() -> int:
    """Return a seed that nobody chose, from 0 to `SEED_MAX`."""
    return secrets.randbelow(SEED_MAX + 1)


def retake_cells(job: Job, changes: Mapping[str, str | int]) -> dict[str, str]:
    """Return the columns of ours of a job's next take, and `retake_of`.

    `changes` holds the take's number, and what else differs: prompt, model, seed.
    """
    take = int(changes["take"])
    cells = manifest_cells(job)
    cells |= {name: str(changes[name]) for name in CHANGEABLE if name in changes}
    cells["custom_id"] = take_name(shot_of(job.custom_id, job.take), take)
    if job.output_name:
        shot = shot_of(job.output_name, job.take)
        cells["output_name"] = take_name(shot, take, FILE_NAME_MAX_CHARS)
    return cells | {RETAKE_OF: job.custom_id}


def kept_drafts(source: Path, catalog: Catalog) -> tuple[str, list[Quote]]:
    """Return the run that a selection.csv is about, and what finishing each of its kept drafts costs.

    "" and nothing for any other file. Rows that cannot be read are passed over: planning them names them.
    """
    run_id, prices = "", []
    context = Context(catalog, PictureFinder.of(Path("/")))
    for table in tables_of_run(source):
        verdict = verdict_column(table)
        if not (own := run_of(table)) or verdict is None:
            continue
        run_id = own
        for row in table.rows():
            if row.cells[verdict].strip().casefold() == "keep" and is_draft(row):
                job = read_row(row, context, Problems())
                if job is not None and job.draft:
                    prices.append(quote(catalog, finish_shot(catalog, job.shot)))
    return run_id, prices


def checked_retake(cells: Mapping[str, str], folder: Path, catalog: Catalog) -> Retake:
    """Check and price a retake. What another model does not take is left empty.

    Local pictures may lie anywhere: they are the clip's own. Raises ManifestError with what is wrong.
    """
    context = Context(catalog, PictureFinder.of(Path("/")))
    left = dict(cells)
    while True:
        notes = Problems()
        job = read_row(Row("selection.csv", folder, 0, left), context, notes)
        if job is not None:
            return Retake(left, job, quote(catalog, job.shot))
        not_taken = {each.column for each in notes.problems() if left.get(each.column)} & _OF_ONE_MODEL
        if not not_taken:
            raise ManifestError(notes.problems())
        left |= dict.fromkeys(not_taken, "")
