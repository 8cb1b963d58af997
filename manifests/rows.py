"""One row checked against the declaration in `manifests.columns`, and made a Job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from manifests.camera import unknown_instructions, unlisted
from manifests.columns import COLUMN, COLUMNS, Pictures
from manifests.job import Job, plain_prompt
from manifests.parse_cells import Context, Reading, read_cell
from manifests.problems import Problems
from manifests.selection import candidates
from manifests.table import CELL_LIMIT_BYTES, UNPRINTABLE, Row
from pricing.catalog import DEFAULT_DURATION_S, Endpoint


def read_row(row: Row, context: Context, notes: Problems) -> Job | None:
    """Return the job that a row describes, or None with every mistake of the row noted.

    `custom_id` and `output_name` are as given: empty where `manifests.identity` shall make them.
    """
    before = notes.count
    _check_characters(row, notes)
    reading = Reading(row, context, notes, candidates(row, context.catalog, notes))
    values = {column.name: read_cell(reading, column) for column in COLUMNS}
    # A column that is missing altogether is one mistake of the file, and none of the row.
    if notes.count > before or len(reading.endpoints) > 1 or not values["prompt"]:
        return None
    _warn_of_camera(reading, values["prompt"])
    return _job(row, reading.endpoints[0], values)


def _job(row: Row, endpoint: Endpoint, values: Mapping[str, Any]) -> Job:
    frames = values["num_frames"]
    return Job(
        row=row.row,
        custom_id=values["custom_id"],
        endpoint=endpoint,
        prompt=plain_prompt(values["prompt"]),
        resolution=values["resolution"],
        aspect_ratio=values["aspect_ratio"],
        duration_s=None if frames else values["duration"] or DEFAULT_DURATION_S,
        num_frames=frames,
        camera_fixed=values["camera_fixed"],
        seed=values["seed"],
        enable_safety_checker=values["enable_safety_checker"],
        generate_audio=values["generate_audio"],
        image=next(iter(values["image_url"]), None),
        end_image=next(iter(values["end_image_url"]), None),
        references=values["reference_image_urls"],
        take=values["take"],
        priority=values["priority"],
        client=values["client"],
        output_name=values["output_name"],
        extra={name: cell for name, cell in row.cells.items() if name not in COLUMN},
    )


def _check_characters(row: Row, notes: Problems) -> None:
    for name, cell in row.cells.items():
        if UNPRINTABLE.search(cell):
            notes.wrong(row, name, "control characters have no place in a manifest; remove them", found=cell)
        if len(cell) > CELL_LIMIT_BYTES and not isinstance(getattr(COLUMN.get(name), "kind", None), Pictures):
            notes.wrong(row, name, "a cell is longer than 1 MiB")


def _warn_of_camera(reading: Reading, prompt: str) -> None:
    for instruction in unknown_instructions(prompt):
        reading.notes.warn(reading.row, "prompt", unlisted(), found=f"[{instruction}]")
