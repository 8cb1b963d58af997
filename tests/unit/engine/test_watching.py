"""When a watched manifest is run."""

import os

import pytest

from callsheet.engine.watching import Watched, fingerprint_of, look
from callsheet.errors import UsageError


def test_a_change_is_run_once_and_only_when_two_looks_saw_the_same():
    """A file that is still being written is waited for; an empty folder starts nothing."""
    seen, started = Watched(), []
    for now in ["", "a", "a", "a", "b", "c", "c", "", "c", "c", "d", "d"]:
        seen, is_due = look(seen, now)
        started += [now] * is_due
    assert started == ["a", "c", "d"]


def test_names_sizes_times_and_the_campaign_file_tell_a_change(tmp_path):
    """What is read from a folder; what does not belong to the manifest changes nothing."""
    folder = tmp_path / "shots"
    folder.mkdir()
    source = tmp_path / "c.toml"
    source.write_text('[campaign]\nname = "c"\nmanifest = "shots/*.csv"\n')
    assert fingerprint_of(str(source)) == ""
    first = folder / "a.csv"
    first.write_text("prompt\na\n")
    prints = [fingerprint_of(str(source))]
    (folder / "notes.txt").write_text("nothing to do with it")
    assert fingerprint_of(str(source)) == prints[0]
    first.write_text("prompt\nab\n")
    prints.append(fingerprint_of(str(source)))
    os.utime(first, ns=(1, 1))
    prints.append(fingerprint_of(str(source)))
    (folder / "b.csv").write_text("prompt\nb\n")
    prints.append(fingerprint_of(str(source)))
    source.write_text(source.read_text() + "[budget]\ntotal_usd = 5\n")
    prints.append(fingerprint_of(str(source)))
    assert len(set(prints)) == 5


def test_a_web_address_cannot_be_watched():
    """It has no list of files; the message says what can be."""
    with pytest.raises(UsageError, match="only a folder, a file or a prefix"):
        fingerprint_of("https://example.com/shots.csv")
