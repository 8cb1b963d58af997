"""Folders and files that cannot be used: named with the reason and the way out, before anything is bought."""

import csv
import json
import shutil

import pytest

from callsheet.engine.open_run import open_run, select
from callsheet.ledger import Ledger, queries
from callsheet.settings import settings_from
from manifests.planner import make_plan

ASKING = (
    ("plan", "shots.csv"),
    ("status",),
    ("budget", "list"),
    ("budget", "set", "ledger", "5"),
    ("ledger",),
    ("ledger", "verify"),
    ("prices",),
    ("cancel", "run-1"),
    ("retry",),
    ("resume",),
    ("report",),
    ("reconcile",),
    ("run", "shots.csv", "--sandbox", "--yes"),
)


def ledger_url(shots) -> str:
    """The ledger that commands use where nothing else is said."""
    return settings_from({"CALLSHEET_DATA_DIR": str(shots.parent / "callsheet-data")}).ledger


@pytest.mark.parametrize("command", ASKING, ids=" ".join)
def test_a_data_folder_that_is_a_file_is_the_persons_to_mend(shots, call, monkeypatch, command):
    """Exit code 2, with the folder, the reason and the variable that names another."""
    monkeypatch.setenv("CALLSHEET_DATA_DIR", str(shots))
    code, out, err = call(*command)
    assert (code, out) == (2, "")
    assert f"{shots} is a file" in err or f"{shots} cannot be used: it is a file" in err
    assert "set CALLSHEET_DATA_DIR" in err


def test_a_data_folder_that_cannot_be_made_is_named(shots, call, monkeypatch):
    """A folder below a file, and one where no folder can be made, end with 2 too."""
    for folder in (shots / "x" / "y", "/proc/callsheet"):
        monkeypatch.setenv("CALLSHEET_DATA_DIR", str(folder))
        code, _, err = call("status")
        assert code == 2
        assert f"{folder} cannot be used: " in err


def test_the_doctor_goes_on_where_the_data_folder_cannot_be_used(shots, call, monkeypatch):
    """It says so of the ledger, and says everything else as well."""
    monkeypatch.setenv("CALLSHEET_DATA_DIR", str(shots))
    monkeypatch.setenv("CALLSHEET_OUT", str(shots / "runs"))
    code, out, _ = call("doctor", "--json")
    found = json.loads(out)
    assert code == 0
    assert not found["ledger"]["ok"]
    assert "it is a file; set CALLSHEET_DATA_DIR" in found["ledger"]["text"]
    assert not found["disk"]["ok"]
    assert "is not a writable folder" in found["disk"]["text"]


def test_the_doctor_goes_on_where_the_folder_for_runs_is_a_file(shots, call, monkeypatch):
    """It looks there for the mark of a newer ledger, and ended with an internal error."""
    monkeypatch.setenv("CALLSHEET_OUT", str(shots))
    code, out, _ = call("doctor", "--json")
    found = json.loads(out)
    assert code == 0
    assert f"Not a directory: '{shots}/" in found["ledger"]["text"]
    assert f"{shots} is not a writable folder; set CALLSHEET_OUT" in found["disk"]["text"]
    assert "versions" in found


