"""From checked batches to the rows of a plan: ids, names, prices, and the keys that twins are found by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from callsheet.errors import Problem
from manifests.columnar.arrow import (
    Mask,
    Numbers,
    coded,
    coded_text,
    distinct,
    mask_array,
    number_array,
    rows_of,
    same_text,
    texts_of,
)
from manifests.columnar.cell_classes import Looked
from manifests.columnar.checking import Checked
from manifests.columnar.naming import made_names
from manifests.columnar.own_cells import NO_SEED, composed
from manifests.columnar.setups import Setup, Setups
from manifests.columnar.spool import SHARED
from manifests.columnar.texts import Keys, Texts, mixed, text_array
from manifests.job import Job, fingerprint_of
from manifests.names import BY_ID, ID_CHARS, id_of_take, note_unsafe
from manifests.plan_hash import references_identity
from manifests.plan_rows import EXTRA, MADE_ID, MADE_NAME, PICTURE_COLUMNS, pictures_text, shared_cells
from manifests.problems import Problems
from manifests.table import Row
from manifests.template import Template

_IDENTITIES = {"image_url": "image", "end_image_url": "end_image", "reference_image_urls": "references"}


@dataclass(frozen=True, slots=True)
class Gathered:
    """Rows of a plan. `columns` are the table's, `hashed` what the plan's hash takes besides.

    `content` is a key of what is bought, apart from the take; `setups` are numbers of `Setups.all`.
    """

    columns: Mapping[str, Any]
    hashed: Mapping[str, Any]
    setups: Numbers
    takes: Numbers
    ids: Keys
    names: Keys
    content: Keys
    problems: tuple[Problem, ...]

    def __len__(self) -> int:
        return len(self.setups)


class Gatherer:
    """Makes rows of what was checked."""

    def __init__(self, setups: Setups, naming: Template | None, extras: Sequence[str]) -> None:
        self._setups, self._naming, self._extras = setups, naming or BY_ID, extras

    def gather(self, checked: Checked) -> Gathered:
        """Return the batch's good rows."""
        shared = _Shared.of(checked.setups, self._setups.all)
        identities = {_IDENTITIES[name]: _identities(*each) for name, each in checked.pictures.items()}
        ids, is_made = self._ids(checked, shared, identities)
        named = {**checked.texts, "custom_id": ids}
        names, name_is_made, problems = self._names(checked, named, shared)
        count = len(checked.good)
        id_keys, folded = Texts.of(ids).keys(), _folded(names)
        columns: dict[str, Any] = {
            "file": same_text(checked.batch.file, count),
            "row": number_array(checked.batch.rows[checked.good]),
            **named,
            "output_name": names,
            "made": _made(is_made, name_is_made),
            "given": shared.column([setup.given for setup in shared.setups]),
            **{name: number_array(values) for name, values in checked.numbers.items()},
            **_picture_columns(checked, count),
            **{f"{EXTRA}{name}": checked.extra.get(name) for name in self._extras},
            **shared.price_columns(),
        }
        columns |= {name: pa.nulls(count, pa.string()) for name, column in columns.items() if column is None}
        hashed = {name: identities.get(name, same_text("", count)) for name in _IDENTITIES.values()}
        return Gathered(
            columns={name: coded(column) if name in SHARED else column for name, column in columns.items()},
            hashed={**hashed, "client": columns["client"]},
            setups=checked.setups,
            takes=checked.numbers["take"],
            ids=id_keys,
            names=id_keys if folded is ids else Texts.of(folded).keys(),
            content=_content(checked, shared, identities),
            problems=problems,
        )

    def _ids(self, checked: Checked, shared: _Shared, identities: Mapping[str, Any]) -> tuple[Any, Mask]:
        ids = composed(Texts.of(checked.texts["custom_id"]))
        missing = ids.lengths == 0
        if not missing.any():
            return ids.array, missing
        rows = np.flatnonzero(missing)
        made = self._made_ids(checked, shared, identities, rows)
        takes = checked.numbers["take"][rows]
        for at in np.flatnonzero(takes > 1).tolist():
            made[at] = id_of_take(made[at], int(takes[at]))
        if len(rows) == len(ids):
            return texts_of(made), missing
        cells = ids.array.to_pylist()
        for at, name in zip(rows.tolist(), made, strict=True):
            cells[at] = name
        return texts_of(cells), missing

    def _made_ids(
        self, checked: Checked, shared: _Shared, identities: Mapping[str, Any], rows: Numbers
    ) -> list[str]:
        """Make ids from the content of these rows, as first takes."""

        def own(name: str) -> list[str]:
            texts = identities.get(name)
            return [""] * len(rows) if texts is None else rows_of(texts, rows).to_pylist()

        rowwise = zip(
            shared.places[rows].tolist(),
            rows_of(checked.texts["prompt"], rows).to_pylist(),
            checked.numbers["seed"][rows].tolist(),
            own("image"),
            own("end_image"),
            own("references"),
            strict=True,
        )
        return [
            fingerprint_of(
                shared.setups[which].options,
                prompt=prompt,
                seed=None if seed == NO_SEED else seed,
                take=1,
                image=image,
                end_image=end_image,
                references=references.split(),
            )[:ID_CHARS]
            for which, prompt, seed, image, end_image, references in rowwise
        ]

    def _names(
        self, checked: Checked, named: Mapping[str, Any], shared: _Shared
    ) -> tuple[Any, Mask, tuple[Problem, ...]]:
        given = checked.texts["output_name"]
        missing = Texts.of(given).lengths == 0
        if not missing.any():
            return given, missing, ()
        cells = {name: self._cells(name, checked, named, shared) for name in self._naming.columns}
        made, unsafe = made_names(self._naming, cells, named["custom_id"])
        unsafe &= missing
        names = made if missing.all() else pc.if_else(mask_array(missing), made, given)
        return names, missing, tuple(_unsafe(checked, names, int(at)) for at in np.flatnonzero(unsafe))

    def _cells(self, name: str, checked: Checked, named: Mapping[str, Any], shared: _Shared) -> Any:
        """Return what a file name's template is filled with: what the check decided, else the row's cell."""
        if name == "custom_id":
            return named["custom_id"]
        if name == "take":
            return number_array(checked.numbers["take"]).cast(pa.string())
        decided = {
            "model": [setup.endpoint.model if setup.endpoint else "" for setup in shared.setups],
            "resolution": [setup.values.get("resolution", "") for setup in shared.setups],
            "aspect_ratio": [
                setup.values.get("aspect_ratio", "").replace(":", "x") for setup in shared.setups
            ],
        }
        if name in decided:
            return shared.column(decided[name]).dictionary_decode()
        if name not in checked.batch.columns:
            return same_text("", len(checked.good)).dictionary_decode()
        cells = text_array(rows_of(checked.batch.columns[name], checked.good))
        return Texts.of(cells).stripped().array


