"""The rows of a large plan in a Parquet file: written batch by batch, read back as jobs when needed."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from callsheet.files import TemporaryFolder
from manifests.columnar.arrow import (
    Numbers,
    chars,
    coded,
    combinations,
    numbers_of,
    rows_of,
    text_array,
    texts_of,
)
from manifests.columnar.cells import cells_table, is_plain_address
from manifests.columns import CHOICE_COLUMNS, FLAG_COLUMNS, MEDIA_OF, PICTURE_COLUMNS, REFERENCES
from manifests.job import fingerprint_of, options_text
from manifests.plan import JobKind, PlannedJob, StoredJobs, Summary, part_of
from manifests.plan_hash import (
    ABSENT,
    COMBO_COLUMN,
    NO_SEED,
    NUMBER_COLUMNS,
    RowsDigest,
    combo_text,
    references_identity,
)
from manifests.plan_rows import (
    EXTRA,
    PRICE,
    TEXTS,
    files_of,
    known_files,
    options_of,
    planned_of,
    rows_schema,
)
from pricing.catalog import Catalog

SHARED_CONTENT = (
    "endpoint",
    "resolution",
    "aspect_ratio",
    "duration_s",
    "num_frames",
    *FLAG_COLUMNS,
    *CHOICE_COLUMNS,
)
"""The columns that many jobs have in common and that make the video."""

_COMBINED = (*SHARED_CONTENT, *PRICE)
"""The columns of what jobs share in the plan's hash (`plan_hash.combo_text`)."""

FINGERPRINTED = (*SHARED_CONTENT, "prompt", "seed", "take", *PICTURE_COLUMNS, "pictures")
"""The columns that fingerprints are made of."""

IDENTITIES = {"image": ("image_url",), "end_image": ("end_image_url",), "references": REFERENCES}
"""The columns of files that are known together by their identities, by the name of these identities."""


