"""A Job as one line of JSON and back, exactly: the ledger keeps jobs like this, and a run goes on from it."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields
from typing import Any

from callsheet.errors import UsageError
from manifests.job import Image, Job, canonical_json
from pricing.catalog import Catalog

_PLAIN = tuple(
    field for field in fields(Job) if field.name not in ("endpoint", "image", "end_image", "references")
)


def encode_job(job: Job) -> str:
    """Write a job as compact JSON; fields that hold their default are left out."""
    data: dict[str, Any] = {"endpoint": job.endpoint.id}
    for field in _PLAIN:
        value = getattr(job, field.name)
        if field.default is MISSING or value != field.default:
            data[field.name] = value
    if not job.extra:
        del data["extra"]
    for name in ("image", "end_image"):
        image = getattr(job, name)
        if image is not None:
            data[name] = _image_data(image)
    if job.references:
        data["references"] = [_image_data(image) for image in job.references]
    return canonical_json(data)


def decode_job(text: str, catalog: Catalog) -> Job:
    """Read a job back. Raises UsageError where the catalog no longer has its endpoint."""
    data = json.loads(text)
    endpoint = catalog.endpoints.get(data["endpoint"])
    if endpoint is None:
        raise UsageError(f"the catalog has no endpoint {data['endpoint']}; it had when this job was planned")
    data["endpoint"] = endpoint
    for name in ("image", "end_image"):
        if name in data:
            data[name] = _image(data[name])
    data["references"] = tuple(_image(each) for each in data.get("references", ()))
    return Job(**data)


def _image_data(image: Image) -> dict[str, Any]:
    data: dict[str, Any] = {"kind": image.kind, "value": image.value, "sha256": image.sha256}
    data |= {"content_type": image.content_type, "size": list(image.size) if image.size else None}
    return {name: value for name, value in data.items() if value is not None}


def _image(data: dict[str, Any]) -> Image:
    size = data.get("size")
    return Image(
        kind=data["kind"],
        value=data["value"],
        sha256=data.get("sha256"),
        content_type=data.get("content_type"),
        size=(size[0], size[1]) if size else None,
    )
