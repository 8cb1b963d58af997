"""Expiry that happens: results and files are gone when fal's would be."""

import pytest

from callsheet.sandbox.file_store import FileStore, Lifecycle
from callsheet.sandbox.store import Record, Store

HOUR, DAY = 3600.0, 86_400.0


def record(*, keep: bool, size: int) -> Record:
    """A finished request with a result of about `size` bytes."""
    made = Record("id", "fal-ai/bytedance/x", {}, "http://h", 0.0, 7, keep_payloads=keep, completed_at=0.0)
    made.result = {"text": "x" * size}
    return made


@pytest.mark.parametrize(
    ("keep", "size", "kept_s"), [(True, 20_000, 30 * DAY), (False, 100, HOUR), (False, 20_000, 360.0)]
)
def test_results_are_kept_as_long_as_fal_keeps_them(keep: bool, size: int, kept_s: float) -> None:
    """30 days with stored payloads; without, an hour, and six minutes from 10 kB."""
    assert not record(keep=keep, size=size).is_gone(kept_s)
    assert record(keep=keep, size=size).is_gone(kept_s + 1)


def test_a_file_is_deleted_when_it_expires(tmp_path) -> None:
    """A file with a lifecycle is gone after it, from the disk too; the account's setting is the default."""
    now = [0.0]
    store = Store(tmp_path)
    files = FileStore(store, lambda: now[0])
    short = files.reserve("a.png", "image/png", Lifecycle(expiration_duration_seconds=60))
    files.put(short, b"1")
    path = files.file(short).path
    files.account = Lifecycle(expiration_duration_seconds=3600)
    usual = files.reserve("b.png", "image/png")
    files.put(usual, b"2")
    now[0] = 59.0
    assert files.read(short) == b"1"
    now[0] = 60.0
    assert files.read(short) is None
    assert not path.exists()
    assert files.read(usual) == b"2"
    now[0] = 3600.0
    assert files.file(usual) is None
    store.close()


def test_parts_make_a_file_if_they_are_those_that_came(tmp_path) -> None:
    """Parts are joined by their numbers; a missing part or another ETag leaves nothing."""
    store = Store(tmp_path)
    files = FileStore(store)
    name = files.reserve("a.mp4", "video/mp4")
    etags = {number: files.put_part(name, "id", number, bytes([number]) * 3) for number in (2, 1)}
    assert not files.join_parts(name, "id", [(1, str(etags[1])), (3, "x")])
    assert not files.join_parts(name, "id", [(1, str(etags[2])), (2, str(etags[1]))])
    assert not files.join_parts(name, "id", [])
    assert files.file(name) is None
    assert files.join_parts(name, "id", [(2, str(etags[2])), (1, str(etags[1]))])
    assert files.read(name) == b"\1\1\1\2\2\2"
    assert files.put_part("upload/made-up.mp4", "id", 1, b"x") is None
    store.close()


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "5",
        '{"expiration_duration_seconds": 0}',
        '{"expiration_duration_seconds": "1h"}',
        '{"initial_acl": {"default": "all"}}',
        '{"other": 1}',
    ],
)
def test_a_lifecycle_that_is_none_is_refused(text: str) -> None:
    """What is no lifecycle raises instead of meaning for ever."""
    with pytest.raises(ValueError, match="validation error"):
        Lifecycle.of_header(text)
