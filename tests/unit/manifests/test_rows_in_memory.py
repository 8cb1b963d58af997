"""Rows in memory: their file lies in a folder of its own, and nothing but that folder is ever removed."""

from __future__ import annotations

import pickle
import tempfile
from contextlib import suppress
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import callsheet
from callsheet.errors import DiskFull, UsageError
from manifests.error_file import RESULTS_ONLY
from manifests.readers import written_rows

TEAPOT = Path(callsheet.__file__).parent / "cli" / "example" / "teapot.png"
ROW = {"prompt": "a kite", "model": "seedance-1.0-pro-fast"}


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder for temporary files, in which another program keeps a file."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    (folder / "precious").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize("name", ["../x", "x/y", "..\\x", "", "a\nb", "x" * 101, "HOME/x"])
def test_a_campaign_that_is_no_name_is_refused_and_removes_nothing(temporary: Path, name: str) -> None:
    """It would name a place outside of the folder of the rows, which is removed with the plan."""
    home = temporary.parent / "home"
    home.mkdir()
    (home / "precious").touch()
    with pytest.raises(UsageError, match="campaign"):
        callsheet.plan([ROW], campaign=name.replace("HOME", str(home)))
    assert [path.name for path in temporary.iterdir()] == ["precious"]
    assert [path.name for path in home.iterdir()] == ["precious"]


def test_a_campaign_is_not_named_beside_a_file(tmp_path: Path) -> None:
    """A file has a campaign of its own: the money would not count under the name that was given."""
    source = tmp_path / "shots.csv"
    source.write_text("prompt,model\na kite,seedance-1.0-pro-fast\n")
    with pytest.raises(UsageError, match="campaign names rows in memory; the"):
        callsheet.plan(source, campaign="spring")
    with pytest.raises(UsageError, match="campaign names rows in memory"):
        callsheet.run(source, campaign="spring", sandbox=True)


@pytest.mark.parametrize("row", [{**ROW, "prompt": "kite \ud83d"}, {**ROW, "note": "\ud83d"}])
def test_half_of_a_character_is_named_with_its_column(row: dict[str, str]) -> None:
    """UTF-8 cannot hold it. The message can be printed, and does not repeat a whole prompt."""
    with pytest.raises(UsageError, match=r"column (prompt|note) holds half of a surrogate pair") as refused:
        callsheet.plan([row])
    str(refused.value).encode()
    with pytest.raises(UsageError) as refused:
        callsheet.plan([{**ROW, "\ud83d": "kite"}])
    str(refused.value).encode()


def test_where_takes_several_values_of_a_column() -> None:
    """As `--where` does when it is given twice: a row has one of them. The plan's run keeps all of them."""
    rows = [{**ROW, "client": client, "seed": seed} for seed, client in enumerate(("acme", "beta", "umbra"))]
    plan = callsheet.plan(rows, where={"client": ["Acme ", "beta"], "model": ROW["model"]})
    assert (plan.jobs, plan.warnings) == (2, ())
    assert plan.rows.asked == {"client": ["Acme ", "beta"], "model": [ROW["model"]]}
    with pytest.raises(UsageError, match="where: client has an empty list"):
        callsheet.plan(rows, where={"client": []})


CLIENTS = pd.Series(["acme", "beta"])


@pytest.mark.parametrize(
    "where",
    [
        {"client": CLIENTS},
        {"client": CLIENTS.unique()},
        {"client": CLIENTS.to_numpy()},
        {"client": (client for client in CLIENTS)},
        {"client": dict.fromkeys(CLIENTS).keys()},
        {"paid": np.True_},
        {"length": [np.float32(2)]},
    ],
    ids=["series", "unique", "array", "generator", "keys", "a bool of NumPy", "a number of NumPy"],
)
def test_where_takes_values_as_pandas_and_numpy_have_them(where: dict[str, Any]) -> None:
    """No row was found: the text of a whole array is in no cell, nor is `True` or `2.0`."""
    columns = {"client": ["acme", "beta", "umbra"], "paid": [True, True, False], "length": [2.0, 2.0, 3.0]}
    plan = callsheet.plan(pd.DataFrame(columns).assign(**ROW, seed=[1, 2, 3]), where=where)
    assert plan.jobs == 2


@pytest.mark.parametrize("name", ["spring", "..", "a.b", "~", "Spring 50% #1 & co?"])
def test_the_folder_of_the_rows_goes_with_their_plan(temporary: Path, name: str) -> None:
    """And only that folder."""
    plan = callsheet.plan([ROW], campaign=name)
    assert plan.jobs == 1
    del plan
    assert [path.name for path in temporary.iterdir()] == ["precious"]


