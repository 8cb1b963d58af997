"""Results in an object store: a video counts as fetched when it stands there."""

import fsspec
import pytest

from callsheet.engine.deliver import folder_for
from callsheet.errors import UsageError
from callsheet.ledger import State
from callsheet.media.storage import ObjectStore

pytestmark = pytest.mark.anyio


async def test_a_video_stands_in_the_store_before_it_counts(house):
    """The file in the store is the one whose hash the ledger has."""
    run_id = house.open_run("a,publishing one", out="memory://bucket/one")
    await house.work(run_id)
    row = house.row(run_id)
    assert row.state is State.SUCCEEDED
    stored = fsspec.filesystem("memory").cat(f"/bucket/one/{run_id}/{row.output.path}")
    assert len(stored) == row.output.bytes


async def test_a_store_that_does_not_answer_loses_nothing(house, monkeypatch):
    """The job stays `rendered` with a note; the next run copies the file and buys nothing."""
    run_id = house.open_run("a,publishing two", out="memory://bucket/two")

    def down(*_: object) -> None:
        raise ConnectionError("the store is away")

    with monkeypatch.context() as patched:
        patched.setattr(ObjectStore, "publish", down)
        ctx = await house.work(run_id)
    assert house.row(run_id).state is State.RENDERED
    assert "the store is away" in ctx.state.unfinished[0]
    await house.work(run_id)
    row = house.row(run_id)
    assert row.state is State.SUCCEEDED
    assert fsspec.filesystem("memory").exists(f"/bucket/two/{run_id}/{row.output.path}")
    assert len(house.accepted("publishing two")) == 1


def test_an_address_without_its_package_is_refused_before_anything_is_bought(house):
    """An unknown protocol or a missing package is a usage error that names the address."""
    with pytest.raises(UsageError, match="nowhere://bucket"):
        folder_for("nowhere://bucket", house.settings)
