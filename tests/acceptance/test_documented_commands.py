"""Every command in a block of the documentation is run, one after the other, on one finished sandbox run.

The README and help texts are run by `test_examples_as_printed`, the tutorials by `test_tutorials`.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted({*ROOT.glob("docs/*.md")} - {ROOT / "docs" / "CHANGELOG.md"})
LINE = re.compile(r"^(?:    |\$ )?(callsheet [a-z].*?)(?:\s+#.*)?$", re.MULTILINE)
BLOCKS = re.compile(r"^```(?:console|bash)\n(.*?)^```$|((?:^ {4}\S.*\n)+)", re.MULTILINE | re.DOTALL)
NO_PREFECT = "http://127.0.0.1:9/api"
SHOTS = """\
custom_id,client,prompt,model,resolution,duration
hero-1,acme,A boat,seedance-1.0-lite,480p,2
hero-2,north,A cat,seedance-1.0-lite,480p,2
hero-3,acme,A kite,seedance-1.0-lite,480p,2
"""
CAMPAIGN = '[campaign]\nname = "spring-launch"\nmanifest = "shots.csv"\n[budget]\ntotal_usd = 150\n'

NOT_RUN = {
    "callsheet review": "serves until Ctrl-C: tests/integration/review",
    "callsheet sandbox": "serves until Ctrl-C: test_examples_as_printed",
    "callsheet receive": "serves until Ctrl-C: tests/integration/engine/test_receiver",
    "callsheet runs --metrics-port": "serves until Ctrl-C: tests of the metrics",
    "callsheet deploy": "needs a Prefect server and a work pool: test_deploy",
    "callsheet run campaign.toml --out s3://": "needs a bucket: tests/integration/engine/test_publish",
    "callsheet notify": "sends messages: tests/integration/notify",
    "callsheet finish": "needs drafts: test_drafts",
    "callsheet keeper": "serves until Ctrl-C: test_examples_as_printed runs --once",
    "callsheet prices check": "asks fal for its price list with a key",
}
"""What cannot be run here, by how it begins, and why."""

TOGETHER = """
import json, os, shlex, sys
from pathlib import Path
from callsheet.cli.main import run_command
from callsheet.engine import open_run
from callsheet.ledger import Ledger, queries
from callsheet.review.session import ReviewSession
from callsheet.settings import settings_from
from manifests.planner import make_plan

assert run_command(["run", "campaign.toml"]) == 0
with Ledger.open(settings_from(os.environ, sandbox=True).ledger) as ledger:
    (run,) = ledger.do(queries.runs)
    jobs = {job.custom_id: job.job_id for job in ledger.do(queries.jobs, run.run_id)}
    session = ReviewSession(ledger, run)
    for name, verdict in (("hero-1", "keep"), ("hero-2", "retake"), ("hero-3", "keep")):
        session.judge(jobs[name], verdict=verdict, note="", changes={}, by="Ana", seen=0)
    plan = make_plan("night.csv")
    options = json.dumps({"sandbox": True, "speed": 2000})
    chosen = open_run.select(ledger, plan, fit=False)
    open_run.open_run(ledger, plan, chosen, out=Path("runs").absolute(), options=options)
Path("selection.csv").write_bytes((Path(run.out) / "selection.csv").read_bytes())
codes = {}
for line in json.loads(sys.argv[1]):
    print("$", line, file=sys.stderr, flush=True)
    codes[line] = run_command(shlex.split(line.replace("RUN", run.run_id))[1:])
Path("codes.json").write_text(json.dumps(codes))
"""


def commands() -> list[str]:
    """The commands of all blocks, in the order of the pages."""
    found = []
    for page in PAGES:
        text = page.read_text("utf-8").replace("\\\n", " ")
        for fenced, indented in BLOCKS.findall(text):
            found += LINE.findall(fenced or indented)
    return list(dict.fromkeys(found))


def test_what_is_not_run_is_in_the_documentation():
    """No reason is kept for a command that is not there any more."""
    lines = commands()
    assert len(lines) > 30
    assert [start for start in NOT_RUN if not any(line.startswith(start) for line in lines)] == []


def test_every_command_of_the_documentation_runs(desk):
    """Each ends with 0, on the sandbox, without a key."""
    desk.env |= {
        "CALLSHEET_SANDBOX": "true",
        "CALLSHEET_YES": "true",
        "CALLSHEET_SANDBOX_SPEED": "2000",
        "PREFECT_API_URL": NO_PREFECT,
    }
    (desk.folder / "shots.csv").write_text(SHOTS)
    (desk.folder / "night.csv").write_text(SHOTS.replace("hero", "night"))
    (desk.folder / "campaign.toml").write_text(CAMPAIGN)
    lines = [line for line in commands() if not line.startswith(tuple(NOT_RUN))]
    done = subprocess.run(
        [sys.executable, "-c", TOGETHER, json.dumps(lines)],
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
    assert list(codes) == lines
