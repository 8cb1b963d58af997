"""One accepted request, from its acceptance to its end: what the sandbox remembers on disk."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

NORMAL, LOW = "normal", "low"


@dataclass(slots=True)
class Record:
    """Times are Unix seconds by the wall clock, so that they mean the same after a restart.

    `units` is the exact decimal text of X-Fal-Billable-Units, empty while unknown. `cost_nano` is what was
    billed, in nano-dollars: 0 until it completed, and 0 for what failed. `result` is the body of the result
    call, whose status is `status_code`. `overbill` multiplies units and cost (a fault), decimal text.
    """

    id: str
    number: int
    endpoint: str
    arguments: dict[str, Any]
    base_url: str
    submitted_at: float
    seed: int
    priority: str = NORMAL
    keep_payloads: bool = True
    start_by: float | None = None
    started_at: float | None = None
    ready_at: float | None = None
    completed_at: float | None = None
    cancelled: bool = False
    width_px: int = 0
    height_px: int = 0
    frames: int = 0
    audio: bool = False
    overbill: str = "1"
    failure: dict[str, Any] | None = None
    status_code: int = 0
    result: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    error: str | None = None
    error_type: str | None = None
    units: str = ""
    cost_nano: int = 0
    file: str = ""
    bytes: int = 0
    sha256: str = ""

    @property
    def owner(self) -> str:
        """The first part of the endpoint id."""
        return self.endpoint.split("/")[0]

    @property
    def alias(self) -> str:
        """The second part of the endpoint id."""
        return self.endpoint.split("/")[1]

    @property
    def status(self) -> str:
        """The word of fal for where the request is."""
        if self.completed_at is not None:
            return "COMPLETED"
        return "IN_QUEUE" if self.started_at is None else "IN_PROGRESS"

    @property
    def place(self) -> tuple[bool, int]:
        """What the queue is sorted by: low priority after normal, then by arrival."""
        return (self.priority == LOW, self.number)

    def dump(self) -> str:
        """Return the record as JSON text."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def load(cls, text: str) -> Record:
        """Read what `dump` wrote."""
        return cls(**json.loads(text))
