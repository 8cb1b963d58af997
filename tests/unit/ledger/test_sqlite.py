import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine import make_url

from callsheet.errors import LedgerUnsafe, UsageError
from callsheet.ledger.booking import entry_hash
from callsheet.ledger.sqlite import filesystem_of, ledger_file

MOUNTS = r"""
/dev/vda / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
/dev/vdb /home/ada/fast xfs rw 0 0
//nas/my\040films /mnt/my\040films cifs rw 0 0
""".strip()


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/srv/ledger", "ext4"),
        ("/home/ada", "nfs4"),
        ("/home/ada/fast/ledger", "xfs"),  # the nearest mount counts
        ("/homework", "ext4"),  # a name that only begins alike is not inside
        ("/mnt/my films/x", "cifs"),
    ],
)
def test_the_file_system_is_that_of_the_nearest_mount(folder: str, kind: str) -> None:
    """The longest mount point that contains the folder decides."""
    assert filesystem_of(Path(folder), MOUNTS) == kind


def test_where_the_system_does_not_say_nothing_is_known() -> None:
    """Without /proc the type of the file system is unknown, which is not a network."""
    assert filesystem_of(Path("/srv"), "") == ""


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file::memory:"])
def test_a_ledger_in_memory_is_refused(url: str) -> None:
    """A ledger that forgets what was paid for is no ledger."""
    with pytest.raises(LedgerUnsafe, match="in memory"):
        ledger_file(make_url(url))


def test_options_in_the_url_are_refused(tmp_path: Path) -> None:
    """Nobody can switch safety off through the URL."""
    with pytest.raises(UsageError, match="no options"):
        ledger_file(make_url(f"sqlite:///{tmp_path}/l.sqlite?mode=memory"))


def test_a_new_ledger_is_private_whatever_the_umask(tmp_path: Path) -> None:
    """The file is made 0600 and its folder 0700."""
    before = os.umask(0)
    try:
        path = ledger_file(make_url(f"sqlite:///{tmp_path}/new/l.sqlite"))
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_file_that_others_can_read_is_refused_with_the_command_that_mends_it(tmp_path: Path) -> None:
    """Prompts and prices are nobody else's business."""
    path = tmp_path / "l.sqlite"
    path.touch(mode=0o644)
    path.chmod(0o644)
    with pytest.raises(LedgerUnsafe, match=r"chmod 600 .*l\.sqlite"):
        ledger_file(make_url(f"sqlite:///{path}"))


def test_a_folder_that_everybody_may_write_to_is_refused(tmp_path: Path) -> None:
    """Somebody else could put another ledger in its place."""
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(LedgerUnsafe, match="chmod o-w"):
        ledger_file(make_url(f"sqlite:///{folder}/l.sqlite"))


CONTENT = st.fixed_dictionaries(
    {
        "entry_id": st.integers(1, 10**9),
        "at_ms": st.integers(0, 10**13),
        "submission_id": st.integers(1, 10**9),
        "kind": st.sampled_from(["hold", "release", "settle"]),
        "amount_nano": st.integers(-(10**18), 10**18),
    }
)


@given(st.text("0123456789abcdef", max_size=64), CONTENT, st.text("0123456789abcdef", max_size=64), CONTENT)
def test_entries_that_differ_in_anything_have_different_hashes(
    head: str, content: dict[str, int], other_head: str, other: dict[str, int]
) -> None:
    """The hash covers the entry before and every part of its own content."""
    same = (head, content) == (other_head, other)
    assert (entry_hash(head, **content) == entry_hash(other_head, **other)) == same  # type: ignore[arg-type]
