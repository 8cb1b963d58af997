"""Tables as people and their programs save them: what is understood, and what is asked for."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from callsheet.errors import ManifestError, Problem, UsageError
from manifests import planner
from manifests.plan import Plan, PlanOptions
from manifests.planner import make_plan
from manifests.readers import local_files
from manifests.table import COLUMNS_MAX
from tests.rig.workbooks import Failed, book, sheet, workbook

FAST = "seedance-1.0-pro-fast"
ROWS = {"prompt": ["a kite", "a boat"], "model": [FAST] * 2}


@pytest.fixture(params=["one by one", "by columns"], autouse=True)
def way(request, monkeypatch, tmp_path):
    """Check few rows and many rows alike: both ways must read every file in the same way."""
    monkeypatch.chdir(tmp_path)
    if request.param == "by columns":
        monkeypatch.setattr(planner, "FEW_JOBS", -1)


def _plan(content: str | bytes, name: str = "shots.csv", **options: Any) -> Plan:
    Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    return make_plan(name, overrides=PlanOptions(**options))


def _problems(content: str | bytes, name: str = "shots.csv", **options: Any) -> list[Problem]:
    with pytest.raises(ManifestError) as caught:
        _plan(content, name, **options)
    return caught.value.problems


def _parquet(name: str = "shots.parquet", **columns: Any) -> Plan:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({**ROWS, **columns}), name)
    return make_plan(name)


@pytest.mark.parametrize(
    "header",
    [
        "Prompt,Model,Resolution,Aspect Ratio,Client",
        "PROMPT,MODEL,RESOLUTION,ASPECT-RATIO,CLIENT",
        "prompt,model,resolution,aspectRatio,client",
        " prompt ,\u200bmodel,Reso_lution,aspect\u00a0ratio,\ufeffclient",
        "Prompt,model,resolution,  Aspect   Ratio  ,Client",
    ],
)
def test_a_header_is_ours_in_any_spelling(header):
    """Case, spaces, `-`, `_` and characters without width make no other column, and no warning."""
    plan = _plan(f"{header}\na kite,{FAST},480p,9:16,acme\n")
    job = plan.jobs[0].job
    assert (job.prompt, job.resolution, job.aspect_ratio, job.client) == ("a kite", "480p", "9:16", "acme")
    assert plan.warnings == ()


def test_the_spelling_of_a_header_changes_no_plan():
    """The same rows under other headers are the same plan, and no part of it is bought again."""
    ours = _plan(f"prompt,model,resolution\na kite,{FAST},480p\n")
    theirs = _plan(f"Prompt,Model,Resolution\na kite,{FAST},480p\n")
    assert theirs.hash == ours.hash


@pytest.mark.parametrize("header", ["prompt,model,Prompt", "Aspect Ratio,model,aspect_ratio", "x,model,X "])
def test_two_columns_must_not_be_one(header):
    """Which of two is meant is for the person to say; columns that are not ours may look alike."""
    content = f"{header}\na,{FAST},b\n"
    if header.startswith("x"):
        assert [problem.column for problem in _problems(content)] == ["prompt"]
        return
    (problem,) = _problems(content)
    first, _, second = header.split(",")
    assert f"{first!r} and {second!r} are the same column" in problem.message
    assert (problem.row, problem.found) == (1, "columns 1 and 3")


def test_every_column_of_one_name_is_named_with_the_first():
    """Whatever stands between them."""
    found = [each.found for each in _problems(f"prompt,model,Model,x,MODEL\na kite,{FAST},1,2,3\n")]
    assert found == ["columns 2 and 3", "columns 2 and 5"]


def test_a_column_may_be_renamed_out_of_the_way():
    """[columns] decides before the spelling does."""
    Path("shots.csv").write_text(f"Prompt,prompt,Model\nold,a kite,{FAST}\n")
    Path("c.toml").write_text(
        '[campaign]\nname = "c"\nmanifest = "shots.csv"\n[columns]\nPrompt = "first_try"\n'
    )
    job = make_plan("c.toml").jobs[0].job
    assert (job.prompt, dict(job.extra)) == ("a kite", {"first_try": "old"})


def test_a_campaign_file_may_spell_our_columns_as_it_likes():
    """Defaults, matrix, templates and renamings name columns as headers do; a wrong value keeps its line."""
    Path("shots.csv").write_text("Product\nkite\n")
    head = '[campaign]\nname = "c"\nmanifest = "shots.csv"\n[template]\nPrompt = "a {Product} by {Client}"\n'
    body = f'[defaults]\nModel = "{FAST}"\nClient = "acme"\n[matrix]\n"Aspect Ratio" = ["1:1", "9:16"]\n'
    Path("c.toml").write_text(f"{head}{body}[defaults.x]\n".replace("[defaults.x]\n", ""))
    plan = make_plan("c.toml")
    assert [each.job.aspect_ratio for each in plan.jobs] == ["1:1", "9:16"]
    assert {each.job.prompt for each in plan.jobs} == {"a kite by acme"}
    Path("c.toml").write_text(head + body.replace('"acme"', '"acme"\nResolution = "8k"'))
    with pytest.raises(ManifestError) as caught:
        make_plan("c.toml")
    assert [(each.row, each.column) for each in caught.value.problems] == [(9, "defaults.resolution")]
    Path("c.toml").write_text(head + body.replace('"acme"', '"acme"\nclient = "b"'))
    with pytest.raises(ManifestError) as caught:
        make_plan("c.toml")
    assert "'Client' and 'client' are the same column" in caught.value.problems[0].message


TABLE = f"prompt,model,resolution\na kite,{FAST},480p\n"


@pytest.mark.parametrize(
    "content",
    [
        TABLE.replace("\n", ",,,\n"),
        TABLE.replace("resolution\n", "resolution,,\n"),
        f"prompt,,model,resolution\na kite,,{FAST},480p\n",
        "sep=;\r\n" + TABLE.replace(",", ";"),
        '"sep=\t"\n' + TABLE.replace(",", "\t"),
        "SEP=|\n" + TABLE.replace(",", "|"),
        TABLE.replace(",", "|"),
        TABLE.encode("utf-16"),
        "\ufeff".encode("utf-16-be") + TABLE.encode("utf-16-be"),
        "\ufeff\ufeff" + TABLE,
        "Spring launch\n\n" + TABLE,
        "Spring launch; 2026; final,,\nby Zoe,,\n" + TABLE,
        "Client,Acme,\nDate,1 May,\n,,\n" + TABLE,
        "Spring, summer and all the rest, a long title\n" + TABLE.replace(",", ";"),
        f",prompt,model,resolution\n0,a kite,{FAST},480p\n",
        TABLE.replace("resolution", "resolution,done").replace("480p", "480p,") + ",,,FALSE\n" * 3,
    ],
)
def test_csv_as_programs_save_it(content):
    """Empty columns, a line that names the separator, UTF-16 and a title above the header do no harm."""
    plan = _plan(content)
    assert [(each.job.prompt, each.job.resolution) for each in plan.jobs] == [("a kite", "480p")]
    assert plan.warnings == ()


@pytest.mark.parametrize(
    "rows",
    [
        [["Spring campaign"], [None], ["prompt"], ["a kite"]],
        [["Spring campaign"], ["Prompt"], ["a kite"]],
        [["Spring campaign"], ["by Zoe"], [None], ["Shot text"], ["a kite"]],
        [["Spring campaign", None], [None, None], ["prompt", "note"], ["a kite", "x"]],
    ],
    ids=["a blank line", "none", "two lines", "a column of theirs"],
)
@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_a_title_above_a_header_with_the_prompt_alone(rows, kind):
    """It is left out with a word about it, as nothing but the one header shows that it is no shot."""
    text = "".join(",".join(cell or "" for cell in row) + "\n" for row in rows)
    Path(f"shots.{kind}").write_bytes(book(Shots=rows) if kind == "xlsx" else text.encode())
    Path("c.toml").write_text(
        f'[campaign]\nname = "c"\nmanifest = "shots.{kind}"\n[defaults]\nmodel = "{FAST}"\n'
        + '[columns]\n"Shot text" = "prompt"\n' * (["Shot text"] in rows)
    )
    plan = make_plan("c.toml")
    assert [each.job.prompt for each in plan.jobs] == ["a kite"]
    (warning,) = plan.warnings
    assert warning.row == 1
    assert "above the header" in warning.message


@pytest.mark.parametrize(
    ("content", "prompts"),
    [
        ("prompt\nSpring campaign\n\nprompt\na kite\n", ["Spring campaign", "prompt", "a kite"]),
        ("Prompt\nSpring campaign\nSeed\n", ["Spring campaign", "Seed"]),
    ],
)
def test_a_prompt_that_looks_like_a_title_is_a_shot(content, prompts):
    """Where the first row is a header, no row below it is another one."""
    plan = _plan(content, defaults={"model": FAST})
    assert [each.job.prompt for each in plan.jobs] == prompts
    assert plan.warnings == ()


@pytest.mark.parametrize("product", ["Seed", "Model", "Draft", "Client"])
def test_a_cell_that_is_called_like_a_column_makes_no_header(product):
    """Products of one column may be called like columns of ours; none of them is lost."""
    Path("shots.csv").write_text(f"Product\nkite\n{product}\nboat\n")
    Path("c.toml").write_text(
        f'[campaign]\nname = "c"\nmanifest = "shots.csv"\n[defaults]\nmodel = "{FAST}"\n'
        '[template]\nprompt = "a {Product}"\n'
    )
    plan = make_plan("c.toml")
    assert [each.job.prompt for each in plan.jobs] == ["a kite", f"a {product}", "a boat"]


@pytest.mark.parametrize(
    ("content", "row", "message"),
    [
        (TABLE.replace("480p\n", "480p,,x\n"), 2, "the header has 3"),
        (TABLE.replace("\n", ",\n").replace("480p,", "480p,x"), 1, "Column 4 has no header."),
        ("My shots,,,\nNr,Words,Who,Size\n1,a kite,x,480p\n", 1, "Columns 2, 3 and 4 have no header. Is the"),
        ("sep=;\n" + TABLE.replace(",", ";") + "a boat;x\n", 3, "the header has 3"),
        (TABLE.encode("utf-16")[:-1], 0, "begins like UTF-16"),
        (TABLE.replace("a kite", '"a\nkite"').encode() + b"K\xe4se,x,y\n", 3, "the file is not UTF-8"),
    ],
)
def test_csv_that_asks_for_a_hand(content, row, message):
    """One sentence says what to do. Rows count as a spreadsheet shows them: it hides the line `sep=;`."""
    problem = _problems(content)[0]
    assert problem.row == row
    assert message in problem.message


def test_a_json_list_is_named_with_what_to_write():
    """Pandas writes one unless it is told to write lines."""
    with pytest.raises(UsageError, match="lines=True"):
        _plan('[{"prompt": "a kite"}]', "shots.json")


def test_header_row_says_where_the_header_is():
    """As an option and in the campaign file; a row without cells and a wrong number are errors."""
    content = "a,b\n\nWords,Which\na kite,x\n"
    options = {"header_row": 3, "defaults": {"model": FAST}}
    assert [each.column for each in _problems(content, **options)] == ["prompt"]
    campaign = '[campaign]\nname = "c"\nmanifest = "shots.csv"\n[columns]\nWords = "prompt"\n'
    campaign += "[input]\nheader_row = {}\n"
    Path("c.toml").write_text(campaign.format(3) + f'[defaults]\nmodel = "{FAST}"\n')
    (job,) = make_plan("c.toml").jobs
    assert (job.job.prompt, job.job.row) == ("a kite", 4)
    for wrong in ("0", "true", '"3"'):
        Path("c.toml").write_text(campaign.format(wrong))
        with pytest.raises(ManifestError) as caught:
            make_plan("c.toml")
        assert "must be the header's row" in caught.value.problems[0].message
    (problem,) = _problems(content, header_row=2)
    assert (problem.row, problem.message) == (2, "header_row names this row, and it is empty")
    with pytest.raises(UsageError, match="has no header row"):
        _plan('{"prompt": "a"}', "shots.jsonl", header_row=2)


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("prompt", "#REF!"),
        ("custom_id", "#N/A"),
        ("client", "#NAME?"),
        ("output_name", "#VALUE!"),
        ("resolution", "#DIV/0!"),
        ("aspect_ratio", "#BEZUG!"),
        ("duration", "#n/a"),
        ("num_frames", "#NULL!"),
        ("seed", "#NUM!"),
        ("camera_fixed", "Err:502"),
        ("priority", "#SPILL!"),
    ],
)
def test_a_failed_formula_is_an_error_in_any_column_of_ours(column, cell):
    """An empty cell would have meant a default, another price, or no client's cap."""
    cells = {"prompt": "a kite", "model": FAST, column: cell}
    (problem,) = _problems(",".join(cells) + "\n" + ",".join(cells.values()) + "\n")
    assert (problem.row, problem.column, problem.found) == (2, column, cell)
    assert "this formula failed in the spreadsheet" in problem.message
    plan = _plan(f"prompt,model,note\na kite,{FAST},{cell}\n")
    assert plan.jobs[0].job.extra["note"] == cell


