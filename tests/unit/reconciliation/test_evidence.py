"""What counts as the same request."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.provider.platform_messages import HistoryItem
from callsheet.reconciliation.evidence import CLOCK_SLACK_MS, Attempt, digest, match

ENDPOINT = "fal-ai/bytedance/seedance/v1/lite/text-to-video"
NOON_MS = 1_795_262_400_000
WINDOW_MS = 6_000_000
BODY = {"prompt": "a kite", "resolution": "480p", "seed": 5, "camera_fixed": False}


def attempt(job_id=1, body=BODY, *, at_ms=NOON_MS, **changes):
    """A POST that may have arrived."""
    made = Attempt(
        job_id=job_id,
        endpoint=ENDPOINT,
        sent_ms=at_ms,
        until_ms=at_ms + WINDOW_MS,
        arguments_sha256=digest(body),
        arguments=body,
    )
    return replace(made, **changes)


def item(request_id="r-1", body=BODY, *, at_ms=NOON_MS + 1000, **changes):
    """A request in fal's history."""
    return replace(HistoryItem(request_id, ENDPOINT, at_ms, at_ms + 1, 200, body, None), **changes)


def kind_of(answer, job_id):
    """In which of the four ways an attempt was answered; there must be exactly one."""
    tangled = {each for tangle in answer.tangled for each in tangle.job_ids}
    ways = {
        "found": set(answer.found),
        "tangled": tangled,
        "hidden": answer.hidden,
        "unseen": answer.unseen,
    }
    (way,) = [name for name, job_ids in ways.items() if job_id in job_ids]
    return way


@pytest.mark.parametrize(
    ("changes", "way"),
    [
        ({}, "found"),
        ({"input": {**BODY, "enable_safety_checker": True}}, "found"),
        ({"input": {**BODY, "seed": 5.0}}, "found"),
        ({"input": {**BODY, "seed": 6}}, "unseen"),
        ({"input": {**BODY, "camera_fixed": 0}}, "unseen"),
        ({"input": {name: BODY[name] for name in ("prompt", "seed")}}, "unseen"),
        ({"input": {}}, "unseen"),
        ({"input": {**BODY, "weight": float("inf")}}, "found"),
        ({"input": {**BODY, "prompt": ["a kite"]}}, "unseen"),
        ({"input": {**BODY, "prompt": "\ud800"}}, "unseen"),
        ({"endpoint_id": "fal-ai/flux/dev"}, "unseen"),
        ({"input": None}, "hidden"),
        ({"input": None, "endpoint_id": "fal-ai/flux/dev"}, "unseen"),
        ({"input": None, "sent_ms": NOON_MS - CLOCK_SLACK_MS - 1}, "unseen"),
        ({"sent_ms": NOON_MS - CLOCK_SLACK_MS}, "found"),
        ({"sent_ms": NOON_MS - CLOCK_SLACK_MS - 1}, "unseen"),
        ({"sent_ms": NOON_MS + WINDOW_MS + CLOCK_SLACK_MS}, "found"),
        ({"sent_ms": NOON_MS + WINDOW_MS + CLOCK_SLACK_MS + 1}, "tangled"),
        ({"ended_ms": None, "status_code": None}, "found"),
    ],
)
def test_what_is_the_same_request(changes, way):
    """Everything that was sent stands in it, to the same endpoint, at a time that is possible."""
    assert kind_of(match([attempt()], [item(**changes)]), 1) == way


def test_without_the_body_its_hash_is_enough_and_nothing_less():
    """Where only the hash is known, the whole body must be equal."""
    blind = attempt(arguments=None)
    assert match([blind], [item()]).found == {1: "r-1"}
    assert match([blind], [item(body={**BODY, "more": 1})]).unseen == {1}


def test_a_body_that_is_part_of_another_takes_only_what_is_exactly_its_own():
    """An exact body goes before one that merely holds everything that was sent."""
    longer = {**BODY, "generate_audio": True}
    answer = match([attempt(1), attempt(2, longer)], [item("r-1", longer), item("r-2")])
    assert answer.found == {2: "r-1", 1: "r-2"}


def test_what_two_different_bodies_could_be_is_named():
    """A shown body with defaults filled in that fits two different attempts is nobody's."""
    one, two = {**BODY, "a": 1}, {**BODY, "b": 1}
    answer = match([attempt(1, one), attempt(2, two)], [item("r-1", {**BODY, "a": 1, "b": 1})])
    assert [(tangle.job_ids, tangle.request_ids) for tangle in answer.tangled] == [((1, 2), ("r-1",))]


