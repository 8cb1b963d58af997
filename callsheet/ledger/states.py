"""The life of a submission, as one table. Nothing else in Callsheet may change a job's state.

Rules
    1. Everything that decides about states is in this file; it does no input or output.
    2. An event that the table does not have for a state is refused, and nothing is changed.
    3. Write first, then send. `send` is durable before the first byte of the POST leaves, so a process
       that dies leaves `submitting` behind, and the next process knows that it may have been bought.
    4. "They refused" (`refuse`) and "we do not know" (`lose`) are different events. The first gives the
       money back; after the second hold and slot stay until it is known (`find`, `declare_absent`) or a
       person takes the loss (`write_off`).
    5. A slot is taken from admission until the render has ended at fal, also when our process has died
       meanwhile. The file is collected without a slot.
    6. A hold lives from admission until the cost is booked, whether that cost is real, assumed or nothing.
       It is booked once: `settle` on a rendered submission, or with the event that ends it otherwise.
       Only a settled submission can be collected, so that no file is ever there without its price.
    7. Money is given back only where nothing can have been charged. Unclear is counted as spent.
    8. A job may be bought twice on purpose: `finish` orders the full-size version of a draft that succeeded.
       The draft's file and bill stay with the job.
    9. What failed without its file and turns up at fal after all is taken up again (`take_up`): its cost is
       booked, only the file is to come.
   10. A request id that turns out to be another job's is taken back (`misname`) before the render has ended:
       the job is unknown again, with hold and slot, and is reconciled by what it sent.

    pending -admit-> held -send-> submitting -accept-> in_queue -start-> in_progress -render-> rendered
    rendered -settle-> rendered -collect-> succeeded
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal

from callsheet.errors import IllegalTransition


class State(StrEnum):
    """Where a job stands; the words are those of the results file."""

    PENDING = "pending"  # to be made; holds nothing
    HELD = "held"  # money and slot are put aside; nothing was sent
    SUBMITTING = "submitting"  # the POST may be on its way
    IN_QUEUE = "in_queue"  # fal has it and gave a request id
    IN_PROGRESS = "in_progress"  # fal renders it
    RENDERED = "rendered"  # the render has ended at fal: the slot is free; cost, then file
    SUCCEEDED = "succeeded"  # the file is there, whole and verified
    FAILED = "failed"  # it ended without a file; `charged` says what it cost
    CANCELLED = "cancelled"  # taken back by a person
    UNKNOWN = "unknown"  # the POST may have arrived: never sent again until it is known
    SKIPPED_BUDGET = "skipped_budget"  # left out, because it did not fit
    ALREADY_MADE = "already_made"  # an earlier job of the campaign has this very video


class Event(StrEnum):
    """What can happen to a job."""

    ADMIT = "admit"
    SEND = "send"
    ACCEPT = "accept"
    NOT_SENT = "not_sent"
    RELEASE = "release"
    REFUSE = "refuse"
    FAIL_INPUTS = "fail_inputs"
    LOSE = "lose"
    FIND = "find"
    DECLARE_ABSENT = "declare_absent"
    WRITE_OFF = "write_off"
    MISNAME = "misname"
    START = "start"
    RENDER = "render"
    SETTLE = "settle"
    FAIL_RENDER = "fail_render"
    COLLECT = "collect"
    FAIL_MEDIA = "fail_media"
    TAKE_UP = "take_up"
    CANCEL = "cancel"
    RETRY = "retry"
    FINISH = "finish"
    SKIP = "skip"
    REUSE = "reuse"


Charged = Literal["no", "yes", "unknown"]
CostBasis = Literal["billing_event", "billable_units", "expected", "bill_implausible", "hold", "none"]
COST_BASES: Final = ("billing_event", "billable_units", "expected", "bill_implausible", "hold", "none")

ARROWS: Final[Mapping[State, Mapping[Event, State]]] = MappingProxyType(
    {
        State.PENDING: {
            Event.ADMIT: State.HELD,
            Event.CANCEL: State.CANCELLED,
            Event.SKIP: State.SKIPPED_BUDGET,
            Event.REUSE: State.ALREADY_MADE,
        },
        State.HELD: {
            Event.SEND: State.SUBMITTING,
            Event.RELEASE: State.PENDING,
            Event.FAIL_INPUTS: State.FAILED,
            Event.CANCEL: State.CANCELLED,
        },
        State.SUBMITTING: {
            Event.ACCEPT: State.IN_QUEUE,
            Event.NOT_SENT: State.HELD,
            Event.REFUSE: State.FAILED,
            Event.LOSE: State.UNKNOWN,
        },
        State.UNKNOWN: {
            Event.FIND: State.IN_QUEUE,
            Event.DECLARE_ABSENT: State.PENDING,
            Event.WRITE_OFF: State.FAILED,
        },
        State.IN_QUEUE: {
            Event.START: State.IN_PROGRESS,
            Event.RENDER: State.RENDERED,
            Event.FAIL_RENDER: State.FAILED,
            Event.CANCEL: State.CANCELLED,
            Event.MISNAME: State.UNKNOWN,
        },
        State.IN_PROGRESS: {
            Event.RENDER: State.RENDERED,
            Event.FAIL_RENDER: State.FAILED,
            Event.CANCEL: State.CANCELLED,
            Event.MISNAME: State.UNKNOWN,
        },
        State.RENDERED: {
            Event.SETTLE: State.RENDERED,
            Event.FAIL_RENDER: State.FAILED,
            Event.COLLECT: State.SUCCEEDED,
            Event.FAIL_MEDIA: State.FAILED,
        },
        State.FAILED: {Event.RETRY: State.PENDING, Event.TAKE_UP: State.RENDERED},
        State.CANCELLED: {Event.RETRY: State.PENDING},
        State.SKIPPED_BUDGET: {Event.RETRY: State.PENDING},
        State.SUCCEEDED: {Event.FINISH: State.PENDING},
        State.ALREADY_MADE: {},
    }
)

MUST_BE_BOOKED: Final[Mapping[tuple[State, Event], bool]] = MappingProxyType(
    {
        (State.RENDERED, Event.SETTLE): False,
        (State.RENDERED, Event.FAIL_RENDER): False,
        (State.RENDERED, Event.COLLECT): True,
        (State.RENDERED, Event.FAIL_MEDIA): True,
        (State.FAILED, Event.TAKE_UP): True,
    }
)
"""Arrows that also depend on whether the cost has been booked already (rule 6)."""

AT_FAL: Final = frozenset({State.IN_QUEUE, State.IN_PROGRESS})
"""States in which fal has the request and its render has not ended."""

SENT_TO_FAL: Final = AT_FAL | {State.SUBMITTING}
"""States in which fal has the request, or is just being sent it: it may still end well or badly."""

HOLDS_SLOT: Final = frozenset({State.HELD, State.UNKNOWN}) | SENT_TO_FAL
"""States in which a job takes one of the places (rule 5)."""

FOLLOWED: Final = HOLDS_SLOT - {State.UNKNOWN}
"""States in which a job holds a slot and a process has to go on with it."""

HAS_OPEN_SUBMISSION: Final = HOLDS_SLOT | {State.RENDERED}
"""States in which something was bought, or is about to be, and is not finished yet."""

HAS_REQUEST: Final = frozenset({State.IN_QUEUE, State.IN_PROGRESS, State.RENDERED, State.SUCCEEDED})
"""States in which fal's request id is known."""

FINISHED: Final = frozenset(
    {State.SUCCEEDED, State.FAILED, State.CANCELLED, State.SKIPPED_BUDGET, State.ALREADY_MADE}
)
"""States in which nothing more happens without a person's `retry`."""


def next_state(state: State, event: Event, *, booked: bool = False) -> State:
    """Return the state that `event` leads to.

    `booked` says whether the cost of the job's submission is booked. Raises IllegalTransition, naming what
    would be possible, where there is no such arrow.
    """
    arrows = ARROWS[state]
    if event not in arrows:
        possible = ", ".join(arrows) or "nothing"
        raise IllegalTransition(f"{event} is not possible for a job that is {state}; possible: {possible}")
    if MUST_BE_BOOKED.get((state, event), booked) != booked:
        found = "already booked" if booked else "not booked yet"
        raise IllegalTransition(f"{event} is not possible: the cost of this submission is {found}")
    return arrows[event]
