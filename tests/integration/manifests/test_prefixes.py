"""Prefixes of an S3 store as manifests, over the real protocol on this machine."""

import io
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from callsheet.engine.schedule_rules import fingerprint_of
from callsheet.errors import UsageError
from manifests.planner import make_plan


@pytest.fixture
def put(s3_client) -> Iterator:
    """Give what writes a Parquet file of prompts into the bucket `shots`."""
    s3_client.create_bucket(Bucket="shots")

    def write(key: str, *prompts: str) -> None:
        body = io.BytesIO()
        rows = {"prompt": list(prompts), "model": ["seedance-1.0-pro-fast"] * len(prompts)}
        pq.write_table(pa.table(rows), body)
        s3_client.put_object(Bucket="shots", Key=key, Body=body.getvalue())

    yield write
    for each in s3_client.list_objects_v2(Bucket="shots").get("Contents", ()):
        s3_client.delete_object(Bucket="shots", Key=each["Key"])
    s3_client.delete_bucket(Bucket="shots")


def test_a_prefix_is_a_manifest_and_its_folders_are_columns_and_its_changes_are_seen(put, tmp_path):
    """Hive's `client=acme/` is a column; `_` files are no data; a new or another object is a change."""
    put("night/client=acme/part-0.parquet", "a boat", "a kite")
    put("night/client=globex/dt=2026-11-29/part-0.parquet", "a lamp")
    put("night/_temporary/part-9.parquet", "half written")
    source = tmp_path / "night.toml"
    source.write_text('[campaign]\nname = "night"\nmanifest = "s3://shots/night"\n')
    plan = make_plan(str(source))
    assert [(each.job.prompt, each.job.client) for each in plan.jobs] == [
        ("a boat", "acme"),
        ("a kite", "acme"),
        ("a lamp", "globex"),
    ]
    assert [each.cells.get("dt") for each in plan.jobs] == [None, None, "2026-11-29"]
    prints = [fingerprint_of(str(source))]
    put("night/_temporary/part-8.parquet", "half written")
    assert fingerprint_of(str(source)) == prints[0]
    put("night/client=acme/part-0.parquet", "a boat", "a cake")
    prints.append(fingerprint_of(str(source)))
    put("night/client=acme/part-1.parquet", "a door")
    prints.append(fingerprint_of(str(source)))
    assert len(set(prints)) == 3
    assert len(make_plan(str(source)).jobs) == 4


def test_an_empty_prefix_is_watched_as_nothing_and_named_by_a_plan(put):
    """A night whose files are not there yet starts nothing; running it says what is missing."""
    assert fingerprint_of("s3://shots/nothing/*.parquet") == ""
    with pytest.raises(UsageError, match="there is no manifest s3://shots/nothing"):
        make_plan("s3://shots/nothing")


def test_a_prefix_without_parquet_files_is_not_called_missing(put):
    """It is there; the message says what is read from it, and how to name its CSV files."""
    put("noon/client=acme/part-0.csv", "a boat")
    with pytest.raises(UsageError) as refused:
        make_plan("s3://shots/noon/")
    assert str(refused.value) == (
        "s3://shots/noon/ has no Parquet files; name the manifest in it, or a pattern such as "
        "s3://shots/noon/*.csv"
    )
