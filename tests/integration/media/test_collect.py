import asyncio
import errno
import gzip
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from callsheet.errors import DiskFull, MediaError, Unavailable
from callsheet.media import probe as decoder
from callsheet.media.download import Collected, Limits, collect
from callsheet.media.expect import Expectation

MakeClip = Callable[..., bytes]
SourceOf = Callable[..., Any]
Sha256 = Callable[[bytes], str]


def gather(source: Any, path: Path, expected: Expectation, **options: Any) -> Collected:
    """Run one collection to its end."""
    return asyncio.run(collect(source, path, expected, rejected=path.parent / "rejected", **options))


def files_below(folder: Path) -> list[str]:
    """Name every file there is."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_good_clip_gets_its_name(
    tmp_path: Path, clip: bytes, expected: Expectation, source_of: SourceOf, sha256: Sha256
) -> None:
    """Whole and verified, a clip stands under its final name, byte for byte, and nothing else is left."""
    path = tmp_path / "media" / "acme" / "shot-1.mp4"
    got = gather(source_of(clip), path, expected, expected_bytes=len(clip))
    assert path.read_bytes() == clip
    assert (got.path, got.sha256, got.bytes) == (path, sha256(clip), len(clip))
    assert got.facts.frames == 13
    assert files_below(tmp_path) == ["media/acme/shot-1.mp4"]


@pytest.mark.parametrize("length", [None, "12x", "9" * 30])
def test_a_length_that_says_nothing_is_no_reason(
    tmp_path: Path, clip: bytes, expected: Expectation, source_of: SourceOf, length: str | None
) -> None:
    """Without a usable Content-Length the boxes and the decoder decide."""
    headers = {} if length is None else {"content-length": length}
    gather(source_of(clip, headers), tmp_path / "a.mp4", expected)
    assert files_below(tmp_path) == ["a.mp4"]


def zeroed(clip: bytes) -> bytes:
    """Blank a block amid the pictures."""
    middle = clip.rindex(b"mdat") + 2_000
    return clip[:middle] + bytes(4_096) + clip[middle + 4_096 :]


HTML = b"<!doctype html><h1>502 Bad Gateway</h1>"

# name: (body from the clip, headers from the body or None for an honest length, reason)
FAULTY: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], Mapping[str, str]] | None, str]] = {
    "length says more": (
        lambda clip: clip,
        lambda body: {"Content-Length": str(len(body) + 1)},
        "wrong_length",
    ),
    "length says less": (
        lambda clip: clip,
        lambda body: {"CONTENT-LENGTH": str(len(body) - 1)},
        "wrong_length",
    ),
    "error page as it is": (
        lambda _: HTML,
        lambda _: {"Content-Type": "text/html; charset=utf-8"},
        "not_video",
    ),
    "JSON": (lambda _: b"{}", lambda _: {"content-type": "application/problem+json"}, "not_video"),
    "gzip, declared": (gzip.compress, lambda _: {"Content-Encoding": "gzip"}, "encoded"),
    "larger than allowed": (lambda clip: clip, lambda _: {"content-length": str(3 * 2**30)}, "too_large"),
}


# name: (body from the clip, headers from the body or None for an honest length, reason)
KEPT: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], Mapping[str, str]] | None, str]] = {
    "empty": (lambda _: b"", None, "empty"),
    "one byte": (lambda clip: clip[:1], None, "not_mp4"),
    "cut in the index": (lambda clip: clip[:300], None, "truncated"),
    "cut in half": (lambda clip: clip[: len(clip) // 2], None, "truncated"),
    "last byte missing": (lambda clip: clip[:-1], None, "truncated"),
    "all zero": (lambda clip: bytes(len(clip)), None, "not_mp4"),
    "error page as a video": (lambda _: HTML, lambda _: {"Content-Type": "video/mp4"}, "not_mp4"),
    "gzip, undeclared": (gzip.compress, None, "not_mp4"),
    "rubbish behind": (lambda clip: clip + b"rubbish", None, "truncated"),
    "no index": (lambda clip: clip[:32] + clip[clip.rindex(b"mdat") - 4 :], None, "no_index"),
    "no frames": (lambda clip: clip[: clip.rindex(b"mdat") - 4], None, "no_media"),
    "WebM": (lambda _: b"\x1aE\xdf\xa3" + bytes(400), None, "not_mp4"),
}


@pytest.mark.parametrize("name", KEPT)
def test_a_whole_body_that_does_not_pass_is_kept(
    tmp_path: Path, clip: bytes, expected: Expectation, source_of: SourceOf, sha256: Sha256, name: str
) -> None:
    """Whatever is wrong with a body that came to its end, it is kept in rejected/, once, and named."""
    make, headers_of, reason = KEPT[name]
    body = make(clip)
    source = source_of(body, None if headers_of is None else headers_of(body))
    for _ in range(2):
        with pytest.raises(MediaError) as caught:
            gather(source, tmp_path / "a.mp4", expected)
        assert caught.value.reason == reason
    kept = f"rejected/a.{sha256(body)[:12]}.mp4"
    assert files_below(tmp_path) == [kept]
    assert (tmp_path / kept).read_bytes() == body
    assert kept in str(caught.value)


def test_what_does_not_pass_is_kept_in_the_folder_that_is_named(
    tmp_path: Path, expected: Expectation, source_of: SourceOf, sha256: Sha256
) -> None:
    """A video in a subfolder of media/ goes to the run's own rejected/, not to one among the videos."""
    with pytest.raises(MediaError, match=r"kept as rejected/shot-1\."):
        asyncio.run(
            collect(
                source_of(HTML),
                tmp_path / "media" / "acme" / "shot-1.mp4",
                expected,
                rejected=tmp_path / "rejected",
            )
        )
    assert files_below(tmp_path) == [f"rejected/shot-1.{sha256(HTML)[:12]}.mp4"]


