"""What makes jobs different from each other: ids, takes and file names, over all rows of a plan.

Every rule here is about two rows, and names both.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace

from manifests.job import Job
from manifests.names import NAME_RULE, folded, is_safe, safe_part, with_hash
from manifests.notes import Notes
from manifests.table import Row
from manifests.template import Template

ID_CHARS = 12
"""Of the fingerprint, in an id that is made."""
BY_ID = Template(("", "custom_id", ""))


@dataclass(frozen=True, slots=True)
class Entry:
    """A checked row: its job, the job's fingerprint, and the row it came from."""

    job: Job
    fingerprint: str
    row: Row

    @property
    def cells(self) -> Mapping[str, str]:
        """The row as it was given, with the campaign's defaults and templates applied."""
        return self.row.cells


def identified(pairs: list[tuple[Row, Job]], notes: Notes, naming: Template | None = None) -> list[Entry]:
    """Give every job its take, id and file name, and note those that clash.

    `naming` makes the file names of rows that bring none; without it they are called after their id.
    """
    entries = _with_takes(pairs, notes)
    entries = _with_ids(entries, notes)
    return _with_names(entries, naming or BY_ID, notes)


def _with_takes(pairs: list[tuple[Row, Job]], notes: Notes) -> list[Entry]:
    """Count rows that would buy the very same video as takes of it: a second one is a purchase of its own."""
    first_at: dict[str, Row] = {}
    last_take: dict[str, int] = {}
    entries = []
    for row, job in pairs:
        fingerprint = job.fingerprint
        content = fingerprint if job.take == 1 else replace(job, take=1).fingerprint
        made = job
        if fingerprint in first_at:
            made = replace(job, take=last_take[content] + 1)
            fingerprint = made.fingerprint
            _warn_of_equal(row, first_at[job.fingerprint], made.take, notes)
        first_at.setdefault(fingerprint, row)
        last_take[content] = max(last_take.get(content, 0), made.take)
        entries.append(Entry(made, fingerprint, row))
    return entries


def _warn_of_equal(row: Row, first: Row, take: int, notes: Notes) -> None:
    where = _where(first, row)
    message = (
        f"this row is equal to {where}; both will be made and paid for, this one as take {take}. "
        "Delete one if that is not meant; give each a seed or a take of its own if it is"
    )
    notes.warn(row, "prompt", message)


def _with_ids(entries: list[Entry], notes: Notes) -> list[Entry]:
    """Keep the ids that were given; make the others from the content, to be the same next time."""
    first_at: dict[str, Row] = {}
    result = []
    for entry in entries:
        custom_id = unicodedata.normalize("NFC", entry.job.custom_id) or _made_id(entry)
        first = first_at.setdefault(custom_id, entry.row)
        if first is not entry.row:
            message = f"{_where(first, entry.row)} has the same custom_id; every row needs its own"
            notes.wrong(entry.row, "custom_id", message, found=custom_id)
        result.append(replace(entry, job=replace(entry.job, custom_id=custom_id)))
    return result


def _made_id(entry: Entry) -> str:
    if entry.job.take == 1:
        return entry.fingerprint[:ID_CHARS]
    return f"{replace(entry.job, take=1).fingerprint[:ID_CHARS]}-t{entry.job.take}"


def _with_names(entries: list[Entry], naming: Template, notes: Notes) -> list[Entry]:
    """Keep the file names that were given and make the others; no two may be taken for one."""
    first_at: dict[str, Row] = {}
    for entry in entries:
        if not entry.job.output_name:
            continue
        first = first_at.setdefault(folded(entry.job.output_name), entry.row)
        if first is not entry.row:
            message = (
                f"{_where(first, entry.row)} has this output_name too (upper and lower case are one name)"
            )
            notes.wrong(entry.row, "output_name", message, found=entry.job.output_name)
    return [entry if entry.job.output_name else _named(entry, naming, first_at, notes) for entry in entries]


def _named(entry: Entry, naming: Template, taken: dict[str, Row], notes: Notes) -> Entry:
    name = made_name(naming, entry)
    if folded(name) in taken:
        folder, slash, last = name.rpartition("/")
        name = folder + slash + with_hash(last, entry.job.custom_id)
    if not is_safe(name):
        notes.wrong(entry.row, "output_name", f"not a safe file name; allowed are {NAME_RULE}", found=name)
    taken[folded(name)] = entry.row
    return replace(entry, job=replace(entry.job, output_name=name))


def made_name(naming: Template, entry: Entry) -> str:
    """Make a file name from the row and from what the check decided.

    A `/` of the template makes folders, a `/` in a cell does not; folders whose cells are empty are left out.
    """
    job = entry.job
    decided = {
        "custom_id": job.custom_id,
        "model": job.endpoint.model,
        "resolution": job.resolution,
        "aspect_ratio": job.aspect_ratio.replace(":", "x"),
        "take": str(job.take),
    }
    cells = {name: decided.get(name, entry.row.cells.get(name, "")).strip() for name in naming.columns}
    name = naming.fill({name: safe_part(cell) if cell else "" for name, cell in cells.items()})
    return cleaned_name(name, job.custom_id)


def cleaned_name(name: str, custom_id: str) -> str:
    """Leave out folders that came out empty, and the dashes and dots at the ends of parts."""
    parts = [part.strip("-.") for part in name.split("/")]
    return "/".join(part for part in parts if part) or safe_part(custom_id)


def _where(first: Row, second: Row) -> str:
    return f"row {first.row}" if first.file == second.file else f"row {first.row} of {first.file}"
