"""Which endpoint a row means: the model it names, and the pictures it brings."""

from __future__ import annotations

import difflib

from manifests.problems import Problems
from manifests.table import Row
from pricing.catalog import Catalog, Endpoint, Task

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
    if model in catalog.endpoints:
        return _named(catalog.endpoints[model], row, wanted, notes)
    alias = model.lower()
    if alias not in catalog.models:
        _unknown_model(row, model, catalog, notes)
        return everything
    endpoint = catalog.endpoint_for(alias, wanted)
    if endpoint is not None:
        return (endpoint,)
    others = [e.model for e in everything if e.task == wanted]
    message = f"{alias} makes no {wanted}; these do: {', '.join(others)}"
    notes.wrong(row, _PICTURE_COLUMN.get(wanted, "model"), message)
    return tuple(e for e in everything if e.model == alias)


def task_of(row: Row, notes: Problems) -> Task:
    """Return what the row's pictures ask for, and note pictures that do not go together."""
    image, end_image, references = (
        row.cells.get(name, "").strip() for name in ("image_url", "end_image_url", "reference_image_urls")
    )
    if references and (image or end_image):
        notes.wrong(
            row, "reference_image_urls", "reference pictures do not go with image_url or end_image_url"
        )
    elif end_image and not image:
        notes.wrong(row, "end_image_url", "a last frame needs a first one; fill image_url as well")
    if references:
        return "reference-to-video"
    return "image-to-video" if image or end_image else "text-to-video"


def _named(endpoint: Endpoint, row: Row, wanted: Task, notes: Problems) -> tuple[Endpoint, ...]:
    """Check that an endpoint named by its id gets the pictures it needs, and no others."""
    needed = _PICTURE_COLUMN.get(endpoint.task)
    brought = _PICTURE_COLUMN.get(wanted)
    if needed and needed != brought:
        notes.wrong(row, needed, f"{endpoint.id} needs {needed}")
    if brought and brought != needed:
        notes.wrong(
            row, brought, f"{endpoint.id} takes no {brought}; leave it empty or set model to {endpoint.model}"
        )
    return (endpoint,)


def _unknown_model(row: Row, model: str, catalog: Catalog, notes: Problems) -> None:
    if not model:
        if "model" in row.cells:
            notes.wrong(row, "model", f"a model must be named: {', '.join(catalog.models)}")
        return
    near = nearest_model(model, catalog)
    hint = f"did you mean {near}? " if near else ""
    notes.wrong(row, "model", f"{hint}allowed are {', '.join(catalog.models)}, or an endpoint's id")


def nearest_model(model: str, catalog: Catalog) -> str:
    """Return the alias or endpoint that a name may be a misspelling of, or ""."""
    known = [*catalog.models, *catalog.endpoints]
    near = difflib.get_close_matches(model.lower(), known, n=1, cutoff=_NEAR)
    return near[0] if near else ""
