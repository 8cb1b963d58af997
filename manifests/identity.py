"""What makes jobs different from each other: ids, takes and file names, over all rows of a plan.

Every rule here is about two rows, and names both.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace

from manifests.clashes import clashes, id_of_take, settled_names, settled_takes
from manifests.job import Job, plain_prompt
from manifests.names import NAME_RULE, is_safe, safe_part
from manifests.problems import Problems
from manifests.table import Row
from manifests.template import Template

ID_CHARS = 12
"""Of the fingerprint, in an id that is made."""
BY_ID = Template(("", "custom_id", ""))


@dataclass(frozen=True, slots=True)
class Entry:
    """A checked row: its job, the job's fingerprint and that of its first take, and the row it came from."""

    job: Job
    fingerprint: str
    content: str
    row: Row

    @property
    def cells(self) -> Mapping[str, str]:
        """The row as it was given, with the campaign's defaults and templates applied."""
        return self.row.cells


def identified(pairs: list[tuple[Row, Job]], notes: Problems, naming: Template | None = None) -> list[Entry]:
    """Give every job its take, id and file name, and note those that clash.

    `naming` makes the file names of rows that bring none; without it they are called after their id.
    """
    entries = _with_takes(pairs, notes)
    entries = _with_ids(entries, notes)
    return _with_names(entries, naming or BY_ID, notes)


def _with_takes(pairs: list[tuple[Row, Job]], notes: Problems) -> list[Entry]:
    """Count rows that would buy the very same video as takes of it."""
    contents = [replace(job, take=1).fingerprint for _, job in pairs]
    takes, equal_to = settled_takes(contents, [job.take for _, job in pairs])
    for at, first in equal_to.items():
        note_equal(pairs[at][0], pairs[first][0], takes[at], notes)
    return [
        Entry(made := replace(job, take=take), content if take == 1 else made.fingerprint, content, row)
        for (row, job), take, content in zip(pairs, takes, contents, strict=True)
    ]


def note_equal(row: Row, first: Row, take: int, notes: Problems) -> None:
    """Warn of a row that is equal to an earlier one."""
    message = (
        f"this row is equal to {_where(first, row)}; both will be made and paid for, "
        f"this one as take {take}. "
        "Delete one if that is not meant; give each a seed or a take of its own if it is"
    )
    notes.warn(row, "prompt", message, found=plain_prompt(row.cells.get("prompt", "").strip()))


def note_same_id(row: Row, first: Row, custom_id: str, notes: Problems) -> None:
    """Note a row whose id an earlier one has."""
    message = f"{_where(first, row)} has the same custom_id; every row needs its own"
    notes.wrong(row, "custom_id", message, found=custom_id)


def note_same_name(row: Row, first: Row, name: str, notes: Problems) -> None:
    """Note a row whose file name an earlier one has."""
    message = f"{_where(first, row)} has this output_name too (upper and lower case are one name)"
    notes.wrong(row, "output_name", message, found=name)


def note_unsafe(row: Row, name: str, notes: Problems) -> None:
    """Note a row whose file name, as it was made, cannot be used."""
    notes.wrong(row, "output_name", f"not a safe file name; allowed are {NAME_RULE}", found=name)


def _with_ids(entries: list[Entry], notes: Problems) -> list[Entry]:
    """Keep the ids that were given; make the others from the content, to be the same next time."""
    ids = [
        unicodedata.normalize("NFC", entry.job.custom_id)
        or id_of_take(entry.content[:ID_CHARS], entry.job.take)
        for entry in entries
    ]
    for at, first in clashes(ids).items():
        note_same_id(entries[at].row, entries[first].row, ids[at], notes)
    return [
        replace(entry, job=replace(entry.job, custom_id=custom_id))
        for entry, custom_id in zip(entries, ids, strict=True)
    ]


def _with_names(entries: list[Entry], naming: Template, notes: Problems) -> list[Entry]:
    """Keep the file names that were given and make the others; no two may be taken for one."""
    given = [entry.job.output_name for entry in entries]
    ids = [entry.job.custom_id for entry in entries]
    names, wrong = settled_names(given, lambda at: made_name(naming, entries[at]), ids)
    for at, first in wrong.items():
        note_same_name(entries[at].row, entries[first].row, given[at], notes)
    for at, name in enumerate(names):
        if not given[at] and not is_safe(name):
            note_unsafe(entries[at].row, name, notes)
    return [
        replace(entry, job=replace(entry.job, output_name=name))
        for entry, name in zip(entries, names, strict=True)
    ]


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