def test_a_failed_formula_in_a_workbook_is_an_error():
    """Its cell is not empty, whatever the reading library makes of it."""
    rows = [["prompt", "model", "client"], ["a kite", FAST, Failed("#REF!")], ["a boat", FAST, "acme"]]
    (problem,) = _problems(book(Shots=rows), "shots.xlsx")
    assert (problem.row, problem.column, problem.found) == (2, "client", "#REF!")


@pytest.mark.parametrize(
    "prompt", ["nan", "NaN", "None", "null", "NULL", "<NA>", "NaT", "n/a", "NA", "undefined"]
)
def test_a_word_for_nothing_is_no_prompt(prompt):
    """What pandas and databases write for an empty cell is not bought as a video."""
    (problem,) = _problems(f"prompt,model\n{prompt},{FAST}\n")
    assert (problem.column, problem.found) == ("prompt", prompt)
    assert "a program's word for an empty cell, not a prompt" in problem.message


@pytest.mark.parametrize(
    "prompt",
    ["none of the boats is red", "Null Island at dawn", "#1 fan", "Err, 502 birds", "nan bread", "#sea!"],
)
def test_a_prompt_may_begin_with_a_word_for_nothing(prompt):
    """Only a cell that is nothing else is an error."""
    assert _plan(f'prompt,model,client\n"{prompt}",{FAST},NA\n').jobs[0].job.prompt == prompt


