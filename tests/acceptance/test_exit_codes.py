"""Exit codes that need no render."""

import json

import pytest

GOOD = "custom_id,prompt,model,resolution,duration\na,A boat,seedance-1.0-lite,480p,2\n"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("validate", "shots.csv"), 0, "1 job,"),
        (("plan", "shots.csv", "--budget-usd", "1"), 0, "fits"),
        (("validate", "bad.csv"), 2, "duration"),
        (("validate", "nowhere.csv"), 2, "nowhere.csv"),
        (("run", "shots.csv", "--budget-usd", "NaN", "--yes"), 2, "NaN"),
        (("run", "shots.csv", "--budget-usd", "1", "--yes"), 6, "FAL_KEY"),
        (("run", "shots.csv", "--sandbox", "--budget-usd", "0.01", "--yes"), 3, "nothing was sent"),
        (("run", "shots.csv", "--sandbox", "--budget-usd", "1"), 2, "--yes"),
        (("resume", "--sandbox"), 2, "no unfinished run"),
    ],
)
def test_each_ending_has_its_code_and_its_sentence(desk, arguments, code, said):
    """What a command could not do is told by its exit code and in words."""
    (desk.folder / "shots.csv").write_text(GOOD)
    (desk.folder / "bad.csv").write_text(GOOD.replace(",2\n", ",99\n"))
    done = desk.call(*arguments)
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr


def test_a_run_against_fal_without_any_cap_is_refused(desk):
    """With a key and no cap anywhere nothing is sent."""
    (desk.folder / "shots.csv").write_text(GOOD)
    done = desk.call("run", "shots.csv", "--yes", FAL_KEY="id:secret-canary")
    assert done.returncode == 2
    assert "no cap" in done.stderr
    assert "secret-canary" not in done.stdout + done.stderr


def test_plan_as_json_has_the_contract_keys(desk):
    """Scripts find every key that the contract names."""
    (desk.folder / "shots.csv").write_text(GOOD)
    document = json.loads(desk.call("plan", "shots.csv", "--json").stdout)
    assert {"plan_hash", "jobs", "expected_usd", "maximum_usd", "fits", "rows", "errors"} <= set(document)
    row = document["rows"][0]
    assert {"custom_id", "endpoint", "width", "height", "fps", "duration_s", "tokens"} <= set(row)
    assert (row["tokens"], row["expected_usd"]) == (19440, "0.034992")


@pytest.mark.parametrize("command", [("ledger", "verify"), ("run", "shots.csv", "--sandbox", "--yes")])
def test_a_ledger_that_is_no_database_ends_with_code_1(desk, command):
    """A damaged ledger is named, nothing is sent, and the code says that it is no mistake of the person's."""
    (desk.folder / "shots.csv").write_text(GOOD)
    damaged = desk.folder / "ledger.sqlite"
    damaged.write_bytes(b"no database at all " * 500)
    damaged.chmod(0o600)
    done = desk.call(*command, CALLSHEET_LEDGER_URL=f"sqlite:///{damaged}")
    assert done.returncode == 1
    assert "not a database" in done.stderr
    assert str(damaged) in done.stderr


def test_a_mistake_of_ours_ends_with_code_1_and_keeps_its_traceback(desk):
    """An unforeseen error is reported as internal; the traceback file holds no values of variables."""
    (desk.folder / "shots.csv").write_text(GOOD)
    broken = desk.folder / "sitecustomize.py"
    broken.write_text(
        "import manifests.planner as p\n"
        "def boom(*given, **named):\n    secret = 'canary-' + 'value'\n    raise RuntimeError('unforeseen')\n"
        "p.make_plan = boom\n"
    )
    done = desk.call("plan", "shots.csv", PYTHONPATH=str(desk.folder), TMPDIR=str(desk.folder))
    assert done.returncode == 1
    assert "internal error: RuntimeError: unforeseen" in done.stderr
    (log,) = desk.folder.glob("callsheet-*.log")
    assert "boom" in log.read_text()
    assert "canary-value" not in log.read_text()


def test_a_cap_that_outlives_runs_is_enough_for_a_run_against_fal(desk):
    """With a cap over the whole ledger a run needs none of its own; a cap on something else is none."""
    (desk.folder / "shots.csv").write_text(GOOD)
    assert desk.call("budget", "set", "client:nobody", "5").returncode == 0
    refused = desk.call("run", "shots.csv", "--yes", FAL_KEY="id:secret")
    assert (refused.returncode, "no cap" in refused.stderr) == (2, True)
    assert desk.call("budget", "set", "ledger", "0.01").returncode == 0
    over = desk.call("run", "shots.csv", "--yes", FAL_KEY="id:secret")
    assert (over.returncode, "nothing was sent" in over.stderr) == (3, True)
