"""What was kept is handed over: labelled, listed, whole; the originals stay as they are."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import av
import opentimelineio as otio
import pytest

import callsheet
from callsheet.cli.main import run_command
from callsheet.delivery.xmp import C2PA_UUID, XMP_UUID
from callsheet.engine.results import other_takes, result_rows, write_report
from callsheet.errors import ManifestError, UsageError
from callsheet.ledger import Ledger, queries, reviews

pytestmark = pytest.mark.anyio


@pytest.fixture
async def shop(house: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The house, as the environment names it, and a working directory of its own."""
    settings = house.settings
    for name in ("queue", "rest", "cdn", "platform"):
        monkeypatch.setenv(f"CALLSHEET_{name.upper()}_URL", getattr(settings, f"{name}_url"))
    monkeypatch.setenv("CALLSHEET_LEDGER_URL", settings.ledger)
    monkeypatch.setenv("FAL_KEY", house.address.key)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return house


async def made(shop: Any, *shots: str, **more: Any) -> tuple[str, Path]:
    """Make a run against the house's fal; return its id and its folder."""
    run_id = shop.open_run(*shots, **more)
    await shop.work(run_id)
    with closing(sqlite3.connect(shop.settings.ledger.removeprefix("sqlite:///"))) as database, database:
        database.execute("""UPDATE run SET options = replace(options, '"sandbox":true', '"sandbox":false')""")
    with Ledger.open(shop.settings.ledger) as ledger:
        return run_id, Path(ledger.do(queries.run, run_id).out)


def files_in(folder: str | Path) -> dict[str, bytes]:
    """Read every file below a folder, by its path there."""
    files = (path for path in sorted(Path(folder).rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def length_of(path: Path) -> tuple[int, float]:
    """Decode a file; return its frames and what it says is its length, in seconds."""
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0)), container.duration / av.time_base


def exiftool(path: Path) -> dict[str, str]:
    """Read a file's XMP by a reader of somebody else's."""
    program = shutil.which("exiftool")
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("exiftool is not installed")
        pytest.skip("exiftool is not installed (Debian: libimage-exiftool-perl)")
    asked = [program, "-json", "-G1", "-all", "-validate", path]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    (told,) = json.loads(done.stdout)
    return told


async def test_a_delivery_holds_each_clip_and_what_is_known_of_it(shop: Any) -> None:
    """Labelled copies that decode as before, sidecars, a shot list, a contact sheet and a timeline."""
    run_id, folder = await made(shop, "a,A boat in <port>", "b,=A boat at sea", "c,A boat ashore")
    before = files_in(folder)
    done = await callsheet.deliver_async(run_id, keep=["b,a"], to="out", name="{campaign}/{custom_id}")
    assert (done.clips, done.missing, done.not_embedded) == (("a", "b"), (), ())
    out = Path("out")
    assert sorted(files_in("out")) == [
        *("contact-sheet.pdf", "contact-sheet.png", "delivery.json", "shotlist.csv", "timeline.otio"),
        *("videos/spring/a.json", "videos/spring/a.mp4", "videos/spring/b.json", "videos/spring/b.mp4"),
    ]
    original, copy = folder / "media" / "a.mp4", out / "videos" / "spring" / "a.mp4"
    assert copy.read_bytes().startswith(original.read_bytes())
    assert length_of(copy) == length_of(original)
    told = json.loads((out / "videos/spring/a.json").read_text())
    assert told["sha256"] == hashlib.sha256(copy.read_bytes()).hexdigest()
    assert told["original_sha256"] == hashlib.sha256(original.read_bytes()).hexdigest()
    assert (told["prompt"], told["bill_usd"]) == ("A boat in <port>", "0.021141")
    assert told["request_id"]
    rows = list(csv.DictReader((out / "shotlist.csv").read_text().splitlines()))
    assert [(row["custom_id"], row["prompt"]) for row in rows] == [
        ("a", "A boat in <port>"),
        ("b", "'=A boat at sea"),
    ]
    timeline = otio.adapters.read_from_file(str(out / "timeline.otio"))
    for clip in timeline.tracks[0]:
        assert (out / clip.media_reference.target_url).is_file()
        assert clip.available_range().duration.value == length_of(out / clip.media_reference.target_url)[0]
    assert files_in(folder) == before


