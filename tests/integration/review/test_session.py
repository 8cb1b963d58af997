"""Numbers and seeds of retakes: the same as long as nothing was bought, and new ones afterwards."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from callsheet.engine.open_run import changes_of
from callsheet.errors import UsageError
from callsheet.ledger import Ledger, admission, queries, reviews, wall_clock_ms
from callsheet.review.session import ReviewSession
from manifests.planner import make_plan

pytestmark = pytest.mark.anyio


async def made(house: Any) -> str:
    """Make a shot with two takes."""
    source = house.folder / "spring.csv"
    source.write_text(
        "custom_id,prompt,model,resolution,num_frames,seed,take\n"
        "oak,An oak,seedance-1.0-lite,480p,29,1,1\noak-t2,An oak,seedance-1.0-lite,480p,29,2,2\n"
    )
    run_id: str = house.open_source(source)
    await house.work(run_id)
    return run_id


def opened(
    house: Any, run_id: str, ledger: Ledger, warn: Callable[[str], None] = pytest.fail
) -> tuple[ReviewSession, Callable[..., dict[str, Any]]]:
    """Open a review; returns it and a function that judges its first clip."""
    run, (first, _) = ledger.do(queries.run, run_id), ledger.do(queries.jobs, run_id)
    session = ReviewSession(ledger, run, warn)

    def judge(
        verdict: str | None, *, note: str = "", is_as_before: bool = False, **changes: Any
    ) -> dict[str, Any]:
        made_with = None if is_as_before else changes
        said = {"verdict": verdict, "note": note, "changes": made_with, "by": "Ana", "seen": 2**40}
        return session.judge(first.job_id, **said)

    return session, judge


async def test_a_retake_is_the_next_take_until_it_is_bought(house: Any) -> None:
    """Its number follows the takes that there are; ordered again before it is bought, it stays."""
    run_id = await made(house)
    with Ledger.open(house.settings.ledger) as ledger:
        _, judge = opened(house, run_id, ledger)
        first = judge("retake")["review"]["changes"]
        assert first["take"] == 3
        assert judge("retake", prompt="An elm")["review"]["changes"] == {**first, "prompt": "An elm"}
        assert judge("retake", seed=5)["review"]["changes"] == {"take": 3, "seed": 5}
        selection = Path(ledger.do(queries.run, run_id).out) / "selection.csv"
        (planned,) = make_plan(selection).jobs
        assert (planned.job.custom_id, planned.job.seed) == ("oak-t3", 5)
    await house.work(house.open_source(selection))
    with Ledger.open(house.settings.ledger) as ledger:
        _, judge = opened(house, run_id, ledger)
        assert make_plan(selection).jobs[0].fingerprint == planned.fingerprint
        assert judge("retake")["review"]["changes"]["take"] == 4


async def test_a_verdict_that_is_taken_back_leaves_the_selection(house: Any) -> None:
    """What is no longer judged is not in the file, and a clip of another run cannot be judged."""
    run_id = await made(house)
    with Ledger.open(house.settings.ledger) as ledger:
        session, judge = opened(house, run_id, ledger)
        assert judge("retake")["tally"]["maximum"] > 0
        told = judge("")
        assert (told["tally"]["retake"], told["tally"]["maximum"], told["retake"]) == (0, 0, None)
        assert session.selection().count("\n") == 1
        with pytest.raises(UsageError, match="not of this run"):
            session.judge(10**6, verdict="keep", note="", changes={}, by="", seen=0)


async def test_a_judgement_writes_what_others_have_judged_meanwhile(house: Any) -> None:
    """selection.csv is what `finish`, `deliver` and `run` read: the last who judges writes all of it."""
    run_id = await made(house)
    with Ledger.open(house.settings.ledger) as ledger:
        _, judge = opened(house, run_id, ledger)
        run, (_, second) = ledger.do(queries.run, run_id), ledger.do(queries.jobs, run_id)
        ReviewSession(ledger, run).judge(
            second.job_id, verdict="retake", note="", changes={}, by="Ben", seen=0
        )
        assert judge("retake")["review"]["changes"]["take"] == 4
        lines = (Path(run.out) / "selection.csv").read_text().splitlines()
        assert len(lines) == 3
        ReviewSession(ledger, run).judge(
            second.job_id, verdict="reject", note="", changes={}, by="Ben", seen=2**40
        )
        judge("keep")
        assert [each.job.custom_id for each in make_plan(Path(run.out) / "selection.csv").jobs] == []


async def test_a_note_changes_no_order(house: Any) -> None:
    """A clip's verdict and its retake stay as they are, before and after the retake was bought."""
    run_id = await made(house)
    with Ledger.open(house.settings.ledger) as ledger:
        _, judge = opened(house, run_id, ledger)
        assert judge(None, note="too dark")["review"]["verdict"] == ""
        first = judge("retake", prompt="An elm")
        told = judge(None, note="darker still")
        assert (told["review"]["verdict"], told["review"]["note"]) == ("retake", "darker still")
        assert (told["review"]["changes"], told["retake"]) == (first["review"]["changes"], first["retake"])
        selection = Path(ledger.do(queries.run, run_id).out) / "selection.csv"
    await house.work(house.open_source(selection))
    with Ledger.open(house.settings.ledger) as ledger:
        _, judge = opened(house, run_id, ledger)
        told = judge(None, note="good now")
        assert told["review"]["changes"] == first["review"]["changes"]
        plan = make_plan(selection)
        assert [each.job.custom_id for each in plan.jobs] == ["oak-t3"]
        assert len(changes_of(ledger, plan).made) == 1


