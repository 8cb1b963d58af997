import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.errors import MediaError
from callsheet.media.mp4 import MAX_BOXES, check_boxes


def box(kind: bytes, body: bytes = b"", *, claimed: int | None = None, long: bool = False) -> bytes:
    """Write a box, its size true or claimed, in 32 or 64 bits."""
    header = 16 if long else 8
    size = header + len(body) if claimed is None else claimed
    if long:
        return (1).to_bytes(4) + kind + size.to_bytes(8) + body
    return size.to_bytes(4) + kind + body


FTYP = box(b"ftyp", b"isom\0\0\2\0")
MOOV = box(b"moov", b"x" * 40)
MDAT = box(b"mdat", b"y" * 100)
WHOLE = FTYP + MOOV + MDAT


def check(content: bytes) -> tuple[bytes, ...]:
    """Walk these bytes and return the types met."""
    boxes = check_boxes(lambda count, offset: content[offset : offset + count], len(content))
    return tuple(each.kind for each in boxes)


@pytest.mark.parametrize(
    ("content", "kinds"),
    [
        (WHOLE, (b"ftyp", b"moov", b"mdat")),
        (FTYP + MDAT + MOOV, (b"ftyp", b"mdat", b"moov")),
        (FTYP + box(b"free") + MOOV + MDAT, (b"ftyp", b"free", b"moov", b"mdat")),
        (FTYP + MOOV + box(b"mdat", b"y" * 9, long=True), (b"ftyp", b"moov", b"mdat")),
        (FTYP + MOOV + box(b"mdat", b"y" * 9, claimed=0), (b"ftyp", b"moov", b"mdat")),
        (FTYP + MOOV + MDAT + box(b"\xa9xyz"), (b"ftyp", b"moov", b"mdat", b"\xa9xyz")),
    ],
    ids=["index first", "index last", "free space", "64-bit size", "to the end", "QuickTime type"],
)
def test_sound_layouts_pass(content: bytes, kinds: tuple[bytes, ...]) -> None:
    """Every layout that a writer of MP4 may choose is walked to its end."""
    assert check(content) == kinds


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"<!doctype html><title>404</title>", "not_mp4"),
        (b'{"detail": "gone"}', "not_mp4"),
        (bytes(300), "not_mp4"),
        (b"\x1aE\xdf\xa3" + bytes(60), "not_mp4"),
        (b"abc", "not_mp4"),
        (WHOLE[:-1], "truncated"),
        (WHOLE + b"\0\0\0", "truncated"),
        (FTYP + MOOV + box(b"mdat", b"y" * 9, long=True)[:12], "truncated"),
        (FTYP + MOOV + box(b"mdat", b"y", claimed=2**63, long=True), "truncated"),
        (WHOLE + bytes(16), "bad_box"),
        (FTYP + MOOV + box(b"mdat", b"y" * 9, claimed=7), "bad_box"),
        (FTYP + MOOV + box(b"mdat", b"y" * 9, claimed=15, long=True), "bad_box"),
        (FTYP + MDAT, "no_index"),
        (FTYP + MOOV, "no_media"),
        (WHOLE + box(b"free") * MAX_BOXES, "bad_box"),
    ],
)
def test_faults_are_named(content: bytes, reason: str) -> None:
    """What is wrong with the layout is said in one stable word."""
    with pytest.raises(MediaError) as caught:
        check(content)
    assert caught.value.reason == reason


@given(st.integers(min_value=0, max_value=len(WHOLE) - 1))
def test_no_truncation_passes(length: int) -> None:
    """A file cut anywhere never passes."""
    with pytest.raises(MediaError):
        check(WHOLE[:length])


@given(st.binary(max_size=200))
def test_no_bytes_break_the_walk(tail: bytes) -> None:
    """Whatever follows the first box, the walk ends with a verdict and never with another error."""
    with pytest.raises(MediaError) as caught:
        check(FTYP + tail)
    assert caught.value.reason in {"truncated", "bad_box", "no_index", "no_media"}