@pytest.mark.parametrize(
    ("cell", "resolution"),
    [
        ("480", "480p"),
        ("1080", "1080p"),
        ("720.0", "720p"),
        ("720 p", "720p"),
        ("1080P", "1080p"),
        ("", "1080p"),
    ],
)
def test_lines_without_their_p_are_a_resolution(cell, resolution):
    """`480` can mean nothing else, and is the same video as `480p`."""
    plan = _plan(f"prompt,model,resolution\na kite,{FAST},{cell}\n")
    assert plan.jobs[0].job.resolution == resolution
    spelled = _plan(f"prompt,model,resolution\na kite,{FAST},{resolution}\n")
    assert [each.fingerprint for each in plan.jobs] == [each.fingerprint for each in spelled.jobs]


@pytest.mark.parametrize("cell", ["540", "48", "480pp", "480.5", "10800"])
def test_other_numbers_are_no_resolution(cell):
    """What is not allowed stays an error that shows what is."""
    (problem,) = _problems(f"prompt,model,resolution\na kite,{FAST},{cell}\n")
    assert "allows 480p, 720p, 1080p" in problem.message


@pytest.mark.parametrize("scale", [0, 9, 18])
def test_whole_numbers_of_a_warehouse_are_whole(scale):
    """decimal(38, 9) and (38, 18), as BigQuery and Spark write NUMERIC, hold 5 like any other type."""
    kind = pa.decimal128(38, scale)
    plan = _parquet(
        duration=pa.array([Decimal(5), Decimal(4)], kind),
        seed=pa.array([Decimal(7), None], kind),
        custom_id=pa.array([Decimal(1001), Decimal(1002)], kind),
        price=pa.array([Decimal(20), None], pa.decimal256(70, scale)),
    )
    jobs = [each.job for each in plan.jobs]
    assert [(job.custom_id, job.duration_s, job.seed) for job in jobs] == [("1001", 5, 7), ("1002", 4, None)]
    assert [job.extra["price"] for job in jobs] == ["20", ""]