async def test_only_caps_that_the_retakes_count_in_are_near(house: Any, monkeypatch: Any) -> None:
    """Another client's cap limits none of them, nor does a day that is over."""
    source = house.folder / "clients.csv"
    source.write_text(
        "custom_id,prompt,model,resolution,num_frames,client\n"
        "elm,An elm,seedance-1.0-lite,480p,29,acme\nfir,A fir,seedance-1.0-lite,480p,29,beta\n"
    )
    run_id = house.open_source(source)
    await house.work(run_id)
    with Ledger.open(house.settings.ledger) as ledger:
        session, judge = opened(house, run_id, ledger)
        assert session.tally()["left"] is None
        half = ledger.do(admission.balances, scope="client", key="acme")[0].spent_nano
        ledger.do(admission.set_cap, "client", "beta", "total", half)
        ledger.do(admission.set_cap, "client", "acme", "total", 3 * half)
        assert judge("retake")["tally"]["left"] == 2 * half
        ledger.do(admission.set_cap, "campaign", "clients", "day", 3 * half)
        assert session.tally()["left"] == half
        tomorrow = wall_clock_ms() + 86_400_000
        monkeypatch.setattr(ledger, "_clock", lambda: tomorrow)
        assert session.tally()["left"] == 2 * half


async def test_a_bought_retake_is_neither_counted_nor_priced(house: Any) -> None:
    """What is on order is counted, and what it costs; what was bought is told apart."""
    run_id = await made(house)
    with Ledger.open(house.settings.ledger) as ledger:
        session, judge = opened(house, run_id, ledger)
        judge("retake")
        tally = session.tally()
        assert (tally["retake"], tally["bought"], tally["maximum"] > 0) == (1, 0, True)
        selection = Path(ledger.do(queries.run, run_id).out) / "selection.csv"
    await house.work(house.open_source(selection))
    with Ledger.open(house.settings.ledger) as ledger:
        session, judge = opened(house, run_id, ledger)
        tally = session.tally()
        assert (tally["retake"], tally["bought"], tally["maximum"]) == (0, 1, 0)
        told = judge("retake", is_as_before=True)
        assert (told["retake"]["id"], told["retake"]["bought"]) == ("oak-t4", False)
        assert (told["tally"]["retake"], told["tally"]["bought"]) == (1, 0)
        assert told["tally"]["maximum"] == told["retake"]["maximum"]


