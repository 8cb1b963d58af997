from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from callsheet.sandbox.scene import Scene
from callsheet.sandbox.served_endpoints import ENDPOINTS, shot_of
from callsheet.sandbox.text import ELLIPSIS, OWN_FONT, fitted, font_for, fonts_in, packages_for
from callsheet.sandbox.video import MOVES, SLOW_PUSH, STATIC, Move, backdrop, drawn, shots_of, tone

CROSS = Image.new("RGB", (640, 640))
"""A picture with one bright square in its middle."""
CROSS.paste((255, 255, 255), (270, 270, 370, 370))


def move_of(prompt: str, *, fixed: bool) -> Move:
    """The camera of the first shot."""
    return shots_of(prompt, fixed=fixed)[0].move


def seen_through(prompt: str) -> list[tuple[float, float, float]]:
    """Where the square is seen in the first and the last frame, and how wide it is there, in pixels."""
    order = shot_of(ENDPOINTS["fal-ai/bytedance/seedance/v1/lite/text-to-video"], {"prompt": prompt}, 1)
    scene = Scene(replace(order, frames=25), 320, 320, (CROSS,))
    places = []
    for frame in drawn(scene):
        rows, columns = np.nonzero(frame.to_ndarray()[80:230, :] > 128)
        places.append((float(columns.mean()), float(rows.mean()), float(np.ptp(columns))))
    return [places[0], places[-1]]


@pytest.mark.parametrize(
    "name",
    ["push in", "zoom out", "pan left", "truck right", "tilt up", "pedestal down", "static"],
)
def test_every_instruction_is_understood_in_brackets(name: str) -> None:
    """Each of Seedance's camera words works inside a sentence, in any case."""
    move = move_of(f"A kite. [Slow {name.upper()} shot] It flies.", fixed=False)
    assert move is MOVES[name.rsplit(maxsplit=1)[-1]]


def test_a_prompt_without_instruction_is_pushed_in_slowly() -> None:
    """Words outside brackets move nothing; a fixed camera beats every instruction."""
    assert move_of("pan left slowly", fixed=False) is SLOW_PUSH
    shots = shots_of("[Low-angle shot] then [Pan right]")
    assert [shot.move for shot in shots] == [SLOW_PUSH, MOVES["right"]]
    assert move_of("[Pan left]", fixed=True) is STATIC


def test_each_instruction_is_a_shot_with_its_own_caption() -> None:
    """What stands before the first belongs to it; a shot without words has those of the one before."""
    race = "A race car. [Low-angle shot] Cars in snow. [Overhead  shot] The scene. [Pan left]"
    assert [(shot.instruction, shot.caption) for shot in shots_of(race)] == [
        ("Low-angle shot", "A race car. Cars in snow."),
        ("Overhead shot", "The scene."),
        ("Pan left", "The scene."),
    ]
    assert [(shot.instruction, shot.caption) for shot in shots_of("A kite [and")] == [("", "A kite [and")]
    assert len(shots_of("")) == 1


@pytest.mark.parametrize(
    "text",
    ["Füße, œuvre, Zażółć gęślą jaźń", "Ένας χαρταετός", "Летит змей", "רוח", "طائرة ورقية", "½ € → №"],
)
def test_the_own_font_has_latin_greek_cyrillic_hebrew_and_arabic(text: str) -> None:
    """Captions in these scripts are drawn on any machine."""
    assert font_for(text) == (OWN_FONT, True)


def test_letters_that_no_font_has_are_noticed() -> None:
    """Text that cannot be drawn whole is known as such, so that the picture can say it."""
    assert font_for("a \U0001f0ff\U00013000\U00012345 b")[1] is False


def test_a_font_that_has_no_such_size_is_passed_over(tmp_path: Path) -> None:
    """Bitmap fonts, as most of emoji are, have one size; a folder may also hold what is no font."""
    (tmp_path / "NotoColorEmoji.ttf").write_bytes(b"no font")
    (tmp_path / "NotoSans.ttf").write_bytes(OWN_FONT.read_bytes())
    assert fonts_in([tmp_path]) == [tmp_path / "NotoSans.ttf"]


