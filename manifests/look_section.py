"""[look] of the campaign file: what a technical look at the clips flags, key by key."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from manifests.look import FLAG_KINDS, THRESHOLDS, LookRules
from manifests.table import WrittenNumber


def flag_kinds(value: Any) -> tuple[str, ...]:
    """Read a list of kinds of flags. Raises ValueError, naming those that there are."""
    if not isinstance(value, list) or not all(isinstance(each, str) and each in FLAG_KINDS for each in value):
        raise ValueError(f"must be a list of {', '.join(FLAG_KINDS)}")
    if len(set(value)) != len(value):
        raise ValueError("a kind stands twice in the list")
    return tuple(value)


FlagKinds = Annotated[
    tuple[str, ...],
    BeforeValidator(flag_kinds),
    WithJsonSchema({"type": "array", "items": {"enum": list(FLAG_KINDS)}, "uniqueItems": True}),
]


def _threshold(name: str) -> Any:
    limit = THRESHOLDS[name]
    bounds: dict[str, Any] = {"minimum": limit.low, "maximum": limit.high}
    return Field(limit.default, description=limit.what, json_schema_extra=bounds)


def _some_kinds(value: Any) -> tuple[str, ...]:
    kinds = flag_kinds(value)
    if not kinds:
        raise ValueError(f"must name at least one of {', '.join(FLAG_KINDS)}")
    return kinds


SomeKinds = Annotated[
    tuple[str, ...],
    BeforeValidator(_some_kinds),
    WithJsonSchema(
        {"type": "array", "items": {"enum": list(FLAG_KINDS)}, "uniqueItems": True, "minItems": 1}
    ),
]


class LookSection(BaseModel):
    """[look]: a key for each of `THRESHOLDS`, and the kinds that are not looked for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    black_s: float = _threshold("black_s")
    black_level: float = _threshold("black_level")
    frozen_s: float = _threshold("frozen_s")
    frozen_percent: float = _threshold("frozen_percent")
    blurred_s: float = _threshold("blurred_s")
    blurred_px: float = _threshold("blurred_px")
    cut_percent: float = _threshold("cut_percent")
    silent_s: float = _threshold("silent_s")
    silent_db: float = _threshold("silent_db")
    clipped_share: float = _threshold("clipped_share")
    alike: float = _threshold("alike")
    ignore: FlagKinds = Field(default=(), description="what is not looked for")

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
