"""Campaign files: what they mean, and every mistake by its key."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.errors import ManifestError, UsageError
from manifests.campaign import BadTemplate, parse_template
from manifests.campaign_file import read_campaign
from manifests.expand import MAX_JOBS
from manifests.plan import Plan
from manifests.planner import make_plan
from pricing.budgets import Cap

HEAD = '[campaign]\nname = "spring"\nmanifest = "shots.csv"\n'
MODEL = '[defaults]\nmodel = "seedance-1.0-pro-fast"\n'


def _plan(folder: Path, campaign: str, manifest: str = "prompt\nA fox\n") -> Plan:
    (folder / "shots.csv").write_text(manifest)
    (folder / "campaign.toml").write_text(campaign)
    return make_plan(folder / "campaign.toml")


def _problems(folder: Path, campaign: str, manifest: str = "prompt\nA fox\n") -> list[tuple[int, str, str]]:
    with pytest.raises(ManifestError) as caught:
        _plan(folder, campaign, manifest)
    return [(problem.row, problem.column, problem.message) for problem in caught.value.problems]


def test_the_whole_campaign(tmp_path: Path) -> None:
    """Renaming, defaults, template, matrix, takes, budget and names do together what the file says."""
    plan = _plan(
        tmp_path,
        """
[campaign]
name = "spring-launch"
manifest = "shots.csv"
[defaults]
model = "seedance-1.0-pro-fast"
resolution = "720p"
[columns]
"Shot text" = "product"
[template]
prompt = "{product} on {background}. [Push in]"
[matrix]
aspect_ratio = ["16:9", "9:16"]
takes = 2
[budget]
total_usd = 120.00
daily_usd = 40
monthly_usd = "80.5"
[budget.client]
acme = 60.00
[output]
dir = "s3://bucket/prefix"
name = "{client}/{custom_id}"
""",
        "custom_id,Shot text,background,client,seed,resolution\ns1,A shoe,white,acme,7,\n,A hat,red,,,480p\n",
    )
    assert [planned.job.custom_id for planned in plan.jobs[:4]] == [
        "s1-16x9",
        "s1-16x9-t2",
        "s1-9x16",
        "s1-9x16-t2",
    ]
    assert [planned.job.output_name for planned in plan.jobs[:2]] == ["acme/s1-16x9", "acme/s1-16x9-t2"]
    assert [planned.job.seed for planned in plan.jobs] == [7, 8, 7, 8, None, None, None, None]
    assert [planned.job.take for planned in plan.jobs] == [1, 2] * 4
    assert {planned.job.prompt for planned in plan.jobs} == {
        "A shoe on white. [Push in]",
        "A hat on red. [Push in]",
    }
    assert [planned.job.resolution for planned in plan.jobs[::4]] == ["720p", "480p"]
    assert len({planned.fingerprint for planned in plan.jobs}) == 8
    assert plan.campaign == "spring-launch"
    assert plan.out == "s3://bucket/prefix"
    assert plan.caps == (
        Cap("campaign", "spring-launch", "total", 120_000_000_000),
        Cap("campaign", "spring-launch", "day", 40_000_000_000),
        Cap("campaign", "spring-launch", "month", 80_500_000_000),
        Cap("campaign_client", "spring-launch/acme", "total", 60_000_000_000),
    )
    assert plan.warnings == ()


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("", "campaign", "this key is required"),
        ('[campaign]\nname = "a"\n', "campaign.manifest", "this key is required"),
        ("campaign = 3\n", "campaign", "must be a table"),
        ('[campaign]\nname = "a/b"\nmanifest = "x"\n', "campaign.name", "without / and \\"),
        ('[campaign]\nname = 7\nmanifest = "x"\n', "campaign.name", "must be text"),
        (HEAD + "[budgets]\n", "budgets", "allowed are campaign, input, defaults, columns, template"),
        (
            HEAD + "[budget]\ntotal = 5\n",
            "budget.total",
            "allowed are total_usd, daily_usd, monthly_usd, client",
        ),
        *(
            (HEAD + f"[budget]\ntotal_usd = {text}\n", "budget.total_usd", "amount")
            for text in ("nan", "-nan", "inf")
        ),
        *(
            (HEAD + f"[budget]\ntotal_usd = {text}\n", "budget.total_usd", "amount")
            for text in ("-5", "true", "[1]")
        ),
        *(
            (HEAD + f"[budget]\ntotal_usd = {text}\n", "budget.total_usd", "amount")
            for text in ("1e5000000", '"x"')
        ),
        *(
            (HEAD + f"[budget]\ntotal_usd = {text}\n", "budget.total_usd", "bove 0")
            for text in ("0", "0.0", "1000001")
        ),
        (HEAD + "[budget.client]\nacme = -1\n", "budget.client.acme", "amount"),
        (HEAD + "[matrix]\nseed = 5\n", "matrix.seed", "must be a list"),
        (HEAD + "[matrix]\nseed = []\n", "matrix.seed", "must be a list"),
        (HEAD + "[matrix]\nseed = [1, 1]\n", "matrix.seed", "stands twice"),
        (HEAD + "[matrix]\nseed = [1979-05-27]\n", "matrix.seed", "must be text, a number"),
        *(
            (HEAD + f"[matrix]\ntakes = {text}\n", "matrix.takes", "from 1 to 1000")
            for text in ("0", "1001", "true")
        ),
        (HEAD + '[matrix]\nresolutoin = ["480p"]\n', "matrix.resolutoin", "did you mean resolution?"),
        (HEAD + '[defaults]\nresolutoin = "480p"\n', "defaults.resolutoin", "did you mean resolution?"),
        (HEAD + "draft = true\n", "campaign.draft", "write the column draft under [defaults]"),
        (HEAD + '[output]\ndir = ""\n', "output.dir", "must not be empty"),
        (HEAD + '[template]\nprompt = "{a"\n', "template.prompt", "a single '{' stands at character 1"),
        (HEAD + '[template]\noutput_name = "{a}"\n', "template.output_name", "under [output]"),
        (
            HEAD + '[matrix]\nprompt = ["a"]\n[template]\nprompt = "b"\n',
            "matrix.prompt",
            "decides this column",
        ),
        (HEAD + '[columns]\nText = "prompt"\n', "columns.Text", "has no such column; it has prompt"),
        (HEAD + '[template]\nprompt = "{product}"\n', "template.prompt", "has this column"),
    ],
)
def test_mistakes_name_their_key(tmp_path: Path, text: str, key: str, message: str) -> None:
    """A wrong key or value is one mistake of the file, under its own name and line, with what is allowed."""
    ((row, column, found),) = _problems(tmp_path, text)
    assert column == key
    assert not text or any(part in text.split("\n")[row - 1] for part in key.split(".")[-2:])
    assert message in found


def test_misspelt_columns_are_told_with_every_other_mistake(tmp_path: Path) -> None:
    """A key that is not there does not hide a column that would change nothing."""
    text = HEAD + 'draft = true\n[defaults]\ndrafft = true\n[columns]\nNope = "promt"\n[matrix]\ntakes = 0\n'
    keys = [column for _, column, _ in _problems(tmp_path, text)]
    assert keys == ["campaign.draft", "matrix.takes", "defaults.drafft", "columns.Nope"]


@pytest.mark.parametrize(
    "text", ["[campaign", "a = " + "[" * 5000, "a = " + "9" * 5000, "a = 1\na = 2", "\x00"]
)
def test_what_is_not_toml(tmp_path: Path, text: str) -> None:
    """Broken TOML, deep nesting and number bombs are refused as a whole, at once."""
    with pytest.raises(UsageError, match="is not TOML"):
        _plan(tmp_path, text)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing, huge or wrongly encoded campaign file is said to be so."""
    with pytest.raises(UsageError, match="No such file"):
        read_campaign(tmp_path / "gone.toml")
    (tmp_path / "big.toml").write_bytes(b"#" * 2**21)
    with pytest.raises(UsageError, match="larger than 1 MiB"):
        read_campaign(tmp_path / "big.toml")
    (tmp_path / "latin.toml").write_bytes(b"# \xfc")
    with pytest.raises(UsageError, match="not UTF-8"):
        read_campaign(tmp_path / "latin.toml")