def test_half_a_second_of_a_warehouse_is_none():
    """A fraction stays one, and stays refused."""
    with pytest.raises(ManifestError) as caught:
        _parquet(duration=pa.array([Decimal("5.5"), Decimal(4)], pa.decimal128(38, 9)))
    assert [(each.row, each.found) for each in caught.value.problems] == [(1, "5.500000000")]


FAR = 2**40
CARRIED = {
    "far timestamp": (pa.array([FAR, None], pa.timestamp("s")), "1099511627776000 (timestamp[ms])"),
    "nanoseconds": (pa.array([1, None], pa.timestamp("ns")), "1970-01-01T00:00:00.000000001"),
    "unknown zone": (
        pa.array([0, None], pa.timestamp("s", "Nowhere/Zone")),
        "0 (timestamp[ms, tz=Nowhere/Zone])",
    ),
    "known zone": (pa.array([0, None], pa.timestamp("s", "Europe/Berlin")), "1970-01-01T01:00:00+01:00"),
    "far date": (pa.array([2**31 - 1, None], pa.int32()).cast(pa.date32()), "2147483647 (date32[day])"),
    "interval as bytes": (pa.array([b"\0\3\0abc", None], pa.binary(6)), "\\x00\\x03\\x00abc"),
    "duration": (pa.array([2**62, None], pa.duration("s")), "4611686018427387904 (duration[s])"),
    "time": (pa.array([1, None], pa.time64("us")), "00:00:00.000001"),
    "half": (pa.array([1.5, None], pa.float16()), "1.5"),
    "large": (pa.array(["x", None], pa.large_string()), "x"),
    "view": (pa.array(["x", None], pa.string_view()), "x"),
    "bytes": (pa.array([b"\xff", None], pa.binary()), "\\xff"),
    "map": (pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int8())), "('a', 1)"),
    "nested": (pa.array([{"a": {"b": ['"']}}, None]), '{"a": {"b": ["\\""]}}'),
    "dictionary": (pa.array([7, None]).dictionary_encode(), "7"),
    "extension": (
        pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, None], pa.int8())),
        "1",
    ),
    "uuid": (
        pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"\x12\x34" * 8, None], pa.binary(16))),
        "12341234-1234-1234-1234-123412341234",
    ),
}


