"""From checked batches to the rows of a plan: ids, names, prices, and the keys to find duplicates by."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from callsheet.errors import Problem
from manifests.columnar.arrow import (
    Mask,
    Numbers,
    chars,
    coded,
    coded_text,
    distinct,
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
from manifests.columnar.cells import composed, is_plain_name
from manifests.columnar.check import Checked
from manifests.columnar.combos import Combination, Combinations, Looked
from manifests.columnar.job_store import SHARED
from manifests.job import OPTIONS, Job, fingerprint_of
from manifests.names import (
    BY_ID,
    NO_SLUG,
    SLUG_MAX_CHARS,
    SLUG_STEPS,
    cleaned_name,
    id_of_take,
    is_safe,
    note_unsafe,
    safe_part,
)
from manifests.plan_hash import NO_SEED, references_identity
from manifests.plan_rows import EXTRA, MADE_ID, MADE_NAME, PICTURE_COLUMNS, pictures_text, shared_cells
from manifests.problems import Problems
from manifests.table import Row
from manifests.template import Template

_IDENTITIES = {"image_url": "image", "end_image_url": "end_image", "reference_image_urls": "references"}
_PART = "[A-Za-z0-9_]([A-Za-z0-9._-]{0,98}[A-Za-z0-9_])?"
_CLEAN = rf"^{_PART}(/{_PART})*$"
_DOUBTFUL = r"(?i)(^|/)(CON|PRN|AUX|NUL|COM[0-9]|LPT[0-9])(\.[^/]*)?(/|$)|\.mp4/"
_CLEAN_MAX_CHARS = 200


@dataclass(frozen=True, slots=True)
class PlanRows:
    """Rows of a plan. `columns` are the table's, `hashed` what the plan's hash takes besides.

    `ids`, `names` and `content` are keys; `content` is of what is bought, apart from the take. `combos` are
    numbers of `Combinations.all`.
    """

    columns: Mapping[str, Any]
    hashed: Mapping[str, Any]
    combos: Numbers
    takes: Numbers
    ids: Numbers
    names: Numbers
    content: Numbers
    problems: tuple[Problem, ...]

    def __len__(self) -> int:
        return len(self.combos)


class RowMaker:
    """Makes rows of what was checked."""

    def __init__(self, combos: Combinations, naming: Template | None, extras: Sequence[str]) -> None:
        self._combos, self._naming, self._extras = combos, naming or BY_ID, extras

    def rows(self, checked: Checked) -> PlanRows:
        """Return the batch's good rows."""
        count = len(checked.good)
        shared = _Shared.of(checked.combos, self._combos.all)
        nothing = same_text("", count)
        identities = dict.fromkeys(_IDENTITIES.values(), nothing)
        identities |= {_IDENTITIES[name]: _identities(*each) for name, each in checked.pictures.items()}
        ids, is_made = _ids(checked, shared, identities)
        named = {**checked.texts, "custom_id": ids}
        names, name_is_made, problems = self._names(checked, named, shared)
        words = ["", MADE_ID, MADE_NAME, f"{MADE_ID} {MADE_NAME}"]
        columns: dict[str, Any] = {
            "file": same_text(checked.batch.file, count),
            "row": pa.array(checked.batch.rows[checked.good]),
            **named,
            "output_name": names,
            "made": coded_text(is_made.astype(np.int32) + 2 * name_is_made.astype(np.int32), words),
            "given": shared.column([combo.given for combo in shared.combos]),
            **{name: pa.array(values) for name, values in checked.numbers.items()},
            **_picture_columns(checked, count),
            **{f"{EXTRA}{name}": checked.extra.get(name) for name in self._extras},
            **shared.price_columns(),
        }
        columns |= {name: pa.nulls(count, pa.string()) for name, column in columns.items() if column is None}
        id_keys = keys_of(words_of(ids))
        # All names are ASCII, and a file system may take `A` and `a` for one.
        folded = pc.ascii_lower(names)
        return PlanRows(
            columns={name: coded(column) if name in SHARED else column for name, column in columns.items()},
            hashed={**identities, "client": columns["client"]},
            combos=checked.combos,
            takes=checked.numbers["take"],
            ids=id_keys,
            names=id_keys if folded.equals(ids) else keys_of(words_of(folded)),
            content=_content(checked, shared, identities),
            problems=problems,
        )

    def _names(
        self, checked: Checked, named: Mapping[str, Any], shared: _Shared
    ) -> tuple[Any, Mask, tuple[Problem, ...]]:
        given = checked.texts["output_name"]
        missing = mask_of(pc.equal(given, ""))
        if not missing.any():
            return given, missing, ()
        cells = {name: self._cells(name, checked, named, shared) for name in self._naming.columns}
        made, unsafe = made_names(self._naming, cells, named["custom_id"])
        names = made if missing.all() else pc.if_else(pa.array(missing), made, given)
        wrong = np.flatnonzero(unsafe & missing)
        return names, missing, tuple(_unsafe(checked, names, at) for at in wrong.tolist())

    def _cells(self, name: str, checked: Checked, named: Mapping[str, Any], shared: _Shared) -> Any:
        """Return what a file name's template is filled with: what the check decided, else the row's cell."""
        if name == "custom_id":
            return named["custom_id"]
        if name == "take":
            return pa.array(checked.numbers["take"]).cast(pa.string())
        if name in ("model", "resolution", "aspect_ratio"):
            return text_array(shared.column([_decided(combo, name) for combo in shared.combos]))
        if name not in checked.batch.columns:
            return text_array(same_text("", len(checked.good)))
        return stripped(text_array(rows_of(checked.batch.columns[name], checked.good)))


