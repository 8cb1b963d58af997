"""`callsheet plan` and `prices` over a real ledger, in this process."""

import gc
import json
from dataclasses import replace

import pytest

import callsheet
from callsheet.cli.commands.run import question
from callsheet.engine.open_run import Selection, open_run, select
from callsheet.engine.request import RunRequest
from callsheet.errors import OverBudget, UsageError
from callsheet.ledger import Ledger, Output, Settlement, admission, queries, settlement, transitions
from callsheet.settings import settings_from
from callsheet.ticket import Ticket
from manifests.plan import Plan
from manifests.planner import make_plan
from pricing.catalog import load_catalog

HEADER = "custom_id,prompt,model,resolution,duration\n"
FILE = Output(
    path="media/a.mp4",
    url="https://v3.fal.media/a.mp4",
    sha256="ab" * 32,
    bytes=1000,
    width_px=864,
    height_px=480,
    fps=24.0,
    duration_s=2.0,
    has_audio=False,
)


@pytest.fixture
def call(call, tmp_path, monkeypatch):
    """Run a command in a folder of its own, with a ledger; returns its code, its output and what it said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CALLSHEET_DATA_DIR", str(tmp_path))
    return call


@pytest.fixture
def spring(tmp_path):
    """A campaign of two clips, both made and paid for."""
    source = tmp_path / "spring.csv"
    source.write_text(f"{HEADER}a,A fox,seedance-1.0-lite,480p,2\nb,A cat,seedance-1.0-lite,480p,2\n")
    make(source)
    return source


def make(source, *, cost_nano=35_721_000):
    """Buy every clip of a manifest at this cost."""
    with Ledger.open(f"sqlite:///{source.parent / 'ledger.sqlite'}") as ledger:
        plan = make_plan(source)
        out = source.parent / "runs"
        run_id = open_run(ledger, plan, select(ledger, plan, fit=False), out=out, options="")
        for row in ledger.do(queries.jobs, run_id):
            ledger.do(admission.admit, row.job_id, slots=10)
            ledger.do(transitions.send, row.job_id, arguments_sha256="x")
            ledger.do(transitions.accept, row.job_id, Ticket(f"request-{row.job_id}", "e", "s", "r", "c"))
            ledger.do(transitions.start, row.job_id)
            ledger.do(transitions.render, row.job_id)
            paid = Settlement(cost_nano=cost_nano, cost_basis="billing_event", result_json="{}")
            ledger.do(settlement.settle, row.job_id, paid)
            ledger.do(transitions.collect, row.job_id, FILE)


def test_only_new_and_changed_rows_cost_money(call, spring):
    """A made row costs nothing, a changed one names what differs, and the caps are asked about both alone."""
    spring.write_text(
        f"{HEADER}a,A fox,seedance-1.0-lite,480p,2\nb,A cat,seedance-1.0-lite,480p,3\n"
        "c,A dog,seedance-1.0-lite,480p,2\n"
    )
    code, out, _ = call("plan", "spring.csv", "--budget-usd", "0.09")
    assert code == 0
    assert "+ 1 new: $0.0350 expected, at most $0.0358" in out
    assert "~ 1 changed: $0.0525 expected, at most $0.0533" in out
    assert "= 1 already made for $0.035721, not bought again" in out
    assert "duration: 3, was 2" in out
    assert "fits the budget" in out.splitlines()

    told = json.loads(call("plan", "spring.csv", "--budget-usd", "0.09", "--json")[1])
    assert [row["change"] for row in told["rows"]] == ["=", "~", "+"]
    assert [row["to_pay_usd"] for row in told["rows"]] == ["0.00", "0.053217", "0.035721"]
    assert told["rows"][1]["differs"] == ["duration: 3, was 2"]
    assert told["changes"]["="] == {
        "jobs": 1,
        "expected_usd": "0.00",
        "maximum_usd": "0.00",
        "paid_usd": "0.035721",
    }
    assert told["fits"]


def test_what_is_already_made_is_not_among_the_most_expensive(call, spring):
    """Only what will be paid for is named, in the text and in the document."""
    rows = "".join(f"new-{number},A dog {number},seedance-1.0-lite,480p,2\n" for number in range(2))
    spring.write_text(spring.read_text() + rows)
    told = json.loads(call("plan", "spring.csv", "--budget-usd", "1", "--json")[1])
    assert [each["custom_id"] for each in told["most_expensive"]] == ["new-0", "new-1"]
    _, out, _ = call("plan", "spring.csv", "--budget-usd", "1")
    dearest = out.partition("most expensive:\n")[2].partition("takes about")[0]
    assert [line.split()[0] for line in dearest.splitlines()] == ["new-0", "new-1"]


def test_a_plan_with_nothing_to_buy_names_no_price_and_no_time(call, spring):
    """What is made already costs nothing: neither dear nor slow."""
    _, out, _ = call("plan", "spring.csv", "--budget-usd", "1")
    assert "= 2 already made" in out
    assert "most expensive" not in out
    assert "takes about" not in out


def test_what_does_not_fit_is_shown_with_what_would(call, spring):
    """Advice with its exact saving, what `--fit` would do, what costs most, how long it takes."""
    spring.write_text(f"{HEADER}c,A dog,seedance-1.0-pro,1080p,5\nd,A cow,seedance-1.0-lite,480p,2\n")
    code, out, _ = call("plan", "spring.csv", "--budget-usd", "0.5", "--json")
    told = json.loads(out)
    assert (code, told["fits"]) == (0, False)
    assert {
        "change": "with seedance-1.0-pro-fast",
        "jobs": 1,
        "saving_expected_usd": "0.3672",
        "saving_maximum_usd": "0.37026",
        "custom_ids": ["c"],
    } in told["advice"]
    assert told["most_expensive"][0] == {"custom_id": "c", "maximum_usd": "0.6171"}
    assert (told["takes_from"], told["credit_usd"]) == ("ledger", None)
    assert (
        "--fit: takes 1 job and skips 1, which needs" in call("plan", "spring.csv", "--budget-usd", "0.5")[1]
    )


def test_a_plan_of_what_fits_is_a_plan_file_of_exactly_that(call, spring, tmp_path):
    """What is made stays, what fits follows by priority, the rest is named; the file buys the same jobs."""
    spring.write_text(
        f"{HEADER}a,A fox,seedance-1.0-lite,480p,2\nc,A dog,seedance-1.0-pro,1080p,5\n"
        "b,A cat,seedance-1.0-lite,480p,3\nd,A cow,seedance-1.0-lite,480p,2\n"
    )
    budget = ("--budget-usd", "0.1")
    assert call("plan", "spring.csv", *budget, "--check")[0] == OverBudget.exit_code
    code, out, _ = call("plan", "spring.csv", *budget, "--fit", "--check", "--out", "p.json", "--json")
    told = json.loads(out)
    assert (code, told["fits"]) == (0, True)
    assert [(row["custom_id"], row["change"]) for row in told["rows"]] == [("a", "="), ("b", "~"), ("d", "+")]
    assert told["rows"][1]["differs"] == ["duration: 3, was 2"]
    left = {"jobs": 1, "maximum_usd": "0.6171", "custom_ids": ["c"]}
    assert told["left_out"] == json.loads((tmp_path / "p.json").read_text())["left_out"] == left
    plan = make_plan(tmp_path / "p.json")
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as ledger:
        bought = select(ledger, plan, fit=False).buy
    assert [plan.jobs[at].job.custom_id for at in bought] == ["b", "d"]
    _, out, said = call("plan", "spring.csv", *budget, "--fit")
    assert "- 1 skipped: over budget, up to $0.6171 for all of them" in out
    assert "skipped: c (row 3), up to $0.6171" in said


def test_python_takes_the_same_rows_as_the_command(call, spring):
    """`callsheet.plan` has the options; a plan has its rows already, and a run of it takes no other ones."""
    told = json.loads(call("plan", "spring.csv", "--where", "prompt=A cat", "-n", "5", "--json")[1])
    plan = callsheet.plan("spring.csv", where={"prompt": "A cat"}, first=5)
    assert (plan.planned.hash, plan.jobs) == (told["plan_hash"], 1)
    with pytest.raises(UsageError, match=r"say them to callsheet\.plan: sample"):
        callsheet.run(plan, sample=1)


def test_a_scheduled_run_takes_the_same_rows(tmp_path):
    """What `deploy` puts into Prefect's parameters plans the same part."""
    rows = "a,A fox,seedance-1.0-pro,480p,4\nb,A cat,seedance-1.0-pro,480p,4\n"
    (tmp_path / "s.csv").write_text(HEADER + rows)
    request = RunRequest(source=str(tmp_path / "s.csv"), where=("prompt=A cat",), first=5)
    again = RunRequest.model_validate_json(json.dumps(request.model_dump(exclude_defaults=True)))
    plan = make_plan(again.source, overrides=again.plan_options(settings_from({})))
    assert [planned.job.custom_id for planned in plan.jobs] == ["b"]