def test_too_many_jobs_are_refused_before_they_are_made(tmp_path: Path) -> None:
    """A matrix beyond a million jobs is refused by arithmetic."""
    lists = "".join(f"c{at} = {list(range(100))}\n" for at in range(4))
    ((_, column, message),) = _problems(tmp_path, f"{HEAD}[matrix]\n{lists}")
    assert column == "matrix"
    assert f"more than {MAX_JOBS:,} jobs" in message


def test_a_row_that_a_template_cannot_fill(tmp_path: Path) -> None:
    """A row whose column is empty is named; the others are not."""
    campaign = HEAD + MODEL + '[template]\nprompt = "{what} here"\n'
    assert _problems(tmp_path, campaign, "what,n\nA fox,1\n,2\n") == [
        (3, "prompt", "the template needs what, which this row leaves empty")
    ]


def test_a_template_may_use_the_rows_own_prompt(tmp_path: Path) -> None:
    """A template decides its column for every row, and can build on what stood there."""
    plan = _plan(tmp_path, HEAD + MODEL + '[template]\nprompt = "{prompt}. [Shake]"\n')
    assert plan.jobs[0].job.prompt == "A fox. [Shake]"


def test_the_matrix_says_what_it_replaces(tmp_path: Path) -> None:
    """A cell that the matrix overrules earns a warning."""
    campaign = HEAD + MODEL + '[matrix]\nresolution = ["480p", "720p"]\n'
    plan = _plan(tmp_path, campaign, "prompt,resolution\nA fox,1080p\nA cat,\n")
    assert [planned.job.resolution for planned in plan.jobs] == ["480p", "720p"] * 2
    assert [(warning.row, warning.found) for warning in plan.warnings] == [(2, "1080p")]


