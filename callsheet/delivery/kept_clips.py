"""The clips of a delivery: which are kept, where their files are, and what they are called."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from callsheet.engine.made_files import MadeFile, files_of
from callsheet.engine.request import RunRequest
from callsheet.engine.results import other_takes, result_rows
from callsheet.errors import ManifestError, Problem, UsageError
from callsheet.ledger import JobRow, Ledger, Run, State, queries
from callsheet.report.clips import shot_numbers
from callsheet.report.rows import ResultRow, iso_utc, result_row
from callsheet.wording import command
from manifests.campaign import BadTemplate, Template
from manifests.names import (
    NAME_RULE,
    UNSAFE,
    cleaned_name,
    folded,
    is_safe,
    leaves_folder,
    parse_naming,
    refused_letters,
    safe_part,
    settled_names,
    with_hash,
)
from manifests.plan_rows import manifest_cells
from manifests.selection import Kept, meant_id
from pricing.budgets import client_key, first_spellings

KEEP = "keep"
"""The verdict of a clip that is delivered."""

DEFAULT_NAME = "{client}/{custom_id}_{width}x{height}"
"""How videos are called where nothing else is said."""


@dataclass(frozen=True, slots=True)
class KeptClip:
    """A kept clip. `row` says what it is and what it cost, whichever run made it.

    `maker` is the job that made it, `file` its file, and `name` the file's name in the delivery without its
    ending.
    """

    row: ResultRow
    maker: JobRow
    file: MadeFile
    name: str

    @property
    def sha256(self) -> str:
        """The file's hash (hex) as the ledger has it."""
        return self.maker.output.sha256 if self.maker.output else ""

    @property
    def source(self) -> Path:
        """The file on this disk."""
        return self.file.path

    @property
    def is_there(self) -> bool:
        """Whether the file is on this disk."""
        return self.source.is_file()


def kept_clips(
    ledger: Ledger, run: Run, keep: Sequence[Kept] | None, *, everything: bool, client: str | None, name: str
) -> list[KeptClip]:
    """Return the clips to deliver, in the manifest's order.

    They are those that `keep` names; without it those that were judged "keep", or all that the run has
    finished (`everything`). Takes of the same shots that other runs of the campaign made can be kept as well;
    they follow the run's own take. `client` leaves only the clips of one client. Raises ManifestError naming
    each kept row that has no file, UsageError where nothing is kept and for a template that cannot be used.
    """
    template = _template(name)
    rows = result_rows(ledger, run)
    takes = rows if everything else _with_other_takes(rows, other_takes(ledger, run, rows))
    chosen = _named(takes, keep) if keep is not None else _judged(run, takes, everything=everything)
    if client is not None:
        chosen = [row for row in chosen if client_key(row.job.client) == client_key(client)]
        if not chosen:
            raise UsageError(f"none of the kept clips is of the client {client!r}; nothing to deliver")
    made = [_made(ledger, run, row) for row in chosen]
    return _clips(ledger, made, run, template, client_folders(row.job.client for row in takes))


def client_folders(clients: Iterable[str]) -> dict[str, str]:
    """Return for every spelling of a client what it is called in the names of files.

    A client has one folder, however it is typed, and no other client has it: names that a file system takes
    for one get a short hash, but for the client whose own name it is.
    """
    spellings = {client: first for client, first in first_spellings(clients).items() if client.strip()}
    parts = {first: safe_part(first.strip(), "client") for first in spellings.values()}
    owners = Counter(map(folded, parts.values()))
    for first, part in parts.items():
        if owners[folded(part)] > 1 and part != first.strip():
            parts[first] = with_hash(part, client_key(first), noun="client")
    return {client: parts[first] for client, first in spellings.items()}


def _with_other_takes(rows: Sequence[ResultRow], others: Sequence[ResultRow]) -> list[ResultRow]:
    """Put each take of another run behind the last of the run's own takes of its shot."""
    shots = shot_numbers([*rows, *others])
    last = {shots[row.custom_id]: at for at, row in enumerate(rows)}
    places = [*range(len(rows)), *(last.get(shots[row.custom_id], len(rows)) for row in others)]
    every = [*rows, *others]
    return [every[at] for at in sorted(range(len(every)), key=places.__getitem__)]


def _named(rows: Iterable[ResultRow], keep: Sequence[Kept]) -> list[ResultRow]:
    known = {row.custom_id: row for row in rows}
    wanted = {meant_id(each.custom_id, known) for each in keep}
    problems = []
    for each in keep:
        row = known.get(meant_id(each.custom_id, known))
        if row is None:
            near = difflib.get_close_matches(each.custom_id, known, n=1, cutoff=0.0)
            hint = f"; the nearest is {near[0]!r}" if near else ""
            why = f"the run has no such clip{hint}"
        elif not row.sha256:
            why = f"there is no video to deliver: it is {row.status}"
        else:
            continue
        problems.append(Problem(each.file, each.row, "custom_id", each.custom_id, why))
    if problems:
        raise ManifestError(problems)
    if not wanted:
        raise UsageError("the selection keeps no clip; nothing to deliver")
    return [row for name, row in known.items() if name in wanted]


