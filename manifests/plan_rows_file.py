"""The rows beside a plan file: written from any plan, and compared with those of another."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from callsheet.files import atomically, file_sha256
from manifests.plan import PlannedJob
from manifests.plan_rows import PICTURE_COLUMNS, rows_table

_IDS_NAMED = 5
_PRICE = ("width_px", "height_px", "fps", "frames", "expected_nano", "maximum_nano")
_NOT_COMPARED = {"custom_id", "file", "row", "made", "given", "model", "pictures", *PICTURE_COLUMNS, *_PRICE}
"""Pictures are compared by what they are. Where a row stands and how it was spelled may change;
what is bought, for whom and at what price may not."""


def write_rows(jobs: Sequence[PlannedJob], path: Path) -> str:
    """Write the rows of a plan, whole or not at all; returns the file's SHA-256 (hex). Raises OSError."""
    with atomically(path) as temporary:
        spooled = getattr(jobs, "path", None)
        if spooled is not None:
            shutil.copyfile(spooled, temporary)
        else:
            import pyarrow.parquet as pq  # noqa: PLC0415  # planning alone does not pay the 0.1 s of its import

            pq.write_table(rows_table(jobs), temporary, compression="lz4", store_schema=False)
        return file_sha256(temporary)


def holds_rows(path: Path) -> bool:
    """Say whether a file looks like the rows of a plan."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        names = set(pq.read_schema(path).names)
    except (pa.ArrowException, OSError):
        return False
    return {"custom_id", *_PRICE} <= names


def row_differences(planned: Path, now: Sequence[PlannedJob]) -> list[str]:
    """Say which rows were removed, added, changed or priced differently since they were written down."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    from manifests.columnar.rereading import with_identities  # noqa: PLC0415

    spooled = getattr(now, "path", None)
    was = with_identities(pq.read_table(planned))
    new = with_identities(pq.read_table(spooled) if spooled is not None else rows_table(now))
    place = pc.index_in(new["custom_id"], value_set=was["custom_id"])
    gone = pc.invert(pc.is_in(was["custom_id"], value_set=new["custom_id"]))
    both = pc.is_valid(place)
    before, after = was.take(pc.drop_null(place)), new.filter(both)
    content = _differ(before, after, [name for name in _columns(was, new) if name not in _NOT_COMPARED])
    price = _differ(before, after, list(_PRICE))
    dearer = pc.and_(pc.invert(content), price)
    ids = after["custom_id"]
    groups = {
        "removed": was["custom_id"].filter(gone),
        "added": new["custom_id"].filter(pc.invert(both)),
        "priced differently": ids.filter(dearer) if len(after) else pa.array([], pa.string()),
        "changed": ids.filter(content) if len(after) else pa.array([], pa.string()),
    }
    return [f"{_counted(len(names))} {what}: {_some(names)}" for what, names in groups.items() if len(names)]


def _columns(was: Any, new: Any) -> list[str]:
    return list(dict.fromkeys([*was.column_names, *new.column_names]))


def _differ(before: Any, after: Any, names: list[str]) -> Any:
    """Say for each row whether any of these columns differs; a column that one side lacks is empty there."""
    import numpy as np  # noqa: PLC0415
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    found = pa.array(np.zeros(len(before), bool))
    absent = pa.nulls(len(before), pa.string())
    for name in names:
        left = before[name] if name in before.column_names else absent
        right = after[name] if name in after.column_names else absent
        same = pc.or_(
            pc.coalesce(pc.equal(left, right), pa.scalar(value=False)),
            pc.and_(pc.is_null(left), pc.is_null(right)),
        )
        found = pc.or_(found, pc.invert(same))
    return found


def _counted(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"


def _some(names: Any) -> str:
    more = f" and {len(names) - _IDS_NAMED:,} more" if len(names) > _IDS_NAMED else ""
    return ", ".join(names.slice(0, _IDS_NAMED).to_pylist()) + more
