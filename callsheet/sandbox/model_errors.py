"""Errors of a model, as fal documents them: a list of items with `loc`, `msg`, `type` and `url`."""

from __future__ import annotations

import json
from typing import Any

from pydantic import ValidationError

from callsheet.errors import CallsheetError

MAX_ECHO = 10_000
"""Characters of an input that a reply repeats."""


class BadInput(CallsheetError):
    """The render cannot use an argument. It becomes fal's 422 body; `type` is fal's word for it."""

    def __init__(self, message: str, *, type_: str, loc: tuple[str | int, ...], **context: Any) -> None:
        self.type = type_
        self.loc = loc
        self.context = context
        super().__init__(message)

    def body(self, found: Any) -> dict[str, Any]:
        """Return the document of the 422 reply."""
        return model_error(str(self), self.type, ["body", *self.loc], found, self.context)


def model_error(
    message: str, type_: str, loc: list[str | int], found: Any = None, context: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the body of a model's error: a list with one item."""
    item = {"loc": loc, "msg": message, "type": type_, "input": _echo(found)}
    item["url"] = f"https://docs.fal.ai/errors#{type_}"
    return {"detail": [{**item, "ctx": context} if context else item]}


def validation_body(error: ValidationError) -> dict[str, Any]:
    """Return the body for arguments against the schema: pydantic's list, `body` in front of each place."""
    items = json.loads(error.json())
    for item in items:
        item["loc"] = ["body", *item["loc"]]
        item["input"] = _echo(item.get("input"))
    return {"detail": items}


def _echo(found: Any) -> Any:
    """Return an input, or the beginning of its text where it is long."""
    text = json.dumps(found, default=str)
    return found if len(text) <= MAX_ECHO else text[:200] + "..."