def _judged(run: Run, rows: Iterable[ResultRow], *, everything: bool) -> list[ResultRow]:
    found = [row for row in rows if row.sha256 and (everything or row.verdict == KEEP)]
    if not found and everything:
        raise UsageError(f"run {run.run_id} has no finished clip; nothing to deliver")
    if not found:
        review = command("review", run.run_id, sandbox=RunRequest.of(run).sandbox)
        raise UsageError(
            f"no clip of run {run.run_id} was judged {KEEP!r}: judge them with `{review}`, name them with "
            "--keep, or take every finished clip with --all"
        )
    return found


def _made(ledger: Ledger, run: Run, row: ResultRow) -> tuple[ResultRow, JobRow]:
    """Return what is known of a clip where it was made, also if that was in an earlier run."""
    maker = ledger.do(queries.job, row.job_id)
    if maker.state is State.ALREADY_MADE:
        found = ledger.do(queries.already_made, run.campaign, {maker.fingerprint})
        maker = found.get(maker.fingerprint, maker)
    if maker.run_id == run.run_id:
        return row, maker
    there = result_row(maker, row.job, ledger.do(queries.run, maker.run_id))
    judged = {name: getattr(row, name) for name in ("verdict", "review_note", "reviews")}
    return replace(there, **judged), maker


def _clips(
    ledger: Ledger,
    made: Sequence[tuple[ResultRow, JobRow]],
    run: Run,
    template: Template,
    clients: Mapping[str, str],
) -> list[KeptClip]:
    files = files_of(ledger, (maker for _, maker in made))
    cells = [_cells(row, run) for row, _ in made]
    _refuse_unknown(template, cells)
    ids = [row.custom_id for row, _ in made]
    names, _ = settled_names([""] * len(made), lambda at: _filled(template, cells[at], ids[at], clients), ids)
    problems = [Problem("--name", 0, "custom_id", name, UNSAFE) for name in names if not is_safe(name)]
    if problems:
        raise ManifestError(problems)
    return [
        KeptClip(row, maker, files[maker.job_id], name)
        for (row, maker), name in zip(made, names, strict=True)
    ]


def _template(text: str) -> Template:
    """Read a template of names; the ending that videos have may stand at its end."""
    try:
        template = parse_naming(text)
    except BadTemplate as error:
        raise UsageError(f"--name {text!r}: {error}") from error
    if leaves_folder(template):
        raise UsageError(f"--name {text!r} leads out of the delivery; name files and folders within it")
    if not template.columns:
        raise UsageError(f"--name {text!r} names no column, such as {{custom_id}}")
    if letters := refused_letters(template):
        found = ", ".join(map(repr, letters[:-1])) + " and " * (len(letters) > 1) + repr(letters[-1])
        raise UsageError(f"--name {text!r}: {found} cannot stand in a file name; allowed are {NAME_RULE}")
    example = template.fill(dict.fromkeys(template.columns, "x"))
    if not is_safe(cleaned_name(template, example) or "x"):
        raise UsageError(f"--name {text!r} makes no safe file name; allowed are {NAME_RULE}")
    return template


def _cells(row: ResultRow, run: Run) -> Mapping[str, str]:
    """Return what a name can be made of: the manifest's columns, and what is known of the file."""
    known = {
        "width": row.width_px,
        "height": row.height_px,
        "fps": None if row.fps is None else f"{row.fps:g}",
        "duration_s": None if row.duration_s is None else f"{row.duration_s:.2f}",
        "seed": row.seed_used if row.seed_used is not None else row.job.seed,
        "model": row.model,
        "resolution": row.job.shot.resolution,
        "aspect_ratio": row.job.aspect_ratio.replace(":", "x"),
        "take": row.job.take,
        "custom_id": row.custom_id,
        "campaign": run.campaign,
        "run_id": run.run_id,
        "date": iso_utc(row.finished_ms)[:10],
    }
    own = {name: str(value) for name, value in known.items() if value is not None}
    return {**row.job.extra, **manifest_cells(row.job), **own}


def _refuse_unknown(template: Template, cells: Sequence[Mapping[str, str]]) -> None:
    known = {name for each in cells for name in each}
    for name in template.columns:
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.0)
            raise UsageError(f"--name: there is no column {name!r}; the nearest is {near[0]!r}")


def _filled(template: Template, cells: Mapping[str, str], custom_id: str, clients: Mapping[str, str]) -> str:
    texts = {name: cells.get(name, "").strip() for name in template.columns}
    parts = {name: safe_part(text) if text else "" for name, text in texts.items()}
    if "client" in parts:
        parts["client"] = clients.get(cells["client"], parts["client"])
    return cleaned_name(template, template.fill(parts)) or safe_part(custom_id)
