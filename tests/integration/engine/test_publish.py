"""Results in an object store: a video counts as fetched when it stands there."""

import csv
import hashlib
import json
import re
import shutil
from contextlib import ExitStack
from pathlib import Path

import fsspec
import httpx
import pytest

from callsheet.cli.commands.runs import link_seconds
from callsheet.engine import fetch
from callsheet.engine.made_files import Refetched, not_stored, refetch_gone
from callsheet.engine.results import absent_earlier, write_linked_page, write_report
from callsheet.engine.run_folder import folder_for, publish_report
from callsheet.engine.scheduler import run_jobs, waiting_jobs
from callsheet.errors import ClaimLost, UsageError
from callsheet.ledger import Ledger, State, queries
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


@pytest.mark.parametrize(
    ("first_out", "then_out", "path"),
    [
        ("memory://bucket/runs", "memory://bucket/runs/", "../{run}/media/a.mp4"),
        ("memory://bucket/old", "memory://bucket/new", "memory://bucket/old/{run}/media/a.mp4"),
        (None, "memory://bucket/new", "{folder}/runs/{run}/media/a.mp4"),
        ("memory://bucket/old", None, "../{run}/media/a.mp4"),
    ],
)
async def test_a_video_of_an_earlier_run_is_named_where_it_is(house, first_out, then_out, path):
    """Results and report name it so that it is found from where they are themselves."""
    shot = f"a,publishing from {first_out} to {then_out}"
    first = house.open_run(shot, out=first_out)
    await house.work(first)
    second = house.open_run(shot, out=then_out)
    with Ledger.open(house.settings.ledger) as ledger:
        run = ledger.do(queries.run, second)
        write_report(ledger, run)
    expected = path.format(run=first, folder=house.folder)
    (line,) = csv.DictReader((Path(run.out) / "results.csv").read_text().splitlines())
    assert (line["status"], line["output_path"]) == ("already_made", expected)
    assert expected in (Path(run.out) / "report.html").read_text()
    if then_out and first_out:
        stored = expected.replace("memory://", "/") if "://" in expected else f"/bucket/runs/{expected[3:]}"
        assert fsspec.filesystem("memory").exists(stored)


async def test_a_video_in_the_store_is_not_gone_where_this_disk_has_none(house):
    """Another machine made it: nothing is downloaded or missed, and a delivery takes it from the store."""
    shot = "a,publishing for others"
    first = house.open_run(shot, out="memory://bucket/others")
    await house.work(first)
    row = house.row(first)
    with Ledger.open(house.settings.ledger) as ledger:
        file = Path(ledger.do(queries.run, first).out) / row.output.path
        file.unlink()
        second = ledger.do(queries.run, house.open_run(shot, out="memory://bucket/others"))
        absent = absent_earlier(ledger, second)
        assert ([each.path for each in absent], not_stored(absent)) == ([file], [])
    house.arm("server_error", route="file", status=404, count=999)
    async with house.account() as account:
        assert await refetch_gone(account, [row]) == Refetched()
        assert await refetch_gone(account, [row], is_needed_here=True) == Refetched(again=("a (row 2)",))
    assert hashlib.sha256(file.read_bytes()).hexdigest() == row.output.sha256
    fsspec.filesystem("memory").rm(f"/bucket/others/{first}/{row.output.path}")
    file.unlink()
    async with house.account() as account:
        assert await refetch_gone(account, [row]) == Refetched(lost=("a (row 2)",))


def test_an_address_without_its_package_is_refused_before_anything_is_bought(house):
    """An unknown protocol or a missing package is a usage error that names the address."""
    with pytest.raises(UsageError, match="nowhere://bucket"):
        folder_for("nowhere://bucket", house.settings)


def test_the_sandbox_has_an_outbox_of_its_own(house):
    """A run of the sandbox and a run that is paid for share no folder for copies."""
    folders = [folder_for("memory://bucket/out", house.settings, sandbox=each) for each in (False, True)]
    inside = [folder.relative_to(house.settings.data_dir).as_posix() for folder in folders]
    assert inside == ["outbox", "sandbox/outbox"]


async def test_a_page_with_links_opens_the_clips_of_a_private_bucket(house, s3_client):
    """Each link carries its own right and end; the page is its owner's alone and is not copied."""
    run_id = house.open_run("a,publishing with links", out="s3://there/linked")
    await house.work(run_id)
    with Ledger.open(house.settings.ledger) as ledger:
        run = ledger.do(queries.run, run_id)
        write_report(ledger, run)
        page = write_linked_page(ledger, run, 600)
    assert "X-Amz" not in page.with_name("report.html").read_text()
    told = json.loads(
        re.search(r'<script[^>]*type="application/json"[^>]*>(.*?)</script>', page.read_text())[1]
    )
    (clip,) = told["clips"]
    async with httpx.AsyncClient() as client:
        assert len((await client.get(clip["video"])).content) == house.row(run_id).output.bytes
    assert page.stat().st_mode & 0o777 == 0o600
    async with house.account() as account:
        assert await publish_report(house.context(account, run_id)) == 0
    keys = {each["Key"] for each in s3_client.list_objects_v2(Bucket="there", Prefix="linked")["Contents"]}
    assert f"linked/{run_id}/report.html" in keys
    assert not any("links" in key.rpartition("/")[2] for key in keys)
    other = house.open_run("a,publishing here alone")
    with Ledger.open(house.settings.ledger) as ledger, pytest.raises(UsageError, match="on this machine"):
        write_linked_page(ledger, ledger.do(queries.run, other), 600)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30m", 1800), ("12h", 43_200), ("7d", 604_800), ("8d", 0), ("0m", 0), ("1w", 0), ("", 0)],
)
def test_links_are_good_for_a_week_at_most(text, seconds):
    """Anything else is refused with what is allowed."""
    if seconds:
        assert link_seconds(text) == seconds
        return
    with pytest.raises(UsageError, match="up to 7d"):
        link_seconds(text)


async def test_a_run_that_was_taken_over_writes_over_nothing_in_the_store(house, monkeypatch):
    """A process that wakes up late finds out before it copies: a name in a store is written over."""
    run_id = house.open_run("a,publishing late", out="memory://bucket/late")
    collect = fetch.collect
    with ExitStack() as others:

        async def collected_late(*args, **kwargs):
            collected = await collect(*args, **kwargs)
            shutil.rmtree(Path(f"{house.folder / 'ledger.sqlite'}.locks"))
            other = others.enter_context(Ledger.open(house.settings.ledger))
            others.enter_context(other.claim(run_id))
            return collected

        monkeypatch.setattr(fetch, "collect", collected_late)
        async with house.account() as account:
            ctx = house.context(account, run_id)
            with account.ledger.claim(run_id):
                await run_jobs(ctx, await waiting_jobs(ctx))
    assert isinstance(ctx.stop.reason, ClaimLost)
    assert not fsspec.filesystem("memory").exists(f"/bucket/late/{run_id}/media/a.mp4")
