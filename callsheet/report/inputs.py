"""A job written as a manifest row again, complete: what a default or a template put there is spelled out."""

from __future__ import annotations

from manifests.job import Job


def manifest_cells(job: Job) -> dict[str, str]:
    """Return every known manifest column of a job as text; empty where the job leaves it to fal.

    Read again, the row is the same purchase (the same `fingerprint`), as long as its pictures can be read.
    """
    return {
        "custom_id": job.custom_id,
        "prompt": job.prompt,
        "model": job.endpoint.id,
        "image_url": job.image.value if job.image else "",
        "end_image_url": job.end_image.value if job.end_image else "",
        "reference_image_urls": "\n".join(image.value for image in job.references),
        "aspect_ratio": job.aspect_ratio,
        "resolution": job.resolution,
        "duration": _text(job.duration_s),
        "num_frames": _text(job.num_frames),
        "camera_fixed": _text(job.camera_fixed),
        "seed": _text(job.seed),
        "enable_safety_checker": _text(job.enable_safety_checker),
        "generate_audio": _text(job.generate_audio),
        "priority": str(job.priority),
        "take": str(job.take),
        "client": job.client,
        "output_name": job.output_name,
    }


def _text(value: int | None) -> str:
    """Write a number, or a flag as `true` and `false` (a bool is an int)."""
    return "" if value is None else str(value).lower()