@pytest.mark.parametrize("name", ["What's next?", "Spring*", "S[1]", "[x]", "..", "~", " ", "a.b"])
def test_a_campaign_has_the_very_name_that_was_given(name: str) -> None:
    """Caps are kept under it: it was shortened as a pattern is, or was the name of a temporary folder."""
    plan = callsheet.plan([ROW], campaign=name)
    assert plan.planned is not None
    assert (plan.campaign, plan.planned.campaign) == (name, name)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([(1, 2, 3)], pa.month_day_nano_interval()),
        pa.DictionaryArray.from_arrays(pa.array([0]), pa.array([None, "x"])),
        pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1]), pa.array(["x"])]),
    ],
    ids=["interval", "a null among words", "union"],
)
def test_a_type_that_parquet_has_not_is_refused(temporary: Path, column: Any) -> None:
    """In one sentence, and nothing is left behind."""
    with pytest.raises(UsageError, match="the rows cannot be kept"):
        callsheet.plan(pa.table({**{name: [cell] for name, cell in ROW.items()}, "note": column}))
    assert [path.name for path in temporary.iterdir()] == ["precious"]


@pytest.mark.parametrize(
    "rows",
    [["a", "b"], {"prompt": ["a"]}, None, 5, b"prompt", [{**ROW, "prompt": "\ud800"}], [{**ROW, 3: 4}]],
    ids=["texts", "a mapping", "nothing", "a number", "bytes", "half a pair", "a number as name"],
)
def test_what_is_no_table_is_refused(temporary: Path, rows: Any) -> None:
    """As every source that cannot be used."""
    with pytest.raises(UsageError, match="the rows are no table"):
        callsheet.plan(rows)
    assert [path.name for path in temporary.iterdir()] == ["precious"]


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        (["a"], "list of str"),
        ({"prompt": ["a"]}, "dict of str"),
        (None, "NoneType"),
        ([None], "list of NoneType"),
    ],
)
def test_rows_that_are_no_table_are_named_beside_what_is_one(rows: Any, kind: str) -> None:
    """The person reads what was given and what can be given."""
    with pytest.raises(UsageError, match=rf"found {kind}; give a path, a DataFrame, .* or a list of dicts"):
        callsheet.plan(rows)


@pytest.mark.parametrize(
    ("values", "cells"),
    [
        (["x", 3], ["x", "3"]),
        (["x", 3.0], ["x", "3"]),
        (["x", float("nan")], ["x", ""]),
        (["x", pd.NA], ["x", ""]),
        ([pd.NaT, 2], ["", "2"]),
        ([True, "x"], ["true", "x"]),
        ([Decimal("1.50"), None], ["1.50", ""]),
        ([Path("a/b.png"), 1], ["a/b.png", "1"]),
        ([np.int64(3), "x"], ["3", "x"]),
        ([np.bool_(True), "x"], ["true", "x"]),
    ],
    ids=repr,
)
@pytest.mark.parametrize("make", [list, pd.DataFrame], ids=["list", "frame"])
def test_values_of_several_kinds_become_text(make: Any, values: list[Any], cells: list[str]) -> None:
    """In a DataFrame as in a list of dicts; what pandas calls missing is an empty cell."""
    plan = callsheet.plan(make([{**ROW, "seed": at, "note": value} for at, value in enumerate(values)]))
    assert plan.planned is not None
    assert [job.cells["note"] for job in plan.planned.jobs] == cells


MONTHS = pd.PeriodIndex(["2026-11", None], freq="M")
SPANS = pd.arrays.IntervalArray.from_tuples([(0, 1), None])


@pytest.mark.parametrize(
    ("column", "cells"),
    [
        (MONTHS, ["2026-11", ""]),
        (pd.PeriodIndex(["2026-11-02", None], freq="D"), ["2026-11-02", ""]),
        (pd.Series([pd.Period("2026-11", "M"), "later"], dtype=object), ["2026-11", "later"]),
        (pd.Categorical(MONTHS), ["2026-11", ""]),
        (SPANS, ["(0.0, 1.0]", ""]),
        (pd.Categorical(SPANS), ["(0.0, 1.0]", ""]),
        (pd.Categorical(["x", None]), ["x", ""]),
        (pd.Categorical([3, 4]), ["3", "4"]),
        (pd.to_timedelta(["1 day 2:03:04.5", None]), ["1 day, 2:03:04.500000", ""]),
        (pd.to_datetime(["2026-11-02 03:04:05", None]), ["2026-11-02T03:04:05", ""]),
        (pd.array([1, None], dtype="Int64"), ["1", ""]),
        (pd.array([True, None], dtype="boolean"), ["true", ""]),
        (pd.array([1.5, None], dtype="Float64"), ["1.5", ""]),
        (pd.array(["x", None], dtype="string"), ["x", ""]),
        (pd.array([date(2026, 1, 2), None], dtype=pd.ArrowDtype(pa.date32())), ["2026-01-02", ""]),
        (pd.array([timedelta(seconds=5), None], dtype=pd.ArrowDtype(pa.duration("s"))), ["0:00:05", ""]),
    ],
    ids=lambda value: "" if isinstance(value, list) else str(value.dtype)[:30],
)
def test_a_column_of_pandas_becomes_text_as_it_is_shown(column: Any, cells: list[str]) -> None:
    """In a DataFrame, in its Arrow table where there is one, and in a list of dicts.

    A period was the number of months since 1970, and an interval was JSON.
    """
    frame = pd.DataFrame({**{name: [cell] * 2 for name, cell in ROW.items()}, "seed": [1, 2], "note": column})
    kinds = frame.dtypes
    forms: list[Any] = [frame, frame.to_dict("records")]
    with suppress(pa.ArrowInvalid):
        forms.append(pa.Table.from_pandas(frame))
    for rows in forms:
        planned = callsheet.plan(rows).planned
        assert planned is not None
        assert [job.cells["note"] for job in planned.jobs] == cells
    assert (frame.dtypes == kinds).all()


