"""The tutorials: every command that they print is run in order, with the files that they show."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.prefect

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
FILE = re.compile(r'^```\w+ title="([\w.]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
SESSION = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN_ID = re.compile(r"\b\w+-20\d{6}-\d{6}-[0-9a-f]{4}\b")
TOGETHER = """
import json, runpy, shlex, sys
from callsheet.cli.main import run_command
from callsheet.engine import open_run
lines, run_ids = json.loads(sys.argv[1])
new_run_id = open_run.new_run_id
open_run.new_run_id = lambda campaign: run_ids.pop(0) if run_ids else new_run_id(campaign)
codes = {}
for line in lines:
    print("$", line, file=sys.stderr, flush=True)
    program, *words = shlex.split(line)
    if program == "python":
        runpy.run_path(words[0], run_name="__main__")
        codes[line] = 0
    else:
        codes[line] = run_command(words)
with open("codes.json", "w") as file:
    json.dump(codes, file)
"""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_of_a_tutorial_runs_as_it_is_printed(desk, page):
    """Each ends with 0, with the files that the page shows, in the order of the page."""
    text = page.read_text("utf-8")
    for name, content in FILE.findall(text):
        (desk.folder / name).write_text(content)
    lines = [line[2:] for session in SESSION.findall(text) for line in session.splitlines()]
    assert lines
    run_ids = list(dict.fromkeys(RUN_ID.findall(text)))
    done = subprocess.run(
        [sys.executable, "-c", TOGETHER, json.dumps([lines, run_ids])],
        cwd=desk.folder,
        env=desk.env,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert (desk.folder / "codes.json").exists(), done.stderr
    codes = json.loads((desk.folder / "codes.json").read_text())
    assert {line: code for line, code in codes.items() if code} == {}, done.stderr
    assert "internal error" not in done.stderr


def test_the_site_builds_and_every_link_leads_somewhere(tmp_path):
    """A link, an anchor or a page that is missing is an error. No page asks another host for anything."""
    command = [str(Path(sys.executable).parent / "mkdocs"), "build", "--strict"]
    done = subprocess.run(
        [*command, "--config-file", str(ROOT / ".mkdocs.yml"), "--site-dir", str(tmp_path / "site")],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    loaded = re.compile(r'(?:src|href)="(https?:[^"]+)"[^>]*(?:rel="stylesheet"|></script>)')
    for page in (tmp_path / "site").rglob("*.html"):
        assert not loaded.findall(page.read_text("utf-8")), page
