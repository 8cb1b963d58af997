"""Plan files: a plan on disk, to be run later if nothing has changed since.

`plan.json` holds totals, caps, price book and hash; `plan.rows.parquet` beside it holds the priced rows and
is referred to by name and SHA-256. The rows are there to be compared; a run plans its source anew.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from callsheet.errors import UsageError
from callsheet.files import atomically, file_sha256, naming_full_disk, usable_folder, write_atomically
from callsheet.wording import number_of
from manifests.columns import PICTURE_COLUMNS
from manifests.job import Job
from manifests.plan import LedgerCaps, Plan, PlannedJob, PlanOptions
from manifests.plan_document import cap_document, plan_document
from manifests.plan_rows import EXTRA, PRICE, planned_of, rows_table
from manifests.readers.remote import is_remote, without_secrets
from manifests.row_filter import RowFilter
from pricing.budgets import Cap
from pricing.catalog import Catalog
from pricing.money import parse_usd, usd_text
from pricing.quotes import Quote

FORMAT = "callsheet-plan-2"
"""1 hashed row by row, and kept every row's hash."""

_ANY_FORMAT = "callsheet-plan-"

ROWS_FILE = "plan.rows.parquet"
"""The rows of `plan.json`, which is what the plan of a run is called in its folder."""


@dataclass(frozen=True, slots=True)
class PlanFile:
    """A plan as it was written down. `rows` is the Parquet file with its rows.

    `signed` says that the address of its source had a signature, which is not kept.
    """

    path: Path
    campaign: str
    source: Path | str
    signed: bool
    options: PlanOptions
    hash: str
    caps: tuple[Cap, ...]
    price_book: str
    rows: Path
    jobs: int
    expected_nano: int
    maximum_nano: int
    shown_with: LedgerCaps | None


def write_plan(plan: Plan, path: Path, *, more: Mapping[str, Any] | None = None) -> None:
    """Write `path` (.json) and beside it the rows (`<stem>.rows.parquet`), each whole or not at all.

    `more` are keys for a person to read; nothing reads them back. Raises UsageError where the files cannot be
    written, DiskFull where there is no room for them.
    """
    if path.suffix.lower() != ".json":
        raise UsageError(f"a plan file's name ends in .json, not {path.name}")
    rows_path = path.with_suffix(".rows.parquet")
    usable_folder(path.parent, what="the plan's folder", instead="name another")
    try:
        with naming_full_disk(path.parent, "make room or name another folder"):
            # The rows first: a plan.json that can be read refers to rows that are there.
            rows_sha256 = write_rows(plan.jobs, rows_path)
            document = _document(plan, path.parent, rows_path.name, rows_sha256) | dict(more or {})
            write_atomically(path, f"{json.dumps(document, indent=2, ensure_ascii=False)}\n".encode())
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def refuse_to_replace(path: Path) -> None:
    """Raise UsageError where a plan file of that name would take the place of something else."""
    rows = path.with_suffix(".rows.parquet")
    if path.is_file():
        theirs = path if path.stat().st_size and not _is_plan(path) else None
    else:
        theirs = rows if rows.exists() and not holds_rows(rows) else None
    if theirs is not None:
        raise UsageError(f"{theirs} is not a plan's file and will not be replaced; name another with --out")


def _is_plan(path: Path) -> bool:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(document, dict) and str(document.get("format")).startswith(_ANY_FORMAT)


def _document(plan: Plan, folder: Path, rows_file: str, rows_sha256: str) -> dict[str, Any]:
    source = plan.source
    return plan_document(plan, rows=False) | {
        "format": FORMAT,
        "source": without_secrets(source) if isinstance(source, str) else _relative(source, folder),
        "source_signed": is_signed(plan),
        "options": _options_document(plan.options, folder),
        "caps": [cap_document(cap) for cap in plan.caps],
        "ledger": _ledger_document(plan.shown_with),
        "rows_file": rows_file,
        "rows_sha256": rows_sha256,
    }


def is_signed(plan: Plan) -> bool:
    """Say whether a plan's source is an address with a query or a password, which a plan file leaves out."""
    return isinstance(plan.source, str) and without_secrets(plan.source) != plan.source


def read_plan(path: Path) -> PlanFile:
    """Read a plan file and its rows. Raises UsageError where it is none, or not the one that was written."""
    try:
        document = json.loads(path.read_bytes())
        if isinstance(document, list):
            raise UsageError(
                f"{path} is a JSON list, which is no manifest; write one object a line into a .jsonl file "
                '(in pandas: to_json("shots.jsonl", orient="records", lines=True))'
            )
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise UsageError(f"{path} is not a plan file of this version; `callsheet plan --out` writes one")
        rows = _rows(path.parent / Path(document["rows_file"]).name, document["rows_sha256"])
        return PlanFile(
            path=path,
            campaign=document["campaign"],
            source=_source(document["source"], path.parent),
            signed=bool(document.get("source_signed")),
            options=_options(document["options"], path.parent, rows),
            hash=document["plan_hash"],
            caps=tuple(_cap(each) for each in document["caps"]),
            price_book=document["price_book"],
            rows=rows,
            jobs=int(document["jobs"]),
            expected_nano=parse_usd(document["expected_usd"]),
            maximum_nano=parse_usd(document["maximum_usd"]),
            shown_with=_ledger(document.get("ledger")),
        )
    except OSError as error:
        raise UsageError(f"cannot read {error.filename or path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"{path} is not a complete plan file ({type(error).__name__}); plan again"
        ) from error


