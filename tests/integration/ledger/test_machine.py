"""Any sequence of events, crashes and corrections, against a model of forty lines."""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from callsheet.errors import CapReached, IllegalTransition, NoSlot, RunStopping
from callsheet.ledger import (
    HOLDS_SLOT,
    Event,
    Ledger,
    NewFinish,
    NewJob,
    NewRun,
    Output,
    Settlement,
    State,
    admission,
    finishing,
    queries,
    recovery,
    runs,
    settlement,
    transitions,
    verify,
)
from callsheet.ledger.states import next_state
from callsheet.ticket import Ticket
from pricing.budgets import Cap
from tests.integration.ledger.conftest import empty

SLOTS = 2
VERBS = {
    Event.ADMIT: admission.admit,
    Event.SEND: transitions.send,
    Event.ACCEPT: transitions.accept,
    Event.NOT_SENT: transitions.not_sent,
    Event.RELEASE: settlement.release,
    Event.REFUSE: settlement.refuse,
    Event.FAIL_INPUTS: settlement.fail_inputs,
    Event.LOSE: transitions.lose,
    Event.FIND: transitions.find,
    Event.DECLARE_ABSENT: settlement.declare_absent,
    Event.WRITE_OFF: settlement.write_off,
    Event.MISNAME: transitions.misname,
    Event.START: transitions.start,
    Event.RENDER: transitions.render,
    Event.SETTLE: settlement.settle,
    Event.FAIL_RENDER: settlement.fail_render,
    Event.COLLECT: transitions.collect,
    Event.FAIL_MEDIA: transitions.fail_media,
    Event.TAKE_UP: recovery.take_up,
    Event.CANCEL: settlement.cancel,
    Event.RETRY: recovery.retry,
    Event.SKIP: transitions.skip,
    Event.REUSE: transitions.reuse,
    Event.FINISH: finishing.finish,
}
HOLD = 100
LIMIT = 350
JOBS = 5
DAY_S = 86_400
YEAR_S = 365 * DAY_S
FILE = Output(
    path="a",
    url="u",
    sha256="a" * 64,
    bytes=1,
    width_px=1,
    height_px=1,
    fps=24.0,
    duration_s=5.0,
    has_audio=True,
)


@dataclass
class Model:
    """What a job should be."""

    state: State = State.PENDING
    booked: bool = False
    held: int = 0
    spent: int = 0
    request: str = ""
    is_finish: bool = False


PLACE: list[Callable[[], AbstractContextManager[str]]] = []
"""Gives an empty ledger's URL, each time it is entered."""