@pytest.mark.parametrize(("column", "text"), CARRIED.values(), ids=CARRIED.keys())
def test_any_type_is_carried_to_the_results(column, text):
    """A column that is not ours is text in the results, whatever its type, and never a reason to stop."""
    jobs = list(_parquet(note=column).jobs)
    assert [each.job.extra["note"] for each in jobs] == [text, ""]


def test_folders_of_a_partitioned_table_are_columns():
    """`client=acme/part.parquet` gives its rows a client, for a folder, a pattern and a file."""
    for name in ("client=acme/day=1", "client=Caf%C3%A9/day=2", "client=__HIVE_DEFAULT_PARTITION__"):
        _parquet(f"night/{name}/part-0.parquet")
    Path("night/_SUCCESS").touch()
    _parquet("night/_delta/part-9.parquet")
    for source in ("night", "night/client=*/**/*.parquet"):
        plan = make_plan(source)
        found = [(each.job.client, dict(each.job.extra).get("day", "")) for each in plan.jobs]
        assert sorted(found) == [("", "")] * 2 + [("Café", "2")] * 2 + [("acme", "1")] * 2
        assert plan.campaign == "night"
    (job, _) = make_plan("night/client=acme/day=1/part-0.parquet").jobs
    assert (job.job.client, dict(job.job.extra)) == ("acme", {"day": "1"})


@pytest.mark.parametrize("folder", ["client=acme", "Client=acme"])
def test_a_column_in_the_file_goes_before_its_folder(folder):
    """A partition that the file holds as well is no second column, however it is spelled."""
    plan = _parquet(f"{folder}/part.parquet", client=pa.array(["zoe", "zoe"]))
    assert {each.job.client for each in plan.jobs} == {"zoe"}
    Path(f"{folder}/a.csv").write_text(f"prompt,model,client\na kite,{FAST},zoe\n")
    assert {each.job.client for each in make_plan(f"{folder}/a.csv").jobs} == {"zoe"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", f"prompt,model\na kite,{FAST}\n".encode()),
        ("a.jsonl", json.dumps({"prompt": "a kite", "model": FAST}).encode()),
        ("a.xlsx", book(Shots=[["prompt", "model"], ["a kite", FAST]])),
    ],
    ids=["CSV", "JSONL", "XLSX"],
)
def test_folders_of_any_table_are_columns(name, content):
    """A client of a folder counts under its cap, whatever the files in it are."""
    Path("night/Client=acme/day=1").mkdir(parents=True)
    Path("night/Client=acme/day=1", name).write_bytes(content)
    (planned,) = make_plan(f"night/*/*/{name}").jobs
    assert (planned.job.client, dict(planned.job.extra)) == ("acme", {"day": "1"})


