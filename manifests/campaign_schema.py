"""The campaign file's keys for people and for editors: a table in Markdown and a JSON Schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from manifests.campaign_sections import CampaignFile

TITLE = "Callsheet campaign file"
_NAMES = {
    "defaults": "COLUMN",
    "template": "COLUMN",
    "matrix": "COLUMN",
    "columns": '"THEIRS"',
    "client": "NAME",
}
"""How the keys of a table are called that a person names."""


def campaign_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a campaign file; editors complete keys and mark mistakes by it."""
    schema = CampaignFile.model_json_schema()
    sections = {name: _resolved(schema, each) for name, each in schema["properties"].items()}
    matrix = dict(sections["matrix"]["properties"])
    lists = matrix.pop("values_by_column")
    lists_of = {**lists["additionalProperties"], "description": lists["description"]}
    sections["matrix"] |= {"properties": matrix, "additionalProperties": lists_of}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": TITLE,
        "type": "object",
        "properties": sections,
        "required": schema["required"],
        "additionalProperties": False,
    }


def _resolved(schema: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """Return a section with what it refers to in its place, without what only Python needs."""
    optional = _without_null(part) or {}
    if "$ref" in optional:  # a section that may be left out
        part = optional
    if (ref := part.get("$ref")) is not None:
        part = schema["$defs"][ref.rpartition("/")[2]]
    kept = {key: value for key, value in part.items() if key not in {"title", "default"}}
    if isinstance(one := _without_null(kept), dict):
        kept = {**one, **{key: value for key, value in kept.items() if key != "anyOf"}}
    if "properties" in kept:
        kept["properties"] = {
            name: _resolved(schema, each) | _default(each) for name, each in kept["properties"].items()
        }
    return kept


def _without_null(part: dict[str, Any]) -> dict[str, Any] | None:
    """Return the one alternative of a key that may be left out."""
    others = [each for each in part.get("anyOf", ()) if each != {"type": "null"}]
    return others[0] if len(others) == 1 else None


def _default(part: dict[str, Any]) -> dict[str, Any]:
    return {"default": part["default"]} if part.get("default") not in (None, "", [], ()) else {}


def key_table() -> str:
    """Return a Markdown table with a line for each key: its name, what it may be, and what it means."""
    lines = ["| key | value | meaning |", "| --- | --- | --- |"]
    lines += [f"| `{key}` | {value} | {meaning} |" for key, value, meaning in _keys(campaign_schema())]
    return "\n".join(lines)


def _keys(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, str, str]]:
    required = schema.get("required", ())
    for name, each in schema.get("properties", {}).items():
        key = f"{path}{name}"
        if each.get("type") == "object":
            yield from _keys(each, f"{key}.")
            if isinstance(values := each.get("additionalProperties"), dict):
                meaning = values.get("description") or each["description"]
                yield f"{key}.{_NAMES[name]}", _value(values), meaning
        else:
            needed = "; required" if name in required else ""
            yield key, _value(each) + needed, each["description"]


def _value(part: dict[str, Any]) -> str:
    """Say in words what a value may be."""
    default = part.get("default")
    shown = (
        str(default).lower() if isinstance(default, bool) else f"{default:g}" if default is not None else ""
    )
    default_text = f" (default {shown})" if shown else ""
    if "minimum" in part:
        return f"{part['minimum']:g} to {part['maximum']:g}{default_text}"
    if "exclusiveMinimum" in part:
        return "dollars"
    if part.get("type") == "array":
        kinds = part["items"].get("enum")
        return "a list of " + (", ".join(f"`{kind}`" for kind in kinds) if kinds else "values")
    if part.get("type") == "boolean":
        return f"true or false{default_text}"
    if isinstance(part.get("type"), list):
        return "a cell's value"
    return f"text of at most {part['maxLength']} characters" if "maxLength" in part else "text"
