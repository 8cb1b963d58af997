from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest

from callsheet.errors import DiskFull, MediaError, UsageError
from callsheet.files import require_space
from callsheet.media.posters import write_poster
from callsheet.media.storage import open_storage

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
    with pytest.raises(MediaError, match="100 stand there") as caught:
        storage.publish(local, "a.mp4")
    assert caught.value.reason == "not_stored"


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_a_local_folder_needs_no_copy(tmp_path: Path, clip: bytes, prefix: str) -> None:
    """In a local folder the verified file already is where it stays; another one is refused."""
    (tmp_path / "a.mp4").write_bytes(clip)
    (tmp_path / "b.mp4").write_bytes(clip)
    storage = open_storage(f"{prefix}{tmp_path}")
    assert storage.publish(tmp_path / "a.mp4", "a.mp4") == str(tmp_path / "a.mp4")
    for name in ("b.mp4", "nowhere.mp4"):
        with pytest.raises(MediaError):
            storage.publish(tmp_path / "a.mp4", name)


def test_an_unknown_place_is_bad_input() -> None:
    """A protocol that nobody knows is the person's mistake, said before anything is made."""
    with pytest.raises(UsageError, match="nosuch"):
        open_storage("nosuch://bucket/runs")


def test_a_still_is_replaced(tmp_path: Path) -> None:
    """Written again, a still replaces the old one and leaves nothing beside it; folders are made."""
    still = tmp_path / "posters" / "acme" / "a.jpg"
    for content in (b"old", b"new"):
        write_poster(content, still)
        assert still.read_bytes() == content
    assert list(still.parent.iterdir()) == [still]


def test_room_is_asked_for_before(tmp_path: Path) -> None:
    """The question names the folder that will be written to, also before it exists, and both amounts."""
    folder = tmp_path / "runs" / "r1"
    require_space(folder, 1, instead="wait")
    with pytest.raises(DiskFull, match=r"MiB free and .* MiB are needed"):
        require_space(folder, 2**60, instead="choose another output folder")
    assert not folder.exists()
