"""A delivery is whole or not there, and takes the place of nothing but a delivery."""

import hashlib
import json
import zipfile
from pathlib import Path

import pytest

from callsheet.delivery.package import CONTENTS, FORMAT, open_package
from callsheet.errors import UsageError


def make(target: Path, source: Path, *, broken: bool = False) -> None:
    """Write a small delivery, or be broken off in the middle of it."""
    with open_package(target) as package:
        files = [package.copy("videos/a/b.mp4", source, b"tail"), package.write("list.csv", b"1,2\r\n")]
        if broken:
            raise RuntimeError("the power is gone")
        listed = [{"path": each.path, "bytes": each.bytes} for each in files]
        package.write(CONTENTS, json.dumps({"format": FORMAT, "files": listed}).encode())
        assert files[0].source_sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
        assert files[0].sha256 == hashlib.sha256(source.read_bytes() + b"tail").hexdigest()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file to deliver."""
    (tmp_path / "source.mp4").write_bytes(b"video" * 1000)
    return tmp_path / "source.mp4"


def content_of(target: Path) -> dict[str, bytes]:
    """Read every file of a folder or a ZIP."""
    if target.suffix == ".zip":
        with zipfile.ZipFile(target) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    return {
        path.relative_to(target).as_posix(): path.read_bytes() for path in target.rglob("*") if path.is_file()
    }


def state_of(path: Path) -> tuple[int, int, int]:
    """Return what tells that a file was replaced or written; when it was read last may change."""
    found = path.lstat()
    return found.st_ino, found.st_size, found.st_mtime_ns


@pytest.mark.parametrize("name", ["out", "out.zip", "new/folder/out", "out.ZIP"])
def test_it_is_written_whole_and_again_with_the_same_bytes(tmp_path: Path, source: Path, name: str) -> None:
    """A folder or a ZIP, by the name; nothing else is left beside it."""
    target = tmp_path / "place" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    make(target, source)
    first = target.read_bytes() if target.is_file() else content_of(target)
    make(target, source)
    assert (target.read_bytes() if target.is_file() else content_of(target)) == first
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    assert source.read_bytes() == b"video" * 1000


@pytest.mark.parametrize("name", ["out", "out.zip"])
@pytest.mark.parametrize("before", [False, True])
def test_one_that_is_broken_off_leaves_what_was_there(
    tmp_path: Path, source: Path, name: str, before: bool
) -> None:
    """Nothing, or the delivery of before, whole."""
    target = tmp_path / "place" / name
    target.parent.mkdir()
    if before:
        make(target, source)
    was = content_of(target) if before else None
    with pytest.raises(RuntimeError):
        make(target, source, broken=True)
    assert [path.name for path in target.parent.iterdir()] == ([name] if before else [])
    if before:
        assert content_of(target) == was


def test_what_a_dead_process_left_is_removed(tmp_path: Path, source: Path) -> None:
    """Its folder has no owner; the next delivery to the same place sweeps it."""
    left = tmp_path / "place" / ".out.0123456789abcdef.part"
    (left / "videos").mkdir(parents=True)
    make(tmp_path / "place" / "out", source)
    assert [path.name for path in (tmp_path / "place").iterdir()] == ["out"]


def test_what_is_no_delivery_is_never_replaced(tmp_path: Path, source: Path) -> None:
    """A file, a foreign folder, a foreign ZIP, a link, and a delivery that somebody has added to."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.txt").write_text("x")
    with zipfile.ZipFile(tmp_path / "foreign.zip", "w") as archive:
        archive.writestr("thesis.txt", "x")
    (tmp_path / "text.zip").write_text("x")
    make(tmp_path / "mine", source)
    (tmp_path / "mine" / "notes.txt").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    for name in ("file", "foreign", "foreign.zip", "text.zip", "mine", "link"):
        before = state_of(tmp_path / name)
        with pytest.raises(UsageError, match="--to"):
            make(tmp_path / name, source)
        assert state_of(tmp_path / name) == before
    assert (tmp_path / "mine" / "notes.txt").read_text() == "x"
