"""What the technical look flags in clips that have a fault; in clips that have none it flags nothing."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from callsheet.media import look as looking
from callsheet.media.expect import LookOrder
from callsheet.media.probe import probe
from callsheet.sandbox.scene import Scene
from callsheet.sandbox.served_endpoints import ENDPOINTS, shot_of
from callsheet.sandbox.video import encode
from manifests.look import THRESHOLDS, Flag, LookRules, flags_text
from tests.integration.media import clips
from tests.integration.media.clips import FRAMES, dimmed, encoded, flat, pan, scene, soft, still, tone

HALF = FRAMES // 2
LARGE = (432, 244)
"""Blur is measured at this size; smaller clips are not enlarged for it."""


def looked_at(tmp_path: Path, body: bytes, order: LookOrder | None = None) -> tuple[Flag, ...]:
    """Look at a clip, with the default thresholds unless an order says something else."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(body)
    return probe(path, look=order or LookOrder(LookRules())).flags


def stars() -> Iterator[clips.Picture]:
    """Yield a night sky: few pixels are bright."""
    chance = np.random.default_rng(2)
    sky = np.where(chance.random((*reversed(clips.SIZE), 1)) > 0.96, 140, 4).astype(np.uint8).repeat(3, 2)
    return (np.roll(sky, number, 1) for number in range(FRAMES))


def lights(share: float) -> Iterator[clips.Picture]:
    """Yield a dark street whose lights are that share of the picture."""
    chance = np.random.default_rng(4)
    street = np.full((*reversed(clips.SIZE), 3), 4, np.uint8)
    for _ in range(round(share * street[..., 0].size / 4)):
        y, x = (int(chance.integers(size - 2)) for size in street.shape[:2])
        street[y : y + 2, x : x + 2] = 255
    return (np.roll(street, number, 1) for number in range(FRAMES))


def flash() -> Iterator[clips.Picture]:
    """Yield a pan with one frame of a flash of light."""
    return (
        np.full_like(frame, 250) if number == HALF else frame for number, frame in enumerate(pan(scene()))
    )


def swung() -> Iterator[clips.Picture]:
    """Yield a camera that is swung for a quarter of a second."""
    wide, left_px = np.asarray(scene()), 0
    for number in range(FRAMES):
        left_px += 64 if HALF <= number < HALF + 6 else 1
        yield np.roll(wide, -left_px, 1)[:, : clips.SIZE[0]]


