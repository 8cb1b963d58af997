import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from callsheet.errors import LedgerError
from callsheet.ledger import HOLDS_SLOT, Ledger, State, admission, queries, recovery, verify
from pricing.budgets import Cap

PROCESSES = 4
SLOTS = 3
JOBS_EACH = 12
AFFORDABLE = 25  # of 48: the cap is reached while everybody is busy

BUY = """
import sys
from callsheet.errors import CapReached, NoSlot
from callsheet.ledger import Ledger, Settlement, admission, queries, settlement, transitions
from callsheet.ticket import Ticket

url, slots, *jobs = sys.argv[1:]
with Ledger.open(url) as ledger:
    print("ready", flush=True)
    sys.stdin.readline()
    for job in map(int, jobs):
        while ledger.do(queries.job, job).state == "pending":
            try:
                ledger.do(admission.admit, job, slots=int(slots))
            except NoSlot:
                continue
            except CapReached:
                ledger.do(transitions.skip, [job])
            else:
                ledger.do(transitions.send, job, arguments_sha256="x")
                ledger.do(transitions.accept, job, Ticket(f"request-{job}", "e", "s", "r", "c"))
                ledger.do(transitions.render, job)
                paid = Settlement(cost_nano=100, cost_basis="expected", result_json="{}")
                ledger.do(settlement.settle, job, paid)
"""

STEP = """
import sys
from callsheet.ledger import Ledger, admission, transitions
from callsheet.ticket import Ticket

url, run, job, *steps = sys.argv[1:]
ledger = Ledger.open(url)
job = int(job)
verbs = {
    "admit": lambda: ledger.do(admission.admit, job, slots=1),
    "send": lambda: ledger.do(transitions.send, job, arguments_sha256="x"),
    "accept": lambda: ledger.do(transitions.accept, job, Ticket("q", "e", "s", "r", "c")),
}
with ledger.claim(run):
    for step in steps:
        verbs[step]()
    with ledger._write() as connection:
        connection.exec_driver_sql("UPDATE job SET error = 'half done'")  # begun, and never committed
        print("in the middle", flush=True)
        sys.stdin.readline()
"""


def started(program: str, *arguments: object) -> subprocess.Popen[str]:
    """Run a Python program and wait until it says that it is where the test wants it."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline()
    return process


def slots_over_time(events: list[tuple]) -> Iterator[int]:
    """Replay the history: how many slots were taken after each event, over all jobs."""
    states: dict[int, State] = {}
    for row in sorted(events):
        states[row[2]] = State(row[6])
        yield sum(state in HOLDS_SLOT for state in states.values())


def held_over_time(entries: list[tuple]) -> Iterator[int]:
    """Replay the book: what was held and spent after each transaction (a cost follows its release)."""
    total = 0
    for row in sorted(entries):
        total += row[4]
        yield total


def test_four_processes_on_one_tight_cap_never_pass_it_nor_the_slots(desk, ledger_url: str) -> None:
    """Every purchase the cap allows is made, not one more, and never with more slots than there are."""
    cap = Cap("campaign", "spring", "total", AFFORDABLE * 100)
    jobs = desk.run(PROCESSES * JOBS_EACH, run_id="r", caps=[cap])
    buyers = [started(BUY, ledger_url, SLOTS, *jobs[number::PROCESSES]) for number in range(PROCESSES)]
    for buyer in buyers:
        assert buyer.stdin is not None
        buyer.stdin.write("go\n")
        buyer.stdin.flush()
    for buyer in buyers:
        buyer.communicate(timeout=60)
    assert [buyer.returncode for buyer in buyers] == [0] * PROCESSES

    tables = desk.dump()
    assert desk.ledger.do(queries.tally, "r").counts == {
        State.RENDERED: AFFORDABLE,
        State.SKIPPED_BUDGET: PROCESSES * JOBS_EACH - AFFORDABLE,
    }
    assert desk.account() == (0, AFFORDABLE * 100)
    assert max(held_over_time(tables["entry"])) == AFFORDABLE * 100
    assert max(slots_over_time(tables["event"])) <= SLOTS


@pytest.mark.parametrize(
    ("steps", "left", "afterwards", "held_nano"),
    [
        ((), State.PENDING, State.PENDING, 0),
        (("admit",), State.HELD, State.PENDING, 0),
        (("admit", "send"), State.SUBMITTING, State.UNKNOWN, 100),
        (("admit", "send", "accept"), State.IN_QUEUE, State.IN_QUEUE, 100),
    ],
)
def test_a_process_that_is_killed_leaves_all_it_said_and_nothing_it_had_begun(
    desk, ledger_url: str, steps, left: State, afterwards: State, held_nano: int
) -> None:
    """After SIGKILL in mid-transaction the committed is there, the rest is not, and the run is free."""
    (job_id,) = desk.run(run_id="r")
    process = started(STEP, ledger_url, "r", job_id, *steps)
    with pytest.raises(LedgerError, match="being worked on"), desk.ledger.claim("r"):
        pass
    process.kill()
    process.communicate()
    assert desk.ledger.do(queries.job, job_id).state is left
    assert desk.ledger.do(verify.verify) == []
    assert desk.ledger.do(queries.job, job_id).error == ""
    with ExitStack() as owned:
        claim_soon(desk, owned)
        desk.ledger.do(recovery.recover, "r")
    assert desk.ledger.do(queries.job, job_id).state is afterwards
    assert desk.account() == (held_nano, 0)


def claim_soon(desk, owned: ExitStack) -> None:
    """Claim the run as soon as the server has noticed that its owner is gone; the kernel does so at once."""
    for _ in range(10_000):
        try:
            owned.enter_context(desk.ledger.claim("r"))
        except LedgerError:
            continue
        return
    raise AssertionError("the run is still claimed by a process that is dead")


READ_AND_LEAVE = """
import sys
from callsheet.ledger import Ledger, queries

with Ledger.open(sys.argv[1]) as ledger:
    print(len(ledger.do(queries.runs)))
"""


def test_a_process_that_opens_the_ledger_twice_keeps_its_locks(tmp_path: Path) -> None:
    """A visitor that reads and leaves does not take the journal away from under a process at work.

    POSIX drops all locks of a process on a file when it closes any descriptor of that file. A run opens the
    ledger a second time for its progress display; if that dropped the locks of the first, the visitor would
    believe itself alone, and delete the journal with what the run had written.
    """
    file = tmp_path / "ledger.sqlite"
    url = f"sqlite:///{file}"
    with Ledger.open(url) as at_work, Ledger.open(url) as display:
        at_work.do(admission.set_cap, "ledger", "", "total", 1)
        display.do(admission.caps)
        journal = file.with_name("ledger.sqlite-wal").stat().st_ino
        command = [sys.executable, "-c", READ_AND_LEAVE, url]
        subprocess.run(command, check=True, timeout=60, capture_output=True)
        assert file.with_name("ledger.sqlite-wal").stat().st_ino == journal
        at_work.do(admission.set_cap, "ledger", "", "total", 2)
    with Ledger.open(url) as later:
        assert [cap.limit_nano for cap in later.do(admission.caps)] == [2]
