"""From checked batches to the rows of a plan: ids, names, prices, and the keys to find duplicates by."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from manifests.campaign import Template
from manifests.columnar.arrow import (
    Mask,
    Numbers,
    chars,
    coded,
    coded_text,
    combinations,
    keys_of,
    mask_of,
    matches,
    rows_of,
    same_text,
    stripped,
    text_array,
    texts_of,
    words_of,
)
from manifests.columnar.batches import Batch
from manifests.columnar.cells import composed, is_plain_name
from manifests.columnar.check import Checked, Combination
from manifests.columnar.job_store import IDENTITIES, SHARED, fingerprints, identities_of
from manifests.columns import PICTURE_COLUMNS
from manifests.names import (
    BY_ID,
    NO_SLUG,
    SLUG_MAX_CHARS,
    SLUG_STEPS,
    cleaned_name,
    file_part,
    folded,
    id_of_take,
    is_safe,
    note_unsafe,
)
from manifests.plan_rows import (
    EXTRA,
    MADE_ID,
    MADE_NAME,
    pictures_text,
    shared_cells,
)
from manifests.problems import Problems
from manifests.table import Row

_PART = "[A-Za-z0-9_]([A-Za-z0-9._-]{0,98}[A-Za-z0-9_])?"
_CLEAN = rf"^{_PART}(/{_PART})*$"
_DOUBTFUL = r"(?i)(^|/)(CON|PRN|AUX|NUL|COM[0-9]|LPT[0-9])(\.[^/]*)?(/|$)|\.mp4/"
_CLEAN_MAX_CHARS = 200
_MADE = ("", MADE_ID, MADE_NAME, f"{MADE_ID} {MADE_NAME}")


@dataclass(frozen=True, slots=True)
class PlanRows:
    """Rows of a plan. `columns` are the table's, `hashed` what the plan's hash takes besides.

    `ids`, `names` and `content` are keys; `content` is of what is bought, apart from the take. Row `at` is of
    combination `combos[places[at]]`.
    """

    columns: Mapping[str, Any]
    hashed: Mapping[str, Any]
    combos: Sequence[Combination]
    places: Numbers
    takes: Numbers
    ids: Numbers
    names: Numbers
    content: Numbers

    def __len__(self) -> int:
        return len(self.places)


class RowMaker:
    """Makes rows of what was checked."""

    def __init__(self, naming: Template | None, extras: Sequence[str]) -> None:
        self._naming, self._extras = naming or BY_ID, extras

    def rows(self, checked: Checked, notes: Problems) -> PlanRows:
        """Return the batch's rows; file names that cannot be used are noted."""
        batch, places = checked.batch, checked.places
        nothing = same_text("", len(checked))
        files = {
            **dict.fromkeys(PICTURE_COLUMNS, nothing),
            **{name: each.texts for name, each in checked.pictures.items()},
            "pictures": _pictures(checked),
        }
        identities = identities_of(files)
        ids, id_is_made = _ids(checked, identities)
        named = {**checked.texts, "custom_id": ids}
        names, name_is_made = self._names(checked, named, notes)
        columns: dict[str, Any] = {
            "file": same_text(batch.file, len(checked)),
            "row": pa.array(batch.rows),
            **named,
            "output_name": names,
            "made": coded_text(id_is_made + 2 * name_is_made, _MADE),
            "given": coded_text(places, [combo.given for combo in checked.combos]),
            **{name: pa.array(values) for name, values in checked.numbers.items()},
            **files,
            **{f"{EXTRA}{name}": _carried(batch, name) for name in self._extras},
            **_option_columns(checked),
        }
        id_keys = keys_of(words_of(ids))
        lower = _folded(names)
        return PlanRows(
            columns={name: coded(column) if name in SHARED else column for name, column in columns.items()},
            hashed={**identities, "client": columns["client"]},
            combos=checked.combos,
            places=places,
            takes=checked.numbers["take"],
            ids=id_keys,
            names=id_keys if lower.equals(ids) else keys_of(words_of(lower)),
            content=_content(checked, identities),
        )

    def _names(self, checked: Checked, named: Mapping[str, Any], notes: Problems) -> tuple[Any, Mask]:
        """Return all file names, and which of them were made."""
        given = named["output_name"]
        missing = mask_of(pc.equal(given, ""))
        if not missing.any():
            return given, missing
        cells = {name: self._cells(name, checked, named) for name in self._naming.columns}
        made, unsafe = made_names(self._naming, cells, named["custom_id"])
        names = made if missing.all() else pc.if_else(pa.array(missing), made, given)
        batch = checked.batch
        for at in np.flatnonzero(unsafe & missing).tolist():
            note_unsafe(Row(batch.file, batch.folder, int(batch.rows[at]), {}), names[at].as_py(), notes)
        return names, missing

    def _cells(self, name: str, checked: Checked, named: Mapping[str, Any]) -> Any:
        """Return what a file name's template is filled with: what the check decided, else the row's cell."""
        if name == "custom_id":
            return named["custom_id"]
        if name == "take":
            return pa.array(checked.numbers["take"]).cast(pa.string())
        if name in ("model", "resolution", "aspect_ratio"):
            decided = [
                combo.endpoint.model if name == "model" else combo.options[name].replace(":", "x")
                for combo in checked.combos
            ]
            return text_array(coded_text(checked.places, decided))
        if name not in checked.batch.columns:
            return text_array(same_text("", len(checked)))
        return stripped(text_array(checked.batch.columns[name]))


