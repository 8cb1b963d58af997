import random
from collections.abc import Callable
from pathlib import Path

import pytest

from callsheet.errors import MediaError
from callsheet.outputs.facts import MediaFacts
from callsheet.outputs.probe import Bounds, probe

MakeClip = Callable[..., bytes]


def probed(tmp_path: Path, content: bytes, bounds: Bounds | None = None) -> MediaFacts:
    """Probe these bytes as a file."""
    path = tmp_path / "a:b.mp4"  # a colon is no protocol
    path.write_bytes(content)
    return probe(path, bounds or Bounds())


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
    assert (facts.codec, facts.has_audio, facts.audio_codec) == ("h264", False, "")


def test_sound_counts_when_it_decodes(tmp_path: Path, make_clip: MakeClip) -> None:
    """A track with samples is sound."""
    facts = probed(tmp_path, make_clip(audio=True))
    assert (facts.has_audio, facts.audio_codec) == (True, "aac")


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
