"""The AI label: well-formed whatever a prompt holds, and kept out of files that bring a provenance."""

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.delivery.xmp import (
    C2PA_UUID,
    TRAINED_ALGORITHMIC_MEDIA,
    XMP_UUID,
    why_untouched,
    xmp_box,
    xmp_packet,
)
from callsheet.media.mp4 import check_boxes

IPTC = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"


def packet(prompt: str = "A boat") -> bytes:
    """Make an everyday label."""
    return xmp_packet(
        title="shot",
        prompt=prompt,
        model="m",
        endpoint="fal-ai/x",
        request_id="r",
        created="2026-11-29T09:00:00Z",
        tool="Callsheet",
    )


@given(st.text(st.characters(codec=None), max_size=40))
def test_a_label_is_well_formed_whatever_the_prompt_holds(prompt: str) -> None:
    """Markup is text, and what XML cannot hold is left out."""
    root = ET.fromstring(packet(prompt).decode())
    assert root.find(f".//{IPTC}DigitalSourceType").text == TRAINED_ALGORITHMIC_MEDIA
    said = root.find(f".//{IPTC}AIPromptInformation")
    kept = [char for char in prompt if char.isprintable()]
    assert [char for char in (said.text or "" if said is not None else "") if char.isprintable()] == kept


def box(kind: bytes, content: bytes = b"") -> bytes:
    """Make a box."""
    return (8 + len(content)).to_bytes(4) + kind + content


WHOLE = box(b"ftyp", b"isom") + box(b"mdat", b"x" * 16) + box(b"moov")
LONG_UUID = b"\0\0\0\1uuid" + (32).to_bytes(8) + C2PA_UUID


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (WHOLE, ""),
        (WHOLE + box(b"uuid", b"y" * 16), ""),
        (WHOLE + box(b"uuid", C2PA_UUID + b"manifest"), "Content Credentials"),
        (WHOLE + LONG_UUID, "Content Credentials"),
        (WHOLE + box(b"jumb", b"z" * 9), "Content Credentials"),
        (WHOLE + xmp_box(packet()), "XMP of its own"),
        (WHOLE + box(b"mfra"), "index of fragments"),
        (box(b"ftyp", b"isom") + box(b"moov") + bytes(4) + b"mdat" + b"x" * 16, "no length of its own"),
    ],
)
def test_a_file_with_a_provenance_of_its_own_gets_no_box(content: bytes, said: str) -> None:
    """Nor does one whose end must stay its end."""

    def read(count: int, offset: int) -> bytes:
        return content[offset : offset + count]

    why = why_untouched(read, check_boxes(read, len(content)))
    assert said in why
    assert bool(said) == bool(why)


def test_the_box_is_adobes() -> None:
    """Its size counts all of it."""
    made = xmp_box(packet())
    assert int.from_bytes(made[:4]) == len(made)
    assert made[4:8] == b"uuid"
    assert made[8:24] == XMP_UUID
