"""Hooks of `make docs`: pages that are made from the code, and links to files outside this folder.

index.md is the README. commands.md is made from the command line's own help, python.md from the docstrings of
`callsheet`. Files of the repository that a page links to become part of the site.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

import callsheet
from callsheet.cli.app import COMMANDS, make_app
from manifests.campaign_sections import CampaignFile

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#]+)(#[^)]*)?\)")
KEYS = re.compile(r"(<!-- keys, written by `make docs` -->\n).*?(\n<!-- end of keys -->)", re.DOTALL)
SCHEMA = ROOT / "docs" / "campaign.schema.json"
EXAMPLE = re.compile(r"(?:^    .*\n?|^\n(?=    ))+", re.MULTILINE)
GLOBAL_OPTIONS = re.compile(r"\*\*Messages \(every command\)\*\*:\n\n(\* .*\n)+\n?")

TITLE = "Callsheet campaign file"
_NAMES = {
    "defaults": "COLUMN",
    "template": "COLUMN",
    "matrix": "COLUMN",
    "columns": '"THEIRS"',
    "client": "NAME",
}
"""How the keys of a table are called that a person names."""


def on_pre_build(config: Any) -> None:  # noqa: ARG001 -- the hook's own form
    """Write what docs/ keeps of the campaign file's schema: the table of its keys, and the schema itself."""
    page = ROOT / "docs" / "campaign.md"
    for file, text in ((page, with_keys(page.read_text("utf-8"))), (SCHEMA, schema_text())):
        if not file.exists() or file.read_text("utf-8") != text:
            file.write_text(text, "utf-8")


def with_keys(text: str) -> str:
    """Return the page of campaign files with the table of today's keys."""
    return KEYS.sub(lambda found: f"{found[1]}\n{key_table()}\n{found[2]}", text)


def schema_text() -> str:
    """Return the JSON Schema of campaign files, as docs/ keeps it."""
    return json.dumps(campaign_schema(), indent=1) + "\n"


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made, and the repository's files that pages link to."""
    linked: set[str] = set()
    index = with_site_links((ROOT / "README.md").read_text("utf-8"), ROOT, "index.md", linked)
    for name, text in {"index.md": index, "commands.md": commands(), "python.md": python()}.items():
        files.append(File.generated(config, name, content=text))
    for page in files.documentation_pages():
        if page.abs_src_path:
            source = Path(page.abs_src_path)
            with_site_links(source.read_text("utf-8"), source.parent, page.src_uri, linked)
    for name in sorted(linked):
        source, uri = ROOT / name, f"files/{name}"
        if name.endswith(".md"):
            text = with_site_links(source.read_text("utf-8"), source.parent, uri, set())
            files.append(File.generated(config, uri, content=text))
        else:
            files.append(File.generated(config, uri, abs_src_path=str(source)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links to the repository's files lead to their copies in the site."""
    if page.file.generated_by:
        return markdown
    return with_site_links(markdown, Path(page.file.abs_src_path).parent, page.file.src_uri, set())


def with_site_links(text: str, folder: Path, page: str, linked: set[str]) -> str:
    """Return a page of the repository with its links as the site has them.

    `folder` is where its links start from, `page` its place in the site. Adds to `linked` the files outside
    docs/ that it names.
    """

    def link(found: re.Match[str]) -> str:
        target = (folder / found[1]).resolve()
        if not target.is_relative_to(ROOT) or not target.exists():
            return found[0]
        name = target.relative_to(ROOT).as_posix()
        if target.is_dir():
            name = f"{name}/{min(each.name for each in target.glob('*.md'))}"
        if name == "README.md":
            place = "index.md"
        elif name.startswith("docs/"):
            place = name.removeprefix("docs/")
        else:
            linked.add(name)
            place = f"files/{name}"
        return f"]({posixpath.relpath(place, posixpath.dirname(page))}{found[2] or ''})"

    return LINK.sub(link, text)


def commands() -> str:
    """Return the page of every command, from its help."""
    names = [name for group in COMMANDS.values() for name in group]
    text = make_app(names).generate_docs(output_format="markdown", heading_level=1)
    each = text[text.index("\n## callsheet demo") :]
    return (
        "# Every command\n"
        + GLOBAL_OPTIONS.sub("", each)
        + (
            "\n## Options of every command\n\n"
            "`--verbose` also logs every step on standard error, `--quiet` prints warnings and errors only, "
            "`--log-json` writes messages and the log as one JSON object a line.\n"
        )
    )


VERBS = ("plan", "run", "resume", "retry", "finish", "reconcile", "deliver")
RECORDS = ("Plan", "Problem", "RunSummary", "Findings", "Delivery", "Settings")


def python() -> str:
    """Return the page of the Python API, from its signatures and docstrings."""
    errors = sorted(set(callsheet.__all__) - {*VERBS, *RECORDS, *(f"{verb}_async" for verb in VERBS)})
    parts = ["# Python", "", _code(inspect.getdoc(callsheet) or "")]
    for name in VERBS:
        verb = getattr(callsheet, name)
        parts += [
            "",
            f"## {name}",
            "",
            "```python",
            f"{name}{_signature(verb)}",
            "```",
            "",
            inspect.getdoc(verb) or "",
        ]
        if hasattr(callsheet, f"{name}_async"):
            parts += ["", f"Where an event loop runs, as in a notebook: `await callsheet.{name}_async(...)`."]
    for name in RECORDS:
        record = getattr(callsheet, name)
        parts += ["", f"## {name}", "", inspect.getdoc(record) or "", "", "```python"]
        parts += [f"{each.name}: {each.type}" for each in dataclasses.fields(record) if each.repr]
        parts += [f"{each}{_signature(method)}" for each, method in _methods(record)]
        parts.append("```")
    parts += [
        "",
        "## Errors",
        "",
        "All are `CallsheetError`s.",
        "",
        "| error | exit code | means |",
        "| --- | --- | --- |",
    ]
    for name in errors:
        error = getattr(callsheet, name)
        first = (inspect.getdoc(error) or "").partition("\n")[0]
        parts.append(f"| `{name}` | {error.exit_code} | {first} |")
    return "\n".join(parts) + "\n"


def _signature(function: Callable[..., Any]) -> str:
    """Return a signature as it is written in code, one parameter a line where it is long."""
    signature = inspect.signature(function)
    written: list[str] = []
    for each in signature.parameters.values():
        if each.kind is each.KEYWORD_ONLY and "*" not in written:
            written.append("*")
        if each.name != "self":
            default = "" if each.default is each.empty else f" = {_written(each.default)}"
            written.append(f"{each.name}: {each.annotation}{default}")
    one_line = f"({', '.join(written)}) -> {signature.return_annotation}"
    lines = "".join(f"    {each},\n" for each in written)
    return one_line if len(one_line) < 80 else f"(\n{lines}) -> {signature.return_annotation}"


def _written(value: object) -> str:
    if isinstance(value, str):
        return json.dumps(value)
    return value.__name__ if inspect.isfunction(value) else str(value)


def _methods(record: type) -> list[tuple[str, Callable[..., Any]]]:
    """Return the public methods of a record."""
    found = ((name, each) for name, each in vars(record).items() if not name.startswith("_"))
    return [(name, each) for name, each in found if inspect.isfunction(each)]


def _code(doc: str) -> str:
    """Write the indented lines of a docstring as code."""
    return EXAMPLE.sub(lambda found: f"```python\n{inspect.cleandoc(found[0])}\n```\n", doc)


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
