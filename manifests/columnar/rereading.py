"""What the plan's hash takes of rows that are read back from their table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow.compute as pc

from manifests.columnar.arrow import Numbers, coded, combinations, numbers_of, texts_of
from manifests.columnar.fingerprints import Own, Pieces, fingerprints, pieces_of
from manifests.job import Image
from manifests.parse_cells import picture_list
from manifests.plan_hash import references_identity
from manifests.plan_rows import READ_FLAGS

FLAGS = ("camera_fixed", "enable_safety_checker", "generate_audio")
SHARED_CONTENT = ("endpoint", "resolution", "aspect_ratio", "duration_s", "num_frames", *FLAGS)
"""The columns that many jobs have in common and that make the video."""

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


def fingerprints_of(columns: Mapping[str, Any]) -> Iterator[str]:
    """Yield the fingerprint of every row."""
    first, places = combinations([_codes(columns[name]) for name in SHARED_CONTENT], len(columns["prompt"]))
    identities = {name: texts.to_pylist() for name, texts in identities_of(columns).items()}
    own = Own(
        prompts=columns["prompt"].to_pylist(),
        seeds=columns["seed"].to_pylist(),
        takes=columns["take"].to_pylist(),
        images=identities["image"],
        end_images=identities["end_image"],
        references=identities["references"],
    )
    yield from fingerprints([_pieces(columns, int(at)) for at in first], places.tolist(), own)


def _codes(column: Any) -> Numbers:
    return numbers_of(coded(column).indices)


def _pieces(columns: Mapping[str, Any], at: int) -> Pieces:
    row = {name: columns[name][at].as_py() for name in SHARED_CONTENT}
    flags = {name: READ_FLAGS[row[name]] for name in FLAGS}
    return pieces_of(row["endpoint"], {**row, **flags, "duration": row["duration_s"]})


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