async def test_the_label_is_read_back_by_another_reader(shop: Any) -> None:
    """The digital source type, the prompt and the model, out of a file that it finds no fault with."""
    run_id, _ = await made(shop, "a,A boat in <port> & more")
    await callsheet.deliver_async(run_id, everything=True, to="out", name="{custom_id}")
    told = exiftool(Path("out/videos/a.mp4"))
    assert told["XMP-iptcExt:DigitalSourceType"].endswith("/trainedAlgorithmicMedia")
    assert told["XMP-dc:Description"] == "A boat in <port> & more"
    assert told["XMP-iptcExt:AISystemUsed"] == "seedance-1.0-lite"
    assert told["ExifTool:Validate"] == "OK"


async def test_without_keep_it_is_what_the_review_kept(shop: Any) -> None:
    """And nothing where nothing was judged; the message says what to do."""
    run_id, _ = await made(shop, "a,A boat", "b,Another boat")
    with pytest.raises(UsageError, match="was judged 'keep'"):
        await callsheet.deliver_async(run_id)
    with Ledger.open(shop.settings.ledger) as ledger:
        ledger.do(reviews.judge, shop.rows(run_id)[1].job_id, verdict="keep", note="schön")
    done = await callsheet.deliver_async(run_id)
    assert (done.clips, done.path.name) == (("b",), f"{run_id}-delivery")
    (row,) = csv.DictReader((done.path / "shotlist.csv").read_text("utf-8-sig").splitlines())
    assert (row["verdict"], row["review_note"]) == ("keep", "schön")
    assert (done.path / "shotlist.csv").read_bytes().startswith(b"\xef\xbb\xbf"), "Excel shows its letters"


async def test_a_retake_that_another_run_made_is_delivered_with_its_shot(shop: Any) -> None:
    """One delivery has the kept take of every shot, in the manifest's order, whichever run bought it."""
    run_id, _ = await made(shop, "a,A boat", "b,Another boat")
    (shop.folder / "spring.csv").write_text(
        "custom_id,prompt,model,resolution,num_frames,seed,take,retake_of\n"
        "a-t2,A better boat,seedance-1.0-lite,480p,29,,2,a\n"
    )
    again = shop.open_source(shop.folder / "spring.csv")
    await shop.work(again)
    first, second = shop.rows(run_id)
    with Ledger.open(shop.settings.ledger) as ledger:
        ledger.do(reviews.judge, first.job_id, verdict="retake", changes={"take": 2})
        ledger.do(reviews.judge, second.job_id, verdict="keep")
        ledger.do(reviews.judge, shop.row(again).job_id, verdict="keep")
    done = await callsheet.deliver_async(run_id, to="out")
    assert done.clips == ("a-t2", "b")
    rows = list(csv.DictReader(files_in("out")["shotlist.csv"].decode().splitlines()))
    assert [(row["run_id"], row["retake_of"]) for row in rows] == [(again, "a"), (run_id, "")]
    assert (await callsheet.deliver_async(run_id, everything=True, to="all")).clips == ("a", "b")


async def test_earlier_takes_stand_beside_a_later_one(shop: Any) -> None:
    """The run of a third take shows the first and the second, although it replaces the second alone."""
    head = "custom_id,prompt,model,resolution,num_frames,seed,take,retake_of\n"
    await made(shop, "a,A boat", "b,Another boat")
    for take, replaced in ((2, ""), (3, "a-t2")):
        source = shop.folder / "spring.csv"
        source.write_text(f"{head}a-t{take},A boat,seedance-1.0-lite,480p,29,{take},{take},{replaced}\n")
        run_id = shop.open_source(source)
        await shop.work(run_id)
    with Ledger.open(shop.settings.ledger) as ledger:
        run = ledger.do(queries.run, run_id)
        others = other_takes(ledger, run, result_rows(ledger, run))
    assert sorted(row.custom_id for row in others) == ["a", "a-t2"]


