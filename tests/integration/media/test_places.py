import hashlib
import io
import socket
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fsspec
import httpx
import PIL.Image
import pytest
from s3fs import S3FileSystem

from callsheet.errors import DiskFull, MediaError, UsageError
from callsheet.files import require_space
from callsheet.media import storage as storage_module
from callsheet.media.place import write_thumbnail
from callsheet.media.storage import ObjectStore, check_writable, open_storage
from manifests.images import BadPicture, PictureFinder

MakeClip = Callable[..., bytes]


@pytest.fixture
def bucket() -> Iterator[str]:
    """Give an object store in memory, emptied afterwards."""
    yield "memory://bucket/runs"
    fsspec.filesystem("memory").store.clear()


def test_an_object_store_gets_the_whole_file(tmp_path: Path, clip: bytes, bucket: str) -> None:
    """A verified file is copied under its relative name, and copying it again is harmless."""
    local = tmp_path / "a.mp4"
    local.write_bytes(clip)
    storage = open_storage(bucket + "/")
    addresses = {storage.publish(local, "r1/media/acme/a.mp4") for _ in range(2)}
    assert len(addresses) == 1
    with fsspec.open(addresses.pop()) as file:
        assert file.read() == clip


def test_a_short_copy_is_no_copy(
    tmp_path: Path, clip: bytes, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that holds fewer bytes than were sent is not believed."""
    local = tmp_path / "a.mp4"
    local.write_bytes(clip)
    storage = open_storage(bucket)
    real_put = fsspec.filesystem("memory").put_file

    def put_half(path: str, target: str) -> None:
        short = tmp_path / "short"
        short.write_bytes(Path(path).read_bytes()[:100])
        real_put(str(short), target)

    monkeypatch.setattr(storage.filesystem, "put_file", put_half)
    with pytest.raises(MediaError, match="but 100 are there") as caught:
        storage.publish(local, "a.mp4")
    assert caught.value.reason == "not_stored"


def test_other_bytes_are_no_copy(
    tmp_path: Path, clip: bytes, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that holds as many bytes, but others, is not believed, and the name keeps what it had."""
    local, storage = tmp_path / "a.mp4", open_storage(bucket)
    local.write_bytes(clip)
    storage.publish(local, "a.mp4")
    local.write_bytes(clip[::-1])
    other = tmp_path / "other"
    other.write_bytes(bytes(len(clip)))
    real_put = fsspec.filesystem("memory").put_file
    monkeypatch.setattr(storage.filesystem, "put_file", lambda _, target: real_put(str(other), target))
    with pytest.raises(MediaError, match="other bytes"):
        storage.publish(local, "a.mp4")
    assert fsspec.filesystem("memory").find("/bucket") == ["/bucket/runs/a.mp4"]
    assert fsspec.filesystem("memory").cat("/bucket/runs/a.mp4") == clip


@pytest.mark.skipif(find_spec("gcsfs") is not None, reason="gcsfs is installed")
def test_a_missing_package_is_named() -> None:
    """The message says which extra brings it."""
    with pytest.raises(UsageError, match=r"gs://bucket/runs needs the package gcsfs.*callsheet\[gcs\]"):
        open_storage("gs://bucket/runs")


def test_an_unknown_place_is_bad_input() -> None:
    """An unknown protocol is a usage error, reported before anything is made."""
    with pytest.raises(UsageError, match="nosuch"):
        open_storage("nosuch://bucket/runs")


def buckets(client: Any) -> list[str]:
    """Name every bucket that the server has."""
    return [each["Name"] for each in client.list_buckets()["Buckets"]]


def test_a_bucket_that_is_there_can_be_written_to(s3_client: Any, tmp_path: Path, clip: bytes) -> None:
    """The check leaves nothing behind, and a file published afterwards is there whole."""
    check_writable("s3://there/runs")
    assert "Contents" not in s3_client.list_objects_v2(Bucket="there", Prefix="runs/.callsheet")
    local = tmp_path / "a.mp4"
    local.write_bytes(clip)
    assert (
        open_storage("s3://there/runs").publish(local, "r1/media/a.mp4") == "s3://there/runs/r1/media/a.mp4"
    )
    assert s3_client.get_object(Bucket="there", Key="runs/r1/media/a.mp4")["Body"].read() == clip


@pytest.mark.parametrize("bytes_", [1000, 11 << 20], ids=["one PUT", "three parts"])
def test_what_is_there_already_is_not_sent_again(
    s3_client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bytes_: int
) -> None:
    """The store's own checksum tells, for whole files and for those in parts; a changed file is sent."""
    monkeypatch.setattr(storage_module, "PART_BYTES", 5 << 20)  # the least that S3 allows
    local, storage = tmp_path / "a.mp4", open_storage("s3://there/again")
    local.write_bytes(b"\1" * bytes_)
    storage.publish(local, "a.mp4")

    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("sent again")

    with monkeypatch.context() as patched:
        patched.setattr(storage.filesystem, "put_file", refuse)
        storage.publish(local, "a.mp4")
        local.write_bytes(b"\2" * bytes_)
        with pytest.raises(ConnectionError, match="sent again"):
            storage.publish(local, "a.mp4")
    storage.publish(local, "a.mp4")
    assert s3_client.get_object(Bucket="there", Key="again/a.mp4")["Body"].read() == b"\2" * bytes_


@pytest.mark.parametrize("protocol", ["s3", "gs"])
def test_a_large_file_is_sent_in_parts(
    tmp_path: Path, clip: bytes, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    """The store's package reads no more than a part at once; Google's would take 50 MiB."""
    local, memory = tmp_path / "a.mp4", fsspec.filesystem("memory")
    local.write_bytes(clip)
    sent = []
    real_put = memory.put_file

    def put(path: str, target: str, **options: object) -> None:
        sent.append(options["chunksize"])
        real_put(path, target)

    monkeypatch.setattr(memory, "put_file", put)
    ObjectStore(memory, protocol, "/bucket/parts").publish(local, "a.mp4")
    assert sent == [storage_module.PART_BYTES]
    memory.store.clear()


def test_a_link_opens_the_file_without_a_key(s3_client: Any, tmp_path: Path) -> None:
    """It carries its own signature and end; a store that cannot sign says so."""
    local, storage = tmp_path / "a.txt", open_storage("s3://there/links")
    local.write_text("hello")
    storage.publish(local, "a.txt")
    link = storage.link("a.txt", 3600)
    assert {"X-Amz-Expires=3600", "X-Amz-Algorithm=AWS4-HMAC-SHA256"} <= set(urlsplit(link).query.split("&"))
    assert httpx.get(link).text == "hello"
    with pytest.raises(UsageError, match="memory:// signs no links"):
        open_storage("memory://bucket").link("a.txt", 3600)


def test_a_picture_in_a_store_is_known_by_its_content(s3_client: Any, tmp_path: Path) -> None:
    """It is read once by this process; one that is not there, or that an input root rules out, is named."""
    picture = io.BytesIO()
    PIL.Image.new("RGB", (400, 300)).save(picture, "PNG")
    s3_client.put_object(Bucket="there", Key="a.png", Body=picture.getvalue())
    found = PictureFinder.of(tmp_path).find("s3://there/a.png", tmp_path)
    assert (found.kind, found.value, found.size) == ("file", "s3://there/a.png", (400, 300))
    assert found.sha256 == hashlib.sha256(picture.getvalue()).hexdigest()
    with pytest.raises(BadPicture, match=r"there is no object s3://there/b\.png"):
        PictureFinder.of(tmp_path).find("s3://there/b.png", tmp_path)
    with pytest.raises(BadPicture, match="input root"):
        PictureFinder.of(tmp_path, tmp_path).find("s3://there/a.png", tmp_path)


def test_a_missing_bucket_is_named_and_not_made(s3_client: Any, tmp_path: Path, clip: bytes) -> None:
    """A mistyped bucket is an error before anything is bought, and publishing never makes one either."""
    before = buckets(s3_client)
    with pytest.raises(UsageError, match=r"s3://tehre/runs.*bucket does not exist") as caught:
        check_writable("s3://tehre/runs")
    assert "canary-secret" not in str(caught.value)
    local = tmp_path / "a.mp4"
    local.write_bytes(clip)
    with pytest.raises(FileNotFoundError):
        open_storage("s3://tehre/runs").publish(local, "r1/media/a.mp4")
    assert buckets(s3_client) == before


def test_a_missing_bucket_is_named_in_words(s3_client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Google's package says no more than the URL that was not found."""

    def absent(*_: object, **__: object) -> None:
        raise FileNotFoundError("https://storage.googleapis.com/upload/storage/v1/b/tehre/o")

    monkeypatch.setattr(S3FileSystem, "pipe_file", absent)
    with pytest.raises(UsageError, match=r"s3://tehre/runs: the bucket does not exist\. Nothing was sent"):
        check_writable("s3://tehre/runs")


def test_a_store_that_is_away_is_named(monkeypatch: pytest.MonkeyPatch, s3_client: Any) -> None:
    """A store that cannot be reached is an error before anything is bought."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
        S3FileSystem.clear_instance_cache()
        with pytest.raises(UsageError, match="s3://there/runs: Could not connect"):
            check_writable("s3://there/runs")


def test_a_password_in_an_address_is_not_repeated() -> None:
    """The message names the address without the name and the password in it."""
    with pytest.raises(UsageError, match=r"nosuch://\[hidden\]@host/runs") as caught:
        check_writable("nosuch://me:canary-secret@host/runs")
    assert "canary-secret" not in str(caught.value)


def test_a_thumbnail_is_replaced(tmp_path: Path) -> None:
    """Written again, a thumbnail replaces the old one and leaves nothing beside it; folders are made."""
    still = tmp_path / "posters" / "acme" / "a.jpg"
    for content in (b"old", b"new"):
        write_thumbnail(content, still)
        assert still.read_bytes() == content
    assert list(still.parent.iterdir()) == [still]


def test_room_is_asked_for_before(tmp_path: Path) -> None:
    """The question names the folder that will be written to, also before it exists, and both amounts."""
    folder = tmp_path / "runs" / "r1"
    require_space(folder, 1, instead="wait")
    with pytest.raises(DiskFull, match=r"MiB free and .* MiB are needed"):
        require_space(folder, 2**60, instead="choose another output folder")
    assert not folder.exists()
