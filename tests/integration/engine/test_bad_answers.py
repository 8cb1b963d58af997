"""One bad answer of fal's does not end what renders or what is paid for."""

from typing import Any

import pytest

from callsheet.ledger import State

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("code", [401, 402, 403])
@pytest.mark.parametrize("route", ["status", "result"])
async def test_one_refusal_of_a_free_read_ends_nothing(house: Any, route: str, code: int) -> None:
    """Two polls in a row are refused, then fal answers: the video is collected, and bought once."""
    prompt = f"A refused boat {route} {code}"
    run_id = house.open_run(f"a,{prompt}")
    house.arm("server_error", route=route, status=code, count=2)
    studio = await house.work(run_id)
    assert studio.stop.reason is None
    assert house.row(run_id).state is State.SUCCEEDED
    assert len(house.accepted(prompt)) == 1


@pytest.mark.parametrize("code", [400, 405, 418, 422, 451])
async def test_one_answer_that_is_no_result_ends_nothing(house: Any, code: int) -> None:
    """A plain refusal of the result is about this reading: the next one brings the video, at its own cost."""
    prompt = f"A misread boat {code}"
    run_id = house.open_run(f"a,{prompt}")
    house.arm("server_error", route="result", status=code, error_type="", count=1)
    await house.work(run_id)
    row = house.row(run_id)
    assert row.state is State.SUCCEEDED
    assert row.spent_nano == house.accepted(prompt)[0]["cost_nano"]
    assert house.sound()


@pytest.mark.parametrize("units", [{}, {"x-fal-billable-units": "0"}, {"x-fal-billable-units": "11.745"}])
@pytest.mark.parametrize("error_type", ["content_policy_violation", "no_media_generated"])
async def test_one_answer_that_a_model_failed_ends_nothing(
    house: Any, error_type: str, units: dict[str, str]
) -> None:
    """Also where it would be charged: the render is asked about again, and its video is there."""
    run_id = house.open_run("a,A boat called failed")
    detail = [{"loc": ["body", "prompt"], "msg": "flagged", "type": error_type}]
    house.arm("answer", route="result", status=422, body={"detail": detail}, headers=units, count=2)
    await house.work(run_id)
    assert house.row(run_id).state is State.SUCCEEDED
    assert house.sound()


async def test_a_model_error_that_is_said_again_and_again_is_believed(house: Any) -> None:
    """Fal's own word for a failed render, three times: nothing is charged, and the job has failed."""
    run_id = house.open_run("a,A failed boat")
    house.arm("render_failed", prompt_contains="A failed boat")
    await house.work(run_id)
    row = house.row(run_id)
    assert (row.state, row.charged, row.error_type) == (State.FAILED, "no", "internal_server_error")
