"""Writing the still of a finished clip, for pages that show many."""

from __future__ import annotations

import os
from pathlib import Path

from callsheet.files import make_directory, part_file


def write_poster(still: bytes, destination: Path) -> None:
    """Write a still, whole or not at all; an old one is replaced. Blocks. Raises OSError."""
    make_directory(destination.parent)
    with part_file(destination) as part:
        part.write(still)
        os.replace(part.path, destination)  # noqa: PTH105  (a still may be replaced: it is no paid file)