def test_several_manifests(tmp_path: Path) -> None:
    """A glob gathers manifests; mistakes name their own file and clashes name both."""
    for name, rows in (("shots-a", "x,A fox\n"), ("shots-b", "x,A cat\ny,\n")):
        (tmp_path / f"{name}.csv").write_text(f"custom_id,prompt\n{rows}")
    with pytest.raises(ManifestError) as caught:
        _plan(tmp_path, HEAD.replace("shots.csv", "shots-*.csv") + MODEL)
    found = [(Path(problem.file).name, problem.row, problem.column) for problem in caught.value.problems]
    assert found == [("shots-b.csv", 2, "custom_id"), ("shots-b.csv", 3, "prompt")]
    assert "row 2 of" in caught.value.problems[0].message


@pytest.mark.parametrize(
    ("name", "output_name"),
    [
        ("{client}/{custom_id}", "a-b/s-1"),
        ("{nothing}/{custom_id}", "s-1"),
        ("{model}_{aspect_ratio}_{resolution}_{take}", "seedance-1.0-pro-fast_16x9_1080p_1"),
        ("fixed", "fixed"),
        ("{client}/{custom_id}.mp4", "a-b/s-1"),
        ("Hero.MP4", "Hero"),
        ("{nothing}", "s-1"),
    ],
)
def test_names_of_videos(tmp_path: Path, name: str, output_name: str) -> None:
    """A slash of the pattern makes folders, one in a cell does not, and what is empty is left out.

    `.mp4` at its end is not written twice.
    """
    manifest = "custom_id,prompt,client,nothing\ns/1,A fox,../a/b,\n"
    plan = _plan(tmp_path, HEAD + MODEL + f'[output]\nname = "{name}"\n', manifest)
    assert plan.jobs[0].job.output_name == output_name