def test_a_file_that_a_pattern_finds_twice_is_read_once():
    """A link to the newest night, or to the folder itself, makes no second take of every row."""
    for night in ("1", "2"):
        Path(f"nights/{night}").mkdir(parents=True)
        Path(f"nights/{night}/shots.csv").write_text(f"prompt,model\na kite {night},{FAST}\n")
    Path("nights/latest").symlink_to("2")
    Path("nights/all").symlink_to(".")
    plan = make_plan("nights/**/*.csv")
    assert sorted(each.job.prompt for each in plan.jobs) == ["a kite 1", "a kite 2"]
    assert plan.warnings == ()


@pytest.mark.parametrize(
    "pattern", ["nights/**/*.csv", "**/*.csv", "nights/**", "**/**/shots.csv", "n*/**/[ab]/*.csv"]
)
def test_links_that_lead_back_do_not_multiply_files(pattern):
    """Two links to a parent, or links between folders, end; each file is listed once."""
    for night in ("a", "b"):
        Path(f"nights/{night}").mkdir(parents=True)
        Path(f"nights/{night}/shots.csv").write_text(f"prompt,model\na kite {night},{FAST}\n")
    for link in ("one", "two"):
        Path(f"nights/{link}").symlink_to(".")
        Path(f"nights/a/{link}").symlink_to("..")
        Path(f"nights/a/{link}-b").symlink_to("../b")
        Path(f"nights/b/{link}-a").symlink_to("../a")
    found = local_files(pattern, Path())
    assert {path.resolve().parent.name for path, _ in found} == {"a", "b"}
    assert len(found) == 2


def test_a_folder_behind_two_links_is_two_clients():
    """What the folders' names say is a column, so the same file holds other rows there."""
    Path("shared").mkdir()
    Path("shared/shots.csv").write_text(f"prompt,model\na kite,{FAST}\n")
    Path("nights").mkdir()
    for client in ("acme", "zen"):
        Path(f"nights/client={client}").symlink_to("../shared")
        Path(f"shared/client={client}").symlink_to("../nights")
    assert [each.job.client for each in make_plan("nights/**/*.csv").jobs] == ["acme", "zen"]


def test_a_linked_file_of_a_folder_is_read_once():
    """The newest night has a second name in the folder."""
    Path("nights").mkdir()
    table = pa.table({"prompt": ["a kite"], "model": [FAST]})
    pq.write_table(table, "nights/1.parquet")
    Path("nights/latest.parquet").symlink_to("1.parquet")
    assert make_plan("nights").total.jobs == 1


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("summer/*.csv", "summer"),
        ("summer/shots-*.csv", "shots"),
        ("summer/**/*.csv", "summer"),
        ("summer/[ab]*.csv", "summer"),
        ("summer/a.csv", "a"),
        ("*/a.csv", "a"),
    ],
)
def test_a_pattern_makes_a_readable_campaign(source, name):
    """Money is capped and results gathered under that name."""
    Path("summer").mkdir()
    for each in ("a", "shots-1", "shots-"):
        Path(f"summer/{each}.csv").write_text(TABLE.replace("kite", each))
    assert make_plan(source).campaign == name


def test_the_name_of_a_bare_pattern_is_its_folders(tmp_path):
    """`*.csv` says nothing of its own."""
    _plan(TABLE)
    assert make_plan("*.csv").campaign == tmp_path.name