def _source(text: str, folder: Path) -> Path | str:
    return text if is_remote(text) else folder / text


def _rows(path: Path, sha256: str) -> Path:
    if file_sha256(path) != sha256:
        raise UsageError(f"{path} is not the file that the plan was written with; plan again")
    return path


def differences(planned: PlanFile, now: Plan) -> list[str]:
    """Say in which ways a plan made now is another than the one written down; empty when it is the same."""
    found = []
    if planned.campaign != now.campaign:
        found.append(f"the campaign is {now.campaign}, not {planned.campaign}")
    if planned.price_book != now.price_book:
        found.append(f"the price book is of {now.price_book}, not {planned.price_book}")
    found += [*_cap_differences(planned.caps, now.caps), *_sum_differences(planned, now)]
    if planned.hash != now.hash:
        found += row_differences(planned.rows, now.jobs)
        found = found or ["the rows stand in another order, or the file's hash was edited"]
    return found


def _sum_differences(planned: PlanFile, now: Plan) -> list[str]:
    """Say where the sums that a person reads in the file are not those of its rows."""
    found = []
    if planned.jobs != now.total.jobs:
        jobs = "is 1 job" if now.total.jobs == 1 else f"are {now.total.jobs} jobs"
        found.append(f"there {jobs}, not {planned.jobs}")
    sums = (
        ("expected", planned.expected_nano, now.total.expected_nano),
        ("at most", planned.maximum_nano, now.total.maximum_nano),
    )
    return found + [
        f"{what} it costs ${usd_text(is_now)}, not ${usd_text(was)}"
        for what, was, is_now in sums
        if was != is_now
    ]


def _cap_differences(before: Iterable[Cap], after: Iterable[Cap]) -> list[str]:
    was = {(cap.scope, cap.key, cap.window): cap for cap in before}
    now = {(cap.scope, cap.key, cap.window): cap for cap in after}
    gone = [f"the cap on {was[key].label} is gone" for key in was if key not in now]
    new = [f"there is a new cap on {now[key].label}" for key in now if key not in was]
    return [*gone, *new] + [
        f"the cap on {cap.label} is ${usd_text(cap.limit_nano)}, not ${usd_text(was[key].limit_nano)}"
        for key, cap in now.items()
        if key in was and was[key].limit_nano != cap.limit_nano
    ]


def _relative(path: Path, folder: Path) -> str:
    """Name a path from the plan file's folder, so that both can be moved together."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive, on Windows
        return path.resolve().as_posix()


def _options_document(options: PlanOptions, folder: Path) -> dict[str, Any]:
    root = options.input_root
    return {
        "budget_usd": options.budget_usd,
        "concurrency": options.concurrency,
        "out": options.out,
        "defaults": dict(options.defaults),
        "input_root": _relative(root, folder) if root else None,
        "header_row": options.header_row,
        "skip_hidden": options.skip_hidden,
        "first": options.rows.first,
        "where": [list(pair) for pair in options.rows.where],
        "sample": options.rows.sample,
        "only_these": options.rows.only is not None,
    }


def _options(document: Mapping[str, Any], folder: Path, rows: Path) -> PlanOptions:
    root = document["input_root"]
    return PlanOptions(
        budget_usd=document["budget_usd"],
        concurrency=document["concurrency"],
        out=document["out"],
        defaults=document["defaults"],
        input_root=folder / root if root else None,
        header_row=document.get("header_row"),
        skip_hidden=bool(document.get("skip_hidden")),
        rows=RowFilter(
            first=document.get("first"),
            where=tuple((column, value) for column, value in document.get("where", ())),
            sample=document.get("sample"),
            only=_ids(rows) if document.get("only_these") else None,
        ),
    )


def _ids(rows: Path) -> frozenset[str]:
    """Return the ids of the jobs in a plan's rows. Raises OSError."""
    import pyarrow.parquet as pq

    return frozenset(pq.read_table(rows, columns=["custom_id"])["custom_id"].to_pylist())


def _ledger_document(shown: LedgerCaps | None) -> dict[str, Any] | None:
    if shown is None:
        return None
    return {"id": shown.ledger_id, "caps": [cap_document(cap) for cap in shown.caps]}


def _ledger(document: Mapping[str, Any] | None) -> LedgerCaps | None:
    if document is None:
        return None
    return LedgerCaps(document["id"], tuple(_cap(each) for each in document["caps"]))


