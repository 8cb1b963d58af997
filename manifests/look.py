"""What a technical look may find in a clip, and from where on it counts. Pure.

A flag is a remark, and no failure: the clip is what was ordered and is paid for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, Final

FLAG_KINDS: Final = (
    "black",
    "frozen",
    "blurred",
    "cut",
    "silent",
    "clipped",
    "first_frame",
    "last_frame",
)


@dataclass(frozen=True, slots=True)
class Threshold:
    """From where on something is flagged: its default, and what a campaign may set it to."""

    default: float
    low: float
    high: float
    what: str


THRESHOLDS: Final[Mapping[str, Threshold]] = MappingProxyType(
    {
        "black_s": Threshold(0.5, 0.1, 60, "seconds: black for as long as this or longer"),
        "black_level": Threshold(0.04, 0, 0.5, "share of white: a pixel up to this bright is black"),
        "frozen_s": Threshold(1.0, 0.2, 60, "seconds: no movement for as long as this or longer"),
        "frozen_percent": Threshold(
            0.004, 0, 5, "percent of white: a mean change of pixels up to this is no movement"
        ),
        "blurred_s": Threshold(1.0, 0.5, 60, "seconds: blurred for as long as this or longer"),
        "blurred_px": Threshold(
            6.5, 2, 50, "pixels: edges at least this wide, in a picture of 432 x 243, are blurred"
        ),
        "cut_percent": Threshold(
            5, 1, 100, "percent of white: a change this much larger than before and after is a cut"
        ),
        "silent_s": Threshold(2.0, 0.2, 60, "seconds: silent for as long as this or longer"),
        "silent_db": Threshold(-50, -90, -10, "decibels below full scale: sound below this is silence"),
        "clipped_share": Threshold(
            0.08, 0.001, 1, "share: so many samples near full scale, half a second long or longer"
        ),
        "alike": Threshold(
            0.4, 0, 1, "from 0 to 1: a first (last) frame less like its picture than this is another picture"
        ),
    }
)
"""What [look] may set, key by key."""


@dataclass(frozen=True, slots=True)
class LookRules:
    """What counts as a fault in the clips of a campaign. `limits` has a value for each of `THRESHOLDS`.

    Kinds in `ignore` are not looked for.
    """

    limits: Mapping[str, float] = field(
        default_factory=lambda: {name: each.default for name, each in THRESHOLDS.items()}
    )
    ignore: tuple[str, ...] = ()

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of flags that are looked for."""
        return frozenset(FLAG_KINDS).difference(self.ignore)


@dataclass(frozen=True, slots=True)
class RetakeRules:
    """Which clips a run buys again by itself.

    A clip with a flag of a kind in `on` is bought again at most `most` times. `step` is how far the takes of
    one clip are apart: the largest take of the plan, so that no two retakes have one number. What all of them
    may cost is a cap of the run (scope `retakes`).
    """

    most: int
    on: tuple[str, ...]
    step: int = 1


@dataclass(frozen=True, slots=True)
class Flag:
    """One finding. Times are seconds from the clip's start; a cut, a first and a last frame are moments.

    `value` is what was compared with the threshold: a length in seconds (black, frozen, silent), the width of
    the edges in pixels (blurred), the jump in percent (cut), the share of samples (clipped), or how much the
    frame is like its picture, from 0 to 1 (first_frame, last_frame).
    """

    kind: str
    from_s: float
    to_s: float
    value: float

    @property
    def text(self) -> str:
        """The flag as people read it: `black 0.0-1.2 s`."""
        stretch = f"{self.kind} {self.from_s:.1f}-{self.to_s:.1f} s"
        match self.kind:
            case "cut":
                return f"cut {self.from_s:.1f} s"
            case "first_frame" | "last_frame":
                return f"{self.kind} {self.value:.2f} alike"
            case "blurred":
                return f"{stretch} ({self.value:.1f} px)"
            case "clipped":
                return f"{stretch} ({self.value:.0%})"
        return stretch


def flags_text(flags: Iterable[Flag]) -> str:
    """Write flags in one line: `black 0.0-1.2 s; silent 0.0-4.0 s`. Empty text where there are none."""
    return "; ".join(flag.text for flag in flags)


def flags_json(flags: Iterable[Flag]) -> str:
    """Write flags as JSON for the ledger; empty text where there are none."""
    rows = [asdict(flag) for flag in flags]
    return json.dumps(rows, separators=(",", ":")) if rows else ""


def read_flags(text: str) -> tuple[Flag, ...]:
    """Read flags back from the ledger's JSON."""
    return tuple(Flag(**each) for each in json.loads(text)) if text else ()


_BRACKETED = re.compile(r"\[([^\[\]]{1,200})\]")
_NAMES_CUT = re.compile(r"\b(cuts?|switch(es)?|montage|transition)\b|切", re.IGNORECASE)
_SAYS_CUT = re.compile(
    r"\b(cuts? to|(jump|hard|smash|match) cuts?|montage|shot \d|scene \d)\b|切", re.IGNORECASE
)


def asks_for_cuts(prompt: str) -> bool:
    """Say whether a prompt asks for cuts, so that none of them is a fault.

    It does where it has more than one [camera instruction] (each is a shot), where one of them names a cut,
    and where the text says `cut to`, `jump cut`, `montage`, `shot 2` or `scene 2`.
    """
    instructions = _BRACKETED.findall(prompt)
    if len(instructions) > 1 or any(map(_NAMES_CUT.search, instructions)):
        return True
    return _SAYS_CUT.search(prompt) is not None


def look_document(rules: LookRules) -> dict[str, Any]:
    """Describe rules as [look] writes them: what differs from the defaults."""
    document: dict[str, Any] = {
        name: value for name, value in rules.limits.items() if value != THRESHOLDS[name].default
    }
    return document | ({"ignore": list(rules.ignore)} if rules.ignore else {})


def look_text(rules: LookRules, retakes: RetakeRules | None = None) -> str:
    """Write rules as JSON for the ledger, all of them: a default may change while a run waits."""
    document: dict[str, Any] = {**rules.limits, "ignore": list(rules.ignore)}
    if retakes is not None:
        document["retakes"] = asdict(retakes)
    return json.dumps(document, separators=(",", ":"))


def read_retakes(text: str) -> RetakeRules | None:
    """Read from the ledger's JSON what a run buys again by itself; None for nothing."""
    found = json.loads(text or "{}").get("retakes")
    return None if found is None else RetakeRules(found["most"], tuple(found["on"]), found["step"])


def read_look(text: str) -> LookRules:
    """Read rules back from the ledger's JSON; the defaults from empty text."""
    document = json.loads(text or "{}")
    limits = {name: float(document.get(name, each.default)) for name, each in THRESHOLDS.items()}
    return LookRules(limits, tuple(document.get("ignore", ())))
