"""Input that cannot be used: one clear sentence, exit code 2, and nothing written anywhere."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from callsheet.cli.main import run_command
from tests.rig.workbooks import shared_texts, sheet_xml, workbook

CAMPAIGN = '[campaign]\nname = "spring"\nmanifest = "shots.csv"\n'
SHOTS = "prompt,model\nA fox,seedance-1.0-lite\n"


def _workbook(sheet: bytes, shared: bytes = b"") -> bytes:
    """Return an archive that looks like a workbook with that one sheet and those shared texts."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("xl/sharedStrings.xml", shared)
        archive.writestr("xl/worksheets/sheet1.xml", sheet)
    return packed.getvalue()


CASES = {
    "a template column that does not exist": (
        CAMPAIGN + '[template]\nprompt = "{product} on {colour}"\n',
        SHOTS.replace("prompt", "product"),
        ["line 5", "template.prompt", "{colour}", "has this column"],
    ),
    "a matrix past a million jobs": (
        CAMPAIGN + "[matrix]\nseed = [" + ",".join(map(str, range(1001))) + "]\ntakes = 1000\n",
        SHOTS,
        ["line 4", "1,001,000 jobs", "more than 1,000,000"],
    ),
    "a budget of NaN": (
        CAMPAIGN + "\n[budget]\n# the most\ntotal_usd = nan\n",
        SHOTS,
        ["line 7", "budget.total_usd", "found nan", "amount of dollars"],
    ),
    "an unknown key": (CAMPAIGN + "[budget]\ntotal = 5\n", SHOTS, ["line 5", "allowed are total_usd"]),
    "a wrong value in an inline table": (
        CAMPAIGN + 'budget = { client = { acme = "x" } }\n',
        SHOTS,
        ["line 4", "campaign.budget"],
    ),
    "a name of files that needs a column": (
        CAMPAIGN + '[output]\nname = "{client}-{shot}"\n',
        SHOTS,
        ["line 5", "output.name", "{shot}"],
    ),
    "TOML that is none": (CAMPAIGN + "[budget\n", SHOTS, ["is not TOML", "line 4"]),
    "a campaign file that is not UTF-8": (CAMPAIGN.encode() + b"# \xe4\n", SHOTS, ["is not UTF-8"]),
    "a manifest that is not UTF-8": (
        CAMPAIGN,
        "prompt,model\nK\xe4se,x\n".encode("latin-1"),
        ["row 2", "not UTF-8"],
    ),
    "ragged rows": (CAMPAIGN, SHOTS + "A cat\n", ["row 3", "1 cell:", "the header has 2"]),
    "an unclosed quote": (CAMPAIGN, SHOTS + '"A cat,x\nA dog,y\n', ["row 3", "never closed"]),
    "no manifest": (CAMPAIGN.replace("shots.csv", "*.xlsx"), SHOTS, ["there is no manifest"]),
    "a sheet of a text file": (CAMPAIGN.replace("shots.csv", "shots.csv#A"), SHOTS, ["is no workbook"]),
    "a workbook that is cut off": (CAMPAIGN, _workbook(b"<x/>")[:-30], ["not a whole XLSX workbook"]),
    "an XLSX bomb": (
        CAMPAIGN,
        _workbook(b" " * (64 << 20)),
        ["expands to more than", "save the rows as CSV"],
    ),
    "a workbook with a cell in its last corner": (
        CAMPAIGN,
        workbook({"S": sheet_xml('<row r="1"><c r="A1"/></row><row><c r="XFD1048576"/></row>')}),
        ["column 16,384 and row 1,048,576"],
    ),
    "a workbook whose cells all point to one long text": (
        CAMPAIGN,
        workbook(
            {"S": sheet_xml('<row><c t="s"><v>0</v></c></row>' * 10_000)},
            shared=shared_texts(f"<si><t>{'x' * 500_000}</t></si>"),
        ),
        ["MiB of memory", "save the rows as CSV"],
    ),
    "an address inside the network": (
        CAMPAIGN.replace("shots.csv", "https://127.0.0.1/shots.csv"),
        SHOTS,
        ["127.0.0.1", "inside this network"],
    ),
    "an address that is not encrypted": (
        CAMPAIGN.replace("shots.csv", "http://example.com/shots.csv"),
        SHOTS,
        ["only https:// is fetched"],
    ),
    "a password in an address": (
        CAMPAIGN.replace("shots.csv", "https://me:secret@example.com/shots.csv"),
        SHOTS,
        ["https://example.com/shots.csv: leave name and password out"],
    ),
    "an address of another kind": (
        CAMPAIGN.replace("shots.csv", "file:///etc/passwd"),
        SHOTS,
        ["not from file://"],
    ),
}