def test_names_that_a_pattern_makes_equal(tmp_path: Path) -> None:
    """Where a pattern gives two videos one name, the later gets a hash of its id; a name in a row is kept."""
    manifest = "custom_id,prompt,output_name\na,A fox,\nb,A cat,\nc,A dog,mine\n"
    plan = _plan(tmp_path, HEAD + MODEL + '[output]\nname = "clips/{model}"\n', manifest)
    names = [planned.job.output_name for planned in plan.jobs]
    assert names[0] == "clips/seedance-1.0-pro-fast"
    assert names[1].startswith("clips/seedance-1.0-pro-fast-")
    assert names[2] == "mine"


def test_a_name_that_is_too_long_is_a_mistake(tmp_path: Path) -> None:
    """A pattern whose name no file system takes is refused for the row."""
    ((row, column, _),) = _problems(tmp_path, HEAD + MODEL + f'[output]\nname = "{"x" * 101}"\n')
    assert (row, column) == (2, "output_name")


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("{a} and {b}", "1 and 2"),
        ("{{a}} {a}", "{a} 1"),
        ("{ a }", "1"),
        ("no columns", "no columns"),
        ("{a}{b}{a}", "121"),
        ("{row.__class__}", "dotted"),
        ("{0!r:>999999999}", "odd"),
    ],
)
def test_templates(text: str, rendered: str) -> None:
    """Braces name columns and nothing else: what looks like code is only an odd column name."""
    cells = {"a": "1", "b": "2", "row.__class__": "dotted", "0!r:>999999999": "odd"}
    assert parse_template(text).render(cells) == rendered


@pytest.mark.parametrize("text", ["{", "}", "{a", "a}", "{}", "{ }", "{a{b}}"])
def test_broken_templates(text: str) -> None:
    """A brace too many or too few is refused."""
    with pytest.raises(BadTemplate):
        parse_template(text)


@given(st.text(), st.text())
def test_texts_without_columns_stay_as_they_are(text: str, value: str) -> None:
    """With its braces doubled any text renders to itself, and values are never read as templates."""
    doubled = text.replace("{", "{{").replace("}", "}}")
    assert parse_template(doubled).render({}) == text
    assert parse_template(doubled + "{v}").fill({"v": value}) == text + value.strip()


def test_templates_cannot_grow_without_bound() -> None:
    """A template that repeats a large cell stops at 1 MiB."""
    with pytest.raises(BadTemplate, match="longer than 1 MiB"):
        parse_template("{a}" * 100).render({"a": "x" * 20_000})


@pytest.mark.parametrize(
    "name",
    [
        *("../{custom_id}", "a/../../{custom_id}", "/tmp/{custom_id}", "{custom_id}/..", "~/x", ".."),
        *("./{custom_id}", "a\\\\{custom_id}", "C:/{custom_id}", " ../{custom_id}"),
    ],
)
def test_a_file_name_that_leaves_the_folder_is_a_mistake(tmp_path: Path, name: str) -> None:
    """It is not made another name in silence: the line of the campaign file is named."""
    ((line, column, message),) = _problems(tmp_path, f'{HEAD}{MODEL}[output]\nname = "{name}"\n')
    assert (line, column) == (7, "output.name")
    assert "leads out of the run's folder" in message


@pytest.mark.parametrize(
    "name", ["a/{custom_id}", "{client}/{custom_id}", "a..b{custom_id}", "x.{custom_id}"]
)
def test_a_file_name_within_the_folder_is_taken(tmp_path: Path, name: str) -> None:
    """Folders below the run's own, and dots within a name, are meant."""
    assert len(_plan(tmp_path, f'{HEAD}{MODEL}[output]\nname = "{name}"\n').jobs) == 1
