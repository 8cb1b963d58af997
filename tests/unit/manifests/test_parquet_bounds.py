"""Parquet whose rows would not fit the memory if they were all written out."""

from __future__ import annotations

import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

MEASURE = """
import resource, sys
from manifests.planner import make_plan
from callsheet.errors import ManifestError
import pyarrow.parquet
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    make_plan(sys.argv[1])
except ManifestError as error:
    print(error.problems[0].message)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


@pytest.mark.parametrize(
    ("column", "rows", "group"),
    [("prompt", 200_000, 1 << 20), ("note", 20_000, 1 << 20), ("note", 16_000, 1_000)],
    ids=["one large group", "one small group", "many groups"],
)
def test_one_long_text_for_every_row_takes_bounded_memory(tmp_path, column, rows, group):
    """A dictionary points every row to one text of a megabyte: gigabytes, if they were written out."""
    path = tmp_path / "shots.parquet"
    zeros = pa.repeat(pa.scalar(0, pa.int32()), rows)
    columns = {
        "model": pa.repeat("seedance-1.0-pro-fast", rows),
        "prompt": pa.repeat("a kite", rows),
        column: pa.DictionaryArray.from_arrays(zeros, pa.array(["x" * (1 << 20)])),
    }
    pq.write_table(pa.table(columns), path, row_group_size=group, store_schema=False)
    assert path.stat().st_size < 4 << 20
    arguments = [sys.executable, "-c", MEASURE, str(path)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    message, grown_mb = done.stdout.splitlines()
    assert "MiB of text; split the file" in message
    assert int(grown_mb) < 1024
