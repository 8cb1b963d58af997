"""What the plan's hash takes of rows that are read back from their table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow.compute as pc

from manifests.bulk.arrow import texts_of
from manifests.cells import picture_list
from manifests.job import Image
from manifests.plan_hash import references_identity

_IDENTITIES = {"image_url": "image", "end_image_url": "end_image", "reference_image_urls": "references"}


def identities_of(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return for every row what makes its pictures the ones they are."""
    if all(not _has_text(columns[name]) for name in _IDENTITIES):
        return {hashed: columns[name] for name, hashed in _IDENTITIES.items()}
    known = [json.loads(text) if text else {} for text in columns["pictures"].to_pylist()]
    return {
        hashed: texts_of(
            [
                _identity(cell, pictures.get(name))
                for cell, pictures in zip(columns[name].to_pylist(), known, strict=True)
            ]
        )
        for name, hashed in _IDENTITIES.items()
    }


def with_identities(table: Any) -> Any:
    """Return the table with a column more for each kind of picture: what they are, wherever they lie."""
    columns = {name: table[name] for name in (*_IDENTITIES, "pictures")}
    for name, identities in identities_of(columns).items():
        table = table.append_column(name, identities)
    return table


def _identity(cell: str, known: list[list[Any]] | None) -> str:
    if known is None:
        return "\n".join(picture_list(cell))
    return references_identity(Image(kind, value, sha256) for kind, value, sha256, _, _ in known)


def _has_text(column: Any) -> bool:
    return bool(pc.max(pc.binary_length(column)).as_py())
