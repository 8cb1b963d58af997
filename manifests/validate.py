"""Check every row against the declaration in `manifests.columns`; all mistakes are reported together."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from manifests.columns import COLUMN, COLUMNS, PICTURE_COLUMNS, REFERENCES
from manifests.headers import Headers
from manifests.job import Image, Job, input_ms, plain_prompt
from manifests.names import identified
from manifests.parse_cells import Context, Reading, read_cell
from manifests.problems import Problems
from manifests.table import CELL_LIMIT_BYTES, UNPRINTABLE, Row
from pricing.catalog import AUTO, Catalog, Endpoint, Task


def check_rows(rows: Iterable[Row], context: Context, notes: Problems) -> list[tuple[Row, Job]]:
    """Check every row against the columns' declaration and against the other rows; return it with its job.

    Every mistake goes into `notes`. Where it gets any, what is returned is only part of the manifest.
    """
    headers = Headers(notes)
    pairs = []
    for row in rows:
        for name, shape in headers.unseen(row.file, tuple(row.cells)).items():
            if re.search(shape, row.cells[name]) if shape else row.cells[name].strip():
                headers.saw(row.file, tuple(row.cells), name)
        job = read_row(row, context, notes)
        if job is not None:
            pairs.append((row, job))
    headers.finish()
    jobs = identified(pairs, notes, context.naming)
    return [(row, job) for (row, _), job in zip(pairs, jobs, strict=True)]


def read_row(row: Row, context: Context, notes: Problems) -> Job | None:
    """Return the job that a row describes, or None with every mistake of the row noted.

    `custom_id` and `output_name` are as given: empty where `manifests.names` shall make them.
    """
    before = notes.count
    _check_characters(row, notes)
    reading = Reading(row, context, notes, candidates(row, context.catalog, notes))
    values = {column.name: read_cell(reading, column) for column in COLUMNS}
    # A column that is missing altogether is one mistake of the file, and none of the row.
    if notes.count > before or len(reading.endpoints) > 1 or "prompt" not in row.cells:
        return None
    for instruction in unknown_instructions(values["prompt"]):
        notes.warn(row, "prompt", UNLISTED, found=f"[{instruction}]")
    job = _job(row, reading.endpoints[0], values)
    if wrong := references_problem(job.endpoint, job.references) or task_problem(job.options, job.references):
        notes.wrong(row, *wrong)
        return None
    return job


def _job(row: Row, endpoint: Endpoint, values: Mapping[str, Any]) -> Job:
    own = {each.name for each in fields(Job)} & COLUMN.keys() - {"prompt"}
    return Job(
        row=row.row,
        endpoint=endpoint,
        prompt=plain_prompt(values["prompt"]),
        duration_s=None if values["num_frames"] else values["duration"],
        image=next(iter(values["image_url"]), None),
        end_image=next(iter(values["end_image_url"]), None),
        references=tuple(each for name in REFERENCES for each in values[name]),
        extra={name: cell for name, cell in row.cells.items() if name not in COLUMN},
        **{name: values[name] for name in own},
    )


def references_problem(endpoint: Endpoint, references: Sequence[Image]) -> tuple[str, str] | None:
    """Return the column and what is wrong with the reference files as a whole; None where nothing is.

    fal's schemas say these rules in their texts only (captured 2026-10).
    """
    kinds = {each.media for each in references}
    if kinds == {"audio"}:
        return "reference_audios", "a reference sound needs at least one reference picture or video"
    if endpoint.reference_files and len(references) > endpoint.reference_files:
        most = endpoint.reference_files
        message = f"here are {len(references)} reference files of all kinds; at most {most} are allowed"
        return REFERENCES[0], message
    most_ms = endpoint.input_video_ms
    if most_ms and input_ms(endpoint, references) > most_ms:
        length_s = input_ms(endpoint, references) / 1000
        return (
            "reference_videos",
            f"the reference videos are {length_s:g} s long together; {most_ms / 1000:g} s are allowed",
        )
    return None


def task_problem(options: Mapping[str, Any], references: Sequence[Image]) -> tuple[str, str] | None:
    """Return the column and what is wrong with a task (`Job.options`); None where nothing is.

    Editing keeps the shape and length of the video that comes in, extension its shape (the same schemas):
    they are left to the model, and the most that they can cost is held.
    """
    task = options["task"]
    if task not in ("editing", "extension"):
        return None
    if not any(each.media == "video" for each in references):
        return "task", f"{task} needs a reference video; fill reference_videos"
    if options["aspect_ratio"] != AUTO:
        return "aspect_ratio", f"{task} keeps the video's own; leave it empty"
    if task == "editing" and (options["duration"] or options["num_frames"]):
        return "duration", "editing keeps the video's own; leave it empty"
    return None


def not_priced(error: LookupError) -> str:
    """Say that the price book has no price for a job, which is the catalog's `error`."""
    return f"{error.args[0]}, so this job cannot be bought"


def _check_characters(row: Row, notes: Problems) -> None:
    for name, cell in row.cells.items():
        if UNPRINTABLE.search(cell):
            notes.wrong(row, name, "control characters have no place in a manifest; remove them", found=cell)
        if len(cell) > CELL_LIMIT_BYTES and name not in PICTURE_COLUMNS:
            notes.wrong(row, name, "a cell is longer than 1 MiB")


