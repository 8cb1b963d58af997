"""Who is late changes nothing: another attempt, another owner, a lock that is gone, a process that slept."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from callsheet.errors import Busy, ClaimLost, IllegalTransition
from callsheet.ledger import (
    Event,
    Ledger,
    Settlement,
    State,
    admission,
    queries,
    recovery,
    runs,
    settlement,
    transitions,
)
from tests.integration.ledger.conftest import FILE, end_sessions

PRICE = Settlement(cost_nano=90, cost_basis="expected", result_json="{}")
Verb = Callable[[Ledger, int, Any, int], Any]
LATE: dict[Event, tuple[State, Verb]] = {
    Event.SEND: (
        State.HELD,
        lambda led, job, _, n: led.do(transitions.send, job, arguments_sha256="x", attempt=n),
    ),
    Event.ACCEPT: (
        State.SUBMITTING,
        lambda led, job, ticket, n: led.do(transitions.accept, job, ticket, attempt=n),
    ),
    Event.NOT_SENT: (State.SUBMITTING, lambda led, job, _, n: led.do(transitions.not_sent, job, attempt=n)),
    Event.RELEASE: (State.HELD, lambda led, job, _, n: led.do(settlement.release, job, attempt=n)),
    Event.REFUSE: (
        State.SUBMITTING,
        lambda led, job, _, n: led.do(settlement.refuse, job, charged="no", attempt=n),
    ),
    Event.FAIL_INPUTS: (State.HELD, lambda led, job, _, n: led.do(settlement.fail_inputs, job, attempt=n)),
    Event.LOSE: (State.SUBMITTING, lambda led, job, _, n: led.do(transitions.lose, job, attempt=n)),
    Event.FIND: (State.UNKNOWN, lambda led, job, ticket, n: led.do(transitions.find, job, ticket, attempt=n)),
    Event.DECLARE_ABSENT: (
        State.UNKNOWN,
        lambda led, job, _, n: led.do(settlement.declare_absent, job, why="-", attempt=n),
    ),
    Event.WRITE_OFF: (
        State.UNKNOWN,
        lambda led, job, _, n: led.do(settlement.write_off, job, why="-", attempt=n),
    ),
    Event.MISNAME: (
        State.IN_QUEUE,
        lambda led, job, _, n: led.do(transitions.misname, job, why="-", attempt=n),
    ),
    Event.START: (State.IN_QUEUE, lambda led, job, _, n: led.do(transitions.start, job, attempt=n)),
    Event.RENDER: (State.IN_QUEUE, lambda led, job, _, n: led.do(transitions.render, job, attempt=n)),
    Event.SETTLE: (State.RENDERED, lambda led, job, _, n: led.do(settlement.settle, job, PRICE, attempt=n)),
    Event.FAIL_RENDER: (
        State.IN_QUEUE,
        lambda led, job, _, n: led.do(settlement.fail_render, job, charged="no", attempt=n),
    ),
    Event.COLLECT: (State.RENDERED, lambda led, job, _, n: led.do(transitions.collect, job, FILE, attempt=n)),
    Event.FAIL_MEDIA: (
        State.RENDERED,
        lambda led, job, _, n: led.do(transitions.fail_media, job, error_type="cut", error="-", attempt=n),
    ),
    Event.CANCEL: (State.HELD, lambda led, job, _, n: led.do(settlement.cancel, job, attempt=n)),
}
"""Where the submission stands that has replaced a late process's own, and what that process says then."""

SETTLED_FIRST = (Event.COLLECT, Event.FAIL_MEDIA)


@pytest.mark.parametrize("event", LATE)
def test_a_verb_about_an_earlier_attempt_is_refused(desk, event: Event) -> None:
    """What would be right for the submission that is there now is not done in the name of another one."""
    state, say = LATE[event]
    (job_id,) = desk.run()
    desk.bring(job_id, State.UNKNOWN)
    desk.do(Event.DECLARE_ABSENT, job_id)
    desk.bring(job_id, state, settled=event in SETTLED_FIRST)
    ticket, before = desk.ticket(), desk.dump()
    with pytest.raises(IllegalTransition, match=r"submission 1 of job [0-9]+ is over"):
        say(desk.ledger, job_id, ticket, 1)
    assert desk.dump() == before
    say(desk.ledger, job_id, ticket, 2)
    assert desk.dump() != before


def test_a_look_about_an_earlier_attempt_is_not_noted(desk) -> None:
    """`note_unseen` moves no job, and is fenced all the same: it decides about absence."""
    (job_id,) = desk.run()
    desk.bring(job_id, State.UNKNOWN)
    desk.do(Event.DECLARE_ABSENT, job_id)
    desk.bring(job_id, State.UNKNOWN)
    with pytest.raises(IllegalTransition):
        desk.ledger.do(transitions.note_unseen, job_id, at_ms=1, attempt=1)
    assert desk.ledger.do(queries.job, job_id).submission.unseen_ms is None


