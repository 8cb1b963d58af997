"""How many jobs of this process go on at the same time."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from callsheet.engine.limits import MOST_FETCHING, Limiter

STEPS = st.lists(
    st.tuples(st.sampled_from(["enter", "release", "release", "leave", "cancel"]), st.integers(0, 60)),
    max_size=150,
)


class Crowd:
    """Jobs at a limiter, and what a plain count says about them."""

    def __init__(self, slots: int) -> None:
        self.limiter = Limiter(slots)
        self.entering: dict[int, asyncio.Task[None]] = {}
        self.order: list[int] = []
        self.holds: set[int] = set()
        self.open: set[int] = set()

    async def step(self, name: str, job_id: int) -> None:
        """Do one thing with a job, where it can be done, and let everybody go on."""
        if name == "enter" and job_id not in self.entering and job_id not in self.open:
            self.entering[job_id] = asyncio.ensure_future(self.limiter.enter(job_id))
            self.order.append(job_id)
        elif name == "release" and job_id in self.open:
            self.limiter.release_slot(job_id)
            self.holds.discard(job_id)
        elif name == "leave" and job_id in self.open:
            self.limiter.leave(job_id)
            self.holds.discard(job_id)
            self.open.discard(job_id)
        elif name == "cancel" and job_id in self.entering:
            self.entering.pop(job_id).cancel()
            self.order.remove(job_id)
        for _ in range(6):
            await asyncio.sleep(0)
        self._look()

    def _look(self) -> None:
        for job_id in [job_id for job_id in self.order if self.entering[job_id].done()]:
            assert job_id == self.order[0], "who asked first enters first"
            self.order.remove(job_id)
            del self.entering[job_id]
            self.holds.add(job_id)
            self.open.add(job_id)

    def end(self) -> None:
        for task in self.entering.values():
            task.cancel()


@given(STEPS, st.integers(1, 3))
def test_never_more_than_the_slots_and_never_more_than_are_allowed_to_fetch(steps, slots):
    """And nobody waits while there is room: a slot that was released twice is one slot."""

    async def play() -> None:
        crowd = Crowd(slots)
        for name, job_id in steps:
            await crowd.step(name, job_id)
            assert len(crowd.holds) <= slots
            assert len(crowd.open) <= slots + MOST_FETCHING
            has_room = len(crowd.holds) < slots and len(crowd.open) < slots + MOST_FETCHING
            assert not (crowd.entering and has_room)
        crowd.end()

    asyncio.run(play())


@given(st.sampled_from((1, 2, 3, MOST_FETCHING + 5)))
def test_jobs_whose_files_are_not_fetched_keep_the_next_ones_from_beginning(slots):
    """Although every slot is free. With many slots, all of them may end at once and all be filled again."""

    async def play() -> None:
        crowd = Crowd(slots)
        most = slots + max(MOST_FETCHING, slots)
        for job_id in range(most + 5):
            await crowd.step("enter", job_id)
            await crowd.step("release", job_id)
        assert (len(crowd.open), len(crowd.holds), crowd.order[0]) == (most, 0, most)
        await crowd.step("leave", 0)
        assert most in crowd.open
        crowd.end()

    asyncio.run(play())


def test_a_slot_that_is_released_twice_is_one_slot():
    """`leave` releases what `release_slot` has released already: two more jobs must not begin for it."""

    async def play() -> None:
        crowd = Crowd(1)
        for job_id in range(3):
            await crowd.step("enter", job_id)
        await crowd.step("release", 0)
        await crowd.step("release", 0)
        await crowd.step("leave", 0)
        assert (crowd.holds, crowd.order) == ({1}, [2])
        crowd.end()

    asyncio.run(play())
