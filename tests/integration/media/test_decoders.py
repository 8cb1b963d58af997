"""Decoding in workers: the same answers as here, and a worker that dies is one failed attempt."""

import os
import signal
import sys
from pathlib import Path

import pytest

from callsheet.errors import MediaError, Unavailable
from callsheet.media.decoders import Decoders, decode_here
from callsheet.media.expect import LookOrder
from manifests.look import LookRules
from tests.procfs import children, command_line, send_signal

LOOK = LookOrder(rules=LookRules(), sound=True)


@pytest.fixture
def video(clip: bytes, tmp_path: Path) -> Path:
    """A good file."""
    path = tmp_path / "good.mp4"
    path.write_bytes(clip)
    return path


def decoders_of(pid: int) -> list[int]:
    """Return the decoding workers of a process."""
    return [child for child in children(pid) if "callsheet.media.decoders" in command_line(child)]


def test_a_worker_says_what_this_process_would_say(video: Path, tmp_path: Path) -> None:
    """Facts and pictures of a good file, the reason of a bad one, from a process without a key."""
    (tmp_path / "bad.mp4").write_bytes(video.read_bytes()[:-1000])
    workers = Decoders(decoded_here=0)
    try:
        assert workers(video, LOOK) == decode_here(video, LOOK)
        with pytest.raises(MediaError) as there:
            workers(tmp_path / "bad.mp4", None)
        with pytest.raises(MediaError) as here:
            decode_here(tmp_path / "bad.mp4", None)
        assert (str(there.value), there.value.reason) == (str(here.value), here.value.reason)
    finally:
        workers.close()


def test_a_worker_that_dies_costs_one_attempt(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unavailable, so that the file is fetched again; the next one is decoded by another worker."""
    for name in ("FAL_KEY", "AWS_SECRET_ACCESS_KEY", "TEAM_CHAT", "PGPASSWORD"):
        monkeypatch.setenv(name, "a-secret")
    workers = Decoders(decoded_here=0)
    try:
        workers(video, LOOK)
        (pid,) = decoders_of(os.getpid())
        assert "a-secret" not in Path(f"/proc/{pid}/environ").read_text()
        send_signal(pid, signal.SIGKILL)
        with pytest.raises(Unavailable, match="the process that decoded"):
            workers(video, LOOK)
        assert workers(video, LOOK) == decode_here(video, LOOK)
    finally:
        workers.close()
    assert decoders_of(os.getpid()) == []


def test_a_machine_that_starts_no_worker_costs_one_attempt(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no full disk, and no reason to stop buying."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(Unavailable, match="no process could be started to decode good"):
        Decoders(decoded_here=0)(video, LOOK)
