"""The helper that finds and signals other processes."""

import ast
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.procfs import (
    NoSuchProcess,
    child_with,
    children,
    command_line,
    kill_with_descendants,
    parent,
    send_signal,
)

WAITS = "import sys; print(flush=True); sys.stdin.read()"


@pytest.fixture
def child(tmp_path):
    """A child whose command line is longer than any terminal is wide."""
    word = "x" * 200 + " (with brackets) and spaces"
    process = subprocess.Popen(
        [sys.executable, "-c", WAITS, word], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    process.stdout.readline()
    yield process, word
    process.communicate()


def test_a_child_is_found_by_a_word_at_the_end_of_a_long_line(child, monkeypatch):
    """Whatever COLUMNS says, and whatever the line holds."""
    monkeypatch.setenv("COLUMNS", "20")
    process, word = child
    assert command_line(process.pid)[-1] == word
    assert child_with(os.getpid(), word) == process.pid
    assert parent(process.pid) == os.getpid()
    assert process.pid in children(os.getpid())


def test_a_process_that_is_not_there_is_an_error_and_no_number(child):
    """The result is never a 0, which could be given to kill."""
    process, word = child
    with pytest.raises(NoSuchProcess):
        child_with(os.getpid(), word, "and another word")
    process.communicate()
    with pytest.raises(NoSuchProcess):
        command_line(process.pid)
    with pytest.raises(NoSuchProcess):
        child_with(os.getpid(), word)


@pytest.mark.parametrize("pid", [lambda: 0, lambda: 1, lambda: -1, os.getpid, os.getppid])
def test_no_group_and_not_this_process_is_signalled(pid):
    """`os.kill(0, SIGKILL)` would end pytest without a word."""
    with pytest.raises(ValueError, match="no process that a test may signal"):
        send_signal(pid(), signal.SIGTERM)


def test_a_child_is_signalled(child):
    """The one that was found ends by that signal."""
    process, word = child
    send_signal(child_with(os.getpid(), word), signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


STARTS_ANOTHER = f"""
import subprocess, sys
started = subprocess.Popen([sys.executable, "-c", {WAITS!r}], stdin=subprocess.PIPE, start_new_session=True)
started.wait()
"""


def test_a_process_is_killed_with_what_it_started_in_another_session():
    """As a Prefect worker starts its flow runs: they are not in its group."""
    command = [sys.executable, "-c", STARTS_ANOTHER]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        kill_with_descendants(process.pid)
        assert process.stdout.read() == b""  # none of the two has the other end any more
        assert process.wait() == -signal.SIGKILL


TESTS = Path(__file__).parents[1]


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Every call by its dotted name, e.g. `os.kill`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize("path", sorted(TESTS.rglob("*.py")), ids=lambda path: str(path.relative_to(TESTS)))
def test_no_test_signals_a_pid_that_it_did_not_start_or_find(path):
    """`os.kill` takes this process's own pid or that of an object; others go through `send_signal`."""
    if path.name == "procfs.py":
        return
    for name, call in calls(ast.parse(path.read_text("utf-8"))):
        if name in {"os.kill", "os.killpg"}:
            target = ast.unparse(call.args[0])
            assert target == "os.getpid()" or target.endswith(".pid"), f"line {call.lineno}: {target}"
        if name.startswith("subprocess.") and call.args:
            command = ast.unparse(call.args[0])
            assert not command.startswith(("['ps'", "['pgrep'", "['pkill'", "['killall'")), command
