"""What cells of a sheet show beside their text: targets of links, and pictures.

Pictures float over a sheet (a drawing, anchored at a cell) or lie in a cell, which then holds the error
`#VALUE!` for programs that do not know of such pictures (Excel 365).
"""

from __future__ import annotations

import posixpath
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from manifests.columns import PICTURE_COLUMNS
from manifests.table import Sheet

IN_CELL = "#VALUE!"
_NO_ADDRESS = (
    "a picture in a sheet cannot be used; write its https:// address, or the path of its file, into the cell"
)
_FORMULA = re.compile(r'\s*=?\s*(?:_xlfn\.)?(?:HYPERLINK|IMAGE)\(\s*"([^"]+)"\s*[,;)]', re.IGNORECASE)
_PICTURE = re.compile(r"\s*=?\s*(?:_xlfn\.)?IMAGE\(", re.IGNORECASE)
"""A formula that shows a picture. Its address stands elsewhere where `_FORMULA` finds none."""

_SIGNS = (b"HYPERLINK(", b"IMAGE(", b"<hyperlink", b":hyperlink", b"<drawing", b":drawing", b" vm=")
"""One of these stands in the XML of every sheet that has links or pictures."""

_IMAGE_KINDS = (b"_localImage", b"_webimage")
_OVERLAP_BYTES = 16
_CHUNK_BYTES = 1 << 20
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_FILE_NAME = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}$")

Place = tuple[int, int]
Parse = Callable[..., None]


@dataclass(slots=True)
class Shown:
    """Links, addresses in formulas, and pictures, by (row, column), both from 1."""

    links: dict[Place, str] = field(default_factory=dict)
    formulas: dict[Place, str] = field(default_factory=dict)
    pictures: set[Place] = field(default_factory=set)

    def merge(self, ranges: Iterable[tuple[int, int, int]], height: int) -> None:
        """Give what a merged cell shows to each of its rows; `ranges` are top, bottom and left of each."""
        for top, bottom, left in ranges:
            for targets in (self.links, self.formulas):
                if target := targets.get((top, left)):
                    rows = range(top, min(bottom, height) + 1)
                    targets.update(dict.fromkeys([(row, left) for row in rows], target))

    def by_row(self) -> dict[int, dict[str, Any]]:
        """Return all of them for each row, with columns from 0, as JSON takes them."""
        rows: dict[int, dict[str, Any]] = {}
        for kind, targets in (("links", self.links), ("formulas", self.formulas)):
            for (row, column), target in targets.items():
                rows.setdefault(row, {}).setdefault(kind, {})[str(column - 1)] = target
        for row, column in sorted(self.pictures):
            rows.setdefault(row, {}).setdefault("pictures", []).append(column - 1)
        return rows


def shown_in(  # noqa: C901  # one handler an element
    archive: zipfile.ZipFile, member: str, parse: Parse, place: Callable[[str], Place]
) -> Shown:
    """Return what a sheet shows beside text; the link of a range is that of its first cell.

    `parse` reads XML, `place` the name of a cell.
    """
    shown = Shown()
    if not _has_any(archive, member, _SIGNS):
        return shown
    related = _relations(archive, member, parse)
    has_pictures_in_cells = any(
        name.startswith("xl/richData/") and _has_any(archive, name, _IMAGE_KINDS)
        for name in archive.namelist()
    )
    drawings: list[str] = []
    cell, formula = (0, 0), None

    def start(name: str, given: Mapping[str, str]) -> None:
        nonlocal cell, formula
        if name == "c":
            cell = place(given["r"]) if "r" in given else (0, 0)
            if has_pictures_in_cells and "vm" in given and given.get("t") == "e":
                shown.pictures.add(cell)
        elif name == "f":
            formula = ""
        elif name == "hyperlink" and (target := related.get(_id(given), "")):
            shown.links[place(given["ref"].partition(":")[0])] = target
        elif name == "drawing":
            drawings.append(related.get(_id(given), ""))

    def end(name: str) -> None:
        nonlocal formula
        if name == "f" and formula:
            if match := _FORMULA.match(formula):
                shown.formulas[cell] = match[1]
            elif _PICTURE.match(formula):
                shown.pictures.add(cell)
        formula = None if name == "f" else formula

    def text(data: str) -> None:
        nonlocal formula
        if formula is not None:
            formula += data

    parse(archive, member, start, end, text)
    for drawing in filter(archive.NameToInfo.__contains__, drawings):
        shown.pictures |= _anchors(archive, drawing, parse)
    return shown


