"""Other processes, read from /proc: whole command lines, whatever COLUMNS says, and never a pid of 0.

`ps` cuts its lines at the width that it believes a terminal has, and a pid of 0, 1 or below means a whole
group of processes to `os.kill`: pytest itself among them.
"""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")


class NoSuchProcess(LookupError):
    """No process fits the description."""


def command_line(pid: int) -> list[str]:
    """Return the arguments of a process. Raises NoSuchProcess where it is gone."""
    try:
        text = (PROC / str(pid) / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        raise NoSuchProcess(f"process {pid} is gone") from None
    return os.fsdecode(text).split("\0")[:-1]


def environment(pid: int) -> dict[str, str]:
    """Return the environment of a process that has just been started: for a moment /proc shows none."""
    while True:
        text = (PROC / str(pid) / "environ").read_text()
        if text:
            return dict(each.partition("=")[::2] for each in text.split("\0"))
        time.sleep(0.01)


def parent(pid: int) -> int:
    """Return the parent's pid. Raises NoSuchProcess where the process is gone."""
    try:
        stat = (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        raise NoSuchProcess(f"process {pid} is gone") from None
    # The second field is the program's name in brackets, which may hold spaces and brackets itself.
    return int(stat.rpartition(")")[2].split()[1])


def processor_s(pid: int) -> float:
    """Return the processor time of a process and of the children that it has waited for, in seconds."""
    fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    """Return the pids of the direct children, zombies too."""
    found = []
    for entry in PROC.iterdir():
        if entry.name.isdecimal():
            try:
                if parent(int(entry.name)) == pid:
                    found.append(int(entry.name))
            except NoSuchProcess:
                continue
    return sorted(found)


def child_with(pid: int, *words: str) -> int:
    """Return the one direct child whose command line holds every one of `words`.

    Raises NoSuchProcess where there is none, and AssertionError where there are several.
    """
    found = []
    for child in children(pid):
        try:
            line = " ".join(command_line(child))
        except NoSuchProcess:
            continue
        if all(word in line for word in words):
            found.append(child)
    if not found:
        raise NoSuchProcess(f"process {pid} has no child with {' '.join(words)!r}")
    assert len(found) == 1, f"{len(found)} children of {pid} have {words}: {found}"
    return found[0]


def wait_for_child(pid: int, *words: str, at_most_s: float = 60.0) -> int:
    """Return that child as soon as there is one. Raises NoSuchProcess after `at_most_s` seconds."""
    end_s = time.monotonic() + at_most_s
    while True:
        try:
            return child_with(pid, *words)
        except NoSuchProcess:
            if time.monotonic() > end_s:
                raise
            time.sleep(0.02)


def send_signal(pid: int, number: int) -> None:
    """Send a signal to one process. Raises ValueError for what would reach a group or this process.

    Raises ProcessLookupError where it is gone.
    """
    if pid <= 1 or pid in {os.getpid(), os.getppid()}:
        raise ValueError(f"{pid} is no process that a test may signal")
    os.kill(pid, number)


def kill_with_descendants(pid: int) -> None:
    """Kill a process and all that it has started, in whatever session: a Prefect worker isolates its runs."""
    with suppress(ProcessLookupError):
        send_signal(pid, signal.SIGSTOP)  # it starts nothing more
    started = children(pid)
    with suppress(ProcessLookupError):
        send_signal(pid, signal.SIGKILL)
    for each in started:
        kill_with_descendants(each)
