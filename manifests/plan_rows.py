"""A planned job as a row of a table and back, exactly: the rows beside a plan file, and those of large plans.

Numbers that are not there are -1 (seed) or 0 (duration_s, num_frames), options that were left to fal are "".
A job can also be written as the cells of a manifest, so that the same can be bought from a file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from manifests.columns import (
    CHOICE_COLUMNS,
    COLUMN,
    FLAG_COLUMNS,
    MEDIA_OF,
    PICTURE_COLUMNS,
    REFERENCES,
    Media,
)
from manifests.job import Image, Job, canonical_json
from manifests.names import without_suffix
from manifests.parse_cells import picture_list
from manifests.plan import Plan, PlannedJob, StoredJobs
from manifests.plan_hash import NO_SEED
from pricing.catalog import Catalog, Endpoint
from pricing.quotes import Quote

EXTRA = "extra:"
"""What the names of columns begin with that are only carried to the results."""

PRICE = tuple(each.name for each in fields(Quote))
"""The columns of a job's price and pixels."""

TEXTS = (
    "file",
    "custom_id",
    "endpoint",
    "model",
    "prompt",
    "resolution",
    "aspect_ratio",
    "camera_fixed",
    "enable_safety_checker",
    "generate_audio",
    *PICTURE_COLUMNS,
    "pictures",
    "client",
    "output_name",
    "made",
    "given",
    "draft",
    *CHOICE_COLUMNS,
)
NUMBERS = (
    "row",
    "take",
    "priority",
    "seed",
    "duration_s",
    "num_frames",
    *PRICE,
)
MADE_ID, MADE_NAME = "id", "name"
_FLAGS = {None: "", True: "true", False: "false"}
_READ_FLAGS = {text: value for value, text in _FLAGS.items()}


def rows_schema(extras: Iterable[str]) -> Any:
    """Return the table's Arrow schema; `extras` are the columns that the manifest brings besides ours.

    Only those may be null: where a row's file has no such column.
    """
    import pyarrow as pa

    texts = [pa.field(name, pa.string(), nullable=False) for name in TEXTS]
    theirs = [pa.field(f"{EXTRA}{name}", pa.string()) for name in sorted(extras)]
    return pa.schema([*texts, *theirs, *(pa.field(name, pa.int64(), nullable=False) for name in NUMBERS)])


def rows_table(jobs: Sequence[PlannedJob]) -> Any:
    """Return jobs that are in memory as an Arrow table."""
    import pyarrow as pa

    schema = rows_schema({name for planned in jobs for name in planned.job.extra})
    rows = [_row(planned) for planned in jobs]
    columns = [pa.array([row.get(name) for row in rows], schema.field(name).type) for name in schema.names]
    return pa.Table.from_arrays(columns, schema=schema)


def _row(planned: PlannedJob) -> dict[str, Any]:
    job, price, cells = planned.job, planned.quote, planned.cells
    made = [MADE_ID] * (not cells.get("custom_id", "").strip())
    made += [MADE_NAME] * (not without_suffix(cells.get("output_name", "").strip()))
    row = {
        **{name: getattr(job, name) for name in ("row", *_OWN)},
        "file": planned.file,
        "seed": NO_SEED if job.seed is None else job.seed,
        "made": " ".join(made),
        "given": given_text(cells),
        "pictures": pictures_text(_files(job)),
    }
    row |= {name: cells.get(name, "").strip() for name in PICTURE_COLUMNS}
    row |= {f"{EXTRA}{name}": cell for name, cell in job.extra.items()}
    return row | shared_cells(job.endpoint, job.options, price)


def _files(job: Job) -> dict[str, list[Image]]:
    """Return a job's pictures, videos and sounds by the columns that they are written in."""
    frames = {"image_url": job.image, "end_image_url": job.end_image}
    files = {name: [image] if image else [] for name, image in frames.items()}
    return files | {name: [i for i in job.references if i.media == MEDIA_OF[name]] for name in REFERENCES}


def shared_cells(endpoint: Endpoint, options: Mapping[str, Any], price: Quote) -> dict[str, str | int]:
    """Return the cells that all jobs of the same options (`Job.options`) and price have in common."""
    return {
        "endpoint": endpoint.id,
        "model": endpoint.model,
        "resolution": options["resolution"],
        "aspect_ratio": options["aspect_ratio"],
        "duration_s": options["duration"] or 0,
        "num_frames": options["num_frames"] or 0,
        **{name: _FLAGS[options[name]] for name in FLAG_COLUMNS},
        **{name: options[name] or "" for name in CHOICE_COLUMNS},
        **{name: getattr(price, name) for name in PRICE},
    }


def given_text(cells: Mapping[str, str]) -> str:
    """Write the cells that are not kept in columns of their own; None stands for those that are."""
    return canonical_json([[name, cell if _is_kept_here(name) else None] for name, cell in cells.items()])


def _is_kept_here(name: str) -> bool:
    """Whether `given` holds a column's cells: one whose columns in the table are resolved to values."""
    return name in COLUMN and name not in _OWN and name not in PICTURE_COLUMNS


