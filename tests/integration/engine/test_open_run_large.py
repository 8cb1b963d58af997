"""A plan that was made by columns is run like any other: its rows go from its file into the ledger."""

from __future__ import annotations

import json

import pyarrow.parquet as pq

from callsheet.engine.open_run import open_run, select
from callsheet.ledger import Ledger, queries
from manifests.job import decode_job
from manifests.plan import PlanOptions
from manifests.plan_file import write_plan
from manifests.planner import make_plan
from pricing.catalog import load_catalog

ROWS = 2_500


def test_a_large_plan_is_opened_whole(tmp_path):
    """Every job stands in the ledger as it was planned, and the run's folder holds plan and manifest."""
    lines = [f"shot-{number},A boat {number},seedance-1.0-lite,note {number}" for number in range(ROWS)]
    (tmp_path / "night.csv").write_text("\n".join(["custom_id,prompt,model,note", *lines]))
    made = make_plan(tmp_path / "night.csv", overrides=PlanOptions(budget_usd="1000"))
    write_plan(made, tmp_path / "plan.json")
    plan = make_plan(tmp_path / "plan.json")
    assert plan.hash == made.hash
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as ledger:
        selection = select(ledger, plan, fit=False)
        run_id = open_run(ledger, plan, selection, out=tmp_path / "runs", options="{}")
        rows = sorted(ledger.do(queries.jobs, run_id), key=lambda row: row.position)
    assert (len(selection.buy), len(rows)) == (ROWS, ROWS)
    assert [decode_job(row.payload, load_catalog()) for row in rows[::500]] == [
        planned.job for planned in list(plan.jobs)[::500]
    ]
    folder = tmp_path / "runs" / run_id
    assert json.loads((folder / "plan.json").read_text())["plan_hash"] == plan.hash
    manifest = pq.read_table(folder / "manifest.parquet")
    assert manifest.column_names == ["custom_id", "prompt", "model", "note"]
    assert manifest["note"][-1].as_py() == f"note {ROWS - 1}"
