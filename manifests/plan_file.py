"""Plan files: what was planned, kept so that exactly that can be bought later, or the change be named.

`plan.json` holds totals, caps, price book and hash; `plan.parquet` beside it holds the priced rows and is
referred to by name and SHA-256. The rows are there to be compared; a run plans its source anew.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from callsheet.errors import UsageError
from manifests.files import write_atomically
from manifests.plan import Plan, PlanOptions
from manifests.plan_document import cap_document, plan_document
from manifests.plan_table import rows_table
from pricing.budgets import Cap
from pricing.money import parse_usd, usd_text

FORMAT = "callsheet-plan-1"
_IDS_NAMED = 5


@dataclass(frozen=True, slots=True)
class PlanRow:
    """One job as it was planned. `digest` is over its content and price."""

    digest: str
    fingerprint: str
    maximum_nano: int


@dataclass(frozen=True, slots=True)
class PlanFile:
    """A plan as it was written down. `rows` are by custom id, in order."""

    path: Path
    campaign: str
    source: Path
    options: PlanOptions
    hash: str
    caps: tuple[Cap, ...]
    price_book: str
    rows: Mapping[str, PlanRow]


def write_plan(plan: Plan, path: Path) -> None:
    """Write `path` (.json) and beside it the rows (`<stem>.parquet`), each whole or not at all."""
    import pyarrow.parquet as pq  # noqa: PLC0415  # planning alone does not pay the 0.1 s of its import

    if path.suffix.lower() != ".json":
        raise UsageError(f"a plan file's name ends in .json, not {path.name}")
    buffer = io.BytesIO()
    pq.write_table(rows_table(plan), buffer, compression="zstd")
    rows = buffer.getvalue()
    rows_path = path.with_suffix(".parquet")
    document = plan_document(plan, rows=False) | {
        "format": FORMAT,
        "source": _relative(plan.source, path.parent),
        "options": _options_document(plan.options, path.parent),
        "caps": [cap_document(cap) for cap in plan.caps],
        "rows_file": rows_path.name,
        "rows_sha256": hashlib.sha256(rows).hexdigest(),
    }
    text = json.dumps(document, indent=2, ensure_ascii=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The rows first: a plan.json that can be read refers to rows that are there.
        write_atomically(rows_path, rows)
        write_atomically(path, f"{text}\n".encode())
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def read_plan(path: Path) -> PlanFile:
    """Read a plan file and its rows. Raises UsageError where it is none, or not the one that was written."""
    try:
        document = json.loads(path.read_bytes())
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise UsageError(f"{path} is no plan file of this version; `callsheet plan --out` writes one")
        return PlanFile(
            path=path,
            campaign=document["campaign"],
            source=path.parent / document["source"],
            options=_options(document["options"], path.parent),
            hash=document["plan_hash"],
            caps=tuple(_cap(each) for each in document["caps"]),
            price_book=document["price_book"],
            rows=_rows(path.parent / Path(document["rows_file"]).name, document["rows_sha256"]),
        )
    except OSError as error:
        raise UsageError(f"cannot read {error.filename or path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{path} is no whole plan file ({type(error).__name__}); plan again") from error


def _rows(path: Path, sha256: str) -> dict[str, PlanRow]:
    import pyarrow.parquet as pq  # noqa: PLC0415

    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UsageError(f"{path} is not the file that the plan was written with; plan again")
    table = pq.read_table(io.BytesIO(content), columns=["custom_id", "digest", "fingerprint", "maximum_nano"])
    return {
        row["custom_id"]: PlanRow(row["digest"], row["fingerprint"], row["maximum_nano"])
        for row in table.to_pylist()
    }


def differences(planned: PlanFile, now: Plan) -> list[str]:
    """Say in which ways a plan made now is another than the one written down; empty when it is the same."""
    if planned.hash == now.hash:
        return []
    found = []
    if planned.campaign != now.campaign:
        found.append(f"the campaign is {now.campaign}, not {planned.campaign}")
    if planned.price_book != now.price_book:
        found.append(f"the price book is of {now.price_book}, not {planned.price_book}")
    found += [*_cap_differences(planned.caps, now.caps), *_row_differences(planned.rows, now)]
    return found or ["the rows stand in another order"]


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


def _row_differences(was: Mapping[str, PlanRow], plan: Plan) -> list[str]:
    now = {planned.job.custom_id: planned for planned in plan.jobs}
    both = [name for name in now if name in was and now[name].digest != was[name].digest]
    dearer = [
        name
        for name in both
        if now[name].fingerprint == was[name].fingerprint
        and now[name].quote.maximum_nano != was[name].maximum_nano
    ]
    groups = {
        "removed": [name for name in was if name not in now],
        "added": [name for name in now if name not in was],
        "priced differently": dearer,
        "changed": [name for name in both if name not in set(dearer)],
    }
    return [f"{_counted(names)} {what}: {_some(names)}" for what, names in groups.items() if names]


def _counted(names: list[str]) -> str:
    return "1 row" if len(names) == 1 else f"{len(names):,} rows"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _IDS_NAMED:,} more" if len(names) > _IDS_NAMED else ""
    return ", ".join(names[:_IDS_NAMED]) + more


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
    }


def _options(document: Mapping[str, Any], folder: Path) -> PlanOptions:
    root = document["input_root"]
    return PlanOptions(
        budget_usd=document["budget_usd"],
        concurrency=document["concurrency"],
        out=document["out"],
        defaults=document["defaults"],
        input_root=folder / root if root else None,
    )


def _cap(document: Mapping[str, Any]) -> Cap:
    return Cap(document["scope"], document["key"], document["window"], parse_usd(document["limit_usd"]))