# -- a lock that is gone -------------------------------------------------------------------------------------


class Owner:
    """A desk whose locks can be taken from under it, as a dying server or a busy person does."""

    def __init__(self, url: str, open_desk: Any, server: Callable[[], str]) -> None:
        self.is_file = url.startswith("sqlite")
        self._name, self._url, self._server = f"fence_{secrets.token_hex(8)}", url, server
        self.url = url if self.is_file else f"{url}&application_name={self._name}"
        self.desk = open_desk(self.url)

    def lose_lock(self) -> None:
        if self.is_file:
            shutil.rmtree(Path(f"{self._url.removeprefix('sqlite:///')}.locks"))
            return
        self.lose_sessions()
        with psycopg.connect(self._url) as admin:  # the time of a lease passes
            admin.execute("UPDATE claim SET expires_ms = 1")

    def lose_sessions(self) -> None:
        """Let the server end every session of this desk."""
        end_sessions(self._server(), self._name)


@pytest.fixture
def owner(ledger_url: str, open_desk, request: pytest.FixtureRequest) -> Owner:
    """The first owner of a run."""
    return Owner(ledger_url, open_desk, lambda: request.getfixturevalue("server"))


def test_who_was_taken_over_changes_nothing_any_more(owner: Owner, ledger_url: str, open_desk) -> None:
    """Every write of the late owner is refused by name, while the new owner works."""
    late, other = owner.desk, open_desk(ledger_url)
    pending, held, rendered = late.run(3, run_id="r")
    late.bring(held, State.HELD)
    late.bring(rendered, State.RENDERED)
    with late.ledger.claim("r"):
        owner.lose_lock()
        with other.ledger.claim("r"):
            before = late.dump()
            for say in (
                lambda: late.do(Event.ADMIT, pending),
                lambda: late.do(Event.SEND, held),
                lambda: late.do(Event.RELEASE, held),
                lambda: late.do(Event.SETTLE, rendered),
                lambda: late.ledger.do(transitions.skip, [pending]),
                lambda: late.ledger.do(recovery.recover, "r"),
                lambda: late.ledger.do(runs.close_run, "r"),
            ):
                with pytest.raises(ClaimLost, match="run r was taken over by another process"):
                    say()
            assert late.dump() == before
            other.do(Event.ADMIT, pending)
    late.do(Event.SETTLE, rendered)  # who claims nothing is not fenced: a person's `cancel`, a report


def test_a_part_is_fenced_by_its_own_next_owner_and_by_the_wholes(
    owner: Owner, ledger_url: str, open_desk
) -> None:
    """Another part's owner is nobody's concern."""
    late, other = owner.desk, open_desk(ledger_url)
    (job_id,) = late.run(run_id="r")
    with late.ledger.claim("r", part="1"):
        with other.ledger.claim("r", part="2"):
            late.do(Event.ADMIT, job_id)
        owner.lose_lock()
        with other.ledger.claim("r", part="1"), pytest.raises(ClaimLost):
            late.do(Event.RELEASE, job_id)
    with late.ledger.claim("r", part="1"):
        owner.lose_lock()
        with other.ledger.claim("r"), pytest.raises(ClaimLost):
            late.do(Event.RELEASE, job_id)


def test_who_owned_it_all_is_fenced_by_the_next_owner_of_a_part(
    owner: Owner, ledger_url: str, open_desk
) -> None:
    """The whole is the sum of its parts."""
    late, other = owner.desk, open_desk(ledger_url)
    (job_id,) = late.run(run_id="r")
    with late.ledger.claim("r"):
        owner.lose_lock()
        with other.ledger.claim("r", part="1"), pytest.raises(ClaimLost):
            late.do(Event.ADMIT, job_id)


def test_a_claim_that_is_given_back_and_taken_again_is_no_loss(desk) -> None:
    """One owner after the other, in one process: the later claim counts."""
    (job_id,) = desk.run(run_id="r")
    for event in (Event.ADMIT, Event.SEND, Event.LOSE):
        with desk.ledger.claim("r"):
            desk.do(event, job_id)
    assert desk.ledger.do(queries.job, job_id).state is State.UNKNOWN


@pytest.mark.postgres
def test_a_lease_that_ended_and_that_nobody_took_over_still_holds(
    postgres_url: str, open_desk, server: str
) -> None:
    """Its time is over and its sessions are gone; by the fencing token it is still the owner."""
    owner = Owner(postgres_url, open_desk, lambda: server)
    desk = owner.desk
    pending, held, rendered = desk.run(3, run_id="r")
    desk.bring(held, State.HELD)
    desk.bring(rendered, State.RENDERED)
    with desk.ledger.claim("r"):
        owner.lose_lock()
        desk.do(Event.ADMIT, pending)  # extends the lease
        with pytest.raises(Busy), open_desk(postgres_url).ledger.claim("r"):
            pass
        desk.do(Event.SEND, held)
        desk.do(Event.SETTLE, rendered)