def _carried(batch: Batch, name: str) -> Any:
    """Return a column that is only carried; null where the file has none."""
    return text_array(batch.columns[name]) if name in batch.columns else pa.nulls(len(batch), pa.string())


def _option_columns(checked: Checked) -> dict[str, Any]:
    """Return the columns that rows of one combination have in common."""
    rows = [shared_cells(combo.endpoint, combo.options, combo.price) for combo in checked.combos]
    columns: dict[str, Any] = {}
    for name in rows[0] if rows else ():
        values = [row[name] for row in rows]
        if name in SHARED:
            columns[name] = coded_text(checked.places, list(map(str, values)))
        else:
            columns[name] = pa.array(np.array(values, np.int64)[checked.places])
    return columns


def _ids(checked: Checked, identities: Mapping[str, Any]) -> tuple[Any, Mask]:
    """Return all ids, and which of them were made from the content."""
    ids = composed(checked.texts["custom_id"])
    missing = mask_of(pc.equal(ids, ""))
    if not missing.any():
        return ids, missing
    rows = np.flatnonzero(missing)
    made = [
        id_of_take(slug, content, take)
        for slug, content, take in zip(
            slugs(rows_of(checked.texts["prompt"], rows)).to_pylist(),
            _first_takes(checked, identities, rows),
            checked.numbers["take"][rows].tolist(),
            strict=True,
        )
    ]
    return pc.replace_with_mask(ids, pa.array(missing), texts_of(made)), missing


def slugs(prompts: Any) -> Any:
    """Return `names.slug` of every prompt."""
    plain = prompts
    if not pc.all(pc.string_is_ascii(prompts)).as_py():
        plain = texts_of([unicodedata.normalize("NFKD", text) for text in prompts.to_pylist()])
        plain = pc.replace_substring_regex(plain, r"[^\x00-\x7f]+", "")
    plain = pc.ascii_lower(plain)
    for pattern, instead in SLUG_STEPS:
        plain = pc.replace_substring_regex(plain, pattern, instead)
    plain = pc.utf8_rtrim(pc.utf8_slice_codeunits(plain, 0, SLUG_MAX_CHARS), "-")
    return pc.if_else(pc.equal(plain, ""), NO_SLUG, plain)


def _first_takes(checked: Checked, identities: Mapping[str, Any], rows: Numbers) -> Iterator[str]:
    """Yield the fingerprints of these rows as first takes."""
    return fingerprints(
        [combo.fingerprinted for combo in checked.combos],
        checked.places[rows],
        rows_of(checked.texts["prompt"], rows),
        checked.numbers["seed"][rows].tolist(),
        [1] * len(rows),
        {name: rows_of(each, rows) for name, each in identities.items()},
    )


def made_names(naming: Template, cells: Mapping[str, Any], custom_ids: Any) -> tuple[Any, Mask]:
    """Fill a template for every row from its stripped cells; the mask says which names are not safe."""
    if naming == BY_ID and is_plain_name(custom_ids).all():
        return custom_ids, np.zeros(len(custom_ids), bool)
    parts: list[Any] = list(naming.parts)
    parts[1::2] = [_file_parts(cells[name]) for name in naming.parts[1::2]]
    if naming.columns:
        filled = pc.binary_join_element_wise(*parts, "")
    else:
        filled = text_array(same_text(naming.parts[0], len(custom_ids)))
    clean = matches(filled, _CLEAN) & ~matches(filled, _DOUBTFUL) & (chars(filled) <= _CLEAN_MAX_CHARS)
    unsafe = np.zeros(len(filled), bool)
    if clean.all():
        return filled, unsafe
    names = filled.to_pylist()
    for at in np.flatnonzero(~clean).tolist():
        names[at] = cleaned_name(naming, names[at]) or file_part(custom_ids[at].as_py())
        unsafe[at] = not is_safe(names[at])
    return texts_of(names), unsafe


def _folded(names: Any) -> Any:
    """Return `names.folded` of every name: a file system may take `A` and `a` for one."""
    if pc.all(pc.string_is_ascii(names)).as_py():
        return pc.ascii_lower(names)
    return texts_of([folded(name) for name in names.to_pylist()])


def _file_parts(texts: Any) -> Any:
    """Return `file_part` of every cell, "" where it is empty."""
    if is_plain_name(texts).all():
        return texts
    encoded = texts.dictionary_encode()
    safe = [file_part(text) if text else "" for text in encoded.dictionary.to_pylist()]
    return texts_of(safe).take(encoded.indices)


def _pictures(checked: Checked) -> Any:
    """Return what is known of every row's pictures."""
    columns = {name: each.cells for name, each in checked.pictures.items()}
    first, places = combinations([each.places for each in columns.values()], len(checked))
    known = [
        pictures_text({name: each.values[each.places[at]] for name, each in columns.items()}) for at in first
    ]
    return coded_text(places, known)


def _content(checked: Checked, identities: Mapping[str, Any]) -> Numbers:
    """Return a key of everything that makes the video, apart from the take."""
    options = [combo.fingerprinted for combo in checked.combos]
    return keys_of(
        [options[place] for place in checked.places.tolist()],
        words_of(checked.texts["prompt"]),
        checked.numbers["seed"].tolist(),
        *(
            words_of(identities[hashed])
            for hashed, of in IDENTITIES.items()
            if set(of) & set(checked.pictures)
        ),
    )