async def test_an_order_comes_back_as_it_was(house: Any) -> None:
    """Taken back or kept in between: the prompt, the model, the seed and the number are those of before."""
    run_id = await made(house)
    with Ledger.open(house.settings.ledger) as ledger:
        _, judge = opened(house, run_id, ledger)
        first = judge("retake", prompt="An elm", seed=5)["review"]["changes"]
        for other in ("", "keep"):
            judge(other)
            assert judge("retake", is_as_before=True)["review"]["changes"] == first
        assert judge("retake")["review"]["changes"] == {"take": 3, "seed": 5}
        assert judge("retake", prompt="An elm")["review"]["changes"] == first
        selection = Path(ledger.do(queries.run, run_id).out) / "selection.csv"
    await house.work(house.open_source(selection))
    with Ledger.open(house.settings.ledger) as ledger:
        _, judge = opened(house, run_id, ledger)
        more = judge("retake", is_as_before=True)["review"]["changes"]
        assert (more["take"], more["prompt"]) == (4, "An elm")
        assert more["seed"] != 5


async def test_a_number_that_another_clip_has_ordered_meanwhile_is_left_to_it(house: Any) -> None:
    """Two clips of a shot never order one take, also where one was taken back in between."""
    run_id = await made(house)
    with Ledger.open(house.settings.ledger) as ledger:
        session, judge = opened(house, run_id, ledger)
        _, second = ledger.do(queries.jobs, run_id)
        judge("retake")
        judge("")
        session.judge(second.job_id, verdict="retake", note="", changes=None, by="Ben", seen=0)
        assert judge("retake", is_as_before=True)["review"]["changes"]["take"] == 4


async def test_an_edited_selection_is_kept_beside_the_new_one(house: Any) -> None:
    """Nothing that a person wrote into selection.csv is lost, and what Callsheet wrote is not kept twice."""
    run_id = await made(house)
    with Ledger.open(house.settings.ledger) as ledger:
        run = ledger.do(queries.run, run_id)
        selection = Path(run.out) / "selection.csv"
        told: list[str] = []
        _, judge = opened(house, run_id, ledger, told.append)
        for verdict in ("retake", "", "retake"):
            assert judge(verdict)["edited"] == ""
        edits = []
        for number, name in ((1, "selection-edited.csv"), (2, "selection-edited-2.csv")):
            edits.append(selection.read_text().replace("An oak", f"An oak by hand {number}"))
            selection.write_text(edits[-1])
            assert judge("keep")["edited"] == name
            assert judge("retake")["edited"] == ""
            assert str(selection.with_name(name)) in told[-1]
        assert len(told) == 2
        assert [path.read_text() for path in sorted(selection.parent.glob("selection-edited*.csv"))] == [
            edits[1],
            edits[0],
        ]
        assert "by hand" not in selection.read_text()
        # Another review of the run has the same file in mind.
        _, again = opened(house, run_id, ledger, told.append)
        assert again("reject")["edited"] == ""
        assert judge("keep")["edited"] == ""
        selection.unlink()
        assert judge("reject")["edited"] == ""


async def test_a_selection_of_before_is_no_edited_one(house: Any) -> None:
    """A verdict that the ledger has and the file has not, as after a full disk, leaves no copy behind."""
    run_id = await made(house)
    with Ledger.open(house.settings.ledger) as ledger:
        run, (first, _) = ledger.do(queries.run, run_id), ledger.do(queries.jobs, run_id)
        _, judge = opened(house, run_id, ledger)
        judge("keep")
        ledger.do(reviews.judge, first.job_id, verdict="reject", by="Ben")
        assert judge("retake")["edited"] == ""
        assert not (Path(run.out) / "selection-edited.csv").exists()


async def test_a_retake_that_failed_is_still_on_order(house: Any) -> None:
    """Nothing was bought: it is counted and priced, and ordered again it keeps its number."""
    run_id = await made(house)
    with Ledger.open(house.settings.ledger) as ledger:
        _, judge = opened(house, run_id, ledger)
        first = judge("retake", prompt="An elm that fails")
        selection = Path(ledger.do(queries.run, run_id).out) / "selection.csv"
    house.arm("render_failed", prompt_contains="An elm that fails")
    await house.work(house.open_source(selection))
    with Ledger.open(house.settings.ledger) as ledger:
        session, judge = opened(house, run_id, ledger)
        assert session.tally() == first["tally"]
        assert judge("retake", is_as_before=True)["review"]["changes"] == first["review"]["changes"]
