"""Faults: what can go wrong at a provider, each with a name; tests arm them, directly or by a control route.

    refusal    answers instead of doing what was asked; nothing is accepted
    spoiled    does it, then spoils the reply: the caller cannot know that it was done
    render     ends an accepted request badly, or bills it badly
    file       hands out something else than the file

A fault fires on its route, `count` times (None: always), each time with `probability`, drawn from its own
seeded generator: the same calls in the same order meet the same faults.
"""

from __future__ import annotations

import json
import random
import re
import shlex
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from callsheet.errors import UsageError

ROUTES = (
    *("submit", "status", "stream", "result", "cancel", "file", "upload"),
    *("platform", "history", "billing", "render", "any"),
)
Stage = Literal["refusal", "spoiled", "render", "file"]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault: its stage, its usual route and status, and what it does."""

    stage: Stage
    route: str
    status: int
    meaning: str


KINDS: Mapping[str, Kind] = {
    "answer": Kind("refusal", "result", 400, "`status`, `body` and `headers`; nothing is done"),
    "throttle": Kind("refusal", "submit", 429, "429 with Retry-After of `delay_s`"),
    "server_error": Kind("refusal", "submit", 503, "a JSON error of fal's own with `status`"),
    "nginx_error": Kind("refusal", "submit", 502, "a proxy's HTML page with `status`"),
    "account_locked": Kind("refusal", "submit", 403, "fal's 403 for an exhausted balance"),
    "not_found": Kind("refusal", "result", 404, "the queue no longer holds it: the result has expired"),
    "history_hidden": Kind("refusal", "history", 200, "an empty page of history"),
    "answer_after": Kind("spoiled", "submit", 500, "done, but the reply is `status`, `body` and `headers`"),
    "close": Kind("spoiled", "submit", 0, "connection closed without a reply"),
    "reset": Kind("spoiled", "submit", 0, "connection reset"),
    "hang": Kind("spoiled", "submit", 0, "no reply until the client gives up"),
    "late": Kind("spoiled", "submit", 0, "no reply; done only `delay_s` seconds after the client gave up"),
    "truncate": Kind("spoiled", "submit", 0, "half of the body, then the connection is closed"),
    "nginx_after": Kind("spoiled", "submit", 504, "done, but a proxy answers with its HTML page"),
    "error_after": Kind(
        "spoiled", "submit", 500, "done, but the reply is a JSON error with x-fal-request-id"
    ),
    "bad_json": Kind("spoiled", "submit", 200, "200 with a body that is no JSON"),
    "no_request_id": Kind("spoiled", "submit", 200, "200 without request_id"),
    "other_id": Kind("spoiled", "submit", 200, "body and header name the request accepted before this one"),
    "torn_id": Kind("spoiled", "submit", 200, "the header is right, the body names the request before"),
    "slow_reply": Kind("spoiled", "submit", 0, "the true reply, `delay_s` seconds late"),
    "render_failed": Kind("render", "render", 500, "COMPLETED with an error; the result answers `status`"),
    "overbill": Kind("render", "render", 0, "header and billing event say `factor` times the true units"),
    "units": Kind("render", "render", 0, "X-Fal-Billable-Units is `text`; the billing event is right"),
    "swapped_size": Kind("render", "render", 0, "a clip with width and height exchanged"),
    "file_truncated": Kind("file", "file", 0, "half of the bytes, then the connection is closed"),
    "file_cut": Kind("file", "file", 0, "half of the bytes with a Content-Length that says so is all"),
    "file_empty": Kind("file", "file", 0, "no bytes"),
    "file_trailing": Kind("file", "file", 0, "the file and 100 more bytes"),
    "file_webm": Kind("file", "file", 0, "the beginning of a WebM file"),
    "file_wrong": Kind("file", "file", 200, "an HTML page with `status`"),
    "file_redirect": Kind("file", "file", 302, "a redirect to `location`, or to itself"),
    "file_corrupt": Kind("file", "file", 0, "the right length, zeros in the middle"),
    "file_gzip": Kind("file", "file", 0, "Content-Encoding gzip"),
    "file_wrong_length": Kind("file", "file", 0, "a Content-Length of 1000 bytes more than come"),
    "file_no_length": Kind("file", "file", 0, "no Content-Length, half of the bytes"),
    "file_slow": Kind("file", "file", 0, "in 20 pieces over `delay_s` seconds"),
}

SUBMIT_ONLY = frozenset({"no_request_id", "other_id", "torn_id"})
_Text = Annotated[str, Field(pattern=r"^[\t\x20-\x7e]*$")]
"""Text that can be sent as a header."""
_HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]


class Fault(BaseModel):
    """One armed fault.

    `status`, `delay_s` (seconds), `factor`, `error_type`, `message`, `body` (JSON), `headers`, `location`
    and `text` matter where the kind uses them. `{request_id}` in `body` and `headers` becomes the accepted
    request's id, `{path}` in `location` the file's path. `prompt_contains` narrows a render fault to prompts
    with that text, `key` a call to those with that API key.
    """

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    kind: str
    route: str = ""
    count: int | None = 1
    probability: float = Field(1.0, gt=0, le=1)
    seed: int = 0
    status: int = Field(0, ge=200, le=599)
    delay_s: float = Field(1.0, ge=0, le=3600)
    factor: float = Field(2, ge=0, le=1000)
    error_type: _Text = "internal_server_error"
    message: str = "The provider failed"
    body: Any = None
    headers: dict[_HeaderName, _Text] = {}
    location: _Text = ""
    text: _Text = ""
    key: str = ""
    prompt_contains: str = ""
    _fired: int = 0
    _random: random.Random = PrivateAttr(default_factory=random.Random)

    @model_validator(mode="after")
    def _with_usual_values(self) -> Self:
        usual = KINDS.get(self.kind)
        if usual is None:
            raise UsageError(f"there is no fault {self.kind!r}; there are: {', '.join(KINDS)}")
        self.route = self.route or usual.route
        self.status = self.status or usual.status
        if self.route not in ROUTES:
            raise UsageError(f"there is no route {self.route!r}; there are: {', '.join(ROUTES)}")
        if self.kind in SUBMIT_ONLY and self.route != "submit":
            raise UsageError(f"{self.kind} spoils the reply of a submit; it cannot be on route {self.route}")
        self._random.seed(self.seed)
        return self

    def strikes(self) -> bool:
        """Draw once; True counts as fired."""
        if self.count is not None and self._fired >= self.count:
            return False
        if self._random.random() >= self.probability:
            return False
        self._fired += 1
        return True

    def describe(self) -> dict[str, Any]:
        """Return the fault as the control route shows it."""
        return {**self.model_dump(), "fired": self._fired}

    @classmethod
    def from_json(cls, document: object) -> Fault:
        """Read what the control route was sent. Raises UsageError naming what is wrong and what may stand."""
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            wrong = error.errors()[0]
            place, allowed = ".".join(map(str, wrong["loc"])) or "a fault", ", ".join(cls.model_fields)
            raise UsageError(
                f"{place} is {wrong['input']!r:.200}: {wrong['msg']}. A fault may have {allowed}"
            ) from error

    @classmethod
    def from_text(cls, text: str) -> Fault:
        """Read `kind name=value ...` as a header or a prompt carries it. Raises UsageError."""
        try:
            kind, *pairs = shlex.split(text)
            values = dict(pair.split("=", 1) for pair in pairs)
        except ValueError as error:
            raise UsageError(f"a fault is written as `kind name=value ...`: {error}") from error
        return cls.from_json({"kind": kind, **{name: _read_value(value) for name, value in values.items()}})


def _read_value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


MARKER = re.compile(r"<sandbox:([^<>]{0,500})>")
"""A render fault in a prompt: `<sandbox:render_failed status=422>`."""


def marked(prompt: str) -> Fault | None:
    """Return the render fault that a prompt asks for, if it asks for one. Raises UsageError."""
    found = MARKER.search(prompt)
    if found is None:
        return None
    fault = Fault.from_text(found[1])
    renders = [name for name, row in KINDS.items() if row.stage == "render"]
    if fault.kind not in renders:
        raise UsageError(
            f"a prompt cannot ask for the fault {fault.kind}; it may ask for {', '.join(renders)}"
        )
    return fault


class FaultBook:
    """The armed faults, spent ones too, in the order they are tried; the first that strikes is used."""

    def __init__(self) -> None:
        self.armed: list[Fault] = []
        self.fired: Counter[str] = Counter()

    def arm(self, fault: Fault) -> None:
        """Add a fault behind those that are armed."""
        self.armed.append(fault)

    def clear(self) -> None:
        """Disarm everything."""
        self.armed.clear()

    def on_route(self, route: str, key: str = "") -> Fault | None:
        """Return the fault that strikes a call on this route with this API key, if one does."""
        routes = {route, "any"} | ({"platform"} if route in ("history", "billing") else set())
        return self._first(
            lambda fault: (
                fault.route in routes and KINDS[fault.kind].stage != "render" and fault.key in ("", key)
            )
        )

    def on_render(self, prompt: str) -> Fault | None:
        """Return the armed fault that strikes this render, if one does."""
        return self._first(
            lambda fault: KINDS[fault.kind].stage == "render" and fault.prompt_contains in prompt
        )

    def _first(self, is_meant: Callable[[Fault], bool]) -> Fault | None:
        for fault in self.armed:
            if is_meant(fault) and fault.strikes():
                self.fired[fault.kind] += 1
                return fault
        return None
