"""Files that are either whole or not there, and the parts that a dead writer leaves."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from callsheet import files
from callsheet.files import atomically, part_file, sweep_parts, write_atomically, write_text_atomically


def names_in(folder: Path) -> list[str]:
    """List a folder."""
    return sorted(path.name for path in folder.iterdir())


def without_room(path):
    """Write half a file on a full disk."""
    with atomically(path) as part:
        part.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")


def given_up(path):
    """Clear away what could not be finished, as Arrow does, and say why."""
    with atomically(path) as part:
        part.unlink()
        raise ValueError("no such schema")


@pytest.mark.parametrize(("write", "error"), [(without_room, OSError), (given_up, ValueError)])
def test_a_failed_write_keeps_the_old_file(tmp_path, write, error):
    """Whatever happens while writing, a reader finds the old file whole and nothing beside it."""
    path = tmp_path / "summary.json"
    write_text_atomically(path, "old")
    with pytest.raises(error, match=r"No space|no such schema"):
        write(path)
    assert path.read_text("utf-8") == "old"
    assert names_in(tmp_path) == ["summary.json"]


@pytest.mark.parametrize(
    ("mode", "mask", "found"), [(0o666, 0o022, 0o644), (0o666, 0o002, 0o664), (0o600, 0, 0o600)]
)
def test_who_may_read_is_the_masks_to_say(tmp_path, mode, mask, found):
    """A plan is for the whole team where the team's mask says so; an address with a key is not."""
    usual = os.umask(mask)
    try:
        write_atomically(tmp_path / "plan.json", b"{}", mode=mode)
    finally:
        os.umask(usual)
    assert (tmp_path / "plan.json").stat().st_mode & 0o777 == found


def test_names_as_long_as_the_file_system_allows(tmp_path):
    """The temporary name is no longer than the final one may be."""
    path = tmp_path / ("\u00fc" * 125 + ".json")
    write_atomically(path, b"{}")
    assert path.read_bytes() == b"{}"


def test_a_sweep_takes_only_what_the_dead_left(tmp_path):
    """Part files without a living owner go, in folders below too; the one being written stays."""
    (tmp_path / "acme").mkdir()
    for name in (".a.mp4.0011.part", "acme/.b.mp4.2233.part", "c.part", "d.mp4"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / ".link.part").symlink_to(tmp_path / "d.mp4")
    with part_file(tmp_path / "e.mp4") as living:
        assert sweep_parts(tmp_path) == 2
        assert living.path.exists()
    assert names_in(tmp_path) == [".link.part", "acme", "c.part", "d.mp4"]
    assert names_in(tmp_path / "acme") == []
    assert sweep_parts(tmp_path / "nowhere") == 0


KILLED = """
import os, pathlib, signal, sys
from callsheet.files import atomically

with atomically(pathlib.Path(sys.argv[1])) as part:
    part.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_writer_leaves_is_swept(tmp_path):
    """A run that goes on in that folder takes it away, whatever the file was to be."""
    path = tmp_path / "report.html"
    path.write_bytes(b"old")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert len(names_in(tmp_path)) == 2
    assert sweep_parts(tmp_path) == 1
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_written_to_and_never_swept(tmp_path, monkeypatch, code):
    """It is not known whether the writer of a part file lives; it may be a video that is being fetched."""

    def no_locks(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with part_file(tmp_path / "a.mp4") as part:
        part.write(b"x")
        assert sweep_parts(tmp_path) == 0
        assert part.path.exists()
    write_atomically(tmp_path / "plan.json", b"{}")
    assert names_in(tmp_path) == ["plan.json"]


def test_the_full_folder_is_named_and_a_wrong_one_is_not(monkeypatch, tmp_path):
    """SQLite has one error for two disks: the one with space left is not the one to clear."""
    ledger, temporary = tmp_path / "ledger", tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    full = {temporary}
    monkeypatch.setattr(files, "free_bytes", lambda folder: 0 if folder in full else 2**30)
    assert files.full_folder(ledger, files.temporary_folder()) == temporary
    full = {ledger}
    assert files.full_folder(ledger, files.temporary_folder()) == ledger
    full = set()
    assert files.full_folder(ledger, files.temporary_folder()) is None


FORKED = """
import os, sys
from callsheet.files import TemporaryFolder
folder = TemporaryFolder()
child = os.fork()
if not child:
    sys.exit()
os.waitpid(child, 0)
assert folder.path.is_dir(), "the child has removed it"
path = folder.path
del folder
assert not path.exists()
"""


def test_a_temporary_folder_is_removed_by_the_process_that_made_it() -> None:
    """A child ended, and the rows of its parent's plan were gone."""
    assert subprocess.run([sys.executable, "-c", FORKED], check=False, timeout=60).returncode == 0
