import io
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from av import VideoFrame, VideoStream
from PIL import Image

from callsheet.errors import MediaError
from callsheet.media import probe as decoder
from callsheet.media.expect import MediaFacts
from callsheet.media.probe import THUMBNAIL_WIDTH_PX, Bounds, Thumbnail, probe

MakeClip = Callable[..., bytes]


def probed(tmp_path: Path, content: bytes, bounds: Bounds | None = None) -> MediaFacts:
    """Probe these bytes as a file."""
    path = tmp_path / "a:b.mp4"  # a colon is no protocol
    path.write_bytes(content)
    return probe(path, bounds or Bounds()).facts


@pytest.mark.parametrize("index_first", [True, False])
@pytest.mark.parametrize(("width", "height", "frames"), [(128, 72, 13), (96, 128, 1), (64, 64, 49)])
def test_facts_are_what_was_rendered(
    tmp_path: Path, make_clip: MakeClip, width: int, height: int, frames: int, index_first: bool
) -> None:
    """Size, frames, rate and duration come back as they went in, wherever the index stands."""
    facts = probed(tmp_path, make_clip(width, height, frames, index_first=index_first))
    assert (facts.width_px, facts.height_px, facts.frames) == (width, height, frames)
    assert facts.fps == pytest.approx(24)
    assert facts.duration_s == pytest.approx(frames / 24, abs=0.001)
    assert not facts.has_audio


@pytest.mark.parametrize(
    ("width", "height", "size"), [(1280, 720, (480, 270)), (704, 1248, (480, 851)), (128, 72, (128, 72))]
)
def test_a_still_is_small(
    tmp_path: Path, make_clip: MakeClip, width: int, height: int, size: tuple[int, int]
) -> None:
    """A still keeps the clip's shape, is at most 480 pixels wide and is never enlarged."""
    path = tmp_path / "a.mp4"
    path.write_bytes(make_clip(width, height, 2))
    content = probe(path).thumbnail
    with Image.open(io.BytesIO(content)) as still:
        assert (still.format, still.size) == ("JPEG", size)
    assert size[0] <= THUMBNAIL_WIDTH_PX


@pytest.mark.parametrize(
    ("claimed", "start", "kept"),
    [(900, 0, 300), (900, 600, 900), (None, None, 0), (90_000, 0, 800)],
    ids=["a third in", "the clip begins later", "no length is claimed", "the length is a lie"],
)
def test_a_still_is_of_a_third_into_the_clip(claimed: int | None, start: int | None, kept: int) -> None:
    """The first frame there, or the last one before a clip ends that claims to be longer."""
    taker = Thumbnail(cast("VideoStream", SimpleNamespace(duration=claimed, start_time=start)))
    frames = {(start or 0) + at: VideoFrame(16, 16) for at in range(0, 900, 100)}
    for pts, frame in frames.items():
        taker.offer(frame, pts)
    assert taker.kept is frames[kept]


@pytest.mark.parametrize(("width", "height"), [(128, 72), (72, 128)])
def test_a_strip_shows_the_whole_clip(tmp_path: Path, make_clip: MakeClip, width: int, height: int) -> None:
    """Six pictures of any shape stand side by side in tiles of one size; a clip of one frame has no strip."""
    path = tmp_path / "a.mp4"
    path.write_bytes(make_clip(width, height, 24))
    with Image.open(io.BytesIO(probe(path).strip)) as strip:
        assert (strip.format, strip.size) == ("JPEG", (6 * 240, 135))
    path.write_bytes(make_clip(width, height, 1))
    assert probe(path).strip == b""


def test_a_still_that_cannot_be_made_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clip is not refused for its still: of a page it is the smaller part."""
    taker = Thumbnail(cast("VideoStream", SimpleNamespace(duration=1, start_time=0)))
    assert taker.jpeg() == b""
    taker.offer(VideoFrame(16, 16), 0)
    assert taker.jpeg()[:2] == b"\xff\xd8"
    monkeypatch.setattr(decoder, "_THUMBNAIL_QUALITY", "no number")
    assert taker.jpeg() == b""


def test_sound_counts_when_it_decodes(tmp_path: Path, make_clip: MakeClip) -> None:
    """A track with samples is sound."""
    facts = probed(tmp_path, make_clip(audio=True))
    assert facts.has_audio
    assert facts.audio_s == pytest.approx(13 / 24, abs=0.06)


def test_other_rates_are_seen(tmp_path: Path, make_clip: MakeClip) -> None:
    """The rate is the file's own, not an assumption."""
    assert probed(tmp_path, make_clip(rate=30)).fps == pytest.approx(30)


@pytest.mark.parametrize(
    ("bounds", "word"),
    [
        (Bounds(max_frames=12), "frames"),
        (Bounds(max_pixels=128 * 71), "pixels"),
        (Bounds(max_side_px=127), "pixels"),
        (Bounds(max_audio_samples=1_000), "samples"),
    ],
)
def test_bounds_stop_a_hostile_file(tmp_path: Path, make_clip: MakeClip, bounds: Bounds, word: str) -> None:
    """A file that asks for more than the bounds is given up."""
    with pytest.raises(MediaError, match=word) as caught:
        probed(tmp_path, make_clip(audio=True), bounds)
    assert caught.value.reason == "oversized"


def test_other_containers_are_not_opened(tmp_path: Path, make_clip: MakeClip) -> None:
    """A playlist or another container under the name of an MP4 is not followed."""
    playlist = b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/secret\n"
    for content in (playlist, make_clip(container_format="matroska", index_first=False), b""):
        with pytest.raises(MediaError) as caught:
            probed(tmp_path, content)
        assert caught.value.reason == "undecodable"


def test_no_zeroed_block_goes_unnoticed(tmp_path: Path, make_clip: MakeClip) -> None:
    """256 zero bytes anywhere among the frames are always found (threaded decoders hide most of them)."""
    whole = make_clip(320, 180)  # large enough to be coded in several slices
    frames_begin = whole.rindex(b"mdat") + 8
    choose = random.Random(5)
    for _ in range(40):
        start = choose.randrange(frames_begin, len(whole) - 256)
        with pytest.raises(MediaError):
            probed(tmp_path, whole[:start] + bytes(256) + whole[start + 256 :])


def test_no_cut_goes_unnoticed(tmp_path: Path, make_clip: MakeClip) -> None:
    """A file whose end is missing does not decode, even where its boxes were patched to match."""
    whole = make_clip()
    at = whole.rindex(b"mdat") - 4
    for missing in (1, 20, 400, 4000):
        cut = bytearray(whole[:-missing])
        cut[at : at + 4] = (len(cut) - at).to_bytes(4)
        with pytest.raises(MediaError):
            probed(tmp_path, bytes(cut))
