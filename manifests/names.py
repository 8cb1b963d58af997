"""Ids, takes and file names, over all rows of a plan: no two jobs share an id or a file.

A file name is one or more parts separated by `/`; a part holds letters, digits, `.`, `_` and `-` (ASCII),
does not begin with a dot or a dash, does not end with a dot, and is not a device name of Windows.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from manifests.job import Job, plain_prompt
from manifests.problems import Problems
from manifests.table import Row
from manifests.template import Template

PART_MAX_CHARS = 100
NAME_MAX_CHARS = 200
"""Common file systems allow 255 bytes a part; room is left for the suffix and the temporary name."""

NAME_RULE = (
    f"letters, digits, '.', '_', '-' (and '/' between folders), at most {PART_MAX_CHARS} characters, "
    "not beginning with '.' or '-', not ending with '.', no device name such as CON"
)

SAFE_NAME = r"^[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?$"
"""Names of one part that are safe if short and no device's: for a quick look at very many."""

DEVICE_NAME = r"(?i)^(?:CON|PRN|AUX|NUL|COM[0-9]|LPT[0-9])(?:\..*)?$"

_SAFE_PART = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_-])?", re.ASCII)
_DEVICE = re.compile(DEVICE_NAME, re.ASCII)
_FORBIDDEN = re.compile(r"[^A-Za-z0-9._-]+", re.ASCII)
_HASH_CHARS = 8


def is_safe(name: str) -> bool:
    """Whether a name can be used as it stands."""
    # A folder called like a video would stand where that video is to be written.
    if len(name) > NAME_MAX_CHARS or ".mp4/" in name.lower():
        return False
    return all(_is_safe_part(part) for part in name.split("/"))


def _is_safe_part(part: str) -> bool:
    return len(part) <= PART_MAX_CHARS and bool(_SAFE_PART.fullmatch(part)) and not _DEVICE.fullmatch(part)


def safe_part(text: str) -> str:
    """Turn any text into one safe part of a name; the same text gives the same part.

    Accents are dropped, runs of other characters become one `-`. Where letters or digits were lost, or the
    text was too long, a short hash of it is added, so that two different texts do not become one name.
    """
    plain = unicodedata.normalize("NFKD", text)
    plain = "".join(char for char in plain if not unicodedata.combining(char))
    lost = any(char.isalnum() and not char.isascii() for char in plain)
    part = _FORBIDDEN.sub("-", plain).strip("-.")
    if lost or not part or len(part) > PART_MAX_CHARS or _DEVICE.fullmatch(part):
        return with_hash(part, text)
    return part