def test_lock_files_of_a_spreadsheet_program_are_no_manifests():
    """Beside an open workbook lies one: a pattern passes it over, and its own name is told what it is."""
    rows = [["prompt", "model"], ["a kite", FAST]]
    Path("shots.xlsx").write_bytes(book(Shots=rows))
    Path("~$shots.xlsx").write_bytes(b"\x05Alice" + bytes(159))
    assert make_plan("*.xlsx").total.jobs == 1
    with pytest.raises(UsageError, match=r"is the lock file that Excel keeps while shots.xlsx is open"):
        make_plan("~$shots.xlsx")
    Path("shots.xlsx").unlink()
    with pytest.raises(UsageError, match="there is no manifest"):
        make_plan("*.xlsx")


def test_hidden_rows_of_a_workbook_are_a_warning_or_left_out():
    """A filtered sheet is bought whole only with a word about it."""
    rows = [["prompt", "model"], ["a kite", FAST], ["a boat", FAST], ["a dog", FAST]]
    content = workbook({"Shots": sheet(rows, hidden=[2, 4])})
    plan = _plan(content, "shots.xlsx")
    assert plan.total.jobs == 3
    (warning,) = plan.warnings
    assert str(warning).startswith("shots.xlsx, row 2: 2 rows (2 and 4) are hidden or filtered out")
    assert [each.job.prompt for each in _plan(content, "shots.xlsx", skip_hidden=True).jobs] == ["a boat"]
    Path("c.toml").write_text('[campaign]\nname="c"\nmanifest="shots.xlsx"\n[input]\nskip_hidden = true\n')
    assert make_plan("c.toml").total.jobs == 1


def test_a_merged_client_counts_for_all_its_rows():
    """So that the cap on that client counts them all."""
    rows = [["prompt", "model", "client"], ["a kite", FAST, "acme"], ["a boat", FAST], ["a dog", FAST]]
    plan = _plan(workbook({"Shots": sheet(rows, merged=["C2:C4"])}), "shots.xlsx")
    assert [each.job.client for each in plan.jobs] == ["acme"] * 3


@pytest.mark.parametrize("value", [{"scene": "a kite"}, ["a kite", "a boat"], {}, [{"a": 1}]])
@pytest.mark.parametrize("column", ["prompt", "client", "Custom ID"])
def test_an_object_is_no_text(column, value):
    """An object or a list in a column of text is an error, not a prompt in JSON; text in JSON is text."""
    row = {"prompt": "a kite", "model": FAST}
    (problem,) = _problems(json.dumps({**row, column: value}), "shots.jsonl")
    assert problem.row == 1
    assert problem.message in ("this is an object, not text", "this is a list, not text")
    plan = _plan(json.dumps({**row, "prompt": '{"scene": "a kite"}', "note": value}), "shots.jsonl")
    assert plan.jobs[0].job.prompt == '{"scene": "a kite"}'


def test_an_object_of_a_table_is_no_prompt():
    """A Parquet column of structs or lists says so once, and not a row at a time."""
    with pytest.raises(ManifestError) as caught:
        _parquet(prompt=pa.array([{"scene": "a"}, {"scene": "b"}]))
    (problem,) = caught.value.problems
    assert (problem.row, problem.column, problem.message) == (0, "prompt", "this is an object, not text")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("e.csv", "prompt,model\n"),
        ("e.csv", "anything\n\n"),
        ("e.csv", ""),
        ("e.jsonl", ""),
        ("e.xlsx", book(Shots=[["prompt", "model"]])),
    ],
    ids=["a header", "another header", "nothing", "no lines", "a workbook"],
)
def test_an_empty_night_is_a_success_that_says_so(name, content):
    """A scheduled manifest may have no rows; its plan has none, costs nothing and warns of that."""
    plan = _plan(content, name)
    assert plan.total.jobs == 0
    assert [warning.message for warning in plan.warnings] == [
        "the manifest has no rows, so there is nothing to make"
    ]


def test_an_empty_table_of_a_warehouse_is_a_success():
    """Also where it has columns that no row fills."""
    pq.write_table(pa.table({"prompt": pa.array([], pa.string())}), "e.parquet")
    assert make_plan("e.parquet").total.jobs == 0


