from pathlib import Path
from typing import Any

import pytest

from callsheet.sandbox.file_store import FileStore
from callsheet.sandbox.routes_control import most_at_once
from callsheet.sandbox.store import LOW, NORMAL, Record, Store


def record(number: int, **more: Any) -> Record:
    """A record with its number and little else."""
    return Record(f"id-{number}", "fal-ai/bytedance/x", {"prompt": "é"}, "http://h", 1.5, 7, number, **more)


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    """A record that was saved is read back equal, in the order of acceptance, its last version only."""
    state = Store(tmp_path)
    first, second = record(1, priority=LOW), record(2)
    for each in (second, first):
        state.save(each)
    second.units, second.cost_nano = "19.845", 35_721_000
    state.save(second)
    state.close()
    again = Store(tmp_path)
    assert again.records() == [first, second]
    again.close()


def test_a_request_that_an_earlier_version_kept_has_no_fault_in_text(tmp_path: Path) -> None:
    """Its fault was a text, empty for none; a request that waits over the upgrade is then rendered."""
    store = Store(tmp_path)
    store.save(record(1, fault=""))
    store.save(record(2, fault={"kind": "units", "text": "x"}))
    assert [each.fault for each in store.records()] == [{}, {"kind": "units", "text": "x"}]
    store.close()


def test_files_are_found_by_their_public_name_alone(tmp_path: Path) -> None:
    """An upload gets an unguessable name, keeps its ending, and no path leads out of the table of files."""
    store = Store(tmp_path)
    files = FileStore(store)
    name = files.reserve("../../my kite.png", "image/png")
    files.put(name, b"pixels")
    found = files.file(name)
    assert found is not None
    assert (found.path.read_bytes(), found.content_type) == (b"pixels", "image/png")
    assert name.endswith("_my_kite.png")
    assert files.file("../sandbox.sqlite") is None
    assert files.reserve("", "image/png").endswith(".png")
    store.close()


def test_a_reserved_file_exists_once_it_was_put(tmp_path: Path) -> None:
    """A reserved name is not found until its bytes came; a name nobody gave out is not written."""
    store = Store(tmp_path)
    files = FileStore(store)
    name = files.reserve("a.png", "image/png")
    assert files.file(name) is None
    assert files.put(name, b"1")
    assert files.file(name) is not None
    assert not files.put("upload/made-up.png", b"1")
    store.close()


@pytest.mark.parametrize(
    ("spans", "most"),
    [
        ([], 0),
        ([(1, 2), (2, 3)], 1),
        ([(1, 4), (2, 3), (2, None)], 3),
        ([(1, None), (5, None)], 2),
    ],
)
def test_the_oracle_counts_what_overlaps(spans: list[tuple[float | None, float | None]], most: int) -> None:
    """Spans that touch do not overlap; an open end lasts for ever."""
    assert most_at_once(spans) == most


def test_low_priority_waits_behind_normal() -> None:
    """The queue is sorted by priority, then by arrival."""
    waiting = [record(1, priority=LOW), record(2), record(3, priority=LOW), record(4, priority=NORMAL)]
    assert [each.number for each in sorted(waiting, key=lambda each: each.place)] == [2, 4, 1, 3]