_OPTIONS = (
    "resolution",
    "aspect_ratio",
    "num_frames",
    "camera_fixed",
    "enable_safety_checker",
    "generate_audio",
)


@dataclass(frozen=True, slots=True)
class _Shared:
    """The setups of one batch, and each row's place among them."""

    setups: list[Setup]
    places: Numbers

    @classmethod
    def of(cls, numbers: Numbers, everything: Sequence[Setup]) -> _Shared:
        which, _, places = distinct(numbers, int(numbers.max()) + 1 if len(numbers) else 0)
        return cls([everything[int(number)] for number in which], places)

    def column(self, values: list[str]) -> Any:
        return coded_text(self.places, values)

    def price_columns(self) -> dict[str, Any]:
        rows = [shared_cells(_job_of(setup), setup.price) for setup in self.setups if setup.price]
        if not rows:
            return {}
        return {name: self._cells([row[name] for row in rows]) for name in rows[0]}

    def _cells(self, values: Sequence[str | int]) -> Any:
        if isinstance(values[0], str):
            return self.column([str(value) for value in values])
        return number_array(np.array(values, np.int64)[self.places])


def _job_of(setup: Setup) -> Job:
    assert setup.endpoint is not None
    options = {name: setup.values[name] for name in _OPTIONS}
    return Job(0, "", setup.endpoint, "", duration_s=setup.values["duration"], **options)


def _made(is_made: Mask, name_is_made: Mask) -> Any:
    words = ["", MADE_ID, MADE_NAME, f"{MADE_ID} {MADE_NAME}"]
    return coded_text(is_made.astype(np.int32) + 2 * name_is_made.astype(np.int32), words)


def _folded(names: Any) -> Any:
    """Return names as a file system may take them for one another: all of them are ASCII."""
    data = Texts.of(names).data
    return pc.ascii_lower(names) if bool(((data >= ord("A")) & (data <= ord("Z"))).any()) else names


def _identities(texts: Any, looks: Sequence[Looked | None]) -> Any:
    """Return for every row what makes its pictures the ones they are."""
    if not any(looks):
        return texts if Texts.of(texts).stripped().array is texts else pc.utf8_trim_whitespace(texts)
    cells = texts.to_pylist()
    for at, look in enumerate(looks):
        cells[at] = references_identity(look.images) if look is not None else cells[at].strip()
    return texts_of(cells)


def _picture_columns(checked: Checked, count: int) -> dict[str, Any]:
    columns = {name: same_text("", count) for name in PICTURE_COLUMNS}
    looked = {name: looks for name, (_, looks) in checked.pictures.items() if any(looks)}
    for name, (texts, _) in checked.pictures.items():
        columns[name] = pc.utf8_trim_whitespace(texts)
    if not looked:
        return columns | {"pictures": same_text("", count)}
    known = [
        pictures_text({name: look.images for name, looks in looked.items() if (look := looks[at])})
        for at in range(count)
    ]
    return columns | {"pictures": texts_of(known)}


def _content(checked: Checked, shared: _Shared, identities: Mapping[str, Any]) -> Keys:
    """Return a key of everything that makes the video, apart from the take."""
    bought = np.array([hash(setup.options) for setup in shared.setups], np.int64).view(np.uint64)
    keys = Texts.of(checked.texts["prompt"]).keys()
    if len(bought):
        keys = mixed(keys, bought[shared.places])
    keys = mixed(keys, checked.numbers["seed"].view(np.uint64))
    for name, texts in identities.items():
        cells = Texts.of(texts)
        if len(cells.data):
            apart = cells.keys() ^ np.uint64(hash(name) & 0xFFFF)
            keys = np.where(cells.lengths > 0, mixed(keys, apart), keys)
    return keys


def _unsafe(checked: Checked, names: Any, at: int) -> Problem:
    notes = Problems()
    row = Row(checked.batch.file, checked.batch.folder, int(checked.batch.rows[checked.good[at]]), {})
    note_unsafe(row, names[at].as_py(), notes)
    return notes.problems()[0]