@pytest.mark.parametrize("header", ["prompt", "prompt,duration"])
def test_a_bad_default_is_blamed_on_its_line(header):
    """One mistake of the campaign file, also where fifteen rows leave the cell empty."""
    rows = "".join(f"kite {number}{',' * header.count(',')}\n" for number in range(15))
    Path("shots.csv").write_text(f"{header}\n{rows}" + ("a dog,77\n" if "duration" in header else ""))
    Path("c.toml").write_text(
        f'[campaign]\nname = "c"\nmanifest = "shots.csv"\n[defaults]\nmodel = "{FAST}"\nduration = 99\n'
        '[matrix]\nresolution = ["480p", "9000p"]\n'
    )
    with pytest.raises(ManifestError) as caught:
        make_plan("c.toml")
    found = [(each.file, each.row, each.column, each.found) for each in caught.value.problems]
    assert sorted(found)[:2] == [
        ("c.toml", 6, "defaults.duration", "99"),
        ("c.toml", 8, "matrix.resolution", "9000p"),
    ]
    assert [each for each in found if each[0] != "c.toml"] == (
        [("shots.csv", 17, "duration", "77")] if "duration" in header else []
    )


def test_a_bad_model_in_the_defaults_is_blamed_on_its_line():
    """And not on every row that has none."""
    Path("shots.csv").write_text("prompt\na kite\na boat\n")
    Path("c.toml").write_text(
        '[campaign]\nname="c"\nmanifest="shots.csv"\n[defaults]\nmodel = "seedance-9"\n'
    )
    with pytest.raises(ManifestError) as caught:
        make_plan("c.toml")
    assert [(each.file, each.row, each.column) for each in caught.value.problems] == [
        ("c.toml", 5, "defaults.model")
    ]


@pytest.mark.parametrize("name", ["wide.csv", "wide.jsonl", "wide.parquet"])
def test_a_table_with_too_many_columns_is_refused(name):
    """As many are read as a sheet of Excel has."""
    row = {"prompt": "a kite", "model": FAST} | {f"c{at}": "x" for at in range(COLUMNS_MAX - 1)}
    if name.endswith(".parquet"):
        pq.write_table(pa.table({key: [cell] for key, cell in row.items()}), name)
    elif name.endswith(".jsonl"):
        Path(name).write_text(json.dumps(row))
    else:
        Path(name).write_text(f"{','.join(row)}\n{','.join(row.values())}\n")
    with pytest.raises(ManifestError) as caught:
        make_plan(name)
    (problem,) = caught.value.problems
    assert (problem.found, problem.message) == ("16,385 columns", "at most 16,384 are allowed")


SHOPIFY = (
    "Handle,Title,Vendor,Tags,Variant SKU,Variant Grams,Variant Inventory Qty,Variant Price,Variant Barcode,"
    "Quantity"
)


def _warned(header: str, *rows: str) -> list[str]:
    """Return the columns that earn a warning beside a prompt and a model."""
    lines = [f"{header},prompt,model", *(f"{row},kite {at},{FAST}" for at, row in enumerate(rows))]
    return [each.column for each in _plan("\n".join(lines)).warnings]


@pytest.mark.parametrize("values", [("PNG", "JPG"), ("Hardcover", "750 ml"), ("", "30x40 cm")])
def test_a_format_that_is_no_shape_is_their_own(values):
    """A product feed has file formats and sizes of packages; they are carried without a word."""
    assert _warned("SKU,Format", *(f"{at},{value}" for at, value in enumerate(values))) == []


@pytest.mark.parametrize(
    "value", ["9:16", "16x9", "1080x1920", "Square", "Hochformat", "1080p", "Story / 9:16"]
)
def test_a_format_that_is_a_shape_is_a_doubt(value):
    """Without the warning every clip would have the model's own shape; one such cell is enough."""
    assert _warned("SKU,Format", "1,", f"2,{value}") == ["Format"]
    filled = _plan(f"Format,aspect_ratio,prompt,model\n{value},9:16,a kite,{FAST}\n")
    assert filled.warnings == ()


def test_variants_and_quantities_of_a_shop_are_its_own():
    """Beside an article number or a price they are what is in stock; elsewhere they may be takes."""
    assert _warned(SHOPIFY, ",".join("1" * 10)) == []
    assert _warned("Name,Price,Quantity", "a,9.99,100") == []
    assert _warned("Name,Quantity", "a,3") == ["Quantity"]
    assert _warned("SKU,Number of takes", "a,3") == ["Number of takes"]