@pytest.mark.parametrize(
    ("text", "packages"),
    [
        ("A kite 🎉", ["fonts-symbola"]),
        ("茶器 と ガラス", ["fonts-noto-cjk"]),
        ("유리 주전자", ["fonts-noto-cjk"]),
        ("ผ้าไหม 🎉 茶", ["fonts-noto-cjk", "fonts-noto-core", "fonts-symbola"]),
        ("Füße, Ж, ½", []),
    ],
)
def test_what_a_text_lacks_names_its_package(text: str, packages: list[str]) -> None:
    """Debian's packages with the letters that the own font does not have."""
    assert packages_for(text, [OWN_FONT]) == packages


@pytest.mark.parametrize(
    ("name", "axis", "grows"),
    [
        ("pan left", 0, True),
        ("truck right", 0, False),
        ("tilt up", 1, True),
        ("pedestal down", 1, False),
        ("push in", 2, True),
        ("zoom out", 2, False),
    ],
)
def test_a_camera_moves_what_is_seen_the_other_way(name: str, axis: int, grows: bool) -> None:
    """A camera that goes left shows things going right; pushed in they grow."""
    first, last = seen_through(f"[{name}] a square")
    assert (last[axis] > first[axis] + 5) is grows
    assert (last[axis] < first[axis] - 5) is not grows


def test_a_static_camera_shows_the_picture_as_it_is() -> None:
    """Without a movement the square stays where it is, as wide as it is."""
    first, last = seen_through("[Static] a square")
    assert first == last
    assert first[2] == pytest.approx(49, abs=2)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=300), st.integers(120, 900), st.integers(40, 400))
def test_any_text_fits_its_box(text: str, width: int, height: int) -> None:
    """Whatever the prompt, no line is wider than the box and the block is no higher, or it is one line."""
    block = fitted(text, width, height, (40, 30, 20, 14))
    assert len(block.lines) <= 1 or block.height_px <= height
    assert all(block.face.getlength(line) <= width for line in block.lines)


def test_text_that_is_too_long_ends_with_an_ellipsis() -> None:
    """What does not fit in the smallest size is cut, and one sees that."""
    block = fitted("word " * 400, 200, 60, (30, 14))
    assert block.face.size == 14
    assert block.lines[-1].endswith(ELLIPSIS)


def test_words_keep_their_order() -> None:
    """Wrapping loses no letter of a prompt that fits."""
    text = "A paper boat on a rain-wet street, incomprehensibilities and all"
    block = fitted(text, 300, 400, (30, 20))
    assert "".join(block.lines).replace(" ", "") == text.replace(" ", "")


def test_text_that_fits_is_set_as_large_as_it_can_be() -> None:
    """An ellipsis of the prompt's own is no sign of a cut."""
    block = fitted("wait…", 400, 60, (40, 14))
    assert (block.lines, block.face.size) == (["wait…"], 40)


def test_colours_belong_to_the_prompt() -> None:
    """One prompt has one family of colours, its takes differ a little, another prompt differs more."""
    first, again, take, other = (
        np.asarray(backdrop(prompt, seed, 0)).astype(int)
        for prompt, seed in (("a kite", "1"), ("a kite", "1"), ("a kite", "2"), ("a submarine", "1"))
    )
    assert np.array_equal(first, again)
    assert 0 < np.abs(first - take).mean() < np.abs(first - other).mean()


def test_a_tone_is_as_long_as_asked_and_soft() -> None:
    """The tone has the samples asked for, two different sides, fades, and stays below full scale."""
    sound = tone("a kite", 48_000 * 3)
    assert sound.shape == (2, 48_000 * 3)
    assert np.abs(sound).max() <= 0.36
    assert np.abs(sound[:, 0]).max() < 0.001 < np.abs(sound[:, 72_000:72_100]).max()
    assert not np.array_equal(sound[0], sound[1])
