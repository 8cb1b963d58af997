"""Ids, takes and file names, over all rows of a plan: no two jobs share an id or a file.

A file name is one or more parts separated by `/`; a part holds letters and digits of any script, `.`, `_` and
`-`, composed (NFC), does not begin with a dot or a dash, does not end with a dot, and is not a device name of
Windows.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from manifests.campaign import Template, parse_template
from manifests.job import Job
from manifests.problems import Problems
from manifests.table import Row

PART_MAX_CHARS = 100
NAME_MAX_CHARS = 200
"""Common file systems allow 255 bytes a part; room is left for the suffix and the temporary name."""

PART_MAX_BYTES = 180
"""In UTF-8: a letter of another script takes up to four bytes."""

NAME_RULE = (
    "letters, digits, '.', '_', '-' (and '/' between folders), "
    f"at most {PART_MAX_CHARS} characters and {PART_MAX_BYTES} bytes, "
    "not beginning with '.' or '-', not ending with '.', no device name such as CON"
)
UNSAFE = f"not a safe file name; allowed are {NAME_RULE}"

SAFE_NAME = r"^[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?$"
"""Names of one part that are safe if short and no device's: for a quick look at very many."""

DEVICE_NAME = r"(?i)^(?:CON|PRN|AUX|NUL|COM[0-9]|LPT[0-9])(?:\..*)?$"

_SAFE_PART = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_-])?", re.ASCII)
_DEVICE = re.compile(DEVICE_NAME, re.ASCII)
_FORBIDDEN = re.compile(r"[^A-Za-z0-9._-]+", re.ASCII)
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_HASH_CHARS = 8


SUFFIX = r"(?i)\.mp4$"


def without_suffix(name: str) -> str:
    """Return a name without the `.mp4` at its end, in whatever case; a video gets it anyway."""
    return re.sub(SUFFIX, "", name, flags=re.ASCII)


def is_safe(name: str) -> bool:
    """Whether a name can be used as it stands."""
    # A folder called like a video would stand where that video is to be written.
    if len(name) > NAME_MAX_CHARS or ".mp4/" in name.lower():
        return False
    return all(_is_safe_part(part) for part in name.split("/"))


def _is_safe_part(part: str) -> bool:
    if _DEVICE.fullmatch(part) or not _fits(part):
        return False
    if part.isascii():
        return bool(_SAFE_PART.fullmatch(part))
    return part[0] not in ".-" and part[-1] != "." and _with_own_letters(part) == part


def _with_own_letters(text: str) -> str:
    """Return composed text in which only letters, digits, `.`, `_` and `-` are left; others become a `-`.

    A mark belongs to the letter before it, and is none of its own.
    """
    kept: list[str] = []
    for char in unicodedata.normalize("NFC", text):
        kind = unicodedata.category(char)
        is_kept = char in "._-" or kind[0] == "L" or kind == "Nd"
        is_kept = is_kept or (kind[0] == "M" and bool(kept) and unicodedata.category(kept[-1])[0] in "LM")
        kept += [char if is_kept and not _INVISIBLE.match(char) else "-"]
    return "".join(kept)


def safe_part(text: str, noun: str = "clip") -> str:
    """Turn any text into one safe part of a name; the same text gives the same part.

    Accents are dropped, runs of other characters become one `-`. Where letters or digits were lost, or the
    text was too long, a short hash of it is added, so that two different texts do not become one name.
    `noun` stands before the hash where nothing else is left of the text.
    """
    plain = unicodedata.normalize("NFKD", text)
    plain = "".join(char for char in plain if not unicodedata.combining(char))
    lost = _loses_letters(text)
    part = _FORBIDDEN.sub("-", plain).strip("-.")
    if _DEVICE.fullmatch(part):  # `CON.txt-09c8cc7e` is a device too
        part, lost = part.replace(".", "-"), True
    if lost or not part or len(part) > PART_MAX_CHARS:
        return with_hash(part, text, noun=noun)
    return part


def file_part(text: str) -> str:
    """Turn any text into one safe part of a file's name, with the letters of its own script.

    What `safe_part` can write without loss keeps that name. A text that is too long gets a short hash, and so
    does one of which no letter is left. Where its own letters make no safe part, the plain one is taken.
    """
    plain = safe_part(text)
    own = re.sub("-+", "-", _with_own_letters(text)).strip("-.")
    if own.isascii() or not _loses_letters(text):
        return plain
    return next(filter(_is_safe_part, (own, with_hash(own, text))), plain)


def _loses_letters(text: str) -> bool:
    """Say whether there are letters beside ASCII after accents are dropped."""
    plain = unicodedata.normalize("NFKD", text)
    return any(char.isalnum() and not char.isascii() for char in plain if not unicodedata.combining(char))