FAULTS: dict[str, tuple[Any, str]] = {
    "black at first": (lambda: chain(flat(0, HALF), pan(scene(), HALF)), "black 0.0-1.0 s"),
    "black at the end": (lambda: chain(pan(scene(), HALF), flat(2, HALF)), "black 1.0-2.0 s"),
    "all black": (lambda: flat(0), "black 0.0-2.0 s"),
    "a still": (lambda: still(scene()), "frozen 0.0-2.0 s"),
    "a hard cut": (lambda: chain(pan(scene(1), HALF), pan(scene(2), HALF)), "cut 1.0 s"),
    "a cut to the same light": (lambda: chain(pan(scene(1), HALF), pan(scene(5), HALF)), "cut 1.0 s"),
    "a cut at the end": (lambda: chain(pan(scene(1), FRAMES - 2), pan(scene(2), 2)), "cut 1.9 s"),
}
SOUND_CLIPS = {
    "a pan": lambda: pan(scene()),
    "a fast pan": lambda: pan(scene(), step_px=6),
    "a whip pan": lambda: chain(pan(scene(), 16, 1), pan(scene(), 16, 12), pan(scene(), 16, 1)),
    "a dark scene": lambda: dimmed(pan(scene()), 0.2),
    "a night sky": stars,
    "street lights": lambda: lights(0.004),
    "a flash": flash,
    "a camera that is swung": swung,
    "a still life with a candle": lambda: still(scene(), candle=12),
    "a fade from black": lambda: (
        frame for number, frame in enumerate(pan(scene())) for frame in dimmed([frame], min(1, number / 12))
    ),
    "a cross-fade": lambda: (
        (one * (1 - share) + other * share).astype(np.uint8)
        for share, one, other in zip(np.linspace(0, 1, FRAMES), pan(scene(1)), pan(scene(2)), strict=True)
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_flagged_with_its_time(tmp_path: Path, name: str) -> None:
    """Black and frozen stretches and cuts are named with their times; what is black is not frozen as well."""
    frames, said = FAULTS[name]
    assert flags_text(looked_at(tmp_path, encoded(frames()))) == said


@pytest.mark.parametrize("name", SOUND_CLIPS)
def test_a_sound_clip_has_no_flags(tmp_path: Path, name: str) -> None:
    """What is dark, hardly moves, moves fast or fades is no fault."""
    assert looked_at(tmp_path, encoded(SOUND_CLIPS[name]())) == ()


def test_key_frames_do_not_hide_a_still(tmp_path: Path) -> None:
    """A key frame is coded anew and differs from the frame before it, although both show the same."""
    (flag,) = looked_at(tmp_path, encoded(still(scene()), g="12", crf="28"))
    assert (flag.kind, flag.to_s) == ("frozen", 2.0)
    assert flag.from_s < 0.5


def test_a_cut_that_was_asked_for_is_none(tmp_path: Path) -> None:
    """Where the prompt asks for cuts they are not flagged."""
    body = encoded(chain(pan(scene(1), HALF), pan(scene(2), HALF)))
    assert looked_at(tmp_path, body, LookOrder(LookRules(), cuts=True)) == ()


@pytest.mark.parametrize(
    ("radius", "share", "kinds"),
    [(0, 1.0, []), (1.5, 1.0, []), (3, 0.5, []), (5, 1.0, ["blurred"])],
    ids=["sharp", "a soft lens", "soft focus", "out of focus"],
)
def test_blur_is_told_from_soft_focus(tmp_path: Path, radius: float, share: float, kinds: list[str]) -> None:
    """A picture with a glow, or of a soft lens, still has edges; one that is out of focus has none."""
    sharp = scene(1, LARGE)
    picture = Image.blend(sharp, soft(sharp, radius), share) if radius else sharp
    flags = looked_at(tmp_path, encoded(pan(picture, 30)))
    assert [flag.kind for flag in flags] == kinds


def test_a_sharp_subject_before_a_soft_background_is_in_focus(tmp_path: Path) -> None:
    """A tenth of the picture that is sharp is enough."""
    sharp = scene(1, LARGE)
    picture = soft(sharp, 6)
    for left_px in range(0, 864, 130):
        box = (left_px, 80, left_px + 40, 200)
        picture.paste(sharp.crop(box), box)
    assert looked_at(tmp_path, encoded(pan(picture, 30))) == ()


@pytest.mark.parametrize(
    ("sound", "said"),
    [
        (lambda: tone(0.3), ""),
        (lambda: tone(0.02), ""),
        (lambda: tone(0.98), ""),
        (lambda: tone(0) * 0, "silent 0.0-2.0 s"),
        (lambda: tone(2.5), "clipped 0.0-2.0 s"),
    ],
    ids=["sound", "quiet", "loud", "silence", "clipping"],
)
def test_silence_and_clipping_are_told_from_quiet_and_loud(tmp_path: Path, sound: Any, said: str) -> None:
    """Where sound was ordered, none and too much of it are flagged; where it was not, neither is."""
    body = encoded(pan(scene()), sound())
    assert flags_text(looked_at(tmp_path, body, LookOrder(LookRules(), sound=True))).startswith(said)
    assert bool(said) == bool(looked_at(tmp_path, body, LookOrder(LookRules(), sound=True)))
    assert looked_at(tmp_path, body) == ()


def test_frames_are_set_beside_their_pictures(tmp_path: Path) -> None:
    """The first frame may be the picture cropped; another picture is flagged, also at the end."""
    wide = scene(1).crop((0, 0, 320, 180)).resize((800, 450))
    wide.save(tmp_path / "own.png")
    scene(2).crop((0, 0, 320, 180)).save(tmp_path / "other.png")
    body = encoded(pan(scene(1), 12, 1))
    own, other = tmp_path / "own.png", tmp_path / "other.png"
    assert looked_at(tmp_path, body, LookOrder(LookRules(), first=own, last=own)) == ()
    flags = looked_at(tmp_path, body, LookOrder(LookRules(), first=other, last=other))
    assert [(flag.kind, flag.from_s) for flag in flags] == [("first_frame", 0.0), ("last_frame", 0.5)]
    assert looked_at(tmp_path, body, LookOrder(LookRules(), first=tmp_path / "gone.png")) == ()


def test_thresholds_and_kinds_are_the_campaigns(tmp_path: Path) -> None:
    """A longer least length, or a kind that is ignored, flags nothing."""
    body = encoded(chain(flat(0, HALF), pan(scene(), HALF)))
    limits = {name: each.default for name, each in THRESHOLDS.items()}
    assert looked_at(tmp_path, body, LookOrder(LookRules({**limits, "black_s": 1.5}))) == ()
    assert looked_at(tmp_path, body, LookOrder(LookRules(ignore=("black", "cut")))) == ()


def test_a_look_that_fails_costs_no_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clip is paid for: without a look it is delivered all the same."""
    monkeypatch.setattr(looking, "Picture", lambda *_: 1 / 0)
    path = tmp_path / "clip.mp4"
    path.write_bytes(encoded(flat(0)))
    probed = probe(path, look=LookOrder(LookRules()))
    assert (probed.facts.frames, probed.flags) == (FRAMES, ())


@pytest.mark.parametrize(
    "prompt", ["A boat on a pond", "A boat. [Static] Steam", "One. [Push in] Two. [Pan left]"]
)
def test_the_sandbox_makes_clips_without_faults(tmp_path: Path, prompt: str) -> None:
    """What is rehearsed there shows no flags by itself."""
    picture = Image.open("callsheet/cli/example/harbour.png").convert("RGB")
    for pictures in ((), (picture,)):
        endpoint = ENDPOINTS["fal-ai/bytedance/seedance/v1.5/pro/text-to-video"]
        made = replace(shot_of(endpoint, {"prompt": prompt}, 7), frames=49)
        drawn = Scene(made, 432, 240, pictures)
        encode(drawn, tmp_path / "drawn.mp4")
        order = LookOrder(
            LookRules(), sound=True, first=Path("callsheet/cli/example/harbour.png") if pictures else None
        )
        assert flags_text(looked_at(tmp_path, (tmp_path / "drawn.mp4").read_bytes(), order)) == ""