def test_a_run_does_not_keep_its_plan(call, tmp_path, monkeypatch):
    """Ten thousand jobs are 40 MB, and the ledger has them by the time the first one is bought."""
    monkeypatch.setattr("callsheet.cli.session._server", lambda *_: ("", None))

    def plans() -> list[object]:
        gc.collect()
        return [each for each in gc.get_objects() if isinstance(each, Plan)]

    async def carried_out(*_: object, **__: object) -> tuple[dict[str, int], bool]:
        return {"exit_code": len(plans())}, False

    monkeypatch.setattr("callsheet.cli.session._carried_out", carried_out)
    monkeypatch.setattr("callsheet.cli.session._say_why_it_stopped", lambda *_, **__: None)
    monkeypatch.setattr("callsheet.cli.session._print", lambda *_, **__: None)

    (tmp_path / "summer.csv").write_text(f"{HEADER}a,A dog,seedance-1.0-lite,480p,2\n")
    before = len(plans())
    code, _, err = call("run", "summer.csv", "--sandbox", "--yes", "--budget-usd", "5")
    assert code == before, err


def test_a_run_that_does_not_fit_says_what_would(call, spring, monkeypatch):
    """The refusal (exit 3) comes with the same advice, and nothing is sent."""
    monkeypatch.setenv("FAL_KEY", "a-key-that-is-never-used")
    monkeypatch.setattr("callsheet.cli.session._server", lambda *_: ("", None))
    spring.write_text(f"{HEADER}c,A dog,seedance-1.0-pro,1080p,5\n")
    code, _, err = call("run", "spring.csv", "--budget-usd", "0.5", "--yes")
    assert code == OverBudget.exit_code
    assert "at 480p: 1 job, saves $0.4945875" in err


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda source: source.write_text(source.read_text().replace("A fox", "A wolf")), "1 row changed: a"),
        (
            lambda source: source.write_text(source.read_text() + "c,x,seedance-1.0-lite,480p,2\n"),
            "1 row added: c",
        ),
    ],
)
def test_a_plan_file_runs_only_as_it_was_planned(call, spring, change, told):
    """Rows that changed after the plan was approved are named, and nothing is opened (exit 2)."""
    assert call("plan", "spring.csv", "--budget-usd", "9", "--out", "plan.json")[0] == 0
    change(spring)
    code, _, err = call("run", "plan.json", "--sandbox", "--yes")
    assert (code, told in err) == (2, True), err


