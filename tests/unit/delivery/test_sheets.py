"""Contact sheets and timelines."""

from fractions import Fraction

import opentimelineio as otio
import pytest
from PIL import Image, PdfParser

from callsheet.delivery import contact_sheet
from callsheet.delivery.contact_sheet import BOX_PX, PAGE_PX, PER_PAGE, Cell, pages, pdf_book, png
from callsheet.delivery.documents import TimelineClip, timeline_text
from callsheet.sandbox.text import fitted


def cell(number: int) -> Cell:
    """A tall clip with a long prompt."""
    return Cell(f"shot-{number}", "word " * 200, "facts", lambda: Image.new("RGB", (90, BOX_PX[1]), "red"))


def test_every_clip_is_on_a_page_and_every_page_in_the_pdf(monkeypatch) -> None:
    """Twelve to a page; the same clips give the same bytes."""
    monkeypatch.setattr(contact_sheet, "_PAGES_AT_ONCE", 2)
    made = []
    for _ in range(2):
        with pdf_book("spring", made_ms=1_795_000_000_000) as book:
            sheets = []
            for page in pages("spring", "note", [cell(number) for number in range(PER_PAGE * 2 + 1)]):
                assert page.size == PAGE_PX
                sheets.append(png(page))
                book.add(page)
            made.append((sheets, book.content()))
    assert made[0] == made[1]
    sheets, pdf = made[0]
    assert len(sheets) == 3
    assert len(PdfParser.PdfParser(buf=bytearray(pdf)).pages) == 3


def test_a_picture_stands_within_its_box() -> None:
    """A tall clip is shown whole, in the middle of a box of 16:9."""
    (page,) = pages("spring", "note", [cell(1)])
    reds = [at for at in range(PAGE_PX[0]) if page.getpixel((at, 200)) == (255, 0, 0)]
    assert len(reds) == 90
    assert abs((reds[0] - 60) - (60 + BOX_PX[0] - 1 - reds[-1])) <= 1


@pytest.mark.parametrize(
    ("text", "height_px", "shown"),
    [
        ("x" * 60, 24, 40),
        ("shot-" + "x" * 60, 24, 40),
        ("shot_" + "x" * 60, 24, 40),
        ("two words " + "x" * 90, 40, 75),
        ("界" * 60, 24, 15),
    ],
)
def test_a_long_word_is_shown_as_far_as_it_fits(text: str, height_px: int, shown: int) -> None:
    """What does not fit is cut within the word, and nothing is wider than its box."""
    block = fitted(text, BOX_PX[0], height_px, (16, 14))
    joined = "".join(block.lines).replace(" ", "")
    assert joined.endswith("…")
    assert text.replace(" ", "").startswith(joined[:-1])
    assert len(joined) > shown
    assert all(block.face.getlength(line) <= BOX_PX[0] for line in block.lines)
    assert block.height_px <= height_px


def test_words_that_fit_stay_whole() -> None:
    """A line of ordinary words ends with a whole word before the ellipsis."""
    block = fitted("a lamp on a wooden table " * 20, BOX_PX[0], 40, (15, 14))
    assert block.lines[-1][:-1].split()[-1] in {"a", "lamp", "on", "wooden", "table"}


def shot(name: str, *, rate: Fraction = Fraction(24), has_audio: bool = False) -> TimelineClip:
    """A clip of 121 frames."""
    return TimelineClip(name, f"videos/{name}.mp4", 121, rate, has_audio, {"custom_id": name})


def test_the_timeline_is_opened_by_the_library() -> None:
    """Clips in order, each with its file and its whole range at its own rate."""
    text = timeline_text("spring", [shot("a"), shot("b", rate=Fraction(30000, 1001))])
    timeline = otio.adapters.read_from_string(text, "otio_json")
    (track,) = timeline.tracks
    assert [clip.name for clip in track] == ["a", "b"]
    assert [clip.media_reference.target_url for clip in track] == ["videos/a.mp4", "videos/b.mp4"]
    assert [clip.available_range() for clip in track] == [clip.source_range for clip in track]
    assert track[1].source_range.duration == otio.opentime.RationalTime(121, 30000 / 1001)
    assert track[0].media_reference.metadata["callsheet"]["custom_id"] == "a"


def test_sound_has_a_track_where_there_is_any() -> None:
    """A clip without sound leaves a gap of its length in it."""
    timeline = otio.adapters.read_from_string(
        timeline_text("spring", [shot("a"), shot("b", has_audio=True)]), "otio_json"
    )
    picture, sound = timeline.tracks
    assert (picture.kind, sound.kind) == ("Video", "Audio")
    assert [type(each).__name__ for each in sound] == ["Gap", "Clip"]
    assert sound.range_of_child_at_index(1) == picture.range_of_child_at_index(1)
