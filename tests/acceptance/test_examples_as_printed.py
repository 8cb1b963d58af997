"""Every command that help texts and the README print is run as it is printed, on the sandbox."""

import importlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from callsheet.cli.app import COMMANDS, module_of
from callsheet.engine import open_run
from callsheet.ledger import Ledger
from manifests.planner import make_plan

pytestmark = pytest.mark.prefect

ROOT = Path(__file__).parents[2]
RUN_ID = "spring-20261121-090000-a1b2"
SHOTS = """\
custom_id,client,prompt,model,resolution,duration
a,acme,A boat,seedance-1.0-lite,480p,2
b,north,A cat,seedance-1.0-pro-fast,480p,2
"""
CAMPAIGN = '[campaign]\nname = "spring"\nmanifest = "shots.csv"\n'
TESTED_ELSEWHERE = (
    "callsheet ui",
    "callsheet finish",
    "callsheet review",
    "callsheet receive",
    "callsheet notify",
    "callsheet run runs/RUN/selection.csv",
)
"""Servers, messages, and drafts that are finished or retakes that are bought have tests of their own."""

ONE_JOB = ("--adopt", "--assume-spent")
"""Decisions about a job of that very number, which tests of `reconcile` prepare."""

SMALLER = {"marketing-assets": "", "last-500-dollars": " --fit"}
"""Example campaigns, of which the first shot is rendered smaller than it is, and how they are run."""

FIRST, LAST = (
    ("callsheet demo", "callsheet init", "callsheet resume", "callsheet run"),
    ("callsheet sandbox",),
)
TOGETHER = """
import json, pathlib, shlex, shutil, sys
from callsheet.cli.commands import example
from callsheet.cli.main import run_command
example.FILES = pathlib.Path(shutil.copytree(example.FILES, "example-files"))
shots = example.FILES / "shots.csv"
shots.write_text("".join(shots.read_text().splitlines(keepends=True)[:3]))
codes = {}
for line in json.loads(sys.argv[1]):
    print("$", line, file=sys.stderr)
    codes[line] = run_command(shlex.split(line)[1:])
with open("codes.json", "w") as file:
    json.dump(codes, file)
"""


def examples() -> list[str]:
    """The examples of all help texts: of the commands, and of the commands below them."""
    found = []
    for name in dict.fromkeys(module_of(name) for group in COMMANDS.values() for name in group):
        source = Path(importlib.import_module(name).__file__).read_text("utf-8")
        found += re.findall(r"Example: (callsheet .*)$", source, re.MULTILINE)
    return found


def readme() -> list[str]:
    """The commands of the README: those on lines of their own, and those in a sentence that name a file."""
    text = (ROOT / "README.md").read_text("utf-8")
    blocks = re.findall(r"^    (?:\$ )?(callsheet .*?)(?:\s+#.*)?$", text, re.MULTILINE)
    inline = [" ".join(each.split()) for each in re.findall(r"`(callsheet [^`]+)`", text)]
    return [*blocks, *(each for each in inline if re.search(r"\.(csv|json|parquet|toml)\b", each))]


def prepare(desk) -> None:
    """Lay out what the examples name: manifests, campaigns, and a run that was interrupted."""
    desk.env |= {"CALLSHEET_SANDBOX": "true", "CALLSHEET_YES": "true", "CALLSHEET_SANDBOX_SPEED": "2000"}
    (desk.folder / "shots.csv").write_text(SHOTS)
    (desk.folder / "campaign.toml").write_text(CAMPAIGN)
    (desk.folder / "selection.csv").write_text("custom_id\na\n")
    night = pyarrow.csv.read_csv(desk.folder / "shots.csv")
    pq.write_table(night, desk.folder / "night.parquet")
    for name in SMALLER:
        folder = shutil.copytree(ROOT / "examples" / name, desk.folder / "examples" / name)
        campaign, shots = folder / "campaign.toml", folder / "shots.csv"
        small = re.sub(r"^(resolution|duration) = .*$", _small, campaign.read_text(), flags=re.MULTILINE)
        campaign.write_text(small)
        shots.write_text("".join(shots.read_text().splitlines(keepends=True)[:2]))
    plan = make_plan(desk.folder / "campaign.toml")
    (desk.data / "sandbox").mkdir(parents=True)
    with Ledger.open(f"sqlite:///{desk.data / 'sandbox' / 'ledger.sqlite'}") as ledger:
        selection = open_run.select(ledger, plan, fit=False)
        options = json.dumps({"sandbox": True, "speed": 2000})
        open_run.open_run(ledger, plan, selection, out=desk.folder / "runs", options=options)


def _small(setting: re.Match[str]) -> str:
    return f'{setting[1]} = "{"480p" if setting[1] == "resolution" else 4}"'


def _turn(line: str) -> int:
    """What makes files and runs comes first; a plan file is run after it was written."""
    if line.startswith("callsheet run plan.json"):
        return 3
    if line.startswith("callsheet init"):
        return 0
    return 1 if line.startswith(FIRST) else 2


def test_the_lists_are_not_empty():
    """What is walked below is found where it stands."""
    assert len(examples()) >= 30
    assert {"callsheet init spring", "callsheet plan spring/campaign.toml"} <= set(readme())


def test_every_printed_command_runs_as_it_is_printed(desk, monkeypatch):
    """Each ends with 0, one after the other, by copy and paste."""
    monkeypatch.setattr(open_run, "new_run_id", lambda _campaign: RUN_ID)
    prepare(desk)
    campaigns = [f"callsheet run examples/{name}/campaign.toml{more}" for name, more in SMALLER.items()]
    lines = [
        line
        for line in dict.fromkeys([*examples(), *readme(), *campaigns])
        if not any(map(line.count, ONE_JOB)) and not line.startswith(TESTED_ELSEWHERE)
    ]
    here = sorted((line for line in lines if not line.startswith(LAST)), key=_turn)
    command = [sys.executable, "-c", TOGETHER, json.dumps(here)]
    done = subprocess.run(
        command, cwd=desk.folder, env=desk.env, capture_output=True, text=True, check=False, timeout=280
    )
    codes = json.loads((desk.folder / "codes.json").read_text())
    assert {line: code for line, code in codes.items() if code} == {}, done.stderr
    assert "internal error" not in done.stderr
    assert list(codes) == here


def test_the_sandbox_serves_as_it_is_printed(desk):
    """It says where it listens, and ends when it is told to."""
    for line in dict.fromkeys(line for line in examples() if line.startswith(LAST)):
        arguments = [each for each in shlex.split(line)[1:] if each not in {"--port", "8790"}]
        process = desk.start(*arguments, CALLSHEET_SANDBOX_PORT="0")
        assert process.stdout.readline().startswith("sandbox ready at http://127.0.0.1:")
        process.terminate()
        process.communicate(timeout=30)
        assert process.returncode == 0