def with_hash(part: str, text: str) -> str:
    """Add a short hash of `text` to a safe part, within the allowed length."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_CHARS]
    stem = part[: PART_MAX_CHARS - _HASH_CHARS - 1].rstrip("-.")
    return f"{stem}-{digest}" if stem else f"clip-{digest}"


def folded(name: str) -> str:
    """Return what a file system may take two names for: the same letters in any case and composition."""
    return unicodedata.normalize("NFC", name).casefold()


def settled_takes(contents: Sequence[Hashable], takes: Sequence[int]) -> tuple[list[int], dict[int, int]]:
    """Number rows that would buy the very same video: a second one is a purchase of its own, the next take.

    Returns every row's take, and for those that were equal to an earlier row as they were written, that row.
    """
    first_at: dict[tuple[Hashable, int], int] = {}
    last_take: dict[Hashable, int] = {}
    settled, equal_to = [], {}
    for at, (content, written) in enumerate(zip(contents, takes, strict=True)):
        take = written
        if (content, written) in first_at:
            equal_to[at] = first_at[content, written]
            take = last_take[content] + 1
        first_at.setdefault((content, take), at)
        last_take[content] = max(last_take.get(content, 0), take)
        settled.append(take)
    return settled, equal_to


def slug(prompt: str) -> str:
    """Return the first telling words of a prompt as part of a name: `glass-teapot-sunlit-table`.

    Only ASCII letters and digits count; "clip" where there are none. The same steps make the names of many
    rows (`manifests.columnar.rows`).
    """
    plain = unicodedata.normalize("NFKD", prompt).encode("ascii", "ignore").decode().lower()
    for pattern, instead in SLUG_STEPS:
        plain = re.sub(pattern, instead, plain, flags=re.ASCII)
    return plain[:SLUG_MAX_CHARS].rstrip("-") or NO_SLUG


_SMALL_WORDS = "a|an|and|are|as|at|by|for|from|in|into|is|it|its|of|on|or|the|to|with"
SLUG_STEPS = (
    (r"\[[^\[\]]*\]", " "),  # camera instructions
    ("'", ""),
    (rf"\b({_SMALL_WORDS})\b", " "),
    (r"[^a-z0-9]+", "-"),
    (r"^-", ""),
    (r"^(([a-z0-9]+-){3}[a-z0-9]+)-.*", r"\1"),
)
"""What makes a slug of a prompt in lower-case ASCII: regular expressions that Python and RE2 read alike."""

SLUG_MAX_CHARS = 40
NO_SLUG = "clip"
SHORT_DIGITS, LONG_DIGITS = 6, 12
"""Of the fingerprint, in an id that is made: the longer form where two videos would get one id."""


def id_of_take(slug: str, fingerprint: str, take: int, digits: int = SHORT_DIGITS) -> str:
    """Return the id of a row that brings none; `fingerprint` is that of its first take."""
    suffix = "" if take == 1 else f"-t{take}"
    return f"{slug}-{fingerprint[:digits]}{suffix}"


def settled_ids(
    given: Sequence[str], slugs: Sequence[str], contents: Sequence[str], takes: Sequence[int]
) -> list[str]:
    """Keep ids that were given ("" where none was) and make the others, whatever the order of the rows.

    `contents` are the fingerprints of first takes.
    """
    short = [id_of_take(*each) for each in zip(slugs, contents, takes, strict=True)]
    owners: dict[str, set[str]] = {}
    for at, name in enumerate(short):
        if not given[at]:
            owners.setdefault(name, set()).add(contents[at])
    return [
        given[at]
        or (name if len(owners[name]) == 1 else id_of_take(slugs[at], contents[at], takes[at], LONG_DIGITS))
        for at, name in enumerate(short)
    ]


def clashes(names: Iterable[Hashable]) -> dict[int, int]:
    """Return the rows whose name an earlier row has, with the first of those."""
    first_at: dict[Hashable, int] = {}
    return {at: first for at, name in enumerate(names) if (first := first_at.setdefault(name, at)) != at}


def settled_names(
    given: Sequence[str], made: Callable[[int], str], custom_ids: Sequence[str]
) -> tuple[list[str], dict[int, int]]:
    """Keep file names that were given ("" where none was), make the others; no two may be taken for one.

    A made name gives way and gets a hash of the row's id. Returns all names, and the given ones that clash.
    """
    there = [at for at, name in enumerate(given) if name]
    wrong = {there[at]: there[first] for at, first in clashes(folded(given[at]) for at in there).items()}
    taken = {folded(given[at]) for at in there}
    names = []
    for at, name in enumerate(given):
        names.append(name or _made(made(at), custom_ids[at], taken))
    return names, wrong


def _made(name: str, custom_id: str, taken: set[str]) -> str:
    if folded(name) in taken:
        folder, slash, last = name.rpartition("/")
        name = folder + slash + with_hash(last, custom_id)
    taken.add(folded(name))
    return name


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
        "Delete one if that is not intended; otherwise give each its own seed or take"
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
    ids = settled_ids(
        [unicodedata.normalize("NFC", entry.job.custom_id) for entry in entries],
        ["" if entry.job.custom_id else slug(entry.job.prompt) for entry in entries],
        [entry.content for entry in entries],
        [entry.job.take for entry in entries],
    )
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


def leaves_folder(naming: Template) -> bool:
    r"""Whether a template names a place outside of its folder, whatever its cells hold: `..`, `/`, `\`, `C:`.

    A cell cannot: what it holds is made one safe part.
    """
    parts = list(naming.parts)
    parts[1::2] = ["x" for _ in parts[1::2]]
    name = "".join(parts).strip()
    is_absolute = name.startswith(("/", "~")) or name[1:2] == ":"
    return is_absolute or "\\" in name or bool({".", ".."} & set(name.split("/")))


def cleaned_name(name: str, custom_id: str) -> str:
    """Leave out folders that came out empty, and the dashes and dots at the ends of parts."""
    parts = [part.strip("-.") for part in name.split("/")]
    return "/".join(part for part in parts if part) or safe_part(custom_id)


def _where(first: Row, second: Row) -> str:
    return f"row {first.row}" if first.file == second.file else f"row {first.row} of {first.file}"