def test_a_data_folder_may_be_named_from_home(monkeypatch, tmp_path):
    """`~` is the home folder also where no shell has put it in."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert settings_from({"CALLSHEET_DATA_DIR": "~/book"}).data_dir == tmp_path / "book"


@pytest.mark.parametrize(
    ("named", "variable", "options"),
    [
        ("CALLSHEET_DATA_DIR", "CALLSHEET_DATA_DIR", ()),
        ("CALLSHEET_LEDGER_URL", "CALLSHEET_LEDGER_URL", ()),
        ("CALLSHEET_OUT", "CALLSHEET_OUT", ()),
        ("the folder for runs", "", ("--out", "~nobody-here/runs")),
    ],
)
def test_a_home_folder_that_is_not_there_is_named(shots, call, monkeypatch, named, variable, options):
    """Wherever a place is named from it: exit code 2, in the same words."""
    monkeypatch.setenv("FAL_KEY", "id:secret")
    monkeypatch.setattr("callsheet.cli.session._server", lambda *_: ("", None))
    if variable:
        monkeypatch.setenv(variable, "~nobody-here/runs")
    code, _, err = call("run", "shots.csv", "--budget-usd", "1", "--yes", *options)
    assert code == 2
    assert f"{named} is '~nobody-here/runs', but this user has no home folder for `~`" in err


@pytest.mark.parametrize("out", ["shots.csv", "shots.csv/runs", "/proc/callsheet/runs", "x" * 300])
def test_a_folder_for_runs_that_cannot_be_used_is_refused_before_a_run_is_opened(
    shots, call, monkeypatch, out
):
    """Exit code 2 with its name; the ledger knows of no run."""
    monkeypatch.setenv("FAL_KEY", "id:secret")
    monkeypatch.setattr("callsheet.cli.session._server", lambda *_: ("", None))
    code, _, err = call("run", "shots.csv", "--budget-usd", "1", "--yes", "--out", out)
    assert code == 2
    assert f"the folder for runs {out} cannot be used: " in err
    assert "--out" in err
    with Ledger.open(ledger_url(shots)) as ledger:
        assert ledger.do(queries.runs) == []


def test_plan_makes_no_data_folder(shots, call, monkeypatch):
    """Where there is no ledger there are no caps, and none is made for asking."""
    assert call("plan", "shots.csv")[0] == 0
    assert call("prices")[0] == 0
    assert [each.name for each in shots.parent.iterdir()] == ["shots.csv"]


@pytest.mark.parametrize("url", ["sqlite:///{folder}/sub/book.sqlite", "sqlite:///sub/book.sqlite"])
def test_plan_sees_the_caps_of_the_ledger_that_runs_would_use(shots, call, monkeypatch, url):
    """Also where the URL names the file from the working directory."""
    monkeypatch.setenv("CALLSHEET_LEDGER_URL", url.format(folder=shots.parent))
    assert call("budget", "set", "ledger", "0.01")[0] == 0
    code, out, _ = call("plan", "shots.csv", "--json")
    assert (code, json.loads(out)["fits"]) == (0, False)


@pytest.mark.parametrize(
    "url", ["sqlite:///:memory:", "sqlite://", "sqlite:///", "sqlite:///file:x", "mysql://x/y", "nonsense"]
)
def test_plan_does_not_pass_over_a_ledger_that_cannot_be_opened(shots, call, monkeypatch, url):
    """A broken URL is said and not taken for a ledger without caps."""
    monkeypatch.setenv("CALLSHEET_LEDGER_URL", url)
    code, out, err = call("plan", "shots.csv")
    assert code in {1, 2}
    assert "ledger" in err
    assert "internal error" not in err
    assert "fits" not in out


def test_plan_does_not_pass_over_a_ledger_below_a_file(shots, call, monkeypatch):
    """What cannot be looked at is not taken for absent."""
    monkeypatch.setenv("CALLSHEET_LEDGER_URL", f"sqlite:///{shots}/book.sqlite")
    code, _, err = call("plan", "shots.csv")
    assert code == 2
    assert f"{shots} is a file; CALLSHEET_LEDGER_URL names it" in err


@pytest.mark.parametrize("content", ["{}", '{"format": "theirs"}', "[1]", "not JSON", '"callsheet-plan-2"'])
def test_a_plan_replaces_no_file_of_somebody_else(shots, call, content):
    """`plan --out` refuses with 2 and leaves the file as it is."""
    theirs = shots.with_name("package.json")
    theirs.write_text(content)
    code, _, err = call("plan", "shots.csv", "--out", "package.json")
    assert (code, theirs.read_text()) == (2, content)
    assert "package.json is not a plan's file" in err


def test_a_plan_replaces_a_plan_and_an_empty_file(shots, call):
    """Planning again into the same file is what one does every day."""
    shots.with_name("plan.json").touch()
    for _ in range(2):
        assert call("plan", "shots.csv", "--out", "plan.json")[0] == 0
    theirs = shots.with_name("other.rows.parquet")
    theirs.write_text("theirs")
    assert call("plan", "shots.csv", "--out", "other.json")[0] == 2
    assert theirs.read_text() == "theirs"


def test_a_plan_file_below_a_file_is_named(shots, call):
    """The folder that cannot be made is said to be a file."""
    code, _, err = call("plan", "shots.csv", "--out", "shots.csv/plan.json")
    assert code == 2
    assert "it is a file" in err


@pytest.mark.parametrize("name", ["init", "demo"])
def test_an_example_is_not_written_where_a_file_stands(shots, call, name):
    """Exit code 2 with the name of the file."""
    for folder in ("shots.csv", "shots.csv/spring"):
        code, _, err = call(name, folder)
        assert code == 2
        assert f"the folder {folder} cannot be used: " in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--port", "-1"), "--port is -1"),
        (("--port", "65536"), "--port is 65536"),
        (("--speed", "nan"), "--speed is nan"),
        (("--speed", "0"), "--speed is 0"),
        (("--speed", "inf"), "--speed is inf"),
        (("--state", "shots.csv/x"), "the sandbox's folder shots.csv/x cannot be used"),
    ],
)
def test_a_sandbox_that_cannot_be_served_says_which_option(shots, call, options, said):
    """Every option out of its bounds ends with 2."""
    code, _, err = call("sandbox", *options)
    assert code == 2
    assert said in err


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("ledger", "backup", "shots.csv/x"), "shots.csv/x cannot be made"),
        (("ledger", "backup", "/proc/callsheet/x"), "/proc/callsheet/x cannot be made"),
        (("ledger", "accept", "shots.csv"), "there is no folder shots.csv"),
        (("ledger", "accept", "nowhere"), "there is no folder nowhere"),
        (("budget", "set", "campaign:a\nb", "5"), "is not a valid name"),
        (("budget", "set", f"campaign:{'a' * 501}", "5"), "is not a valid name"),
    ],
)
def test_what_a_ledger_command_cannot_write_or_read_is_named(shots, call, command, said):
    """Exit code 2, and the name as it was given."""
    code, out, err = call(*command)
    assert (code, out) == (2, "")
    assert said in err


@pytest.mark.parametrize(
    ("url", "said"), [("http://127.0.0.1:9/api", "Connection refused"), ("garbage", "it is not an address")]
)
def test_deploy_names_a_prefect_server_that_does_not_answer(shots, call, monkeypatch, url, said):
    """Exit code 2: a deployment is nowhere else. A run goes on without its pages."""
    monkeypatch.setenv("FAL_KEY", "id:secret")
    monkeypatch.setenv("PREFECT_API_URL", url)
    code, _, err = call("deploy", "shots.csv")
    assert code == 2
    assert f"the Prefect server {url} " in err
    assert f"cannot be used: {said}" in err.replace("[Errno 111] ", "")


def test_doctor_names_a_prefect_server_that_does_not_answer(call, monkeypatch):
    """What a deployment would fail on is not called fine."""
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    told = json.loads(call("doctor", "--json")[1])["server"]
    assert (told["ok"], "cannot be used" in told["text"]) == (False, True)


def test_a_pool_name_that_prefect_refuses_is_named(shots, call, monkeypatch):
    """`deploy` says which letters a name has not."""
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    for name in ("", "a/b"):
        code, _, err = call("deploy", "shots.csv", "--work-pool", name)
        assert (code, "--work-pool is" in err) == (2, True)


def test_a_run_whose_folder_is_gone_can_still_be_reported(shots, call, monkeypatch):
    """What the ledger knows of the manifest takes the place of its copy."""
    monkeypatch.setenv("FAL_KEY", "id:secret")
    plan = make_plan("shots.csv")
    with Ledger.open(ledger_url(shots)) as ledger:
        selection = select(ledger, plan, fit=False)
        run_id = open_run(ledger, plan, selection, out=shots.with_name("runs"), options="{}")
    shutil.rmtree(shots.with_name("runs"))
    assert call("report", run_id)[0] == 0
    results = (shots.parent / "runs" / run_id / "results.csv").read_text("utf-8")
    (row,) = csv.DictReader(results.splitlines())
    assert (row["custom_id"], row["prompt"], row["status"]) == ("a", "A boat", "pending")