_NEAR = 0.88
"""How alike a name must be (difflib's ratio) for a misspelling to be suspected."""

_PICTURE_COLUMN: dict[Task, str] = {
    "image-to-video": "image_url",
    "reference-to-video": "reference_image_urls",
}


def candidates(row: Row, catalog: Catalog, notes: Problems) -> tuple[Endpoint, ...]:
    """Return the endpoint that the row means; several, with the mistake noted, where it means none.

    Several are returned so that the row's other cells can still be checked against what any of them allows.
    """
    everything = tuple(catalog.endpoints.values())
    model = row.cells.get("model", "").strip()
    wanted = task_of(row, notes)
    if (named := catalog.named(model)) is not None:
        return _named(named, row, wanted, notes)
    alias = model_of(model, catalog)
    if not alias:
        _unknown_model(row, model, catalog, notes)
        return everything
    endpoint = catalog.endpoint_for(alias, wanted)
    if endpoint is not None:
        return (endpoint,)
    others = [e.model for e in everything if e.task == wanted]
    message = f"{alias} has no {wanted} endpoint; these models do: {', '.join(others)}"
    notes.wrong(row, _PICTURE_COLUMN.get(wanted, "model"), message)
    return tuple(e for e in everything if e.model == alias)


def task_of(row: Row, notes: Problems) -> Task:
    """Return what the row's pictures ask for, and note pictures that do not go together."""
    image, end_image = (row.cells.get(name, "").strip() for name in ("image_url", "end_image_url"))
    references = next((name for name in REFERENCES if row.cells.get(name, "").strip()), "")
    if references and (image or end_image):
        what = "reference pictures" if references == REFERENCES[0] else "reference files"
        notes.wrong(row, references, f"{what} do not go with image_url or end_image_url")
    elif end_image and not image:
        notes.wrong(row, "end_image_url", "a last frame needs a first one; fill image_url as well")
    if references:
        return "reference-to-video"
    return "image-to-video" if image or end_image else "text-to-video"


def _named(endpoint: Endpoint, row: Row, wanted: Task, notes: Problems) -> tuple[Endpoint, ...]:
    """Check that an endpoint named by its id gets the pictures it needs, and no others."""
    if endpoint.task == "draft-to-video":
        notes.wrong(row, "model", f"{endpoint.id} finishes drafts and takes no rows of a manifest")
        return (endpoint,)
    needed = _PICTURE_COLUMN.get(endpoint.task)
    brought = _PICTURE_COLUMN.get(wanted)
    may_be_none = endpoint.reference_images is not None and not endpoint.reference_images[0]
    if needed and needed != brought and not may_be_none:
        notes.wrong(row, needed, f"{endpoint.id} needs {needed}")
    if brought and brought != needed:
        notes.wrong(
            row, brought, f"{endpoint.id} takes no {brought}; leave it empty or set model to {endpoint.model}"
        )
    return (endpoint,)


_BETWEEN_WORDS = re.compile(r"[\s_-]+")


def model_of(name: str, catalog: Catalog) -> str:
    """Return the alias that a name is, in any case and with spaces or `_` for `-`.

    "" where it is none, or more than one.
    """
    if name.lower() in catalog.models:
        return name.lower()
    plain = _BETWEEN_WORDS.sub("", name).lower()
    alike = [alias for alias in catalog.models if _BETWEEN_WORDS.sub("", alias).lower() == plain]
    return alike[0] if len(alike) == 1 else ""


def _unknown_model(row: Row, model: str, catalog: Catalog, notes: Problems) -> None:
    if not model:
        if "model" in row.cells:
            notes.wrong(row, "model", f"name a model: {', '.join(catalog.models)}")
        return
    near = nearest_model(model, catalog)
    hint = f"did you mean {near}? " if near else ""
    notes.wrong(row, "model", f"{hint}allowed are {', '.join(catalog.models)}, or an endpoint's id")


def nearest_model(model: str, catalog: Catalog) -> str:
    """Return the alias or endpoint that a name may be a misspelling of, or ""."""
    known = [*catalog.models, *catalog.endpoints]
    near = difflib.get_close_matches(model.lower(), known, n=1, cutoff=_NEAR)
    return near[0] if near else ""


INSTRUCTIONS = (
    "Truck left",
    "Truck right",
    "Pan left",
    "Pan right",
    "Push in",
    "Pull out",
    "Pedestal up",
    "Pedestal down",
    "Tilt up",
    "Tilt down",
    "Zoom in",
    "Zoom out",
    "Shake",
    "Tracking shot",
    "Static shot",
    "Low-angle shot",
    "Overhead shot",
)
"""fal's page for Seedance lists the movements; its examples use the last two."""

UNLISTED = f"not a camera instruction that Seedance lists; known are {', '.join(INSTRUCTIONS)}"
_KNOWN = frozenset(name.lower() for name in INSTRUCTIONS)
_BRACKETS = re.compile(r"\[([^\[\]]{1,80})\]")


def unknown_instructions(prompt: str) -> list[str]:
    """Return the instructions in brackets that Seedance's page does not list, each once."""
    if "[" not in prompt:
        return []
    parts = (part.strip() for group in _BRACKETS.findall(prompt) for part in group.split(","))
    return list(dict.fromkeys(part for part in parts if part and part.lower() not in _KNOWN))