class LedgerMachine(RuleBasedStateMachine):
    @initialize()
    def open(self) -> None:
        self.end = ExitStack()
        self.url = self.end.enter_context(PLACE[0]())
        self.now_ms, self.requests = 1_795_262_400_000, 0
        self.ledger = Ledger.open(self.url, clock=lambda: self.now_ms)
        new = [
            NewJob(
                row=n,
                custom_id=str(n),
                endpoint="e",
                model="m",
                fingerprint=str(n),
                payload="",
                expected_nano=90,
                maximum_nano=HOLD,
                draft=True,
            )
            for n in range(JOBS)
        ]
        cap = Cap("campaign", "c", "total", LIMIT)
        self.ledger.do(
            runs.open_run, NewRun(run_id="r", campaign="c", plan_hash="", price_book="", out=""), new, [cap]
        )
        self.jobs = {row.job_id: Model() for row in self.ledger.do(queries.jobs, "r")}
        self.frozen = self.stopping = False
        self.limit = LIMIT

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.ledger.close()
            self.end.close()

    # -- what can happen ---------------------------------------------------------------------------------

    @rule(
        number=st.integers(0, JOBS - 1),
        event=st.sampled_from(list(Event)),
        charged=st.sampled_from(["no", "unknown"]),
        cost=st.sampled_from([0, 90, 100, 100, 130]),
    )
    def happen(self, number: int, event: Event, charged: str, cost: int) -> None:
        """Any event at any job: the model and the ledger agree on whether it may and on what it does."""
        job_id = list(self.jobs)[number]
        model = self.jobs[job_id]
        if (model.state, event, model.booked) == (State.RENDERED, Event.SETTLE, True):
            assert self.do(event, job_id, charged, cost).replayed
            return
        try:
            target = next_state(model.state, event, booked=model.booked)
        except IllegalTransition:
            with pytest.raises(IllegalTransition):
                self.do(event, job_id, charged, cost)
            return
        if event is Event.ADMIT and (refusal := self.refusal()):
            with pytest.raises(refusal):
                self.do(event, job_id, charged, cost)
            return
        if event is Event.SEND and self.stopping:
            with pytest.raises(RunStopping):
                self.do(event, job_id, charged, cost)
            return
        if (event is Event.TAKE_UP and not model.request) or (event is Event.FINISH and model.is_finish):
            with pytest.raises(IllegalTransition):
                self.do(event, job_id, charged, cost)
            return
        if event is Event.REUSE and not any(m.state is State.SUCCEEDED for m in self.jobs.values()):
            return
        self.do(event, job_id, charged, cost)
        self.follow(model, event, target, charged, cost)

    @rule(
        number=st.integers(0, JOBS - 1),
        state=st.sampled_from([State.IN_QUEUE, State.RENDERED, State.SUCCEEDED]),
    )
    def make_progress(self, number: int, state: State) -> None:
        """Bring a job forward, so that the far states are visited as often as the near ones."""
        for event in (Event.ADMIT, Event.SEND, Event.ACCEPT, Event.RENDER, Event.SETTLE, Event.COLLECT):
            model = list(self.jobs.values())[number]
            if model.state is not state:
                self.happen(number, event, "no", 90)

    @rule()
    def crash(self) -> None:
        """The process is gone and another one takes over."""
        self.ledger.close()
        self.ledger = Ledger.open(self.url, clock=lambda: self.now_ms)
        self.ledger.do(recovery.recover, "r")
        for model in self.jobs.values():
            if model.state is State.SUBMITTING:
                model.state = State.UNKNOWN
            if model.state is State.HELD:
                model.state, model.held = State.PENDING, 0

    @rule(limit=st.sampled_from([150, LIMIT, 500, None]))
    def set_cap(self, limit: int | None) -> None:
        """A person changes the cap, also below what is taken."""
        self.ledger.do(admission.set_cap, "campaign", "c", "total", limit)
        self.limit = limit

    @rule(stop=st.booleans())
    def stop_or_reopen(self, stop: bool) -> None:
        """A person stops the run, or lets it go on."""
        self.ledger.do(runs.request_stop if stop else runs.reopen_run, "r")
        self.stopping = stop

    @precondition(lambda self: self.frozen)
    @rule()
    def unfreeze(self) -> None:
        """A person has looked at the overrun."""
        self.ledger.do(admission.unfreeze)
        self.frozen = False

    @rule(number=st.integers(0, JOBS - 1), cost=st.sampled_from([0, 60, 100, 140]))
    def bill(self, number: int, cost: int) -> None:
        """The billing event of a job's latest request comes in, after it was booked."""
        model = list(self.jobs.values())[number]
        if model.request and model.booked:
            before = self.ledger.do(queries.job, list(self.jobs)[number]).submission
            self.ledger.do(settlement.correct, model.request, cost_nano=cost, cost_basis="billing_event")
            model.spent += cost - before.cost_nano
            self.frozen |= cost > max(HOLD, before.cost_nano)

    @rule(number=st.integers(0, JOBS - 1), cost=st.sampled_from([0, 90, 130]))
    def turn_up(self, number: int, cost: int) -> None:
        """A result that was written off is there after all: its real cost takes the place of the hold's."""
        job_id = list(self.jobs)[number]
        model = self.jobs[job_id]
        result = Settlement(cost_nano=cost, cost_basis="expected", result_json="{}")
        if model.state is not State.RENDERED or not model.booked:
            with pytest.raises(IllegalTransition):
                self.ledger.do(recovery.settle_found, job_id, result)
            return
        before = self.ledger.do(queries.job, job_id).submission
        if before.cost_basis != "billing_event":
            model.spent += cost - before.cost_nano
            self.frozen |= cost > max(HOLD, before.cost_nano)
        self.ledger.do(recovery.settle_found, job_id, result)

    @rule(by_s=st.sampled_from([-YEAR_S, -DAY_S, -3600, -1, 1, 3600, DAY_S, YEAR_S]))
    def jump(self, by_s: int) -> None:
        """The clock jumps, also backwards: other days have other accounts, and nothing else moves."""
        self.now_ms += by_s * 1000

    # -- the model ---------------------------------------------------------------------------------------

    def taken(self) -> int:
        return sum(model.held + model.spent for model in self.jobs.values())

    def refusal(self) -> type[Exception] | None:
        if self.stopping:
            return RunStopping
        if sum(model.state in HOLDS_SLOT for model in self.jobs.values()) >= SLOTS:
            return NoSlot
        if self.frozen or (self.limit is not None and self.taken() + HOLD > self.limit):
            return CapReached
        return None

    def follow(self, model: Model, event: Event, target: State, charged: str, cost: int) -> None:
        if event is Event.ADMIT:
            model.held, model.booked, model.request = HOLD, False, ""
        elif event in (Event.ACCEPT, Event.FIND):
            model.request = f"request-{self.requests}"
        elif event is Event.MISNAME:
            model.request = ""
        elif event is Event.SETTLE:
            model.spent += cost
            model.held, model.booked = 0, True
            self.frozen |= cost > HOLD
        elif event in (Event.REFUSE, Event.FAIL_RENDER, Event.CANCEL) and model.held:
            model.spent += 0 if charged == "no" else HOLD
            model.held, model.booked = 0, True
        elif event is Event.WRITE_OFF:
            model.spent += HOLD
            model.held, model.booked = 0, True
        elif event in (Event.RELEASE, Event.DECLARE_ABSENT, Event.FAIL_INPUTS):
            model.held, model.booked = 0, True
        elif event is Event.FINISH:
            model.is_finish, self.stopping = True, False
        model.state = target

    def do(self, event: Event, job_id: int, charged: str, cost: int):
        """Call the verb of that name with what it needs."""
        if event in (Event.ACCEPT, Event.FIND):
            self.requests += 1
        verb = VERBS[event]
        if event in (Event.RETRY, Event.SKIP):
            return self.ledger.do(verb, [job_id])
        if event is Event.FINISH:
            order = NewFinish(
                job_id=job_id,
                endpoint="f",
                payload="",
                output_name="",
                render_kind="",
                expected_nano=90,
                maximum_nano=HOLD,
            )
            return self.ledger.do(verb, "r", [order])
        if event is Event.REUSE:
            made = [known for known, model in self.jobs.items() if model.state is State.SUCCEEDED]
            return self.refuse_for_want_of_a_video() if not made else self.ledger.do(verb, {job_id: made[0]})
        positional, named = self.particulars(event, charged, cost)
        return self.ledger.do(verb, job_id, *positional, **named)

    def particulars(self, event: Event, charged: str, cost: int) -> tuple[list, dict]:
        """What the verb takes besides the job."""
        ticket = Ticket(f"request-{self.requests}", "e", "s", "r", "c")
        cost_of_it = Settlement(cost_nano=cost, cost_basis="expected", result_json="")
        return {
            Event.ADMIT: ([], {"slots": SLOTS}),
            Event.SEND: ([], {"arguments_sha256": "x"}),
            Event.ACCEPT: ([ticket], {}),
            Event.FIND: ([ticket], {}),
            Event.REFUSE: ([], {"charged": charged}),
            Event.FAIL_RENDER: ([], {"charged": charged}),
            Event.CANCEL: ([], {"charged": charged}),
            Event.SETTLE: ([cost_of_it], {}),
            Event.COLLECT: ([FILE], {}),
            Event.FAIL_MEDIA: ([], {"error_type": "x", "error": "x"}),
            Event.DECLARE_ABSENT: ([], {"why": "x"}),
            Event.WRITE_OFF: ([], {"why": "x"}),
            Event.MISNAME: ([], {"why": "x"}),
            Event.TAKE_UP: ([], {"why": "x"}),
        }.get(event, ([], {}))

    def refuse_for_want_of_a_video(self) -> None:
        raise IllegalTransition("there is no video to use again")

    # -- what must always be true ------------------------------------------------------------------------

    @invariant()
    def every_promise_holds(self) -> None:
        """I1 to I8 and I10, the chain, and the file itself."""
        if hasattr(self, "ledger"):
            assert self.ledger.do(verify.verify) == []

    @invariant()
    def the_ledger_is_the_model(self) -> None:
        """States, money of each job and of the run, and slots are those of the model."""
        if not hasattr(self, "ledger"):
            return
        rows = self.ledger.do(queries.jobs, "r")
        assert {row.job_id: row.state for row in rows} == {
            job: model.state for job, model in self.jobs.items()
        }
        assert [row.spent_nano for row in rows] == [model.spent for model in self.jobs.values()]
        tally = self.ledger.do(queries.tally, "r")
        assert tally.held_nano == sum(model.held for model in self.jobs.values())
        assert tally.spent_nano == sum(model.spent for model in self.jobs.values())
        assert tally.counts == Counter(model.state for model in self.jobs.values())
        assert sum(count for state, count in tally.counts.items() if state in HOLDS_SLOT) <= SLOTS


