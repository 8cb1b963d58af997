"""Which of our columns a name may have been meant for."""

from __future__ import annotations

import difflib
from collections.abc import Container

from manifests.columns import COLUMNS

_NEAR = 0.78
"""How alike two names must be (difflib's ratio) for one to be taken for a misspelling of the other."""


def likely_column(name: str, beside: Container[str] = ()) -> str | None:
    """Return the column of ours that a name may be a misspelling of.

    Another word for a column (`text`, `filename`) counts only where that column is not `beside` it.
    """
    plain = name.strip().lower().replace(" ", "_").replace("-", "_")
    for column in COLUMNS:
        if plain == column.name or (plain in column.mistaken and column.name not in beside):
            return column.name
    near = difflib.get_close_matches(plain, [column.name for column in COLUMNS], n=1, cutoff=_NEAR)
    return near[0] if near else None
