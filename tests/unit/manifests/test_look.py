"""The rules of a technical look: thresholds of the campaign file, flags in words, and cuts asked for."""

from pathlib import Path

import pytest

from callsheet.errors import ManifestError
from manifests.campaign_file import read_campaign
from manifests.campaign_sections import LookSection
from manifests.look import (
    FLAG_KINDS,
    THRESHOLDS,
    Flag,
    LookRules,
    RetakeRules,
    asks_for_cuts,
    flags_json,
    flags_text,
    look_text,
    read_flags,
    read_look,
    read_retakes,
)
from manifests.plan_document import plan_document
from manifests.planner import make_plan
from pricing.budgets import Cap

FLAGS = (
    Flag("black", 0.0, 1.21, 1.21),
    Flag("blurred", 0.5, 2.0, 8.27),
    Flag("clipped", 0.0, 0.5, 0.214),
    Flag("cut", 2.54, 2.54, 31.2),
    Flag("first_frame", 0.0, 0.0, 0.125),
)


def written(tmp_path: Path, text: str) -> Path:
    """Write a campaign file with a [look] table."""
    path = tmp_path / "spring.toml"
    path.write_text(f'[campaign]\nname = "spring"\nmanifest = "shots.csv"\n{text}')
    return path


def test_flags_are_read_as_people_say_them() -> None:
    """Kind, times and, where it is no length, the figure that was compared."""
    said = "black 0.0-1.2 s; blurred 0.5-2.0 s (8.3 px); clipped 0.0-0.5 s (21%); cut 2.5 s"
    assert flags_text(FLAGS) == f"{said}; first_frame 0.12 alike"
    assert flags_text(()) == ""


def test_flags_and_rules_come_back_from_the_ledger() -> None:
    """What is written is what is read; nothing is written for a clip without flags."""
    assert read_flags(flags_json(FLAGS)) == FLAGS
    assert (flags_json(()), read_flags("")) == ("", ())
    rules = LookRules({**LookRules().limits, "black_s": 2.0}, ("cut",))
    assert read_look(look_text(rules)) == rules
    assert read_look("") == LookRules()


def test_a_campaign_sets_thresholds(tmp_path: Path) -> None:
    """[look] changes what it names, and nothing else."""
    campaign = read_campaign(written(tmp_path, '[look]\nblack_s = 1.5\nsilent_db = -40\nignore = ["cut"]\n'))
    assert campaign.look == LookRules({**LookRules().limits, "black_s": 1.5, "silent_db": -40}, ("cut",))
    assert read_campaign(written(tmp_path, "")).look == LookRules()


@pytest.mark.parametrize(
    ("line", "key", "found", "said"),
    [
        ("black_s = 0", "look.black_s", "0", "must be a number from 0.1 to 60"),
        ("alike = true", "look.alike", "True", "must be a number from 0 to 1"),
        ('cut_percent = "10"', "look.cut_percent", "10", "must be a number from 1 to 100"),
        ("frozen_s = nan", "look.frozen_s", "nan", "must be a number from 0.2 to 60"),
        ('ignore = ["blak"]', "look.ignore", "['blak']", f"must be a list of {', '.join(FLAG_KINDS)}"),
        ("dark = 1", "look.dark", "", "there is no such key; allowed are black_s, black_level,"),
    ],
)
def test_a_mistake_names_line_key_and_what_is_allowed(
    tmp_path: Path, line: str, key: str, found: str, said: str
) -> None:
    """[look] is read as strictly as the rest of the file."""
    with pytest.raises(ManifestError) as caught:
        read_campaign(written(tmp_path, f"[look]\n{line}\n"))
    (problem,) = caught.value.problems
    assert (problem.row, problem.column, problem.found) == (5, key, found)
    assert problem.message.startswith(said)


def test_every_threshold_has_a_key() -> None:
    """The campaign file can set each of them, and its default is within its bounds."""
    assert set(LookSection.model_fields) == {*THRESHOLDS, "ignore"}
    assert all(each.low <= each.default <= each.high for each in THRESHOLDS.values())


@pytest.mark.parametrize(
    ("prompt", "asks"),
    [
        ("A paper boat on a still pond", False),
        ("Cut flowers in a vase. [Push in] Petals", False),
        ("A runner [cut] a close-up of shoes", True),
        ("[Push in] A car. [Pan left] Snow", True),
        ("A car races. Cut to the driver's eyes", True),
        ("Shot 1: a car. Shot 2: the driver", True),
        ("城市夜景 镜头切换到河边", True),
        ("A montage of breakfasts", True),
    ],
)
def test_which_prompts_ask_for_cuts(prompt: str, asks: bool) -> None:
    """Two camera instructions are two shots; words for a cut count, flowers do not."""
    assert asks_for_cuts(prompt) is asks


RETAKES = '[retakes]\nmax = 2\nbudget_usd = "0.50"\non = ["black", "frozen"]\n'


def test_retakes_are_off_unless_asked_for(tmp_path: Path) -> None:
    """[retakes] names how often, for which flags, and a cap of its own."""
    assert read_campaign(written(tmp_path, "")).retakes is None
    campaign = read_campaign(written(tmp_path, RETAKES))
    assert campaign.retakes == RetakeRules(2, ("black", "frozen"))
    assert campaign.caps == (Cap("retakes", "", "total", 500_000_000),)
    kept = look_text(LookRules(), RetakeRules(2, ("black",), 3))
    assert read_retakes(kept) == RetakeRules(2, ("black",), 3)
    assert read_retakes(look_text(LookRules())) is None


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        ('[retakes]\nmax = 2\non = ["black"]\n', "retakes.budget_usd", "this key is required"),
        (RETAKES.replace("2\n", "11\n"), "retakes.max", "must be a whole number from 1 to 10"),
        (RETAKES.replace('"black", "frozen"', ""), "retakes.on", "must name at least one of black,"),
        (RETAKES + "more = 1\n", "retakes.more", "there is no such key; allowed are max, budget_usd, on"),
        (f'[look]\nignore = ["black"]\n{RETAKES}', "retakes.on", "[look] ignores this kind"),
    ],
)
def test_a_mistake_in_retakes_is_named(tmp_path: Path, text: str, key: str, said: str) -> None:
    """A table without a sum is no allowance, and what is not looked for is never found."""
    with pytest.raises(ManifestError) as caught:
        read_campaign(written(tmp_path, text))
    (problem,) = caught.value.problems
    assert problem.row >= 4
    assert (problem.column, problem.message[: len(said)]) == (key, said)


def test_the_allowance_is_part_of_the_plan(tmp_path: Path) -> None:
    """Another number, kind or sum is another plan; what the plan orders does not count in the allowance."""
    (tmp_path / "shots.csv").write_text(
        "prompt,model,resolution,duration\nA boat,seedance-1.0-pro-fast,480p,2\n"
    )
    texts = ("", RETAKES, RETAKES.replace("2\n", "3\n"), RETAKES.replace("0.50", "0.60"))
    plans = [make_plan(written(tmp_path, text)) for text in texts]
    assert len({plan.hash for plan in plans}) == len(texts)
    assert all(plan_document(plan)["fits"] for plan in plans)
    assert plan_document(plans[1])["retakes"] == {"max": 2, "on": ["black", "frozen"]}
