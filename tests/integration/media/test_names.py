import asyncio
import errno
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from callsheet.files import sweep_parts
from callsheet.media.download import Collected, collect
from callsheet.media.expect import Expectation

MakeClip = Callable[..., bytes]
SourceOf = Callable[..., Any]


def gather(source: Any, path: Path, expected: Expectation) -> Collected:
    """Run one collection to its end."""
    return asyncio.run(collect(source, path, expected, rejected=path.parent / "rejected"))


def names_in(folder: Path) -> list[str]:
    """List a folder."""
    return sorted(path.name for path in folder.iterdir())


def test_the_same_file_is_ours_from_before(
    tmp_path: Path, clip: bytes, expected: Expectation, source_of: SourceOf
) -> None:
    """A file that was landed before a crash is recognised by its content and not made twice."""
    path = tmp_path / "a.mp4"
    first = gather(source_of(clip), path, expected)
    inode = path.stat().st_ino
    assert gather(source_of(clip), path, expected) == first
    assert path.stat().st_ino == inode
    assert names_in(tmp_path) == ["a.mp4"]


def test_another_jobs_file_is_never_written_over(
    tmp_path: Path, clip: bytes, make_clip: MakeClip, expected: Expectation, source_of: SourceOf
) -> None:
    """Three jobs with one name leave three files, and each of them is found again."""
    bodies = [clip, make_clip(frames=12), make_clip(frames=14)]
    for _ in range(2):
        got = [gather(source_of(body), tmp_path / "a.mp4", expected).path.name for body in bodies]
        assert got == ["a.mp4", "a~2.mp4", "a~3.mp4"]
    assert [(tmp_path / name).read_bytes() for name in got] == bodies
    assert names_in(tmp_path) == got


@pytest.mark.parametrize("kind", ["folder", "link", "dangling link"])
def test_what_is_no_file_is_left_alone(
    tmp_path: Path, clip: bytes, expected: Expectation, source_of: SourceOf, kind: str
) -> None:
    """A folder or a link under the final name is neither followed nor replaced."""
    outside = tmp_path / "outside.mp4"
    media = tmp_path / "media"
    media.mkdir()
    if kind == "folder":
        (media / "a.mp4").mkdir()
    else:
        (media / "a.mp4").symlink_to(outside)
    if kind == "link":
        outside.write_bytes(clip)
    assert gather(source_of(clip), media / "a.mp4", expected).path == media / "a~2.mp4"
    assert outside.exists() is (kind == "link")


def no_links(*args: Any, **options: Any) -> None:
    """Refuse a hard link, as FAT and some network folders do."""
    raise OSError(errno.EPERM, "Operation not permitted")


def test_folders_without_hard_links_work(
    tmp_path: Path,
    clip: bytes,
    make_clip: MakeClip,
    expected: Expectation,
    source_of: SourceOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the file system has no links, a rename does it, and still nothing is written over."""
    monkeypatch.setattr(os, "link", no_links)
    bodies = [clip, make_clip(frames=12), clip]
    got = [gather(source_of(body), tmp_path / "a.mp4", expected).path.name for body in bodies]
    assert got == ["a.mp4", "a~2.mp4", "a.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() == clip
    assert names_in(tmp_path) == ["a.mp4", "a~2.mp4"]


def test_without_hard_links_two_owners_never_take_one_name(
    tmp_path: Path,
    clip: bytes,
    make_clip: MakeClip,
    expected: Expectation,
    source_of: SourceOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An owner that stood still just before its rename and wakes up replaces nothing of the new owner's."""
    late, new = clip, make_clip(frames=12)
    real_rename, placed = Path.rename, []

    def rename(part: Path, name: Path) -> Path:
        monkeypatch.setattr(Path, "rename", real_rename)
        placed.append(gather(source_of(new), tmp_path / "a.mp4", expected))  # meanwhile, by the new owner
        return real_rename(part, name)

    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(Path, "rename", rename)
    placed.append(gather(source_of(late), tmp_path / "a.mp4", expected))
    assert [each.path.read_bytes() for each in placed] == [new, late]
    assert names_in(tmp_path) == ["a.mp4", "a~2.mp4"]


def test_long_names_fit(tmp_path: Path, clip: bytes, expected: Expectation, source_of: SourceOf) -> None:
    """A name as long as the file system allows leaves room for the temporary one."""
    path = tmp_path / ("ü" * 125 + ".mp4")
    assert gather(source_of(clip), path, expected).path == path


KILLED = """
import asyncio, contextlib, os, pathlib, signal, sys
from callsheet.media.download import collect
from callsheet.media.expect import Expectation

folder, moment = pathlib.Path(sys.argv[1]), sys.argv[2]
body = (folder / "body").read_bytes()
die = lambda: os.kill(os.getpid(), signal.SIGKILL)
real_link = os.link

def link(*args, **options):
    if moment == "before_name":
        die()
    real_link(*args, **options)
    die()

os.link = link

@contextlib.asynccontextmanager
async def source():
    async def pieces():
        yield body[:len(body) // 2]
        if moment == "half_download":
            die()
        yield body[len(body) // 2:]
    yield {}, pieces()

expected = Expectation(sizes=((128, 72),), fps=24, frames_min=11, frames_max=14)
asyncio.run(collect(source, folder / "media" / "a.mp4", expected, rejected=folder / "rejected"))
"""


@pytest.mark.parametrize(
    ("moment", "named"), [("half_download", False), ("before_name", False), ("after_name", True)]
)
def test_a_kill_leaves_nothing_that_counts(
    tmp_path: Path, clip: bytes, expected: Expectation, source_of: SourceOf, moment: str, named: bool
) -> None:
    """Killed at any moment, the final name holds the whole file or nothing; the next attempt ends well."""
    (tmp_path / "body").write_bytes(clip)
    media = tmp_path / "media"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), moment], check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert (media / "a.mp4").exists() is named
    assert sweep_parts(media) == 1
    assert gather(source_of(clip), media / "a.mp4", expected).path == media / "a.mp4"
    assert names_in(media) == ["a.mp4"]
    assert (media / "a.mp4").read_bytes() == clip


def test_the_name_comes_last_and_is_durable(
    tmp_path: Path,
    clip: bytes,
    expected: Expectation,
    source_of: SourceOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The bytes are on the disk before they have a name, and the name is before the ledger records it."""
    (tmp_path / "media").mkdir()
    steps: list[str] = []
    real_fsync, real_link = os.fsync, os.link

    def fsync(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        steps.append("folder" if is_folder else "file")
        real_fsync(descriptor)

    def link(*args: Any, **options: Any) -> None:
        steps.append("name")
        real_link(*args, **options)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", link)
    gather(source_of(clip), tmp_path / "media" / "a.mp4", expected)
    assert steps == ["file", "name", "folder"]
