"""What pages are written with: escaping templates, own styles and scripts, data, and policy hashes."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

_IN_JSON = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
)


def template(name: str, **filters: Callable[..., Any]) -> jinja2.Template:
    """Return a template of `templates/` that escapes what it shows and refuses an unknown name."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("callsheet.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters)
    return environment.get_template(name)


def policy_hash(text: str) -> str:
    """Return the SHA-256 by which a Content-Security-Policy allows a style or a script, in Base64."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def own_file(name: str) -> Markup:
    """Return a style or a script of `templates/` as it stands."""
    return Markup((Path(__file__).parent / "templates" / name).read_text("utf-8"))  # noqa: S704  (our own file)


def island(clips: Iterable[Mapping[str, Any]], **more: Any) -> Iterator[Markup]:
    """Yield an object of `clips` and `more` as JSON that cannot end the script element it stands in.

    One clip at a time is in memory.
    """
    yield Markup('{"clips":[')
    for number, clip in enumerate(clips):
        if number:
            yield Markup(",")
        yield _json(clip)
    yield Markup("]")
    for name, value in more.items():
        yield Markup(",") + _json(name) + Markup(":") + _json(value)
    yield Markup("}")


def _json(value: Any) -> Markup:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    safe = text.encode("utf-8", "replace").decode().translate(_IN_JSON)
    return Markup(safe)  # noqa: S704  (nothing in it can end the element)
