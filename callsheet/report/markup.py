"""What this folder's pages are written with: a template environment, and the hashes of their policies."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any

import jinja2


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