def identities_of(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return the identities of every row's files, a line each; a column that an older file lacks is empty."""
    found = {}
    for hashed, names in IDENTITIES.items():
        first, *others = [_identities(name, columns) for name in names if name in columns]
        if any(chars(each).any() for each in others):
            joined = pc.binary_join_element_wise(first, *others, "\n")
            first = pc.replace_substring_regex(pc.ascii_trim(joined, "\n"), "\n+", "\n")
        found[hashed] = first
    return found


def _identities(name: str, columns: Mapping[str, Any]) -> Any:
    """Return the identities of every row's files in a column; a picture's plain address is its own."""
    texts, media = text_array(columns[name]), MEDIA_OF[name]
    filled = chars(texts) > 0
    if not filled.any():
        return texts
    own = texts
    if media != "image":
        own = pc.if_else(pa.array(filled), pc.binary_join_element_wise(f"{media}:", texts, ""), "")
    others = filled & ~is_plain_address(texts)
    rows = np.flatnonzero(others)
    if not len(rows):
        return own
    cells, pictures = coded(rows_of(texts, rows)), coded(rows_of(columns["pictures"], rows))
    first, places = combinations([numbers_of(each.indices) for each in (cells, pictures)], len(rows))
    files = [files_of(name, cells[at].as_py(), known_files(pictures[at].as_py())) for at in first.tolist()]
    identities = texts_of(list(map(references_identity, files)))
    return pc.replace_with_mask(own, pa.array(others), identities.take(pa.array(places)))


def fingerprints_of(columns: Mapping[str, Any], takes: Sequence[int] | None = None) -> Iterator[str]:
    """Yield the fingerprint of every row; `takes` are used in place of its own where they are given."""
    first, places = combinations([_codes(columns[name]) for name in SHARED_CONTENT], len(columns["prompt"]))
    shared = [{name: columns[name][at].as_py() for name in SHARED_CONTENT} for at in first.tolist()]
    options = [options_text(row["endpoint"], options_of(row)) for row in shared]
    takes = takes or columns["take"].to_pylist()
    seeds = columns["seed"].to_pylist()
    return fingerprints(options, places, columns["prompt"], seeds, takes, identities_of(columns))


def fingerprints(
    options: Sequence[str],
    places: Numbers,
    prompts: Any,
    seeds: Sequence[int],
    takes: Sequence[int],
    identities: Mapping[str, Any],
) -> Iterator[str]:
    """Yield fingerprints; the options of row `at` are `options[places[at]]`."""
    pictures = zip(*(identities[name].to_pylist() for name in IDENTITIES), strict=True)
    rows = zip(places.tolist(), prompts.to_pylist(), seeds, takes, pictures, strict=True)
    for place, prompt, seed, take, (image, end_image, references) in rows:
        yield fingerprint_of(
            options[place],
            prompt=prompt,
            seed=None if seed == NO_SEED else seed,
            take=take,
            image=image,
            end_image=end_image,
            references=references.split(),
        )


def _codes(column: Any) -> Numbers:
    return numbers_of(coded(column).indices)


def with_identities(table: Any) -> Any:
    """Return the table with one more column for each kind of picture: its identity, wherever it is kept."""
    names = [name for name in (*PICTURE_COLUMNS, "pictures") if name in table.column_names]
    columns = {name: table[name].combine_chunks() for name in names}
    for name, identities in identities_of(columns).items():
        table = table.append_column(name, identities)
    return table


ONE_EACH = {"custom_id", "prompt", "output_name", "seed", "row"}
SHARED = set(TEXTS) - ONE_EACH  # as words and places, which is how most of it comes
_ROWS_AT_ONCE = 1 << 13
_HASHED_AS_THEY_ARE = ("custom_id", "prompt", "client", "output_name")


def write_rows(path: Path, table: Any, batches: Iterable[Mapping[str, Any]]) -> None:
    """Write rows to a Parquet file, batch by batch. It reads as `table` says, without Arrow's own notes.

    A batch is written in a thread of its own while the next one is made.
    """
    schema = coded_schema(table)
    repeated = [name for name in schema.names if name not in ONE_EACH]
    with (
        pq.ParquetWriter(
            path,
            schema,
            compression="lz4",
            use_dictionary=repeated,
            column_encoding={"row": "DELTA_BINARY_PACKED"},
            write_statistics=False,
            store_schema=False,
        ) as writer,
        ThreadPoolExecutor(1, thread_name_prefix="write") as pool,
    ):
        written: Future[None] | None = None
        for columns in batches:
            batch = record_batch(schema, columns)
            if written is not None:
                written.result()
            written = pool.submit(writer.write_batch, batch)
        if written is not None:
            written.result()


def record_batch(schema: Any, columns: Mapping[str, Any]) -> Any:
    """Put columns into the order and the types of the table."""
    return pa.RecordBatch.from_arrays(
        [_as(columns[name], kind) for name, kind in zip(schema.names, schema.types, strict=True)],
        schema=schema,
    )


def _as(array: Any, kind: Any) -> Any:
    if array.type == kind:
        return array
    return array.dictionary_encode() if pa.types.is_dictionary(kind) else array.cast(kind)


def coded_schema(schema: Any) -> Any:
    """Return the table's schema with the text that rows share dictionary-encoded."""
    coded = pa.dictionary(pa.int32(), pa.string())
    return pa.schema([field.with_type(coded) if field.name in SHARED else field for field in schema])


class JobStore(StoredJobs):
    """The jobs of a large plan, as a sequence: in the file `path`, in a folder that `folder` removes."""

    def __init__(self, path: Path, length: int, catalog: Catalog, folder: TemporaryFolder) -> None:
        self.path, self.catalog, self.folder = path, catalog, folder
        self._length = length
        self._group: tuple[int, Any] = (-1, None)
        self._starts: list[int] = []

    def __reduce__(self) -> tuple[Any, ...]:
        """Let copies and other processes have the rows: the file is removed with this object."""
        return _restored, (self.path.read_bytes(), self._length, self.catalog)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[PlannedJob]:
        for batch in self.batches():
            for row in batch.to_pylist():
                yield _planned(row, self.catalog)

    @overload
    def __getitem__(self, index: int) -> PlannedJob: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[PlannedJob, ...]: ...
    def __getitem__(self, index: int | slice) -> PlannedJob | tuple[PlannedJob, ...]:
        places = range(self._length)[index]
        if isinstance(places, range):
            return tuple(self[at] for at in places)
        return next(self.picked([places]))

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[Any]:
        """Yield the rows as Arrow record batches."""
        file = pq.ParquetFile(self.path, pre_buffer=False)
        yield from file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=columns)

    def values(self, *columns: str) -> Iterator[tuple[Any, ...]]:
        """Yield what every job has in these columns, in order."""
        for batch in self.batches(columns):
            yield from zip(*(batch[name].to_pylist() for name in columns), strict=True)

    def fingerprints(self) -> Iterator[str]:
        """Yield every job's fingerprint, in order."""
        for batch in self.batches(FINGERPRINTED):
            yield from fingerprints_of({name: batch[name] for name in FINGERPRINTED})

    def cells_table(self) -> Any:
        """Return an Arrow table of the cells that the jobs came from."""
        return cells_table(self.batches())

    def picked(self, positions: Iterable[int]) -> Iterator[PlannedJob]:
        """Yield the jobs at these positions, in ascending order."""
        wanted = np.array(sorted(positions), np.int64)
        for group, (start, end) in enumerate(itertools.pairwise(self._groups())):
            mine = wanted[np.searchsorted(wanted, start) : np.searchsorted(wanted, end)]
            if len(mine):
                for row in rows_of(self._row_group(group), mine - start).to_pylist():
                    yield _planned(row, self.catalog)

    def _row_group(self, group: int) -> Any:
        """Return the table of a row group. The last one is kept; another thread may ask for another group."""
        held, table = self._group
        if held != group:
            table = pq.ParquetFile(self.path).read_row_group(group)
            self._group = group, table
        return table

    def part(self, positions: Sequence[int]) -> tuple[JobStore, Summary]:
        """Write the jobs at these positions (ascending) to a file of their own, and count and hash them."""
        wanted = np.array(positions, np.int64)
        names = [name for name in pq.read_schema(self.path).names if name.startswith(EXTRA)]
        extras = {
            name.removeprefix(EXTRA)
            for batch in (self._batches_at(wanted, names) if names else ())
            for name in names
            if batch[name].null_count < len(batch)
        }
        folder, digest, schema = TemporaryFolder(), RowsDigest(extras), rows_schema(extras)
        path = folder.path / "rows.parquet"
        write_rows(path, schema, self._fed(digest, self._batches_at(wanted, schema.names)))
        part = JobStore(path, len(wanted), self.catalog, folder)
        sums = part_of(Counter(part.values(*JobKind._fields)))
        return part, Summary(sums.groups, sums.sizes, digest.document())

    def _batches_at(self, wanted: Numbers, columns: Sequence[str]) -> Iterator[Any]:
        start = 0
        for batch in self.batches(columns):
            end = start + len(batch)
            mine = wanted[np.searchsorted(wanted, start) : np.searchsorted(wanted, end)]
            if len(mine):
                yield rows_of(batch, mine - start)
            start = end

    def _fed(self, digest: RowsDigest, batches: Iterable[Any]) -> Iterator[Mapping[str, Any]]:
        """Yield the columns of every batch and add them to the hash."""
        for batch in batches:
            columns = {name: batch[name] for name in batch.schema.names}
            first, places = combinations([_codes(columns[name]) for name in _COMBINED], len(batch))
            shared = [_planned(row, self.catalog) for row in rows_of(batch, first).to_pylist()]
            texts = (combo_text(each.job.endpoint, each.job.options, each.quote) for each in shared)
            numbers = np.array([digest.combo_number(text) for text in texts], np.int64)
            feed(digest, columns, identities_of(columns), numbers[places])
            yield columns

    def _groups(self) -> list[int]:
        """Return the position of each row group's first row, and the number of rows."""
        if not self._starts:
            metadata = pq.ParquetFile(self.path).metadata
            rows = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
            self._starts = [0, *itertools.accumulate(rows)]
        return self._starts