@pytest.mark.parametrize("name", FAULTY)
def test_a_faulty_delivery_leaves_nothing(
    tmp_path: Path, clip: bytes, expected: Expectation, source_of: SourceOf, name: str
) -> None:
    """A reply that is no video, or not all of one, has a name; no final file and no part of one stays."""
    make, headers_of, reason = FAULTY[name]
    body = make(clip)
    source = source_of(body, None if headers_of is None else headers_of(body))
    with pytest.raises(MediaError) as caught:
        gather(source, tmp_path / "a.mp4", expected)
    assert caught.value.reason == reason
    assert files_below(tmp_path) == []


@pytest.mark.parametrize("index_first", [True, False])
def test_no_cut_is_ever_taken_for_whole(
    tmp_path: Path, make_clip: MakeClip, expected: Expectation, source_of: SourceOf, index_first: bool
) -> None:
    """Without any announced length, a body cut at 60 places never becomes a file."""
    whole = make_clip(index_first=index_first)
    for step in range(60):
        cut = whole[: len(whole) * step // 60]
        with pytest.raises(MediaError):
            gather(source_of(cut, {}), tmp_path / "a.mp4", expected)
    assert [name for name in files_below(tmp_path) if not name.startswith("rejected/")] == []


@pytest.mark.parametrize(
    ("made", "wanted", "reason"),
    [
        ({}, {"sizes": ((1248, 704),)}, "wrong_size"),
        ({"frames": 20}, {}, "wrong_frame_count"),
        ({"rate": 30}, {}, "wrong_frame_rate"),
        ({}, {"audio_required": True}, "missing_audio"),
    ],
)
def test_a_paid_clip_that_was_not_ordered_is_set_aside(
    tmp_path: Path,
    make_clip: MakeClip,
    source_of: SourceOf,
    sha256: Sha256,
    made: dict[str, int],
    wanted: dict[str, Any],
    reason: str,
) -> None:
    """A clip that plays but is another one never gets the final name, and is kept: it is paid for."""
    body = make_clip(**made)
    expected = Expectation(**{"sizes": ((128, 72),), "fps": 24, "frames_min": 11, "frames_max": 14, **wanted})
    for _ in range(2):  # read again it is the same file, not a second one
        with pytest.raises(MediaError) as caught:
            gather(source_of(body), tmp_path / "a.mp4", expected)
        assert caught.value.reason == reason
    kept = f"rejected/a.{sha256(body)[:12]}.mp4"
    assert files_below(tmp_path) == [kept]
    assert (tmp_path / kept).read_bytes() == body
    assert kept in str(caught.value)


def test_a_damaged_clip_is_set_aside(
    tmp_path: Path, clip: bytes, expected: Expectation, source_of: SourceOf
) -> None:
    """A whole file that does not decode is no result, but what can be saved of it is not thrown away."""
    with pytest.raises(MediaError, match="rejected/a") as caught:
        gather(source_of(zeroed(clip)), tmp_path / "a.mp4", expected)
    assert caught.value.reason == "undecodable"
    assert not (tmp_path / "a.mp4").exists()


def test_the_results_size_must_agree(
    tmp_path: Path, clip: bytes, expected: Expectation, source_of: SourceOf, sha256: Sha256
) -> None:
    """A file of another length than the result announced is not that file, and is kept."""
    for headers in (None, {}):
        with pytest.raises(MediaError) as caught:
            gather(source_of(clip, headers), tmp_path / "a.mp4", expected, expected_bytes=len(clip) + 1)
        assert caught.value.reason == "wrong_length"
    assert files_below(tmp_path) == [f"rejected/a.{sha256(clip)[:12]}.mp4"]


@asynccontextmanager
async def endless(piece: bytes = bytes(4096), pause_s: float = 0.0) -> AsyncIterator[Any]:
    """Send the same piece for ever."""

    async def pieces() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(pause_s)
            yield piece

    yield {}, pieces()


def test_an_endless_body_ends_at_the_cap(tmp_path: Path, expected: Expectation) -> None:
    """A body without an end is given up as soon as it is larger than any clip."""
    with pytest.raises(MediaError) as caught:
        gather(endless, tmp_path / "a.mp4", expected, limits=Limits(max_bytes=100_000))
    assert caught.value.reason == "too_large"
    assert files_below(tmp_path) == []


@pytest.mark.parametrize(
    "limits",
    [Limits(grace_s=0.05, min_bytes_per_s=1e6), Limits(total_s=0.05, min_bytes_per_s=1e-6)],
    ids=["too few bytes a second", "too long in all"],
)
@pytest.mark.parametrize("pause_s", [0.005, 3600.0], ids=["dribbling", "silent"])
def test_a_slow_body_is_given_up(
    tmp_path: Path, expected: Expectation, limits: Limits, pause_s: float
) -> None:
    """Neither a dribble nor silence holds a download open beyond its deadlines."""
    with pytest.raises(MediaError) as caught:
        gather(lambda: endless(b"x", pause_s), tmp_path / "a.mp4", expected, limits=limits)
    assert caught.value.reason == "too_slow"
    assert files_below(tmp_path) == []


def test_the_sources_own_error_passes(tmp_path: Path, expected: Expectation) -> None:
    """A broken connection stays the error that it is, and leaves nothing."""

    @asynccontextmanager
    async def broken() -> AsyncIterator[Any]:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"\0\0"
            raise Unavailable("the file broke off")

        yield {"content-length": "9"}, pieces()

    with pytest.raises(Unavailable):
        gather(broken, tmp_path / "a.mp4", expected)
    assert files_below(tmp_path) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["write", "link", "fsync"])