def _cap(document: Mapping[str, Any]) -> Cap:
    return Cap(document["scope"], document["key"], document["window"], parse_usd(document["limit_usd"]))


_IDS_NAMED = 5
_NOT_COMPARED = {"custom_id", "file", "row", "made", "given", "model", "pictures", *PICTURE_COLUMNS, *PRICE}
"""Pictures are compared by what they are. Where a row stands and how it was spelled may change;
what is bought, for whom and at what price may not."""


def write_rows(jobs: Sequence[PlannedJob], path: Path) -> str:
    """Write the rows of a plan, whole or not at all; returns the file's SHA-256 (hex). Raises OSError."""
    with atomically(path) as temporary:
        stored = getattr(jobs, "path", None)
        if stored is not None:
            shutil.copyfile(stored, temporary)
        else:
            import pyarrow.parquet as pq

            pq.write_table(rows_table(jobs), temporary, compression="lz4", store_schema=False)
        return file_sha256(temporary)


def rows_in(
    path: Path, catalog: Catalog, *, without: Container[int], at_once: int
) -> Iterator[list[tuple[int, Job, Quote]]]:
    """Yield the jobs of a plan's rows, `at_once` at a time, with their positions and prices.

    Positions in `without` are left out. Raises OSError.
    """
    import pyarrow.parquet as pq

    first = 0
    for batch in pq.ParquetFile(path).iter_batches(batch_size=at_once):
        places = [place for place in range(len(batch)) if first + place not in without]
        rows = batch.take(places).to_pylist() if places else []
        found = [planned_of(row, catalog) for row in rows]
        yield [(first + place, job, price) for place, (job, price, *_) in zip(places, found, strict=True)]
        first += len(batch)


def fingerprints_in(path: Path) -> Iterator[str]:
    """Yield the fingerprint of every job in a plan's rows, in order. Raises OSError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from manifests.columnar.job_store import FINGERPRINTED, fingerprints_of

    file = pq.ParquetFile(path)
    known = [name for name in FINGERPRINTED if name in file.schema_arrow.names]
    for batch in file.iter_batches(columns=known):
        columns = {name: batch[name] for name in known}
        absent = {name: pa.repeat("", len(batch)) for name in FINGERPRINTED if name not in known}
        yield from fingerprints_of(columns | absent)  # an older file lacks later columns


def holds_rows(path: Path) -> bool:
    """Say whether a file looks like the rows of a plan."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names = set(pq.read_schema(path).names)
    except (pa.ArrowException, OSError):
        return False
    return {"custom_id", *PRICE} <= names


def row_differences(planned: Path, now: Sequence[PlannedJob]) -> list[str]:
    """Say which rows were removed, added, changed or priced differently since they were written down."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from manifests.columnar.job_store import with_identities

    stored = getattr(now, "path", None)
    was = with_identities(pq.read_table(planned))
    new = with_identities(pq.read_table(stored) if stored is not None else rows_table(now))
    place = pc.index_in(new["custom_id"], value_set=was["custom_id"])
    gone = pc.invert(pc.is_in(was["custom_id"], value_set=new["custom_id"]))
    both = pc.is_valid(place)
    before, after = was.take(pc.drop_null(place)), new.filter(both)
    content = _differ(before, after, [name for name in _columns(was, new) if name not in _NOT_COMPARED])
    price = _differ(before, after, list(PRICE))
    dearer = pc.and_(pc.invert(content), price)
    ids = after["custom_id"]
    groups = {
        "removed": was["custom_id"].filter(gone),
        "added": new["custom_id"].filter(pc.invert(both)),
        "priced differently": ids.filter(dearer) if len(after) else pa.array([], pa.string()),
        "changed": ids.filter(content) if len(after) else pa.array([], pa.string()),
    }
    return [
        f"{number_of(len(names), 'row')} {what}: {_some(names)}"
        for what, names in groups.items()
        if len(names)
    ]


def _columns(was: Any, new: Any) -> list[str]:
    return list(dict.fromkeys([*was.column_names, *new.column_names]))


def _differ(before: Any, after: Any, names: list[str]) -> Any:
    """Say for each row whether any of these columns differs; a column that one side lacks is empty there."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    found = pa.array(np.zeros(len(before), bool))
    for name in names:
        # A file of an older version lacks columns of ours, a manifest those that are only carried.
        nothing = None if name.startswith(EXTRA) else ""
        absent = pa.array([nothing] * len(before), pa.string())
        left = before[name] if name in before.column_names else absent
        right = after[name] if name in after.column_names else absent
        same = pc.or_(
            pc.coalesce(pc.equal(left, right), pa.scalar(value=False)),
            pc.and_(pc.is_null(left), pc.is_null(right)),
        )
        found = pc.or_(found, pc.invert(same))
    return found


def _some(names: Any) -> str:
    more = f" and {len(names) - _IDS_NAMED:,} more" if len(names) > _IDS_NAMED else ""
    return ", ".join(names.slice(0, _IDS_NAMED).to_pylist()) + more