def _restored(rows: bytes, length: int, catalog: Catalog) -> JobStore:
    folder = TemporaryFolder()
    path = folder.path / "rows.parquet"
    path.write_bytes(rows)
    return JobStore(path, length, catalog, folder)


def _planned(row: Mapping[str, Any], catalog: Catalog) -> PlannedJob:
    job, price, cells, file = planned_of(row, catalog)
    return PlannedJob(job, price, job.fingerprint, cells, file)


def feed(digest: RowsDigest, columns: Mapping[str, Any], hashed: Mapping[str, Any], combos: Numbers) -> None:
    """Add a batch to the plan's hash; `combos` are its rows' numbers of what jobs share.

    `hashed` holds the identities of pictures, and may hold a column as plain text that is coded in `columns`.
    """
    for name, texts in {name: columns[name] for name in _HASHED_AS_THEY_ARE if name not in hashed}.items():
        _feed_texts(digest, name, texts)
    for name, texts in hashed.items():
        _feed_texts(digest, name, texts)
    for name in digest.extras:
        _feed_texts(digest, f"{EXTRA}{name}", columns[f"{EXTRA}{name}"])
    for name in NUMBER_COLUMNS:
        if name != COMBO_COLUMN:
            digest.add_numbers(name, numbers_of(columns[name]).astype("<i8").data)
    digest.add_numbers(COMBO_COLUMN, combos.astype("<i4").data)


def _feed_texts(digest: RowsDigest, name: str, array: Any) -> None:
    if array.null_count == len(array):
        digest.add_texts(name, np.full(len(array), ABSENT, "<i4").data, b"")
        return
    texts = text_array(array)
    lengths = pc.binary_length(texts).to_numpy().astype("<i4")
    whole = pc.binary_join(pa.ListArray.from_arrays([0, len(texts)], texts), "")
    digest.add_texts(name, lengths.data, whole[0].as_buffer())
