"""What the plan's hash takes of rows that are read back from their table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow.compute as pc

from manifests.addresses import unsigned
from manifests.columnar.arrow import Numbers, coded, combinations, numbers_of, texts_of
from manifests.job import Image, fingerprint_of, options_text
from manifests.parse_cells import picture_list
from manifests.plan_hash import NO_SEED, references_identity
from manifests.plan_rows import PICTURE_COLUMNS, READ_FLAGS

FLAGS = ("camera_fixed", "enable_safety_checker", "generate_audio")
SHARED_CONTENT = ("endpoint", "resolution", "aspect_ratio", "duration_s", "num_frames", *FLAGS)
"""The columns that many jobs have in common and that make the video."""

FINGERPRINTED = (*SHARED_CONTENT, "prompt", "seed", "take", *PICTURE_COLUMNS, "pictures")
"""The columns that fingerprints are made of."""

_IDENTITIES = {"image_url": "image", "end_image_url": "end_image", "reference_image_urls": "references"}


def identities_of(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return for every row what makes its pictures the ones they are."""
    if not any(_has_text(columns[name]) for name in _IDENTITIES):
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


def fingerprints_of(columns: Mapping[str, Any], takes: Sequence[int] | None = None) -> Iterator[str]:
    """Yield the fingerprint of every row; `takes` are used in place of its own where they are given."""
    first, places = combinations([_codes(columns[name]) for name in SHARED_CONTENT], len(columns["prompt"]))
    options = [_options(columns, int(at)) for at in first]
    pictures = zip(*(texts.to_pylist() for texts in identities_of(columns).values()), strict=True)
    rows = zip(
        places.tolist(),
        columns["prompt"].to_pylist(),
        columns["seed"].to_pylist(),
        takes or columns["take"].to_pylist(),
        pictures,
        strict=True,
    )
    for which, prompt, seed, take, (image, end_image, references) in rows:
        yield fingerprint_of(
            options[which],
            prompt=prompt,
            seed=None if seed == NO_SEED else seed,
            take=take,
            image=image,
            end_image=end_image,
            references=references.split(),
        )


def _codes(column: Any) -> Numbers:
    return numbers_of(coded(column).indices)


def _options(columns: Mapping[str, Any], at: int) -> str:
    row = {name: columns[name][at].as_py() for name in SHARED_CONTENT}
    flags = {name: READ_FLAGS[row[name]] for name in FLAGS}
    frames = row["num_frames"] or None
    options = {
        "resolution": row["resolution"],
        "aspect_ratio": row["aspect_ratio"],
        "duration": row["duration_s"] or None,
        "num_frames": frames,
        **flags,
    }
    return options_text(row["endpoint"], options)


def with_identities(table: Any) -> Any:
    """Return the table with a column more for each kind of picture: what they are, wherever they lie."""
    columns = {name: table[name] for name in (*_IDENTITIES, "pictures")}
    for name, identities in identities_of(columns).items():
        table = table.append_column(name, identities)
    return table


def _identity(cell: str, known: list[list[Any]] | None) -> str:
    if known is None:
        return "\n".join(map(unsigned, picture_list(cell)))
    return references_identity(Image(kind, value, sha256) for kind, value, sha256, _, _ in known)


def _has_text(column: Any) -> bool:
    return bool(pc.max(pc.binary_length(column)).as_py())
