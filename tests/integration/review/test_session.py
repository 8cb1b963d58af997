"""Numbers and seeds of retakes: the same as long as nothing was bought, and new ones afterwards."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from callsheet.errors import UsageError
from callsheet.ledger import Ledger, queries
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


def opened(house: Any, run_id: str, ledger: Ledger) -> tuple[ReviewSession, Callable[..., dict[str, Any]]]:
    """Open a review; returns it and a function that judges its first clip."""
    run, (first, _) = ledger.do(queries.run, run_id), ledger.do(queries.jobs, run_id)
    session = ReviewSession(ledger, run)

    def judge(verdict: str, **changes: Any) -> dict[str, Any]:
        said = {"verdict": verdict, "note": "", "changes": changes, "by": "Ana", "seen": 2**40}
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
