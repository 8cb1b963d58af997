"""Plans as Arrow tables: the priced rows beside a plan file, and the manifest that a run keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from manifests.job import Image
from manifests.plan import Plan, PlannedJob

if TYPE_CHECKING:
    import pyarrow as pa


def rows_table(plan: Plan) -> pa.Table:
    """Return one row per job with what is bought and its price in nano-dollars (64-bit integers)."""
    import pyarrow as pa  # noqa: PLC0415  # planning alone does not pay the 0.1 s of its import

    types = {str: pa.string(), int: pa.int64()}
    schema = pa.schema([(name, types[kind]) for name, kind in _ROW_TYPES.items()])
    return pa.Table.from_pylist([_row(planned) for planned in plan.jobs], schema=schema)


_ROW_TYPES: dict[str, type] = {
    "custom_id": str,
    "row": int,
    "take": int,
    "endpoint": str,
    "model": str,
    "prompt": str,
    "resolution": str,
    "aspect_ratio": str,
    "width_px": int,
    "height_px": int,
    "fps": int,
    "frames": int,
    "expected_nano": int,
    "maximum_nano": int,
    "priority": int,
    "client": str,
    "output_name": str,
    "fingerprint": str,
    "digest": str,
}


def _row(planned: PlannedJob) -> dict[str, Any]:
    job, quote = planned.job, planned.quote
    return {
        "custom_id": job.custom_id,
        "row": job.row,
        "take": job.take,
        "endpoint": job.endpoint.id,
        "model": job.endpoint.model,
        "prompt": job.prompt,
        "resolution": job.resolution,
        "aspect_ratio": job.aspect_ratio,
        "width_px": quote.width_px,
        "height_px": quote.height_px,
        "fps": quote.fps,
        "frames": quote.frames,
        "expected_nano": quote.expected_nano,
        "maximum_nano": quote.maximum_nano,
        "priority": job.priority,
        "client": job.client,
        "output_name": job.output_name,
        "fingerprint": planned.fingerprint,
        "digest": planned.digest,
    }


def manifest_table(plan: Plan) -> pa.Table:
    """Return one row per job with every column as it was given, as text, and `custom_id` filled in."""
    import pyarrow as pa  # noqa: PLC0415

    names = dict.fromkeys(["custom_id", *(name for planned in plan.jobs for name in planned.cells)])
    columns = {name: [planned.cells.get(name, "") for planned in plan.jobs] for name in names}
    columns["custom_id"] = [planned.job.custom_id for planned in plan.jobs]
    return pa.table({name: pa.array(cells, pa.string()) for name, cells in columns.items()})


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