def test_a_full_disk_is_named_and_leaves_nothing(
    tmp_path: Path,
    clip: bytes,
    expected: Expectation,
    source_of: SourceOf,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    code: int,
) -> None:
    """Wherever the disk runs full, the error says so and where, and the space is given back."""

    def full(*args: Any, **options: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(DiskFull, match="resume"):
        gather(source_of(clip), tmp_path / "a.mp4", expected)
    assert files_below(tmp_path) == []


def test_cancelling_waits_for_the_thread(
    tmp_path: Path,
    clip: bytes,
    expected: Expectation,
    source_of: SourceOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A cancelled collection ends only when its thread no longer uses the file, also if cancelled twice."""

    async def scenario() -> list[str]:
        loop, seen = asyncio.get_running_loop(), list[str]()
        decoding, go_on = asyncio.Event(), asyncio.Event()

        def slow_probe(path: Path, look: object) -> Any:
            loop.call_soon_threadsafe(decoding.set)
            asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()
            seen.append("decoded" if path.exists() else "the file was taken away")
            return probe(path, look=look)

        probe = decoder.probe
        monkeypatch.setattr(decoder, "probe", slow_probe)
        task = asyncio.create_task(collect(source_of(clip), tmp_path / "a.mp4", expected, rejected=tmp_path))
        await decoding.wait()
        for _ in range(2):
            task.cancel()
            await asyncio.sleep(0)
        assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        return seen

    assert asyncio.run(scenario()) == ["decoded"]
    monkeypatch.undo()
    assert files_below(tmp_path) == ["a.mp4"]  # it was whole and verified: the next attempt finds it
    assert gather(source_of(clip), tmp_path / "a.mp4", expected).path == tmp_path / "a.mp4"
    assert files_below(tmp_path) == ["a.mp4"]