def with_hash(part: str, text: str, most: int = PART_MAX_CHARS, *, noun: str = "clip") -> str:
    """Add a short hash of `text` to a safe part, or to `noun` where it is empty, within `most` characters."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_CHARS]
    room = _HASH_CHARS + 1
    stem = part[: most - room].encode(errors="ignore")[: PART_MAX_BYTES - room].decode(errors="ignore")
    stem = stem.rstrip("-.")
    return f"{stem or noun}-{digest}"


def shortened(name: str) -> str:
    """Shorten the parts of a name that are too long; a short hash tells each from others.

    That of a folder is its own, so that it stays one folder; that of the last part is the whole name's.
    """
    *folders, last = name.split("/")
    folder = "".join(f"{part if _fits(part) else with_hash(part, part)}/" for part in folders)
    most = min(PART_MAX_CHARS, NAME_MAX_CHARS - len(folder))
    return folder + (last if _fits(last, most) else with_hash(last, name, most))


def _fits(part: str, most: int = PART_MAX_CHARS) -> bool:
    return len(part) <= most and len(part.encode("utf-8", "surrogatepass")) <= PART_MAX_BYTES


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
    rows (`manifests.columnar.row_maker`).
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
class RowNames:
    """Take, id and file name of every row; an id or a name that a row does not bring is ""."""

    takes: list[int]
    ids: list[str]
    names: list[str]


def settled(
    given: RowNames,
    contents: Sequence[str],
    prompts: Sequence[str],
    made: Callable[[int, str, int], str],
    row_at: Callable[[int], Row],
    notes: Problems,
) -> RowNames:
    """Number equal rows as takes, make the ids and file names that are not given, and note those that clash.

    `contents` are the fingerprints of first takes; `made` makes the file name of the row at a place from its
    id and take; `row_at` returns a row as far as messages need it.
    """
    takes, equal_to = settled_takes(contents, given.takes)
    slugs = ["" if custom_id else slug(text) for custom_id, text in zip(given.ids, prompts, strict=True)]
    ids = settled_ids(given.ids, slugs, contents, takes)
    names, same_name = settled_names(given.names, lambda at: made(at, ids[at], takes[at]), ids)
    for at, first in equal_to.items():
        message = (
            f"this row is equal to {_where(row_at(first), row_at(at))}; both will be made and paid for, "
            f"this one as take {takes[at]}. "
            "Delete one if that is not intended; otherwise give each its own seed or take"
        )
        notes.warn(row_at(at), "prompt", message, found=prompts[at])
    for at, first in clashes(ids).items():
        message = f"{_where(row_at(first), row_at(at))} has the same custom_id; every row needs its own"
        notes.wrong(row_at(at), "custom_id", message, found=ids[at])
    for at, first in same_name.items():
        where = _where(row_at(first), row_at(at))
        message = f"{where} has this output_name too (upper and lower case are one name)"
        notes.wrong(row_at(at), "output_name", message, found=names[at])
    for at, name in enumerate(names):
        if not given.names[at] and not is_safe(name):
            note_unsafe(row_at(at), name, notes)
    return RowNames(takes, ids, names)


def note_unsafe(row: Row, name: str, notes: Problems) -> None:
    """Note a row whose file name, as it was made, cannot be used."""
    notes.wrong(row, "output_name", UNSAFE, found=name)


def identified(pairs: list[tuple[Row, Job]], notes: Problems, naming: Template | None = None) -> list[Job]:
    """Return the jobs with their takes, ids and file names, and note those that clash.

    `naming` makes the file names of rows that bring none; without it they are called after their id.
    """

    def made(at: int, custom_id: str, take: int) -> str:
        row, job = pairs[at]
        return made_name(naming or BY_ID, replace(job, custom_id=custom_id, take=take), row.cells)

    jobs = [job for _, job in pairs]
    given = RowNames(
        [job.take for job in jobs],
        [unicodedata.normalize("NFC", job.custom_id) for job in jobs],
        [job.output_name for job in jobs],
    )
    contents = [replace(job, take=1).fingerprint for job in jobs]
    prompts = [job.prompt for job in jobs]
    now = settled(given, contents, prompts, made, lambda at: pairs[at][0], notes)
    return [
        replace(job, take=take, custom_id=custom_id, output_name=name)
        for job, take, custom_id, name in zip(jobs, now.takes, now.ids, now.names, strict=True)
    ]


def made_name(naming: Template, job: Job, cells: Mapping[str, str]) -> str:
    """Make a file name from a row's cells and from what the check decided.

    A `/` of the template makes folders, a `/` in a cell does not; folders whose cells are empty are left out.
    """
    decided = {
        "custom_id": job.custom_id,
        "model": job.endpoint.model,
        "resolution": job.resolution,
        "aspect_ratio": job.aspect_ratio.replace(":", "x"),
        "take": str(job.take),
    }
    texts = {name: decided.get(name, cells.get(name, "")).strip() for name in naming.columns}
    name = naming.fill({name: file_part(text) if text else "" for name, text in texts.items()})
    return cleaned_name(naming, name) or file_part(job.custom_id)


def parse_naming(text: str) -> Template:
    """Parse a template of file names; `.mp4` may stand at its end. Raises BadTemplate."""
    return parse_template(without_suffix(text))


def refused_letters(naming: Template) -> list[str]:
    """Return the letters of a template's own text that no file name may have, each once."""
    text = unicodedata.normalize("NFC", "".join(naming.parts[::2]).replace("/", ""))
    kept = _with_own_letters(text)
    return list(dict.fromkeys(char for char, same in zip(text, kept, strict=True) if char != same))


def leaves_folder(naming: Template) -> bool:
    r"""Whether a template names a place outside of its folder, whatever its cells hold: `..`, `/`, `\`, `C:`.

    A cell cannot: what it holds is made one safe part.
    """
    name = naming.fill(dict.fromkeys(naming.columns, "x")).strip()
    is_absolute = name.startswith(("/", "~")) or name[1:2] == ":"
    return is_absolute or "\\" in name or bool({".", ".."} & set(name.split("/")))


def cleaned_name(naming: Template, filled: str) -> str:
    """Leave out folders that came out empty, and the dashes and dots at the ends of parts; shorten the rest.

    A template without columns is not shortened: it is a name as a person wrote it. Returns "" if nothing is
    left.
    """
    parts = [part.strip("-.") for part in unicodedata.normalize("NFC", filled).split("/")]
    name = "/".join(part for part in parts if part)
    return shortened(name) if naming.columns else name


def _where(first: Row, second: Row) -> str:
    return f"row {first.row}" if first.file == second.file else f"row {first.row} of {first.file}"
