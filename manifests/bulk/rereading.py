"""What the plan's hash takes of rows that are read back from their table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from manifests.bulk.arrow import texts_of
from manifests.cells import picture_list
from manifests.job import Image
from manifests.plan_hash import references_identity, setup_of_job
from manifests.plan_rows import planned_of, shared_names
from pricing.catalog import Catalog

_IDENTITIES = {"image_url": "image", "end_image_url": "end_image", "reference_image_urls": "references"}


def setup_texts_of(columns: Mapping[str, Any], catalog: Catalog) -> list[str]:
    """Return for every row the text of what it shares with others, each distinct one written once."""
    names = shared_names()
    known: dict[tuple[Any, ...], str] = {}
    texts = []
    filler = {name: column[0].as_py() for name, column in columns.items()} if len(columns["row"]) else {}
    for values in zip(*(columns[name].to_pylist() for name in names), strict=True):
        if values not in known:
            job, price, _, _ = planned_of({**filler, **dict(zip(names, values, strict=True))}, catalog)
            known[values] = setup_of_job(job, price)
        texts.append(known[values])
    return texts


def identities_of(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return for every row what makes its pictures the ones they are."""
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