def test_another_cap_is_another_plan(call, spring):
    """An approved plan file with another budget is refused, with both amounts."""
    assert call("plan", "spring.csv", "--budget-usd", "9", "--out", "plan.json")[0] == 0
    code, _, err = call("run", "plan.json", "--budget-usd", "10", "--sandbox", "--yes")
    assert (code, "the cap on run is $10.00, not $9.00" in err) == (2, True), err


@pytest.mark.parametrize(
    ("before", "since", "refused"),
    [
        (None, "1", True),  # set by hand since: a run would put the plan's cap in its place
        ("3", "1", True),
        ("3", "7", True),
        ("3", "3", False),  # as the plan was shown: replaced, and said
        (None, "5", False),  # what a run of the plan itself sets
        ("3", "none", False),
        (None, None, False),
    ],
)
def test_a_cap_that_was_set_since_is_not_undone_by_a_plan_file(
    call, tmp_path, monkeypatch, before, since, refused
):
    """`run plan.json` is refused (exit 2) where it would replace a cap of the ledger that was changed."""
    monkeypatch.setenv("FAL_KEY", "a-key-that-is-never-used")
    monkeypatch.setattr("callsheet.cli.session._server", lambda *_: ("", None))
    monkeypatch.setattr("callsheet.cli.commands.run.ask", lambda _: False)
    (tmp_path / "s.csv").write_text(f"{HEADER}a,A fox,seedance-1.0-lite,480p,2\n")
    text = '[campaign]\nname = "s"\nmanifest = "s.csv"\n[budget]\ntotal_usd = 5\n'
    (tmp_path / "s.toml").write_text(text)
    Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}").close()
    if before is not None:
        call("budget", "set", "campaign:s", before)
    assert call("plan", "s.toml", "--out", "plan.json")[0] == 0
    if since is not None:
        call("budget", "set", "campaign:s", since)
    code, _, err = call("run", "plan.json")
    said = "campaign s" in err and f"${since}.00" in err and "$5.00" in err
    assert (code, "the plan no longer holds" in err and said) == (2, refused), err
    assert ("not confirmed" in err) != refused
    code, _, err = call("run", "s.toml")  # the campaign file itself says which cap it replaces, as before
    assert (code, "not confirmed" in err) == (2, True), err


