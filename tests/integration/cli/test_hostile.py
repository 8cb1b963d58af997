"""What people type, and where they send the output: no traceback, no exit code 1, nothing untrue."""

import json
import shlex
import subprocess
import sys
import unicodedata

import pytest

CLOSED = "{python} -m callsheet models >&-"
FULL = "{python} -m callsheet models > /dev/full"
CUT = "{python} -m callsheet models --json | head -c 1"
CUT_WITH_A_CODE = """
{python} -c "import sys, callsheet.cli.main as m, callsheet.cli.output as c
def app(*_, **__):
    for _ in range(5000): c.result('x' * 99)
    return 4
app.meta = app; import callsheet.cli.app; callsheet.cli.app.make_app = lambda _: app
code = m.run_command([]); sys.stderr.write(f'code {{code}}'); sys.exit(code)" | head -c 1
"""
ASCII = "PYTHONIOENCODING=ascii {python} -m callsheet plan é.csv"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("paln",), 'Did you mean "plan"?'),
        (("plan", "shots.csv", "--bugdet-usd", "3"), "--budget-usd"),
        (("plan", "shots.csv", "b", "c"), "unexpected argument 'b', 'c'"),
        (("plan",), "`callsheet plan` requires an argument, SOURCE; `callsheet plan --help` shows"),
        (("cancel",), "`callsheet cancel` requires an argument, RUN-ID;"),
        (("budget", "set", "ledger"), "`callsheet budget set` requires an argument, USD;"),
        (("plan", "shots.csv", "--budget-usd"), "parameter --budget-usd requires an argument."),
        (("run", "shots.csv", "-j", "ten"), '"ten" into int'),
        (("ledger", "statement", "--by", "moon"), '"moon" for --by'),
    ],
)
def test_a_mistyped_command_is_told_in_one_line(call, arguments, said):
    """Exit code 2; with --json the document says the same."""
    code, out, err = call(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("callsheet: ")
    assert said in err
    code, out, _ = call(*arguments, "--json")
    assert (code, json.loads(out)["exit_code"]) == (2, 2)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "the manifest has no name"),
        (".", "text.parquet is not a Parquet file"),
        ("sub", "sub is a folder without Parquet files; name the manifest in it"),
        ("/dev/null", "/dev/null is no regular file"),
        ("nowhere.csv", "there is no manifest nowhere.csv"),
        ("shots.csv/x", "there is no manifest shots.csv/x"),
        ("text.xlsx", "text.xlsx is not an XLSX workbook"),
        ("text.parquet", "text.parquet is not a Parquet file"),
        ("a\nb \u202e.csv", r"there is no manifest a"),
    ],
)
def test_what_is_no_manifest_is_named_for_what_it_is(shots, call, name, said):
    """A folder, a device and a text under a workbook's name are told apart; nothing is read into them."""
    shots.with_name("sub").mkdir()
    for text in ("text.xlsx", "text.parquet"):
        shots.with_name(text).write_text("prompt\nA boat\n")
    code, out, err = call("validate", name)
    assert (code, out) == (2, "")
    assert said in err
    assert "\u202e" not in err


@pytest.mark.parametrize(
    ("line", "code"), [(CLOSED, 0), (FULL, 1), (CUT, 0), (ASCII, 0)], ids=["closed", "full", "cut", "ascii"]
)
def test_no_output_is_a_mistake_of_ours(shots, line, code):
    """Standard output may be closed, full, cut off or ASCII only."""
    shots.rename(shots.with_name("é.csv"))
    command = line.format(python=shlex.quote(sys.executable))
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == code, done.stderr
    assert "internal error" not in done.stderr
    assert "Exception ignored" not in done.stderr


DAEMON = """{python} -c "import os, sys; from callsheet.cli import app, main
def run(*_, **__):
    opened = os.open('.', os.O_RDONLY)
    open('left', 'w').write(str([opened > 2, *map(os.get_inheritable, range(3))]))
run.meta = run; app.make_app = lambda _: run
main.main([])" <&- >&- 2>&-"""


def test_nothing_gets_the_number_of_a_closed_stream(shots):
    """With standard input closed Prefect's server took its socket for it, and did not start."""
    command = DAEMON.format(python=shlex.quote(sys.executable))
    assert subprocess.run(["/bin/sh", "-c", command], check=False, timeout=60).returncode == 0
    assert shots.with_name("left").read_text() == "[True, True, True, True]"


EVIL = [
    "<script>alert(1)</script>",
    '=HYPERLINK("http://x")',
    "\x1b]52;c;ZXZpbA==\x07\x1b[2J",
    "\x9b2J",
    "cat\u202egnp.exe\u2066\u200f",
    "zero\u200bwidth\u00ad\ufefftag\U000e0041",
    "[bold red]markup[/] :boom:",
]


@pytest.mark.parametrize("evil", EVIL)
@pytest.mark.parametrize("column", ["custom_id", "prompt", "client", "output_name", "model", "own"])
def test_what_a_manifest_says_shows_as_text(shots, call, evil, column):
    """Escape codes and direction marks of a manifest reach the terminal as text, in plans and in errors."""
    row = {"custom_id": "a", "prompt": "A fox", "model": "seedance-1.0-lite", "client": "acme", evil: "x"}
    shots.with_name("evil.jsonl").write_text(json.dumps(row | {column: evil}) + "\n")
    told = ""
    for command in (
        ("plan", "evil.jsonl", "--budget-usd", "0.0001"),
        ("plan", "evil.jsonl", "--budget-usd", "0.0001", "--fit"),
        ("plan", "evil.jsonl", "--json"),
        ("plan", "evil.jsonl", "--where", f"{evil}=x", "-n", "1"),
        ("plan", "evil.jsonl", "--where", f"{evil}{evil}=x"),
        ("validate", "evil.jsonl"),
    ):
        code, out, err = call(*command)
        assert code in (0, 2), err
        told += out + err
    assert not [each for each in set(told) - {"\n"} if unicodedata.category(each) in {"Cc", "Cf"}]


def test_a_reader_that_has_seen_enough_changes_no_exit_code():
    """Failed jobs end a run with 4 also where its output is cut off."""
    command = CUT_WITH_A_CODE.format(python=shlex.quote(sys.executable))
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == "code 4"
