"""A plan beside what was made: signs, sums, differences."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from manifests.diff import Changes, MadeJob, look_up, to_pay, what_differs
from manifests.plan import Plan
from manifests.planner import make_plan
from tests.unit.manifests.made import compare

ROWS = (
    "custom_id,prompt,model,resolution,duration,seed\n"
    "a,A fox,seedance-1.0-lite,480p,2,\nb,A cat,seedance-1.0-lite,480p,2,\n"
    "c,A dog,seedance-1.0-lite,480p,2,7\n"
)


def plan_of(folder: Path, text: str = ROWS) -> Plan:
    """Plan a small manifest."""
    (folder / "shots.csv").write_text(text)
    return make_plan(folder / "shots.csv")


def made(plan: Plan, position: int, **changes: object) -> MadeJob:
    """One of the plan's jobs as the ledger has it."""
    planned = plan.jobs[position]
    one = MadeJob(position, planned.job.custom_id, planned.fingerprint, planned.quote.expected_nano)
    return replace(one, **changes)  # type: ignore[arg-type]


def test_new_changed_and_made(tmp_path: Path) -> None:
    """Equal content is made, an equal name with other content is changed, everything else is new."""
    plan = plan_of(tmp_path)
    changes = compare(plan, [made(plan, 0), made(plan, 1, fingerprint="other")])
    assert [changes.sign(position) for position in range(3)] == ["=", "~", "+"]


def test_a_new_name_for_the_same_content_is_made_already(tmp_path: Path) -> None:
    """A name is only a name: renaming a row costs nothing."""
    plan = plan_of(tmp_path)
    assert compare(plan, [made(plan, 0, custom_id="z")]).sign(0) == "="


def test_only_what_is_not_made_is_looked_up_by_name(tmp_path: Path) -> None:
    """The ledger is asked for all fingerprints at once, and for the names of the rest."""
    plan = plan_of(tmp_path)
    asked: list[set[str]] = []

    def by_fingerprint(wanted: Collection[str]) -> dict[str, MadeJob]:
        asked.append(set(wanted))
        return {each.fingerprint: each for each in (made(plan, 0), made(plan, 2))}

    def by_name(wanted: Collection[str]) -> dict[str, MadeJob]:
        asked.append(set(wanted))
        return {"b": made(plan, 1, fingerprint="other")}

    changes = look_up(list(plan.identities()), by_fingerprint, by_name)
    assert [changes.sign(position) for position in range(3)] == ["=", "~", "="]
    assert asked == [{each.fingerprint for each in plan.jobs}, {"b"}]


@given(signs=st.lists(st.sampled_from("+~=>"), min_size=3, max_size=3))
def test_only_new_and_changed_cost_money(tmp_path_factory, signs: list[str]) -> None:
    """The sums of all signs are the plan's, less what is made or in flight; budgets are asked about that."""
    plan = plan_of(tmp_path_factory.getbasetemp())
    same = {at: made(plan, at) for at, sign in enumerate(signs) if sign == "="}
    other = {at: made(plan, at) for at, sign in enumerate(signs) if sign == "~"}
    changes = Changes(same, other).beside({at: "r" for at, sign in enumerate(signs) if sign == ">"})
    sums = changes.sums(plan)
    assert [changes.sign(position) for position in range(3)] == signs
    assert [sums[sign].jobs for sign in "+~=>"] == [signs.count(sign) for sign in "+~=>"]
    to_spend = sums["+"].maximum_nano + sums["~"].maximum_nano
    assert to_spend == sum(
        each.quote.maximum_nano for each, sign in zip(plan.jobs, signs, strict=True) if sign in "+~"
    )
    assert sum(spend.maximum_nano for spend in to_pay(plan, changes)) == to_spend
    assert [(sums[sign].maximum_nano, sums[sign].expected_nano) for sign in "=>"] == [(0, 0), (0, 0)]
    assert sums["="].paid_nano == sum(each.paid_nano for each in same.values())


def test_a_changed_row_that_is_in_flight_is_in_flight(tmp_path: Path) -> None:
    """It is bought by that run, whatever its name stood for before."""
    plan = plan_of(tmp_path)
    changes = Changes({}, {1: made(plan, 1)}, frozenset({1})).beside({1: "spring-1"})
    assert [changes.sign(position) for position in range(3)] == ["+", ">", "+"]
    assert (dict(changes.changed), changes.pictures, set(changes.costless)) == ({}, frozenset(), {1})


def test_what_differs_is_named_with_both_values(tmp_path: Path) -> None:
    """Every field that makes another video, what it is and what it was; nothing else."""
    before = plan_of(tmp_path).jobs[2].job
    text = ROWS.replace("c,A dog,seedance-1.0-lite,480p,2,7", "c,A wolf,seedance-1.0-pro,720p,3,")
    after = plan_of(tmp_path, text).jobs[2].job
    assert what_differs(before, after) == [
        "model: seedance-1.0-pro, was seedance-1.0-lite",
        "prompt: A wolf, was A dog",
        "resolution: 720p, was 480p",
        "duration: 3, was 2",
        "seed: nothing, was 7",
    ]
    assert what_differs(before, replace(before, custom_id="z", priority=9, client="acme")) == []


def test_what_differs_is_shown_however_late_it_begins(tmp_path: Path) -> None:
    """Of long texts the part that differs is shown, in one line."""
    job = plan_of(tmp_path).jobs[0].job
    prompt = "A glass teapot on a sunlit table, steam rising slowly"
    told = [
        what_differs(replace(job, prompt=f"{prompt} {old}"), replace(job, prompt=f"{prompt} {new}"))
        for old, new in (("at noon", "at dusk"), ("at noon", "at noon\nin the rain"), ("x" * 50, "y" * 50))
    ]
    assert told == [
        ["prompt: …lowly at dusk, was …lowly at noon"],
        [r"prompt: …y at noon\nin the rain, was …y at noon"],
        [f"prompt: …g slowly {'y' * 29}…, was …g slowly {'x' * 29}…"],
    ]