@pytest.mark.parametrize(("campaign", "shots", "words"), CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("command", ["plan", "validate", "run"])
def test_bad_input(tmp_path, monkeypatch, capsys, command, campaign, shots, words):
    """It is refused with exit code 2 and what is wrong, where, in words; no file appears."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CALLSHEET_DATA_DIR", str(tmp_path / "data"))
    for name, content in (("campaign.toml", campaign), ("shots.csv", shots)):
        Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    arguments = [command, "campaign.toml", *(["--out", "plan.json"] if command == "plan" else [])]
    assert run_command(arguments) == 2
    said = capsys.readouterr()
    for word in words:
        assert word in said.err
    assert "secret" not in said.err + said.out
    assert "Traceback" not in said.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["campaign.toml", "shots.csv"]


def test_very_many_mistakes_are_said_by_kind_and_written_down(tmp_path, monkeypatch, capsys):
    """A hundred rows with two kinds of mistakes are two lines, and a hundred rows of the errors file."""
    monkeypatch.chdir(tmp_path)
    rows = ["=1,seedance-1.0-lite,99", "A cat,seedance-1.0-lite,0"] * 50
    Path("shots.csv").write_text("\n".join(["prompt,model,duration", *rows]) + "\n")
    assert run_command(["validate", "shots.csv"]) == 2
    said = capsys.readouterr().err
    assert "column duration, 100 rows (2, 3, 4, 5, 6 and 95 more): found 99, 0: seedance-1.0-lite" in said
    assert "all errors are listed in shots.errors.csv" in said
    assert len(Path("shots.errors.csv").read_text().splitlines()) == 101
    assert run_command(["plan", "shots.csv", "--errors", "other.csv"]) == 2
    assert Path("other.csv").read_bytes() == Path("shots.errors.csv").read_bytes()


@pytest.mark.parametrize("options", [[], ["--errors", "shots.errors.csv"]])
def test_a_list_of_mistakes_replaces_no_other_file(tmp_path, monkeypatch, capsys, options):
    """A file of that name may be rows that somebody corrects; the first mistakes are said all the same."""
    monkeypatch.chdir(tmp_path)
    Path("shots.csv").write_text("prompt,model\n" + "".join(f"p,nope{row}\n" for row in range(60)))
    Path("shots.errors.csv").write_text(SHOTS)
    assert run_command(["validate", "shots.csv", *options]) == 2
    assert Path("shots.errors.csv").read_text() == SHOTS
    said = capsys.readouterr().err
    assert "column model, 60 rows" in said
    assert "shots.errors.csv exists and is not an error list; name another file with --errors" in said


def test_a_list_of_mistakes_replaces_no_pipe_or_device(tmp_path, monkeypatch, capsys):
    """What it would read from one to know it never ends, and whoever reads from it would lose it."""
    monkeypatch.chdir(tmp_path)
    Path("shots.csv").write_text("prompt,model\nTee,nope\n")
    os.mkfifo("list.csv")
    pipe = os.open("list.csv", os.O_RDWR)
    os.write(pipe, b"file,row,column,found,message\n")
    assert run_command(["validate", "shots.csv", "--errors", "list.csv"]) == 2
    assert "list.csv exists and is not an error list" in capsys.readouterr().err
    assert Path("list.csv").is_fifo()
    os.close(pipe)


def test_a_list_of_mistakes_opens_in_excel_and_can_be_written_again(tmp_path, monkeypatch, capsys):
    """With more than ASCII it says that it is UTF-8, and is still known as a list of errors."""
    monkeypatch.chdir(tmp_path)
    Path("shots.csv").write_text("prompt,model,duration\nTee,seedance-1.0-lite,fünf\n")
    for _ in range(2):
        assert run_command(["validate", "shots.csv", "--errors", "list.csv"]) == 2
        assert "all errors are listed in list.csv" in capsys.readouterr().err
        assert Path("list.csv").read_bytes().startswith(b'\xef\xbb\xbf"file"')


def test_mistakes_are_written_down_without_a_database_library():
    """Its import would take longer than a hundred thousand mistakes; and none of them runs as a formula."""
    code = (
        "import sys; from callsheet.cli.views.problems import errors_csv;"
        "from callsheet.errors import Problem;"
        "text = errors_csv([Problem('m.csv', 2, 'seed', '=1+1', 'no')] * 2);"
        "print('sqlalchemy' in sys.modules, text.count(chr(39) + '=1+1'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "2"]
