"""A file that already has its name, verified anew: what a crash left between its landing and the ledger."""

from __future__ import annotations

import hashlib
from pathlib import Path

from callsheet.media.collect import Collected
from callsheet.media.expect import Expectation, verify
from callsheet.media.mp4 import check_boxes

PIECE_BYTES = 1 << 20


def recheck(path: Path, expectation: Expectation) -> Collected | None:
    """Verify a file that stands under its final name; None where there is none. Blocks.

    Raises MediaError where it is not what was ordered, and OSError.
    """
    if not path.is_file() or path.is_symlink():
        return None
    from callsheet.media.probe import probe  # noqa: PLC0415 -- as in collect

    digest = hashlib.sha256()
    with path.open("rb") as file:

        def read(offset: int, count: int) -> bytes:
            file.seek(offset)
            return file.read(count)

        size = path.stat().st_size
        check_boxes(read, size)
        file.seek(0)
        while piece := file.read(PIECE_BYTES):
            digest.update(piece)
    facts, still = probe(path)
    verify(facts, expectation)
    return Collected(path=path, sha256=digest.hexdigest(), bytes=size, facts=facts, still=still.jpeg())
