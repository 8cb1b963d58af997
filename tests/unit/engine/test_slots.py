"""Places: as many as the cap, and a moment of calm for whoever fills one."""

import asyncio

import pytest

from callsheet.engine import slots
from callsheet.engine.slots import Places

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """No test waits by the clock unless it says so."""
    monkeypatch.setattr(slots, "RUSH_S", 60)
    monkeypatch.setattr(slots, "FIRST_RUSH_S", 60)


async def test_what_can_wait_goes_on_when_the_last_place_is_filled():
    """Two purchases are under way; the first that is through does not end the rush."""
    places = Places(2, ahead=0)
    first, second = places.being_filled(), places.being_filled()
    first.__enter__()
    second.__enter__()
    waiting = asyncio.ensure_future(places.calm())
    await asyncio.sleep(0)
    first.__exit__(None, None, None)
    await asyncio.sleep(0)
    assert not waiting.done()
    assert not places.is_calm()
    second.__exit__(None, None, None)
    await waiting
    assert places.is_calm()


async def test_whoever_waits_for_a_place_comes_before_whoever_gave_it_back():
    """The next job is being bought by the time the one before looks whether it may go on."""
    places, order = Places(1, ahead=1), []
    mine = await places.enter()
    await mine.take()
    next_in = await places.enter()

    async def buys() -> None:
        await next_in.take()
        with places.being_filled():
            order.append("bought")
            await asyncio.sleep(0)

    buying = asyncio.ensure_future(buys())
    await asyncio.sleep(0)
    mine.give_back()
    await places.calm()
    order.append("settled")
    await buying
    assert order == ["bought", "settled"]


async def test_whoever_waits_for_somebody_else_is_in_no_hurry():
    """A 429 that says to come back in a minute holds nobody up meanwhile."""
    places = Places(1, ahead=0)
    with places.being_filled():
        with places.standing_empty():
            await places.calm()
        assert not places.is_calm()
    assert places.is_calm()


async def test_nothing_waits_for_long(monkeypatch):
    """A purchase that takes long holds up nobody's bill."""
    monkeypatch.setattr(slots, "RUSH_S", 0.001)
    places = Places(1, ahead=0)
    with places.being_filled():
        await places.calm()
        assert not places.is_calm()


async def test_a_purchase_that_fails_ends_its_rush():
    """Whatever happens between the hold and the reply."""
    places = Places(1, ahead=0)
    with pytest.raises(ZeroDivisionError), places.being_filled():
        raise ZeroDivisionError
    assert places.is_calm()


async def test_the_first_places_are_filled_when_all_of_them_are():
    """Not with the first purchase, and for good: Prefect starts then, and does not wait a second time."""
    places = Places(2, ahead=0)
    first, second = places.being_filled(), places.being_filled()
    waiting = asyncio.ensure_future(places.filled_once())
    first.__enter__()
    second.__enter__()
    await asyncio.sleep(0)
    first.__exit__(None, None, None)
    await asyncio.sleep(0)
    assert not waiting.done()
    second.__exit__(None, None, None)
    await waiting
    with places.being_filled():
        await places.filled_once()


async def test_a_run_that_buys_nothing_is_not_waited_for(monkeypatch):
    """All was made before, or the money is gone: no place is ever filled."""
    monkeypatch.setattr(slots, "FIRST_RUSH_S", 0.001)
    await Places(1, ahead=0).filled_once()
