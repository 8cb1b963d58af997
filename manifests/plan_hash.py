"""What a plan's hash is taken over: its rows as columns, so that it can be taken while they stream by.

Each column is hashed by itself, from the first row to the last: text as the lengths of its cells (32-bit)
and their bytes, numbers as 32- or 64-bit integers, all little-endian. Neither batches nor file formats show.
What many jobs share (endpoint, options, pixels, price) is written once, numbered as it is first met, and a
column of these numbers is hashed.
"""

from __future__ import annotations

import hashlib
import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from manifests.job import OPTIONS, Image, Job, canonical_json, later_options
from manifests.look import RetakeRules
from pricing.budgets import Cap
from pricing.catalog import Endpoint
from pricing.quotes import Quote

TEXT_COLUMNS = (
    "custom_id",
    "prompt",
    "image",
    "end_image",
    "references",
    "client",
    "output_name",
)
COMBO_COLUMN = "setup"
"""The name under which combinations of options and price are hashed; the hash depends on it."""
NUMBER_COLUMNS = ("seed", "take", "priority", COMBO_COLUMN)
NO_SEED = -1
ABSENT = -1
"""The length of a cell that is not there: the row's file has no such column."""

_SIGNED_32, _SIGNED_64 = "i", "q"


class RowsDigest:
    """The running hash of all rows. Columns are fed in any order, each with its rows in order."""

    def __init__(self, extras: Iterable[str]) -> None:
        self.extras = tuple(sorted(extras))
        self._combos: dict[str, int] = {}
        texts = (*TEXT_COLUMNS, *(f"extra:{name}" for name in self.extras))
        self._lengths = {name: hashlib.sha256() for name in texts}
        self._contents = {name: hashlib.sha256() for name in texts}
        self._numbers = {name: hashlib.sha256() for name in NUMBER_COLUMNS}

    def add_texts(self, column: str, lengths: bytes | memoryview, contents: bytes | memoryview) -> None:
        """Add cells of text: their lengths in bytes (32-bit, `ABSENT` for none) and all their UTF-8."""
        self._lengths[column].update(lengths)
        self._contents[column].update(contents)

    def add_numbers(self, column: str, values: bytes | memoryview) -> None:
        """Add whole numbers, 64-bit; the numbers of combinations are 32-bit."""
        self._numbers[column].update(values)

    def combo_number(self, text: str) -> int:
        """Return the number of what jobs share, a new one for a text that is met for the first time."""
        return self._combos.setdefault(text, len(self._combos))

    @property
    def combos(self) -> tuple[str, ...]:
        """The texts that have numbers, in their order."""
        return tuple(self._combos)

    def document(self) -> dict[str, Any]:
        """Return the hashes so far, by column."""
        return {
            f"{COMBO_COLUMN}s": list(self._combos),
            "numbers": {name: each.hexdigest() for name, each in self._numbers.items()},
            "texts": {
                name: [each.hexdigest(), self._contents[name].hexdigest()]
                for name, each in self._lengths.items()
            },
        }


def plan_hash(
    *,
    campaign: str,
    price_book: str,
    caps: Iterable[Cap],
    jobs: int,
    rows: Mapping[str, Any],
    retakes: RetakeRules | None = None,
) -> str:
    """Return SHA-256 (hex) over every job's content and price, the caps, the price book and the retakes."""
    content: dict[str, Any] = {
        "campaign": campaign,
        "price_book": price_book,
        "caps": sorted([cap.scope, cap.key, cap.window, cap.limit_nano] for cap in caps),
        "jobs": jobs,
        "rows": rows,
    }
    if retakes is not None:
        content["retakes"] = [retakes.most, *sorted(retakes.on)]
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()


def rows_of_jobs(priced: Sequence[tuple[Job, Quote]]) -> dict[str, Any]:
    """Return what the hash takes of jobs that are in memory."""
    jobs = [job for job, _ in priced]
    digest = RowsDigest({name for job in jobs for name in job.extra})
    texts: dict[str, list[str | None]] = {
        "custom_id": [job.custom_id for job in jobs],
        "prompt": [job.prompt for job in jobs],
        "image": [_identity(job.image) for job in jobs],
        "end_image": [_identity(job.end_image) for job in jobs],
        "references": [references_identity(job.references) for job in jobs],
        "client": [job.client for job in jobs],
        "output_name": [job.output_name for job in jobs],
    }
    texts |= {f"extra:{name}": [job.extra.get(name) for job in jobs] for name in digest.extras}
    for column, cells in texts.items():
        contents = [None if cell is None else cell.encode() for cell in cells]
        lengths = [ABSENT if each is None else len(each) for each in contents]
        digest.add_texts(column, _little(_SIGNED_32, lengths), b"".join(each or b"" for each in contents))
    digest.add_numbers("seed", _little(_SIGNED_64, [NO_SEED if j.seed is None else j.seed for j in jobs]))
    digest.add_numbers("take", _little(_SIGNED_64, [job.take for job in jobs]))
    digest.add_numbers("priority", _little(_SIGNED_64, [job.priority for job in jobs]))
    combos = [digest.combo_number(combo_text(job.endpoint, job.options, price)) for job, price in priced]
    digest.add_numbers(COMBO_COLUMN, _little(_SIGNED_32, combos))
    return digest.document()


def _little(kind: str, values: list[int]) -> bytes:
    numbers = array(kind, values)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def _identity(image: Image | None) -> str:
    return image.identity if image else ""


def references_identity(images: Iterable[Image]) -> str:
    """Write reference pictures as one text: no identity has a line break."""
    return "\n".join(image.identity for image in images)


def combo_text(endpoint: Endpoint, options: Mapping[str, Any], price: Quote) -> str:
    """Write what jobs share: the endpoint, its options (`Job.options`), the pixels and the price."""
    chosen = [*(options[name] for name in OPTIONS), *([later] if (later := later_options(options)) else [])]
    priced = [price.width_px, price.height_px, price.frames, price.expected_nano, price.maximum_nano]
    return canonical_json([endpoint.id, *chosen, *priced])
