"""The entry point: run one command and turn every error into a message and an exit code."""

from __future__ import annotations

import errno
import io
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TextIO

from cyclopts import CycloptsError, MissingArgumentError, UnusedCliTokensError

from callsheet.cli import app
from callsheet.cli.output import discard_output, document, flush, say
from callsheet.cli.views.problems import show_problems
from callsheet.errors import CallsheetError, ManifestError, UsageError
from callsheet.files import FULL, full_folder, temporary_folder
from callsheet.guard import check_packages_are_ours
from callsheet.wording import command

INTERNAL_ERROR = 1
INTERRUPTED = 130

_YES = frozenset({"1", "t", "true", "y", "yes"})
"""What cyclopts reads as true."""

_NO_MEMORY = ("can't start new thread", "cannot allocate memory", "failed to map segment", "out of memory")
"""How Python, the C library, the dynamic linker and SQLite report a memory limit, besides MemoryError."""


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit with a code of docs/cli.md."""
    _repair_streams()
    code = run_command(sys.argv[1:] if arguments is None else arguments)
    sys.exit(code)


def _repair_streams() -> None:
    """Accept closed standard streams, and a terminal that knows ASCII only."""
    # A socket or a video that got the number of a closed one would be taken for it, also by other programs.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    # Python sets a stream that was closed before the start to None.
    sys.stdout = sys.stdout or _devnull()
    sys.stderr = sys.stderr or _devnull()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _devnull() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")


def run_command(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    try:
        check_packages_are_ours()
        run = app.make_app(arguments).meta
        code = run(arguments, result_action="return_value", exit_on_error=False, print_error=False)
        flush()
    except CallsheetError as error:
        _explain(error, as_json=_wants_json(arguments))
        return error.exit_code
    except KeyboardInterrupt:
        say("Interrupted.")
        return INTERRUPTED
    except BrokenPipeError:  # write_csv prints piece by piece, and the reader has closed the pipe
        discard_output()
        return 0
    except Exception as error:  # noqa: BLE001 -- the last place that can report anything
        return _end_by(error, arguments)
    return code if isinstance(code, int) else 0


def _wants_json(arguments: list[str]) -> bool:
    """Say whether a JSON document is expected, also of a command whose options could not be read."""
    return "--json" in arguments or os.environ.get("CALLSHEET_JSON", "").lower() in _YES


def _end_by(error: Exception, arguments: list[str]) -> int:
    """Report a bad option, a full disk, a memory limit or an internal error; return the exit code."""
    as_json = _wants_json(arguments)
    resume = command("resume", sandbox="--sandbox" in arguments)
    if isinstance(error, OSError) and error.errno in FULL:
        said = f"no space left {_full_place(error)}; free some space and run the command again"
    elif _is_out_of_memory(error):
        said = (
            f"not enough memory ({type(error).__name__}). Raise the limit (`ulimit -v`, or the "
            f"container's) or use a larger machine. Nothing is lost: `{resume}` continues a run"
        )
    elif (bad_option := _as_usage_error(error)) is not None:
        _explain(bad_option, as_json=as_json)
        return bad_option.exit_code
    else:
        said = _of_internal_error(error, resume)
    say(f"callsheet: {said}")
    if as_json:
        document({"error": said, "exit_code": INTERNAL_ERROR, "errors": []})
        flush()
    return INTERNAL_ERROR


def _full_place(error: OSError) -> str:
    """Say where there is no space. An error without a file name is the temporary folder's or the output's."""
    if error.filename is not None:
        return f"for {error.filename}"
    if (folder := full_folder(temporary_folder())) is not None:
        return f"in the temporary folder {folder} (TMPDIR names another)"
    discard_output()
    return "where standard output goes"


def _is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error, or one that it was raised from, is due to a memory limit."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError) or getattr(cause, "errno", None) == errno.ENOMEM:
            return True
        if isinstance(cause, ImportError | RuntimeError) and any(
            words in str(cause).lower() for words in _NO_MEMORY
        ):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _as_usage_error(error: Exception) -> UsageError | None:
    """Turn the parser's error, or a refused value, into a UsageError; None for an internal error."""
    if isinstance(error, UnusedCliTokensError):
        words = ", ".join(map(repr, error.unused_tokens or ()))
        return UsageError(f"unexpected argument {words}; `--help` after the command shows what it takes")
    if isinstance(error, MissingArgumentError) and (missing := _missing_argument(error)):
        return UsageError(missing)
    if isinstance(error, CycloptsError):
        return UsageError(" ".join(str(error).split()))
    if type(error).__name__ != "ValidationError" or getattr(error, "title", "") != "RunRequest":
        return None
    first = error.errors()[0]  # type: ignore[attr-defined]
    option, said = "--" + str(first["loc"][0]).replace("_", "-"), first["msg"].removeprefix("Value error, ")
    return UsageError(f"{option}: found {first['input']}: {said[:1].lower()}{said[1:]}")


def _missing_argument(error: MissingArgumentError) -> str:
    """Name a missing argument as it is typed, without dashes; "" for an option that lacks its value."""
    argument = error.argument
    if (
        error.keyword is not None
        or argument is None
        or argument.tokens
        or not argument.field_info.is_positional
    ):
        return ""
    typed = command(*(error.command_chain or ()), sandbox=False)
    name = argument.name.removeprefix("--").upper()
    return f"`{typed}` requires an argument, {name}; `{typed} --help` shows an example"


def _explain(error: CallsheetError, *, as_json: bool) -> None:
    say(f"callsheet: {error}")
    problems = error.problems if isinstance(error, ManifestError) else []
    if not show_problems(problems):
        say("  `callsheet validate` writes the full list to a file")
    if as_json:
        errors = [
            {"row": each.row, "column": each.column, "found": each.found, "message": each.message}
            for each in problems
        ]
        document({"error": str(error), "exit_code": error.exit_code, "errors": errors})


def _of_internal_error(error: Exception, resume: str) -> str:
    """Describe an internal error. The traceback, without the values of variables, goes to a file."""
    try:
        with tempfile.NamedTemporaryFile("w", prefix="callsheet-", suffix=".log", delete=False) as log:
            traceback.print_exception(error, file=log)
        where = f"The traceback is in {log.name}; please report it"
    except OSError as reason:
        where = f"The traceback could not be written: {reason.strerror}"
    return (
        f"internal error: {type(error).__name__}: {str(error)[:300]}\n"
        f"  Purchases are recorded in the ledger; `{resume}` continues a run. {where}"
    )
