"""What a kept clip costs: everything that was judged is paid for, and only what is kept is of use."""

import pytest

from pricing.keep_rates import JudgedClip, keep_rates, rate_document, rate_line

NANO = 10**9


def clip(shot: str, verdict: str = "", **changes: object) -> JudgedClip:
    """Return a clip of 5 s for $0.20."""
    given = {"campaign": "spring", "client": "Acme", "model": "pro-fast", "spent_nano": NANO // 5}
    return JudgedClip(**{**given, "shot": shot, "verdict": verdict, "length_ms": 5000, **changes})  # type: ignore[arg-type]


SHOTS = [
    clip("boat", "retake"),
    clip("boat", "keep", spent_nano=NANO // 5 + 1),
    clip("pot", "reject"),
    clip("pot", "retake"),
    clip("kite"),
    clip("kite", "reject"),
    clip("moon", "keep", client="acme", model="pro", length_ms=2500),
]


def test_a_kept_clip_carries_what_was_not_kept() -> None:
    """Two of six are kept, for the money of all six; unjudged clips are no part of it."""
    (rate,) = keep_rates(SHOTS)
    assert (rate.clips, rate.judged, rate.kept, rate.percent) == (7, 6, 2, 33)
    assert rate.judged_nano == 6 * NANO // 5 + 1
    assert rate.clip_nano == 600_000_001  # half of it, rounded up
    assert rate.second_nano == 160_000_001  # 7.5 s are kept


def test_money_to_finish_is_for_shots_without_a_kept_take() -> None:
    """The pot has none; the boat has one; a take of the kite is not judged yet."""
    (rate,) = keep_rates(SHOTS)
    assert (rate.open_shots, rate.to_finish_nano) == (1, 600_000_001)


def test_groups_are_in_order_and_a_client_is_one_however_typed() -> None:
    """By model, client and campaign; the same shot's name in two campaigns is two shots."""
    assert [(rate.name, rate.kept) for rate in keep_rates(SHOTS, "model")] == [("pro", 1), ("pro-fast", 1)]
    assert [(rate.name, rate.clips) for rate in keep_rates(SHOTS, "client")] == [("Acme", 7)]
    again = [clip("pot", "reject", campaign="autumn"), *SHOTS]
    assert [rate.open_shots for rate in keep_rates(again, "campaign")] == [1, 1]
    assert keep_rates(again)[0].open_shots == 2


@pytest.mark.parametrize("clips", [[], [clip("kite")], [clip("pot", "reject")]], ids=["none", "new", "bad"])
def test_nothing_is_said_that_is_not_known(clips: list[JudgedClip]) -> None:
    """Without a kept clip there is no price of one."""
    (rate,) = keep_rates(clips)
    told = rate_document(rate)
    assert (told["kept_clip_usd"], told["kept_second_usd"]) == (None, None)
    assert told["to_finish_usd"] is None
    assert told["keep_percent"] == (0 if rate.judged else None)


def test_the_line_beside_the_advice() -> None:
    """How much is kept, of how many, and what that makes of the price."""
    (_, rate) = keep_rates(SHOTS, "model")
    assert rate_line(rate) == "you kept 20 % of pro-fast clips (1 of 5); a kept clip costs $1.0001"
