"""Decoding in workers: the same answers as here, and no file ends the process that asks."""

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from callsheet.errors import MediaError, Unavailable
from callsheet.media.codes import worth_another_read
from callsheet.media.decoders import WORKERS, Decoders, decode_here
from callsheet.media.download import collect
from callsheet.media.expect import Decoded, Expectation, LookOrder
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
    workers = Decoders()
    try:
        assert workers(video, LOOK) == decode_here(video, LOOK)
        with pytest.raises(MediaError) as there:
            workers(tmp_path / "bad.mp4", None)
        with pytest.raises(MediaError) as here:
            decode_here(tmp_path / "bad.mp4", None)
        assert (str(there.value), there.value.reason) == (str(here.value), here.value.reason)
    finally:
        workers.close()


def test_an_idle_worker_that_dies_costs_nothing(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next file is decoded by another one."""
    for name in ("FAL_KEY", "AWS_SECRET_ACCESS_KEY", "TEAM_CHAT", "PGPASSWORD"):
        monkeypatch.setenv(name, "a-secret")
    workers = Decoders()
    try:
        workers(video, LOOK)
        (pid,) = decoders_of(os.getpid())
        assert "a-secret" not in Path(f"/proc/{pid}/environ").read_text()
        send_signal(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert workers(video, LOOK) == decode_here(video, LOOK)
    finally:
        workers.close()
    assert decoders_of(os.getpid()) == []


def test_a_worker_that_hangs_is_ended(tmp_path: Path) -> None:
    """A file that never ends to be read is one failed attempt, and its worker is gone."""
    os.mkfifo(tmp_path / "endless.mp4")
    workers = Decoders(longest_s=3)
    try:
        with pytest.raises(Unavailable, match="the process that decoded endless"):
            workers(tmp_path / "endless.mp4", None)
        assert decoders_of(os.getpid()) == []
    finally:
        workers.close()


CRASHING = """\
import os, signal, sys
from callsheet.media import decoders
decode = decoders.decode_here
def crash(path, look):
    if path.name == "crash.mp4":
        os.kill(os.getpid(), signal.SIGSEGV)
    return decode(path, look)
decoders.decode_here = crash
decoders.main()
"""
"""A worker that one file crashes, as a fault in libavcodec would."""


@pytest.fixture
def crashing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let workers crash at `crash.mp4`."""
    program = tmp_path / "python"
    (tmp_path / "crashing.py").write_text(CRASHING)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P "{tmp_path}/crashing.py"\n')
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))


@pytest.mark.usefixtures("crashing")
def test_a_file_that_crashes_the_decoder_does_not_decode(video: Path, tmp_path: Path) -> None:
    """The first file of a process already: the others go on."""
    (tmp_path / "crash.mp4").write_bytes(video.read_bytes())
    workers = Decoders()
    try:
        with pytest.raises(MediaError, match=r"crashed the decoder \(SIGSEGV\)") as crashed:
            workers(tmp_path / "crash.mp4", LOOK)
        assert crashed.value.reason == "undecodable"
        assert workers(video, LOOK) == decode_here(video, LOOK)
    finally:
        workers.close()


@pytest.mark.anyio
@pytest.mark.usefixtures("crashing")
async def test_a_file_that_crashes_the_decoder_is_kept(clip: bytes, tmp_path: Path) -> None:
    """It is paid for: it lies in `rejected`, and its error says so and that another read may help."""
    workers = Decoders()

    @asynccontextmanager
    async def source() -> AsyncIterator[tuple[dict[str, str], AsyncIterator[bytes]]]:
        async def body() -> AsyncIterator[bytes]:
            yield clip

        yield {}, body()

    def decode(path: Path, look: LookOrder | None) -> Decoded:
        named = tmp_path / "crash.mp4"
        named.write_bytes(path.read_bytes())
        return workers(named, look)

    expectation = Expectation(sizes=((1, 1),), fps=24, frames_min=1, frames_max=1)
    try:
        with pytest.raises(MediaError, match=r"the file is kept as rejected/a\.[0-9a-f]{12}\.mp4") as crashed:
            await collect(
                source,
                tmp_path / "media" / "a.mp4",
                expectation,
                rejected=tmp_path / "rejected",
                decode=decode,
            )
    finally:
        workers.close()
    assert worth_another_read(crashed.value.reason)
    (kept,) = (tmp_path / "rejected").iterdir()
    assert kept.read_bytes() == clip
    assert list((tmp_path / "media").iterdir()) == []


def test_a_machine_that_starts_no_worker_costs_one_attempt(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no full disk, and no reason to stop buying."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(Unavailable, match="no process could be started to decode videos"):
        Decoders()(video, LOOK)
    Decoders().prepare()


def test_prepared_workers_decode_and_are_ended(video: Path) -> None:
    """One for each render that begins, and no more than are of use; the first file finds one running."""
    workers = Decoders()
    try:
        workers.prepare()
        assert len(decoders_of(os.getpid())) == 1
        for _ in range(WORKERS):
            workers.prepare()
        prepared = decoders_of(os.getpid())
        assert len(prepared) == WORKERS
        assert workers(video, LOOK) == decode_here(video, LOOK)
        assert decoders_of(os.getpid()) == prepared
    finally:
        workers.close()
    assert decoders_of(os.getpid()) == []
