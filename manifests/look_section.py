"""[look] of the campaign file: what a technical look at the clips flags, key by key."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationInfo, field_validator

from manifests.look import FLAG_KINDS, THRESHOLDS, LookRules
from manifests.table import WrittenNumber


def flag_kinds(value: Any) -> tuple[str, ...]:
    """Read a list of kinds of flags. Raises ValueError, naming those that there are."""
    if not isinstance(value, list) or not all(isinstance(each, str) and each in FLAG_KINDS for each in value):
        raise ValueError(f"must be a list of {', '.join(FLAG_KINDS)}")
    if len(set(value)) != len(value):
        raise ValueError("a kind stands twice in the list")
    return tuple(value)


FlagKinds = Annotated[tuple[str, ...], BeforeValidator(flag_kinds)]


class LookSection(BaseModel):
    """[look]: a key for each of `THRESHOLDS`, and the kinds that are not looked for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    black_s: float = THRESHOLDS["black_s"].default
    black_level: float = THRESHOLDS["black_level"].default
    frozen_s: float = THRESHOLDS["frozen_s"].default
    frozen_percent: float = THRESHOLDS["frozen_percent"].default
    blurred_s: float = THRESHOLDS["blurred_s"].default
    blurred_px: float = THRESHOLDS["blurred_px"].default
    cut_percent: float = THRESHOLDS["cut_percent"].default
    silent_s: float = THRESHOLDS["silent_s"].default
    silent_db: float = THRESHOLDS["silent_db"].default
    clipped_share: float = THRESHOLDS["clipped_share"].default
    alike: float = THRESHOLDS["alike"].default
    ignore: FlagKinds = ()

    @field_validator(*THRESHOLDS, mode="before")
    @classmethod
    def _bounded(cls, value: Any, info: ValidationInfo) -> float:
        limit = THRESHOLDS[info.field_name or ""]
        is_number = isinstance(value, int | WrittenNumber) and not isinstance(value, bool)
        try:
            number = float(value) if is_number else limit.low - 1
        except (ValueError, OverflowError):
            number = limit.low - 1
        if not limit.low <= number <= limit.high:
            raise ValueError(f"must be a number from {limit.low:g} to {limit.high:g}")
        return number

    @property
    def rules(self) -> LookRules:
        """What it says, for the look itself."""
        return LookRules({name: float(getattr(self, name)) for name in THRESHOLDS}, self.ignore)