def test_a_reply_that_comes_after_a_takeover_is_kept(owner: Owner, ledger_url: str, open_desk) -> None:
    """The late owner knows what nobody else does: the request id of what is paid for."""
    late, other = owner.desk, open_desk(ledger_url)
    (job_id,) = late.run(run_id="r")
    with late.ledger.claim("r"):
        late.bring(job_id, State.SUBMITTING)
        owner.lose_lock()
        with other.ledger.claim("r"):
            assert other.ledger.do(recovery.recover, "r").unknown == 1
            ticket = late.ticket()
            late.ledger.do(transitions.accept, job_id, ticket, attempt=1)
            row = other.ledger.do(queries.job, job_id)
    assert (row.state, row.ticket.request_id, row.purchases) == (State.IN_QUEUE, ticket.request_id, 1)


def test_in_one_commit_every_verb_asks_for_the_claim_itself(owner: Owner, ledger_url: str, open_desk) -> None:
    """Beside a late purchase that is refused, the late reply of what is paid for is kept."""
    late, other = owner.desk, open_desk(ledger_url)
    sent, pending = late.run(2, run_id="r")
    with late.ledger.claim("r"):
        late.bring(sent, State.SUBMITTING)
        owner.lose_lock()
        with other.ledger.claim("r"):
            other.ledger.do(recovery.recover, "r")
            with late.ledger.together():
                with pytest.raises(ClaimLost):
                    late.ledger.do(admission.admit, pending, slots=10)
                late.ledger.do(transitions.accept, sent, late.ticket(), attempt=1)
            states = [other.ledger.do(queries.job, job).state for job in (sent, pending)]
    assert states == [State.IN_QUEUE, State.PENDING]


# -- a process that slept ------------------------------------------------------------------------------------

SLEEPER = """
import sys
from callsheet.errors import CallsheetError
from callsheet.ledger import Ledger, admission, settlement, transitions

url, job, other = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
ledger = Ledger.open(url)
verbs = {
    "admit": lambda: ledger.do(admission.admit, other, slots=10),
    "send": lambda: ledger.do(transitions.send, job, arguments_sha256="x", attempt=1),
    "release": lambda: ledger.do(settlement.release, job, attempt=1),
}
with ledger.claim("r"):
    ledger.do(admission.admit, job, slots=10)
    print("held", flush=True)
    for line in sys.stdin:
        try:
            verbs[line.strip()]()
        except CallsheetError as error:
            print(type(error).__name__, flush=True)
        else:
            print("done", flush=True)
"""


@contextmanager
def sleeper(url: str, *jobs: int) -> Iterator[subprocess.Popen[str]]:
    """A process that owns the run, has admitted its first job, and does as it is told."""
    command = [sys.executable, "-c", SLEEPER, url, *map(str, jobs)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def answer(process: subprocess.Popen[str], verb: str) -> str:
    """Let it do one thing; returns what came of it."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{verb}\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


STANDS_STILL = """
import sys
from callsheet.errors import LedgerError
from callsheet.ledger import Ledger, postgres

postgres.STANDSTILL_MS = 100
ledger = Ledger.open(sys.argv[1])
try:
    with ledger._write() as connection:
        connection.exec_driver_sql("UPDATE job SET error = 'half done'")
        print("in the middle", flush=True)
        sys.stdin.readline()
        connection.exec_driver_sql("SELECT 1")
except LedgerError:
    print("LedgerError", flush=True)
"""


@pytest.mark.postgres
def test_a_process_that_stands_still_in_the_middle_of_a_write_holds_nobody_up(
    postgres_url: str, open_desk
) -> None:
    """The server ends its session, undoes what it had begun, and lets the next writer in."""
    desk = open_desk(postgres_url)
    (job_id,) = desk.run()
    command = [sys.executable, "-c", STANDS_STILL, postgres_url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in the middle\n"
        os.kill(process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        try:
            desk.do(Event.ADMIT, job_id)
        finally:
            os.kill(process.pid, signal.SIGCONT)
        assert process.communicate("go on\n")[0] == "LedgerError\n"
    assert desk.ledger.do(queries.job, job_id).error == ""


def test_a_process_that_slept_through_a_takeover_buys_nothing_when_it_wakes(
    owner: Owner, desk, ledger_url: str
) -> None:
    """SIGSTOP, takeover, SIGCONT: what it had begun and what it would begin are refused alike."""
    begun, next_one = desk.run(2, run_id="r")
    with sleeper(owner.url, begun, next_one) as process, ExitStack() as taken:
        os.kill(process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        owner.lose_lock()
        taken.enter_context(desk.ledger.claim("r"))
        assert desk.ledger.do(recovery.recover, "r").released == 1
        desk.ledger.do(admission.admit, begun, slots=10)
        before = desk.dump()
        os.kill(process.pid, signal.SIGCONT)
        assert [answer(process, verb) for verb in ("send", "admit", "release")] == ["ClaimLost"] * 3
        assert desk.dump() == before
