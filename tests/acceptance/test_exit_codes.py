"""Exit codes that need no render."""

import json

import pytest

GOOD = "custom_id,prompt,model,resolution,duration\na,A boat,seedance-1.0-lite,480p,2\n"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("validate", "shots.csv"), 0, "1 jobs"),
        (("plan", "shots.csv", "--budget-usd", "1"), 0, "fits"),
        (("validate", "bad.csv"), 2, "duration"),
        (("validate", "nowhere.csv"), 2, "nowhere.csv"),
        (("run", "shots.csv", "--budget-usd", "NaN", "--yes"), 2, "NaN"),
        (("run", "shots.csv", "--budget-usd", "1", "--yes"), 6, "FAL_KEY"),
        (("run", "shots.csv", "--sandbox", "--budget-usd", "0.01", "--yes"), 3, "nothing was sent"),
        (("run", "shots.csv", "--sandbox", "--budget-usd", "1"), 2, "--yes"),
        (("resume", "--sandbox"), 2, "no such run"),
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