def test_a_cap_that_is_set_while_run_asks_is_not_undone(call, tmp_path, monkeypatch):
    """Whoever answers may have the question open for an hour."""
    ledger_url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"

    def ask(_question: str) -> bool:
        with Ledger.open(ledger_url) as ledger:
            ledger.do(admission.set_cap, "campaign", "s", "total", 10**9)
        return True

    monkeypatch.setattr("callsheet.cli.commands.run.ask", ask)
    monkeypatch.setattr("callsheet.cli.session._server", lambda *_: ("", None))
    monkeypatch.setenv("FAL_KEY", "a-key-that-is-never-used")
    (tmp_path / "s.csv").write_text(f"{HEADER}a,A fox,seedance-1.0-lite,480p,2\n")
    text = '[campaign]\nname = "s"\nmanifest = "s.csv"\n[budget]\ntotal_usd = 5\n'
    (tmp_path / "s.toml").write_text(text)
    Ledger.open(ledger_url).close()
    assert call("plan", "s.toml", "--out", "plan.json")[0] == 0
    code, _, err = call("run", "plan.json")
    assert (code, "$1.00 since" in err) == (2, True), err


def test_a_plan_file_is_held_against_the_ledger_that_it_was_shown_with(call, tmp_path, monkeypatch):
    """Another ledger has caps of its own; a file of an earlier version knows of none."""
    monkeypatch.setattr("callsheet.cli.commands.run.ask", lambda _: False)
    monkeypatch.setattr("callsheet.cli.session._server", lambda *_: ("", None))
    monkeypatch.setenv("FAL_KEY", "a-key-that-is-never-used")
    (tmp_path / "s.csv").write_text(f"{HEADER}a,A fox,seedance-1.0-lite,480p,2\n")
    text = '[campaign]\nname = "s"\nmanifest = "s.csv"\n[budget]\ntotal_usd = 5\n'
    (tmp_path / "s.toml").write_text(text)
    Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}").close()
    assert call("plan", "s.toml", "--out", "plan.json")[0] == 0
    call("budget", "set", "campaign:s", "1")
    assert "no longer holds" in call("run", "plan.json")[2]
    document = json.loads((tmp_path / "plan.json").read_text())
    for other in (None, {**document["ledger"], "id": "another"}):
        (tmp_path / "plan.json").write_text(json.dumps({**document, "ledger": other}))
        assert "not confirmed" in call("run", "plan.json")[2]
    (tmp_path / "plan.json").write_text(json.dumps({**document, "ledger": 7}))
    assert "not a complete plan file" in call("run", "plan.json")[2]


@pytest.mark.parametrize(
    ("part", "value", "told"),
    [
        ("price_book", "2099-01-01", "the price book is of 2099-01-01, not 2026-11-21"),
        ("rates", {"seedance-1.0-lite": 1_900_000_000}, "2 rows priced differently: a, b"),
    ],
)
def test_other_prices_are_another_plan(call, spring, monkeypatch, part, value, told):
    """A newer book, and another rate, are each named for what they are (exit 2)."""
    assert call("plan", "spring.csv", "--out", "plan.json")[0] == 0
    old = load_catalog()
    if part == "rates":
        value = tuple(replace(rate, nano=value.get(rate.of, rate.nano)) for rate in old.rates)
    changed = replace(old, **{part: value})
    monkeypatch.setattr("manifests.planner.load_catalog", lambda: changed)
    code, _, err = call("run", "plan.json", "--sandbox", "--yes")
    assert (code, told in err) == (2, True), err