_OWN = ("custom_id", "prompt", "client", "output_name", "seed", "take", "priority")
"""The columns that a job has a field for, beside its options and files."""


def pictures_text(pictures: Mapping[str, Sequence[Image]]) -> str:
    """Write what is known of pictures that are no addresses; "" where all of them are."""
    known = {
        name: [_known(image) for image in images]
        for name, images in pictures.items()
        if any(image.kind != "url" for image in images)
    }
    return canonical_json(known) if known else ""


def _known(image: Image) -> list[Any]:
    own = [
        image.kind,
        image.value,
        image.sha256,
        image.content_type,
        list(image.size) if image.size else None,
    ]
    return own if image.media == "image" else [*own, image.length_ms]


def planned_of(row: Mapping[str, Any], catalog: Catalog) -> tuple[Job, Quote, dict[str, str], str]:
    """Read a row back: the job, its price, the cells it came from and the file they stood in."""
    extra = {
        name.removeprefix(EXTRA): cell
        for name, cell in row.items()
        if name.startswith(EXTRA) and cell is not None
    }
    known, options = known_files(row["pictures"]), options_of(row)
    pictures = {name: files_of(name, row.get(name) or "", known) for name in PICTURE_COLUMNS}
    own = {name: row[name] for name in ("row", *_OWN)}
    own["seed"] = None if row["seed"] == NO_SEED else row["seed"]
    job = Job(
        endpoint=catalog.endpoints[row["endpoint"]],
        duration_s=options.pop("duration"),
        **options,
        **own,
        image=next(iter(pictures["image_url"]), None),
        end_image=next(iter(pictures["end_image_url"]), None),
        references=tuple(image for name in REFERENCES for image in pictures[name]),
        extra=extra,
    )
    return job, Quote(**{name: row[name] for name in PRICE}), _cells(row, job), row["file"]


def options_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a row chose of the endpoint's options, as `Job.options` does."""
    return {
        "resolution": row["resolution"],
        "aspect_ratio": row["aspect_ratio"],
        "duration": row["duration_s"] or None,
        "num_frames": row["num_frames"] or None,
        **{name: _READ_FLAGS[row.get(name) or ""] for name in FLAG_COLUMNS},
        **{name: row.get(name) or None for name in CHOICE_COLUMNS},
    }


def known_files(pictures: str) -> dict[str, Any]:
    """Read what `pictures_text` wrote."""
    return json.loads(pictures) if pictures else {}


def files_of(name: str, cell: str, known: Mapping[str, Any]) -> list[Image]:
    """Return the files that a cell of this column names; `known` is what is known of the row's files."""
    if name in known:
        return [_image(each, MEDIA_OF[name]) for each in known[name]]
    parts = picture_list(cell) if name in REFERENCES else [cell] if cell else []
    return [Image("url", part, media=MEDIA_OF[name]) for part in parts]


def _image(known: Sequence[Any], media: Media) -> Image:
    """Read what `_known` wrote."""
    kind, value, sha256, content_type, size, *length_ms = known
    shape = (size[0], size[1]) if size else None
    return Image(kind, value, sha256, content_type, shape, media, *length_ms)


def _cells(row: Mapping[str, Any], job: Job) -> dict[str, str]:
    """Return the cells that the job came from; numbers in their plain form, text without space around it."""
    made = row["made"].split()
    own = {name: _text(getattr(job, name)) for name in _OWN}
    own |= {"custom_id": ""} if MADE_ID in made else {}
    own |= {"output_name": ""} if MADE_NAME in made else {}
    own |= {name: row.get(name) or "" for name in PICTURE_COLUMNS}
    return {
        name: cell if cell is not None else own[name] if name in own else job.extra[name]
        for name, cell in json.loads(row["given"])
    }


def manifest_table(plan: Plan) -> Any:
    """Return an Arrow table of every job: its columns as they were given, as text, and its `custom_id`."""
    import pyarrow as pa

    if isinstance(plan.jobs, StoredJobs):
        return plan.jobs.cells_table()
    rows = [{**planned.cells, "custom_id": planned.job.custom_id} for planned in plan.jobs]
    names = dict.fromkeys(["custom_id", *(name for row in rows for name in row)])
    return pa.table({name: pa.array([row.get(name, "") for row in rows], pa.string()) for name in names})


def manifest_cells(job: Job) -> dict[str, str]:
    """Return every known manifest column of a job as text; empty where the job leaves it to fal.

    Read again, the row is the same purchase (the same `fingerprint`), as long as its pictures can be read.
    """
    cells = {name: "\n".join(image.value for image in images) for name, images in _files(job).items()}
    cells["model"] = job.endpoint.model if job.draft_id else job.endpoint.id
    own = {name: getattr(job, name) for name in _OWN}
    cells |= {name: _text(value) for name, value in {**own, **job.options}.items()}
    return {name: cells[name] for name in COLUMN}


def _text(value: str | int | None) -> str:
    """Write a number or a text as it is, a flag as `true` and `false`, and nothing for None."""
    return _FLAGS[value] if value is None or isinstance(value, bool) else str(value)