@pytest.mark.parametrize(
    "column", [pd.arrays.SparseArray([0, 3]), np.array([1j, 2j])], ids=["sparse", "complex"]
)
def test_a_column_of_pandas_that_arrow_has_not_is_refused_by_name(column: Any) -> None:
    """In one sentence."""
    frame = pd.DataFrame({**{name: [cell] * 2 for name, cell in ROW.items()}, "note": column})
    with pytest.raises(UsageError, match=r"^the rows are no table: .*column note"):
        callsheet.plan(frame)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([object(), None], "values of the kind object: Could not convert"),
        ([date(2026, 1, 1), "x"], "values of different kinds: "),
        ([np.datetime64("2026-01-01", "ns"), "x"], "values of different kinds: "),
    ],
)
def test_values_that_are_no_text_are_named_for_what_they_are(values: list[Any], said: str) -> None:
    """Pictures as objects were called "values of different kinds"."""
    with pytest.raises(UsageError, match=f"column note holds {said}"):
        callsheet.plan([{**ROW, "note": value} for value in values])


def test_the_index_of_a_frame_is_a_column_where_it_has_a_name() -> None:
    """`set_index("custom_id")` lost the ids, so that a second plan of the rows had other ones."""
    frame = pd.DataFrame([{**ROW, "custom_id": "kite-1"}])
    named = callsheet.plan(frame.set_index("custom_id")).to_pandas()
    assert list(named["custom_id"]) == ["kite-1"]
    plain = callsheet.plan(frame.set_index(pd.Index([7]))).planned
    assert plain is not None
    assert set(plain.jobs[0].cells) == {*ROW, "custom_id"}


def test_a_plan_of_many_rows_goes_whole_to_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect keeps results pickled. Its rows are in a file that is removed with the plan."""
    monkeypatch.setattr("manifests.planner.FEW_JOBS", 0)
    plan = callsheet.plan([{**ROW, "seed": at} for at in range(3)])
    frame = plan.to_pandas()
    assert plan.planned is not None
    its_hash = plan.planned.hash
    kept = pickle.dumps(plan)
    del plan
    copy = pickle.loads(kept)
    assert copy.to_pandas().equals(frame)
    assert its_hash == copy.planned.hash == pickle.loads(pickle.dumps(copy)).planned.hash


def test_paths_of_pictures_begin_in_the_working_directory(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were looked for beside the file that the rows are kept in, where no person can put them."""
    monkeypatch.chdir(temporary.parent)
    (temporary.parent / "teapot.png").write_bytes(TEAPOT.read_bytes())
    plan = callsheet.plan(
        [{**ROW, "image_url": path} for path in ("teapot.png", Path("teapot.png").absolute())]
    )
    assert (plan.errors, plan.jobs) == ((), 2)


def test_a_refusal_calls_them_rows_as_well(temporary: Path) -> None:
    """Not by the temporary file that they are kept in, which the person cannot mend."""
    with pytest.raises(UsageError, match="rows has the results of a run"):
        callsheet.plan([dict.fromkeys(RESULTS_ONLY, "x") | ROW])


def test_an_empty_table_is_called_rows(temporary: Path) -> None:
    """As in every other message about rows in memory."""
    (warning,) = callsheet.plan(pd.DataFrame()).warnings
    assert str(warning) == "rows: the manifest has no rows, so there is nothing to make"


def test_rows_of_an_iterator_are_planned(temporary: Path) -> None:
    """They were no rows at all, without a word; a number of any size is carried."""
    plan = callsheet.plan({**ROW, "note": number} for number in (1, 10**400))
    assert plan.jobs == 2


def test_a_name_that_is_too_long_for_a_file_is_refused(temporary: Path) -> None:
    """A hundred letters may have four hundred bytes."""
    with pytest.raises(UsageError, match=r"the rows cannot be kept as Parquet: .*too long"):
        callsheet.plan([ROW], campaign="\N{GRINNING FACE}" * 100)
    assert [path.name for path in temporary.iterdir()] == ["precious"]


def test_a_full_temporary_folder_is_no_mistake_in_the_rows(tmp_path: Path) -> None:
    """It is the machine's: it was an error of usage, with exit code 2 and without a word of the folder."""
    (tmp_path / "campaign.parquet").symlink_to("/dev/full")
    with pytest.raises(DiskFull, match=f"no room is left in {tmp_path}; .* TMPDIR") as full:
        written_rows([ROW], "campaign", tmp_path)
    assert full.value.exit_code == 1
