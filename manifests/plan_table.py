"""The manifest as a run keeps it: every row as it was given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from manifests.arrow_cells import text_column
from manifests.job import Image
from manifests.plan import Plan, PlannedJob

if TYPE_CHECKING:
    import pyarrow as pa


def manifest_table(plan: Plan) -> pa.Table:
    """Return one row per job with every column as it was given, as text, and `custom_id` filled in."""
    import pyarrow as pa  # noqa: PLC0415

    columns: dict[str, list[str]] = {"custom_id": []}
    for count, planned in enumerate(plan.jobs):
        for name, cell in ({**planned.cells} | {"custom_id": planned.job.custom_id}).items():
            cells = columns.setdefault(name, [])
            cells += [""] * (count - len(cells))  # rows before the first that has this column
            cells.append(cell)
    total = len(plan.jobs)
    filled = {name: cells + [""] * (total - len(cells)) for name, cells in columns.items()}
    return pa.table({name: text_column(cells) for name, cells in filled.items()})


def runnable_row(planned: PlannedJob) -> dict[str, str]:
    """Return a job's row as cells of a manifest that can be run from any folder, and means the same video.

    Names, take and seed are spelled out and local pictures have their whole path.
    """
    job = planned.job
    cells = dict(planned.cells)
    cells |= {"custom_id": job.custom_id, "output_name": job.output_name}
    if job.take > 1 or "take" in cells:
        cells["take"] = str(job.take)
    named: Mapping[str, tuple[Image, ...]] = {
        "image_url": (job.image,) if job.image else (),
        "end_image_url": (job.end_image,) if job.end_image else (),
        "reference_image_urls": job.references,
    }
    cells |= {name: "\n".join(image.value for image in images) for name, images in named.items() if images}
    return cells