@dataclass(frozen=True, slots=True)
class _Shared:
    """The combinations of one batch, and each row's place among them."""

    combos: list[Combination]
    places: Numbers

    @classmethod
    def of(cls, numbers: Numbers, everything: Sequence[Combination]) -> _Shared:
        which, _, places = distinct(numbers)
        return cls([everything[number] for number in which.tolist()], places)

    def column(self, values: list[str]) -> Any:
        return coded_text(self.places, values)

    def price_columns(self) -> dict[str, Any]:
        rows = [shared_cells(_job_of(combo), combo.price) for combo in self.combos if combo.price]
        return {name: self._cells([row[name] for row in rows]) for name in (rows[0] if rows else ())}

    def _cells(self, values: Sequence[str | int]) -> Any:
        if isinstance(values[0], str):
            return self.column([str(value) for value in values])
        return pa.array(np.array(values, np.int64)[self.places])


def _decided(combo: Combination, name: str) -> str:
    """Return what the check decided of an option, as a file name shows it."""
    assert combo.endpoint is not None
    text: str = combo.endpoint.model if name == "model" else combo.values[name]
    return text.replace(":", "x")


def _job_of(combo: Combination) -> Job:
    assert combo.endpoint is not None
    options = {name: combo.values[name] for name in OPTIONS if name != "duration"}
    return Job(0, "", combo.endpoint, "", duration_s=combo.values["duration"], **options)


def _ids(checked: Checked, shared: _Shared, identities: Mapping[str, Any]) -> tuple[Any, Mask]:
    """Return all ids, and which of them were made from the content."""
    ids = composed(checked.texts["custom_id"])
    missing = mask_of(pc.equal(ids, ""))
    if not missing.any():
        return ids, missing
    rows = np.flatnonzero(missing)
    prompts = rows_of(checked.texts["prompt"], rows)
    made = [
        id_of_take(slug, content, take)
        for slug, content, take in zip(
            slugs(prompts).to_pylist(),
            _first_takes(checked, shared, identities, rows),
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


def _first_takes(
    checked: Checked, shared: _Shared, identities: Mapping[str, Any], rows: Numbers
) -> Iterator[str]:
    """Yield the fingerprints of these rows as first takes."""
    columns = [checked.texts["prompt"], *(identities[name] for name in _IDENTITIES.values())]
    own = zip(*(rows_of(column, rows).to_pylist() for column in columns), strict=True)
    places, seeds = shared.places[rows].tolist(), checked.numbers["seed"][rows].tolist()
    for which, seed, (prompt, image, end_image, references) in zip(places, seeds, own, strict=True):
        yield fingerprint_of(
            shared.combos[which].options,
            prompt=prompt,
            seed=None if seed == NO_SEED else seed,
            take=1,
            image=image,
            end_image=end_image,
            references=references.split(),
        )


def made_names(naming: Template, cells: Mapping[str, Any], custom_ids: Any) -> tuple[Any, Mask]:
    """Fill a template for every row from its stripped cells; the mask says which names are not safe."""
    if naming == BY_ID and is_plain_name(custom_ids).all():
        return custom_ids, np.zeros(len(custom_ids), bool)
    parts: list[Any] = list(naming.parts)
    parts[1::2] = [_safe_parts(cells[name]) for name in naming.parts[1::2]]
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
        names[at] = cleaned_name(names[at], custom_ids[at].as_py())
        unsafe[at] = not is_safe(names[at])
    return texts_of(names), unsafe


def _safe_parts(texts: Any) -> Any:
    """Return `safe_part` of every cell, "" where it is empty."""
    if is_plain_name(texts).all():
        return texts
    encoded = texts.dictionary_encode()
    safe = [safe_part(text) if text else "" for text in encoded.dictionary.to_pylist()]
    return texts_of(safe).take(encoded.indices)


def _identities(texts: Any, looks: Sequence[Looked | None]) -> Any:
    """Return the identities of every row's pictures."""
    identities = stripped(texts)
    if not any(looks):
        return identities
    cells = identities.to_pylist()
    return texts_of(
        [
            references_identity(look.images) if look is not None else cell
            for cell, look in zip(cells, looks, strict=True)
        ]
    )


def _picture_columns(checked: Checked, count: int) -> dict[str, Any]:
    columns = {name: same_text("", count) for name in (*PICTURE_COLUMNS, "pictures")}
    columns |= {name: stripped(texts) for name, (texts, _) in checked.pictures.items()}
    looked = {name: looks for name, (_, looks) in checked.pictures.items() if any(looks)}
    if looked:
        known = [
            pictures_text({name: look.images for name, looks in looked.items() if (look := looks[at])})
            for at in range(count)
        ]
        columns["pictures"] = texts_of(known)
    return columns


def _content(checked: Checked, shared: _Shared, identities: Mapping[str, Any]) -> Numbers:
    """Return a key of everything that makes the video, apart from the take."""
    options = [combo.options for combo in shared.combos]
    given = {_IDENTITIES[name] for name in checked.pictures}
    none = [""] * len(checked.good)
    return keys_of(
        [options[place] for place in shared.places.tolist()],
        words_of(checked.texts["prompt"]),
        checked.numbers["seed"].tolist(),
        *(words_of(identities[name]) if name in given else none for name in _IDENTITIES.values()),
    )


def _unsafe(checked: Checked, names: Any, at: int) -> Problem:
    notes = Problems()
    row = Row(checked.batch.file, checked.batch.folder, int(checked.batch.rows[checked.good[at]]), {})
    note_unsafe(row, names[at].as_py(), notes)
    return notes.problems()[0]
