"""Endpoints of a person's own catalog, served by the sandbox."""

from pathlib import Path

import pytest

from callsheet.errors import UsageError
from callsheet.sandbox.own_endpoints import own_endpoints


@pytest.mark.parametrize(
    "content",
    [
        'endpoints = [{ id = "a", like = "a" }]',
        "a = " + "[" * 5000,
        "endpoints = 5",
        '[[endpoints]]\nid = "a"',
    ],
    ids=["like itself", "deep", "no tables", "half"],
)
def test_a_file_that_cannot_be_served_is_told(tmp_path: Path, content: str) -> None:
    """An odd file is one error with the file's name, never a crash of the route that reads it."""
    path = tmp_path / "catalog.toml"
    path.write_text(content)
    with pytest.raises(UsageError, match=r"catalog\.toml: the sandbox cannot serve"):
        own_endpoints(path)