@contextmanager
def sqlite_place(blank_ledger: Path) -> Iterator[str]:
    """A fresh file."""
    with TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        path = Path(folder) / "l.sqlite"
        shutil.copy(blank_ledger, path)
        yield f"sqlite:///{path}"


@contextmanager
def postgres_place(url: str) -> Iterator[str]:
    """The schema of this process, emptied."""
    empty(url)
    yield url


@pytest.fixture
def sqlite_examples(blank_ledger: Path) -> Iterator[int]:
    """Fresh files, and how many sequences to try."""
    PLACE.append(partial(sqlite_place, blank_ledger))
    yield 30
    PLACE.clear()


@pytest.fixture
def postgres_examples(shared_schema_url: str) -> Iterator[int]:
    """A schema on a real server, and how many sequences to try: each step takes ten times as long there."""
    PLACE.append(partial(postgres_place, shared_schema_url))
    yield 4
    PLACE.clear()


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_no_sequence_of_events_breaks_a_promise(database: str, request: pytest.FixtureRequest) -> None:
    """Whatever happens in whatever order, the ledger does what forty lines of model say."""
    examples = request.getfixturevalue(f"{database}_examples")
    many = 20 if os.environ.get("CALLSHEET_TEST_TORTURE") else 1
    run_state_machine_as_test(
        LedgerMachine,
        settings=settings(
            max_examples=examples * many,
            stateful_step_count=25,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
