"""A job written as the cells of a manifest's row, so that the same can be bought from a file. Pure."""

from __future__ import annotations

from manifests.job import Job
from manifests.plan_rows import MEDIA
from manifests.reference_files import Media


def manifest_cells(job: Job) -> dict[str, str]:
    """Return every known manifest column of a job as text; empty where the job leaves it to fal.

    Read again, the row is the same purchase (the same `fingerprint`), as long as its pictures can be read.
    """
    return {
        "custom_id": job.custom_id,
        "prompt": job.prompt,
        "model": job.endpoint.model if job.draft_id else job.endpoint.id,
        "image_url": job.image.value if job.image else "",
        "end_image_url": job.end_image.value if job.end_image else "",
        **{name: _files(job, media) for name, media in MEDIA.items()},
        "aspect_ratio": job.aspect_ratio,
        "resolution": job.resolution,
        "duration": _text(job.duration_s),
        "num_frames": _text(job.num_frames),
        "camera_fixed": _text(job.camera_fixed),
        "seed": _text(job.seed),
        "enable_safety_checker": _text(job.enable_safety_checker),
        "generate_audio": _text(job.generate_audio),
        "draft": _text(job.draft),
        "task": job.task or "",
        "codec": job.codec or "",
        "bitrate_mode": job.bitrate_mode or "",
        "priority": str(job.priority),
        "take": str(job.take),
        "client": job.client,
        "output_name": job.output_name,
    }


def _files(job: Job, media: Media) -> str:
    """Write the reference files of a kind, a line each."""
    return "\n".join(image.value for image in job.references if image.media == media)


def _text(value: int | None) -> str:
    """Write a number, or a flag as `true` and `false` (a bool is an int)."""
    return "" if value is None else str(value).lower()
