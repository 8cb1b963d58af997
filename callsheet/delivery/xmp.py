"""The label that says that a video was made by AI, as XMP in the MP4 or beside it.

XMP is put into a file as a `uuid` box at its end (Adobe's XMP specification, part 3, and ISO/IEC 14496-12):
nothing before it moves, so nothing is re-encoded and no index is wrong. The terms are IPTC's: the digital
source type, and the properties for AI of its 2025.1 standard.

A file that brings a provenance of its own stays as it is. The hash in a C2PA manifest is over all boxes that
it does not exclude, and a box more would break it. Such a file gets its label beside it.
"""

from __future__ import annotations

from xml.sax.saxutils import escape

from callsheet.media.mp4 import Box, ReadAt

TRAINED_ALGORITHMIC_MEDIA = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
XMP_UUID = bytes.fromhex("BE7ACFCB97A942E89C71999491E3AFAC")
C2PA_UUID = bytes.fromhex("D8FEC3D61B0E483C92975828877EC481")

_PACKET_ID = "W5M0MpCehiHzreSzNTczkc9d"
_NAMESPACES = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
}


def why_untouched(read: ReadAt, boxes: tuple[Box, ...]) -> str:
    """Say why a file may not get one box more; "" where it may. `boxes` are its outermost ones."""
    for box in boxes:
        if box.kind in {b"jumb", b"jumd", b"c2pa"}:
            return "it carries Content Credentials (C2PA)"
        if box.kind == b"uuid":
            name = read(16, box.offset + (16 if _is_long(read, box) else 8))
            if name == C2PA_UUID:
                return "it carries Content Credentials (C2PA)"
            if name == XMP_UUID:
                return "it carries XMP of its own"
    last = boxes[-1]
    if read(4, last.offset) == bytes(4):
        return "its last box has no length of its own"
    if last.kind == b"mfra":
        return "its index of fragments must stand at the end"
    return ""


def _is_long(read: ReadAt, box: Box) -> bool:
    return read(4, box.offset) == b"\0\0\0\1"


def xmp_box(packet: bytes) -> bytes:
    """Return the box that holds an XMP packet."""
    size = 8 + len(XMP_UUID) + len(packet)
    return size.to_bytes(4) + b"uuid" + XMP_UUID + packet


def xmp_packet(
    *, title: str, prompt: str, model: str, endpoint: str, request_id: str, created: str, tool: str
) -> bytes:
    """Return the label of a clip as an XMP packet (UTF-8). `created` is ISO 8601."""
    simple = {
        "xmp:CreatorTool": tool,
        "xmp:CreateDate": created,
        "dc:identifier": request_id,
        "dc:format": "video/mp4",
        "Iptc4xmpExt:DigitalSourceType": TRAINED_ALGORITHMIC_MEDIA,
        "Iptc4xmpExt:AISystemUsed": model,
        "Iptc4xmpExt:AISystemVersionUsed": endpoint,
        "Iptc4xmpExt:AIPromptInformation": prompt,
    }
    lines = [f"   <{name}>{_text(text)}</{name}>" for name, text in simple.items() if text]
    lines += [_alternatives("dc:title", title), _alternatives("dc:description", prompt)]
    spaces = "".join(f'\n    xmlns:{name}="{address}"' for name, address in _NAMESPACES.items())
    body = "\n".join(line for line in lines if line)
    return (
        f'<?xpacket begin="\ufeff" id="{_PACKET_ID}"?>\n'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Callsheet">\n'
        f" <rdf:RDF{spaces}>\n"
        f'  <rdf:Description rdf:about="">\n{body}\n  </rdf:Description>\n'
        ' </rdf:RDF>\n</x:xmpmeta>\n<?xpacket end="w"?>'
    ).encode()


def _alternatives(name: str, text: str) -> str:
    """Write a text in the default language."""
    if not text:
        return ""
    return f'   <{name}><rdf:Alt><rdf:li xml:lang="x-default">{_text(text)}</rdf:li></rdf:Alt></{name}>'


def _text(text: str) -> str:
    """Escape a text, without the characters that XML 1.0 cannot hold."""
    return escape("".join(char for char in text if _is_xml(ord(char))))


def _is_xml(code: int) -> bool:
    is_control = code < 0x20 and code not in {0x09, 0x0A, 0x0D}
    return not (is_control or 0xD800 <= code <= 0xDFFF or code in {0xFFFE, 0xFFFF})
