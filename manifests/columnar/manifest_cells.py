"""The cells that the jobs of a large plan came from, as a table: `manifests.plan_rows.manifest_table`."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from manifests.columnar.arrow import coded, matches, texts_of
from manifests.columns import PICTURE_COLUMNS
from manifests.plan_hash import NO_SEED
from manifests.plan_rows import EXTRA, MADE_NAME

_KEPT = ("prompt", "client", "output_name", "take", "priority", *PICTURE_COLUMNS)


def cells_table(batches: Iterable[pa.RecordBatch]) -> pa.Table:
    """Return every job's cells as text, in the order in which rows bring new columns, and its `custom_id`."""
    pieces = [_cells(batch) for batch in batches]
    names = dict.fromkeys(["custom_id", *(name for piece in pieces for name in piece)])
    schema = pa.schema([(name, pa.string()) for name in names])
    return pa.Table.from_batches(
        [
            pa.RecordBatch.from_arrays(
                [piece.get(name, _empty(len(piece["custom_id"]))) for name in names], schema=schema
            )
            for piece in pieces
        ],
        schema=schema,
    )


def _empty(count: int) -> pa.Array:
    return pa.repeat(pa.scalar("", pa.string()), count)


def _cells(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    """Return the cells of a batch by column. What `given` holds is in words; most rows share one."""
    given = coded(batch["given"])
    words = [dict(json.loads(word)) for word in given.dictionary.to_pylist()]
    cells = {"custom_id": batch["custom_id"]}
    for name in dict.fromkeys(name for word in words for name in word):
        if name == "custom_id":
            continue
        written = texts_of([word.get(name) or "" for word in words]).take(given.indices)
        is_kept = pa.array([name in word and word[name] is None for word in words]).take(given.indices)
        cells[name] = pc.if_else(is_kept, _kept(batch, name), written) if pc.any(is_kept).as_py() else written
    return cells


def _kept(batch: pa.RecordBatch, name: str) -> pa.Array:
    """Return a column's cells that are kept in a column of the plan's rows."""
    if name == "seed":
        return pc.if_else(pc.equal(batch["seed"], NO_SEED), "", batch["seed"].cast(pa.string()))
    if name == "output_name":
        made = pa.array(matches(batch["made"], rf"\b{MADE_NAME}\b"))
        return pc.if_else(made, "", batch["output_name"])
    column = batch[name if name in _KEPT else f"{EXTRA}{name}"]
    return pc.fill_null(column.cast(pa.string()), "")