def _has_any(archive: zipfile.ZipFile, member: str, words: tuple[bytes, ...]) -> bool:
    before = b""
    with archive.open(member) as file:
        while chunk := file.read(_CHUNK_BYTES):
            piece = before + chunk
            if any(word in piece for word in words):
                return True
            before = chunk[-_OVERLAP_BYTES:]
    return False


def _id(given: Mapping[str, str]) -> str:
    return next((value for name, value in given.items() if name.endswith(" id")), "")


def _relations(archive: zipfile.ZipFile, member: str, parse: Parse) -> dict[str, str]:
    """Return the targets that a sheet refers to, by their ids: addresses, or members of the archive."""
    folder, name = posixpath.split(member)
    path = f"{folder}/_rels/{name}.rels"
    targets: dict[str, str] = {}

    def start(element: str, given: Mapping[str, str]) -> None:
        if element == "Relationship" and "Id" in given:
            target = given.get("Target", "")
            if given.get("TargetMode") != "External":
                target = posixpath.normpath(posixpath.join("/", folder, target)).lstrip("/")
            targets[given["Id"]] = target

    if path in archive.NameToInfo:
        parse(archive, path, start)
    return targets


def _anchors(archive: zipfile.ZipFile, drawing: str, parse: Parse) -> set[Place]:
    """Return the cells at which the pictures of a drawing are anchored."""
    found: set[Place] = set()
    at: dict[str, str] = {}
    inside, number = "", ""

    def start(name: str, _given: Mapping[str, str]) -> None:
        nonlocal inside, number
        if name.endswith("CellAnchor"):
            at.clear()
        elif name == "from":
            inside = name
        elif name == "pic" and {"row", "col"} <= at.keys():
            found.add((int(at["row"]) + 1, int(at["col"]) + 1))
        number = ""

    def end(name: str) -> None:
        nonlocal inside, number
        if inside and name in ("row", "col"):
            at[name] = number.strip()
        if name == "from":
            inside = ""
        number = ""

    def text(data: str) -> None:
        nonlocal number
        number += data if inside else ""

    parse(archive, drawing, start, end, text)
    return found


@dataclass(slots=True)
class PictureSheet(Sheet):
    """A sheet whose cells of pictures may hold a link or a picture.

    `links`, `formulas` (with the address of a picture) and `pictures` are by row.
    """

    links: dict[int, dict[str, str]] = field(default_factory=dict)
    formulas: dict[int, dict[str, str]] = field(default_factory=dict)
    pictures: dict[int, list[int]] = field(default_factory=dict)

    def complete(self, columns: Sequence[str], numbers: Sequence[int], cells: Sequence[list[str]]) -> None:
        """Follow links in the columns of pictures, where a picture without an address is an error."""
        places = {place: name for place, name in enumerate(columns) if name in PICTURE_COLUMNS}
        for number, row in zip(numbers, cells, strict=True):
            links, formulas = self.links.get(number, {}), self.formulas.get(number, {})
            pictures = self.pictures.get(number, ())
            for place, name in places.items() if links or formulas or pictures else ():
                # A link can be left behind where the text was deleted; a formula is what the cell holds.
                link = links.get(str(place), "") if row[place].strip() else ""
                row[place] = target_meant(row[place], link or formulas.get(str(place), ""))
                if place in pictures and row[place].strip() in ("", IN_CELL):
                    row[place] = ""
                    self.wrong(number, name, "a picture", _NO_ADDRESS)


def target_meant(text: str, target: str) -> str:
    """Return the address that a cell of pictures means: its link's, unless its text is one, or a path.

    A target without a scheme is a path; what a link escapes in it (`%20`) is written out.
    """
    if not target or target.startswith(("#", "mailto:")):
        return text
    if not _SCHEME.match(target) and (path := unquote(target)).isprintable():
        target = path
    text = text.strip()
    is_address = "://" in text or text.startswith("data:")
    is_path = bool(_FILE_NAME.search(text)) or (("/" in text or "\\" in text) and not re.search(r"\s", text))
    is_shortened = target.partition("://")[2].rstrip("/") == text.rstrip("/")
    return text if (is_address or is_path) and not is_shortened else target
