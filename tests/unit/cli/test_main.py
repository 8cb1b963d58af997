"""Errors that are no bug: a full disk and too little memory, each reported as what it is."""

import errno
import json
import os
import shutil
import tempfile
from types import SimpleNamespace

import pytest

from callsheet.cli import app, main

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def ended_by(error: BaseException, monkeypatch, capsys) -> tuple[int, str]:
    """The exit code and the message of a command that raises this."""

    def raises(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(app, "make_app", lambda _arguments: SimpleNamespace(meta=raises))
    return main.run_command(["plan"]), capsys.readouterr().err


def caused(error: Exception, cause: BaseException) -> Exception:
    """An error that was raised from another."""
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        ImportError("libarrow.so: failed to map segment from shared object"),
        RuntimeError("can't start new thread"),
        caused(RuntimeError("no result"), MemoryError()),
    ],
    ids=repr,
)
def test_a_memory_limit_is_not_an_internal_error(monkeypatch, capsys, error):
    """The message names memory, what to raise, and that nothing is lost."""
    code, err = ended_by(error, monkeypatch, capsys)
    assert code == 1
    assert "not enough memory" in err
    assert "ulimit -v" in err
    assert "internal error" not in err


@pytest.mark.parametrize(
    "error",
    [RuntimeError("no event loop"), ImportError("no module x"), OSError(errno.EACCES, "no")],
    ids=repr,
)
def test_any_other_error_is_an_internal_one(monkeypatch, capsys, error, tmp_path):
    """It is named with the file that holds its traceback."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code, err = ended_by(error, monkeypatch, capsys)
    assert code == 1
    assert f"internal error: {type(error).__name__}" in err
    (log,) = tmp_path.glob("callsheet-*.log")
    assert str(log) in err


def test_a_full_disk_is_named_by_its_file(monkeypatch, capsys):
    """Where the error says which."""
    code, err = ended_by(OSError(errno.ENOSPC, "full", "/data/plan.json"), monkeypatch, capsys)
    assert (code, "no space left for /data/plan.json" in err) == (1, True)


def test_a_full_temporary_folder_is_not_taken_for_the_output(monkeypatch, capsys, tmp_path):
    """It is named with the variable that names another, and standard output stays."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: SimpleNamespace(free=4096))
    monkeypatch.setattr(main, "discard_output", lambda: pytest.fail("standard output was given up"))
    code, err = ended_by(FULL, monkeypatch, capsys)
    assert code == 1
    assert f"in the temporary folder {tmp_path} (TMPDIR names another)" in err


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("no event loop"), "internal error: RuntimeError: no event loop"),
        (OSError(errno.ENOSPC, "full", "/data/plan.json"), "no space left for /data/plan.json"),
        (MemoryError(), "not enough memory"),
    ],
    ids=repr,
)
def test_with_json_these_errors_are_documents_too(monkeypatch, capsys, tmp_path, error, words):
    """A script reads standard output, whatever ended the command."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("CALLSHEET_JSON", "true")

    def raises(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(app, "make_app", lambda _arguments: SimpleNamespace(meta=raises))
    assert main.run_command(["plan"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["error"].startswith(words)
    assert (told["exit_code"], told["errors"]) == (1, [])


def test_an_internal_error_is_reported_where_no_file_can_be_written(monkeypatch, capsys, tmp_path):
    """A full temporary folder does not hide the error behind another one."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    code, err = ended_by(ZeroDivisionError("x"), monkeypatch, capsys)
    assert code == 1
    assert "internal error: ZeroDivisionError" in err
    assert "The traceback could not be written: No such file or directory" in err
