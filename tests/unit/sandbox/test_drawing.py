import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callsheet.sandbox.drawing import colours_of, timecode
from callsheet.sandbox.storyboard import MOVES, Move, shots_of
from callsheet.sandbox.text import ELLIPSIS, OWN_FONT, fitted, font, font_for
from callsheet.sandbox.video import tone


def move_of(prompt: str, *, fixed: bool) -> Move:
    """The camera of the first shot."""
    return shots_of(prompt, fixed=fixed)[0].move


@pytest.mark.parametrize("move", MOVES, ids=lambda move: move.name)
def test_every_instruction_is_understood_in_brackets(move: Move) -> None:
    """Each of Seedance's camera words works inside a sentence, in any case, and stays inside the picture."""
    assert move_of(f"A kite. [Slow {move.name.upper()}] It flies.", fixed=False) is move
    for step in range(11):
        zoom, across, down = move.at(step / 10)
        assert 1 <= zoom <= max(move.start, move.end)
        assert abs(across) <= 1
        assert abs(down) <= 1


def test_a_prompt_without_instruction_is_pushed_in_slowly() -> None:
    """Words outside brackets move nothing; a fixed camera beats every instruction."""
    assert move_of("pan left slowly", fixed=False).name == "slow push in"
    assert [shot.move.name for shot in shots_of("[Low-angle shot] then [Pan right]")] == [
        "slow push in",
        "pan right",
    ]
    assert move_of("[Pan left]", fixed=True).name == "static"


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


def test_opposite_moves_run_in_opposite_directions() -> None:
    """Left ends left of where it began, and pull out ends wider."""
    left, right = move_of("[pan left]", fixed=False), move_of("[pan right]", fixed=False)
    assert left.at(1)[1] < left.at(0)[1]
    assert right.at(1)[1] > right.at(0)[1]
    assert move_of("[pull out]", fixed=False).at(1)[0] < move_of("[pull out]", fixed=False).at(0)[0]


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=300), st.integers(120, 900), st.integers(40, 400))
def test_any_text_fits_its_box(text: str, width: int, height: int) -> None:
    """Whatever the prompt, no line is wider than the box and the block is no higher, or it is one line."""
    block = fitted(text, width, height, (40, 30, 20, 14))
    assert len(block.lines) == 1 or block.height_px <= height
    assert all(font(block.size_px, block.path).getlength(line) <= width for line in block.lines)


def test_text_that_is_too_long_ends_with_an_ellipsis() -> None:
    """What does not fit in the smallest size is cut, and one sees that."""
    block = fitted("word " * 400, 200, 60, (30, 14))
    assert block.size_px == 14
    assert block.lines[-1].endswith(ELLIPSIS)


def test_words_keep_their_order() -> None:
    """Wrapping loses no letter of a prompt that fits."""
    text = "A paper boat on a rain-wet street, incomprehensibilities and all"
    block = fitted(text, 300, 400, (30, 20))
    assert "".join(block.lines).replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize(("frame", "text"), [(0, "00:00:00:00"), (23, "00:00:00:23"), (120, "00:00:05:00")])
def test_time_codes_count_in_frames(frame: int, text: str) -> None:
    """The last field of a time code counts frames, 24 a second."""
    assert timecode(frame) == text


def test_colours_belong_to_the_prompt() -> None:
    """One prompt has one family of colours, its takes differ a little, another prompt differs more."""
    first, again, take = colours_of("a kite", "1"), colours_of("a kite", "1"), colours_of("a kite", "2")
    assert first == again
    assert first != take
    assert first[0] != colours_of("a submarine", "1")[0]


def test_a_tone_is_as_long_as_asked_and_soft() -> None:
    """The tone has the samples asked for, two different sides, fades, and stays below full scale."""
    sound = tone("a kite", 48_000 * 3)
    assert sound.shape == (2, 48_000 * 3)
    assert np.abs(sound).max() <= 0.36
    assert np.abs(sound[:, 0]).max() < 0.001 < np.abs(sound[:, 72_000:72_100]).max()
    assert not np.array_equal(sound[0], sound[1])
