"""XLSX workbooks written by hand, with what spreadsheet programs put into them and what an attacker would."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Mapping

_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_LINKS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"


class Failed(str):
    """A formula that failed, as its error."""

    __slots__ = ()


def workbook(
    sheets: Mapping[str, str],
    *,
    shared: str = "",
    folder: str = "worksheets",
    after: str = "",
    parts: Mapping[str, str] | None = None,
) -> bytes:
    """Return a workbook of these sheets' XML; a name that ends in `_hidden` hides its sheet.

    `after` follows the list of sheets. `parts` are further files of the archive.
    """
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        names = "".join(
            f'<sheet name="{name}" sheetId="{at}" r:id="r{at}"'
            f"{' state=' + chr(34) + 'hidden' + chr(34) if name.endswith('_hidden') else ''}/>"
            for at, name in enumerate(sheets, 1)
        )
        links = "".join(
            f'<Relationship Id="r{at}" Type="{_LINKS}/worksheet" Target="{folder}/sheet{at}.xml"/>'
            for at in range(1, len(sheets) + 1)
        )
        if shared:
            links += f'<Relationship Id="s" Type="{_LINKS}/sharedStrings" Target="sharedStrings.xml"/>'
            archive.writestr("xl/sharedStrings.xml", shared)
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{_PACKAGE}">'
            f'<Relationship Id="a" Type="{_LINKS}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        )
        archive.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{_MAIN}" xmlns:r="{_LINKS}"><sheets>{names}</sheets>{after}</workbook>',
        )
        archive.writestr(
            "xl/_rels/workbook.xml.rels", f'<Relationships xmlns="{_PACKAGE}">{links}</Relationships>'
        )
        for at, text in enumerate(sheets.values(), 1):
            archive.writestr(f"xl/{folder}/sheet{at}.xml", text)
        for name, text in (parts or {}).items():
            archive.writestr(name, text)
    return packed.getvalue()


def shared_texts(texts: str, claimed: int = 1) -> str:
    """Return a table of shared texts that claims to hold so many."""
    return f'<sst xmlns="{_MAIN}" count="{claimed}" uniqueCount="{claimed}">{texts}</sst>'


def sheet_xml(cells: str, after: str = "") -> str:
    """Return a sheet of rows that are written already, and what follows them."""
    return f'<worksheet xmlns="{_MAIN}"><sheetData>{cells}</sheetData>{after}</worksheet>'


def sheet(rows: Iterable[Iterable[object]], *, hidden: Iterable[int] = (), merged: Iterable[str] = ()) -> str:
    """Return a sheet; None leaves a cell out. `hidden` holds rows' numbers, `merged` ranges like `A2:A4`."""
    hidden = set(hidden)
    lines = [
        f'<row r="{number}"{" hidden=" + chr(34) + "1" + chr(34) if number in hidden else ""}>'
        + "".join(_cell(f"{chr(65 + at)}{number}", value) for at, value in enumerate(row))
        + "</row>"
        for number, row in enumerate(rows, 1)
    ]
    ranges = "".join(f'<mergeCell ref="{each}"/>' for each in merged)
    return sheet_xml("".join(lines), f"<mergeCells>{ranges}</mergeCells>" if ranges else "")


def book(**sheets: Iterable[Iterable[object]]) -> bytes:
    """Return a workbook of plain sheets."""
    return workbook({name: sheet(rows) for name, rows in sheets.items()})


def _cell(place: str, value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, Failed):
        return f'<c r="{place}" t="e"><f>VLOOKUP(1,B:B,2,FALSE)</f><v>{value}</v></c>'
    if isinstance(value, bool):
        return f'<c r="{place}" t="b"><v>{int(value)}</v></c>'
    if isinstance(value, int | float):
        return f'<c r="{place}"><v>{value}</v></c>'
    return f'<c r="{place}" t="inlineStr"><is><t>{value}</t></is></c>'


def relations(kind: str, *targets: str, external: bool = True) -> str:
    """Return the file of what a sheet refers to: `i1`, `i2` and so on, of a kind such as "hyperlink"."""
    mode = ' TargetMode="External"' if external else ""
    links = "".join(
        f'<Relationship Id="i{at}" Type="{_LINKS}/{kind}" Target="{target}"{mode}/>'
        for at, target in enumerate(targets, 1)
    )
    return f'<Relationships xmlns="{_PACKAGE}">{links}</Relationships>'


def linked_sheet(rows: Iterable[Iterable[object]], *, merged: Iterable[str] = (), **places: str) -> str:
    """Return a sheet with links; each place (`C2`, or `C2_C4` for a range) has the id of its target."""
    links = "".join(
        f'<hyperlink xmlns:r="{_LINKS}" ref="{place.replace("_", ":")}" r:id="{target}"/>'
        for place, target in places.items()
    )
    linked = sheet(rows, merged=merged)
    return linked.replace("</worksheet>", f"<hyperlinks>{links}</hyperlinks></worksheet>")


def drawn_sheet(rows: Iterable[Iterable[object]]) -> str:
    """Return a sheet with the drawing `i1`."""
    return sheet(rows).replace("</worksheet>", f'<drawing xmlns:r="{_LINKS}" r:id="i1"/></worksheet>')


def drawing(*cells: tuple[int, int], shape: str = "pic") -> str:
    """Return a drawing with a picture, or another shape, at each cell (row and column, from 1)."""
    anchors = "".join(
        f"<x:twoCellAnchor><x:from><x:col>{column - 1}</x:col><x:colOff>9</x:colOff><x:row>{row - 1}</x:row>"
        f"<x:rowOff>9</x:rowOff></x:from><x:to><x:col>{column}</x:col><x:row>{row}</x:row></x:to>"
        f"<x:{shape}/><x:clientData/></x:twoCellAnchor>"
        for row, column in cells
    )
    kind = "http://schemas.openxmlformats.org/drawingml/2006/spreadsheetDrawing"
    return f'<x:wsDr xmlns:x="{kind}">{anchors}</x:wsDr>'