def test_an_equal_post_under_way_elsewhere_keeps_everything_open():
    """A request that may be another process's, which is just being told so, is not adopted."""
    answer = match([attempt(1), attempt(2, in_motion=True)], [item()])
    assert (answer.found, kind_of(answer, 1)) == ({}, "tangled")
    assert match([attempt(2, in_motion=True)], [item()]).tangled == ()


def test_a_later_equal_attempt_takes_the_later_request():
    """Of equal attempts hours apart each takes what was sent in its own time."""
    late_ms = NOON_MS + 2 * WINDOW_MS
    answer = match([attempt(1), attempt(2, at_ms=late_ms)], [item("r-2", at_ms=late_ms + 5)])
    assert (answer.found, answer.unseen) == ({2: "r-2"}, {1})


seeds = st.integers(1, 3)
moments = st.integers(0, 3 * WINDOW_MS)
attempts = st.lists(st.tuples(seeds, moments, st.booleans(), st.booleans()), max_size=6)
items = st.lists(st.tuples(seeds, moments, st.sampled_from([True, True, True, False])), max_size=6)


@given(attempts, items)
def test_the_answer_is_whole_and_gives_nothing_twice(ours, theirs):
    """Every attempt has one answer, no request is given to two, and only to one it can be."""
    tries = [
        attempt(number, {**BODY, "seed": seed}, at_ms=NOON_MS + at_ms, in_motion=moving)
        for number, (seed, at_ms, moving, _) in enumerate(ours)
    ]
    tries = [replace(each, arguments=None) if ours[each.job_id][3] else each for each in tries]
    history = [
        item(f"r-{number}", {**BODY, "seed": seed} if shown else None, at_ms=NOON_MS + at_ms)
        for number, (seed, at_ms, shown) in enumerate(theirs)
    ]
    answer = match(tries, history)
    for each in tries:
        if not each.in_motion:
            kind_of(answer, each.job_id)
    assert len(set(answer.found.values())) == len(answer.found)
    by_id = {each.request_id: each for each in history}
    for job_id, request_id in answer.found.items():
        theirs_, mine = by_id[request_id], tries[job_id]
        assert digest(theirs_.input) == mine.arguments_sha256
        assert not mine.in_motion
        assert mine.sent_ms - CLOCK_SLACK_MS <= theirs_.sent_ms <= mine.until_ms + CLOCK_SLACK_MS


@given(attempts, items)
def test_nothing_that_could_be_ours_is_called_unseen(ours, theirs):
    """An attempt is unseen only where every request that fits it in body and time is somebody else's."""
    tries = [
        attempt(number, {**BODY, "seed": seed}, at_ms=NOON_MS + at_ms)
        for number, (seed, at_ms, _, _) in enumerate(ours)
    ]
    history = [
        item(f"r-{number}", {**BODY, "seed": seed}, at_ms=NOON_MS + at_ms)
        for number, (seed, at_ms, _) in enumerate(theirs)
    ]
    answer = match(tries, history)
    taken = set(answer.found.values())
    for job_id in answer.unseen:
        mine = tries[job_id]
        fitting = [
            each
            for each in history
            if digest(each.input) == mine.arguments_sha256 and each.sent_ms >= mine.sent_ms - CLOCK_SLACK_MS
        ]
        assert {each.request_id for each in fitting} <= taken


@given(st.permutations(range(4)), st.permutations(range(4)), st.integers(0, 4), st.integers(0, 4))
def test_equal_bodies_are_counted_and_the_order_of_reading_does_not_matter(ours, theirs, sent, arrived):
    """Of equal attempts as many are found as requests arrived; one request too many, and all are named."""
    tries = [attempt(number, at_ms=NOON_MS + number) for number in range(sent)]
    history = [item(f"r-{number}", at_ms=NOON_MS + 10 + number) for number in range(arrived)]
    shuffled = match([tries[n] for n in ours if n < sent], [history[n] for n in theirs if n < arrived])
    assert shuffled == match(tries, history)
    if sent and arrived > sent:
        assert {job_id for each in shuffled.tangled for job_id in each.job_ids} == set(range(sent))
    else:
        assert len(shuffled.found) == min(sent, arrived)


def test_a_thousand_of_each_are_matched_at_once():
    """Bodies are looked up, not compared one by one: each attempt finds its own among all."""
    tries = [attempt(n, {**BODY, "seed": n}) for n in range(1000)]
    history = [item(f"r-{n}", {**BODY, "seed": n}) for n in reversed(range(1000))]
    assert match(tries, history).found == {n: f"r-{n}" for n in range(1000)}
