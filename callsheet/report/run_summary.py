"""How a run ended, as the Python API returns it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class RunSummary:
    """How a run ended. `exit_code` is the command line's; `document` is what `run --json` prints."""

    run_id: str
    dir: Path
    succeeded: int
    failed: int
    skipped: int
    unknown: int
    expected_usd: Decimal
    actual_usd: Decimal
    exit_code: int
    document: Mapping[str, Any] = field(repr=False)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> RunSummary:
        """Read what a run leaves as its summary."""
        return cls(
            run_id=document["run_id"],
            dir=Path(document["dir"]),
            succeeded=document["succeeded"],
            failed=document["failed"],
            skipped=document["skipped"],
            unknown=document["unknown"],
            expected_usd=Decimal(document["expected_usd"]),
            actual_usd=Decimal(document["actual_usd"]),
            exit_code=document["exit_code"],
            document=document,
        )

    def results(self) -> pd.DataFrame:
        """Return one row per job of the manifest, as in results.parquet."""
        return pd.read_parquet(self.dir / "results.parquet")