def test_the_book_stands_beside_what_bills_teach(call, spring):
    """Every rate with its day and source; two bills of one endpoint with their median; what conflicts."""
    told = json.loads(call("prices", "show", "--json")[1])
    assert told["price_book"] == "2026-11-21"
    assert {line["for"] for line in told["rates"]} == set(load_catalog().models)
    (learned,) = told["learned"]
    assert (learned["bills"], learned["book"]) == (2, "1.8")
    assert (learned["usd per 1m tokens"], learned["deviation"]) == ("1.8375", "+2.1 %")
    assert all(line["source"] and line["from"] <= told["price_book"] for line in told["rates"])
    assert any("seedance-2.0 4k: $0.014" in line and "$0.008" in line for line in told["conflicts"])


@pytest.mark.parametrize(("budget", "code"), [("1", 0), ("0.0358", 0), ("0.035", 3)])
@pytest.mark.parametrize("more", [(), ("--json",)], ids=["text", "json"])
def test_check_ends_with_3_where_the_plan_does_not_fit(call, shots, budget, code, more):
    """To the nano-dollar, as a run would refuse it; without --check a plan is always a success."""
    assert call("plan", "shots.csv", "--budget-usd", budget, "--check", *more)[0] == code
    assert call("plan", "shots.csv", "--budget-usd", budget, *more)[0] == 0


def test_a_plan_says_what_is_frozen_and_what_releases_it(call, spring, tmp_path):
    """With --check it ends with 3, as a run does; where nothing is to be bought neither refuses."""
    (tmp_path / "night.csv").write_text(f"{HEADER}n,A bat,seedance-1.0-lite,480p,2\n")
    make(tmp_path / "night.csv", cost_nano=900 * 35_721_000)
    code, out, _ = call("plan", "spring.csv", "--check")
    assert (code, "frozen: " in out) == (0, True)
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as ledger:
        assert select(ledger, make_plan(spring), fit=False).buy == ()
    spring.write_text(f"{HEADER}c,A dog,seedance-1.0-lite,480p,2\n")
    code, out, _ = call("plan", "spring.csv", "--check", "--budget-usd", "1")
    assert (code, "release them with `callsheet budget unfreeze`" in " ".join(out.split())) == (3, True)
    assert "fits the budget" not in out
    code, out, _ = call("plan", "spring.csv", "--json")
    told = {"accounts": ["ledger", "model seedance-1.0-lite"], "release": "callsheet budget unfreeze"}
    assert (code, json.loads(out)["frozen"]) == (0, told)
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as ledger:
        ledger.do(admission.unfreeze)
    assert json.loads(call("plan", "spring.csv", "--json")[1])["frozen"] is None


def test_the_question_before_a_run_names_all_that_may_be_spent(tmp_path):
    """Retakes have an allowance of their own, and with --accept-prices fal's list may be above the book."""
    (tmp_path / "s.csv").write_text(f"{HEADER}a,A fox,seedance-1.0-lite,480p,2\n")
    campaign = tmp_path / "s.toml"
    campaign.write_text('[campaign]\nname = "s"\nmanifest = "s.csv"\n')
    buying = Selection(buy=(0,), left=())
    plain = "Buy 1 video for at most $0.0358"
    assert question(make_plan(campaign), buying, accept_prices=False) == f"{plain}?"
    with campaign.open("a") as file:
        file.write('[retakes]\nmax = 2\nbudget_usd = "0.05"\non = ["black"]\n')
    plan = make_plan(campaign)
    assert question(plan, buying, accept_prices=False) == f"{plain}, and retakes for at most $0.0500?"
    asked = question(plan, buying, accept_prices=True)
    assert asked.startswith(f"{plain} by the price book (fal's list counts instead, and may be higher), and ")


def test_an_empty_manifest_is_a_plan_of_nothing(call, tmp_path):
    """It says so, prints no empty table, and is a success, also with --check."""
    (tmp_path / "night.csv").write_text(HEADER)
    code, out, err = call("plan", "night.csv", "--budget-usd", "1", "--check")
    assert code == 0
    assert out.startswith("night: 0 jobs, ")
    assert "expected" not in out
    assert "the manifest has no rows" in err
    assert call("validate", "night.csv")[:2] == (0, "0 jobs, no errors\n")