async def test_the_command_says_what_it_did(shop: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """As JSON, with exit code 4 where a file is missing, and 2 where it cannot write."""
    run_id, folder = await made(shop, "a,A boat", "b,Another boat")
    (folder / "media" / "b.mp4").unlink()
    with closing(sqlite3.connect(shop.settings.ledger.removeprefix("sqlite:///"))) as database, database:
        database.execute("UPDATE output SET url = ''")
    command = ["deliver", run_id, "--all", "--json", "--to"]
    assert await anyio.to_thread.run_sync(run_command, [*command, "out.zip"]) == 4
    told = capsys.readouterr()
    document = json.loads(told.out)
    assert (document["path"], document["clips"], document["missing"]) == ("out.zip", ["a"], ["b"])
    assert "not delivered: b (row 3)." in told.err
    assert await anyio.to_thread.run_sync(run_command, [*command, "out.zip/inside"]) == 2
    assert "cannot write" in capsys.readouterr().err


async def test_a_file_with_content_credentials_is_copied_as_it_is(shop: Any) -> None:
    """A box more would break their hash: the label is beside it, and the delivery says so."""
    run_id, folder = await made(shop, "a,A signed boat")
    path = folder / "media" / "a.mp4"
    signed = path.read_bytes() + (32).to_bytes(4) + b"uuid" + C2PA_UUID + b"manifest"
    path.write_bytes(signed)
    with closing(sqlite3.connect(shop.settings.ledger.removeprefix("sqlite:///"))) as database, database:
        database.execute("UPDATE output SET sha256 = ?", (hashlib.sha256(signed).hexdigest(),))
    done = await callsheet.deliver_async(run_id, everything=True, to="out", name="{custom_id}")
    assert done.not_embedded == (("a", "it carries Content Credentials (C2PA)"),)
    delivered = files_in("out/videos")
    assert delivered["a.mp4"] == signed
    assert XMP_UUID not in signed
    assert b"trainedAlgorithmicMedia" in delivered["a.xmp"]


async def test_what_an_earlier_run_made_is_delivered_with_its_bill(shop: Any) -> None:
    """From that run's folder, with the request and the cost of then."""
    await made(shop, "old,A boat of yesterday")
    run_id, _ = await made(shop, "a,A boat of yesterday", "b,A boat of today")
    await callsheet.deliver_async(run_id, everything=True, to="out.zip")
    with zipfile.ZipFile("out.zip") as archive:
        rows = list(csv.DictReader(archive.read("shotlist.csv").decode().splitlines()))
        assert archive.testzip() is None
    assert [(row["custom_id"], row["bill_usd"]) for row in rows] == [("a", "0.021141"), ("b", "0.021141")]
    assert rows[0]["run_id"] != rows[1]["run_id"] == run_id
    assert all(row["request_id"] and row["seed"] for row in rows)


async def test_a_file_that_is_gone_comes_back_or_is_named(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a key it is downloaded again for free; without one the rest is delivered."""
    run_id, folder = await made(shop, "a,A boat that went missing", "b,A boat that stayed")
    (folder / "media" / "a.mp4").unlink()
    key = os.environ["FAL_KEY"]
    monkeypatch.delenv("FAL_KEY")
    done = await callsheet.deliver_async(run_id, everything=True, to="out")
    assert (done.clips, done.missing) == (("b",), ("a",))
    assert json.loads(files_in("out")["delivery.json"])["missing"] == ["a"]
    monkeypatch.setenv("FAL_KEY", key)
    done = await callsheet.deliver_async(run_id, everything=True, to="out")
    assert (done.clips, done.refetched, done.missing) == (("a", "b"), ("a",), ())
    assert len(shop.accepted("A boat that went missing")) == 1


async def test_a_run_in_a_store_is_delivered_from_there(
    shop: Any, s3_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a key, by an edited selection, into a ZIP, under names that collide."""
    run_id, folder = await made(shop, "a,A boat in a store", "b,A kite", "c,A dog", out="s3://there/handed")
    sent = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("media/*.mp4")}
    shutil.rmtree(folder)
    selection = "custom_id,verdict,note\nb,keep,=1+1\na,keep,\nc,reject,\n"
    await anyio.Path("mine.csv").write_text(selection)
    monkeypatch.delenv("FAL_KEY")
    done = await callsheet.deliver_async(run_id, keep=["mine.csv"], to="out.zip", name="{resolution}")
    assert (done.clips, done.refetched, done.missing) == (("a", "b"), ("a", "b"), ())
    with zipfile.ZipFile("out.zip") as archive:
        clips = json.loads(archive.read("delivery.json"))["clips"]
        assert {each["custom_id"]: each["original_sha256"] for each in clips} == {
            "a": sent["a.mp4"],
            "b": sent["b.mp4"],
        }
        videos = [name for name in archive.namelist() if name.endswith(".mp4")]
    assert sorted(videos) == sorted(each["file"] for each in clips)
    assert len(set(videos)) == 2
    s3_client.delete_object(Bucket="there", Key=f"handed/{run_id}/media/a.mp4")
    (folder / "media" / "a.mp4").unlink()
    done = await callsheet.deliver_async(run_id, keep=["mine.csv"], to="out.zip", name="{resolution}")
    assert (done.clips, done.missing) == (("b",), ("a",))


async def test_a_file_that_is_not_what_was_paid_for_is_not_delivered(shop: Any) -> None:
    """Its hash is not the ledger's; nothing is written."""
    run_id, folder = await made(shop, "a,A boat")
    path = folder / "media" / "a.mp4"
    path.write_bytes(path.read_bytes() + (8).to_bytes(4) + b"free")
    with pytest.raises(UsageError, match="its SHA-256 is not the ledger's"):
        await callsheet.deliver_async(run_id, everything=True, to="out")
    assert files_in(".") == {}


REFUSED = (
    ("../{custom_id}", "leads out of the delivery"),
    ("/tmp/{custom_id}", "leads out of the delivery"),
    ("video", "names no column"),
    ("{custom_id", "a single"),
    ("{heigth}", "the nearest is 'height'"),
    ("Ümlaut + {custom_id}", r"' ' and '\+' cannot stand in a file name; allowed are letters"),
    ("CON/{custom_id}", "--name 'CON/{custom_id}' makes no safe file name; allowed are letters"),
)
"""Templates of names, and what is said of them."""


async def test_what_cannot_be_meant_is_refused(shop: Any) -> None:
    """Before anything is written: clips that the run has no video of, and names that lead elsewhere."""
    run_id, _ = await made(shop, "a,A boat")
    with pytest.raises(ManifestError) as refused:
        await callsheet.deliver_async(run_id, keep=["b"], to="out")
    assert [each.message for each in refused.value.problems] == [
        "the run has no such clip; the nearest is 'a'"
    ]
    for name, said in REFUSED:
        with pytest.raises(UsageError, match=said):
            await callsheet.deliver_async(run_id, keep=["a"], to="out", name=name)
    assert files_in(".") == {}


async def test_an_address_is_no_place_for_a_delivery(shop: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """It became a folder `s3:` of the working directory, and the person believed it to be in the bucket.

    Nothing is downloaded for it, and what may be a signature in it is not shown.
    """
    run_id, folder = await made(shop, "a,A boat")
    (folder / "media" / "a.mp4").unlink()
    with pytest.raises(UsageError, match="s3:/bucket/spring is an address"):
        await callsheet.deliver_async(run_id, everything=True, to=Path("s3://bucket/spring"))
    for to in ("s3://bucket/spring", "S3://bucket/spring", "gs://bucket/spring.zip"):
        said = f"this machine, and {to} is an address: name a path with --to"
        with pytest.raises(UsageError, match=said):
            await callsheet.deliver_async(run_id, everything=True, to=f"{to}?signature=1")
        command = ["deliver", run_id, "--all", "--to", to]
        assert await anyio.to_thread.run_sync(run_command, command) == 2
        assert said in capsys.readouterr().err
    assert (files_in("."), files_in(folder / "media")) == ({}, {})


async def test_a_client_gets_its_own_clips_only(shop: Any) -> None:
    """However the name is typed; a client without kept clips gets nothing."""
    (shop.folder / "spring.csv").write_text(
        "custom_id,prompt,model,resolution,num_frames,client\n"
        "a,A boat,seedance-1.0-lite,480p,29,Acme\nb,A kite,seedance-1.0-lite,480p,29,Northwind\n"
    )
    run_id = shop.open_source(shop.folder / "spring.csv")
    await shop.work(run_id)
    done = await callsheet.deliver_async(run_id, everything=True, client=" ACME", to="out")
    assert done.clips == ("a",)
    assert "b" not in files_in("out")["timeline.otio"].decode().split('"')
    with pytest.raises(UsageError, match="of the client 'nobody'"):
        await callsheet.deliver_async(run_id, everything=True, client="nobody", to="out")


async def test_a_long_name_is_shortened(shop: Any) -> None:
    """An id of the greatest length leaves room for what the template adds; two of them stay apart."""
    run_id, _ = await made(shop, f"{'x' * 119}a,A boat", f"{'x' * 119}b,Another boat")
    name = "{custom_id}_{width}x{height}"
    done = await callsheet.deliver_async(run_id, everything=True, to="out", name=name)
    videos = {Path(each).stem for each in files_in("out/videos") if each.endswith(".mp4")}
    assert len(done.clips) == len(videos) == 2
    assert max(map(len, videos)) <= 100
    name = "東" * 54 + "{prompt}_{model}_{take}"
    done = await callsheet.deliver_async(run_id, everything=True, to="bytes", name=name)
    videos = {Path(each).stem for each in files_in("bytes/videos") if each.endswith(".mp4")}
    assert len(done.clips) == len(videos) == 2
    assert max(len(each.encode()) for each in videos) <= 180


async def test_a_delivery_is_named_in_ascii_where_the_template_comes_out_empty(shop: Any) -> None:
    """By the id, as names of before were."""
    (shop.folder / "spring.csv").write_text(
        "custom_id,prompt,model,resolution,title\n株1,A boat,seedance-1.0-lite,480p,\n", "utf-8"
    )
    run_id = shop.open_source(shop.folder / "spring.csv")
    await shop.work(run_id)
    await callsheet.deliver_async(run_id, everything=True, to="out", name="{title}")
    assert "1-94c4867e.mp4" in files_in("out/videos")


async def test_no_two_videos_get_one_name(shop: Any) -> None:
    """Names that a file system takes for one are told apart; cells make no folders. `.mp4` stands once."""
    run_id, _ = await made(shop, "Boat,A boat", "boat,A small boat", "x/../y,A third boat")
    name = "{resolution}/{custom_id}.MP4"
    done = await callsheet.deliver_async(run_id, everything=True, to="out", name=name)
    videos = [name for name in files_in("out/videos/480p") if name.endswith(".mp4")]
    assert len(videos) == len(done.clips) == len({name.lower() for name in videos}) == 3
    assert not any("/" in name or ".MP4" in name for name in videos)


async def test_no_two_clients_share_a_folder(shop: Any) -> None:
    """Each client has one folder, however the name is typed, also where only one of them is delivered."""
    clients = ["Muller", "Müller", "A-B", "A/B", "a-b", "客户"]
    rows = [f"c{at},A boat,seedance-1.0-lite,480p,{client}" for at, client in enumerate(clients)]
    (shop.folder / "spring.csv").write_text(
        "\n".join(["custom_id,prompt,model,resolution,client", *rows]), "utf-8"
    )
    run_id = shop.open_source(shop.folder / "spring.csv")
    await shop.work(run_id)
    await callsheet.deliver_async(run_id, everything=True, to="out", name="{client}/{custom_id}")
    folder = {
        Path(each).stem: Path(each).parent.name for each in files_in("out/videos") if each.endswith(".mp4")
    }
    assert (folder["c0"], folder["c2"], folder["c4"]) == ("Muller", "A-B", "A-B")
    assert re.fullmatch("Muller-[0-9a-f]{8}", folder["c1"])
    assert re.fullmatch("A-B-[0-9a-f]{8}", folder["c3"])
    assert re.fullmatch("client-[0-9a-f]{8}", folder["c5"])
    await callsheet.deliver_async(
        run_id, everything=True, client="A/B", to="own", name="{client}/{custom_id}"
    )
    assert f"videos/{folder['c3']}/c3.mp4" in files_in("own")


async def test_an_id_is_kept_as_the_results_write_it(shop: Any) -> None:
    """results.csv has an apostrophe before an id that begins like a formula; both forms name the clip."""
    run_id, folder = await made(shop, "-dash,A boat", "b,A kite")
    with Ledger.open(shop.settings.ledger) as ledger:
        for job in ledger.do(queries.jobs, run_id):
            ledger.do(reviews.judge, job.job_id, verdict="keep")
        write_report(ledger, ledger.do(queries.run, run_id))
    assert "'-dash" in (folder / "results.csv").read_text()
    for keep in (folder / "results.csv", ["-dash,b"], ["'-dash", "b"]):
        done = await callsheet.deliver_async(run_id, keep=keep, to="out")
        assert done.clips == ("-dash", "b")
